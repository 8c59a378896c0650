//! What a lock compares of an operation besides its fingerprint: its effects in words that stand for one thing only, and a
//! digest over where values come from and go. Of a request to an HTTP API it compares what a line says.

mod request;

use std::{borrow::Cow, collections::BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::request::{InvalidRequest, LockedRequest, RequestSeen};

use crate::{
    Bounded, Certainty, Digest, Effect, ObjectKind, ObjectName, Operation, Output, Outputs, Verb,
};

/// Stands before what is digested, so that another form has other digests.
const DETAILS: &str = "guard-lock-details/1";

/// How many rows an operation returned or changed: each time at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowRange {
    /// The fewest.
    pub least: u64,
    /// The most.
    pub most: u64,
}

impl RowRange {
    /// One time.
    pub const fn once(rows: u64) -> Self {
        Self { least: rows, most: rows }
    }

    /// Whether as many rows are within it.
    pub const fn holds(self, rows: u64) -> bool {
        self.least <= rows && rows <= self.most
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }

    /// The range that is still taken for the same where rows may be so many times more or fewer.
    #[must_use]
    pub fn widened(self, tolerance: u64) -> Self {
        let tolerance = tolerance.max(1);
        Self { least: self.least / tolerance, most: self.most.saturating_mul(tolerance) }
    }
}

/// What a lock says of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// It lists it, with so many rows, its tolerance included, if it knows.
    Listed(Option<RowRange>),
    /// It does not.
    Unlisted,
}

impl Operation {
    /// Whether a lock can list it: it is understood in full, more than housekeeping, and what it does is not in its literals.
    pub fn can_be_locked(&self) -> bool {
        self.certainty == Certainty::Exact
            && !self.is_housekeeping()
            && !acts_by_literals(&self.label, &self.effects)
    }

    /// Whether it only begins or ends transactions, changes or shows harmless settings, or reads nothing (`SELECT 1`).
    ///
    /// What prepares a statement is none: what it prepares is judged by its name only when it is executed.
    pub fn is_housekeeping(&self) -> bool {
        let no_column = match &self.outputs {
            Outputs::None => true,
            Outputs::Columns(columns) => columns.iter().all(|column| column.sources.is_empty()),
            Outputs::Unknown(_) => false,
        };
        self.certainty == Certainty::Exact
            && is_housekeeping(&self.label, &self.effects)
            && no_column
            && self.stores.is_empty()
            && self.tested.is_empty()
            && !self.lifts_read_only
    }

    /// A digest over where its values come from and go, and which columns it looks at: what two operations may differ in that
    /// have the same effects.
    pub fn details(&self) -> Digest {
        let outputs = match &self.outputs {
            Outputs::None => Some(Vec::new()),
            Outputs::Columns(columns) => Some(columns.iter().map(sorted).collect()),
            // In which words it is not known is no difference.
            Outputs::Unknown(_) => None,
        };
        let mut stores: Vec<_> = self.stores.iter().collect();
        let mut tested: Vec<_> = self.tested.iter().collect();
        stores.sort();
        stores.dedup();
        tested.sort();
        tested.dedup();
        let parts = (DETAILS, self.protocol, outputs, stores, tested, self.lifts_read_only);
        // INVARIANT: nothing in it is a map with keys that are no text, so it can be written as JSON.
        let text = serde_json::to_string(&parts).unwrap_or_default();
        Digest::of(text)
    }
}

/// Whether effects are those of housekeeping: nothing of a resource is touched by them.
pub fn is_housekeeping(label: &str, effects: &[Effect]) -> bool {
    let harmless = |effect: &Effect| matches!(effect.verb, Verb::Session | Verb::Transaction);
    label != "PREPARE" && effects.iter().all(harmless)
}

/// Whether literals or parameters say what is done: code that is run, programs, files, what is called over the network, and settings
/// that a function changes. Two of these differ, whatever they have in common.
pub fn acts_by_literals(label: &str, effects: &[Effect]) -> bool {
    effects.iter().any(|effect| match effect.verb {
        Verb::Code | Verb::Program => true,
        // A foreign table is called what its name says.
        Verb::File | Verb::Network => {
            !matches!(effect.object.kind, ObjectKind::Table | ObjectKind::View)
        }
        Verb::Config | Verb::Role => {
            effect.object.kind == ObjectKind::Setting && !matches!(label, "SET" | "RESET")
        }
        Verb::Read
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Truncate
        | Verb::Create
        | Verb::Alter
        | Verb::Drop
        | Verb::Grant
        | Verb::Call
        | Verb::Maintain
        | Verb::Replication
        | Verb::Session
        | Verb::Transaction
        | Verb::Lock
        | Verb::Notify
        | Verb::Signal => false,
    })
}

fn sorted(column: &Output) -> Vec<&crate::Source> {
    let mut sources: Vec<_> = column.sources.iter().collect();
    sources.sort();
    sources.dedup();
    sources
}

/// Effects in the words of a lock, each once: `delete table public.orders unbounded`.
pub fn effect_words(effects: &[Effect]) -> BTreeSet<String> {
    effects.iter().map(words).collect()
}

/// The tables and views among effects, in the words of a lock.
pub fn table_words(effects: &BTreeSet<String>) -> BTreeSet<String> {
    let table = |words: &String| {
        let (_, object) = words.split_once(' ')?;
        let name = object.strip_prefix("table ").or_else(|| object.strip_prefix("view "))?;
        Some(name.strip_suffix(UNBOUNDED).unwrap_or(name).to_owned())
    };
    effects.iter().filter_map(table).collect()
}

const UNBOUNDED: &str = " unbounded";

/// INVARIANT: two effects that differ have different words. A name with anything in it but letters, digits and `_` is quoted.
fn words(effect: &Effect) -> String {
    let name = effect.object.name.as_ref().map(quoted).unwrap_or_default();
    let unbounded = match effect.bounded {
        Bounded::No => UNBOUNDED,
        Bounded::Yes | Bounded::NotApplicable => "",
    };
    let gap = if name.is_empty() { "" } else { " " };
    format!("{} {}{gap}{name}{unbounded}", effect.verb, effect.object.kind)
}

fn quoted(name: &ObjectName) -> String {
    match &name.schema {
        Some(schema) => format!("{}.{}", part(schema), part(&name.name)),
        None => part(&name.name).into_owned(),
    }
}

fn part(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // Visible to the end: what a reviewer reads is what is compared.
    if !name.is_empty() && name.chars().all(plain) {
        return name.into();
    }
    let escaped: String = name
        .chars()
        .flat_map(|c| if c == '"' { vec!['"', '"'] } else { c.escape_default().collect() })
        .collect();
    format!("\"{escaped}\"").into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{ColumnName, Flow, Object, Protocol, Source};

    fn operation(effects: Vec<Effect>) -> Operation {
        let mut operation = Operation::unparsed(Protocol::Postgres, "SELECT", "…".into(), "");
        operation.certainty = Certainty::Exact;
        operation.outputs = Outputs::None;
        operation.effects = effects;
        operation
    }

    fn table(verb: Verb, name: ObjectName) -> Effect {
        Effect::new(verb, Object::named(ObjectKind::Table, name))
    }

    #[test]
    fn effects_that_differ_have_different_words() {
        let mut unbounded = table(Verb::Delete, ObjectName::qualified("public", "users"));
        unbounded.bounded = Bounded::No;
        let effects = [
            table(Verb::Delete, ObjectName::qualified("public", "users")),
            unbounded,
            table(Verb::Delete, ObjectName::bare("public.users")),
            table(Verb::Delete, ObjectName::qualified("public", "users unbounded")),
            table(Verb::Delete, ObjectName::qualified("public", "Users")),
            table(Verb::Delete, ObjectName::qualified("public", "us\"ers")),
            table(Verb::Delete, ObjectName::qualified("public", "us\"\"ers")),
            table(Verb::Delete, ObjectName::qualified("public", "\u{430}")),
            table(Verb::Delete, ObjectName::qualified("public", "\\u{430}")),
            Effect::new(Verb::Delete, Object::unnamed(ObjectKind::Table)),
            Effect::new(
                Verb::Delete,
                Object::named(ObjectKind::View, ObjectName::qualified("public", "users")),
            ),
        ];
        assert_eq!(effect_words(&effects).len(), effects.len());
        let words = effect_words(&effects[..2]);
        assert_eq!(
            words.iter().map(String::as_str).collect::<Vec<_>>(),
            ["delete table public.users", "delete table public.users unbounded"]
        );
        assert_eq!(table_words(&words), BTreeSet::from(["public.users".to_owned()]));
    }

    #[test]
    fn details_tell_what_effects_do_not() {
        let column = |name: &str| ColumnName {
            table: ObjectName::qualified("public", "users"),
            column: name.into(),
        };
        let source = |name, flow| Source { column: column(name), flow };
        let of = |sources: Vec<Source>| {
            let mut operation = operation(Vec::new());
            operation.outputs = Outputs::Columns(vec![Output { sources }]);
            operation
        };
        let plain = of(vec![source("email", Flow::Plain), source("id", Flow::Plain)]);
        let turned = of(vec![source("id", Flow::Plain), source("email", Flow::Plain)]);
        assert_eq!(plain.details(), turned.details());
        let mut stored = plain.clone();
        stored.stores.push(column("email"));
        let mut lifts = plain.clone();
        lifts.lifts_read_only = true;
        let derived = of(vec![source("email", Flow::Derived), source("id", Flow::Plain)]);
        let all = [plain, stored, lifts, derived, operation(Vec::new())];
        let digests: BTreeSet<_> = all.iter().map(Operation::details).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn housekeeping_touches_nothing() {
        let session = Effect::new(Verb::Session, Object::unnamed(ObjectKind::Other));
        assert!(operation(vec![session.clone()]).is_housekeeping());
        assert!(operation(Vec::new()).is_housekeeping());
        let mut prepare = operation(vec![session.clone()]);
        prepare.label = "PREPARE".into();
        assert!(!prepare.is_housekeeping() && prepare.can_be_locked());
        let config = Effect::new(Verb::Config, Object::unnamed(ObjectKind::Setting));
        assert!(!operation(vec![session.clone(), config]).is_housekeeping());
        let mut lifts = operation(vec![session]);
        lifts.lifts_read_only = true;
        assert!(!lifts.is_housekeeping());
        let unparsed = Operation::unparsed(Protocol::Postgres, "?", "x".into(), "syntax");
        assert!(!unparsed.is_housekeeping() && !unparsed.can_be_locked());
    }

    #[test]
    fn ranges_grow_and_are_widened() {
        let range = RowRange::once(10).with(RowRange::once(4));
        assert_eq!(range, RowRange { least: 4, most: 10 });
        assert!(range.holds(4) && !range.holds(3) && !range.holds(11));
        assert_eq!(range.widened(2), RowRange { least: 2, most: 20 });
        assert_eq!(range.widened(0), range);
        assert_eq!(RowRange::once(u64::MAX).widened(3).most, u64::MAX);
    }
}
