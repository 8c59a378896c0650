//! What a connection has of a statement that waits for people. What is done with it is in `holding`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use guard_gate::Held;
use tokio::sync::Notify;

/// Tells a connection whose statement waits that its client takes it back.
#[derive(Default)]
pub(super) struct Bell {
    /// Whether one waits.
    pub(super) waits: AtomicBool,
    /// Whether it is taken back.
    pub(super) rung: Notify,
}

/// The bell of a connection, for whoever has its cancel key.
pub(super) type SharedBell = Arc<Bell>;

/// A message that waits for people.
pub(super) struct Holding {
    /// What people decide.
    pub(super) decided: BoxFuture<'static, Held>,
    /// What the client is to be told, until it is.
    pub(super) notice: Option<BytesMut>,
}

// === impl Bell ===

impl Bell {
    /// Takes the statement back that waits. `false` if none does.
    pub(super) fn ring(&self) -> bool {
        let waits = self.waits.load(Ordering::Acquire);
        if waits {
            self.rung.notify_one();
        }
        waits
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").field("waits", &self.waits).finish_non_exhaustive()
    }
}
