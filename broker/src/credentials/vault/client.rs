//! The few requests that the broker makes of Vault: <https://developer.hashicorp.com/vault/api-docs>.

use std::time::Duration;

use bytes::Bytes;
use guard_core::Secret;
use reqwest::{StatusCode, redirect};
use serde::Deserialize;
use serde_json::{Map, Value};
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

/// An answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) lease_id: Option<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) data: Map<String, Value>,
    #[serde(default, rename = "auth")]
    pub(super) login: Option<Login>,
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

fn or_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
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
    pub(super) async fn log_in(
        &mut self,
        path: &str,
        body: Zeroizing<String>,
    ) -> Result<Login, CredentialError> {
        let answer = self.send(path, Some(body)).await?;
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

    /// Gives its own token back. It ends by itself anyway.
    pub(super) async fn log_out(&self) {
        let revoked = self.post("auth/token/revoke-self", &Value::Object(Map::new())).await;
        if let Err(error) = revoked {
            tracing::debug!(
                reason = error.0,
                "a token of the broker's own is left to end by itself"
            );
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, CredentialError> {
        self.send(path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, CredentialError> {
        self.send(path, Some(Zeroizing::new(body.to_string()))).await
    }

    /// Has something taken away. What is not there is away already.
    pub(super) async fn gone(&self, path: &str, body: &Value) -> Result<(), CredentialError> {
        match self.post(path, body).await {
            Ok(_) => Ok(()),
            Err(error) if GONE.iter().any(|word| error.0.contains(word)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        path: &str,
        body: Option<Zeroizing<String>>,
    ) -> Result<Answer, CredentialError> {
        let failed = |error: &reqwest::Error| {
            CredentialError(format!("Vault at `{}`: {}", self.base, chain(error)))
        };
        let url = format!("{}/v1/{path}", self.base);
        let mut request = match body {
            Some(body) => self
                .http
                .post(url)
                .header("Content-Type", "application/json")
                .body(Bytes::from_owner(body)),
            None => self.http.get(url),
        };
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
            return Ok(Answer::default());
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
