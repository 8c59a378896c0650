//! The shim's first words to the broker: an identity token for a session (RFC 8693).

use std::{sync::Arc, time::Duration};

use guard_core::{
    ResourceName, Secret, Timestamp,
    control::{ACCESS_TOKEN_TYPE, ExchangeAnswer, ID_TOKEN_TYPE, SessionInfo, TOKEN_EXCHANGE},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::{
    control::ControlError,
    http::{BrokerClient, Proof},
    keys::SessionKey,
};

/// A session as its shim holds it: what it may reach, and what it proves itself with.
pub struct Session {
    /// What the broker said of it.
    pub info: SessionInfo,
    /// The token.
    pub token: Secret,
    /// The key that the token is bound to.
    pub key: Arc<SessionKey>,
    /// A client that proves itself as this session.
    pub client: BrokerClient,
}

/// An exchange that no broker answered is asked again for this long.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// One that a broker has no time for, or cannot do just now, is asked again for this long.
const BUSY_FOR: Duration = Duration::from_secs(10);
/// Between two tries, and each time twice as long while a broker is busy.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The broker says nothing to strangers; whoever runs it finds the reason by the decision's number.
const NO_REASON: &str = "this run gets no session with these resources: the broker's log says why";

/// RFC 6749 section 5.2, with the broker's `decision_id`.
#[derive(Deserialize)]
struct OauthError {
    error: String,
    error_description: Option<String>,
    decision_id: Option<String>,
}

/// Exchanges an identity token for a session with these resources; for all that the run may have
/// if none are named. The session is bound to the key, and so may the token be.
pub async fn exchange(
    client: &BrokerClient,
    key: SessionKey,
    identity_token: &Secret,
    resources: &[ResourceName],
) -> Result<Session, ControlError> {
    let broker = client.broker();
    let scope = resources.iter().map(ResourceName::as_str).collect::<Vec<_>>().join(" ");
    let mut form = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", identity_token.expose()),
        ("subject_token_type", ID_TOKEN_TYPE),
        ("requested_token_type", ACCESS_TOKEN_TYPE),
    ];
    if !scope.is_empty() {
        form.push(("scope", &scope));
    }
    let started = Instant::now();
    let mut busy = RETRY_PAUSE;
    let (status, body) = loop {
        let proof = key
            .prove("POST", &format!("{broker}/oauth/token"), None, Timestamp::now())
            .map_err(|error| ControlError::Unproven(error.to_string()))?;
        // Should the answer be lost, the broker gives it again to the same key.
        match client.token_form(&form, proof).await {
            Err(error) if error.is_unanswered() && started.elapsed() < RETRY_FOR => {
                tracing::debug!(%error, "exchanging again");
                sleep(RETRY_PAUSE).await;
            }
            Ok((502 | 504, _)) if started.elapsed() < RETRY_FOR => sleep(RETRY_PAUSE).await,
            Ok((status @ (429 | 503), _)) if started.elapsed() + busy < BUSY_FOR => {
                tracing::debug!(status, "the broker is busy; exchanging again");
                sleep(busy).await;
                busy *= 2;
            }
            answered => break answered?,
        }
    };
    let garbled = |reason: String| ControlError::Garbled { broker: broker.to_string(), reason };
    if status != 200 {
        let error = serde_json::from_slice::<OauthError>(&body)
            .map_err(|_| garbled(format!("it answered with status {status}")))?;
        return Err(ControlError::Refused {
            status,
            message: error.error_description.unwrap_or_else(|| NO_REASON.into()),
            code: error.error,
            decision_id: error.decision_id,
        });
    }
    let answer: ExchangeAnswer =
        serde_json::from_slice(&body).map_err(|error| garbled(error.to_string()))?;
    if !answer.token_type.eq_ignore_ascii_case("DPoP") {
        return Err(garbled("the token is not bound to the session's key".into()));
    }
    let key = Arc::new(key);
    let token = answer.access_token;
    let client = client.clone().with_proof(Proof::Session(key.clone(), token.clone()));
    Ok(Session { info: answer.session, token, key, client })
}
