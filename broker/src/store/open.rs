//! From an address to a store whose tables are as this broker knows them.

use std::{os::unix::fs::OpenOptionsExt as _, path::Path, sync::Once, time::Duration};

use guard_core::Secret;
use sqlx::{
    AnyPool, AssertSqlSafe, Connection as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use url::Url;

use super::{Kind, Store, StoreError};
use crate::config::{StoreAddress, StoreTls};

/// How long a request waits for the store.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Settings of each connection to PostgreSQL. Whatever a broker does there is short; one that hangs must not
/// hold others up.
const SESSION_SETTINGS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '10s'; SET application_name = 'guard-broker'";
/// One of these at a time changes the tables: an advisory lock's key, `guard` in ASCII.
const MIGRATION_LOCK: i64 = 0x0067_7561_7264;

/// The steps by which a store comes to the form that this broker reads. Add, never change.
const SQLITE: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_sessions.sql"),
    include_str!("../../migrations/sqlite/0002_several.sql"),
    include_str!("../../migrations/sqlite/0003_brokers.sql"),
    include_str!("../../migrations/sqlite/0004_leases.sql"),
    include_str!("../../migrations/sqlite/0005_gateways.sql"),
    include_str!("../../migrations/sqlite/0006_renewals.sql"),
    include_str!("../../migrations/sqlite/0007_runs.sql"),
    include_str!("../../migrations/sqlite/0008_log.sql"),
    include_str!("../../migrations/sqlite/0009_approvals.sql"),
    include_str!("../../migrations/sqlite/0010_people.sql"),
    include_str!("../../migrations/sqlite/0011_gateways_by_identity.sql"),
    include_str!("../../migrations/sqlite/0012_people_claims.sql"),
    include_str!("../../migrations/sqlite/0013_segments.sql"),
    include_str!("../../migrations/sqlite/0014_retention.sql"),
    include_str!("../../migrations/sqlite/0015_unnoted.sql"),
    include_str!("../../migrations/sqlite/0016_rules.sql"),
    include_str!("../../migrations/sqlite/0017_locks.sql"),
];
const POSTGRES: &[&str] = &[
    include_str!("../../migrations/postgres/0001_sessions.sql"),
    include_str!("../../migrations/postgres/0002_brokers.sql"),
    include_str!("../../migrations/postgres/0003_leases.sql"),
    include_str!("../../migrations/postgres/0004_gateways.sql"),
    include_str!("../../migrations/postgres/0005_renewals.sql"),
    include_str!("../../migrations/postgres/0006_runs.sql"),
    include_str!("../../migrations/postgres/0007_log.sql"),
    include_str!("../../migrations/postgres/0008_approvals.sql"),
    include_str!("../../migrations/postgres/0009_people.sql"),
    include_str!("../../migrations/postgres/0010_gateways_by_identity.sql"),
    include_str!("../../migrations/postgres/0011_people_claims.sql"),
    include_str!("../../migrations/postgres/0012_segments.sql"),
    include_str!("../../migrations/postgres/0013_retention.sql"),
    include_str!("../../migrations/postgres/0014_unnoted.sql"),
    include_str!("../../migrations/postgres/0015_rules.sql"),
    include_str!("../../migrations/postgres/0016_locks.sql"),
];

impl Store {
    /// Opens the store and brings its tables up to date.
    pub(crate) async fn open(
        address: &StoreAddress,
        password: Option<&Secret>,
    ) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let (pool, kind) = match address {
            StoreAddress::Sqlite(path) => (sqlite(path).await?, Kind::Sqlite),
            StoreAddress::Postgres { url, tls, connections } => {
                let url = with_options(url, tls, password)?;
                let options: PgConnectOptions = url.as_str().parse()?;
                // Beside the others, or a busy broker would hear of nothing.
                let listener = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
                (postgres(url, *connections).await?, Kind::Postgres(listener))
            }
        };
        let me = uuid::Uuid::new_v4().to_string();
        let store = Self { pool, kind, together: super::Together::default(), me };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        match self.kind {
            Kind::Sqlite => self.migrate_sqlite().await,
            Kind::Postgres(_) => self.migrate_postgres().await,
        }
    }

    async fn migrate_sqlite(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let found: i64 =
            sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        for step in steps_left(SQLITE, found)? {
            sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        }
        let version = format!("PRAGMA user_version = {}", SQLITE.len());
        sqlx::raw_sql(AssertSqlSafe(version)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn migrate_postgres(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        // Until the transaction ends; brokers that start at the same time wait for the first.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS guard_store (version BIGINT NOT NULL)")
            .execute(&mut *transaction)
            .await?;
        let found: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM guard_store")
            .fetch_one(&mut *transaction)
            .await?;
        let left = steps_left(POSTGRES, found.unwrap_or_default())?;
        for step in left {
            sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        }
        if !left.is_empty() {
            sqlx::query("INSERT INTO guard_store VALUES ($1)")
                .bind(i64::try_from(POSTGRES.len()).unwrap_or(i64::MAX))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

fn steps_left(
    steps: &'static [&'static str],
    found: i64,
) -> Result<&'static [&'static str], StoreError> {
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    steps.get(done..).ok_or(StoreError::Newer { found, known: steps.len() })
}

/// Opens the file, made for the broker's user only if it is not there. One connection serves all: SQLite has one
/// writer anyway, and what happens often does not come here.
async fn sqlite(path: &Path) -> Result<AnyPool, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    // SQLite gives its side files the mode of this one.
    std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let path = std::path::absolute(path)?;
    let url = Url::from_file_path(&path)
        .map_err(|()| StoreError::Row(format!("`{}` is no path of a file", path.display())))?;
    let url = format!("sqlite://{}", url.path());
    let options: AnyConnectOptions = url.parse()?;
    let pool = AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let wait = ACQUIRE_TIMEOUT.as_millis();
                // A `jti` that a power loss forgets could be used again: `FULL`.
                let settings = format!(
                    "PRAGMA busy_timeout = {wait}; PRAGMA journal_mode = WAL; \
                     PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
                );
                sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await?;
    Ok(pool)
}

async fn postgres(url: Url, connections: u32) -> Result<AnyPool, StoreError> {
    let options: AnyConnectOptions = url.as_str().parse()?;
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(SESSION_SETTINGS).execute(&mut *connection).await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await?;
    Ok(pool)
}

/// The address as the driver takes it, with what does not stand in the configuration's.
fn with_options(url: &Url, tls: &StoreTls, password: Option<&Secret>) -> Result<Url, StoreError> {
    let mut url = url.clone();
    if let Some(password) = password {
        url.set_password(Some(password.expose()))
            .map_err(|()| StoreError::Row(format!("`{url}` can have no password")))?;
    }
    match tls {
        StoreTls::Disable => {
            url.query_pairs_mut().append_pair("sslmode", "disable");
        }
        StoreTls::VerifyFull(authorities) => {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("sslmode", "verify-full");
            if let Some(file) = authorities {
                pairs.append_pair("sslrootcert", &file.to_string_lossy());
            }
        }
    }
    Ok(url)
}
