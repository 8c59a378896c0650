//! What is around every page: its head, where one can go, who is signed in; and the headers that keep it from doing anything
//! but that.

use askama::Template;
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};

use guard_audit::report::short;
use guard_core::control::ApiError;

use super::assets;
use crate::people::SignedIn;

/// Nothing runs or loads but what this broker serves; a page is in nobody's frame; forms go nowhere else.
const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What callers are told is short.
const MAX_REFUSAL: usize = 64 * 1024;

#[derive(Template)]
#[template(path = "base.html")]
struct Base<'a> {
    title: &'a str,
    style: String,
    script: Option<String>,
    person: Option<PersonView>,
    at: &'a str,
    body: &'a str,
}

struct PersonView {
    name: String,
    roles: String,
    csrf: String,
}

impl PersonView {
    fn of(signed_in: &SignedIn) -> Self {
        let roles: Vec<_> = signed_in.person.roles.iter().map(|role| role.as_str()).collect();
        Self {
            name: short(&signed_in.person.name),
            roles: roles.join(", "),
            csrf: signed_in.csrf(),
        }
    }
}

/// What a page is called and needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Page<'a> {
    /// What it is called.
    pub(crate) title: &'a str,
    /// Where in the list of places it is.
    pub(crate) at: &'a str,
    /// Whether it follows a run.
    pub(crate) live: bool,
}

/// A page for somebody who is signed in. `body` is HTML.
pub(crate) fn page(page: Page<'_>, signed_in: &SignedIn, body: &str) -> Response {
    let (style, script) = (assets::style(), page.live.then(assets::live));
    let person = Some(PersonView::of(signed_in));
    render(StatusCode::OK, &Base { title: page.title, style, script, person, at: page.at, body })
}

/// A page with a few words, for anybody.
pub(crate) fn plain(status: StatusCode, title: &str, words: &str) -> Response {
    few_words(status, title, words, None)
}

fn few_words(status: StatusCode, title: &str, words: &str, person: Option<PersonView>) -> Response {
    #[derive(Template)]
    #[template(
        source = "<div class=\"narrow\"><h1>{{ title }}</h1><p>{{ words }}</p>{% if runs %}<p><a class=\"button\" href=\"/\">To the runs</a></p>{% endif %}</div>",
        ext = "html"
    )]
    struct Words<'a> {
        title: &'a str,
        words: &'a str,
        runs: bool,
    }
    // Whoever is signed in and reads this has no role: there is nothing to go to.
    let body = Words { title, words, runs: person.is_none() }.render().unwrap_or_default();
    let style = assets::style();
    render(status, &Base { title, style, script: None, person, at: "", body: &body })
}

/// What somebody is told who is signed in and may see nothing.
pub(crate) fn no_role(signed_in: &SignedIn) -> Response {
    let words = format!(
        "{} is signed in, and none of the groups that the provider names has a role here. Ask whoever looks after this broker.",
        short(&signed_in.person.name)
    );
    let person = PersonView::of(signed_in);
    few_words(StatusCode::FORBIDDEN, "No role", &words, Some(person))
}

/// An answer to a browser: a refusal in the frame of pages, anything else as it is.
pub(crate) async fn framed(answer: Response) -> Response {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || kind.is_none_or(|kind| kind != "application/json") {
        return answer;
    }
    let body = axum::body::to_bytes(answer.into_body(), MAX_REFUSAL).await.unwrap_or_default();
    let error: Option<ApiError> = serde_json::from_slice(&body).ok();
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "Not allowed",
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => "Not understood",
        _ => "This did not work",
    };
    let words = match error {
        Some(ApiError { message, decision_id: Some(id), .. }) => {
            format!("{message}. The broker's log has it under {id}.")
        }
        Some(ApiError { message, decision_id: None, .. }) => message,
        None => String::new(),
    };
    plain(status, title, &words)
}

fn render(status: StatusCode, base: &Base<'_>) -> Response {
    match base.render() {
        Ok(text) => guarded((status, Html(text)).into_response()),
        Err(error) => crate::error::Refusal::Internal(error.to_string()).into_response(),
    }
}

/// An answer with the headers of pages.
pub(crate) fn guarded(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // An address may hold what was sought; nobody else needs it.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
