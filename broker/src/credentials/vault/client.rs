//! The way to Vault: what is asked for is of `vaultrs`, how it is sent is of here.
//!
//! The endpoints (paths, methods, bodies) and the forms of secrets are `vaultrs`'s. Its own client sends none of them:
//! - `VaultClient::new` adds the given authorities to the system's (`tls_certs_merge`), so that one of hundreds could vouch for
//!   a false Vault, follows redirects with the token, and takes proxies from the environment;
//! - `rustify::clients::reqwest::Client::send` reads an answer whatever its length;
//! - `vaultrs::api::exec_with_result` drops `lease_id` and logs what Vault says at the level of errors, before anybody has
//!   decided what it means; `rustify`'s `execute` does the same;
//! - `EndpointMiddleware` panics at a token with a line feed, and puts the version before the path of an address that has one;
//! - there is no endpoint of `sys/leases` in it, so the two of them that are needed are here.
//!
//! Secrets of logins are wiped here and in `vaultrs`'s requests; `rustify`'s `build_body` leaves one copy of a body in memory that
//! was given back.

use std::time::Duration;

use bytes::Bytes;
use guard_core::Secret;
use reqwest::{Method, StatusCode, redirect};
use rustify::{
    Endpoint,
    enums::{RequestMethod, RequestType, ResponseType},
    errors::ClientError,
    http::build_body,
};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use vaultrs::api::token::requests::RevokeTokenSelfRequest;
use zeroize::Zeroizing;

use super::super::CredentialError;
use crate::{config::VaultConfig, error::chain};

/// Vault answers at once, but for a database that it has to wait for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is not longer: the largest secret that Vault keeps by default is 1 MiB.
const MAX_ANSWER: usize = 2 * 1024 * 1024;
/// What Vault says of an accessor or a lease that is not there any more.
const GONE: [&str; 4] = ["invalid accessor", "lease not found", "invalid lease", "no such lease"];

/// A way to Vault, with a token once it is logged in.
#[derive(Debug)]
pub(super) struct Vault {
    http: reqwest::Client,
    base: String,
    namespace: Option<String>,
    token: Option<Secret>,
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    body: Zeroizing<Vec<u8>>,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<T = IgnoredAny> {
    #[serde(default)]
    pub(super) lease_id: Option<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
    #[serde(default = "nothing")]
    pub(super) data: Option<T>,
    #[serde(default, rename = "auth")]
    pub(super) login: Option<Login>,
}

/// Renews a lease.
#[derive(Debug, Serialize)]
pub(super) struct RenewLease<'a> {
    pub(super) lease_id: &'a str,
    /// Seconds.
    pub(super) increment: u64,
}

/// Revokes a lease.
#[derive(Debug, Serialize)]
pub(super) struct RevokeLease<'a> {
    pub(super) lease_id: &'a str,
    /// Whether to answer when it is done.
    pub(super) sync: bool,
}

/// A token that was given or renewed.
#[derive(Debug, Deserialize)]
pub(super) struct Login {
    #[serde(default = "no_token")]
    client_token: Secret,
    #[serde(default)]
    pub(super) accessor: String,
    /// Seconds; 0 of one without an end.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

#[derive(Debug, Deserialize)]
struct Problems {
    #[serde(default)]
    errors: Vec<String>,
}

fn no_token() -> Secret {
    Secret::new("")
}

fn nothing<T>() -> Option<T> {
    None
}

impl Endpoint for RenewLease<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        "sys/leases/renew".to_owned()
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        build_body(self, Self::REQUEST_BODY_TYPE).map(Some)
    }
}

impl Endpoint for RevokeLease<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        "sys/leases/revoke".to_owned()
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        build_body(self, Self::REQUEST_BODY_TYPE).map(Some)
    }
}

impl Request {
    /// Asks an endpoint.
    pub(super) fn to(endpoint: &impl Endpoint) -> Result<Self, CredentialError> {
        let body = endpoint.body().map_err(|error| CredentialError(chain(&error)))?;
        Ok(Self {
            method: endpoint.method().into(),
            // Some of the paths begin with blanks.
            path: endpoint.path().trim_start_matches(['/', '\t', ' ']).to_owned(),
            body: Zeroizing::new(body.unwrap_or_default()),
        })
    }
}

impl<T> Answer<T> {
    const fn empty() -> Self {
        Self { lease_id: None, lease_duration: 0, renewable: false, data: None, login: None }
    }
}

impl Vault {
    pub(super) fn new(config: &VaultConfig) -> Result<Self, CredentialError> {
        let failed = |error: reqwest::Error| CredentialError(chain(&error));
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A token goes to the address that is configured, and nowhere else.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("guard-broker/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &config.tls_ca {
            let authorities =
                reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(failed)?;
            http = http.tls_certs_only(authorities);
        }
        Ok(Self {
            http: http.build().map_err(failed)?,
            base: config.address.clone(),
            namespace: config.namespace.clone(),
            token: None,
        })
    }

    /// Makes requests with a token that is there already.
    pub(super) fn use_token(&mut self, token: Secret) {
        self.token = Some(token);
    }

    /// Gets a token, with which it goes on.
    pub(super) async fn log_in(&mut self, login: Request) -> Result<Login, CredentialError> {
        let path = login.path.clone();
        let answer: Answer = self.send(login).await?;
        let login = answer
            .login
            .filter(|login| !login.client_token.expose().is_empty() && !login.accessor.is_empty());
        let Some(login) = login else {
            // Batch tokens have no accessor, and so cannot be revoked.
            return Err(CredentialError(format!(
                "Vault gave no token with an accessor at `{path}`: use `token_type=service`"
            )));
        };
        self.token = Some(login.client_token.clone());
        Ok(login)
    }

    /// Has its own token revoked.
    pub(super) async fn revoke_self(&self) -> Result<(), CredentialError> {
        self.ask(&RevokeTokenSelfRequest {}).await.map(|_: Answer| ())
    }

    /// Gives its own token back. It ends by itself anyway.
    pub(super) async fn log_out(&self) {
        if let Err(error) = self.revoke_self().await {
            tracing::debug!(
                reason = error.0,
                "a token of the broker's own is left to end by itself"
            );
        }
    }

    /// Asks an endpoint.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        endpoint: &impl Endpoint,
    ) -> Result<Answer<T>, CredentialError> {
        self.send(Request::to(endpoint)?).await
    }

    /// Has something taken away. What is not there is away already.
    pub(super) async fn gone(&self, endpoint: &impl Endpoint) -> Result<(), CredentialError> {
        match self.ask(endpoint).await {
            Ok(Answer::<IgnoredAny> { .. }) => Ok(()),
            Err(error) if GONE.iter().any(|word| error.0.contains(word)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<Answer<T>, CredentialError> {
        let failed = |error: &reqwest::Error| {
            CredentialError(format!("Vault at `{}`: {}", self.base, chain(error)))
        };
        let Request { method, path, body } = request;
        let mut request = self.http.request(method, format!("{}/v1/{path}", self.base));
        if !body.is_empty() {
            request =
                request.header("Content-Type", "application/json").body(Bytes::from_owner(body));
        }
        request = request.header("X-Vault-Request", "true");
        if let Some(token) = &self.token {
            let mut value = reqwest::header::HeaderValue::from_str(token.expose())
                .map_err(|_| CredentialError("Vault's token is none".into()))?;
            value.set_sensitive(true);
            request = request.header("X-Vault-Token", value);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let mut answer = request.send().await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let mut text = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            if text.len() + chunk.len() > MAX_ANSWER {
                return Err(CredentialError(format!("Vault's answer at `{path}` is too long")));
            }
            text.extend_from_slice(&chunk);
        }
        if status == StatusCode::NO_CONTENT || (status.is_success() && text.is_empty()) {
            return Ok(Answer::empty());
        }
        if !status.is_success() {
            let said: Problems =
                serde_json::from_slice(&text).unwrap_or(Problems { errors: Vec::new() });
            let said: String = said.errors.join("; ").chars().take(300).collect();
            return Err(CredentialError(format!("Vault answers {status} at `{path}`: {said}")));
        }
        serde_json::from_slice(&text).map_err(|_| {
            CredentialError(format!("Vault's answer at `{path}` is none that is known"))
        })
    }
}
