//! Completing the rows of runs from their sealed records, in the background, by whichever broker comes first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use guard_audit::report::{Matched, Report, Whole};
use guard_core::{ApprovalState, Digest, EndReason, RuleId, SessionId};

use super::{Digested, RunError, Values};
use crate::{
    error::{Refusal, chain},
    sessions::Sessions,
    store::{MatchedRules, RunCounts, RunFacts},
};

/// How long nobody else reads a record that somebody is at. One that cannot be read is tried again then.
const CLAIM: Duration = Duration::from_secs(120);
/// Records that are taken up at once.
const CLAIMS: usize = 4;

impl Sessions {
    /// Completes rows of runs whose records are there, some at a time.
    pub(crate) async fn complete_runs(self: &Arc<Self>) -> Result<(), Refusal> {
        // One at a time here; those that are left are claimed with the next look.
        let Ok(_turn) = self.indexing.try_lock() else { return Ok(()) };
        for id in self.store.claim_unread_runs(CLAIM, CLAIMS).await? {
            if let Err(error) = self.complete_run(id).await {
                let error = error.reason();
                tracing::warn!(session = %id, error, "cannot read a record for the list of runs");
            }
        }
        Ok(())
    }

    async fn complete_run(&self, id: SessionId) -> Result<(), Refusal> {
        let Some(state) = self.store.state(id).await? else { return Ok(()) };
        match self.runs.of(id, false, state.filed, Values::Shown).await {
            Ok(digested) => {
                let facts = RunFacts::of(&digested);
                Ok(self.store.complete_run(id, Some(&facts)).await?)
            }
            Err(RunError::NoRecord | RunError::Deleted(_)) => {
                Ok(self.store.complete_run(id, None).await?)
            }
            Err(error @ (RunError::Read(_) | RunError::Record(_) | RunError::Log(_))) => {
                Err(Refusal::Internal(chain(&error)))
            }
        }
    }
}

impl RunFacts {
    fn of(Digested { report, listing, .. }: &Digested) -> Self {
        let (window, counts) = (&report.window, &report.counts);
        let finished = window.reason == Some(EndReason::Finished) && window.exit_code == Some(0);
        let used = report.approvals.listed.iter();
        let approved = used.filter(|asked| asked.state == ApprovalState::Used).count();
        Self {
            ended_at: window.ended_at,
            reason: window.reason.map(EndReason::as_str),
            exit_code: window.exit_code,
            whole: match report.integrity.whole {
                Whole::Verified => "verified",
                Whole::Unchecked => "unchecked",
                Whole::Unsealed => "unsealed",
                Whole::Broken => "broken",
            },
            green: finished
                && counts.refused == 0
                && counts.would_refuse == 0
                && report.integrity.whole == Whole::Verified,
            counts: RunCounts {
                statements: counts.statements,
                refused: counts.refused,
                would_refuse: counts.would_refuse,
                over_budget: counts.over_budget,
                masked: counts.masked,
                changes: counts.changes,
                rows: counts.rows,
                bytes: counts.bytes,
                failed: counts.failed,
                approvals: approved as u64,
            },
            matched: matched(report, &listing.matched),
        }
    }
}

/// Which rules met something, by the version of the policy that judged; of each, though nothing met anything.
fn matched(report: &Report, matched: &Matched) -> Vec<MatchedRules> {
    let mut by_policy: BTreeMap<Digest, BTreeMap<RuleId, u64>> = BTreeMap::new();
    for grant in &report.grants {
        let rules = by_policy.entry(grant.policy_digest).or_default();
        for (_, rule, statements) in
            matched.rules().filter(|(resource, ..)| **resource == grant.resource)
        {
            let count = rules.entry(rule.clone()).or_default();
            *count = count.saturating_add(statements);
        }
    }
    by_policy.into_iter().map(|(policy, rules)| MatchedRules { policy, rules }).collect()
}
