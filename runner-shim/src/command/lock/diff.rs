//! What differs between a lock and what was learned, in words.

use std::collections::BTreeSet;

use guard_audit::report::{grouped, printable};
use guard_core::{ResourceName, RowRange, lock::LockedRequest};
use guard_policy::{LockFile, LockedResource, LockedStatement};
use serde_json::{Value, json};

use super::Learned;

/// Longest part of a statement that a line shows, in characters.
const MAX_SHOWN: usize = 300;

/// What differs.
#[derive(Default)]
pub(super) struct Diff<'a> {
    resources: Vec<ResourceDiff<'a>>,
    new_egress: Vec<&'a String>,
    gone_egress: Vec<&'a String>,
    left_out: Vec<&'a String>,
}

#[derive(Default)]
struct ResourceDiff<'a> {
    name: String,
    new: Vec<New<'a>>,
    gone: Vec<&'a LockedStatement>,
    new_tables: Vec<String>,
    gone_tables: Vec<String>,
    rows: Vec<Rows<'a>>,
    new_requests: Vec<&'a LockedRequest>,
    gone_requests: Vec<&'a LockedRequest>,
}

struct New<'a> {
    statement: &'a LockedStatement,
    /// The lock has one of the same fingerprint, with these effects.
    was: Option<&'a BTreeSet<String>>,
}

struct Rows<'a> {
    statement: &'a LockedStatement,
    found: RowRange,
    learned: RowRange,
}

impl<'a> Diff<'a> {
    pub(super) fn between(old: &'a LockFile, new: &'a Learned) -> Self {
        let names: BTreeSet<&ResourceName> =
            old.resources.keys().chain(new.lock.resources.keys()).collect();
        let resources = names.into_iter().map(|name| {
            let (old_one, new_one) = (old.resources.get(name), new.lock.resources.get(name));
            ResourceDiff::between(name.to_string(), old_one, new_one, old.rows_tolerance)
        });
        Self {
            resources: resources.filter(|diff| !diff.is_empty()).collect(),
            new_egress: new.lock.egress.difference(&old.egress).collect(),
            gone_egress: old.egress.difference(&new.lock.egress).collect(),
            left_out: new.left_out.iter().collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
            && self.new_egress.is_empty()
            && self.gone_egress.is_empty()
            && self.left_out.is_empty()
    }

    pub(super) fn to_text(&self) -> String {
        if self.is_empty() {
            return "the same as the lock\n".to_owned();
        }
        let mut lines = Vec::new();
        for resource in &self.resources {
            lines.push(format!("{}:", resource.name));
            resource.lines(&mut lines);
        }
        if !self.new_egress.is_empty() || !self.gone_egress.is_empty() {
            lines.push("besides the resources:".to_owned());
        }
        lines.extend(self.new_egress.iter().map(|place| format!("  + new place: {place}")));
        lines.extend(self.gone_egress.iter().map(|place| format!("  - not gone to: {place}")));
        lines.extend(self.left_out.iter().map(|why| format!("in no lock: {why}")));
        lines.iter().map(|line| format!("{}\n", printable(line))).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "same": self.is_empty(),
            "resources": self.resources.iter().map(ResourceDiff::to_json).collect::<Vec<_>>(),
            "egress": { "new": self.new_egress, "gone": self.gone_egress },
            "in_no_lock": self.left_out,
        })
    }
}

impl<'a> ResourceDiff<'a> {
    fn between(
        name: String,
        old: Option<&'a LockedResource>,
        new: Option<&'a LockedResource>,
        tolerance: u64,
    ) -> Self {
        let all = |side: Option<&'a LockedResource>| {
            side.map(LockedResource::statements).unwrap_or_default()
        };
        let of = |side: Option<&'a LockedResource>, wanted: &LockedStatement| {
            let mut same = side?.of(wanted.fingerprint);
            same.find(|known| known.is_same(wanted))
        };
        let mut diff = Self { name, ..Self::default() };
        for statement in all(new) {
            let Some(known) = of(old, statement) else {
                let mut alike = old.into_iter().flat_map(|old| old.of(statement.fingerprint));
                let was = alike.next().map(|known| &known.effects);
                diff.new.push(New { statement, was });
                continue;
            };
            if let (Some(found), Some(learned)) = (statement.rows, known.rows) {
                let wide = learned.widened(tolerance);
                if !wide.holds(found.least) || !wide.holds(found.most) {
                    diff.rows.push(Rows { statement: known, found, learned });
                }
            }
        }
        diff.gone = all(old).iter().filter(|statement| of(new, statement).is_none()).collect();
        let requests = |side: Option<&'a LockedResource>| {
            side.into_iter().flat_map(LockedResource::requests).collect::<Vec<_>>()
        };
        let (listed, asked) = (requests(old), requests(new));
        let is_new = |new: &&LockedRequest| !listed.iter().any(|old| old.covers(new));
        let is_gone = |old: &&LockedRequest| !asked.iter().any(|new| old.covers(new));
        diff.new_requests = asked.iter().copied().filter(is_new).collect();
        diff.gone_requests = listed.iter().copied().filter(is_gone).collect();
        let tables =
            |side: Option<&LockedResource>| side.map(LockedResource::tables).unwrap_or_default();
        let (before, after) = (tables(old), tables(new));
        diff.new_tables = after.difference(&before).cloned().collect();
        diff.gone_tables = before.difference(&after).cloned().collect();
        diff.new.sort_by_key(|new| &new.statement.text);
        diff.gone.sort_by_key(|gone| &gone.text);
        diff.rows.sort_by_key(|rows| &rows.statement.text);
        diff
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.gone.is_empty()
            && self.rows.is_empty()
            && self.new_requests.is_empty()
            && self.gone_requests.is_empty()
    }

    fn lines(&self, lines: &mut Vec<String>) {
        for New { statement, was } in &self.new {
            let head = match was {
                Some(_) => "a known statement with other effects or on other columns",
                None => "new statement",
            };
            lines.push(format!("  + {head}: {}", shown(&statement.text)));
            lines.push(format!("      does: {}", effects(&statement.effects)));
            if let Some(was) = was.filter(|was| **was != statement.effects) {
                lines.push(format!("      in the lock: {}", effects(was)));
            }
        }
        lines.extend(self.new_tables.iter().map(|table| format!("  + new table: {table}")));
        for Rows { statement, found, learned } in &self.rows {
            lines.push(format!(
                "  ! {} rows, in the lock {}: {}",
                range(*found),
                range(*learned),
                shown(&statement.text)
            ));
        }
        for request in &self.new_requests {
            lines.push(format!("  + new request: {}", shown(&request.to_string())));
        }
        for request in &self.gone_requests {
            lines.push(format!("  - not asked: {}", shown(&request.to_string())));
        }
        lines.extend(self.gone.iter().map(|gone| format!("  - not done: {}", shown(&gone.text))));
        lines.extend(self.gone_tables.iter().map(|table| format!("  - not touched: {table}")));
    }

    fn to_json(&self) -> Value {
        let statement = |statement: &LockedStatement| {
            json!({
                "text": statement.text,
                "fingerprint": statement.fingerprint,
                "effects": statement.effects,
                "rows": statement.rows,
            })
        };
        let new = self.new.iter().map(|New { statement: new, was }| {
            let mut value = statement(new);
            if let (Some(value), Some(was)) = (value.as_object_mut(), was) {
                value.insert("effects_in_lock".to_owned(), json!(was));
            }
            value
        });
        let rows = self.rows.iter().map(|rows| {
            json!({
                "text": rows.statement.text,
                "fingerprint": rows.statement.fingerprint,
                "found": rows.found,
                "learned": rows.learned,
            })
        });
        json!({
            "resource": self.name,
            "new": new.collect::<Vec<_>>(),
            "gone": self.gone.iter().map(|gone| statement(gone)).collect::<Vec<_>>(),
            "tables": { "new": self.new_tables, "gone": self.gone_tables },
            "rows": rows.collect::<Vec<_>>(),
            "requests": { "new": texts(&self.new_requests), "gone": texts(&self.gone_requests) },
        })
    }
}

fn texts(requests: &[&LockedRequest]) -> Vec<String> {
    requests.iter().map(ToString::to_string).collect()
}

fn effects(words: &BTreeSet<String>) -> String {
    if words.is_empty() {
        return "nothing but to read what is no table".to_owned();
    }
    words.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn range(rows: RowRange) -> String {
    if rows.least == rows.most {
        grouped(rows.most)
    } else {
        format!("{} to {}", grouped(rows.least), grouped(rows.most))
    }
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(MAX_SHOWN).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
