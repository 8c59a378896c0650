//! Threads for connections that have nothing to do with each other.
//!
//! A connection stays on its thread. Threads that take work from each other wake each other for every message, which
//! costs a gateway more than the message; connections are many and alike, so that nobody has to take any.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Some threads, each with a runtime of its own.
pub struct Threads {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
    /// They end when this is dropped.
    _stop: Option<DropGuard>,
}

impl Threads {
    /// Starts so many, and at least one.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut runtimes = Vec::with_capacity(count);
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let stop = stop.clone();
            let work = move || runtime.block_on(stop.cancelled());
            thread::Builder::new().name(format!("guard-data-{number}")).spawn(work)?;
        }
        Ok(Self { runtimes, next: AtomicUsize::new(0), _stop: Some(stop.drop_guard()) })
    }

    /// Starts `usual` many, unless who runs the program says how many as to every program of this runtime.
    pub fn start_usual(usual: usize) -> io::Result<Self> {
        let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|text| text.parse().ok());
        Self::start(wanted.unwrap_or(usual))
    }

    /// The runtime that this is called in, for all connections.
    pub fn here() -> Self {
        Self { runtimes: vec![Handle::current()], next: AtomicUsize::new(0), _stop: None }
    }

    /// Where the next connection goes.
    pub fn next(&self) -> &Handle {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.runtimes.len();
        // INVARIANT: there is at least one.
        #[expect(clippy::indexing_slicing, reason = "bounded by its length")]
        &self.runtimes[next]
    }
}
