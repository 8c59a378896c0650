//! A session of a job that can ask for identity tokens as long as it runs goes on by fresh ones: when the platform gives no
//! more, the job is over, and so is its session, whoever has its key.

use std::sync::atomic::Ordering;

use guard_audit::Event;
use guard_core::{Timestamp, control::Renewed};

use super::{Session, Sessions};
use crate::{claims::VerifiedRun, config::Config, error::Refusal, store::Renewal};

/// Renewals that a session's record tells of at most. A job of six hours needs some forty; one that asks more often than
/// that fills no record.
const MAX_RENEWALS: u64 = 1_000;

/// Until when a token keeps a session alive. It counts from when the token was made, so that to show one again gains
/// nothing.
pub(super) fn until(issued: Timestamp, config: &Config) -> Timestamp {
    issued.checked_add(config.sessions.renew).unwrap_or(Timestamp::MAX)
}

impl Sessions {
    /// Keeps a session alive by another identity token of its job.
    pub(crate) async fn renew_session(
        &self,
        session: &Session,
        run: &VerifiedRun,
    ) -> Result<Renewed, Refusal> {
        session.require_live()?;
        if run.identity.run != session.row.identity.run {
            return Err(Refusal::Forbidden("the identity token is of another job".into()));
        }
        let id = session.row.id;
        let until = until(run.issued, &self.config());
        // A store counts seconds.
        let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
        match self.store.renew(id, until).await? {
            Renewal::Longer => {}
            Renewal::Anyway(until) => return Ok(Renewed { until }),
            Renewal::No => {
                let message = "the session goes on by heartbeats, or is over";
                return Err(Refusal::Invalid(message.into()));
            }
        }
        tracing::info!(session = %id, %until, "renewed a session");
        if session.renewals.fetch_add(1, Ordering::Relaxed) < MAX_RENEWALS {
            session.record.append_own(Event::SessionRenewed { until }).await?;
        }
        Ok(Renewed { until })
    }
}
