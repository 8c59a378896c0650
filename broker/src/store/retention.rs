//! What keeps records, and what is left of those that are deleted.
//!
//! A hold and a deletion of one record cannot both happen: each is decided while nobody else changes the holds, the
//! deletion by a tombstone. What follows may be done twice, by whichever broker, until the tombstone says that it is done.

use std::{collections::BTreeMap, time::Duration};

use guard_core::{Identity, SessionId, Timestamp};
use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::{
    Kind, Store, StoreError,
    rows::{self, millis},
};

/// Records of one look.
const PAGE: usize = 500;

/// What keeps records from being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Hold {
    /// Finds it again.
    pub(crate) id: String,
    /// `session` or `repository`.
    pub(crate) kind: String,
    /// Which.
    pub(crate) value: String,
    /// Why.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// What is left of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tombstone {
    /// The session.
    pub(crate) session: SessionId,
    /// Why it was deleted.
    pub(crate) reason: String,
    /// When.
    pub(crate) deleted_at: Timestamp,
}

impl std::fmt::Display for Tombstone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let day = self.deleted_at.strftime("%Y-%m-%d");
        write!(f, "the record was deleted under retention on {day}: {}", self.reason)
    }
}

/// A record that could be due.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The session.
    pub(crate) session: SessionId,
    /// Its run.
    pub(crate) identity: Identity,
    /// The trust rule that gave it.
    pub(crate) trust_rule: String,
    /// What it could reach.
    pub(crate) resources: Vec<String>,
    /// When it ended, in milliseconds.
    pub(crate) ended_at: i64,
}

/// Whether a record may be deleted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Buried {
    /// It is being deleted from now on, or was before.
    Yes,
    /// It is held.
    Held(Box<Hold>),
    /// It is not sealed, not in the recordings, or not in the log yet; or there is no such session.
    NotYet,
}

impl Hold {
    fn is_about(&self, session: SessionId, repository: &str) -> bool {
        match self.kind.as_str() {
            "session" => self.value == session.to_string(),
            "repository" => self.value == repository,
            // What this broker does not know holds everything.
            _ => true,
        }
    }
}

impl Store {
    /// Nobody else changes the holds until the transaction is over. SQLite has one writer anyway.
    fn lock_holds(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "SELECT 1",
            Kind::Postgres(_) => "LOCK TABLE holds IN SHARE ROW EXCLUSIVE MODE",
        }
    }

    /// Holds records.
    pub(crate) async fn hold(&self, hold: &Hold) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(self.lock_holds()).execute(&mut *transaction).await?;
        sqlx::query(
            "INSERT INTO holds (id, kind, value, reason, since) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(hold.id.clone())
        .bind(hold.kind.clone())
        .bind(hold.value.clone())
        .bind(hold.reason.clone())
        .bind(hold.since.as_second())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes a hold back. `false` if there is none of this name.
    pub(crate) async fn release_hold(&self, id: &str) -> Result<bool, StoreError> {
        let released = sqlx::query("DELETE FROM holds WHERE id = $1")
            .bind(id.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(released.rows_affected() > 0)
    }

    /// All holds, the oldest first.
    pub(crate) async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        holds(&mut connection).await
    }

    /// Decides that a record is deleted, unless it is held. From then on it cannot be held.
    pub(crate) async fn bury(
        &self,
        session: SessionId,
        reason: &str,
    ) -> Result<Buried, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(self.lock_holds()).execute(&mut *transaction).await?;
        let text = "SELECT identity FROM sessions
             WHERE id = $1 AND sealed = 1 AND filed IN (1, 2) AND logged > 0";
        let identity: Option<String> = sqlx::query_scalar(text)
            .bind(session.to_string())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(identity) = identity else { return Ok(Buried::NotYet) };
        let identity: Identity = from_json(&identity)?;
        let holds = holds(&mut transaction).await?;
        if let Some(hold) =
            holds.into_iter().find(|hold| hold.is_about(session, &identity.repository))
        {
            return Ok(Buried::Held(Box::new(hold)));
        }
        let text = "INSERT INTO tombstones (session, reason, deleted_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        sqlx::query(text)
            .bind(session.to_string())
            .bind(reason.to_owned())
            .bind(Timestamp::now().as_second())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Buried::Yes)
    }

    /// What is left of a record, if it is deleted.
    pub(crate) async fn tombstone(
        &self,
        session: SessionId,
    ) -> Result<Option<Tombstone>, StoreError> {
        let row: Option<(String, i64)> =
            sqlx::query_as("SELECT reason, deleted_at FROM tombstones WHERE session = $1")
                .bind(session.to_string())
                .fetch_optional(&self.pool)
                .await?;
        let Some((reason, at)) = row else { return Ok(None) };
        Ok(Some(Tombstone { session, reason, deleted_at: seconds(at)? }))
    }

    /// Claims deletions that are decided and not done.
    pub(crate) async fn claim_tombstones(
        &self,
        claim: Duration,
        limit: usize,
    ) -> Result<Vec<Tombstone>, StoreError> {
        let text = format!(
            "UPDATE tombstones SET claimed_until = {{now}} + $1
             WHERE done = 0 AND claimed_until < {{now}} AND session IN (
                 SELECT session FROM tombstones WHERE done = 0 AND claimed_until < {{now}}
                 ORDER BY claimed_until LIMIT {limit} {{skip}})
             RETURNING session, reason, deleted_at"
        );
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(self.sql(&text)).bind(millis(claim)).fetch_all(&self.pool).await?;
        let read = |(session, reason, at): (String, _, _)| {
            Ok(Tombstone { session: rows::parse(&session)?, reason, deleted_at: seconds(at)? })
        };
        rows.into_iter().map(read).collect()
    }

    /// Notes that nothing is left of a record.
    pub(crate) async fn buried(&self, session: SessionId) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let parts = match self.kind {
            Kind::Sqlite => None,
            Kind::Postgres(_) => Some("DELETE FROM parts WHERE session = $1"),
        };
        for text in parts.into_iter().chain(["UPDATE tombstones SET done = 1 WHERE session = $1"]) {
            sqlx::query(text).bind(session.to_string()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Sealed records behind a place in the order of their ends, that ended before a moment.
    pub(crate) async fn kept(
        &self,
        behind: &(i64, String),
        before: i64,
    ) -> Result<Vec<Kept>, StoreError> {
        let text = format!(
            "SELECT id, identity, trust_rule, ended_at FROM sessions
             WHERE sealed = 1 AND ended_at < $1 AND (ended_at, id) > ($2, $3)
                 AND NOT EXISTS (SELECT 1 FROM tombstones WHERE session = sessions.id)
             ORDER BY ended_at, id LIMIT {PAGE}"
        );
        let rows: Vec<(String, String, String, i64)> = sqlx::query_as(AssertSqlSafe(text))
            .bind(before)
            .bind(behind.0)
            .bind(behind.1.clone())
            .fetch_all(&self.pool)
            .await?;
        let mut resources = BTreeMap::<String, Vec<String>>::new();
        if !rows.is_empty() {
            // Ids are the store's own: digits and dashes.
            let ids: Vec<_> = rows.iter().map(|(id, ..)| format!("'{id}'")).collect();
            let text = format!(
                "SELECT session, resource FROM grants WHERE session IN ({})",
                ids.join(", ")
            );
            let granted: Vec<(String, String)> =
                sqlx::query_as(AssertSqlSafe(text)).fetch_all(&self.pool).await?;
            for (session, resource) in granted {
                resources.entry(session).or_default().push(resource);
            }
        }
        let read = |(id, identity, trust_rule, ended_at): (String, String, _, _)| {
            Ok(Kept {
                session: rows::parse(&id)?,
                identity: from_json(&identity)?,
                trust_rule,
                resources: resources.remove(&id).unwrap_or_default(),
                ended_at,
            })
        };
        rows.into_iter().map(read).collect()
    }
}

async fn holds(connection: &mut sqlx::AnyConnection) -> Result<Vec<Hold>, StoreError> {
    let text = "SELECT id, kind, value, reason, since FROM holds ORDER BY since, id";
    let rows: Vec<(String, String, String, String, i64)> =
        sqlx::query_as(text).fetch_all(connection).await?;
    let read = |(id, kind, value, reason, since)| {
        Ok(Hold { id, kind, value, reason, since: seconds(since)? })
    };
    rows.into_iter().map(read).collect()
}

fn seconds(at: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_second(at).map_err(|error| StoreError::Row(error.to_string()))
}

fn from_json(text: &str) -> Result<Identity, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Row(error.to_string()))
}
