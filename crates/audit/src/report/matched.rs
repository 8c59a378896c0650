//! Which rules met something in a run, and how many statements.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use guard_core::{ResourceName, RuleId};

use crate::{Entry, Event, StatementPhase};

/// Rules that are counted of one record. An enforcement point names them; it must not fill a store.
const MAX_RULES: usize = 2_000;

/// A rule, and the resource whose policy has it.
type Met = (ResourceName, RuleId);

/// The rules that an effect of some operation met first, by the resource: each decided, or had a part in it.
#[derive(Debug, Clone, Default)]
pub struct Matched {
    /// Each with how many statements it met that were executed or refused. 0: it met what was prepared and never executed.
    rules: BTreeMap<Met, u64>,
    /// What the operations met, while the record is read.
    operations: HashMap<(Arc<str>, u64), Vec<Met>>,
}

impl Matched {
    /// The rules, in order, each with how many statements it met.
    pub fn rules(&self) -> impl Iterator<Item = (&ResourceName, &RuleId, u64)> {
        self.rules.iter().map(|((resource, rule), count)| (resource, rule, *count))
    }

    /// Takes an entry.
    pub(super) fn take(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Operation { operation, resource, rule, trace, .. } => {
                let mut met: Vec<_> = trace.iter().map(|step| &step.rule).chain([rule]).collect();
                met.sort_unstable();
                met.dedup();
                let met: Vec<_> =
                    met.into_iter().map(|rule| (resource.clone(), rule.clone())).collect();
                for key in &met {
                    if self.rules.len() < MAX_RULES {
                        self.rules.entry(key.clone()).or_default();
                    }
                }
                self.operations.insert((entry.writer.clone(), *operation), met);
            }
            Event::Statement { operation, phase: StatementPhase::Execute, .. }
            | Event::Refused { operation, .. } => {
                let met = self.operations.get(&(entry.writer.clone(), *operation));
                for key in met.into_iter().flatten() {
                    if let Some(count) = self.rules.get_mut(key) {
                        *count += 1;
                    }
                }
            }
            Event::Statement { phase: StatementPhase::Prepare, .. }
            | Event::Finished { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::AttemptRefused { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::SessionRenewed { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. } => {}
        }
    }

    /// Says that no entry follows.
    pub(super) fn finish(&mut self) {
        self.operations = HashMap::new();
    }
}
