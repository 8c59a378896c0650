//! A connection to a PostgreSQL server as its admin.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use guard_core::{ResourceSpec, TlsMode};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::names::qualified;
use crate::{
    config::StaticCredential,
    credentials::{CredentialError, secrets},
    error::chain,
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// Statements here are short; one that hangs must not hold up the server's users.
const SETTINGS: [(&str, &str); 7] = [
    ("statement_timeout", "15s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "15s"),
    // Nothing of users' schemas is found by an unqualified name.
    ("search_path", "pg_catalog"),
    ("standard_conforming_strings", "on"),
    ("client_min_messages", "error"),
    ("default_transaction_read_only", "off"),
];
/// Another transaction changed the same row of the catalog, or a deadlock.
const IN_THE_WAY: [&str; 3] = ["40P01", "40001", "55P03"];
/// What the server says for want of a code of its own (XX000).
const CHANGED_MEANWHILE: &str = "tuple concurrently";

/// One by one, so that they do not change the same rows of a catalog at the same time. Other brokers are not in this
/// line: what they are in the way of is tried again.
static TURNS: LazyLock<Mutex<HashMap<String, Arc<Turns<()>>>>> = LazyLock::new(Mutex::default);

/// Waits for the turn at a database.
pub(super) async fn turn(spec: &ResourceSpec) -> OwnedMutexGuard<()> {
    let key = format!("{}/{}", spec.address, spec.database);
    let turns = {
        let mut all = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_default().clone()
    };
    turns.lock_owned().await
}

/// A connection.
#[derive(Debug)]
pub(super) struct Server {
    connection: PgConnection,
    /// Whether the last error was another transaction's doing.
    in_the_way: bool,
}

/// A role as it is at the server.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) oid: i64,
    pub(super) comment: Option<String>,
}

impl Server {
    pub(super) async fn connect(
        spec: &ResourceSpec,
        admin: &StaticCredential,
    ) -> Result<Self, CredentialError> {
        let password = secrets::read(&admin.password).await?;
        let Some((host, port)) = spec.address.rsplit_once(':') else {
            return Err(CredentialError(format!("`{}` is no address", spec.address)));
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host(host.trim_start_matches('[').trim_end_matches(']'))
            .port(port.parse().unwrap_or_default())
            .username(&admin.username)
            .password(password.expose())
            .database(&spec.database)
            .application_name("guard-broker")
            .options(SETTINGS)
            // A slow statement would be written to the log with the verifier in it.
            .disable_statement_logging();
        let mut options = match spec.tls {
            TlsMode::VerifyFull => options.ssl_mode(PgSslMode::VerifyFull),
            TlsMode::Disable => options.ssl_mode(PgSslMode::Disable),
        };
        if let Some(pem) = &spec.tls_ca {
            options = options.ssl_root_cert_from_pem(pem.clone().into_bytes());
        }
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options));
        let connection = connected
            .await
            .map_err(|_| CredentialError(format!("`{}` does not answer", spec.address)))?
            .map_err(|error| {
                CredentialError(format!(
                    "cannot connect to `{}` as `{}`: {}",
                    spec.address,
                    admin.username,
                    chain(&error)
                ))
            })?;
        Ok(Self { connection, in_the_way: false })
    }

    /// Closes it in order. The server closes it anyway.
    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.connection.close()).await;
    }

    /// Whether the last error was another transaction's doing.
    pub(super) fn was_in_the_way(&self) -> bool {
        self.in_the_way
    }

    fn failed(&mut self, error: &sqlx::Error) -> CredentialError {
        self.in_the_way = error.as_database_error().is_some_and(|error| {
            error.code().is_some_and(|code| IN_THE_WAY.contains(&&*code))
                || error.message().starts_with(CHANGED_MEANWHILE)
        });
        CredentialError(format!("the server says: {}", chain(error)))
    }

    /// Runs statements. Their texts are of this module's making: names in them are quoted.
    pub(super) async fn run(&mut self, text: &str) -> Result<(), CredentialError> {
        let done =
            sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Runs statements again as long as other transactions are in the way.
    pub(super) async fn retry(
        &mut self,
        text: &str,
        tries: u32,
        wait: Duration,
    ) -> Result<(), CredentialError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let Err(error) = self.run(text).await else { return Ok(()) };
            let again = self.in_the_way && tried < tries;
            // Without a transaction this is a warning.
            self.run("ROLLBACK").await?;
            if !again {
                return Err(error);
            }
            tokio::time::sleep(wait * tried).await;
        }
    }

    /// The rows of a query of this module's own.
    pub(super) async fn rows<T>(&mut self, text: &str) -> Result<Vec<T>, CredentialError>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        let rows = sqlx::query_as(AssertSqlSafe(text.to_owned())).fetch_all(&mut self.connection);
        rows.await.map_err(|error| self.failed(&error))
    }

    /// The server's version, and whether the admin is a superuser.
    pub(super) async fn version(&mut self) -> Result<(i32, bool), CredentialError> {
        let text = "SELECT current_setting('server_version_num')::int4, rolsuper
             FROM pg_catalog.pg_roles WHERE rolname = current_user";
        let found: Vec<(i32, bool)> = self.rows(text).await?;
        found.first().copied().ok_or_else(|| CredentialError("the admin is no role".into()))
    }

    /// A role, if it is there.
    pub(super) async fn role(&mut self, name: &str) -> Result<Option<Role>, CredentialError> {
        let text =
            "SELECT oid::int8 AS oid, pg_catalog.shobj_description(oid, 'pg_authid') AS comment
             FROM pg_catalog.pg_roles WHERE rolname = $1";
        let row =
            sqlx::query(text).bind(name.to_owned()).fetch_optional(&mut self.connection).await;
        let row = row.map_err(|error| self.failed(&error))?;
        let read = |row: sqlx::postgres::PgRow| {
            Ok(Role { oid: row.try_get("oid")?, comment: row.try_get("comment")? })
        };
        row.map(read).transpose().map_err(|error| self.failed(&error))
    }

    /// Ends the connections of a role, and says how many there were.
    pub(super) async fn end_connections(&mut self, oid: i64) -> Result<i64, CredentialError> {
        let text = "SELECT count(pg_catalog.pg_terminate_backend(pid))
             FROM pg_catalog.pg_stat_activity WHERE usesysid = $1::int8::oid";
        let ended = sqlx::query_scalar(text).bind(oid).fetch_one(&mut self.connection).await;
        ended.map_err(|error| self.failed(&error))
    }

    /// An error unless who is to own what sessions made can do no harm by it: what they made may run with its rights.
    pub(super) async fn require_harmless(&mut self, owner: &str) -> Result<(), CredentialError> {
        let text = "SELECT rolsuper OR rolcreaterole OR rolbypassrls OR rolreplication
                 OR rolname = current_user
             FROM pg_catalog.pg_roles WHERE rolname = $1";
        let found = sqlx::query_scalar(text)
            .bind(owner.to_owned())
            .fetch_optional(&mut self.connection)
            .await;
        let found: Option<bool> = found.map_err(|error| self.failed(&error))?;
        match found {
            Some(false) => Ok(()),
            Some(true) => Err(CredentialError(format!(
                "`{owner}` may do too much to own what sessions make, which can run with its rights: name a \
                 role that is no superuser, not the admin, and has none of CREATEROLE, BYPASSRLS and REPLICATION"
            ))),
            None => Err(CredentialError(format!("the owner `{owner}` is no role"))),
        }
    }

    /// What takes the rights of their owner from functions and views of a role, which are another's in a moment.
    pub(super) async fn tame(&mut self, oid: i64, version: i32) -> Result<String, CredentialError> {
        let functions: Vec<(String,)> = self
            .rows(&format!(
                "SELECT oid::regprocedure::text FROM pg_catalog.pg_proc
                 WHERE prosecdef AND proowner = {oid}::int8::oid"
            ))
            .await?;
        let mut text: String = functions
            .iter()
            .map(|(signature,)| format!("ALTER ROUTINE {signature} SECURITY INVOKER; "))
            .collect();
        // Before version 15 views have no other rights than their owner's.
        if version >= 150_000 {
            let views: Vec<(String, String)> = self
                .rows(&format!(
                    "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
                         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.relkind = 'v' AND c.relowner = {oid}::int8::oid"
                ))
                .await?;
            text.extend(views.iter().map(|(schema, name)| {
                format!("ALTER VIEW {} SET (security_invoker = true); ", qualified(schema, name))
            }));
        }
        Ok(text)
    }

    /// INVARIANT: no role is handed out that the server lets read what is withheld, by whichever way it may.
    pub(super) async fn refuse_unless_withheld(
        &mut self,
        role: &str,
        withheld: &[(i64, Option<String>)],
    ) -> Result<(), CredentialError> {
        if withheld.is_empty() {
            return Ok(());
        }
        let (relations, columns): (Vec<i64>, Vec<Option<String>>) =
            withheld.iter().cloned().unzip();
        let text = "SELECT w.relation::oid::regclass::text, w.name
             FROM unnest($2::int8[], $3::text[]) AS w (relation, name)
             WHERE CASE WHEN w.name IS NULL
                 THEN pg_catalog.has_any_column_privilege($1::name, w.relation::oid, 'SELECT')
                 ELSE pg_catalog.has_column_privilege($1::name, w.relation::oid, w.name, 'SELECT') END
             LIMIT 1";
        let open = sqlx::query_as(text)
            .bind(role.to_owned())
            .bind(relations)
            .bind(columns)
            .fetch_optional(&mut self.connection)
            .await;
        let open: Option<(String, Option<String>)> = open.map_err(|error| self.failed(&error))?;
        match open {
            None => Ok(()),
            Some((relation, Some(column))) => Err(CredentialError(format!(
                "column `{column}` of `{relation}` is withheld, but the server lets everyone read it: \
                 revoke SELECT from PUBLIC"
            ))),
            Some((relation, None)) => Err(CredentialError(format!(
                "`{relation}` shows a withheld column, and the server lets everyone read it: revoke \
                 SELECT from PUBLIC"
            ))),
        }
    }

    /// An error unless a role may connect to the database.
    pub(super) async fn require_connect(
        &mut self,
        role: &str,
        database: &str,
    ) -> Result<(), CredentialError> {
        let may = sqlx::query_scalar("SELECT pg_catalog.has_database_privilege($1, $2, 'CONNECT')")
            .bind(role.to_owned())
            .bind(database.to_owned())
            .fetch_one(&mut self.connection)
            .await;
        let may: bool = may.map_err(|error| self.failed(&error))?;
        if may {
            return Ok(());
        }
        Err(CredentialError(format!(
            "the admin may not let roles connect to `{database}`: grant it CONNECT with grant option"
        )))
    }
}
