//! Runs as people look for them: a row a session, written with it and completed from its sealed record.
//!
//! The row is a copy for finding: whoever doubts it opens the record. It is completed by whichever broker claims it first,
//! with a claim that runs out, and doing it twice changes nothing.

mod find;
mod matched;

use std::time::Duration;

use guard_core::{SessionId, Timestamp};
use sqlx::AnyConnection;

use super::{NewSession, Store, StoreError, rows, rows::millis};

pub(crate) use find::{Decided, RunFilter, RunRow, RunState, Standing};
pub(crate) use matched::{MatchedRules, RuleUse};

/// What a record says of its run, as its row keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunFacts {
    /// When it ended.
    pub(crate) ended_at: Option<Timestamp>,
    /// Why, as the record says it.
    pub(crate) reason: Option<&'static str>,
    /// The child's exit code, if the shim said it.
    pub(crate) exit_code: Option<i32>,
    /// How far the record can be believed.
    pub(crate) whole: &'static str,
    /// Whether it went to its end by itself, with exit code 0, and nothing was refused.
    pub(crate) green: bool,
    /// Totals.
    pub(crate) counts: RunCounts,
    /// Which rules of its policies met something.
    pub(crate) matched: Vec<MatchedRules>,
}

/// Totals of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RunCounts {
    /// Statements that went on.
    pub(crate) statements: u64,
    /// Statements that were refused.
    pub(crate) refused: u64,
    /// Statements that went on and would be refused if their policy did not only observe.
    pub(crate) would_refuse: u64,
    /// Statements that were over a budget.
    pub(crate) over_budget: u64,
    /// Values that were masked.
    pub(crate) masked: u64,
    /// Statements that would change something.
    pub(crate) changes: u64,
    /// Rows that were returned or changed.
    pub(crate) rows: u64,
    /// Bytes of row data.
    pub(crate) bytes: u64,
    /// Statements that the server answered with an error.
    pub(crate) failed: u64,
    /// Statements that people approved.
    pub(crate) approvals: u64,
}

impl RunCounts {
    const COLUMNS: [&'static str; 10] = [
        "statements",
        "refused",
        "would_refuse",
        "over_budget",
        "masked",
        "changes",
        "row_count",
        "byte_count",
        "failed",
        "approvals",
    ];

    /// In the order of the columns.
    fn values(&self) -> [u64; 10] {
        let Self {
            statements,
            refused,
            would_refuse,
            over_budget,
            masked,
            changes,
            rows,
            bytes,
            failed,
            approvals,
        } = *self;
        [
            statements,
            refused,
            would_refuse,
            over_budget,
            masked,
            changes,
            rows,
            bytes,
            failed,
            approvals,
        ]
    }
}

impl Store {
    /// Writes the row of a session that is being stored.
    pub(super) async fn begin_run(
        &self,
        new: &NewSession,
        connection: &mut AnyConnection,
    ) -> Result<(), StoreError> {
        let text = "INSERT INTO runs (session, repository, repository_id, git_ref, workflow, job, actor, event,
                 run_url, trust_rule, started_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, {now})";
        let identity = &new.session.identity;
        sqlx::query(self.sql(text))
            .bind(new.session.id.to_string())
            .bind(identity.repository.clone())
            .bind(identity.run.repository_id.clone())
            .bind(identity.git_ref.clone())
            .bind(identity.workflow.clone())
            .bind(identity.run.job.clone())
            .bind(identity.actor.clone())
            .bind(identity.event.clone())
            .bind(identity.run_url.clone())
            .bind(new.session.trust_rule.clone())
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Claims runs whose records are sealed, or lie at rest without a seal, and have not been read yet.
    pub(crate) async fn claim_unread_runs(
        &self,
        claim: Duration,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        // The conditions stand twice: whoever waited for a row looks at it again.
        let text = format!(
            "UPDATE runs SET claimed_until = {{now}} + $1
             WHERE indexed = 0 AND claimed_until < {{now}} AND session IN (
                 SELECT session FROM runs
                 WHERE indexed = 0 AND claimed_until < {{now}} AND EXISTS (
                     SELECT 1 FROM sessions WHERE id = runs.session AND (sealed = 1 OR filed = 3))
                 ORDER BY session DESC LIMIT {limit} {{skip}})
             RETURNING session"
        );
        let found: Vec<String> =
            sqlx::query_scalar(self.sql(&text)).bind(millis(claim)).fetch_all(&self.pool).await?;
        found.iter().map(|id| rows::parse(id)).collect()
    }

    /// Completes the row of a run by what its record says; without facts there is nothing in it that can be read.
    pub(crate) async fn complete_run(
        &self,
        id: SessionId,
        facts: Option<&RunFacts>,
    ) -> Result<(), StoreError> {
        let Some(facts) = facts else {
            sqlx::query("UPDATE runs SET indexed = 2, claimed_until = 0 WHERE session = $1")
                .bind(id.to_string())
                .execute(&self.pool)
                .await?;
            return Ok(());
        };
        let counts: Vec<String> = RunCounts::COLUMNS
            .iter()
            .enumerate()
            .map(|(index, name)| format!("{name} = ${}", index + 7))
            .collect();
        let text = format!(
            "UPDATE runs SET indexed = 1, claimed_until = 0, ended_at = $2, reason = $3, exit_code = $4, whole = $5,
                 green = $6, {} WHERE session = $1",
            counts.join(", ")
        );
        let mut query = sqlx::query(self.sql(&text))
            .bind(id.to_string())
            .bind(facts.ended_at.map(|at| at.as_millisecond()))
            .bind(facts.reason)
            .bind(facts.exit_code.map(i64::from))
            .bind(facts.whole)
            .bind(i64::from(facts.green));
        for count in facts.counts.values() {
            // A count that no number of the store holds is the largest that it does.
            query = query.bind(i64::try_from(count).unwrap_or(i64::MAX));
        }
        // Both or neither: a run that is completed is counted.
        let mut transaction = self.begin().await?;
        query.execute(&mut *transaction).await?;
        matched::write(id, &facts.matched, &mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Changes the tables.
    #[cfg(test)]
    pub(crate) async fn change_for_test(&self, text: &'static str) {
        let changed = sqlx::raw_sql(text).execute(&self.pool).await;
        assert!(changed.is_ok(), "{changed:?}");
    }

    /// Has the record of a run read again: it is gone on with.
    pub(crate) async fn reopen_run(&self, id: SessionId) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET indexed = 0 WHERE session = $1 AND indexed > 0")
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
