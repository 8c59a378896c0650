//! Ctrl-C: the programs that were started are in our process group and hear it themselves; we go on to
//! clean up behind them.

use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Takes SIGINT and SIGTERM from now on; the receiver gets one message at the first of them.
pub(crate) fn listen() -> Result<Receiver<()>> {
    let (sender, receiver) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("signals cannot be received")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // Nobody may be waiting any more.
        let _heard = sender.send(());
    });
    Ok(receiver)
}
