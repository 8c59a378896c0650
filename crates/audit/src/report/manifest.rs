//! What left by masked reads: of a dump, table by table, which columns were hidden and how.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{ColumnName, Detector, Mask, ObjectKind, ResourceName, Verb};
use serde::Serialize;

use super::{Class, Listed, OperationReport};

/// Tables that a manifest lists.
const MAX_TABLES: usize = 5_000;
/// Tables that one operation is said to read.
const MAX_NAMES: usize = 20;
/// Schemas of the server itself, of which a dump reads much that is nobody's data.
const OWN_SCHEMAS: [&str; 2] = ["pg_catalog", "information_schema"];

/// What was read of a table, or of several at once.
#[derive(Debug, Clone, Serialize)]
pub struct ManifestTable {
    /// The resource.
    pub resource: ResourceName,
    /// Its name; of a read of several all of them, views with the tables behind them.
    pub tables: Vec<String>,
    /// Rows that were returned.
    pub rows: u64,
    /// Bytes of row data.
    pub bytes: u64,
    /// Values that were masked.
    pub masked: u64,
    /// Columns that were masked, and how.
    pub columns: Vec<ManifestColumn>,
    /// What detectors found in columns that nobody named, and how often.
    pub detected: BTreeMap<Detector, u64>,
}

/// A column that was masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestColumn {
    /// `schema.table.column`.
    pub column: String,
    /// How.
    pub mask: Mask,
}

type Tables<'a> = BTreeMap<(ResourceName, Vec<String>), (ManifestTable, Columns<'a>)>;
type Columns<'a> = BTreeMap<(&'a ColumnName, &'static str), Mask>;

/// The manifest of a session; empty if nothing was masked.
pub(super) fn manifest(operations: &[OperationReport]) -> Listed<ManifestTable> {
    if operations
        .iter()
        .all(|operation| operation.masks.is_empty() && operation.detected.is_empty())
    {
        return Listed::first(Vec::new(), 0);
    }
    let mut tables = Tables::new();
    for operation in operations.iter().filter(|operation| operation.count > 0) {
        match operation.class {
            Class::Read | Class::MaskedRead => {}
            Class::NotUnderstood | Class::Change | Class::Housekeeping => {
                if operation.masks.is_empty() && operation.detected.is_empty() {
                    continue;
                }
            }
        }
        let names = names(operation);
        if names.is_empty() {
            continue;
        }
        let key = (operation.resource.clone(), names);
        let (table, columns) = tables.entry(key).or_insert_with_key(|(resource, names)| {
            let table = ManifestTable {
                resource: resource.clone(),
                tables: names.clone(),
                rows: 0,
                bytes: 0,
                masked: 0,
                columns: Vec::new(),
                detected: BTreeMap::new(),
            };
            (table, BTreeMap::new())
        });
        table.rows = table.rows.saturating_add(operation.rows);
        table.bytes = table.bytes.saturating_add(operation.bytes);
        table.masked = table.masked.saturating_add(operation.masked);
        for (detector, count) in &operation.detected {
            let total = table.detected.entry(*detector).or_default();
            *total = total.saturating_add(*count);
        }
        columns.extend(
            operation
                .masked_columns
                .iter()
                .map(|masked| ((&masked.column, masked.mask.as_str()), masked.mask)),
        );
    }
    let listed = tables.into_values().map(|(mut table, columns)| {
        let column = |((column, _), mask): ((&ColumnName, &str), Mask)| ManifestColumn {
            column: column.to_string(),
            mask,
        };
        table.columns = columns.into_iter().map(column).collect();
        table
    });
    Listed::first(listed.collect(), MAX_TABLES)
}

/// The tables that an operation reads, in the order of their names.
fn names(operation: &OperationReport) -> Vec<String> {
    let read = operation.effects.iter().filter(|effect| effect.verb == Verb::Read);
    let names: BTreeSet<String> = read
        .filter(|effect| match effect.object.kind {
            ObjectKind::Table | ObjectKind::View => true,
            ObjectKind::Column
            | ObjectKind::Index
            | ObjectKind::Sequence
            | ObjectKind::Function
            | ObjectKind::Schema
            | ObjectKind::Database
            | ObjectKind::Role
            | ObjectKind::Setting
            | ObjectKind::Extension
            | ObjectKind::Trigger
            | ObjectKind::Type
            | ObjectKind::LargeObject
            | ObjectKind::Channel
            | ObjectKind::Path
            | ObjectKind::Other => false,
        })
        .filter_map(|effect| effect.object.name.as_ref())
        .filter(|name| !name.schema.as_deref().is_some_and(|schema| OWN_SCHEMAS.contains(&schema)))
        .map(ToString::to_string)
        .collect();
    names.into_iter().take(MAX_NAMES).collect()
}
