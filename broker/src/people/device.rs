//! Signing in on the command line: the device flow (RFC 8628) of the provider, passed on.
//!
//! The command line has neither a client's secret nor any token of the provider's: it holds the device code, and the broker
//! asks for the tokens, reads who it is and gives a secret of its own for them.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use guard_core::{
    Digest, Timestamp,
    people::{DeviceSignIn, DeviceState, PersonInfo},
};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Person, Provider,
    oidc::{SignInError, error_of},
    roles,
    sign_in::random,
    signed_in::provider,
};
use crate::{
    app::App,
    error::{Refusal, chain},
    store::{Held, NewSignedIn, SignedInRow},
};

/// RFC 8628 section 3.4.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What the secrets begin with, so that scanners of repositories find them.
const PREFIX: &str = "guard_person_";
/// A longer secret is none of ours, and a longer code no provider's.
const MAX_SECRET: usize = 256;
const MAX_CODE: usize = 4_096;
/// A longer text of the provider's is not passed on.
const MAX_WORD: usize = 2_048;
/// RFC 8628 section 3.2: between two questions, unless the provider says otherwise.
const INTERVAL: u64 = 5;
/// Strangers have the broker ask the provider: so many at a time.
static AT_ONCE: Semaphore = Semaphore::const_new(8);

/// Somebody who is signed in on the command line.
#[derive(Debug, Clone)]
pub(crate) struct ByToken {
    /// Who.
    pub(crate) person: Person,
    hash: Digest,
}

/// Begins.
pub(crate) async fn start(app: &App) -> Result<DeviceSignIn, Refusal> {
    let provider = allowed(app)?;
    let _place = place()?;
    let away = |error: SignInError| unavailable(&error);
    let endpoint = provider.endpoints().await.map_err(away)?.device.ok_or_else(|| {
        Refusal::Invalid(
            "the provider has no device flow: it cannot sign people in on the command line; use the pages".into(),
        )
    })?;
    let scopes = provider.scopes();
    let form = vec![("scope", scopes.as_str())];
    let (status, body) = provider.post(endpoint, form).await.map_err(away)?;
    if !status.is_success() {
        return Err(Refusal::Invalid(format!(
            "the provider does not begin to sign anybody in: {} {}",
            status.as_u16(),
            error_of(&body)
        )));
    }
    let word = |name: &str| {
        let word = body.get(name).and_then(Value::as_str).filter(|word| word.len() <= MAX_WORD);
        word.map(str::to_owned)
    };
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let is_page = |text: &String| {
        url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
    };
    let odd = || Refusal::Invalid("the provider's answer is not that of a device flow".into());
    Ok(DeviceSignIn {
        device_code: word("device_code").ok_or_else(odd)?,
        user_code: word("user_code").ok_or_else(odd)?,
        verification_uri: word("verification_uri").filter(is_page).ok_or_else(odd)?,
        verification_uri_complete: word("verification_uri_complete").filter(is_page),
        expires_in: number("expires_in").unwrap_or(0),
        interval: number("interval").unwrap_or(INTERVAL),
    })
}

/// Asks whether somebody has signed in.
pub(crate) async fn poll(app: &App, code: &str) -> Result<DeviceState, Refusal> {
    let provider = allowed(app)?;
    if code.is_empty() || code.len() > MAX_CODE {
        return Err(Refusal::Invalid("no device code".into()));
    }
    let _place = place()?;
    let away = |error: SignInError| unavailable(&error);
    let endpoint = provider.endpoints().await.map_err(away)?.token;
    let form = vec![("grant_type", DEVICE_CODE), ("device_code", code)];
    let (status, body) = provider.post(endpoint, form).await.map_err(away)?;
    if !status.is_success() {
        // RFC 8628 section 3.5.
        return match error_of(&body).as_str() {
            "authorization_pending" => Ok(DeviceState::Waiting),
            "slow_down" => Ok(DeviceState::SlowDown),
            "access_denied" => Ok(DeviceState::Denied),
            "expired_token" => Ok(DeviceState::Expired),
            other => Err(Refusal::Invalid(format!("the provider refuses the code: {other}"))),
        };
    }
    let vouched = provider.vouched(&body, None).await.map_err(away)?;
    let config = app.sessions.config();
    let Some(people) = &config.people else { return Err(Refusal::NoSession) };
    if roles(people, &vouched.groups).is_empty() {
        tracing::warn!(subject = vouched.subject, "somebody without a role signed in");
        return Ok(DeviceState::Denied);
    }
    let token = format!("{PREFIX}{}", random()?);
    let lasts = i64::try_from(people.session.as_secs()).unwrap_or(0);
    let until = Timestamp::now().as_second().saturating_add(lasts);
    let new = NewSignedIn {
        token_hash: Digest::of(&token),
        held: Held::Token,
        issuer: provider.issuer().to_owned(),
        subject: vouched.subject,
        name: vouched.name,
        groups: vouched.groups,
        claims: vouched.claims,
        until: Timestamp::from_second(until).unwrap_or_default(),
    };
    app.sessions.store.sign_in(&new).await?;
    tracing::info!(subject = new.subject, "somebody signed in on the command line");
    let row = SignedInRow {
        issuer: new.issuer,
        subject: new.subject,
        name: new.name,
        groups: new.groups,
        claims: new.claims,
        until: new.until,
    };
    let person = Person::of(row, people).ok_or(Refusal::NoSession)?;
    Ok(DeviceState::SignedIn { token, person: person.info() })
}

impl ByToken {
    /// Signs out.
    pub(crate) async fn sign_out(&self, app: &App) -> Result<(), Refusal> {
        Ok(app.sessions.store.sign_out(self.hash).await?)
    }
}

impl Person {
    /// What others may know.
    pub(crate) fn info(&self) -> PersonInfo {
        PersonInfo {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            name: self.name.clone(),
            roles: self.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            until: self.until,
        }
    }
}

impl FromRequestParts<Arc<App>> for ByToken {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        provider(app)?;
        let config = app.sessions.config();
        let Some(people) = &config.people else { return Err(Refusal::NoSession) };
        let nobody = || Refusal::Unauthorized("nobody is signed in".into());
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(nobody()) };
        let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let token = token.filter(|token| token.starts_with(PREFIX) && token.len() <= MAX_SECRET);
        let hash = Digest::of(token.ok_or_else(nobody)?);
        let found = app.sessions.store.signed_in(hash, Held::Token).await?;
        let person = found.and_then(|found| Person::of(found, people)).ok_or_else(nobody)?;
        if person.roles.is_empty() {
            return Err(Refusal::Forbidden("none of your groups has a role here".into()));
        }
        Ok(Self { person, hash })
    }
}

fn allowed(app: &App) -> Result<&Provider, Refusal> {
    let config = app.sessions.config();
    if config.people.as_ref().is_some_and(|people| !people.device) {
        return Err(Refusal::Forbidden("nobody signs in on the command line here".into()));
    }
    provider(app)
}

fn place() -> Result<SemaphorePermit<'static>, Refusal> {
    AT_ONCE.try_acquire().map_err(|_| Refusal::TooMany("too many sign in at once".into()))
}

fn unavailable(error: &SignInError) -> Refusal {
    tracing::warn!(error = chain(error), "nobody was signed in on the command line");
    Refusal::LeaseUnavailable("the provider does not sign anybody in now".into())
}
