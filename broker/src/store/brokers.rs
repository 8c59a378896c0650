//! Which brokers run, and by which files.

use guard_core::{Digest, Timestamp};
use serde::Serialize;

use super::{
    Store, StoreError,
    rows::{self, millis},
};

/// A broker that was not heard of for this long is not running. It tells every 6 s.
const RECENT: std::time::Duration = std::time::Duration::from_secs(20);

/// What a broker says of itself.
#[derive(Debug, Clone)]
pub(crate) struct BrokerRow {
    /// Its version.
    pub(crate) version: String,
    /// Its address as clients write it.
    pub(crate) url: String,
    /// Of the files that it runs by.
    pub(crate) digest: Digest,
    /// Why it does not run by the files as they are, if it does not.
    pub(crate) problem: Option<String>,
    /// When it started.
    pub(crate) started: Timestamp,
}

/// A broker as a person looks at it.
#[derive(Debug, Serialize)]
pub(crate) struct Broker {
    /// Its own name for itself: another one after each start.
    pub(crate) id: String,
    /// Its version.
    pub(crate) version: String,
    /// Of the files that it runs by.
    pub(crate) digest: Digest,
    /// Why it does not run by the files as they are, if it does not.
    pub(crate) problem: Option<String>,
}

impl Store {
    /// Notes what this broker says of itself.
    pub(crate) async fn tell_broker(&self, row: &BrokerRow) -> Result<(), StoreError> {
        let text = "INSERT INTO brokers (id, version, url, digest, problem, started_at, heard_at)
             VALUES ($1, $2, $3, $4, $5, $6, {now})
             ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, problem = excluded.problem,
                 heard_at = excluded.heard_at";
        sqlx::query(self.sql(text))
            .bind(self.me.clone())
            .bind(row.version.clone())
            .bind(row.url.clone())
            .bind(row.digest.to_string())
            .bind(row.problem.clone())
            .bind(row.started.as_millisecond())
            .execute(&self.pool)
            .await?;
        let text = "DELETE FROM brokers WHERE heard_at < {now} - $1";
        sqlx::query(self.sql(text)).bind(millis(RECENT * 10)).execute(&self.pool).await?;
        Ok(())
    }

    /// This broker stops.
    pub(crate) async fn forget_broker(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM brokers WHERE id = $1")
            .bind(self.me.clone())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The brokers that run, the oldest first.
    pub(crate) async fn brokers(&self) -> Result<Vec<Broker>, StoreError> {
        let text = "SELECT id, version, digest, problem FROM brokers
             WHERE heard_at > {now} - $1 ORDER BY started_at, id";
        let found: Vec<(String, String, String, Option<String>)> =
            sqlx::query_as(self.sql(text)).bind(millis(RECENT)).fetch_all(&self.pool).await?;
        let brokers = found.into_iter().map(|(id, version, digest, problem)| {
            Ok(Broker { id, version, digest: rows::parse(&digest)?, problem })
        });
        brokers.collect()
    }
}
