//! What a shim asks for its own session.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use guard_core::{
    Digest, EgressId, EndReason, EnforceAt, SessionId, Timestamp,
    control::{
        AskEnforcement, EgressAnswer, EndSession, Enforcement, RenewSession, Renewed, SessionEnded,
        SessionState,
    },
};

use super::{Poll, auth::Shim, parse};
use crate::app::App;
use crate::{error::Refusal, issuers::IdentityError};

pub(super) async fn state(
    State(app): State<Arc<App>>,
    shim: Shim,
    Query(poll): Query<Poll>,
) -> Result<Json<SessionState>, Refusal> {
    let session = match shim {
        Shim::Live(session) => session,
        Shim::Over(closed) => {
            let (row, state) = *closed;
            let ended = state.ended.map_or(EndReason::Lost, |(reason, _)| reason);
            return Ok(Json(SessionState {
                ended: Some(ended),
                until: row.until,
                notices: Vec::new(),
                steps: BTreeMap::new(),
                next: poll.after,
            }));
        }
    };
    app.sessions.heard(&session);
    // A shim that waits is not silent, so it must not wait for as long as a silence may last.
    let wait = poll.wait().min(app.sessions.config().sessions.lost_after / 2);
    let state = app.sessions.watch(&session, poll.after, wait).await?;
    app.sessions.heard(&session);
    Ok(Json(state))
}

pub(super) async fn enforce(
    State(app): State<Arc<App>>,
    shim: Shim,
    body: Bytes,
) -> Result<Json<Enforcement>, Refusal> {
    let session = shim.live()?;
    let ask: AskEnforcement = parse(&body)?;
    let enforcement = app.sessions.enforcement(&session, &ask.resource).await?;
    match enforcement.resource.enforce_at {
        EnforceAt::Shim => Ok(Json(enforcement)),
        // Neither the policy nor the mask's key is for the job then.
        EnforceAt::Gateway => {
            Err(Refusal::Forbidden(format!("`{}` is enforced at a gateway", ask.resource)))
        }
    }
}

pub(super) async fn isolation(
    State(app): State<Arc<App>>,
    shim: Shim,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let session = shim.live()?;
    app.sessions.isolated(&session, parse(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn egress(
    State(app): State<Arc<App>>,
    shim: Shim,
    body: Bytes,
) -> Result<Json<EgressAnswer>, Refusal> {
    let session = shim.live()?;
    Ok(Json(app.sessions.egress(&session, parse(&body)?).await?))
}

pub(super) async fn egress_ended(
    State(app): State<Arc<App>>,
    shim: Shim,
    Path(id): Path<EgressId>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let session = shim.live()?;
    app.sessions.egress_ended(&session, id, parse(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn renew(
    State(app): State<Arc<App>>,
    shim: Shim,
    body: Bytes,
) -> Result<Json<Renewed>, Refusal> {
    let session = shim.live()?;
    let ask: RenewSession = parse(&body)?;
    let (token, key) = (ask.identity_token.expose(), &session.row.key_thumbprint);
    let run = app.issuers.verify(token, key, Timestamp::now()).await;
    let run = run.map_err(|error| match error {
        IdentityError::Token(fault) => Refusal::Unauthorized(fault.to_string()),
        IdentityError::Keys { .. } => Refusal::Internal(error.to_string()),
    })?;
    Ok(Json(app.sessions.renew_session(&session, &run).await?))
}

pub(super) async fn end(
    State(app): State<Arc<App>>,
    shim: Shim,
    body: Bytes,
) -> Result<Json<SessionEnded>, Refusal> {
    let ask: EndSession = parse(&body)?;
    let session = match shim {
        Shim::Live(session) => session,
        // Asked again because the answer was lost.
        Shim::Over(closed) => {
            let (entries, head) = closed.1.reached.unwrap_or((0, Digest::ZERO));
            let unreleased = app.sessions.unreleased(closed.0.id).await?;
            return Ok(Json(SessionEnded { entries, head, unreleased }));
        }
    };
    app.sessions.end(&session, EndReason::Finished, Some(ask.exit_code)).await?;
    Ok(Json(app.sessions.sealed(&session).await?))
}

pub(super) async fn record(State(app): State<Arc<App>>, shim: Shim) -> Result<Response, Refusal> {
    let (id, filed) = sealed(&app, shim).await?;
    let pieces = app.sessions.records().read(id, filed).await?;
    let kind = [(header::CONTENT_TYPE, "application/jsonl")];
    Ok((kind, Body::from_stream(pieces)).into_response())
}

pub(super) async fn attestation(
    State(app): State<Arc<App>>,
    shim: Shim,
) -> Result<Response, Refusal> {
    let (id, filed) = sealed(&app, shim).await?;
    let line = app.sessions.attest(id, filed).await?;
    let kind = [(header::CONTENT_TYPE, "application/vnd.in-toto+json")];
    Ok((kind, line).into_response())
}

/// The session, if its record is sealed, and whether that was filed.
async fn sealed(app: &App, shim: Shim) -> Result<(SessionId, bool), Refusal> {
    let (id, state) = match shim {
        Shim::Over(closed) if closed.1.sealed => {
            let (row, state) = *closed;
            (row.id, state)
        }
        // Left as it is, for a person.
        Shim::Over(_) => {
            return Err(Refusal::Unrecorded("the record cannot be gone on with".into()));
        }
        // Another broker may have sealed it.
        Shim::Live(session) => (session.row.id, app.sessions.refresh(&session).await?),
    };
    if !state.sealed {
        return Err(Refusal::Invalid("the session is not over, so its record is not whole".into()));
    }
    if let Some(tombstone) = app.sessions.store.tombstone(id).await? {
        return Err(Refusal::Deleted(tombstone.to_string()));
    }
    Ok((id, state.filed))
}
