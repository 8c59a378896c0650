//! What a run did that the last green run of its trust rule did not, and the other way round.

use std::collections::{BTreeMap, BTreeSet};

use guard_audit::report::{Counts, OperationReport, Report};
use guard_core::Digest;

/// Statements and objects that are listed of each kind.
const MOST: usize = 200;

/// The difference of two runs.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    /// Objects that only the newer one touched, and how.
    pub(crate) new_objects: Vec<String>,
    /// Objects that only the older one touched, and how.
    pub(crate) gone_objects: Vec<String>,
    /// Statements that only the newer one has: the text, how often.
    pub(crate) new_statements: Vec<(String, u64)>,
    /// Statements that only the older one has.
    pub(crate) gone_statements: Vec<(String, u64)>,
    /// How many there are of each, listed or not.
    pub(crate) totals: [usize; 4],
    /// Totals that differ: name, before, now.
    pub(crate) counts: Vec<(&'static str, u64, u64)>,
}

impl Diff {
    /// Compares a run with an older one. What was refused counts as what was asked for.
    pub(crate) fn between(older: &Report, newer: &Report) -> Self {
        let (before, now) = (Side::of(older), Side::of(newer));
        let objects = |of: &Side, without: &Side| -> Vec<String> {
            of.objects.difference(&without.objects).cloned().collect()
        };
        let statements = |of: &Side, without: &Side| -> Vec<(String, u64)> {
            let mut only: Vec<_> = of
                .statements
                .iter()
                .filter(|(fingerprint, _)| !without.statements.contains_key(*fingerprint))
                .map(|(_, found)| found.clone())
                .collect();
            only.sort_by(|one, other| one.0.cmp(&other.0));
            only
        };
        let mut diff = Self {
            new_objects: objects(&now, &before),
            gone_objects: objects(&before, &now),
            new_statements: statements(&now, &before),
            gone_statements: statements(&before, &now),
            totals: [0; 4],
            counts: counts(&older.counts, &newer.counts),
        };
        diff.totals = [
            diff.new_objects.len(),
            diff.gone_objects.len(),
            diff.new_statements.len(),
            diff.gone_statements.len(),
        ];
        diff.new_objects.truncate(MOST);
        diff.gone_objects.truncate(MOST);
        diff.new_statements.truncate(MOST);
        diff.gone_statements.truncate(MOST);
        diff
    }

    /// Whether they did the same.
    pub(crate) fn is_none(&self) -> bool {
        self.totals == [0; 4]
    }
}

/// What one of the two did.
struct Side {
    objects: BTreeSet<String>,
    statements: BTreeMap<Digest, (String, u64)>,
}

impl Side {
    fn of(report: &Report) -> Self {
        let mut side = Self { objects: BTreeSet::new(), statements: BTreeMap::new() };
        for OperationReport { resource, statement, effects, count, .. } in &report.operations.listed
        {
            let objects = effects.iter().map(|effect| format!("{effect} on {resource}"));
            side.objects.extend(objects);
            let known = side.statements.entry(statement.fingerprint);
            known.or_insert_with(|| (statement.text.clone(), 0)).1 += count;
        }
        for refusal in &report.refused.listed {
            let objects = refusal.effects.iter();
            side.objects.extend(objects.map(|effect| format!("{effect} on {}", refusal.resource)));
            let known = side.statements.entry(refusal.statement.fingerprint);
            known.or_insert_with(|| (refusal.statement.text.clone(), 0)).1 += refusal.count;
        }
        side
    }
}

fn counts(older: &Counts, newer: &Counts) -> Vec<(&'static str, u64, u64)> {
    let all = [
        ("statements", older.statements, newer.statements),
        ("changes", older.changes, newer.changes),
        ("refused", older.refused, newer.refused),
        ("rows", older.rows, newer.rows),
        ("row data", older.bytes, newer.bytes),
        ("values masked", older.masked, newer.masked),
        ("failed", older.failed, newer.failed),
    ];
    all.into_iter().filter(|(_, before, now)| before != now).collect()
}
