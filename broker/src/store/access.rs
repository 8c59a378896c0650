//! How often, and when last, trust rules and policies were used, by the list of runs.

use std::collections::BTreeMap;

use guard_core::Timestamp;
use sqlx::Row as _;

use super::{Store, StoreError};

/// Runs that used something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// How many.
    pub(crate) runs: u64,
    /// When the last one began.
    pub(crate) last: Timestamp,
}

impl Store {
    /// Runs by the trust rule that let them in.
    pub(crate) async fn used_trust_rules(&self) -> Result<BTreeMap<String, Used>, StoreError> {
        self.used(
            "SELECT trust_rule AS name, count(*) AS runs, max(started_at) AS last FROM runs
             GROUP BY trust_rule",
        )
        .await
    }

    /// Runs by the policies that they were given.
    pub(crate) async fn used_policies(&self) -> Result<BTreeMap<String, Used>, StoreError> {
        self.used(
            "SELECT grants.policy AS name, count(DISTINCT grants.session) AS runs,
                 max(runs.started_at) AS last
             FROM grants JOIN runs ON runs.session = grants.session GROUP BY grants.policy",
        )
        .await
    }

    /// When the first run began that is in the list.
    pub(crate) async fn runs_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let first: Option<i64> =
            sqlx::query_scalar("SELECT min(started_at) FROM runs").fetch_one(&self.pool).await?;
        first.map(moment).transpose()
    }

    async fn used(&self, text: &'static str) -> Result<BTreeMap<String, Used>, StoreError> {
        let found = sqlx::query(text).fetch_all(&self.pool).await?;
        let read = |row: &sqlx::any::AnyRow| {
            let runs = row.try_get::<i64, _>("runs")?;
            let used = Used {
                runs: u64::try_from(runs).unwrap_or(0),
                last: moment(row.try_get("last")?)?,
            };
            Ok((row.try_get("name")?, used))
        };
        found.iter().map(read).collect()
    }
}

pub(super) fn moment(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| StoreError::Row(error.to_string()))
}
