//! Keeps the session alive by fresh identity tokens, which the platform gives as long as the job runs.

use std::{convert::Infallible, future::pending, time::Duration};

use guard_core::{Timestamp, control::RenewSession};
use guard_engine::exchange::Session;
use tokio::time::sleep;

use super::{RunError, output::Known, token::Source};
use crate::words::{chain, say};

/// Between two tries, if there is so much time left.
const PAUSE: Duration = Duration::from_secs(10);
/// Between two tries at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// Who gives the tokens, and for what they are asked.
pub(super) struct Tokens<'a> {
    pub(super) source: &'a Source,
    /// `None`: the token was there, and there is nobody to ask.
    pub(super) audience: Option<String>,
    /// Where they are noted as what does not belong into a log.
    pub(super) known: &'a Known,
}

/// Renews the session in half of each time that it has, until the future is dropped.
pub(super) async fn keep(session: &Session, tokens: &Tokens<'_>) -> Infallible {
    let Some(renew) = session.info.renew_secs.map(Duration::from_secs) else {
        return pending().await;
    };
    let Some(audience) = &tokens.audience else {
        say(&format!(
            "the session lasts for {} s: there is nobody to ask for another identity token",
            renew.as_secs()
        ));
        return pending().await;
    };
    let mut wait = renew / 2;
    let mut told = false;
    loop {
        sleep(wait).await;
        wait = match fresh(session, tokens, audience).await {
            Ok(left) => {
                told = false;
                left / 2
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    say(&format!("the session could not be renewed: {}", chain(&error)));
                }
                (renew / 8).min(PAUSE)
            }
        };
        wait = wait.max(SHORTEST_PAUSE);
    }
}

/// Renews it. Gives how long it has then.
async fn fresh(
    session: &Session,
    tokens: &Tokens<'_>,
    audience: &str,
) -> Result<Duration, RunError> {
    let identity_token = tokens.source.request(audience).await?;
    tokens.known.add(&identity_token);
    let renewed = session.client.renew(&RenewSession { identity_token }).await?;
    let left = renewed.until.duration_since(Timestamp::now());
    Ok(Duration::try_from(left).unwrap_or_default())
}
