//! What the command line of somebody who signed in asks.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use guard_audit::report::without_literals;
use guard_core::people::{
    ApprovalView, ApprovalViews, AskPersonToken, DecideApproval, DeviceSignIn, DeviceState,
    PersonInfo,
};

use super::parse;
use crate::app::App;
use crate::{
    error::Refusal,
    pages::why_not,
    people::{ByToken, Person, Role, poll, start},
    sessions::approvals::{Decider as _, approval_of},
    store::ApprovalRow,
};

/// Requests that are listed.
const MAX_LISTED: u32 = 200;

pub(super) async fn device(State(app): State<Arc<App>>) -> Result<Json<DeviceSignIn>, Refusal> {
    start(&app).await.map(Json)
}

pub(super) async fn token(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<Json<DeviceState>, Refusal> {
    let ask: AskPersonToken = parse(&body)?;
    poll(&app, &ask.device_code).await.map(Json)
}

pub(super) async fn me(by: ByToken) -> Json<PersonInfo> {
    Json(by.person.info())
}

pub(super) async fn sign_out(
    State(app): State<Arc<App>>,
    by: ByToken,
) -> Result<StatusCode, Refusal> {
    by.sign_out(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    by: ByToken,
) -> Result<Json<ApprovalViews>, Refusal> {
    let mut waiting = Vec::new();
    for row in app.sessions.store.waiting_approvals(MAX_LISTED).await? {
        waiting.push(view(&app, &by.person, &row).await?);
    }
    Ok(Json(ApprovalViews { waiting }))
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    by: ByToken,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Refusal> {
    let row = app.sessions.store.approval(approval_of(&id)?).await?.ok_or(Refusal::NoSession)?;
    view(&app, &by.person, &row).await.map(Json)
}

pub(super) async fn decide(
    State(app): State<Arc<App>>,
    by: ByToken,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ApprovalView>, Refusal> {
    let ask: DecideApproval = parse(&body)?;
    match app.sessions.decide(&by.person, approval_of(&id)?, ask.grant, &ask.reason).await {
        Ok(row) => view(&app, &by.person, &row).await.map(Json),
        Err(problem) => Err(Refusal::Forbidden(problem.words()?)),
    }
}

async fn view(app: &App, person: &Person, row: &ApprovalRow) -> Result<ApprovalView, Refusal> {
    let votes = app.sessions.store.votes(row.id).await?;
    let said = votes.iter().any(|vote| vote.person == person.person());
    let why = why_not(person, row, said);
    let shown = person.may(Role::Approver) || person.may(Role::Auditor);
    let text = |text: &str| if shown { text.to_owned() } else { without_literals(text) };
    Ok(ApprovalView {
        id: row.id,
        state: row.state,
        what: text(&row.what),
        text: text(&row.subject.text),
        cut: row.subject.is_cut(),
        effects: row.subject.effects.iter().map(ToString::to_string).collect(),
        estimated_rows: row.subject.estimated_rows,
        resource: row.resource.to_string(),
        rules: row.terms.iter().map(|terms| terms.rule.to_string()).collect(),
        repository: row.identity.repository.clone(),
        actor: row.identity.actor.clone(),
        until: row.until,
        address: app.sessions.address(row.id),
        why_not: (!why.is_empty()).then_some(why),
    })
}
