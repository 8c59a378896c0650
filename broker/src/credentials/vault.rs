//! Credentials from HashiCorp Vault, or OpenBao: a database engine's dynamic ones, or a secret of the key-value engine.
//!
//! The broker logs in for each lease, so what it gets belongs to a token of that lease alone. The token's accessor, which is no
//! secret, is stored before anything is asked for with the token; whatever happens then, revoking the accessor takes all
//! of it back. The broker's own way to Vault is [`client`]: the crates for it hide lease ids, read `VAULT_SKIP_VERIFY` and
//! others from the environment, and keep copies of secrets.

mod client;

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{LeaseId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use self::client::{Answer, Login, Vault};
use super::{Ask, CredentialError, CredentialSource, Handle, NoteHandle, Taken, secrets};
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
                    let made = vault.get(&format!("{mount}/creds/{role}")).await?;
                    let until = made.until(&login, ask.until)?;
                    let renewable = made.renewable && login.renewable;
                    planned.lease = made.lease_id.filter(|id| !id.is_empty());
                    if planned.lease.is_none() {
                        return Err(CredentialError(
                            "Vault gave a credential without a lease".into(),
                        ));
                    }
                    let mut data = made.data;
                    Ok(Taken {
                        username: text(&mut data, "username")?.expose().to_owned(),
                        password: text(&mut data, "password")?,
                        handle: Handle::Vault(planned),
                        until,
                        renewable,
                        warnings: short(until, ask.until, renewable),
                    })
                }
                VaultSecret::Kv { mount, path, username, password } => {
                    let read = vault.get(&format!("{mount}/data/{path}")).await;
                    // The token was for this only.
                    let revoked = vault.post("auth/token/revoke-self", &json!({})).await;
                    let mut data = read?.data.remove("data").and_then(object).ok_or_else(|| {
                        CredentialError(format!("Vault has no secret at `{mount}/{path}`"))
                    })?;
                    let warnings = revoked.err().map(|error| error.0).into_iter().collect();
                    Ok(Taken {
                        username: text(&mut data, username)?.expose().to_owned(),
                        password: text(&mut data, password)?,
                        handle: Handle::Vault(planned),
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
                let ask = json!({ "accessor": accessor, "increment": format!("{left}s") });
                let token = vault.post("auth/token/renew-accessor", &ask).await?;
                let ask = json!({ "lease_id": lease, "increment": left });
                let lease = vault.post("sys/leases/renew", &ask).await?;
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
                if let Some(lease) = &planned.lease {
                    // Done when it is answered; the token's own revocation would follow at some time.
                    let ask = json!({ "lease_id": lease, "sync": true });
                    vault.gone("sys/leases/revoke", &ask).await?;
                }
                vault.gone("auth/token/revoke-accessor", &json!({ "accessor": accessor })).await
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
        let (path, body) = match &self.0.auth {
            VaultAuth::Token(token) => {
                vault.use_token(secrets::read(token).await?);
                ("auth/token/create".to_owned(), Zeroizing::new(child(lease).to_string()))
            }
            VaultAuth::AppRole { mount, role_id, secret_id } => {
                let secret = secrets::read(secret_id).await?;
                let body = json!({ "role_id": role_id, "secret_id": secret.expose() });
                (format!("auth/{mount}/login"), Zeroizing::new(body.to_string()))
            }
            VaultAuth::Jwt { mount, role, jwt } => {
                let jwt = secrets::read(jwt).await?;
                let body = json!({ "role": role, "jwt": jwt.expose() });
                (format!("auth/{mount}/login"), Zeroizing::new(body.to_string()))
            }
        };
        vault.log_in(&path, body).await
    }
}

/// A child of the broker's own token, for one lease.
fn child(lease: Option<LeaseId>) -> serde_json::Value {
    let name = lease.map_or_else(|| "guard".to_owned(), |lease| format!("guard-{lease}"));
    json!({ "display_name": name, "renewable": true })
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

impl Answer {
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
