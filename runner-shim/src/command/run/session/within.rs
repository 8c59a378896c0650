//! Runs a command within a session that an agent keeps.

use std::{path::Path, sync::Arc};

use guard_core::Secret;
use guard_engine::threads::Threads;

use super::{
    super::{
        Args, FAILED, PARKED, RunError, Way as Around, finish::plural, guarded, life::Life,
        output::Known,
    },
    AgentError,
    attached::Attached,
};
use crate::{sandbox, words::say};

/// Runs the command.
pub(in crate::command::run) async fn run(
    args: &Args,
    socket: &Path,
    threads: &Arc<Threads>,
) -> Result<u8, RunError> {
    if args.learn.is_asked() {
        return Err(AgentError::LearnAtStop.into());
    }
    let (mut attached, hidden, token_env) = Attached::join(args, socket).await?;
    let known = Known::default();
    // The agent's tokens are in its memory only. What else there is to hide is in this run's own environment.
    for secret in sandbox::platform_secrets() {
        known.add(&secret);
    }
    if let Some(value) = token_env.as_deref().and_then(sandbox::platform_variable) {
        known.add(&Secret::new(value.trim()));
    }
    let around = Around::begin(args, hidden.into_iter().collect(), &known)?;
    let mut life = Life::Attached(&mut attached);
    let code = guarded(args, &mut life, around, token_env.as_deref(), threads).await;
    drop(life);
    let exit_code = match &code {
        Ok(code) => *code,
        Err(_) => FAILED,
    };
    let farewell = attached.farewell(exit_code).await;
    // What was parked at the last moment parks the run, too.
    let parked = *attached.refusals.parked.borrow();
    let code = if parked { code.map(|_| PARKED) } else { code };
    match (code, farewell) {
        (Err(error), _) => Err(error),
        (Ok(code), Some(counts)) => {
            say(&format!(
                "{} {} executed, {} refused, {} {} masked in this step so far; the report comes with `guard session stop`",
                counts.allowed,
                plural(counts.allowed, "statement"),
                counts.refused,
                counts.masked,
                plural(counts.masked, "value"),
            ));
            Ok(code)
        }
        // A run of whose end nobody knows is not one to rely on; a failure of its own says more.
        (Ok(code), None) if attached.ended => Ok(code),
        (Ok(code), None) => {
            say("the session's agent is gone: the broker ends the session and seals its record");
            Ok(if code == 0 { FAILED } else { code })
        }
    }
}
