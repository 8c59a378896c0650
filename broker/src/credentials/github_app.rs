//! Tokens of an installation of a GitHub App:
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app>.
//!
//! Each lease has a token of its own, for the repositories and with the permissions that are configured. It lasts an hour, and is revoked before
//! that when its lease ends.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{Secret, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, RequestBuilder, StatusCode, header::AUTHORIZATION};
use serde::{Deserialize, Serialize};

use super::{
    Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken, sealed, secrets, web,
};
use crate::config::GithubAppConfig;

/// The user name that git over HTTPS sends with such a token.
const USERNAME: &str = "x-access-token";
/// Clocks may differ by so much.
const EARLIER: i64 = 60;
/// GitHub takes no assertion that lasts for more than ten minutes.
const ASSERTION_LASTS: i64 = 300;
/// What a token is asked for anew before its end, so that none ends on its way.
const SLACK: Duration = Duration::from_secs(120);

/// The source.
#[derive(Debug)]
pub(super) struct GithubApp<'a>(pub(super) &'a GithubAppConfig);

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GithubAppHandle {
    /// The API that it came from.
    pub(crate) api: String,
    /// The installation.
    pub(crate) installation: u64,
    /// The token: only who has the App's private key can read it.
    pub(crate) sealed: Option<String>,
    /// When it ends by itself.
    pub(crate) ends: Option<Timestamp>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    repositories: Option<&'a [String]>,
    permissions: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Answer {
    token: Secret,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Problem {
    message: Option<String>,
}

impl CredentialSource for GithubApp<'_> {
    fn plan(&self, _: &Ask<'_>) -> Result<Handle, CredentialError> {
        let GithubAppConfig { api, installation, .. } = self.0;
        let (api, installation) = (api.to_string(), *installation);
        Ok(Handle::GithubApp(GithubAppHandle { api, installation, sealed: None, ends: None }))
    }

    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        notes: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>> {
        async {
            let Handle::GithubApp(planned) = handle else { return Err(super::foreign()) };
            let mut made = planned.clone();
            let key = secrets::read(&self.0.private_key).await?;
            let Answer { token, expires_at } = self.token(&key).await?;
            let token = web::token(token)?;
            made.sealed = Some(sealed::seal(&key, &token)?);
            made.ends = Some(expires_at);
            // INVARIANT: nobody gets a token that no other broker could revoke.
            if let Err(error) = notes.note(&Handle::GithubApp(made.clone())).await {
                self.give_back(&token).await?;
                return Err(error);
            }
            Ok(Taken {
                username: USERNAME.to_owned(),
                password: token,
                more: More::default(),
                handle: Handle::GithubApp(made),
                until: ask.until.min(expires_at.checked_sub(SLACK).unwrap_or(expires_at)),
                renewable: false,
                warnings: Vec::new(),
            })
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async {
            let Handle::GithubApp(made) = handle else { return Err(super::foreign()) };
            let Some(sealed) = &made.sealed else { return Ok(()) };
            if made.ends.is_some_and(|ends| ends < Timestamp::now()) {
                return Ok(());
            }
            if made.api != self.0.api.as_str() {
                return Err(super::foreign());
            }
            let key = secrets::read(&self.0.private_key).await?;
            self.give_back(&sealed::open(&key, sealed)?).await
        }
        .boxed()
    }
}

impl GithubApp<'_> {
    async fn token(&self, key: &Secret) -> Result<Answer, CredentialError> {
        let GithubAppConfig { installation, repositories, permissions, .. } = self.0;
        let assertion = self.assertion(key)?;
        let wanted = Wanted { repositories: repositories.as_deref(), permissions };
        let path = format!("app/installations/{installation}/access_tokens");
        let request = self.request(Method::POST, &path, &assertion)?.json(&wanted);
        let (status, text) = web::ask(request).await?;
        if status != StatusCode::CREATED {
            let said = serde_json::from_slice(&text).ok().and_then(|it: Problem| it.message);
            let said = web::said(said);
            return Err(CredentialError(format!(
                "GitHub answers {status}, asked for a token of installation {installation}: {said}"
            )));
        }
        serde_json::from_slice(&text)
            .map_err(|_| CredentialError("GitHub's answer holds no token".into()))
    }

    /// What shows that the broker is the App.
    fn assertion(&self, key: &Secret) -> Result<Secret, CredentialError> {
        let key = EncodingKey::from_rsa_pem(key.expose().as_bytes())
            .map_err(|_| CredentialError("the App's private key is no RSA key in PEM".into()))?;
        let now = Timestamp::now().as_second();
        let claims = Claims { iat: now - EARLIER, exp: now + ASSERTION_LASTS, iss: &self.0.app_id };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key)
            .map(Secret::new)
            .map_err(|_| CredentialError("the App's private key signs nothing".into()))
    }

    async fn give_back(&self, token: &Secret) -> Result<(), CredentialError> {
        let request = self.request(Method::DELETE, "installation/token", token)?;
        let (status, _) = web::ask(request).await?;
        match status {
            // It is none any more.
            StatusCode::NO_CONTENT | StatusCode::UNAUTHORIZED => Ok(()),
            _ => Err(CredentialError(format!("GitHub answers {status}, asked to revoke a token"))),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        bearer: &Secret,
    ) -> Result<RequestBuilder, CredentialError> {
        let api = &self.0.api;
        let url = format!("{}/{path}", api.as_str().trim_end_matches('/'));
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", bearer.expose()));
        Ok(web::client(api, self.0.tls_ca.as_deref())?
            .request(method, url)
            .header(AUTHORIZATION, web::authorization(&bearer)?)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28"))
    }
}
