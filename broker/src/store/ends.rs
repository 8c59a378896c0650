//! How sessions end in the store: the first reason counts, and one broker at a time takes each to its end.

use std::time::Duration;

use guard_audit::tlog::Leaf;
use guard_core::{Digest, EndReason, SessionId, Timestamp};
use sqlx::AssertSqlSafe;

use super::{
    Store, StoreError,
    rows::{self, millis, number},
};

/// When no broker listened for this long, nobody's silence counts: who could have heard it?
const DEAF: Duration = Duration::from_secs(5);
/// How long the parts of a record stay after it is in the recordings, for those who are reading them.
const PARTS_STAY: Duration = Duration::from_secs(180);

impl Store {
    /// Notes that a session is over, unless it is, and claims it. Says whether this was the first word of it.
    pub(crate) async fn end_session(
        &self,
        id: SessionId,
        reason: EndReason,
        exit_code: Option<i32>,
        claim: Duration,
    ) -> Result<bool, StoreError> {
        // A run that finishes when its time is over has expired: which was first is an accident.
        let text = "UPDATE sessions SET
                 end_reason = CASE WHEN $2 = 'finished' AND until <= $6 THEN 'expired' ELSE $2 END,
                 exit_code = $3, ended_at = {now}, live_run = NULL, claimed_by = $4,
                 claimed_until = {now} + $5
             WHERE id = $1 AND end_reason IS NULL";
        let ended = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(reason.as_str().to_owned())
            .bind(exit_code.map(i64::from))
            .bind(self.me.clone())
            .bind(millis(claim))
            .bind(Timestamp::now().as_second())
            .execute(&self.pool)
            .await?;
        Ok(ended.rows_affected() > 0)
    }

    /// Ends a session by hand, for whichever broker sees it first to take it to its end. Says whether it lived.
    pub(crate) async fn revoke(&self, id: SessionId, note: &str) -> Result<bool, StoreError> {
        let text = "UPDATE sessions SET end_reason = 'revoked', end_note = $2, ended_at = {now},
                 live_run = NULL
             WHERE id = $1 AND end_reason IS NULL";
        let ended = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind((!note.is_empty()).then(|| note.to_owned()))
            .execute(&self.pool)
            .await?;
        Ok(ended.rows_affected() > 0)
    }

    /// What the person who ended a session said.
    pub(crate) async fn end_note(&self, id: SessionId) -> Result<Option<String>, StoreError> {
        let found: Option<Option<String>> =
            sqlx::query_scalar("SELECT end_note FROM sessions WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.flatten())
    }

    /// Ends the sessions whose time is over, and those whose shims are silent.
    pub(crate) async fn end_overdue(&self, lost_after: Duration) -> Result<(), StoreError> {
        self.forgive_unrenewed(DEAF).await?;
        let mut transaction = self.begin().await?;
        let forgive = "UPDATE heard SET at = {now}
             WHERE (SELECT at FROM listening WHERE id = 1) < {now} - $1";
        sqlx::query(self.sql(forgive)).bind(millis(DEAF)).execute(&mut *transaction).await?;
        sqlx::query(self.sql("UPDATE listening SET at = {now} WHERE id = 1"))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let over = "UPDATE sessions SET end_reason = 'expired', ended_at = {now}, live_run = NULL
             WHERE end_reason IS NULL AND until <= $1";
        sqlx::query(self.sql(over)).bind(Timestamp::now().as_second()).execute(&self.pool).await?;
        self.end_unrenewed().await?;
        let lost = "UPDATE sessions SET end_reason = 'lost', ended_at = {now}, live_run = NULL
             WHERE end_reason IS NULL AND id IN (SELECT session FROM heard WHERE at < {now} - $1)";
        sqlx::query(self.sql(lost)).bind(millis(lost_after)).execute(&self.pool).await?;
        Ok(())
    }

    /// Moves the moment at which all shims were last heard of.
    #[cfg(test)]
    pub(crate) async fn set_heard_for_test(&self, at: i64) {
        let moved = sqlx::query("UPDATE heard SET at = $1").bind(at).execute(&self.pool).await;
        assert!(moved.is_ok(), "{moved:?}");
    }

    /// Claims sessions that are over and that nobody takes to their end.
    pub(crate) async fn claim_ended(
        &self,
        claim: Duration,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        // The conditions stand twice: whoever waited for a row looks at it again. SQLite takes an index only by its
        // very words, which are `filed < 2`.
        let text = format!(
            "UPDATE sessions SET claimed_by = $1, claimed_until = {{now}} + $2
             WHERE end_reason IS NOT NULL AND filed < 1 AND filed < 2 AND claimed_until < {{now}} AND id IN (
                 SELECT id FROM sessions
                 WHERE end_reason IS NOT NULL AND filed < 1 AND filed < 2 AND claimed_until < {{now}}
                 ORDER BY claimed_until LIMIT {limit} {{skip}})
             RETURNING id"
        );
        let found: Vec<String> = sqlx::query_scalar(self.sql(&text))
            .bind(self.me.clone())
            .bind(millis(claim))
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(|id| rows::parse(id)).collect()
    }

    /// Lets a session rest whose record cannot be sealed, until a broker can go on with it.
    pub(crate) async fn lay_to_rest(&self, id: SessionId) -> Result<(), StoreError> {
        let text = "UPDATE sessions SET filed = 3, claimed_until = 0
             WHERE id = $1 AND sealed = 0 AND end_reason IS NOT NULL";
        sqlx::query(text).bind(id.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// Takes a session up again whose record can be gone on with after all.
    pub(crate) async fn wake(&self, id: SessionId) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET filed = 0 WHERE id = $1 AND filed = 3")
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        self.reopen_run(id).await
    }

    /// Keeps a claim. `false` if another broker has it by now.
    pub(crate) async fn keep_claim(
        &self,
        id: SessionId,
        claim: Duration,
    ) -> Result<bool, StoreError> {
        let text =
            "UPDATE sessions SET claimed_until = {now} + $3 WHERE id = $1 AND claimed_by = $2";
        let kept = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(self.me.clone())
            .bind(millis(claim))
            .execute(&self.pool)
            .await?;
        Ok(kept.rows_affected() > 0)
    }

    /// Gives up all claims: those of the broker that ran before, where there is only one.
    pub(crate) async fn forget_claims(&self) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET claimed_until = 0 WHERE claimed_until > 0")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes how far a session's file reaches, and, once it is sealed, its leaf for the log.
    pub(crate) async fn reached(
        &self,
        id: SessionId,
        entries: u64,
        head: Digest,
        leaf: Option<&Leaf>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE records SET entries = $2, head = $3, leaf = $4
             WHERE session = $1
                 AND EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND sealed = 0)",
        )
        .bind(id.to_string())
        .bind(number(entries)?)
        .bind(head.to_string())
        .bind(leaf.map(rows::to_json).transpose()?)
        .execute(&mut *transaction)
        .await?;
        if leaf.is_some() {
            let text = "UPDATE sessions SET sealed = 1, filed = 2, filed_at = {now}, mask_key = ''
                 WHERE id = $1";
            sqlx::query(self.sql(text)).bind(id.to_string()).execute(&mut *transaction).await?;
            sqlx::query("DELETE FROM heard WHERE session = $1")
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Notes that a sealed record is in the recordings.
    pub(crate) async fn filed(&self, id: SessionId) -> Result<(), StoreError> {
        let text = "UPDATE sessions SET filed = 1, filed_at = {now} WHERE id = $1 AND sealed = 1";
        sqlx::query(self.sql(text)).bind(id.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes parts of records that are in the recordings for a while.
    pub(crate) async fn forget_parts(&self) -> Result<(), StoreError> {
        let text = "SELECT id FROM sessions WHERE filed = 1 AND filed_at < {now} - $1 LIMIT 1000";
        let found: Vec<String> = sqlx::query_scalar(self.sql(text))
            .bind(millis(PARTS_STAY))
            .fetch_all(&self.pool)
            .await?;
        for id in found {
            let mut transaction = self.begin().await?;
            for text in [
                "DELETE FROM parts WHERE session = $1",
                "UPDATE sessions SET filed = 2 WHERE id = $1",
            ] {
                sqlx::query(AssertSqlSafe(text.to_owned()))
                    .bind(id.clone())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }
}
