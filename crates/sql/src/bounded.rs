//! Whether a condition really limits the rows that an UPDATE, DELETE or MERGE reaches.
//!
//! The test is positive: a condition counts only if it holds a comparison of the target's columns
//! with something else. What is not recognised does not restrict, so a tautology that nobody thought
//! of is unbounded. That some comparison is true of every row that happens to be there cannot be
//! known from the text.

use std::sync::Arc;

use pg_query::{NodeEnum, protobuf as pg};

use crate::analyzer::{constant, dotted, string, strings};

/// The table that a condition is about.
pub(crate) struct Condition<'a> {
    pub(crate) table: &'a str,
    pub(crate) alias: &'a str,
    /// Its columns, if they are known.
    pub(crate) columns: &'a [Arc<str>],
    /// Those that are never NULL.
    pub(crate) never_null: &'a [Arc<str>],
}

impl Condition<'_> {
    /// Whether the condition (or its negation) picks some rows and not all.
    pub(crate) fn restricts(&self, node: &pg::Node, negated: bool) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) => match (e.boolop(), negated) {
                (pg::BoolExprType::AndExpr, false) | (pg::BoolExprType::OrExpr, true) => {
                    e.args.iter().any(|arg| self.restricts(arg, negated))
                }
                (pg::BoolExprType::OrExpr, false) | (pg::BoolExprType::AndExpr, true) => {
                    e.args.iter().all(|arg| self.restricts(arg, negated)) && !complementary(&e.args)
                }
                (pg::BoolExprType::NotExpr, _) => {
                    e.args.iter().any(|arg| self.restricts(arg, !negated))
                }
                (pg::BoolExprType::Undefined, _) => false,
            },
            Some(NodeEnum::AExpr(e)) => self.comparison(e),
            Some(NodeEnum::NullTest(e)) => {
                let Some(arg) = e.arg.as_deref() else { return false };
                let Some(column) = self.bare_column(arg) else { return false };
                let not_null = (e.nulltesttype() == pg::NullTestType::IsNotNull) != negated;
                !(not_null && self.never_null.iter().any(|name| **name == *column))
            }
            Some(NodeEnum::BooleanTest(e)) => e.arg.as_deref().is_some_and(|arg| {
                let known = matches!(
                    e.booltesttype(),
                    pg::BoolTestType::IsTrue | pg::BoolTestType::IsFalse
                );
                let inner = negated != (e.booltesttype() == pg::BoolTestType::IsFalse);
                known && self.restricts(arg, inner)
            }),
            // A boolean column.
            Some(NodeEnum::ColumnRef(_)) => self.bare_column(node).is_some(),
            Some(NodeEnum::CurrentOfExpr(_)) => !negated,
            Some(NodeEnum::SubLink(link)) => self.sub_link(link),
            Some(NodeEnum::TypeCast(cast)) => {
                cast.arg.as_deref().is_some_and(|arg| self.restricts(arg, negated))
            }
            Some(NodeEnum::FuncCall(call)) => {
                // A test by a function of the row: full-text match, ranges, and the like.
                let (_, name) = dotted(&call.funcname);
                matches!(name, "starts_with" | "st_intersects" | "st_within")
                    && call.args.iter().any(|arg| self.mentions(arg))
            }
            Some(_) | None => false,
        }
    }

    fn comparison(&self, e: &pg::AExpr) -> bool {
        use pg::AExprKind as Kind;
        let (Some(left), Some(right)) = (e.lexpr.as_deref(), e.rexpr.as_deref()) else {
            return false;
        };
        let mut left_columns = self.columns_in(left);
        let mut right_columns = self.columns_in(right);
        left_columns.sort_unstable();
        left_columns.dedup();
        right_columns.sort_unstable();
        right_columns.dedup();
        if left_columns == right_columns {
            return false;
        }
        let (_, operator) = dotted(&e.name);
        match e.kind() {
            Kind::AexprLike | Kind::AexprIlike | Kind::AexprSimilar => {
                constant(right).is_none_or(|pattern| pattern.chars().any(|c| c != '%'))
            }
            Kind::AexprIn
            | Kind::AexprOpAny
            | Kind::AexprOpAll
            | Kind::AexprBetween
            | Kind::AexprBetweenSym
            | Kind::AexprNotBetween
            | Kind::AexprNotBetweenSym
            | Kind::AexprDistinct
            | Kind::AexprNotDistinct => true,
            Kind::AexprOp => match operator {
                ">" | ">=" => !is_low(right, operator) && !is_unlimited(right),
                "<" | "<=" => {
                    let turned = if operator == "<" { ">" } else { ">=" };
                    !is_low(left, turned) && !is_now(right) && !is_unlimited(right)
                }
                _ => true,
            },
            Kind::AexprNullif | Kind::Undefined => false,
        }
    }

    /// `x IN (SELECT …)`, `EXISTS (SELECT …)`: the sub-query must not simply be the whole table.
    fn sub_link(&self, link: &pg::SubLink) -> bool {
        let Some(NodeEnum::SelectStmt(select)) =
            link.subselect.as_deref().and_then(|node| node.node.as_ref())
        else {
            return false;
        };
        let same_table = select.from_clause.iter().any(|item| match &item.node {
            Some(NodeEnum::RangeVar(var)) => var.relname == self.table,
            Some(_) | None => false,
        });
        let inner = select.where_clause.as_deref();
        let limited = select.limit_count.as_deref().and_then(constant).is_some();
        match link.sub_link_type() {
            pg::SubLinkType::AnySublink | pg::SubLinkType::AllSublink => {
                let tested = link.testexpr.as_deref().is_some_and(|test| self.mentions(test));
                let inner = inner.is_some_and(|condition| self.restricts(condition, false));
                tested && (!same_table || limited || inner) && !select.from_clause.is_empty()
            }
            pg::SubLinkType::ExistsSublink => {
                !same_table && inner.is_some_and(|condition| self.correlates(condition))
            }
            pg::SubLinkType::ExprSublink
            | pg::SubLinkType::RowcompareSublink
            | pg::SubLinkType::MultiexprSublink
            | pg::SubLinkType::ArraySublink
            | pg::SubLinkType::CteSublink
            | pg::SubLinkType::Undefined => false,
        }
    }

    /// Whether a sub-query's condition compares the target's row, named by its alias, with its own.
    fn correlates(&self, node: &pg::Node) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) if e.boolop() == pg::BoolExprType::AndExpr => {
                e.args.iter().any(|arg| self.correlates(arg))
            }
            Some(NodeEnum::AExpr(e)) => {
                let side = |node: Option<&pg::Node>| {
                    node.is_some_and(|node| !self.columns_in(node).is_empty())
                };
                let qualified = |node: Option<&pg::Node>| match node.map(|node| &node.node) {
                    Some(Some(NodeEnum::ColumnRef(column))) => {
                        strings(&column.fields).iter().rev().nth(1) == Some(&self.alias)
                    }
                    Some(_) | None => false,
                };
                let (left, right) = (e.lexpr.as_deref(), e.rexpr.as_deref());
                (qualified(left) && !qualified(right))
                    || (qualified(right) && !qualified(left))
                    || (side(left) != side(right) && (qualified(left) || qualified(right)))
            }
            Some(_) | None => false,
        }
    }

    fn mentions(&self, node: &pg::Node) -> bool {
        !self.columns_in(node).is_empty()
    }

    /// The name of a column of the target, if the node is nothing else.
    fn bare_column<'n>(&self, node: &'n pg::Node) -> Option<&'n str> {
        let Some(NodeEnum::ColumnRef(column)) = &node.node else { return None };
        let parts = strings(&column.fields);
        if parts.len() != column.fields.len() {
            return None;
        }
        match parts.as_slice() {
            [name] => {
                let known = self.columns.is_empty() || self.columns.iter().any(|c| **c == **name);
                known.then_some(*name)
            }
            [.., row, name] => (*row == self.alias).then_some(*name),
            [] => None,
        }
    }

    /// The target's columns in an expression.
    fn columns_in<'n>(&self, node: &'n pg::Node) -> Vec<&'n str> {
        if let Some(name) = self.bare_column(node) {
            return vec![name];
        }
        let many = |nodes: &'n [pg::Node]| -> Vec<&'n str> {
            nodes.iter().flat_map(|node| self.columns_in(node)).collect()
        };
        let one = |node: &'n Option<Box<pg::Node>>| -> Vec<&'n str> {
            node.as_deref().map(|node| self.columns_in(node)).unwrap_or_default()
        };
        match &node.node {
            Some(NodeEnum::AExpr(e)) => [one(&e.lexpr), one(&e.rexpr)].concat(),
            Some(NodeEnum::BoolExpr(e)) => many(&e.args),
            Some(NodeEnum::TypeCast(e)) => one(&e.arg),
            Some(NodeEnum::FuncCall(e)) => many(&e.args),
            Some(NodeEnum::CoalesceExpr(e)) => many(&e.args),
            Some(NodeEnum::MinMaxExpr(e)) => many(&e.args),
            Some(NodeEnum::List(e)) => many(&e.items),
            Some(NodeEnum::AArrayExpr(e)) => many(&e.elements),
            Some(NodeEnum::RowExpr(e)) => many(&e.args),
            Some(NodeEnum::AIndirection(e)) => one(&e.arg),
            Some(NodeEnum::CollateClause(e)) => one(&e.arg),
            Some(_) | None => Vec::new(),
        }
    }
}

/// Whether one arm of an OR is the opposite of another: `a = 1 OR a <> 1`.
fn complementary(args: &[pg::Node]) -> bool {
    let key = |node: &pg::Node| match &node.node {
        Some(NodeEnum::AExpr(e)) => {
            let operand = |node: Option<&pg::Node>| node.and_then(plain);
            let operator = e.name.last().and_then(string)?.to_owned();
            Some((operand(e.lexpr.as_deref())?, operator, operand(e.rexpr.as_deref())?))
        }
        Some(NodeEnum::NullTest(e)) => {
            let operator = match e.nulltesttype() {
                pg::NullTestType::IsNull => "is null",
                pg::NullTestType::IsNotNull | pg::NullTestType::Undefined => "is not null",
            };
            Some((e.arg.as_deref().and_then(plain)?, operator.to_owned(), String::new()))
        }
        Some(_) | None => None,
    };
    let keys: Vec<_> = args.iter().filter_map(key).collect();
    let opposite = |a: &str, b: &str| {
        matches!(
            (a, b),
            ("=", "<>" | "!=")
                | ("<", ">=" | ">")
                | (">", "<=")
                | ("<=", ">=")
                | ("is null", "is not null")
        )
    };
    keys.iter().any(|a| {
        keys.iter().any(|b| {
            a.0 == b.0
                && (a.2 == b.2 || matches!(a.1.as_str(), "<" | ">" | "<=" | ">="))
                && (opposite(&a.1, &b.1) || opposite(&b.1, &a.1))
        })
    })
}

/// A column or constant as text.
fn plain(node: &pg::Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => Some(strings(&column.fields).join(".")),
        Some(NodeEnum::ParamRef(param)) => Some(format!("${}", param.number)),
        Some(_) | None => constant(node),
    }
}

/// A number so low that a key is always above it.
fn is_low(node: &pg::Node, operator: &str) -> bool {
    let number = match &node.node {
        Some(NodeEnum::AExpr(e)) if e.lexpr.is_none() => {
            return e.name.last().and_then(string) == Some("-")
                && e.rexpr.as_deref().and_then(constant).is_some();
        }
        Some(_) | None => constant(node).and_then(|text| text.parse::<f64>().ok()),
    };
    number.is_some_and(|n| n < 0.0 || (operator == ">=" && n <= 0.0))
}

/// The present moment: everything that was stored lies before it.
fn is_now(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::SqlvalueFunction(_)) => true,
        Some(NodeEnum::FuncCall(call)) => matches!(
            dotted(&call.funcname).1,
            "now" | "clock_timestamp" | "statement_timestamp" | "transaction_timestamp"
        ),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_now),
        Some(_) | None => false,
    }
}

fn is_unlimited(node: &pg::Node) -> bool {
    constant(node).is_some_and(|text| matches!(text.as_str(), "infinity" | "-infinity" | "NaN"))
}
