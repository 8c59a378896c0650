//! The pages of runs, and who may see what: who may not see values gets everything without them, and no record.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use guard_audit::report::{grouped, short};
use guard_core::SessionId;

use super::frame::{self, Page};
use crate::{
    app::App,
    error::Refusal,
    log::Proven,
    people::{Role, SignedIn},
    record::RecordError,
    runs::{
        Digested, Form, Values,
        live::{Feed, Following, follow},
        view::{self, Other, RunPage, RunsQuery, StatementsQuery, file_name},
    },
    store::{RunRow, RunState},
};

/// How long a page waits for the log.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

/// `GET /runs`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Query(query): Query<RunsQuery>,
) -> Result<Response, Refusal> {
    let body = view::runs(&app.sessions, &query).await?;
    let page = Page { title: "Runs", at: "runs", live: false };
    Ok(frame::page(page, &signed_in, &body))
}

/// `GET /runs/{id}`.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    Query(query): Query<StatementsQuery>,
) -> Result<Response, Refusal> {
    let values = values(&signed_in);
    let run = find(&app, &id).await?;
    let digested = digested(&app, &run, values).await?;
    let green = match app.sessions.store.green_before(&run).await? {
        Some(id) => other(&app, id, values).await,
        None => None,
    };
    let logged = logged(&app, &run).await;
    let page = RunPage {
        run: &run,
        digested: &digested,
        green: green.as_ref(),
        values,
        query: &query,
        logged,
    };
    let title = short(&run.repository);
    let page = (page.render()?, Page { title: &title, at: "runs", live: false });
    Ok(frame::page(page.1, &signed_in, &page.0))
}

/// `GET /runs/{id}/{file}`: the record, or the report in one of its forms.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Path((id, file)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let values = values(&signed_in);
    let run = find(&app, &id).await?;
    let (kind, body) = match file.as_str() {
        "record.jsonl" => {
            let filed = sealed(&app, &run, values).await?;
            let record = app.sessions.records().read(run.id, filed).await?;
            ("application/x-ndjson", Body::from_stream(record))
        }
        // In the public log for everyone: it says nothing of what a run did.
        "record.proof" => match app.sessions.log.proof(run.id).await? {
            Proven::Yes(proof) => ("text/plain; charset=utf-8", Body::from(proof.to_string())),
            Proven::No => return Err(Refusal::NoSession),
        },
        "report.intoto.jsonl" => {
            let filed = sealed(&app, &run, values).await?;
            let line = app.sessions.attest(run.id, filed).await?;
            ("application/x-ndjson", Body::from(line))
        }
        "events.ocsf.jsonl" => {
            let filed = sealed(&app, &run, values).await?;
            let events = app.sessions.runs.export(run.id, filed, Form::Ocsf).await?;
            ("application/x-ndjson", Body::from_stream(events))
        }
        "findings.sarif" => {
            let filed = sealed(&app, &run, values).await?;
            let findings = app.sessions.runs.export(run.id, filed, Form::Sarif).await?;
            ("application/sarif+json", Body::from_stream(findings))
        }
        "report.html" => {
            let html = digested(&app, &run, values).await?.report.to_html();
            let html = html.map_err(|error| Refusal::Internal(error.to_string()))?;
            ("text/html; charset=utf-8", Body::from(html))
        }
        "report.json" => {
            // The bytes that the in-toto statement is about.
            let json = digested(&app, &run, values).await?.report.to_json();
            let json = json.map_err(|error| Refusal::Internal(error.to_string()))?;
            ("application/json", Body::from(json))
        }
        "report.md" => {
            let text = digested(&app, &run, values).await?.report.to_markdown();
            ("text/markdown; charset=utf-8", Body::from(text))
        }
        _ => return Err(Refusal::NoSession),
    };
    let mut answer = frame::guarded(body.into_response());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Never shown in a page of the broker's, whatever a job wrote into it.
    let name = format!("attachment; filename=\"{}\"", file_name(run.id, &file));
    let name = HeaderValue::from_str(&name).map_err(|_| Refusal::NoSession)?;
    headers.insert(header::CONTENT_DISPOSITION, name);
    let locked = HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'");
    headers.insert(header::CONTENT_SECURITY_POLICY, locked);
    Ok(answer)
}

/// `GET /live/{id}`.
pub(super) async fn live(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let run = find(&app, &id).await?;
    if run.state != RunState::Live {
        return Ok(Redirect::to(&format!("/runs/{}", run.id)).into_response());
    }
    let body = view::live(&run, values(&signed_in))?;
    let title = short(&run.repository);
    let page = Page { title: &title, at: "live", live: true };
    Ok(frame::page(page, &signed_in, &body))
}

/// `GET /live/{id}/events`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let run = find(&app, &id).await?;
    let Some(place) = app.sessions.runs.streams.place(&signed_in.person.key()) else {
        return Ok(StatusCode::TOO_MANY_REQUESTS.into_response());
    };
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let tail = match app.sessions.records().tail(run.id).await {
        Ok(tail) => tail,
        // 204 has the browser not come again.
        Err(RecordError::Disk(_)) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => return Err(error.into()),
    };
    let feed = Feed::new(tail, values(&signed_in), seen);
    let following = Following {
        sessions: app.sessions.clone(),
        id: run.id,
        reader: signed_in.hash(),
        stop: app.stop.clone(),
    };
    let events = follow(following, place, feed);
    let mut answer = frame::guarded(Body::from_stream(events).into_response());
    let kind = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

/// What somebody may see of statements.
fn values(signed_in: &SignedIn) -> Values {
    if signed_in.person.may(Role::Auditor) { Values::Shown } else { Values::Hidden }
}

/// Whether a sealed record is in the recordings. What has values in it is for those who may see them.
async fn sealed(app: &App, run: &RunRow, values: Values) -> Result<bool, Refusal> {
    if values == Values::Hidden {
        return Err(Refusal::Forbidden("a record is for auditors".into()));
    }
    let state = app.sessions.store.state(run.id).await?.ok_or(Refusal::NoSession)?;
    if state.sealed { Ok(state.filed) } else { Err(Refusal::NoSession) }
}

async fn find(app: &App, id: &str) -> Result<RunRow, Refusal> {
    let id: SessionId = id.parse().map_err(|_| Refusal::NoSession)?;
    app.sessions.store.run(id).await?.ok_or(Refusal::NoSession)
}

async fn digested(app: &App, run: &RunRow, values: Values) -> Result<Arc<Digested>, Refusal> {
    let state = app.sessions.store.state(run.id).await?.ok_or(Refusal::NoSession)?;
    Ok(app.sessions.runs.of(run.id, state.sealed, state.filed, values).await?)
}

/// What the transparency log says of a run's seal, if it says so at once.
async fn logged(app: &App, run: &RunRow) -> Option<String> {
    let proof = tokio::time::timeout(LOG_PATIENCE, app.sessions.log.proof(run.id)).await;
    match proof {
        Ok(Ok(Proven::Yes(proof))) => {
            let size = grouped(proof.checkpoint.unverified().size);
            let index = grouped(proof.index);
            Some(format!(
                "Its seal is leaf {index}, counted from 0, of the {size} in this broker's log, which only grows."
            ))
        }
        Ok(Ok(Proven::No) | Err(_)) | Err(_) => None,
    }
}

/// The run to compare with, if its record can still be read.
async fn other(app: &App, id: SessionId, values: Values) -> Option<Other> {
    let run = app.sessions.store.run(id).await.ok().flatten()?;
    let digested = digested(app, &run, values).await.ok()?;
    Some(Other { run, digested })
}
