//! The broker's API. Its bodies, proofs and errors are described in [`guard_core::control`].

mod approvals;
mod auth;
mod data;
mod gateway;
mod health;
mod log;
mod oauth;
pub(crate) mod openapi;
mod people;
mod session;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
    routing::{MethodRouter, get, post, put},
};
use guard_audit::PublicKey;
use guard_core::control::{Audience, SealingKeyInfo, SealingKeys};
use serde::de::DeserializeOwned;
use tower_http::timeout::TimeoutLayer;

use crate::{
    app::{App, RouteName},
    error::Refusal,
    pages,
    telemetry::{self, Parent},
};

/// Identity tokens and questions are short.
const MAX_BODY: usize = 128 * 1024;
/// A batch of events has about 1 MiB, but one statement may have as much, and JSON can make it six
/// times as long.
const MAX_EVENTS_BODY: usize = 24 << 20;
/// What people are asked has 64 KiB of a statement and as much of parameters, and JSON can make it six times as long.
const MAX_QUESTION_BODY: usize = 1 << 20;
/// The longest poll that is answered, so that a dead peer is not waited for longer.
const MAX_WAIT: Duration = Duration::from_secs(25);
/// No request takes longer: a long poll, or the end of a session with its drain.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// All routes. The metrics and the OpenAPI document name each, and the router is made of them.
fn routes() -> Vec<(RouteName, MethodRouter<Arc<App>>)> {
    let events = DefaultBodyLimit::max(MAX_EVENTS_BODY);
    let questions = DefaultBodyLimit::max(MAX_QUESTION_BODY);
    vec![
        (("GET", "/healthz"), get(health::alive)),
        (("GET", "/readyz"), get(health::ready)),
        (("GET", "/v1/openapi.json"), get(openapi::serve)),
        (("GET", "/v1/audience"), get(audience)),
        (("GET", "/v1/keys"), get(keys)),
        (("GET", "/v1/log/checkpoint"), get(log::checkpoint)),
        (("GET", "/v1/log/proof/{session}"), get(log::proof)),
        (("GET", "/v1/log/consistency"), get(log::consistency)),
        (("GET", "/v1/log/leaves"), get(log::leaves)),
        (("POST", "/oauth/token"), post(oauth::token)),
        (("GET", "/v1/session/state"), get(session::state)),
        (("POST", "/v1/session/enforce"), post(session::enforce)),
        (("POST", "/v1/session/isolation"), post(session::isolation)),
        (("POST", "/v1/session/egress"), post(session::egress)),
        (("POST", "/v1/session/egress/{id}"), post(session::egress_ended)),
        (("POST", "/v1/session/renew"), post(session::renew)),
        (("POST", "/v1/session/end"), post(session::end)),
        (("GET", "/v1/session/record"), get(session::record)),
        (("GET", "/v1/session/attestation"), get(session::attestation)),
        (("POST", "/v1/gateways/enrol"), post(gateway::enrol)),
        (("PUT", "/v1/gateways/self"), put(gateway::register)),
        (("POST", "/v1/sessions/authorize"), post(gateway::authorize)),
        (("GET", "/v1/sessions/{id}/state"), get(gateway::state)),
        (("POST", "/v1/leases"), post(data::lease)),
        (("POST", "/v1/leases/{id}/release"), post(data::release)),
        (("POST", "/v1/approvals"), post(approvals::ask).layer(questions)),
        (("GET", "/v1/approvals/{id}/state"), get(approvals::state)),
        (("POST", "/v1/approvals/{id}/use"), post(approvals::spend)),
        (("POST", "/v1/approvals/{id}/cancel"), post(approvals::cancel)),
        (("POST", "/v1/people/device"), post(people::device)),
        (("POST", "/v1/people/device/token"), post(people::token)),
        (("GET", "/v1/people/self"), get(people::me)),
        (("POST", "/v1/people/sign-out"), post(people::sign_out)),
        (("GET", "/v1/people/approvals"), get(people::list)),
        (("GET", "/v1/people/approvals/{id}"), get(people::one)),
        (("POST", "/v1/people/approvals/{id}"), post(people::decide)),
        (("POST", "/v1/record"), post(data::append).layer(events)),
    ]
}

/// Method and path of all routes.
pub(crate) fn route_names() -> impl Iterator<Item = RouteName> {
    routes().into_iter().map(|(name, _)| name)
}

/// The same, and those of pages.
pub(crate) fn counted_names() -> impl Iterator<Item = RouteName> {
    route_names().chain(pages::routes().into_iter().map(|(name, _)| name))
}

/// The router.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (name, route) in routes().into_iter().chain(pages::routes()) {
        let counted = middleware::from_fn_with_state((app.clone(), name), count);
        router = router.route(name.1, route.layer(counted));
    }
    router
        .fallback(pages::nowhere)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(middleware::map_response(never_stored))
        .layer(middleware::map_response(when_again))
        .with_state(app)
}

/// What is served at the address for those who watch the broker.
pub(crate) fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .with_state(app)
}

/// Counts a request of a route.
async fn count(
    State((app, name)): State<(Arc<App>, RouteName)>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let parent = Parent::of(request.headers());
    let answer = telemetry::request(name, parent, next.run(request)).await;
    app.sessions.metrics.answered(name, answer.status().as_u16(), started.elapsed());
    answer
}

/// Answers carry tokens and credentials: no cache between may keep them (RFC 6749 section 5.1).
async fn never_stored(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Whoever cannot be served now may ask again soon: 503 is for a store that is busy or away, or an issuer or a source of
/// credentials that is, and nothing is half done.
async fn when_again(mut answer: Response) -> Response {
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    answer
}

async fn audience(State(app): State<Arc<App>>) -> Json<Audience> {
    Json(Audience { audience: app.sessions.config().audience.clone() })
}

/// The keys that verify the seals of records.
async fn keys(State(app): State<Arc<App>>) -> Result<Json<SealingKeys>, Refusal> {
    let info = |key: PublicKey| SealingKeyInfo { id: key.id().to_string(), key: key.to_string() };
    let keys = app.sessions.log.keys().await?;
    Ok(Json(SealingKeys { keys: keys.into_iter().map(info).collect() }))
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
