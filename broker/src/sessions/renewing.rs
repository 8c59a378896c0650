//! A session of a job that can ask for identity tokens as long as it runs goes on by fresh ones: when the platform gives no
//! more, the job is over, and so is its session, whoever has its key.

use guard_core::{Timestamp, control::Renewed};

use super::{Session, Sessions};
use crate::{claims::VerifiedRun, config::Config, error::Refusal};

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
        let until = self.store.renew(id, until).await?.ok_or_else(|| {
            Refusal::Invalid("the session goes on by heartbeats, or is over".into())
        })?;
        tracing::info!(session = %id, %until, "renewed a session");
        Ok(Renewed { until })
    }
}
