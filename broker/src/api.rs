//! The broker's API. Its bodies, proofs and errors are described in [`guard_core::control`].

mod auth;
mod data;
mod gateway;
mod oauth;
mod session;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    routing::{get, post, put},
};
use guard_core::control::{Audience, SealingKeyInfo, SealingKeys};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower_http::timeout::TimeoutLayer;

use crate::{error::Refusal, issuers::Issuers, proofs::Once, sessions::Sessions};

/// Identity tokens and questions are short.
const MAX_BODY: usize = 128 * 1024;
/// A batch of events has about 1 MiB, but one statement may have as much, and JSON can make it six
/// times as long.
const MAX_EVENTS_BODY: usize = 24 << 20;
/// The longest poll that is answered, so that a dead peer is not waited for longer.
const MAX_WAIT: Duration = Duration::from_secs(25);
/// No request takes longer: a long poll, or the end of a session with its drain.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// What every request may need.
#[derive(Debug)]
pub(crate) struct App {
    /// The sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// Whose tokens are taken.
    pub(crate) issuers: Issuers,
    /// Proofs that were used.
    pub(crate) once: Once,
}

/// The routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let events = Router::new()
        .route("/v1/record", post(data::append))
        .layer(DefaultBodyLimit::max(MAX_EVENTS_BODY));
    Router::new()
        .route("/healthz", get(health))
        .route("/v1/audience", get(audience))
        .route("/v1/keys", get(keys))
        .route("/oauth/token", post(oauth::token))
        .route("/v1/session/state", get(session::state))
        .route("/v1/session/enforce", post(session::enforce))
        .route("/v1/session/end", post(session::end))
        .route("/v1/session/record", get(session::record))
        .route("/v1/gateways/self", put(gateway::register))
        .route("/v1/sessions/authorize", post(gateway::authorize))
        .route("/v1/sessions/{id}/state", get(gateway::state))
        .route("/v1/leases", post(data::lease))
        .route("/v1/leases/{id}/release", post(data::release))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(events)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(middleware::map_response(never_stored))
        .with_state(app)
}

/// Answers carry tokens and credentials: no cache between may keep them (RFC 6749 section 5.1).
async fn never_stored(mut answer: axum::response::Response) -> axum::response::Response {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn health(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    app.sessions.store.ping().await?;
    Ok(Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })))
}

async fn audience(State(app): State<Arc<App>>) -> Json<Audience> {
    Json(Audience { audience: app.sessions.config.audience.clone() })
}

/// The keys that verify the seals of records.
async fn keys(State(app): State<Arc<App>>) -> Json<SealingKeys> {
    let key = app.sessions.public_key();
    Json(SealingKeys {
        keys: vec![SealingKeyInfo { id: key.id().to_string(), key: key.to_string() }],
    })
}

/// Reads a JSON body.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Invalid(format!("the body: {error}")))
}

/// The query of a long poll.
#[derive(Debug, serde::Deserialize)]
struct Poll {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

impl Poll {
    fn wait(&self) -> Duration {
        Duration::from_secs(self.wait).min(MAX_WAIT)
    }
}
