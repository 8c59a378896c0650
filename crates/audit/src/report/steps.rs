//! The commands of a session that has several: which there were, and what came of each.

use std::collections::{BTreeMap, HashMap};

use guard_core::{Isolation, Timestamp, control::RunStep};

use super::{Listed, StepReport};
use crate::Outcome;

/// Commands that are listed.
const MAX_STEPS: usize = 1_000;

/// What a record's entries say of commands, by their numbers.
#[derive(Default)]
pub(super) struct Steps {
    known: BTreeMap<u32, StepReport>,
    /// The command of each connection, by writer and the connection's number.
    connections: HashMap<(usize, u64), u32>,
    /// The command of each statement without an outcome, by writer and the statement's number.
    statements: HashMap<(usize, u64), u32>,
}

impl Steps {
    /// A command was about to be run.
    pub(super) fn isolated(&mut self, at: Timestamp, step: RunStep, level: Isolation) {
        let known = self.step(step.number);
        known.name = step.name;
        known.isolation = Some(level);
        known.started_at = Some(at);
    }

    /// A client of a command connected.
    pub(super) fn connected(&mut self, connection: (usize, u64), step: Option<u32>) {
        let Some(number) = step else { return };
        self.step(number).connections += 1;
        self.connections.insert(connection, number);
    }

    /// A statement went on, to be executed if `counts`.
    pub(super) fn went_on(&mut self, writer: usize, connection: u64, statement: u64, counts: bool) {
        let Some(&number) = self.connections.get(&(writer, connection)) else { return };
        self.statements.insert((writer, statement), number);
        self.step(number).statements += u64::from(counts);
    }

    /// A statement was refused.
    pub(super) fn refused(&mut self, connection: (usize, u64)) {
        if let Some(&number) = self.connections.get(&connection) {
            self.step(number).refused += 1;
        }
    }

    /// A statement has an outcome.
    pub(super) fn finished(&mut self, statement: (usize, u64), outcome: &Outcome) {
        let Some(number) = self.statements.remove(&statement) else { return };
        let step = self.step(number);
        step.masked = step.masked.saturating_add(outcome.masked);
        step.rows = step.rows.saturating_add(outcome.rows);
    }

    /// In the order of their numbers.
    pub(super) fn listed(self) -> Listed<StepReport> {
        Listed::first(self.known.into_values().collect(), MAX_STEPS)
    }

    fn step(&mut self, number: u32) -> &mut StepReport {
        self.known.entry(number).or_insert_with(|| StepReport {
            number,
            name: None,
            isolation: None,
            started_at: None,
            connections: 0,
            statements: 0,
            refused: 0,
            masked: 0,
            rows: 0,
        })
    }
}
