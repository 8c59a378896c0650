//! The pages of approvals: what waits, what one request is about, and what came of those before.
//!
//! Who may decide is asked in one place only, [`Sessions::decide`](crate::sessions::Sessions::decide); what these pages show
//! beside a form is a help for the reader.

mod detail;
mod list;
mod statement;

use std::sync::Arc;

use axum::{
    Form,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Redirect, Response},
};
use guard_core::ApprovalId;
use serde::Deserialize;

use super::frame::{self, Page};
use crate::{app::App, error::Refusal, people::SignedIn, sessions::approvals::approval_of};

pub(super) use list::ListQuery;
pub(crate) use list::why_not;

/// What the form of a decision sends.
#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    reason: String,
}

/// `GET /approvals`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    let body = list::render(&app, &signed_in.person, &query).await?;
    let page = Page { title: "Approvals", at: "approvals", live: false };
    Ok(frame::page(page, &signed_in, &body))
}

/// `GET /approvals/{id}`.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    show(&app, &signed_in, approval_of(&id)?, None, StatusCode::OK).await
}

/// `POST /approvals/{id}`.
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(decision): Form<Decision>,
) -> Result<Response, Refusal> {
    let id = approval_of(&id)?;
    signed_in.check(&app, &headers, &decision.csrf)?;
    let grant = match decision.decision.as_str() {
        "approve" => true,
        "refuse" => false,
        _ => return Err(Refusal::Invalid("a decision is `approve` or `refuse`".into())),
    };
    match app.sessions.decide(&signed_in.person, id, grant, &decision.reason).await {
        Ok(row) => Ok(Redirect::to(&format!("/approvals/{}", row.id)).into_response()),
        Err(problem) => {
            let problem = Problem { words: problem.words()?, reason: decision.reason };
            show(&app, &signed_in, id, Some(problem), StatusCode::CONFLICT).await
        }
    }
}

/// Why a decision did not count, and what was written for it.
struct Problem {
    words: String,
    reason: String,
}

async fn show(
    app: &App,
    signed_in: &SignedIn,
    id: ApprovalId,
    problem: Option<Problem>,
    status: StatusCode,
) -> Result<Response, Refusal> {
    let row = app.sessions.store.approval(id).await?.ok_or(Refusal::NoSession)?;
    let votes = app.sessions.store.votes(id).await?;
    let body = detail::render(signed_in, &row, &votes, problem.as_ref())?;
    let page = Page { title: "Approval", at: "approvals", live: false };
    let mut answer = frame::page(page, signed_in, &body);
    *answer.status_mut() = status;
    Ok(answer)
}
