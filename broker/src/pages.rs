//! Pages for people: runs, and what is made of their records. Served from the program itself, nothing from elsewhere.

mod access;
mod approvals;
mod assets;
pub(crate) mod frame;
mod runs;

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Redirect, Response},
    routing::{MethodRouter, get, post},
};

use crate::{
    app::{App, RouteName},
    people::{callback, sign_in, sign_out},
};

pub(crate) use approvals::why_not;

/// The routes of pages. They are no part of the API and of its document.
pub(crate) fn routes() -> Vec<(RouteName, MethodRouter<Arc<App>>)> {
    let routes = vec![
        (("GET", "/"), get(async || Redirect::to("/runs"))),
        (("GET", "/assets/{name}"), get(asset)),
        (("GET", "/sign-in"), get(sign_in)),
        (("GET", "/sign-in/callback"), get(callback)),
        (("POST", "/sign-out"), post(sign_out)),
        (("GET", "/runs"), get(runs::list)),
        (("GET", "/runs/{id}"), get(runs::one)),
        (("GET", "/runs/{id}/{file}"), get(runs::download)),
        (("GET", "/access"), get(access::access)),
        (("GET", "/access.json"), get(access::json)),
        (("GET", "/approvals"), get(approvals::list)),
        (("GET", "/approvals/{id}"), get(approvals::one)),
        (("POST", "/approvals/{id}"), post(approvals::decide)),
        (("GET", "/live/{id}"), get(runs::live)),
        (("GET", "/live/{id}/events"), get(runs::events)),
    ];
    let framed = |(name, route): (RouteName, MethodRouter<Arc<App>>)| {
        (name, route.layer(middleware::map_response(frame::framed)))
    };
    routes.into_iter().map(framed).collect()
}

/// What is told of an address at which nothing is: a page, to a browser, where there are pages.
pub(crate) async fn nowhere(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok());
    if app.people.is_some() && accepts.is_some_and(|kinds| kinds.contains("text/html")) {
        let words = "There is nothing at this address. It may be cut off, or of another broker.";
        return frame::plain(StatusCode::NOT_FOUND, "Not found", words);
    }
    StatusCode::NOT_FOUND.into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    match assets::find(&name) {
        Some((kind, text)) => {
            let mut answer = text.into_response();
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            answer
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
