//! Signing in and out.
//!
//! What a sign-in needs to come back is in the browser, in a cookie that only this host can set: nothing is stored for
//! strangers. The state must come back with the same browser, so nobody can sign another one in.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{Digest, Timestamp};
use rand::TryRngCore as _;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::{
    SignedIn,
    signed_in::{Anyone, COOKIE, cookie, csrf, provider},
};
use crate::{
    app::App,
    error::{Refusal, chain},
    pages::frame,
    store::{Held, NewSignedIn},
};

/// What a sign-in that has begun needs to come back.
const BEGUN: &str = "__Host-guard-sign-in";
/// How long somebody may take at the provider, in seconds.
const BEGUN_FOR: u32 = 600;
/// Where somebody goes who did not want to go anywhere.
const HOME: &str = "/runs";
/// A longer address of a page is none of ours.
const MAX_TO: usize = 1_000;
/// A longer code is no provider's.
const MAX_CODE: usize = 4_096;

/// Where to go afterwards.
#[derive(Debug, Deserialize)]
pub(crate) struct To {
    #[serde(default)]
    to: String,
}

/// What the provider sends with the browser.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    iss: Option<String>,
}

/// The form of a button that changes something.
#[derive(Debug, Deserialize)]
pub(crate) struct Button {
    #[serde(default)]
    csrf: String,
}

/// `GET /sign-in`: off to the provider.
pub(crate) async fn sign_in(
    State(app): State<Arc<App>>,
    Query(To { to }): Query<To>,
) -> Result<Response, Refusal> {
    let provider = provider(&app)?;
    let (state, nonce, verifier) = (random()?, random()?, random()?);
    let back = back(&app);
    let url = match provider.address(&back, &state, &nonce, &verifier).await {
        Ok(url) => url,
        Err(error) => return Ok(failed(&chain(&error))),
    };
    let to = URL_SAFE_NO_PAD.encode(if is_ours(&to) { &to } else { HOME });
    let mut answer = Redirect::to(url.as_str()).into_response();
    let begun = format!("{state}.{nonce}.{verifier}.{to}");
    set_cookie(&mut answer, BEGUN, &begun, BEGUN_FOR);
    Ok(answer)
}

/// `GET /sign-in/callback`: back from the provider.
pub(crate) async fn callback(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Result<Response, Refusal> {
    let provider = provider(&app)?;
    let Some(begun) = cookie(&headers, BEGUN) else {
        return Ok(failed("this browser did not begin to sign in, or took too long"));
    };
    let mut parts = begun.split('.');
    let (Some(state), Some(nonce), Some(verifier), Some(to), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(failed("the cookie of the sign-in is not one"));
    };
    if !bool::from(state.as_bytes().ct_eq(answer.state.as_bytes())) {
        return Ok(failed("the answer is that of another sign-in"));
    }
    // RFC 9207 section 2.4: an answer of another provider, in the name of this one.
    let says_who = match provider.endpoints().await {
        Ok(endpoints) => endpoints.says_who,
        Err(error) => return Ok(failed(&chain(&error))),
    };
    match &answer.iss {
        Some(iss) if iss != provider.issuer() => {
            return Ok(failed("the answer is that of another provider"));
        }
        None if says_who => return Ok(failed("the answer does not say which provider it is of")),
        Some(_) | None => {}
    }
    if !answer.error.is_empty() || answer.code.is_empty() || answer.code.len() > MAX_CODE {
        return Ok(failed("the provider did not sign in"));
    }
    let vouched = match provider.redeem(&answer.code, &back(&app), nonce, verifier).await {
        Ok(vouched) => vouched,
        Err(error) => return Ok(failed(&chain(&error))),
    };
    let config = app.sessions.config();
    let lasts = config.people.as_ref().map_or(0, |people| people.session.as_secs());
    let token = random()?;
    let until = Timestamp::now().as_second().saturating_add(i64::try_from(lasts).unwrap_or(0));
    let new = NewSignedIn {
        token_hash: Digest::of(&token),
        issuer: provider.issuer().to_owned(),
        subject: vouched.subject,
        name: vouched.name,
        groups: vouched.groups,
        claims: vouched.claims,
        held: Held::Browser,
        until: Timestamp::from_second(until).unwrap_or_default(),
    };
    app.sessions.store.sign_in(&new).await?;
    tracing::info!(subject = new.subject, "somebody signed in");
    let to = URL_SAFE_NO_PAD.decode(to).ok().and_then(|to| String::from_utf8(to).ok());
    let to = to.filter(|to| is_ours(to)).unwrap_or_else(|| HOME.to_owned());
    let mut answer = Redirect::to(&to).into_response();
    set_cookie(&mut answer, BEGUN, "", 0);
    set_cookie(&mut answer, COOKIE, &token, u32::try_from(lasts).unwrap_or(u32::MAX));
    Ok(answer)
}

/// `POST /sign-out`.
pub(crate) async fn sign_out(
    State(app): State<Arc<App>>,
    Anyone(signed_in): Anyone,
    headers: HeaderMap,
    Form(button): Form<Button>,
) -> Result<Response, Refusal> {
    signed_in.check(&app, &headers, &button.csrf)?;
    app.sessions.store.sign_out(Digest::of(&signed_in.token)).await?;
    let mut answer = frame::plain(StatusCode::OK, "Signed out", "You are signed out.");
    set_cookie(&mut answer, COOKIE, "", 0);
    Ok(answer)
}

impl SignedIn {
    /// Whether a request that changes something comes from a page of ours: its origin says so, and it has what only our
    /// pages have.
    pub(crate) fn check(&self, app: &App, headers: &HeaderMap, token: &str) -> Result<(), Refusal> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let site = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
        let url = &app.sessions.config().url;
        let origin = text("origin").is_none_or(|origin| {
            url::Url::parse(url).is_ok_and(|own| own.origin().ascii_serialization() == origin)
        });
        let own = bool::from(csrf(&self.token).as_bytes().ct_eq(token.as_bytes()));
        if site && origin && own {
            Ok(())
        } else {
            Err(Refusal::Forbidden("this did not come from a page of the broker's".into()))
        }
    }
}

fn back(app: &App) -> String {
    format!("{}/sign-in/callback", app.sessions.config().url)
}

/// Whether an address is one of our pages: a path that no browser reads as another host.
fn is_ours(to: &str) -> bool {
    to.len() <= MAX_TO
        && to.starts_with('/')
        && !to.starts_with("//")
        && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// What a person is told who could not be signed in; the log says why.
fn failed(reason: &str) -> Response {
    tracing::warn!(reason, "nobody was signed in");
    let words = "Signing in did not work. Try again; if it stays so, the broker's log says why.";
    frame::plain(StatusCode::FORBIDDEN, "Not signed in", words)
}

/// `Lax`: the provider, and a message that leads to a run, send the browser here by links. What changes something is asked
/// for with more than a cookie.
fn set_cookie(answer: &mut Response, name: &str, value: &str, age: u32) {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={age}");
    // Base64 and what stands here are visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&text) {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
}

pub(super) fn random() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn nobody_is_sent_to_another_host_after_signing_in() {
        for (to, ours) in [
            ("/runs?decision=blocked", true),
            ("/live/0192", true),
            ("", false),
            ("runs", false),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("/\t/evil.example", false),
            ("https://evil.example", false),
            ("/runs\r\nset-cookie: a=b", false),
        ] {
            assert_eq!(is_ours(to), ours, "{to:?}");
        }
    }
}
