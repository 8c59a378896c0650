//! The transparency log, for everyone: it names sessions and times, and nothing of what they did.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use guard_core::SessionId;

use crate::app::App;
use crate::{
    error::{Refusal, chain},
    log::{LogError, Proven},
};

/// The query of a proof of consistency.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Sizes {
    from: u64,
    to: u64,
}

/// The query of leaves.
#[derive(Debug, serde::Deserialize)]
pub(super) struct From {
    #[serde(default)]
    from: u64,
}

pub(super) async fn checkpoint(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    Ok(text(app.sessions.log.checkpoint().await?.to_string()))
}

pub(super) async fn proof(
    State(app): State<Arc<App>>,
    Path(session): Path<String>,
) -> Result<Response, Refusal> {
    // The checkpoint with all keys of the log.
    if session == "key" {
        return Ok(text(app.sessions.log.key_proof().await?.to_string()));
    }
    let session: SessionId =
        session.parse().map_err(|_| Refusal::Invalid("no id of a session".into()))?;
    match app.sessions.log.proof(session).await? {
        Proven::Yes(proof) => Ok(text(proof.to_string())),
        Proven::No => Err(Refusal::NoSession),
    }
}

pub(super) async fn consistency(
    State(app): State<Arc<App>>,
    Query(Sizes { from, to }): Query<Sizes>,
) -> Result<Response, Refusal> {
    Ok(text(app.sessions.log.consistency(from, to).await?.to_string()))
}

pub(super) async fn leaves(
    State(app): State<Arc<App>>,
    Query(From { from }): Query<From>,
) -> Result<Response, Refusal> {
    let leaves = app.sessions.log.leaves(from).await?;
    let mut lines = String::new();
    for leaf in leaves {
        lines.push_str(&leaf.line);
        lines.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response())
}

fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

impl std::convert::From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Invalid(message) => Self::Invalid(message),
            LogError::Store(_)
            | LogError::Changed { .. }
            | LogError::Checkpoint(_)
            | LogError::Json(_)
            | LogError::Key(_)
            | LogError::OldKey { .. }
            | LogError::ForeignKey { .. }
            | LogError::NotYet => Self::Internal(chain(&error)),
        }
    }
}
