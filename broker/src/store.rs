//! What the broker must not forget, in SQLite.
//!
//! One connection serves all: SQLite has one writer anyway, and everything that happens often (proofs,
//! heartbeats, events of a record) does not come here.

mod rows;

use std::{os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use guard_core::{Digest, LeaseId, ResourceName, SessionId, Timestamp, control::GatewayInfo};
use sqlx::{
    Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) use rows::{LeaseRow, NewSession, SessionRow};

/// How long a request waits for the store.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The steps by which a store comes to the form that this broker reads. Add, never change.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_sessions.sql")];

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database says no.
    #[error("the store cannot be used")]
    Database(#[from] sqlx::Error),
    /// The file cannot be made.
    #[error("the store's file cannot be made")]
    File(#[from] std::io::Error),
    /// A newer broker made it.
    #[error("the store has version {found}; this broker knows {known}: use the newer broker")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest that this broker knows.
        known: usize,
    },
    /// A row does not hold what it should.
    #[error("a row of the store cannot be read: {0}")]
    Row(String),
}

/// What came of storing a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is stored.
    Done,
    /// Its identity token was exchanged before; nothing is stored.
    TokenUsed,
}

impl Store {
    /// Opens the store, made for the broker's user only if it is not there.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        // SQLite gives its side files the mode of this one.
        std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A `jti` that a power loss forgets could be used again.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await?;
        let store = Self { pool };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found: i64 =
            sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        let known = MIGRATIONS.len();
        let done = usize::try_from(found).unwrap_or(usize::MAX);
        let Some(left) = MIGRATIONS.get(done..) else {
            return Err(StoreError::Newer { found, known });
        };
        for step in left {
            sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        }
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {known}"));
        sqlx::raw_sql(version).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Closes the store in order.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Stores a session with its grants, and uses up its identity token, all or nothing.
    pub(crate) async fn open_session(&self, new: &NewSession<'_>) -> Result<Stored, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let used = sqlx::query("INSERT OR IGNORE INTO used_tokens VALUES (?, ?, ?)")
            .bind(&new.session.identity.run.issuer)
            .bind(new.jti)
            .bind(new.forget_after.as_second())
            .execute(&mut *transaction)
            .await?;
        if used.rows_affected() == 0 {
            return Ok(Stored::TokenUsed);
        }
        let session = &new.session;
        sqlx::query(
            "INSERT INTO sessions (id, token_hash, key_thumbprint, identity, trust_rule, mask_key, until)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(session.id.to_string())
        .bind(session.token_hash.to_string())
        .bind(&session.key_thumbprint)
        .bind(rows::to_json(&session.identity)?)
        .bind(&session.trust_rule)
        .bind(session.mask_key.expose())
        .bind(session.until.as_second())
        .execute(&mut *transaction)
        .await?;
        for (grant, policy) in &session.grants {
            sqlx::query("INSERT INTO grants VALUES (?, ?, ?, ?, ?)")
                .bind(session.id.to_string())
                .bind(grant.resource.as_str())
                .bind(grant.policy.as_str())
                .bind(policy.digest.to_string())
                .bind(grant.until.as_second())
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT OR IGNORE INTO policies VALUES (?, ?, ?)")
                .bind(policy.digest.to_string())
                .bind(policy.name.as_str())
                .bind(&policy.yaml)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Stored::Done)
    }

    /// Sessions whose record is not sealed.
    pub(crate) async fn unsealed_sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM sessions WHERE sealed = 0").fetch_all(&self.pool).await?;
        let mut sessions = Vec::new();
        for row in &rows {
            sessions.push(self.session_row(row).await?);
        }
        Ok(sessions)
    }

    /// The session of a token, whether it is over or not.
    pub(crate) async fn session_by_token(
        &self,
        token_hash: Digest,
    ) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE token_hash = ?")
            .bind(token_hash.to_string())
            .fetch_optional(&self.pool)
            .await?;
        match row {
            Some(row) => Ok(Some(self.session_row(&row).await?)),
            None => Ok(None),
        }
    }

    async fn session_row(&self, row: &sqlx::sqlite::SqliteRow) -> Result<SessionRow, StoreError> {
        let id: String = row.try_get("id")?;
        let grants = sqlx::query(
            "SELECT resource, policy, until, policies.digest, policies.name, policies.yaml
             FROM grants JOIN policies ON policies.digest = grants.policy_digest
             WHERE session = ? ORDER BY resource",
        )
        .bind(&id)
        .fetch_all(&self.pool)
        .await?;
        let authorizations: Vec<(String, String)> =
            sqlx::query_as("SELECT gateway, resource FROM authorizations WHERE session = ?")
                .bind(&id)
                .fetch_all(&self.pool)
                .await?;
        let leases: Vec<(String, String, String)> =
            sqlx::query_as("SELECT id, resource, holder FROM leases WHERE session = ?")
                .bind(&id)
                .fetch_all(&self.pool)
                .await?;
        SessionRow::read(row, &grants, authorizations, leases)
    }

    /// Notes that a session is over, with the first reason that was given.
    pub(crate) async fn end_session(
        &self,
        id: SessionId,
        reason: &str,
        exit_code: Option<i32>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sessions SET end_reason = ?, exit_code = ? WHERE id = ? AND end_reason IS NULL",
        )
        .bind(reason)
        .bind(exit_code)
        .bind(id.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes how far a session's record reaches, and whether it is sealed.
    pub(crate) async fn reached(
        &self,
        id: SessionId,
        entries: u64,
        head: Digest,
        sealed: bool,
    ) -> Result<(), StoreError> {
        let entries = i64::try_from(entries).map_err(|error| StoreError::Row(error.to_string()))?;
        let mask_key = if sealed { ", mask_key = ''" } else { "" };
        let update = format!(
            "UPDATE sessions SET entries = ?, head = ?, sealed = ?{mask_key} WHERE id = ? AND sealed = 0"
        );
        sqlx::query(sqlx::AssertSqlSafe(update))
            .bind(entries)
            .bind(head.to_string())
            .bind(sealed)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes that a session's shim went to a gateway for a resource.
    pub(crate) async fn authorize(
        &self,
        session: SessionId,
        resource: &ResourceName,
        gateway: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT OR IGNORE INTO authorizations VALUES (?, ?, ?)")
            .bind(session.to_string())
            .bind(resource.as_str())
            .bind(gateway)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Stores a lease: before it is handed out.
    pub(crate) async fn add_lease(
        &self,
        session: SessionId,
        lease: &LeaseRow,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO leases VALUES (?, ?, ?, ?)")
            .bind(lease.id.to_string())
            .bind(session.to_string())
            .bind(lease.resource.as_str())
            .bind(&lease.holder)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets a lease that was given back.
    pub(crate) async fn remove_lease(&self, id: LeaseId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM leases WHERE id = ?")
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Stores what a gateway says of itself.
    pub(crate) async fn register_gateway(
        &self,
        gateway: &GatewayInfo,
        version: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO gateways VALUES (?, ?, ?, ?)")
            .bind(&gateway.name)
            .bind(&gateway.address)
            .bind(gateway.certificate.to_string())
            .bind(version)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The gateways as they registered last.
    pub(crate) async fn gateways(&self) -> Result<Vec<GatewayInfo>, StoreError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, address, certificate FROM gateways")
                .fetch_all(&self.pool)
                .await?;
        let gateways = rows.into_iter().map(|(name, address, certificate)| {
            let certificate =
                certificate.parse().map_err(|error: &str| StoreError::Row(error.to_string()))?;
            Ok(GatewayInfo { name, address, certificate })
        });
        gateways.collect()
    }

    /// Takes back a session that nobody was told of. Its identity token stays used.
    pub(crate) async fn forget_session(&self, id: SessionId) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for delete in ["DELETE FROM grants WHERE session = ?", "DELETE FROM sessions WHERE id = ?"]
        {
            sqlx::query(delete).bind(id.to_string()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets identity tokens that would be refused for their age.
    pub(crate) async fn forget_tokens(&self, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM used_tokens WHERE forget_after < ?")
            .bind(now.as_second())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether the store answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}
