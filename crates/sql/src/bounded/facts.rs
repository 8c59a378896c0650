//! What is known of the queries inside a statement: where their rows come from, and by which names
//! their columns go.

use std::{collections::HashMap, ptr};

use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    nodes::{dotted, operands, strings},
    origin::Origin,
    value::Entry,
};

/// What is known of a query that was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Where its rows come from.
    pub(crate) origin: Origin,
    /// Its own row sources.
    pub(crate) entries: Vec<Entry>,
}

/// Queries by their place in memory. One is looked at before a condition that holds it is weighed, so what
/// is found here is of the same tree.
pub(crate) type Queries = HashMap<usize, Facts>;

/// A query's place in memory.
pub(crate) fn address(select: &pg::SelectStmt) -> usize {
    ptr::from_ref(select).addr()
}

impl Facts {
    /// Whether an expression is surely a column of the query's own row sources.
    pub(super) fn owns(&self, node: &pg::Node) -> bool {
        owns(&self.entries, node)
    }

    /// Whether an expression might be one.
    pub(super) fn may_own(&self, node: &pg::Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = &node.node else { return true };
        match strings(&column.fields).as_slice() {
            [name] => self.entries.iter().any(|entry| entry.columns.named(name).is_some()),
            [.., row, _] => self.entries.iter().any(|entry| *entry.alias == **row),
            [] => true,
        }
    }
}

fn owns(entries: &[Entry], node: &pg::Node) -> bool {
    let Some(NodeEnum::ColumnRef(column)) = &node.node else { return false };
    let parts = strings(&column.fields);
    if parts.len() != column.fields.len() {
        return parts.is_empty()
            || parts.last().is_some_and(|row| entries.iter().any(|e| *e.alias == **row));
    }
    match parts.as_slice() {
        ["ctid"] => entries.iter().any(|entry| entry.columns.origin.table),
        [name] => entries.iter().any(|entry| matches!(entry.columns.named(name), Some((_, true)))),
        [.., row, _] => entries.iter().any(|entry| *entry.alias == **row),
        [] => false,
    }
}

/// Whether an expression names no columns but those of these row sources.
pub(crate) fn is_listed(entries: &[Entry], node: &pg::Node) -> bool {
    let one = |node: &Option<Box<pg::Node>>| node.as_deref().is_none_or(|n| is_listed(entries, n));
    match &node.node {
        Some(
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::AStar(_),
        ) => true,
        Some(NodeEnum::ColumnRef(_)) => owns(entries, node),
        Some(NodeEnum::ResTarget(e)) => one(&e.val),
        // `generate_series` and its like make rows of nothing.
        Some(NodeEnum::FuncCall(e))
            if matches!(dotted(&e.funcname).1, "generate_series" | "generate_subscripts") =>
        {
            false
        }
        Some(NodeEnum::AIndirection(e)) => one(&e.arg),
        Some(_) | None => operands(node)
            .is_some_and(|operands| operands.into_iter().all(|node| is_listed(entries, node))),
    }
}
