//! A role at a PostgreSQL server for one session: made from an admin's credential, with the privileges that the policy's
//! rules need, and dropped with everything it had.
//!
//! The server gets a SCRAM verifier, never the password. What a role may is read from the server's catalog and the policy
//! when it is made ([`grants`]). Its name is random and stored before it is made; a comment on it names the lease, and
//! nothing without that comment is ever dropped.

mod catalog;
mod grants;
mod names;
mod server;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{LeaseId, ResourceSpec, Secret, SessionId, Timestamp};
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::{
    catalog::Catalog,
    names::{ident, literal},
    server::Server,
};
use super::{Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken};
use crate::config::PostgresRoleConfig;

/// How often what another transaction was in the way of is tried.
const TRIES: u32 = 8;
/// Between two of these, times the number of tries.
const RETRY: Duration = Duration::from_millis(40);
/// How long the ended connections of a role may take to go.
const CONNECTIONS_GO: Duration = Duration::from_secs(6);
/// Between two looks at them.
const CONNECTIONS_LOOK: Duration = Duration::from_millis(50);
/// Begins the name of each role.
const PREFIX: &str = "guard_";
/// Hex digits of the session in a role's name, and of chance.
const DIGITS: (usize, usize) = (12, 16);

/// The source.
#[derive(Debug)]
pub(super) struct PostgresRole<'a> {
    pub(super) spec: &'a ResourceSpec,
    pub(super) config: &'a PostgresRoleConfig,
}

/// What finds a role again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PostgresRoleHandle {
    /// The server.
    pub(crate) address: String,
    /// The database in which it has privileges.
    pub(crate) database: String,
    /// Its name.
    pub(crate) role: String,
    /// The lease that it is for, which its comment names.
    pub(crate) lease: LeaseId,
}

impl CredentialSource for PostgresRole<'_> {
    fn plan(&self, ask: &Ask<'_>) -> Result<Handle, CredentialError> {
        Ok(Handle::PostgresRole(PostgresRoleHandle {
            address: self.spec.address.clone(),
            database: self.spec.database.clone(),
            role: role_name(ask.session)?,
            lease: ask.lease,
        }))
    }

    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        _: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>> {
        async {
            let planned = self.of(handle)?;
            let password = password()?;
            let verifier = Zeroizing::new(postgres_protocol::password::scram_sha_256(
                password.expose().as_bytes(),
            ));
            let mut server = self.connect().await?;
            let warnings = self.make(&mut server, ask, planned, &verifier).await;
            server.close().await;
            Ok(Taken {
                username: planned.role.clone(),
                password,
                handle: handle.clone(),
                more: More::default(),
                until: ask.until,
                renewable: false,
                warnings: warnings?,
            })
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
            let mut server = self.connect().await?;
            let name = ident(&planned.role);
            let text = format!("ALTER ROLE {name} VALID UNTIL {}", literal(&until.to_string()));
            let renewed = server.run(&text).await;
            server.close().await;
            renewed.map(|()| Some(until))
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async {
            let planned = self.of(handle)?;
            let mut server = self.connect().await?;
            let gone = self.unmake(&mut server, planned).await;
            server.close().await;
            gone
        }
        .boxed()
    }
}

impl PostgresRole<'_> {
    /// A handle that is of this source, and of the server and database that the resource has now.
    fn of<'h>(&self, handle: &'h Handle) -> Result<&'h PostgresRoleHandle, CredentialError> {
        let Handle::PostgresRole(planned) = handle else { return Err(super::foreign()) };
        let here = (&self.spec.address, &self.spec.database);
        if (&planned.address, &planned.database) != here {
            return Err(CredentialError(format!(
                "the role `{}` is at `{}` in database `{}`, where the resource is no more: drop it by hand",
                planned.role, planned.address, planned.database
            )));
        }
        // INVARIANT: whoever can write to the store cannot have other roles changed than guard's.
        if !is_role_name(&planned.role) {
            return Err(CredentialError(format!("`{}` is no role of guard's", planned.role)));
        }
        Ok(planned)
    }

    async fn connect(&self) -> Result<Server, CredentialError> {
        Server::connect(self.spec, &self.config.admin).await
    }

    /// Makes the role with all that it may, or nothing. Gives what a person should know.
    async fn make(
        &self,
        server: &mut Server,
        ask: &Ask<'_>,
        planned: &PostgresRoleHandle,
        verifier: &str,
    ) -> Result<Vec<String>, CredentialError> {
        let name = ident(&planned.role);
        let (version, _) = server.version().await?;
        let create = format!(
            "CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS \
             CONNECTION LIMIT {} VALID UNTIL {} PASSWORD {}; COMMENT ON ROLE {name} IS {}",
            self.config.connections,
            literal(&ask.until.to_string()),
            literal(verifier),
            literal(&format!("{} {}", comment(planned.lease), who(ask))),
        );
        let needs = ask.policy.privileges();
        if let Some(owner) = &self.config.owner {
            server.require_harmless(owner).await?;
        }
        let _turn = server::turn(self.spec).await;
        let mut tries = 0;
        loop {
            tries += 1;
            let made = async {
                server.run("BEGIN").await?;
                server.run(&create).await?;
                let catalog = Catalog::read(server, needs, version).await?;
                let wanted = grants::wanted(&catalog, needs, &name, &self.spec.database);
                for statement in &wanted.statements {
                    server.run(statement).await?;
                }
                server.refuse_unless_withheld(&planned.role, &wanted.withheld).await?;
                server.require_connect(&planned.role, &self.spec.database).await?;
                server.run("COMMIT").await?;
                Ok(wanted.warnings)
            };
            match made.await {
                Ok(warnings) => return Ok(warnings),
                Err(error) => {
                    server.run("ROLLBACK").await?;
                    if !server.was_in_the_way() || tries == TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY * tries).await;
                }
            }
        }
    }

    /// Takes the role away: nobody comes in, who is in goes, what it owns is the owner's or dropped, then it is dropped.
    async fn unmake(
        &self,
        server: &mut Server,
        planned: &PostgresRoleHandle,
    ) -> Result<(), CredentialError> {
        let Some(role) = server.role(&planned.role).await? else { return Ok(()) };
        let own = comment(planned.lease);
        if !role.comment.is_some_and(|comment| comment.starts_with(&own)) {
            return Err(CredentialError(format!(
                "the role `{}` is not the one that was made for this lease: it is left alone",
                planned.role
            )));
        }
        let name = ident(&planned.role);
        let (version, superuser) = server.version().await?;
        let _turn = server::turn(self.spec).await;
        server.retry(&format!("ALTER ROLE {name} NOLOGIN"), TRIES, RETRY).await?;
        if !superuser {
            // Ending its connections and taking over what it owns ask for its privileges.
            let inherit = if version >= 160_000 { " WITH INHERIT TRUE" } else { "" };
            let text = format!("GRANT {name} TO CURRENT_USER{inherit}");
            server.retry(&text, TRIES, RETRY).await?;
        }
        self.end_connections(server, &planned.role, role.oid).await?;
        let reassign = match &self.config.owner {
            Some(owner) => {
                let tamed = server.tame(role.oid, version).await?;
                format!("{tamed}REASSIGN OWNED BY {name} TO {}; ", ident(owner))
            }
            None => String::new(),
        };
        let text =
            format!("BEGIN; {reassign}DROP OWNED BY {name} RESTRICT; DROP ROLE {name}; COMMIT");
        server.retry(&text, TRIES, RETRY).await?;
        // Who came in while the door was closing.
        if server.end_connections(role.oid).await? > 0 {
            self.end_connections(server, &planned.role, role.oid).await?;
        }
        Ok(())
    }

    async fn end_connections(
        &self,
        server: &mut Server,
        role: &str,
        oid: i64,
    ) -> Result<(), CredentialError> {
        let ended = async {
            while server.end_connections(oid).await? > 0 {
                tokio::time::sleep(CONNECTIONS_LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(CONNECTIONS_GO, ended).await.unwrap_or_else(|_| {
            Err(CredentialError(format!("connections of the role `{role}` do not end")))
        })
    }
}

/// How the comment on a role begins, so that nothing else is ever dropped.
fn comment(lease: LeaseId) -> String {
    format!("guard lease {lease}:")
}

/// Whose it is, for a person who finds it at the server.
fn who(ask: &Ask<'_>) -> String {
    let Some(run) = ask.run else { return "tried by hand".into() };
    let text = format!("{} run {}.{}", run.repository, run.run.run_id, run.run.attempt);
    text.chars().filter(|c| !c.is_control()).collect()
}

fn role_name(session: SessionId) -> Result<String, CredentialError> {
    let mut chance = [0_u8; 8];
    random(&mut chance)?;
    let session = session.to_string().replace('-', "");
    // The end of the id: its beginning is the time.
    let tail = session.get(session.len().saturating_sub(DIGITS.0)..).unwrap_or_default();
    Ok(format!("{PREFIX}{tail}_{:016x}", u64::from_be_bytes(chance)))
}

fn is_role_name(name: &str) -> bool {
    let hex = |text: &str, digits| {
        text.len() == digits
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('_'))
        .is_some_and(|(session, chance)| hex(session, DIGITS.0) && hex(chance, DIGITS.1))
}

fn password() -> Result<Secret, CredentialError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random(bytes.as_mut())?;
    Ok(Secret::new(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)).as_str()))
}

fn random(bytes: &mut [u8]) -> Result<(), CredentialError> {
    rand::rngs::OsRng
        .try_fill_bytes(bytes)
        .map_err(|error| CredentialError(format!("no randomness: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::SessionId;

    use super::{is_role_name, role_name};

    #[test]
    fn a_role_is_named_for_its_session_and_by_chance_and_no_other_name_passes() {
        let session = SessionId::from_uuid(uuid::Uuid::now_v7());
        let (one, other) = (role_name(session).unwrap(), role_name(session).unwrap());
        assert!(is_role_name(&one) && is_role_name(&other) && one != other);
        let tail = session.to_string().replace('-', "").split_off(20);
        assert!(one.starts_with(&format!("guard_{tail}_")), "{one}");
        for name in [
            "postgres",
            "guard_",
            "guard_app",
            "guard_0123456789ab_0123456789abcdeg",
            "guard_0123456789ab_0123456789abcdef; DROP ROLE app",
            "guard_0123456789ab_0123456789ABCDEF",
            "guard_0123456789ab_0123456789abcdef\"",
        ] {
            assert!(!is_role_name(name), "{name}");
        }
    }
}
