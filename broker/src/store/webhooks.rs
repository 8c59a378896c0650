//! What receivers have to be told: rows that go when they were taken, whichever broker brings them.

use std::time::Duration;

use guard_core::ApprovalId;
use sqlx::Row as _;

use super::{
    ApprovalRow, Store, StoreError,
    rows::{self, millis, parse},
};

/// One thing that one receiver has to be told.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Names it: a receiver that gets it twice knows by this.
    pub(crate) id: String,
    /// The receiver.
    pub(crate) webhook: String,
    /// The request.
    pub(crate) approval: ApprovalId,
    /// What happened.
    pub(crate) event: String,
    /// Attempts, with this one.
    pub(crate) tries: u64,
}

impl Store {
    /// Requests that came to a state of which receivers were not told.
    pub(crate) async fn untold_approvals(
        &self,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let text = format!(
            "SELECT {} FROM approvals WHERE told <> state ORDER BY id LIMIT {limit}",
            super::approvals::COLUMNS
        );
        let rows = sqlx::query(self.sql(&text)).fetch_all(&self.pool).await?;
        rows.iter().map(ApprovalRow::read).collect()
    }

    /// Notes what receivers have to be told of a request, once for each state that it comes to.
    pub(crate) async fn tell(
        &self,
        row: &ApprovalRow,
        event: Option<&str>,
        webhooks: &[&str],
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let told = sqlx::query(
            "UPDATE approvals SET told = state WHERE id = $1 AND state = $2 AND told <> state",
        )
        .bind(row.id.to_string())
        .bind(row.state.as_str().to_owned())
        .execute(&mut *transaction)
        .await?;
        if told.rows_affected() == 0 {
            // Another broker did, or it came to another state meanwhile.
            return Ok(());
        }
        for webhook in webhooks {
            let Some(event) = event else { break };
            let text =
                "INSERT INTO webhook_deliveries (id, webhook, approval, event, tries, next_try)
                 VALUES ($1, $2, $3, $4, 0, 0) ON CONFLICT DO NOTHING";
            sqlx::query(text)
                .bind(uuid::Uuid::now_v7().to_string())
                .bind((*webhook).to_owned())
                .bind(row.id.to_string())
                .bind(event.to_owned())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Takes deliveries that are due. For the time of `claim` nobody else does.
    pub(crate) async fn claim_deliveries(
        &self,
        claim: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let text = format!(
            "UPDATE webhook_deliveries SET tries = tries + 1, next_try = {{now}} + $1
             WHERE next_try <= {{now}} AND id IN (
                 SELECT id FROM webhook_deliveries WHERE next_try <= {{now}} ORDER BY next_try LIMIT {limit} {{skip}})
             RETURNING id, webhook, approval, event, tries"
        );
        let found = sqlx::query(self.sql(&text)).bind(millis(claim)).fetch_all(&self.pool).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok(Delivery {
                id: row.try_get("id")?,
                webhook: row.try_get("webhook")?,
                approval: parse(&row.try_get::<String, _>("approval")?)?,
                event: row.try_get("event")?,
                tries: rows::count(row.try_get("tries")?)?,
            })
        };
        found.iter().map(read).collect()
    }

    /// A delivery was taken, or is given up.
    pub(crate) async fn delivered(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM webhook_deliveries WHERE id = $1")
            .bind(id.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A delivery was not taken; it is tried again later.
    pub(crate) async fn not_delivered(
        &self,
        id: &str,
        problem: &str,
        again: Duration,
    ) -> Result<(), StoreError> {
        let text =
            "UPDATE webhook_deliveries SET problem = $2, next_try = {now} + $3 WHERE id = $1";
        sqlx::query(self.sql(text))
            .bind(id.to_owned())
            .bind(problem.to_owned())
            .bind(millis(again))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
