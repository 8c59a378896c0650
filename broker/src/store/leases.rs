//! Leases: stored before there is a credential, kept until it is taken back.

use std::time::Duration;

use guard_core::{LeaseId, SessionId, Timestamp};
use sqlx::{Row as _, any::AnyRow};

use super::{
    LeaseRow, LeaseState, Store, StoreError,
    rows::{self, millis, parse},
};
use crate::credentials::Handle;

/// Leases that one session may have out. An enforcement point needs one for each resource, and takes a
/// new one when it starts again.
const MAX_LEASES: i64 = 64;
/// A credential may still be made this long after it was wanted: a broker that makes one gives up before. Whatever of
/// it was taken back earlier is looked for once more then.
const MAKING: Duration = Duration::from_secs(30);
/// After this long nobody is handed one any more that was wanted.
const WANTED_STAYS: Duration = Duration::from_secs(45);
/// A session that is over for this long has no leases, whatever becomes of its record.
const OVER_FOR: Duration = Duration::from_secs(40);
/// The longest text of a problem that is kept.
const MAX_PROBLEM: usize = 500;

const COLUMNS: &str =
    "id, session, resource, holder, handle, username, state, handed_out, until, tries,
    problem, next_try";

impl Store {
    /// Stores a lease, before its credential is made. `false` if the session is over or has too many.
    pub(crate) async fn add_lease(&self, lease: &LeaseRow) -> Result<bool, StoreError> {
        // The session cannot end in between: whoever ends it waits, and then finds the lease.
        let text = "WITH live AS (
                 SELECT id FROM sessions WHERE id = $2 AND end_reason IS NULL {share})
             INSERT INTO leases (id, session, resource, holder, state, handle, username, wanted_at,
                 handed_out, until)
             SELECT $1, id, $3, $4, 'wanted', $6, $7, {now}, 0, $8 FROM live
             WHERE (SELECT count(*) FROM leases WHERE session = $2) < $5";
        let added = sqlx::query(self.sql(text))
            .bind(lease.id.to_string())
            .bind(lease.session.to_string())
            .bind(lease.resource.as_str().to_owned())
            .bind(lease.holder.clone())
            .bind(MAX_LEASES)
            .bind(rows::to_json(&lease.handle)?)
            .bind(lease.username.clone())
            .bind(lease.until.as_second())
            .execute(&self.pool)
            .await?;
        Ok(added.rows_affected() > 0)
    }

    /// Notes that a credential is there, before it is handed out. `false` if it is being taken back already.
    pub(crate) async fn lease_out(
        &self,
        lease: &LeaseRow,
        renew_in: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let text = "UPDATE leases SET state = 'out', handed_out = 1, handle = $2, username = $3, until = $4,
                 renew_at = CASE WHEN $5 > 0 THEN {now} + $5 ELSE 0 END
             WHERE id = $1 AND state = 'wanted'";
        let out = sqlx::query(self.sql(text))
            .bind(lease.id.to_string())
            .bind(rows::to_json(&lease.handle)?)
            .bind(lease.username.clone())
            .bind(lease.until.as_second())
            .bind(renew_in.map_or(0, millis))
            .execute(&self.pool)
            .await?;
        Ok(out.rows_affected() > 0)
    }

    /// Notes what finds a credential that is being made. `false` if it is being taken back already.
    pub(crate) async fn note_handle(
        &self,
        id: LeaseId,
        handle: &Handle,
    ) -> Result<bool, StoreError> {
        let noted = sqlx::query("UPDATE leases SET handle = $2 WHERE id = $1 AND state = 'wanted'")
            .bind(id.to_string())
            .bind(rows::to_json(handle)?)
            .execute(&self.pool)
            .await?;
        Ok(noted.rows_affected() > 0)
    }

    /// Notes that a lease lasts longer.
    pub(crate) async fn lease_renewed(
        &self,
        id: LeaseId,
        until: Timestamp,
        renew_in: Option<Duration>,
    ) -> Result<(), StoreError> {
        let text =
            "UPDATE leases SET until = $2, renew_at = CASE WHEN $3 > 0 THEN {now} + $3 ELSE 0 END
             WHERE id = $1 AND state = 'out'";
        sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(until.as_second())
            .bind(renew_in.map_or(0, millis))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Leases that have to be made to last longer. Nobody else takes them for the time of `claim`.
    pub(crate) async fn claim_renewals(
        &self,
        claim: Duration,
        limit: usize,
    ) -> Result<Vec<LeaseRow>, StoreError> {
        let text = format!(
            "UPDATE leases SET renew_at = {{now}} + $1
             WHERE renew_at > 0 AND renew_at < {{now}} AND state = 'out' AND id IN (
                 SELECT id FROM leases WHERE renew_at > 0 AND renew_at < {{now}} AND state = 'out'
                 LIMIT {limit} {{skip}})
             RETURNING {COLUMNS}"
        );
        let rows = sqlx::query(self.sql(&text)).bind(millis(claim)).fetch_all(&self.pool).await?;
        rows.iter().map(LeaseRow::read).collect()
    }

    /// Begins to take a lease back; for the time of `claim` nobody else does. `None` if it is gone.
    pub(crate) async fn begin_revoking(
        &self,
        id: LeaseId,
        claim: Duration,
    ) -> Result<Option<LeaseRow>, StoreError> {
        let text = format!(
            "UPDATE leases SET state = 'revoking', tries = tries + 1, next_try = {{now}} + $2
             WHERE id = $1 RETURNING {COLUMNS}"
        );
        let row = sqlx::query(self.sql(&text))
            .bind(id.to_string())
            .bind(millis(claim))
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(LeaseRow::read).transpose()
    }

    /// Claims leases that have to be taken back: what could not be before, what was wanted and that nobody got, and
    /// whatever sessions have that are over.
    pub(crate) async fn claim_leases(
        &self,
        claim: Duration,
        limit: usize,
    ) -> Result<Vec<LeaseRow>, StoreError> {
        const DUE: &str = "next_try < {now} AND (state IN ('revoking', 'failed')
             OR (state = 'wanted' AND wanted_at < {now} - $2)
             OR session IN (SELECT id FROM sessions WHERE end_reason IS NOT NULL AND ended_at < {now} - $3))";
        // The conditions stand twice: whoever waited for a row looks at it again.
        let text = format!(
            "UPDATE leases SET state = 'revoking', tries = tries + 1, next_try = {{now}} + $1
             WHERE {DUE} AND id IN (SELECT id FROM leases WHERE {DUE} ORDER BY next_try LIMIT {limit} {{skip}})
             RETURNING {COLUMNS}"
        );
        let rows = sqlx::query(self.sql(&text))
            .bind(millis(claim))
            .bind(millis(WANTED_STAYS))
            .bind(millis(OVER_FOR))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(LeaseRow::read).collect()
    }

    /// Notes that a lease could not be taken back, and when that is tried again.
    pub(crate) async fn lease_failed(
        &self,
        id: LeaseId,
        problem: &str,
        again: Duration,
    ) -> Result<(), StoreError> {
        let text =
            "UPDATE leases SET state = 'failed', problem = $2, next_try = {now} + $3 WHERE id = $1";
        let problem: String = problem.chars().take(MAX_PROBLEM).collect();
        sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(problem)
            .bind(millis(again))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets a lease that was taken back, or, if its credential may still be in the making, looks again later. Says
    /// whether it is forgotten.
    pub(crate) async fn forget_lease(&self, lease: &LeaseRow) -> Result<bool, StoreError> {
        let text =
            "DELETE FROM leases WHERE id = $1 AND (handed_out = 1 OR wanted_at < {now} - $2)";
        let gone = sqlx::query(self.sql(text))
            .bind(lease.id.to_string())
            .bind(millis(MAKING))
            .execute(&self.pool)
            .await?;
        if gone.rows_affected() > 0 {
            return Ok(true);
        }
        let text = "UPDATE leases SET next_try = wanted_at + $2, problem = NULL WHERE id = $1";
        sqlx::query(text)
            .bind(lease.id.to_string())
            .bind(millis(MAKING) + 1)
            .execute(&self.pool)
            .await?;
        Ok(false)
    }

    /// The leases of a session that are not taken back.
    pub(crate) async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRow>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM leases WHERE session = $1 ORDER BY id");
        let rows =
            sqlx::query(self.sql(&text)).bind(session.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(LeaseRow::read).collect()
    }

    /// All leases that are not taken back.
    pub(crate) async fn all_leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM leases ORDER BY id");
        let rows = sqlx::query(self.sql(&text)).fetch_all(&self.pool).await?;
        rows.iter().map(LeaseRow::read).collect()
    }

    /// A lease that is not taken back.
    pub(crate) async fn lease(&self, id: LeaseId) -> Result<Option<LeaseRow>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM leases WHERE id = $1");
        let row =
            sqlx::query(self.sql(&text)).bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.as_ref().map(LeaseRow::read).transpose()
    }

    /// Makes a lease one that nobody was told of.
    #[cfg(test)]
    pub(crate) async fn as_never_handed_out_for_test(&self, id: LeaseId) {
        let text = "UPDATE leases SET state = 'wanted', handed_out = 0 WHERE id = $1";
        let made = sqlx::query(text).bind(id.to_string()).execute(&self.pool).await;
        assert!(made.is_ok(), "{made:?}");
    }

    /// Moves the moments of a lease into the past, as if time went by.
    #[cfg(test)]
    pub(crate) async fn age_lease_for_test(&self, id: LeaseId, by: Duration) {
        let text = "UPDATE leases SET wanted_at = wanted_at - $2, next_try = next_try - $2,
             renew_at = CASE WHEN renew_at > 0 THEN renew_at - $2 ELSE 0 END WHERE id = $1";
        let aged =
            sqlx::query(text).bind(id.to_string()).bind(millis(by)).execute(&self.pool).await;
        assert!(aged.is_ok(), "{aged:?}");
    }
}

impl LeaseRow {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let state: String = row.try_get("state")?;
        let handle: String = row.try_get("handle")?;
        let handle: Handle =
            serde_json::from_str(&handle).map_err(|error| StoreError::Row(error.to_string()))?;
        let next_try: i64 = row.try_get("next_try")?;
        Ok(Self {
            id: parse(&row.try_get::<String, _>("id")?)?,
            session: parse(&row.try_get::<String, _>("session")?)?,
            resource: parse(&row.try_get::<String, _>("resource")?)?,
            holder: row.try_get("holder")?,
            handle,
            username: row.try_get("username")?,
            state: LeaseState::named(&state)
                .ok_or_else(|| StoreError::Row(format!("a lease is `{state}`")))?,
            handed_out: row.try_get::<i64, _>("handed_out")? != 0,
            until: rows::moment(row.try_get("until")?)?,
            tries: rows::count(row.try_get("tries")?)?,
            problem: row.try_get("problem")?,
            next_try: Timestamp::from_millisecond(next_try)
                .map_err(|error| StoreError::Row(error.to_string()))?,
        })
    }
}
