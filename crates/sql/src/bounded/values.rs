//! Values that are not written out: rows beside the changed one, and sub-queries.
//!
//! To be equal to one of them picks rows, whatever they are. To be greater, less or another one than a value
//! says something only if that is one value, and not one that the statement chose: `id > (SELECT 0 FROM t LIMIT 1)` is `id > 0`.

use pg_query::{NodeEnum, protobuf as pg};

use super::{
    condition::Condition,
    ends::{self, Test, says_nothing},
    facts::{Facts, address},
};
use crate::nodes::{
    constant, dotted, inner_conditions, operands, operator_of, selected_by, strings,
};

impl Condition<'_> {
    /// Whether a value that is free is one value that the statement did not make up. What is written out or given as a
    /// parameter is looked at by [`says_nothing`].
    pub(super) fn is_one_value(&self, test: Test, value: &pg::Node) -> bool {
        if test == Test::Is || !refers(value) {
            return true;
        }
        match &value.node {
            Some(NodeEnum::SubLink(link)) => {
                link.sub_link_type() == pg::SubLinkType::ExprSublink
                    && selected_by(link).is_some_and(|select| self.is_data(test, select))
            }
            Some(_) | None => self.is_moved(test, value, &|inner| self.is_one_value(test, inner)),
        }
    }

    /// A form of a value that stays one: another type, some more or less of it, or something in its place where it is NULL.
    fn is_moved(&self, test: Test, node: &pg::Node, is_one: &dyn Fn(&pg::Node) -> bool) -> bool {
        match &node.node {
            Some(NodeEnum::TypeCast(e)) => e.arg.as_deref().is_some_and(is_one),
            Some(NodeEnum::CollateClause(e)) => e.arg.as_deref().is_some_and(is_one),
            Some(NodeEnum::CoalesceExpr(e)) => {
                e.args.iter().all(|arg| is_one(arg) && !says_nothing(test, arg))
            }
            Some(NodeEnum::AExpr(e)) if e.kind() == pg::AExprKind::AexprOp => {
                let (Some(left), Some(right)) = (e.lexpr.as_deref(), e.rexpr.as_deref()) else {
                    return false;
                };
                let (whole, part) = match operator_of(e) {
                    "+" if refers(right) => (right, left),
                    "+" | "-" => (left, right),
                    _ => return false,
                };
                !refers(part) && !ends::is_zero(part) && is_one(whole)
            }
            Some(_) | None => false,
        }
    }

    /// Whether what a query selects is data of a table: its columns themselves, which the query's own conditions do not
    /// fix, and not the end of them that all others lie beyond.
    pub(super) fn is_data(&self, test: Test, select: &pg::SelectStmt) -> bool {
        let Some(facts) = self.queries.get(&address(select)) else { return false };
        let is_query = select.larg.is_none() && select.values_lists.is_empty();
        is_query
            && !select.target_list.is_empty()
            && reaches_far(test, sorted(select))
            && select.target_list.iter().all(|target| match &target.node {
                Some(NodeEnum::ResTarget(target)) => target
                    .val
                    .as_deref()
                    .is_some_and(|node| self.is_datum(test, node, select, facts)),
                Some(_) | None => false,
            })
    }

    fn is_datum(
        &self,
        test: Test,
        node: &pg::Node,
        select: &pg::SelectStmt,
        facts: &Facts,
    ) -> bool {
        match &node.node {
            Some(NodeEnum::ColumnRef(column)) => {
                let parts = strings(&column.fields);
                let Some(name) = parts.last() else { return false };
                facts.is_table_column(&parts) && !fixes(select, name)
            }
            Some(NodeEnum::SubLink(_)) => self.is_one_value(test, node),
            Some(NodeEnum::FuncCall(call)) => {
                let end = match dotted(&call.funcname) {
                    ("" | "pg_catalog", "min") => End::Least,
                    ("" | "pg_catalog", "max") => End::Greatest,
                    _ => return false,
                };
                let plain = call.agg_filter.is_none() && call.over.is_none();
                plain
                    && reaches_far(test, Some(end))
                    && call.args.iter().all(|arg| self.is_datum(test, arg, select, facts))
            }
            Some(_) | None if constant(node).is_some() => !says_nothing(test, node),
            Some(_) | None => {
                self.is_moved(test, node, &|inner| self.is_datum(test, inner, select, facts))
            }
        }
    }
}

impl Facts {
    /// Whether a column is surely one of a table of users that the query reads itself.
    fn is_table_column(&self, parts: &[&str]) -> bool {
        let (row, name) = match parts {
            [name] => (None, *name),
            [.., row, name] => (Some(*row), *name),
            [] => return false,
        };
        let mut found = self.entries.iter().filter(|entry| match row {
            Some(row) => *entry.alias == *row,
            None => entry.columns.named(name).is_some(),
        });
        let (Some(entry), None) = (found.next(), found.next()) else { return false };
        let is_users = |value: &crate::value::Value| {
            value.columns().all(|column| {
                !matches!(
                    column.table.schema.as_deref(),
                    None | Some("pg_catalog" | "information_schema")
                )
            })
        };
        entry.columns.origin.table
            && matches!(
                entry.columns.named(name),
                Some((value, true)) if value.is_plain() && is_users(&value)
            )
    }
}

/// One of the two ends of a column's values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Least,
    Greatest,
}

/// Whether an end is one beyond which not all others lie.
fn reaches_far(test: Test, end: Option<End>) -> bool {
    match (test, end) {
        (Test::Above | Test::From, Some(End::Least))
        | (Test::Below | Test::UpTo, Some(End::Greatest)) => false,
        (
            Test::Is
            | Test::Not
            | Test::Above
            | Test::From
            | Test::Below
            | Test::UpTo
            | Test::Like
            | Test::NotLike
            | Test::Matches
            | Test::NotMatches
            | Test::Null
            | Test::NotNull,
            Some(End::Least | End::Greatest) | None,
        ) => true,
    }
}

/// The end from which an order starts.
fn sorted(select: &pg::SelectStmt) -> Option<End> {
    let first = select.sort_clause.first()?;
    let is_down = matches!(
        &first.node,
        Some(NodeEnum::SortBy(sort)) if sort.sortby_dir() == pg::SortByDir::SortbyDesc
    );
    Some(if is_down { End::Greatest } else { End::Least })
}

/// Whether a query's conditions look at a column of this name by more than `IS NOT NULL`.
fn fixes(select: &pg::SelectStmt, name: &str) -> bool {
    let mut conditions: Vec<&pg::Node> =
        select.where_clause.as_deref().into_iter().chain(select.having_clause.as_deref()).collect();
    select.from_clause.iter().for_each(|item| inner_conditions(item, &mut conditions));
    conditions.into_iter().any(|condition| names(condition, name))
}

/// Whether an expression names a column, or has parts that are not looked into.
fn names(node: &pg::Node, name: &str) -> bool {
    let one = |node: &Option<Box<pg::Node>>| node.as_deref().is_some_and(|n| names(n, name));
    let any = |nodes: &[pg::Node]| nodes.iter().any(|node| names(node, name));
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => {
            strings(&column.fields).last().is_none_or(|last| *last == name)
        }
        Some(
            NodeEnum::NullTest(_)
            | NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SqlvalueFunction(_),
        ) => false,
        Some(NodeEnum::BoolExpr(e)) => any(&e.args),
        Some(NodeEnum::AExpr(e)) => one(&e.lexpr) || one(&e.rexpr),
        Some(NodeEnum::TypeCast(e)) => one(&e.arg),
        Some(NodeEnum::FuncCall(e)) => any(&e.args),
        Some(NodeEnum::List(e)) => any(&e.items),
        Some(NodeEnum::AArrayExpr(e)) => any(&e.elements),
        Some(NodeEnum::BooleanTest(e)) => one(&e.arg),
        Some(_) | None => true,
    }
}

/// Whether an expression has a part that is a row's or a sub-query's.
fn refers(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::ColumnRef(_) | NodeEnum::SubLink(_)) => true,
        // Nothing else is free.
        Some(_) | None => operands(node).is_some_and(|operands| operands.into_iter().any(refers)),
    }
}
