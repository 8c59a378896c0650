//! What enforcement points ask of people, and what came of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use guard_core::{
    ApprovalId, SessionId,
    control::{ApprovalStatus, AskApproval, CancelApproval, UseApproval},
};

use super::{MAX_WAIT, auth::Either, parse};
use crate::app::App;
use crate::error::Refusal;

/// The query of a long poll.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Waits {
    session: SessionId,
    #[serde(default)]
    wait: u64,
}

pub(super) async fn ask(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    body: Bytes,
) -> Result<Json<ApprovalStatus>, Refusal> {
    let ask: AskApproval = parse(&body)?;
    let session = app.sessions.of(&caller, ask.session).await?;
    app.sessions.ask_approval(&caller, &session, ask).await.map(Json)
}

pub(super) async fn state(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    Path(id): Path<String>,
    Query(query): Query<Waits>,
) -> Result<Json<ApprovalStatus>, Refusal> {
    let session = app.sessions.of(&caller, query.session).await?;
    let wait = Duration::from_secs(query.wait).min(MAX_WAIT);
    app.sessions.approval_state(&session, of(&id)?, wait).await.map(Json)
}

pub(super) async fn spend(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalStatus>, Refusal> {
    let ask: UseApproval = parse(&body)?;
    let session = app.sessions.of(&caller, ask.session).await?;
    app.sessions.use_approval(&caller, &session, of(&id)?, &ask).await.map(Json)
}

pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Either(caller): Either,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalStatus>, Refusal> {
    let ask: CancelApproval = parse(&body)?;
    let session = app.sessions.of(&caller, ask.session).await?;
    app.sessions.cancel_approval(&session, of(&id)?).await.map(Json)
}

fn of(id: &str) -> Result<ApprovalId, Refusal> {
    id.parse().map_err(|_| Refusal::Invalid("no id of a request".into()))
}
