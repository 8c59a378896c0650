//! Where credentials come from, and how each is taken back.
//!
//! A source first says what it will make ([`CredentialSource::plan`]). That handle is stored, and only then is anything
//! made, so that whatever is there can be found and taken away again, also by a broker that was not there when it was made.
//! What a source says of problems holds no secret.

mod aws;
mod certificate;
mod fixed;
mod github_app;
mod oauth;
mod postgres_role;
mod sealed;
mod secrets;
mod vault;
mod web;

use std::{fmt::Debug, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{Identity, LeaseId, ResourceName, Secret, SessionId, Timestamp};
use guard_policy::Policy;
use serde::{Deserialize, Serialize};

pub(crate) use aws::AwsHandle;
pub(crate) use github_app::GithubAppHandle;
pub(crate) use oauth::OauthHandle;
pub(crate) use postgres_role::PostgresRoleHandle;
pub(crate) use secrets::read as read_secret;
pub(crate) use vault::VaultHandle;

use crate::config::{CredentialConfig, ResourceConfig};

/// Whoever makes a credential for longer than this has failed.
pub(crate) const TAKE_DEADLINE: Duration = Duration::from_secs(20);
/// Whoever takes one back for longer than this has failed, and is asked again later.
pub(crate) const REVOKE_DEADLINE: Duration = Duration::from_secs(20);

/// What a credential is for.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// The lease.
    pub(crate) lease: LeaseId,
    /// The session.
    pub(crate) session: SessionId,
    /// The run. `None` where a person tries the source.
    pub(crate) run: Option<&'a Identity>,
    /// What the session may do.
    pub(crate) policy: &'a Policy,
    /// When it ends at the latest.
    pub(crate) until: Timestamp,
}

/// What finds a credential again. Stored before there is one; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Handle {
    /// Nothing was made.
    Static,
    /// A role at a PostgreSQL server.
    PostgresRole(PostgresRoleHandle),
    /// A token and a lease of Vault.
    Vault(VaultHandle),
    /// A session of a role of AWS.
    Aws(AwsHandle),
    /// A token of an OAuth server.
    Oauth(OauthHandle),
    /// A token of an installation of a GitHub App.
    GithubApp(GithubAppHandle),
}

/// Where a handle is stored again when more is known of it, before more is made.
pub(crate) trait NoteHandle: Send + Sync {
    /// Stores it. On an error nothing more may be made.
    fn note<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>>;
}

/// A credential.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The user name at the resource.
    pub(crate) username: String,
    /// The password at the resource.
    pub(crate) password: Secret,
    /// What some credentials have besides.
    pub(crate) more: More,
    /// The handle, with what is known only now.
    pub(crate) handle: Handle,
    /// When it ends.
    pub(crate) until: Timestamp,
    /// Whether it can be made to last longer.
    pub(crate) renewable: bool,
    /// What a person should know: nothing that a session has to end for.
    pub(crate) warnings: Vec<String>,
}

/// What some credentials have besides a user name and a password.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// What belongs to a temporary access key of AWS.
    pub(crate) session_token: Option<Secret>,
    /// PEM of a certificate: the password is its private key.
    pub(crate) certificate: Option<String>,
}

/// Why a credential cannot be had or taken back. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CredentialError(pub(crate) String);

/// A place that credentials come from.
pub(crate) trait CredentialSource: Debug + Send + Sync {
    /// What will be made. Nothing is made yet.
    fn plan(&self, ask: &Ask<'_>) -> Result<Handle, CredentialError>;

    /// Makes what was planned.
    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        notes: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>>;

    /// Makes it last longer, up to `until`; says how long it does. `None`: it lasts as it is.
    fn renew<'a>(
        &'a self,
        _handle: &'a Handle,
        _until: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Timestamp>, CredentialError>> {
        async { Ok(None) }.boxed()
    }

    /// Takes it back. What is not there is taken back already.
    fn revoke<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>>;
}

/// The source of a resource's credentials.
pub(crate) fn source(resource: &ResourceConfig) -> Box<dyn CredentialSource + '_> {
    match &resource.credential {
        CredentialConfig::Static(credential) => Box::new(fixed::Fixed(credential)),
        CredentialConfig::PostgresRole(role) => {
            Box::new(postgres_role::PostgresRole { spec: &resource.spec, config: role })
        }
        CredentialConfig::Vault(vault) => Box::new(vault::VaultSource(vault)),
        CredentialConfig::Aws(aws) => Box::new(aws::Aws { spec: &resource.spec, config: aws }),
        CredentialConfig::Oauth(oauth) => Box::new(oauth::Oauth(oauth)),
        CredentialConfig::GithubApp(app) => Box::new(github_app::GithubApp(app)),
        CredentialConfig::Certificate(certificate) => {
            Box::new(certificate::Certificate(certificate))
        }
    }
}

/// Makes what was planned, in time.
pub(crate) async fn take(
    resource: &ResourceConfig,
    ask: &Ask<'_>,
    handle: &Handle,
    notes: &dyn NoteHandle,
) -> Result<Taken, CredentialError> {
    let source = source(resource);
    match tokio::time::timeout(TAKE_DEADLINE, source.take(ask, handle, notes)).await {
        Ok(taken) => taken,
        Err(_) => Err(CredentialError("the credential's source does not answer in time".into())),
    }
}

/// Takes a credential back, in time. The resource may have changed meanwhile, or be gone.
pub(crate) async fn revoke(
    name: &ResourceName,
    resource: Option<&ResourceConfig>,
    handle: &Handle,
    deadline: Duration,
) -> Result<(), CredentialError> {
    match handle {
        // Nothing was made, or nothing that could be taken back.
        Handle::Static | Handle::Aws(_) => return Ok(()),
        Handle::Oauth(made) if made.sealed.is_none() => return Ok(()),
        Handle::GithubApp(made) if made.sealed.is_none() => return Ok(()),
        Handle::PostgresRole(_) | Handle::Vault(_) | Handle::Oauth(_) | Handle::GithubApp(_) => {}
    }
    let Some(resource) = resource else {
        return Err(CredentialError(format!(
            "`{name}` is no resource any more: configure it again, or take the credential back by hand"
        )));
    };
    let source = source(resource);
    match tokio::time::timeout(deadline, source.revoke(handle)).await {
        Ok(revoked) => revoked,
        Err(_) => Err(CredentialError("the credential's source does not answer in time".into())),
    }
}

/// A handle of another kind of source than the resource has now.
fn foreign() -> CredentialError {
    CredentialError(
        "the resource's credentials come from elsewhere now: configure the source again that this \
         one is from, or take it back by hand"
            .into(),
    )
}
