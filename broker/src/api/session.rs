//! What a shim asks for its own session.

use std::{collections::BTreeMap, io, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use guard_core::{
    Digest, EndReason, EnforceAt,
    control::{AskEnforcement, EndSession, Enforcement, SessionEnded, SessionState},
};
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{App, Poll, auth::Shim, parse};
use crate::error::Refusal;

/// A record is sent in pieces of this size.
const PIECE: usize = 64 * 1024;

pub(super) async fn state(
    State(app): State<Arc<App>>,
    shim: Shim,
    Query(poll): Query<Poll>,
) -> Result<Json<SessionState>, Refusal> {
    let session = match shim {
        Shim::Live(session) => session,
        Shim::Over(row) => {
            return Ok(Json(SessionState {
                ended: Some(row.end_reason()),
                until: row.until,
                notices: Vec::new(),
                next: poll.after,
            }));
        }
    };
    session.heard();
    // A shim that waits is not silent, so it must not wait for as long as a silence may last.
    let wait = poll.wait().min(app.sessions.config.sessions.lost_after / 2);
    let state = session.watch(poll.after, wait).await;
    session.heard();
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

pub(super) async fn end(
    State(app): State<Arc<App>>,
    shim: Shim,
    body: Bytes,
) -> Result<Json<SessionEnded>, Refusal> {
    let ask: EndSession = parse(&body)?;
    let session = match shim {
        Shim::Live(session) => session,
        // Asked again because the answer was lost.
        Shim::Over(row) => {
            let (entries, head) = row.reached.unwrap_or((0, Digest::ZERO));
            return Ok(Json(SessionEnded { entries, head, unreleased: BTreeMap::new() }));
        }
    };
    app.sessions.end(&session, EndReason::Finished, Some(ask.exit_code));
    Ok(Json(session.sealed().await?))
}

pub(super) async fn record(State(app): State<Arc<App>>, shim: Shim) -> Result<Response, Refusal> {
    let id = match shim {
        Shim::Over(row) => row.id,
        Shim::Live(_) => {
            return Err(Refusal::Invalid(
                "the session is not over, so its record is not whole".into(),
            ));
        }
    };
    let file = File::open(app.sessions.records().path(id))
        .await
        .map_err(|error| Refusal::Unrecorded(error.to_string()))?;
    let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
        Ok::<_, io::Error>((!piece.is_empty()).then_some((piece, file)))
    });
    let kind = [(header::CONTENT_TYPE, "application/jsonl")];
    Ok((kind, Body::from_stream(pieces)).into_response())
}
