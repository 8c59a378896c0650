//! Who a request comes from, by the cookie of its browser.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse as _, Redirect, Response},
};
use guard_core::Digest;

use super::{Person, Provider};
use crate::{app::App, error::Refusal, pages::frame, store::Held};

/// The cookie of somebody who is signed in. The prefix has browsers take it from this host and over TLS only.
pub(super) const COOKIE: &str = "__Host-guard";
/// A longer cookie is none of ours.
const MAX_COOKIE: usize = 4_096;

/// Somebody who is signed in and has a role.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    /// Who.
    pub(crate) person: Person,
    /// The cookie's value.
    pub(super) token: String,
}

impl SignedIn {
    /// By what the store knows this sign-in.
    pub(crate) fn hash(&self) -> Digest {
        Digest::of(&self.token)
    }

    /// What only our pages have, for this browser.
    pub(crate) fn csrf(&self) -> String {
        csrf(&self.token)
    }
}

/// Somebody who is signed in, with a role or without.
pub(crate) struct Anyone(pub(crate) SignedIn);

impl FromRequestParts<Arc<App>> for Anyone {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        provider(app).map_err(Refusal::into_response)?;
        let config = app.sessions.config();
        let Some(people) = &config.people else { return Err(Refusal::NoSession.into_response()) };
        let found = match cookie(&parts.headers, COOKIE) {
            Some(token) => app
                .sessions
                .store
                .signed_in(Digest::of(token), Held::Browser)
                .await
                .map_err(|error| Refusal::from(error).into_response())?
                .and_then(|found| Person::of(found, people))
                .map(|found| (token.to_owned(), found)),
            None => None,
        };
        let Some((token, person)) = found else { return Err(to_sign_in(parts)) };
        Ok(Self(SignedIn { person, token }))
    }
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let Anyone(signed_in) = Anyone::from_request_parts(parts, app).await?;
        if signed_in.person.roles.is_empty() {
            return Err(frame::no_role(&signed_in));
        }
        Ok(signed_in)
    }
}

/// A page is asked for again after signing in; anything else is just refused.
fn to_sign_in(parts: &Parts) -> Response {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let page = accepts.is_some_and(|accepts| accepts.contains("text/html"));
    if parts.method != Method::GET || !page {
        return Refusal::Unauthorized("nobody is signed in".into()).into_response();
    }
    let to = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?to={to}")).into_response()
}

/// The provider, where people can sign in at all.
pub(super) fn provider(app: &App) -> Result<&Provider, Refusal> {
    let config = app.sessions.config();
    let provider = app.people.as_ref().zip(config.people.as_ref());
    match provider {
        Some((provider, people)) if provider.is_of(people) => Ok(provider),
        Some(_) | None => Err(Refusal::NoSession),
    }
}

/// A cookie of a request.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, value)| *found == name && value.len() <= MAX_COOKIE)
        .map(|(_, value)| value);
    // Two of one name: neither can be meant.
    let first = found.next()?;
    if found.next().is_some() { None } else { Some(first) }
}

/// What only our pages have: made of the cookie, which scripts cannot read and other pages do not know.
pub(super) fn csrf(token: &str) -> String {
    Digest::of(format!("guard form {token}")).to_string()
}
