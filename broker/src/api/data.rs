//! What enforcement points ask for: credentials, and a place in the record.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use guard_audit::Event;
use guard_core::{
    LeaseId,
    control::{AppendEvents, Appended, AskLease, Lease},
};

use super::{auth::Either, parse};
use crate::app::App;
use crate::{error::Refusal, telemetry};

pub(super) async fn lease(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    body: Bytes,
) -> Result<Json<Lease>, Refusal> {
    let ask: AskLease = parse(&body)?;
    let session = app.sessions.of(&caller, ask.session).await?;
    let leasing = app.sessions.lease(&caller, &session, &ask.resource);
    Ok(Json(telemetry::step("lease", Some(ask.session), leasing).await?))
}

pub(super) async fn release(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let id: LeaseId = id.parse().map_err(|_| Refusal::Invalid("no id of a lease".into()))?;
    app.sessions.release(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn append(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    body: Bytes,
) -> Result<Json<Appended>, Refusal> {
    let ask: AppendEvents<Event> = parse(&body)?;
    let session = app.sessions.of(&caller, ask.session).await?;
    let appending = app.sessions.append(&session, &caller, ask.writer, ask.first, ask.events);
    let next = telemetry::step("append", Some(ask.session), appending).await?;
    Ok(Json(Appended { next }))
}
