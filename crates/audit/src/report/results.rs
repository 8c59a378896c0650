//! What a report shows of the rows that a record keeps: the first rows of the first answers. The record has them all.

use std::collections::HashMap;

use guard_core::{ResourceName, Timestamp};
use serde::Serialize;

use super::{Listed, StatementText, text::beginning};
use crate::{Cell, Kept, Row};

/// Answers that are shown.
const MAX_ANSWERS: usize = 100;
/// Rows of each.
const MAX_ROWS: usize = 50;
/// Columns of each.
const MAX_COLUMNS: usize = 100;
/// Characters of a value, and of a column's name.
const MAX_CHARS: usize = 200;
/// Bytes of all values together.
const MAX_BYTES: usize = 512 << 10;

/// Rows that the client got of one statement, as it got them.
#[derive(Debug, Clone, Serialize)]
pub struct ResultReport {
    /// The resource.
    pub resource: ResourceName,
    /// What was asked.
    pub statement: StatementText,
    /// When the first of its rows were recorded.
    pub at: Timestamp,
    /// Names of its columns; empty where the answer has none, as that of a COPY.
    pub columns: Vec<String>,
    /// The first rows, each value or its beginning; `null` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many the record has.
    pub kept: u64,
    /// How many the client got, if the answer came to its end.
    pub got: Option<u64>,
    /// Whether the client got more than the record has.
    pub truncated: bool,
}

/// Answers as they are gathered.
#[derive(Debug, Default)]
pub(super) struct Results {
    total: u64,
    listed: Vec<ResultReport>,
    /// The place of each answer that is not at its end, if it is listed.
    open: HashMap<(usize, u64), Option<usize>>,
    bytes: usize,
}

impl Results {
    /// Takes rows of a statement: its writer and number, and what it is.
    pub(super) fn take(
        &mut self,
        key: (usize, u64),
        at: Timestamp,
        of: impl FnOnce() -> Option<(ResourceName, StatementText)>,
        columns: Option<&[String]>,
        rows: &[Row],
    ) {
        let place = *self.open.entry(key).or_insert_with(|| {
            self.total += 1;
            if self.listed.len() >= MAX_ANSWERS || self.bytes >= MAX_BYTES {
                return None;
            }
            let (resource, statement) = of()?;
            self.listed.push(ResultReport {
                resource,
                statement,
                at,
                columns: Vec::new(),
                rows: Vec::new(),
                kept: 0,
                got: None,
                truncated: false,
            });
            Some(self.listed.len() - 1)
        });
        let Some(known) = place.and_then(|place| self.listed.get_mut(place)) else { return };
        if let Some(columns) = columns.filter(|_| known.rows.is_empty()) {
            let names = columns.iter().take(MAX_COLUMNS);
            known.columns = names.map(|name| beginning(name, MAX_CHARS).into_owned()).collect();
        }
        known.kept += rows.len() as u64;
        for row in rows {
            if known.rows.len() >= MAX_ROWS || self.bytes >= MAX_BYTES {
                return;
            }
            let cells = row.iter().take(MAX_COLUMNS);
            let row: Vec<_> = cells.map(|cell| cell.as_ref().map(shown)).collect();
            self.bytes += row.iter().flatten().map(String::len).sum::<usize>() + row.len();
            known.rows.push(row);
        }
    }

    /// Takes what came of a statement.
    pub(super) fn finish(&mut self, key: (usize, u64), got: u64, kept: Option<Kept>) {
        let Some(Some(place)) = self.open.remove(&key) else { return };
        let Some(known) = self.listed.get_mut(place) else { return };
        known.got = Some(got);
        known.truncated = kept.is_some_and(|kept| kept.truncated);
    }

    pub(super) fn into_listed(self) -> Listed<ResultReport> {
        Listed { total: self.total, listed: self.listed }
    }
}

/// A value's beginning.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => beginning(text, MAX_CHARS).into_owned(),
        Cell::Binary { base64 } => format!("base64 {}", beginning(base64, MAX_CHARS)),
    }
}
