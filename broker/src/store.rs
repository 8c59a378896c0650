//! What the broker must not forget, in SQLite for one broker or in PostgreSQL for several.
//!
//! One text for both wherever it goes: `$1` placeholders, texts and 64-bit integers. What differs has a
//! name in braces, see [`Store::sql`]. Times are the store's own (`{now}`, in milliseconds), so that brokers whose
//! clocks differ agree on who was silent for how long.

mod access;
mod approvals;
mod authorizations;
mod brokers;
mod changes;
mod ends;
mod gateways;
mod journal;
mod leases;
mod log;
mod open;
mod overview;
mod people;
mod renewals;
mod retention;
mod rows;
mod runs;
mod sessions;
mod together;
mod webhooks;

use guard_core::Timestamp;
use sqlx::{Any, AnyPool, AssertSqlSafe, PgPool, Transaction};

pub(crate) use access::Used;
pub(crate) use approvals::{ApprovalRow, Asked, Vote, Voted};
pub(crate) use brokers::{Broker, BrokerRow};
pub(crate) use changes::Change;
pub(crate) use gateways::{Enrolled, StoredGateway};
pub(crate) use journal::{Head, Part};
pub(crate) use log::LeafRow;
pub(crate) use overview::Overview;
pub(crate) use people::{Held, NewSignedIn, SignIn, SignedInRow, Which};
pub(crate) use renewals::Renewal;
pub(crate) use retention::{Buried, Hold, Tombstone};
pub(crate) use rows::{LeaseRow, LeaseState, NewSession, SessionRow, StateRow};
pub(crate) use runs::{
    Decided, MatchedRules, RuleUse, RunCounts, RunFacts, RunFilter, RunRow, RunState, Standing,
};
pub(crate) use sessions::Stored;
use together::Together;
pub(crate) use webhooks::Delivery;

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    kind: Kind,
    /// Sessions that wait to be stored, where that is done for several at once.
    together: Together,
    /// The name by which this broker claims sessions.
    me: String,
}

#[derive(Debug, Clone)]
enum Kind {
    Sqlite,
    /// With a connection that listens for changes.
    Postgres(PgPool),
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

impl Store {
    /// Whether other brokers may use it, too.
    pub(crate) fn is_shared(&self) -> bool {
        match self.kind {
            Kind::Sqlite => false,
            Kind::Postgres(_) => true,
        }
    }

    /// A query's text for this store. `{now}` is the time in milliseconds, `{share}` keeps a row that was read as it is
    /// until the statement is done, `{skip}` passes over rows that another broker is at.
    fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let [now, share, skip] = match self.kind {
            Kind::Sqlite => ["CAST(unixepoch('subsec') * 1000 AS INTEGER)", "", ""],
            Kind::Postgres(_) => [
                "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
                "FOR SHARE",
                "FOR UPDATE SKIP LOCKED",
            ],
        };
        let text = text.replace("{now}", now).replace("{share}", share).replace("{skip}", skip);
        AssertSqlSafe(text)
    }

    /// Begins a transaction that will write.
    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(match self.kind {
            Kind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Kind::Postgres(_) => self.pool.begin().await?,
        })
    }

    /// Takes a connection that nobody else gets then.
    #[cfg(test)]
    pub(crate) async fn hold_for_test(&self) -> Transaction<'static, Any> {
        self.begin().await.expect("a connection")
    }

    /// Uses a proof up. `false` if it was used before, at whichever broker.
    pub(crate) async fn use_proof(
        &self,
        proof: String,
        forget_after: i64,
    ) -> Result<bool, StoreError> {
        let used = sqlx::query("INSERT INTO used_proofs VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(proof)
            .bind(forget_after)
            .execute(&self.pool)
            .await?;
        Ok(used.rows_affected() > 0)
    }

    /// Forgets identity tokens and proofs that would be refused for their age.
    pub(crate) async fn forget_used(&self, now: Timestamp) -> Result<(), StoreError> {
        for text in [
            "DELETE FROM used_tokens WHERE forget_after < $1",
            "DELETE FROM used_proofs WHERE forget_after < $1",
        ] {
            sqlx::query(text).bind(now.as_second()).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Whether the store answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// How many connections of this broker are idle, and how many are in use.
    pub(crate) fn connections(&self) -> (i64, i64) {
        let all = i64::from(self.pool.size());
        let idle = i64::try_from(self.pool.num_idle()).unwrap_or(i64::MAX).min(all);
        (idle, all - idle)
    }

    /// Closes the store in order.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        if let Kind::Postgres(listener) = &self.kind {
            listener.close().await;
        }
    }
}

impl From<StoreError> for crate::error::Refusal {
    fn from(error: StoreError) -> Self {
        Self::Internal(crate::error::chain(&error))
    }
}
