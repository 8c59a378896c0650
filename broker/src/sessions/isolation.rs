//! What a shim says of the isolation of its commands, in the record.

use std::sync::atomic::Ordering;

use guard_audit::Event;
use guard_core::control::ReachedIsolation;

use super::{Session, Sessions};
use crate::error::Refusal;

/// Commands of a session of which its record tells at most; a job of that many tells nothing new.
const MAX_COMMANDS: u64 = 1_000;
/// Reasons that are taken.
const MAX_REASONS: usize = 8;
/// Characters of one.
const MAX_REASON: usize = 300;

impl Sessions {
    /// Records at which level a command is about to be run. One below what the trust rule asks for is recorded and refused.
    pub(crate) async fn isolated(
        &self,
        session: &Session,
        reached: ReachedIsolation,
    ) -> Result<(), Refusal> {
        let required = self.config().trust.isolation(&session.row.trust_rule);
        let reasons = reached.why_not.iter().take(MAX_REASONS);
        let why_not = reasons.map(|reason| reason.chars().take(MAX_REASON).collect()).collect();
        let (level, step) = (reached.level, reached.step);
        if session.isolated.fetch_add(1, Ordering::Relaxed) < MAX_COMMANDS {
            session.record.append_own(Event::Isolated { level, required, why_not, step }).await?;
        }
        match required {
            Some(required) if level < required => Err(Refusal::Forbidden(format!(
                "the trust rule asks for isolation `{required}`, and the command has `{level}`"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}
