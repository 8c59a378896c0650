//! Which command of a session a stream's events are of, and what was counted of each.

use std::collections::BTreeMap;

use guard_audit::{Event, StatementPhase};
use guard_core::control::StepCounts;
use serde::{Deserialize, Serialize};

/// Connections and statements that are followed at a time, each: what is over that is in the report and not counted here.
const MAX_FOLLOWED: usize = 4_096;
/// Commands that are counted: as many as a record tells of.
const MAX_STEPS: usize = 1_000;

/// The commands of one stream. Empty where the session has one command only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Steps {
    /// The command of each connection that is open.
    connections: BTreeMap<u64, u32>,
    /// The command of each statement that has no outcome yet.
    statements: BTreeMap<u64, u32>,
    counts: BTreeMap<u32, StepCounts>,
}

impl Steps {
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Counts an event, and says of which command it is.
    pub(super) fn follow(&mut self, event: &Event) -> Option<u32> {
        match event {
            Event::Connected { connection, step, .. } => {
                let step = (*step)?;
                if self.counts.len() < MAX_STEPS || self.counts.contains_key(&step) {
                    self.counts.entry(step).or_default();
                    note(&mut self.connections, *connection, step);
                }
                Some(step)
            }
            Event::Disconnected { connection, .. } => self.connections.remove(connection),
            Event::Statement { statement, connection, phase, .. } => {
                let step = *self.connections.get(connection)?;
                note(&mut self.statements, *statement, step);
                match phase {
                    StatementPhase::Execute => self.counts.entry(step).or_default().allowed += 1,
                    StatementPhase::Prepare => {}
                }
                Some(step)
            }
            Event::Refused { connection, .. } => {
                let step = *self.connections.get(connection)?;
                self.counts.entry(step).or_default().refused += 1;
                Some(step)
            }
            Event::Finished { statement, outcome } => {
                let step = self.statements.remove(statement)?;
                let masked = &mut self.counts.entry(step).or_default().masked;
                *masked = masked.saturating_add(outcome.masked);
                Some(step)
            }
            Event::Operation { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::SessionOpened { .. }
            | Event::AttemptRefused { .. }
            | Event::SessionRenewed { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::SessionEnded { .. } => None,
        }
    }

    pub(super) fn add_to(&self, all: &mut BTreeMap<u32, StepCounts>) {
        for (step, counts) in &self.counts {
            let total = all.entry(*step).or_default();
            total.allowed = total.allowed.saturating_add(counts.allowed);
            total.refused = total.refused.saturating_add(counts.refused);
            total.masked = total.masked.saturating_add(counts.masked);
        }
    }
}

fn note(known: &mut BTreeMap<u64, u32>, number: u64, step: u32) {
    if known.len() < MAX_FOLLOWED {
        known.insert(number, step);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn event(json: serde_json::Value) -> Event {
        serde_json::from_value(json).unwrap()
    }

    fn connected(connection: u64, step: Option<u32>) -> Event {
        event(serde_json::json!({
            "type": "connected", "connection": connection, "resource": "orders", "enforced_at": "gateway",
            "point": "eu", "client": "psql", "database": "shop", "step": step,
        }))
    }

    fn statement(statement: u64, connection: u64) -> Event {
        event(serde_json::json!({
            "type": "statement", "statement": statement, "connection": connection, "operation": 0, "phase": "execute",
        }))
    }

    #[test]
    fn what_comes_of_a_statement_counts_for_the_command_of_its_connection() {
        let mut steps = Steps::default();
        steps.follow(&connected(0, Some(1)));
        steps.follow(&connected(1, Some(2)));
        assert_eq!(steps.follow(&statement(7, 1)), Some(2));
        assert_eq!(steps.follow(&statement(8, 0)), Some(1));
        let finished = serde_json::json!({
            "type": "finished", "statement": 7, "rows": 1, "bytes": 1, "masked": 5, "micros": 1,
        });
        assert_eq!(steps.follow(&event(finished.clone())), Some(2));
        // Told once.
        assert_eq!(steps.follow(&event(finished)), None);
        let mut all = BTreeMap::new();
        steps.add_to(&mut all);
        let first = StepCounts { allowed: 1, refused: 0, masked: 0 };
        let second = StepCounts { allowed: 1, refused: 0, masked: 5 };
        assert_eq!(all, BTreeMap::from([(1, first), (2, second)]));
    }

    #[test]
    fn a_session_with_one_command_keeps_nothing() {
        let mut steps = Steps::default();
        steps.follow(&connected(0, None));
        assert_eq!(steps.follow(&statement(1, 0)), None);
        assert!(steps.is_empty());
    }

    #[test]
    fn what_is_followed_is_bounded_whatever_a_writer_sends() {
        let mut steps = Steps::default();
        for number in 0..2 * MAX_FOLLOWED as u64 {
            steps.follow(&connected(number, Some(u32::try_from(number).unwrap())));
            steps.follow(&statement(number, number));
        }
        assert!(steps.connections.len() <= MAX_FOLLOWED);
        assert!(steps.statements.len() <= MAX_FOLLOWED);
        assert!(steps.counts.len() <= MAX_STEPS);
    }
}
