//! The row source that a condition is about, and which of its columns an expression looks at.

use std::{collections::BTreeSet, sync::Arc};

use guard_core::ObjectName;
use pg_query::{NodeEnum, protobuf as pg};

use super::{
    ends,
    facts::{Queries, address},
};
use crate::{
    nodes::{constant, dotted, operands, operator_of, selected_by, strings},
    origin::Origin,
    value::{Entry, Scope},
};

/// The row source that a condition is about, and what else the condition can name.
pub(crate) struct Condition<'a> {
    /// Its name in `scope`.
    pub(crate) alias: &'a str,
    /// The names of its columns that are base columns; `None` if they are not known.
    pub(crate) columns: Option<&'a [Arc<str>]>,
    /// Those that are known to take NULL.
    pub(crate) nullable: &'a [Arc<str>],
    /// The tables that it stands for.
    pub(crate) family: &'a BTreeSet<ObjectName>,
    /// All row sources at this place, itself among them.
    pub(crate) scope: &'a Scope<'a>,
    /// What is known of the sub-queries.
    pub(crate) queries: &'a Queries,
}

/// What a name stands for.
enum Place<'a> {
    /// A column of the row source itself.
    Own(String),
    /// A column of another row source.
    Other(&'a Origin),
    Unknown,
}

impl Condition<'_> {
    pub(super) fn any_tested(&self, node: &pg::Node) -> bool {
        !self.all_tested(node).is_empty()
    }

    /// The tested columns of an expression that may be a row.
    pub(super) fn all_tested(&self, node: &pg::Node) -> Vec<String> {
        match row(node) {
            Some(items) => items.iter().filter_map(|item| self.tested(item)).collect(),
            None => self.tested(node).into_iter().collect(),
        }
    }

    /// The column that an expression is about, if it tells one value of it from another: the column
    /// itself, or a form of it.
    pub(super) fn tested(&self, node: &pg::Node) -> Option<String> {
        if let Some(column) = self.own_or_cast(node) {
            return Some(column);
        }
        match &node.node {
            Some(NodeEnum::TypeCast(cast)) => {
                let to_boolean =
                    cast.type_name.as_ref().is_none_or(|to| dotted(&to.names).1 == "bool");
                cast.arg.as_deref().filter(|_| !to_boolean).and_then(|arg| self.tested(arg))
            }
            Some(NodeEnum::CollateClause(e)) => e.arg.as_deref().and_then(|arg| self.tested(arg)),
            Some(NodeEnum::FuncCall(call)) => {
                let (schema, name) = dotted(&call.funcname);
                let is_form = matches!(schema, "" | "pg_catalog")
                    && matches!(
                        name,
                        "lower"
                            | "upper"
                            | "btrim"
                            | "ltrim"
                            | "rtrim"
                            | "date_trunc"
                            | "date_part"
                            | "extract"
                            | "date"
                            | "length"
                            | "char_length"
                            | "md5"
                            | "age"
                            | "to_char"
                            | "timezone"
                    );
                let mut columns = call.args.iter().filter_map(|arg| self.tested(arg));
                let found = columns.next().filter(|_| is_form && columns.next().is_none())?;
                let rest = call.args.iter().filter(|arg| self.tested(arg).is_none());
                rest.into_iter().all(|arg| self.is_free(arg)).then_some(found)
            }
            Some(NodeEnum::CoalesceExpr(e)) => match e.args.as_slice() {
                [column, default] if constant(default).is_some() => self.tested(column),
                _ => None,
            },
            Some(NodeEnum::AExpr(e)) if e.kind() == pg::AExprKind::AexprOp => {
                let (left, right) = (e.lexpr.as_deref()?, e.rexpr.as_deref()?);
                let operator = operator_of(e);
                let (column, other) = match self.tested(left) {
                    Some(column) => (column, right),
                    None if operator == "-" => (self.tested(right)?, left),
                    None => return None,
                };
                let keeps = match operator {
                    "->" | "->>" | "#>" | "#>>" => true,
                    "+" | "-" | "&" => !ends::is_zero(other),
                    "%" => ends::number(other).is_some_and(|n| n.abs() >= 2.0),
                    _ => false,
                };
                (keeps && self.is_free(other)).then_some(column)
            }
            Some(_) | None => None,
        }
    }

    pub(super) fn own_or_cast(&self, node: &pg::Node) -> Option<String> {
        match &node.node {
            Some(NodeEnum::ColumnRef(_)) => self.own(node),
            Some(_) | None => None,
        }
    }

    pub(super) fn own(&self, node: &pg::Node) -> Option<String> {
        let Some(NodeEnum::ColumnRef(column)) = &node.node else { return None };
        match self.place(&column.fields) {
            Place::Own(name) => Some(name),
            Place::Other(_) | Place::Unknown => None,
        }
    }

    fn place(&self, fields: &[pg::Node]) -> Place<'_> {
        let parts = strings(fields);
        if parts.len() != fields.len() {
            return Place::Unknown;
        }
        let own = |name: &str| match self.columns {
            _ if name == "ctid" => Place::Own(name.to_owned()),
            Some(columns) if !columns.iter().any(|held| **held == *name) => Place::Unknown,
            Some(_) | None => Place::Own(name.to_owned()),
        };
        match parts.as_slice() {
            [name] => {
                let sure = |entry: &&Entry| matches!(entry.columns.named(name), Some((_, true)));
                let mut here = self.scope.entries.iter().filter(sure);
                let found = match (here.next(), here.next()) {
                    (found, None) => found,
                    (Some(_), Some(_)) => return Place::Unknown,
                    (None, Some(_)) => None,
                };
                match found {
                    Some(entry) if *entry.alias == *self.alias => own(name),
                    Some(entry) => Place::Other(&entry.columns.origin),
                    // Of a table that is not known any name may be a column.
                    None if self.columns.is_none() || *name == "ctid" => own(name),
                    None => self.beyond(|scope| {
                        scope.entries.iter().find(|entry| entry.columns.named(name).is_some())
                    }),
                }
            }
            [.., row, name] if *row == self.alias => own(name),
            [.., row, _] => {
                let here = self.scope.entries.iter().find(|entry| *entry.alias == **row);
                match here {
                    Some(entry) => Place::Other(&entry.columns.origin),
                    None => self
                        .beyond(|scope| scope.entries.iter().find(|entry| *entry.alias == **row)),
                }
            }
            [] => Place::Unknown,
        }
    }

    /// A row source of a place around this one.
    fn beyond<'s>(&'s self, find: impl Fn(&'s Scope<'s>) -> Option<&'s Entry>) -> Place<'s> {
        let mut around = self.scope.around();
        while let Some(scope) = around {
            if let Some(entry) = find(scope) {
                return Place::Other(&entry.columns.origin);
            }
            around = scope.around();
        }
        Place::Unknown
    }

    /// Whether a value is of a row beside this one. Of many there is one that differs, or is less, whatever the row.
    pub(super) fn is_beside(&self, node: &pg::Node) -> bool {
        match &node.node {
            Some(NodeEnum::ColumnRef(column)) => {
                matches!(self.place(&column.fields), Place::Other(_))
            }
            Some(_) | None => operands(node)
                .is_some_and(|operands| operands.into_iter().any(|node| self.is_beside(node))),
        }
    }

    /// Whether a value comes from elsewhere than the tables that the condition is about.
    pub(super) fn is_free(&self, node: &pg::Node) -> bool {
        match &node.node {
            Some(
                NodeEnum::AConst(_)
                | NodeEnum::ParamRef(_)
                | NodeEnum::SqlvalueFunction(_)
                | NodeEnum::String(_)
                | NodeEnum::Integer(_)
                | NodeEnum::Float(_),
            ) => true,
            Some(NodeEnum::ColumnRef(column)) => match self.place(&column.fields) {
                Place::Other(origin) => origin.is_apart(self.family),
                Place::Own(_) | Place::Unknown => false,
            },
            Some(NodeEnum::SubLink(link)) => {
                let kind = link.sub_link_type();
                let Some(select) = selected_by(link) else { return false };
                matches!(kind, pg::SubLinkType::ExprSublink | pg::SubLinkType::ArraySublink)
                    && self
                        .queries
                        .get(&address(select))
                        .is_some_and(|facts| facts.origin.is_apart(self.family))
            }
            Some(_) | None => operands(node)
                .is_some_and(|operands| operands.into_iter().all(|node| self.is_free(node))),
        }
    }
}

/// By what an expression is divided to leave what is compared.
pub(super) fn remainder(node: &pg::Node) -> Option<f64> {
    match &node.node {
        Some(NodeEnum::TypeCast(e)) => remainder(e.arg.as_deref()?),
        Some(NodeEnum::CollateClause(e)) => remainder(e.arg.as_deref()?),
        Some(NodeEnum::AExpr(e)) => {
            let by = e.rexpr.as_deref();
            match e.name.last().and_then(crate::nodes::string) {
                Some("%") => Some(by.and_then(super::ends::number).map_or(0.0, f64::abs)),
                Some(_) | None => {
                    let sides = [e.lexpr.as_deref(), by];
                    sides.into_iter().flatten().find_map(remainder)
                }
            }
        }
        Some(_) | None => None,
    }
}

/// The items of a row.
pub(super) fn row(node: &pg::Node) -> Option<&[pg::Node]> {
    match &node.node {
        Some(NodeEnum::RowExpr(e)) => Some(&e.args),
        Some(_) | None => None,
    }
}
