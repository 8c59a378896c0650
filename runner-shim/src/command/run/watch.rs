//! Follows the session at the broker while the child runs: its heartbeat, its refusals, its end.

use std::{sync::Arc, time::Duration};

use guard_core::{
    DenialCode, EndReason,
    control::{Notice, SessionState},
};
use guard_engine::{
    control::{ControlError, ControlPlane as _},
    end::EndSignal,
    exchange::Session,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::words::say;

/// Between two questions when the broker does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// After this long without a word of the broker the session counts as over here.
const SILENCE: Duration = Duration::from_secs(30);

/// What was told of refusals so far.
#[derive(Default)]
pub(super) struct Refusals {
    /// Where to go on.
    after: u64,
    /// Told when a statement was refused that people may still approve, for a later run.
    pub(super) parked: Arc<watch::Sender<bool>>,
    /// In an agent, who tells the runs.
    pub(super) agent: Option<Agent>,
}

/// Takes each answer of the broker.
pub(super) type Agent = Box<dyn Fn(&SessionState) + Send + Sync>;

/// Whether people may still approve it, for a later run.
pub(super) fn is_parked(notice: &Notice) -> bool {
    !notice.held && notice.denial.code == DenialCode::ApprovalNeeded
}

impl Refusals {
    /// Asks for the state, and tells the refusals that came in.
    pub(super) async fn ask(
        &mut self,
        session: &Session,
        wait: Duration,
    ) -> Result<SessionState, ControlError> {
        let state = session.client.state(session.info.id, self.after, wait).await?;
        self.after = state.next;
        match &self.agent {
            Some(agent) => agent(&state),
            None => state.notices.iter().for_each(|notice| self.tell(notice)),
        }
        Ok(state)
    }

    /// Says what was refused.
    pub(super) fn tell(&self, notice: &Notice) {
        let denial = &notice.denial;
        // What waits is not refused, and what is parked is not only refused.
        if is_parked(notice) {
            self.parked.send_replace(true);
        }
        say(&format!("{}: {denial}", notice.resource));
        if let Some(detail) = &denial.detail {
            say(&format!("  {detail}"));
        }
        if let Some(hint) = &denial.hint {
            say(&format!("  hint: {hint}"));
        }
    }
}

/// Follows the session until it ends. Each question is a heartbeat.
pub(super) async fn watch(
    session: &Session,
    end: &EndSignal,
    refusals: &mut Refusals,
) -> EndReason {
    // Asked twice a beat, one lost answer does not lose the session.
    let wait = Duration::from_secs((session.info.heartbeat_secs / 2).max(1));
    let mut heard = Instant::now();
    let reason = loop {
        match refusals.ask(session, wait).await {
            Ok(state) => {
                heard = Instant::now();
                if let Some(reason) = state.ended {
                    break reason;
                }
            }
            Err(error) if error.is_over() => break EndReason::Lost,
            Err(error) => {
                tracing::debug!(%error, "no word of the session");
                if heard.elapsed() > SILENCE {
                    say(&error.to_string());
                    break EndReason::Unrecorded;
                }
                sleep(PAUSE).await;
            }
        }
    };
    end.end(reason);
    reason
}
