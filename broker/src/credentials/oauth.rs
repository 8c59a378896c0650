//! Tokens of an OAuth 2.0 server, by client credentials (RFC 6749, section 4.4).
//!
//! Each lease has a token of its own, so that a session's can be given back (RFC 7009) without another's. Whoever enforces keeps it until
//! shortly before its end.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{Secret, Timestamp};
use reqwest::{RequestBuilder, header::AUTHORIZATION};
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded::byte_serialize};
use zeroize::Zeroizing;

use super::{
    Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken, sealed, secrets, web,
};
use crate::config::{ClientAuth, OauthConfig};

/// What a token is asked for anew before its end, so that none ends on its way; of a short one a quarter.
const SLACK: Duration = Duration::from_secs(60);
/// A token of which the server does not say how long it lasts.
const UNSAID: u64 = 300;
/// No token is kept for longer, whatever its server says.
const LONGEST: u64 = 24 * 3600;

/// The source.
#[derive(Debug)]
pub(super) struct Oauth<'a>(pub(super) &'a OauthConfig);

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OauthHandle {
    /// Where it came from.
    pub(crate) token_url: String,
    /// The token, where it can be given back: only who has the client's secret can read it.
    pub(crate) sealed: Option<String>,
    /// When it ends by itself.
    pub(crate) ends: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Problem {
    error: Option<String>,
}

impl CredentialSource for Oauth<'_> {
    fn plan(&self, _: &Ask<'_>) -> Result<Handle, CredentialError> {
        let token_url = self.0.token_url.to_string();
        Ok(Handle::Oauth(OauthHandle { token_url, sealed: None, ends: None }))
    }

    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        notes: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>> {
        async {
            let Handle::Oauth(planned) = handle else { return Err(super::foreign()) };
            let mut made = planned.clone();
            let secret = secrets::read(&self.0.client_secret).await?;
            let (token, lasts) = self.token(&secret).await?;
            let slack = SLACK.min(lasts / 4);
            made.ends = Some(Timestamp::now() + lasts);
            if self.0.revocation_url.is_some() {
                made.sealed = Some(sealed::seal(&secret, &token)?);
                // INVARIANT: nobody gets a token that no other broker could give back.
                if let Err(error) = notes.note(&Handle::Oauth(made.clone())).await {
                    self.give_back(&secret, &token).await?;
                    return Err(error);
                }
            }
            Ok(Taken {
                username: self.0.client_id.clone(),
                password: token,
                more: More::default(),
                handle: Handle::Oauth(made),
                until: ask.until.min(Timestamp::now() + (lasts - slack)),
                renewable: false,
                warnings: Vec::new(),
            })
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async {
            let Handle::Oauth(made) = handle else { return Err(super::foreign()) };
            let Some(sealed) = &made.sealed else { return Ok(()) };
            if made.ends.is_some_and(|ends| ends < Timestamp::now()) {
                return Ok(());
            }
            if made.token_url != self.0.token_url.as_str() {
                return Err(super::foreign());
            }
            let secret = secrets::read(&self.0.client_secret).await?;
            let token = sealed::open(&secret, sealed)?;
            self.give_back(&secret, &token).await
        }
        .boxed()
    }
}

impl Oauth<'_> {
    async fn token(&self, secret: &Secret) -> Result<(Secret, Duration), CredentialError> {
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !self.0.scopes.is_empty() {
            form.push(("scope", self.0.scopes.join(" ")));
        }
        if let Some(audience) = &self.0.audience {
            form.push(("audience", audience.clone()));
        }
        let (status, text) = web::ask(self.post(&self.0.token_url, secret, &form)?).await?;
        if !status.is_success() {
            let said = serde_json::from_slice(&text).ok().and_then(|it: Problem| it.error);
            let said = web::said(said);
            return Err(CredentialError(format!("the OAuth server answers {status}: {said}")));
        }
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|_| CredentialError("the OAuth server's answer holds no token".into()))?;
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            let kind = web::said(Some(answer.token_type));
            return Err(CredentialError(format!(
                "the OAuth server gives tokens of the type `{kind}`, and guard sends bearer tokens"
            )));
        }
        let lasts = Duration::from_secs(answer.expires_in.unwrap_or(UNSAID).min(LONGEST));
        Ok((web::token(answer.access_token)?, lasts))
    }

    async fn give_back(&self, secret: &Secret, token: &Secret) -> Result<(), CredentialError> {
        let Some(url) = &self.0.revocation_url else { return Ok(()) };
        let form =
            [("token", token.expose().to_owned()), ("token_type_hint", "access_token".to_owned())];
        // What is no token any more is answered with 200, too.
        let (status, _) = web::ask(self.post(url, secret, &form)?).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(CredentialError(format!("the OAuth server answers {status}, asked to revoke a token")))
    }

    fn post(
        &self,
        url: &Url,
        secret: &Secret,
        form: &[(&str, String)],
    ) -> Result<RequestBuilder, CredentialError> {
        let http = web::client(url, self.0.tls_ca.as_deref())?;
        let request = http.post(url.clone()).header("accept", "application/json");
        Ok(match self.0.client_auth {
            ClientAuth::Basic => {
                let coded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", coded(&self.0.client_id), coded(secret.expose()));
                let pair = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair)));
                request.header(AUTHORIZATION, web::authorization(&pair)?).form(form)
            }
            ClientAuth::Post => {
                let own = [
                    ("client_id", self.0.client_id.clone()),
                    ("client_secret", secret.expose().to_owned()),
                ];
                request.form(&[form, &own].concat())
            }
        })
    }
}
