//! Credentials from HashiCorp Vault, or OpenBao: a database engine's dynamic ones, or a secret of the key-value engine.
//!
//! The broker logs in for each lease, so what it gets belongs to a token of that lease alone. The token's accessor, which is no
//! secret, is stored before anything is asked for with the token; whatever happens then, revoking the accessor takes all
//! of it back. The way to Vault is [`client`].

mod client;

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{LeaseId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use vaultrs::api::{
    auth::{approle::requests::LoginWithApproleRequest, oidc::requests::JWTLoginRequest},
    database::{requests::GenerateCredentialsRequest, responses::GenerateCredentialsResponse},
    kv2::{requests::ReadSecretRequest, responses::ReadSecretResponse},
    token::requests::{CreateTokenRequest, RenewTokenAccessorRequest, RevokeTokenAccessorRequest},
};
use zeroize::Zeroize as _;

use self::client::{Answer, Login, RenewLease, Request, RevokeLease, Vault};
use super::{Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken, secrets};
use crate::config::{VaultAuth, VaultConfig, VaultSecret};

/// The source.
#[derive(Debug)]
pub(super) struct VaultSource<'a>(pub(super) &'a VaultConfig);

/// What finds a credential again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VaultHandle {
    /// The server.
    pub(crate) address: String,
    /// The namespace there.
    pub(crate) namespace: Option<String>,
    /// The accessor of the lease's own token, once there is one.
    pub(crate) accessor: Option<String>,
    /// Vault's own lease, once there is one.
    pub(crate) lease: Option<String>,
}

impl CredentialSource for VaultSource<'_> {
    fn plan(&self, _: &Ask<'_>) -> Result<Handle, CredentialError> {
        Ok(Handle::Vault(VaultHandle {
            address: self.0.address.clone(),
            namespace: self.0.namespace.clone(),
            accessor: None,
            lease: None,
        }))
    }

    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        notes: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>> {
        async {
            let mut planned = self.of(handle)?.clone();
            let mut vault = Vault::new(self.0)?;
            let login = self.log_in(&mut vault, Some(ask)).await?;
            match &self.0.secret {
                VaultSecret::Database { mount, role } => {
                    planned.accessor = Some(login.accessor.clone());
                    // INVARIANT: Vault makes nothing that the store could not find.
                    if let Err(error) = notes.note(&Handle::Vault(planned.clone())).await {
                        vault.log_out().await;
                        return Err(error);
                    }
                    let (mount, name) = (mount.clone(), role.clone());
                    let made: Answer<GenerateCredentialsResponse> =
                        vault.ask(&GenerateCredentialsRequest { mount, name }).await?;
                    let until = made.until(&login, ask.until)?;
                    let renewable = made.renewable && login.renewable;
                    planned.lease = made.lease_id.filter(|id| !id.is_empty());
                    if planned.lease.is_none() {
                        return Err(CredentialError(
                            "Vault gave a credential without a lease".into(),
                        ));
                    }
                    let data = made.data.ok_or_else(|| {
                        CredentialError("Vault gave a lease without a credential".into())
                    })?;
                    Ok(Taken {
                        username: data.username,
                        password: Secret::new(data.password),
                        handle: Handle::Vault(planned),
                        more: More::default(),
                        until,
                        renewable,
                        warnings: short(until, ask.until, renewable),
                    })
                }
                VaultSecret::Kv { mount, path, username, password } => {
                    let secret = ReadSecretRequest {
                        mount: mount.clone(),
                        path: path.clone(),
                        version: None,
                    };
                    let read = vault.ask(&secret).await;
                    // The token was for this only.
                    let revoked = vault.revoke_self().await;
                    let read: Option<ReadSecretResponse> = read?.data;
                    let mut data = read.and_then(|read| object(read.data)).ok_or_else(|| {
                        CredentialError(format!("Vault has no secret at `{mount}/{path}`"))
                    })?;
                    let warnings = revoked.err().map(|error| error.0).into_iter().collect();
                    Ok(Taken {
                        username: text(&mut data, username)?.expose().to_owned(),
                        password: text(&mut data, password)?,
                        handle: Handle::Vault(planned),
                        more: More::default(),
                        until: ask.until,
                        renewable: false,
                        warnings,
                    })
                }
            }
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        handle: &'a Handle,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Timestamp>, CredentialError>> {
        async move {
            let planned = self.of(handle)?;
            let (Some(accessor), Some(lease)) = (&planned.accessor, &planned.lease) else {
                return Ok(None);
            };
            let mut vault = Vault::new(self.0)?;
            self.log_in(&mut vault, None).await?;
            let renewed = async {
                let left = until.duration_since(Timestamp::now());
                let left = Duration::try_from(left).unwrap_or_default().as_secs().max(1);
                let token = RenewTokenAccessorRequest {
                    accessor: accessor.clone(),
                    increment: Some(format!("{left}s")),
                };
                let token: Answer = vault.ask(&token).await?;
                let lease: Answer =
                    vault.ask(&RenewLease { lease_id: lease, increment: left }).await?;
                let token = token.login.ok_or_else(|| {
                    CredentialError("Vault does not say how long the token lasts".into())
                })?;
                lease.until(&token, until).map(Some)
            };
            let renewed = renewed.await;
            vault.log_out().await;
            renewed
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async {
            let planned = self.of(handle)?;
            // Nothing was asked for yet, or nothing that is to be given back.
            let Some(accessor) = &planned.accessor else { return Ok(()) };
            let mut vault = Vault::new(self.0)?;
            self.log_in(&mut vault, None).await?;
            let revoked = async {
                if let Some(lease_id) = &planned.lease {
                    // Done when it is answered; the token's own revocation would follow at some time.
                    vault.gone(&RevokeLease { lease_id, sync: true }).await?;
                }
                vault.gone(&RevokeTokenAccessorRequest { accessor: accessor.clone() }).await
            };
            let revoked = revoked.await;
            vault.log_out().await;
            revoked
        }
        .boxed()
    }
}

impl VaultSource<'_> {
    fn of<'h>(&self, handle: &'h Handle) -> Result<&'h VaultHandle, CredentialError> {
        let Handle::Vault(planned) = handle else { return Err(super::foreign()) };
        if (&planned.address, &planned.namespace) != (&self.0.address, &self.0.namespace) {
            return Err(CredentialError(format!(
                "the credential is of the Vault at `{}`, where the resource's come from no more: revoke it by hand",
                planned.address
            )));
        }
        Ok(planned)
    }

    /// Gets a token of this lease's own.
    async fn log_in(
        &self,
        vault: &mut Vault,
        ask: Option<&Ask<'_>>,
    ) -> Result<Login, CredentialError> {
        let lease = ask.map(|ask| ask.lease);
        let login = match &self.0.auth {
            VaultAuth::Token(token) => {
                vault.use_token(secrets::read(token).await?);
                Request::to(&child(lease))?
            }
            VaultAuth::AppRole { mount, role_id, secret_id } => {
                let secret = secrets::read(secret_id).await?;
                let mut login = LoginWithApproleRequest {
                    mount: mount.clone(),
                    role_id: role_id.clone(),
                    secret_id: secret.expose().to_owned(),
                };
                let request = Request::to(&login);
                login.secret_id.zeroize();
                request?
            }
            // Kubernetes' method takes the same.
            VaultAuth::Jwt { mount, role, jwt } => {
                let jwt = secrets::read(jwt).await?;
                let mut login = JWTLoginRequest {
                    mount: mount.clone(),
                    jwt: jwt.expose().to_owned(),
                    role: Some(role.clone()),
                };
                let request = Request::to(&login);
                login.jwt.zeroize();
                request?
            }
        };
        vault.log_in(login).await
    }
}

/// A child of the broker's own token, for one lease.
fn child(lease: Option<LeaseId>) -> CreateTokenRequest {
    let name = lease.map_or_else(|| "guard".to_owned(), |lease| format!("guard-{lease}"));
    CreateTokenRequest {
        display_name: Some(name),
        renewable: Some(true),
        ..CreateTokenRequest::default()
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn object(value: serde_json::Value) -> Option<Object> {
    match value {
        serde_json::Value::Object(found) => Some(found),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Array(_) => None,
    }
}

/// A text of a secret, moved out of it.
fn text(data: &mut Object, name: &str) -> Result<Secret, CredentialError> {
    match data.remove(name) {
        Some(serde_json::Value::String(text)) if !text.is_empty() => Ok(Secret::new(text)),
        Some(_) | None => Err(CredentialError(format!("Vault's secret has no text `{name}`"))),
    }
}

fn short(until: Timestamp, needed: Timestamp, renewable: bool) -> Vec<String> {
    let is_short = !renewable && until < needed;
    let said = || "Vault's credential ends before the session and cannot be renewed: give its role a longer TTL";
    is_short.then(|| said().to_owned()).into_iter().collect()
}

impl<T> Answer<T> {
    /// When what was asked for ends: with its token at the latest.
    fn until(&self, token: &Login, needed: Timestamp) -> Result<Timestamp, CredentialError> {
        let lasts = match token.lease_duration {
            // A token without an end.
            0 => self.lease_duration,
            token => token.min(self.lease_duration),
        };
        let end = Timestamp::now()
            .checked_add(Duration::from_secs(lasts))
            .map_err(|_| CredentialError("Vault's lease has no end that could be told".into()))?;
        Ok(end.min(needed))
    }
}
