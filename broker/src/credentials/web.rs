//! The way to servers that give tokens: TLS, bounded answers, no redirects.

use std::time::Duration;

use guard_core::Secret;
use reqwest::{RequestBuilder, StatusCode, header::HeaderValue, redirect};
use url::Url;
use zeroize::Zeroizing;

use super::CredentialError;
use crate::error::chain;

/// A server that gives tokens has nothing to think about.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer with a token has some kilobytes; GitHub's lists repositories besides.
const MAX_ANSWER: usize = 1 << 20;

/// A client for one server.
pub(super) fn client(at: &Url, tls_ca: Option<&str>) -> Result<reqwest::Client, CredentialError> {
    let failed = |error: reqwest::Error| CredentialError(chain(&error));
    let mut http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        // A secret goes to the address that is configured, and nowhere else.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("guard-broker/", env!("CARGO_PKG_VERSION")));
    if at.scheme() == "http" {
        http = http.no_proxy();
    }
    if let Some(pem) = tls_ca {
        let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(failed)?;
        http = http.tls_certs_only(authorities);
    }
    http.build().map_err(failed)
}

/// Asks, and reads the answer.
pub(super) async fn ask(
    request: RequestBuilder,
) -> Result<(StatusCode, Zeroizing<Vec<u8>>), CredentialError> {
    let failed = |error: reqwest::Error| CredentialError(chain(&error));
    let mut answer = request.send().await.map_err(failed)?;
    let mut text = Zeroizing::new(Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if text.len() + chunk.len() > MAX_ANSWER {
            return Err(CredentialError("the answer is too long".into()));
        }
        text.extend_from_slice(&chunk);
    }
    Ok((answer.status(), text))
}

/// A value of Authorization.
pub(super) fn authorization(text: &str) -> Result<HeaderValue, CredentialError> {
    let value = HeaderValue::from_str(text);
    let mut value =
        value.map_err(|_| CredentialError("the secret is no value of a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token as it can be sent on: in one piece.
pub(super) fn token(token: Secret) -> Result<Secret, CredentialError> {
    let text = token.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CredentialError("the server gave a token that is none".into()));
    }
    Ok(token)
}

/// What a server says of a problem, as a log can have it.
pub(super) fn said(text: Option<String>) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.unwrap_or_default().chars().map(plain).take(200).collect()
}
