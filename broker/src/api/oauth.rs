//! `POST /oauth/token`: an identity token for a session (RFC 8693), bound to a key (RFC 9449).
//!
//! Whoever is refused learns which kind of thing was wrong and an id. Why stands in the log under it.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use guard_core::{
    ResourceName, Timestamp,
    control::{ACCESS_TOKEN_TYPE, ExchangeAnswer, ID_TOKEN_TYPE, TOKEN_EXCHANGE},
};
use serde_json::json;

use super::auth::{DPOP, only};
use crate::app::App;
use crate::{
    error::{Refusal, chain},
    issuers::IdentityError,
    proofs::{self, Request, Scope, SpendError},
    telemetry,
};

/// RFC 8693 section 3: a JWT, whatever it is for.
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Resources that one session may ask for.
const MAX_RESOURCES: usize = 100;

/// An error of RFC 6749 section 5.2, with the reason for the log.
#[derive(Debug)]
pub(super) struct OauthError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
    reason: String,
}

impl OauthError {
    fn request(description: &'static str) -> Self {
        let reason = description.to_owned();
        Self { status: StatusCode::BAD_REQUEST, error: "invalid_request", description, reason }
    }

    fn proof(reason: &dyn std::fmt::Display) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: "invalid_dpop_proof",
            description: "the proof of possession does not hold: check the clock, and that the \
                          broker's address is exactly the one it is configured with",
            reason: reason.to_string(),
        }
    }

    fn grant(reason: &dyn std::fmt::Display) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: "invalid_grant",
            description: "the identity token is not accepted",
            reason: reason.to_string(),
        }
    }

    fn denied(reason: String) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            error: "access_denied",
            description: "no session for this run",
            reason,
        }
    }

    fn unavailable(error: &'static str, reason: String) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error,
            description: "the broker cannot do this now",
            reason,
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let decision_id = uuid::Uuid::new_v4().to_string();
        let Self { status, error, description, reason } = self;
        if status.is_server_error() {
            tracing::error!(decision_id, error, reason, "cannot exchange a token");
        } else {
            tracing::warn!(decision_id, error, reason, "refused to exchange a token");
        }
        let body = json!({
            "error": error,
            "error_description": description,
            "decision_id": decision_id,
        });
        (status, Json(body)).into_response()
    }
}

/// What was asked for.
struct Exchange {
    subject_token: zeroize::Zeroizing<String>,
    resources: Vec<ResourceName>,
}

pub(super) async fn token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<ExchangeAnswer>, OauthError> {
    let started = Instant::now();
    let answer = telemetry::step("exchange", None, exchange(&app, &headers, &body)).await;
    let error = answer.as_ref().err().map(|error| error.error);
    app.sessions.metrics.exchanged(error, started.elapsed());
    answer
}

async fn exchange(
    app: &App,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Json<ExchangeAnswer>, OauthError> {
    let exchange = read(headers, body)?;
    let now = Timestamp::now();
    let proof = only(headers, &DPOP).map_err(|fault| OauthError::proof(&fault))?;
    let uri = format!("{}/oauth/token", app.sessions.config().url);
    let request = Request { method: "POST", uri: &uri, token: None };
    let proven = proofs::verify(proof, request, now).map_err(|fault| OauthError::proof(&fault))?;
    let verifying = app.issuers.verify(&exchange.subject_token, &proven.thumbprint, now);
    let verified = telemetry::step("verify identity token", None, verifying).await;
    let run = verified.map_err(|error| match error {
        IdentityError::Token(_) => OauthError::grant(&error),
        IdentityError::Keys { .. } => {
            OauthError::unavailable("temporarily_unavailable", error.to_string())
        }
    })?;
    // Only now, so that strangers cannot fill the memory of used proofs.
    let spent = app.once.spend(&proven, Scope::AllBrokers, now).await;
    spent.map_err(|error| match error {
        SpendError::Fault(fault) => OauthError::proof(&fault),
        SpendError::Store(error) => OauthError::unavailable("server_error", chain(&error)),
    })?;
    let ask = guard_policy::Request { resources: exchange.resources };
    // One for all of it: another may come meanwhile.
    let config = app.sessions.config();
    let admission = config.trust.admit(&run.identity, &ask, now);
    let admission = admission
        .map_err(|reason| OauthError::denied(format!("{reason} (run: {})", run.identity.run)))?;
    let opening = app.sessions.open(&config, run, admission, proven.thumbprint);
    let opened = telemetry::step("open session", None, opening).await;
    let opened = opened.map_err(|refusal| match refusal {
        Refusal::Unauthorized(reason) => OauthError::grant(&reason),
        Refusal::Forbidden(reason) => OauthError::denied(reason),
        Refusal::NoSession
        | Refusal::Gap { .. }
        | Refusal::SessionOver(_)
        | Refusal::Deleted(_)
        | Refusal::PolicyChanged
        | Refusal::TooMany(_)
        | Refusal::Invalid(_)
        | Refusal::LeaseUnavailable(_)
        | Refusal::Unrecorded(_)
        | Refusal::Internal(_) => OauthError::unavailable("server_error", refusal.reason()),
    })?;
    let expires_in = opened.info.until.duration_since(now).as_secs();
    Ok(Json(ExchangeAnswer {
        access_token: opened.token,
        issued_token_type: ACCESS_TOKEN_TYPE.to_owned(),
        token_type: "DPoP".to_owned(),
        expires_in: u64::try_from(expires_in).unwrap_or_default(),
        session: opened.info,
    }))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Exchange, OauthError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OauthError::request("the body is not a form"));
    }
    let form: Vec<_> = url::form_urlencoded::parse(body).collect();
    // RFC 6749 section 3.2: parameters must not be there more than once.
    let only = |name: &str| {
        let mut values = form.iter().filter(|(key, _)| key == name).map(|(_, value)| &**value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
            (_, Some(_)) => Err(OauthError::request("a parameter is there twice")),
        }
    };
    if only("grant_type")? != Some(TOKEN_EXCHANGE) {
        let mut error = OauthError::request("only token exchange (RFC 8693) is done here");
        error.error = "unsupported_grant_type";
        return Err(error);
    }
    let subject_token = only("subject_token")?;
    let subject_token = subject_token.ok_or(OauthError::request("`subject_token` is missing"))?;
    match only("subject_token_type")? {
        Some(ID_TOKEN_TYPE | JWT_TYPE) => {}
        Some(_) | None => {
            return Err(OauthError::request("`subject_token_type` is not an id token"));
        }
    }
    match only("requested_token_type")? {
        Some(ACCESS_TOKEN_TYPE) | None => {}
        Some(_) => return Err(OauthError::request("only access tokens are given")),
    }
    if only("actor_token")?.is_some() {
        return Err(OauthError::request("nobody acts for another here"));
    }
    let mut resources = Vec::new();
    for name in only("scope")?.unwrap_or_default().split(' ').filter(|name| !name.is_empty()) {
        let mut error = OauthError::request("`scope` is not a list of resources");
        error.error = "invalid_scope";
        match ResourceName::new(name) {
            Ok(name) if resources.len() < MAX_RESOURCES => {
                if !resources.contains(&name) {
                    resources.push(name);
                }
            }
            Ok(_) | Err(_) => return Err(error),
        }
    }
    let subject_token = zeroize::Zeroizing::new(subject_token.to_owned());
    Ok(Exchange { subject_token, resources })
}
