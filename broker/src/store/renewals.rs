//! Sessions that fresh identity tokens keep alive.

use std::time::Duration;

use guard_core::{SessionId, Timestamp};

use super::{Store, StoreError, rows::millis};

/// What the record says of a session that was not renewed.
const NOT_RENEWED: &str = "the platform gave no fresh identity token in time";
/// How long shims get for it when no broker could have heard of them.
const GRACE: Duration = Duration::from_secs(60);

/// What came of asking that a session go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It goes on until then, and would have ended before.
    Longer,
    /// It may go on so long anyway.
    Anyway(Timestamp),
    /// It is over, or tokens do not keep it alive.
    No,
}

impl Store {
    /// Lets a live session go on until then, if it may not anyway.
    pub(crate) async fn renew(
        &self,
        id: SessionId,
        until: Timestamp,
    ) -> Result<Renewal, StoreError> {
        let text = "UPDATE sessions SET renew_by = $2
             WHERE id = $1 AND end_reason IS NULL AND renew_by < $2";
        let longer = sqlx::query(text)
            .bind(id.to_string())
            .bind(until.as_second())
            .execute(&self.pool)
            .await?;
        if longer.rows_affected() > 0 {
            return Ok(Renewal::Longer);
        }
        let text = "SELECT renew_by FROM sessions
             WHERE id = $1 AND end_reason IS NULL AND renew_by IS NOT NULL";
        let found: Option<i64> =
            sqlx::query_scalar(text).bind(id.to_string()).fetch_optional(&self.pool).await?;
        let Some(second) = found else { return Ok(Renewal::No) };
        let until = Timestamp::from_second(second);
        until.map(Renewal::Anyway).map_err(|error| StoreError::Row(error.to_string()))
    }

    /// Gives all of them a moment where no broker listened for longer than this.
    pub(super) async fn forgive_unrenewed(&self, deaf: Duration) -> Result<(), StoreError> {
        let text = "UPDATE sessions SET renew_by = $2
             WHERE end_reason IS NULL AND renew_by < $2
                 AND (SELECT at FROM listening WHERE id = 1) < {now} - $1";
        let until = Timestamp::now().as_second().saturating_add_unsigned(GRACE.as_secs());
        sqlx::query(self.sql(text)).bind(millis(deaf)).bind(until).execute(&self.pool).await?;
        Ok(())
    }

    /// Ends those that were not renewed in time.
    pub(super) async fn end_unrenewed(&self) -> Result<(), StoreError> {
        let text = "UPDATE sessions SET end_reason = 'expired', end_note = $2, ended_at = {now},
                 live_run = NULL
             WHERE end_reason IS NULL AND renew_by <= $1";
        sqlx::query(self.sql(text))
            .bind(Timestamp::now().as_second())
            .bind(NOT_RENEWED)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
