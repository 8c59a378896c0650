//! What in a record somebody should look at: refused, would be refused, over a budget, a second attempt.

use std::{collections::HashMap, sync::Arc};

use guard_core::{Denial, DenialCode, Digest, Exceeded, ResourceName, Timestamp};

use crate::{
    Event,
    story::{Moment, ToldStatement, What},
};

/// Findings that are told of one record; a client that is refused a million different statements says no more
/// with the rest.
const MAX_FINDINGS: usize = 10_000;

/// Why something is a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It was refused.
    Refused(Denial),
    /// It went on, because its policy only observes.
    WouldRefuse(Denial),
    /// It was over a budget.
    OverBudget(Exceeded),
    /// The same job asked for another session while this one lived.
    SecondAttempt,
}

/// Statements that are the same but for literals, and the same finding.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) why: Why,
    /// The first of the statements. Without one it is about the session.
    pub(super) statement: Option<Arc<ToldStatement>>,
    pub(super) count: u64,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Refused(ResourceName, Digest, DenialCode, String),
    WouldRefuse(ResourceName, Digest, DenialCode, String),
    OverBudget(ResourceName, Digest, Exceeded),
    SecondAttempt,
}

/// Gathers findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    places: HashMap<Key, usize>,
    list: Vec<Finding>,
}

impl Findings {
    /// Looks at a moment.
    pub(super) fn take(&mut self, moment: &Moment) {
        match &moment.what {
            What::Refused(statement, denial) => {
                if worth_telling(denial.code) {
                    let (resource, fingerprint) = of(statement);
                    let rule = denial.rule.to_string();
                    let key = Key::Refused(resource, fingerprint, denial.code, rule);
                    self.add(moment.at, key, Some(statement), || Why::Refused(denial.clone()));
                }
            }
            What::Sent(statement) => {
                if let Some(denial) = &statement.would_refuse {
                    let (resource, fingerprint) = of(statement);
                    let rule = denial.rule.to_string();
                    let key = Key::WouldRefuse(resource, fingerprint, denial.code, rule);
                    self.add(moment.at, key, Some(statement), || {
                        Why::WouldRefuse(denial.as_ref().clone())
                    });
                }
            }
            What::Finished(statement, outcome) => {
                if let Some(exceeded) = outcome.budget {
                    let (resource, fingerprint) = of(statement);
                    let key = Key::OverBudget(resource, fingerprint, exceeded);
                    self.add(moment.at, key, Some(statement), || Why::OverBudget(exceeded));
                }
            }
            What::Other(Event::AttemptRefused { .. }) => {
                self.add(moment.at, Key::SecondAttempt, None, || Why::SecondAttempt);
            }
            What::Opened(_)
            | What::Connected(_)
            | What::Disconnected(..)
            | What::Described(_)
            | What::Rows(..)
            | What::Other(_)
            | What::Orphan => {}
        }
    }

    /// All findings, in the order of their first time.
    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }

    fn add(
        &mut self,
        at: Timestamp,
        key: Key,
        statement: Option<&Arc<ToldStatement>>,
        why: impl FnOnce() -> Why,
    ) {
        if let Some(known) = self.places.get(&key).and_then(|place| self.list.get_mut(*place)) {
            known.count += 1;
            known.last_at = at;
        } else if self.list.len() < MAX_FINDINGS {
            self.places.insert(key, self.list.len());
            let statement = statement.cloned();
            self.list.push(Finding { why: why(), statement, count: 1, first_at: at, last_at: at });
        }
    }
}

fn of(statement: &ToldStatement) -> (ResourceName, Digest) {
    (statement.operation.resource.clone(), statement.operation.fingerprint)
}

/// Whether a refusal says something of the job. That a session is over, the record is not writable or nobody
/// answers does not.
const fn worth_telling(code: DenialCode) -> bool {
    match code {
        DenialCode::SessionOver
        | DenialCode::Unrecorded
        | DenialCode::ApprovalNeeded
        | DenialCode::ApprovalUnavailable => false,
        DenialCode::Rule
        | DenialCode::DefaultDeny
        | DenialCode::NotUnderstood
        | DenialCode::Mask
        | DenialCode::TooLarge
        | DenialCode::Protocol
        | DenialCode::Unlisted
        | DenialCode::BudgetOfStatement
        | DenialCode::BudgetOfSession
        | DenialCode::BudgetOfRate
        | DenialCode::BudgetUncounted
        | DenialCode::BudgetOfTime
        | DenialCode::ApprovalRefused
        | DenialCode::ApprovalExpired
        | DenialCode::ApprovalVoid => true,
    }
}
