//! Which rules of policies met something, a row for each run and rule.

use std::collections::BTreeMap;

use guard_core::{Digest, PolicyName, RuleId, SessionId, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::super::{Store, StoreError, access::moment, rows, sessions::values};

/// What one run adds at most, so that no sum of runs leaves the numbers of the store.
const MOST: i64 = 1 << 40;
/// Rows that one statement writes.
const CHUNK: usize = 500;
/// The rule that stands for the run itself: that it was counted, whatever met anything.
const COUNTED: &str = "";

/// What met something under one version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatchedRules {
    /// The policy's digest.
    pub(crate) policy: Digest,
    /// Its rules, each with how many statements it met.
    pub(crate) rules: BTreeMap<RuleId, u64>,
}

/// How often a rule of a policy met something, by the list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleUse {
    /// The policy's digest.
    pub(crate) policy: Digest,
    /// The rule; `None`: all runs that were counted.
    pub(crate) rule: Option<RuleId>,
    /// Statements.
    pub(crate) statements: u64,
    /// Runs.
    pub(crate) runs: u64,
    /// When the last of them began.
    pub(crate) last: Timestamp,
}

/// Writes what met something in a run, in the place of what was written before.
pub(super) async fn write(
    id: SessionId,
    matched: &[MatchedRules],
    connection: &mut AnyConnection,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM matched_rules WHERE session = $1")
        .bind(id.to_string())
        .execute(&mut *connection)
        .await?;
    let all: Vec<(String, &str, u64)> = matched
        .iter()
        .flat_map(|one| {
            let rules = one.rules.iter().map(|(rule, count)| (rule.as_str(), *count));
            rules
                .chain([(COUNTED, 0)])
                .map(move |(rule, count)| (one.policy.to_string(), rule, count))
        })
        .collect();
    for chunk in all.chunks(CHUNK) {
        let text = values(
            "INSERT INTO matched_rules (session, policy_digest, rule, statements) VALUES ",
            chunk.len(),
            4,
            // Another broker may be at the same run, and reads the same.
            " ON CONFLICT DO NOTHING",
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for (policy, rule, count) in chunk {
            query = query
                .bind(id.to_string())
                .bind(policy.clone())
                .bind((*rule).to_owned())
                .bind(i64::try_from(*count).unwrap_or(i64::MAX).min(MOST));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

impl Store {
    /// What the rules of a policy met, in all its versions.
    pub(crate) async fn matched_rules(
        &self,
        policy: &PolicyName,
    ) -> Result<Vec<RuleUse>, StoreError> {
        let text = "SELECT matched_rules.policy_digest AS policy, matched_rules.rule AS rule,
                 CAST(sum(matched_rules.statements) AS BIGINT) AS statements,
                 count(*) AS runs, max(runs.started_at) AS last
             FROM policies JOIN matched_rules ON matched_rules.policy_digest = policies.digest
                 JOIN runs ON runs.session = matched_rules.session
             WHERE policies.name = $1 GROUP BY matched_rules.policy_digest, matched_rules.rule";
        let found =
            sqlx::query(text).bind(policy.as_str().to_owned()).fetch_all(&self.pool).await?;
        found.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<RuleUse, StoreError> {
    let rule: String = row.try_get("rule")?;
    Ok(RuleUse {
        policy: rows::parse(&row.try_get::<String, _>("policy")?)?,
        rule: (rule != COUNTED).then(|| rows::parse(&rule)).transpose()?,
        statements: rows::count(row.try_get("statements")?)?,
        runs: rows::count(row.try_get("runs")?)?,
        last: moment(row.try_get("last")?)?,
    })
}
