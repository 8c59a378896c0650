//! `guard-broker key`: the public half of the sealing key, and a new one in its place.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::print;
use crate::{
    config,
    log::{Keyring, Log},
    serve,
};

/// The sealing key.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "guard.yaml",
        env = "GUARD_CONFIG",
        global = true
    )]
    config: PathBuf,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a new key, sign it by the old one in the log, and put it into the old one's place
    Rotate,
}

/// Runs it.
pub(crate) async fn run(args: KeyArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config).map_err(|problems| anyhow!("{problems}"))?;
    let keys = Keyring::load_or_create(&config.sealing_key)?;
    let Some(What::Rotate) = args.what else {
        return print(&keys.current().public().to_string());
    };
    let store = serve::open_store(&config).await?;
    let rotated = async {
        let log = Log::start(store.clone(), keys, &config.url).await?;
        log.rotate().await
    };
    let rotated = rotated.await;
    store.close().await;
    let (old, new) = rotated.context("the key is not replaced")?;
    let file = config.sealing_key.display();
    print(&format!(
        "key {} is replaced by {}\npublic: {new}\nfile:   {file}: give it to every broker that has a copy of its own; those on this file take it up by themselves\nold:    {old}: keep it, records that it sealed are verified from either",
        old.id(),
        new.id()
    ))
}
