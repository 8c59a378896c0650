//! Follows the session at the broker while the child runs: its heartbeat, its refusals, its end.

use std::{sync::Arc, time::Duration};

use guard_core::{DenialCode, EndReason, control::SessionState};
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
    /// How many there were.
    pub(super) count: u64,
    /// Told when a statement was refused that people may still approve, for a later run.
    pub(super) parked: Arc<watch::Sender<bool>>,
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
        for notice in &state.notices {
            let denial = &notice.denial;
            // What waits is not refused, and what is parked is not only refused.
            self.count += u64::from(!notice.held);
            if !notice.held && denial.code == DenialCode::ApprovalNeeded {
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
        Ok(state)
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
