//! What the agent and its connections share.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use guard_core::{ResourceName, Timestamp, control::SessionState};
use guard_engine::{exchange::Session, threads::Threads};
use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{super::route::Route, runs::Runs, wire::Ended};

/// What the agent's connections share.
pub(super) struct Shared {
    pub(super) session: Session,
    pub(super) broker: String,
    pub(super) asked: Vec<String>,
    pub(super) routes: Vec<(ResourceName, Arc<Route>)>,
    pub(super) hidden: Vec<PathBuf>,
    pub(super) token_env: Option<String>,
    pub(super) threads: Arc<Threads>,
    pub(super) runs: Mutex<Runs>,
    /// Until when the session is, and how many notices were passed on.
    pub(super) heard: channel::Sender<(Timestamp, u64)>,
    /// Why the session is to end, besides what the broker says.
    pub(super) wishes: mpsc::UnboundedSender<Wish>,
    /// Everything is over: connections that are still open are cut.
    pub(super) cut: CancellationToken,
    pub(super) clients: TaskTracker,
}

impl Shared {
    pub(super) fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self, state: &SessionState) {
        let mut runs = self.runs();
        for notice in &state.notices {
            runs.notice(notice);
        }
        runs.count(&state.steps);
        drop(runs);
        self.heard.send_replace((state.until, state.next));
    }
}

/// Somebody wants the session to end.
pub(super) enum Wish {
    /// `guard session stop`.
    Stop { report: Option<PathBuf>, done: oneshot::Sender<Ended> },
    /// A run was killed.
    Freed(u32),
}
