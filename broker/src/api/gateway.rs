//! What gateways ask: to be known, and whether a shim that came may come.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use guard_core::{
    EnforceAt, SessionId, Timestamp,
    control::{Authorize, Enforcement, EnrolGateway, GatewayInfo, RegisterGateway, SessionState},
};

use super::{
    Poll,
    auth::{Claimed, Gateway, session_of},
    parse,
};
use crate::app::App;
use crate::{
    config::KnownBy,
    error::Refusal,
    issuers::IdentityError,
    proofs::{Request, Scope},
    sessions::Caller,
};

/// Of what a gateway says of itself, each is shorter.
const MAX_TEXT: usize = 300;

pub(super) async fn register(
    State(app): State<Arc<App>>,
    Gateway(name): Gateway,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let ask: RegisterGateway = parse(&body)?;
    let port = ask.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if ask.address.len() > MAX_TEXT || ask.version.len() > MAX_TEXT || port.is_none() {
        return Err(Refusal::Invalid("the address is not `host:port`".into()));
    }
    let info = GatewayInfo { name, address: ask.address, certificate: ask.certificate };
    app.sessions.register(info, &ask.version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key comes in by a token. The gateway proves that it has the key, and by the token that it may come in. The proof is not
/// remembered, or strangers could fill that memory: the token is what works once.
pub(super) async fn enrol(
    State(app): State<Arc<App>>,
    Claimed { name, proven }: Claimed,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let ask: EnrolGateway = parse(&body)?;
    let (token, key) = (ask.token.expose(), &proven.thumbprint);
    let config = app.sessions.config();
    match config.gateways.get(&name).map(|configured| &configured.known_by) {
        Some(KnownBy::Identity(who)) => {
            let verified = app.issuers.verify_gateway(token, key, who, Timestamp::now()).await;
            let verified = verified.map_err(|error| match error {
                IdentityError::Token(fault) => Refusal::Unauthorized(fault.to_string()),
                IdentityError::Keys { .. } => Refusal::Internal(error.to_string()),
            })?;
            app.sessions.enrol_by_identity(&name, who, &verified, token, key).await?;
        }
        Some(KnownBy::Key(_)) | None => app.sessions.enrol(&name, token, key).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn authorize(
    State(app): State<Arc<App>>,
    Gateway(name): Gateway,
    body: Bytes,
) -> Result<Json<Enforcement>, Refusal> {
    let ask: Authorize = parse(&body)?;
    // A proof for another gateway's tunnel is none for this one's.
    let address = app.sessions.store.gateway_address(&name).await?;
    let uri = address.map(|address| format!("https://{address}/v1/tunnel/{}", ask.resource));
    if ask.method != "POST" || uri.as_ref() != Some(&ask.uri) {
        return Err(Refusal::Forbidden("the proof is for another gateway's tunnel".into()));
    }
    let token = ask.access_token.expose();
    let request = Request { method: &ask.method, uri: &ask.uri, token: Some(token) };
    let shim = match session_of(&app, token, &ask.proof, request, Scope::AllBrokers).await {
        // The gateway showed who it is; it is the shim that did not.
        Err(Refusal::Unauthorized(reason)) => {
            let decision_id = Refusal::Unauthorized(reason).log();
            let message = format!("the session's proof does not hold (decision {decision_id})");
            return Err(Refusal::Forbidden(message));
        }
        shim => shim?,
    };
    let session = shim.live()?;
    let enforcement = app.sessions.enforcement(&session, &ask.resource).await?;
    match enforcement.resource.enforce_at {
        EnforceAt::Gateway => {}
        EnforceAt::Shim => {
            let message = format!("`{}` is enforced in the shim", ask.resource);
            return Err(Refusal::Forbidden(message));
        }
    }
    if !app.sessions.may_serve(&name, &ask.resource).await? {
        let message = format!("gateway `{name}` has not the labels for `{}`", ask.resource);
        return Err(Refusal::Forbidden(message));
    }
    app.sessions.add_tunnel(&session, &name, &ask.resource).await?;
    Ok(Json(enforcement))
}

pub(super) async fn state(
    State(app): State<Arc<App>>,
    Gateway(name): Gateway,
    Path(id): Path<String>,
    Query(poll): Query<Poll>,
) -> Result<Json<SessionState>, Refusal> {
    let id: SessionId = id.parse().map_err(|_| Refusal::NoSession)?;
    let session = app.sessions.of(&Caller::Gateway(name), id).await?;
    // Notices are for the shim; a gateway waits for the end alone.
    let mut state = app.sessions.watch(&session, u64::MAX, poll.wait()).await?;
    state.next = poll.after;
    Ok(Json(state))
}
