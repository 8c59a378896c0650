//! Whether a condition really limits the rows that an UPDATE, DELETE or MERGE reaches.
//!
//! The test is positive. A condition counts if it compares a column of the changed table with something
//! that does not come from the same table: a constant, a parameter, a row of another table, or rows of the
//! same table that are themselves limited. Of arms joined by AND one must count, of arms joined by OR each,
//! and no two of them may look at one column from opposite sides. What is not recognised does not
//! count, so a tautology that nobody thought of is unbounded. That a comparison happens to be true of
//! every row that is there cannot be known from the text, but for the ends of a range (see [`ends`]).

mod ends;
mod origin;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use pg_query::{NodeEnum, protobuf as pg};

use self::ends::{Test, exhaustive, says_nothing};
pub(crate) use self::origin::{Facts, Origin, Queries, address, is_listed};
use crate::{
    analyzer::{constant, dotted, string, strings},
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
    pub(crate) family: &'a std::collections::BTreeSet<guard_core::ObjectName>,
    /// All row sources at this place, itself among them.
    pub(crate) scope: &'a Scope<'a>,
    /// What is known of the sub-queries.
    pub(crate) queries: &'a Queries,
}

/// A comparison of a column, for the arms of an OR.
#[derive(Debug, Clone, PartialEq)]
struct Compared {
    column: String,
    test: Test,
    value: Option<String>,
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
    /// Whether the condition (or its negation) picks some rows and not all.
    pub(crate) fn restricts(&self, node: &pg::Node, negated: bool) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) => match (e.boolop(), negated) {
                (pg::BoolExprType::AndExpr, false) | (pg::BoolExprType::OrExpr, true) => {
                    e.args.iter().any(|arg| self.restricts(arg, negated))
                }
                (pg::BoolExprType::OrExpr, false) | (pg::BoolExprType::AndExpr, true) => {
                    let each = |arg| {
                        let mut found = Vec::new();
                        self.compared(arg, negated, &mut found);
                        found
                    };
                    e.args.iter().all(|arg| self.restricts(arg, negated))
                        && !exhaustive(&e.args.iter().map(each).collect::<Vec<_>>())
                }
                (pg::BoolExprType::NotExpr, _) => {
                    e.args.iter().any(|arg| self.restricts(arg, !negated))
                }
                (pg::BoolExprType::Undefined, _) => false,
            },
            Some(NodeEnum::AExpr(e)) => self.comparison(e, negated),
            Some(NodeEnum::NullTest(e)) => {
                let Some(column) = e.arg.as_deref().and_then(|arg| self.own(arg)) else {
                    return false;
                };
                let not_null = (e.nulltesttype() == pg::NullTestType::IsNotNull) != negated;
                !not_null || self.nullable.iter().any(|name| **name == *column)
            }
            Some(NodeEnum::BooleanTest(e)) => {
                let Some((arg, wanted)) = boolean_test(e) else { return false };
                self.restricts(arg, negated == wanted)
            }
            // A boolean column.
            Some(NodeEnum::ColumnRef(_)) => self.own(node).is_some(),
            Some(NodeEnum::CurrentOfExpr(_)) => !negated,
            Some(NodeEnum::SubLink(link)) => self.sub_link(link, negated),
            // `coalesce(condition, false)`
            Some(NodeEnum::CoalesceExpr(e)) => match e.args.as_slice() {
                [condition, default] => {
                    !negated
                        && constant(default).as_deref() == Some("false")
                        && self.restricts(condition, false)
                }
                _ => false,
            },
            Some(NodeEnum::FuncCall(call)) => match (dotted(&call.funcname).1, &*call.args) {
                ("starts_with", [text, start]) => {
                    !negated
                        && self.own(text).is_some()
                        && self.is_free(start)
                        && constant(start).is_none_or(|start| !start.is_empty())
                }
                _ => false,
            },
            Some(_) | None => false,
        }
    }

    fn comparison(&self, e: &pg::AExpr, negated: bool) -> bool {
        use pg::AExprKind as Kind;
        let (Some(left), Some(right)) = (e.lexpr.as_deref(), e.rexpr.as_deref()) else {
            return false;
        };
        match e.kind() {
            Kind::AexprOp => {
                let operator = dotted(&e.name).1;
                if let (Some(left), Some(right)) = (row(left), row(right)) {
                    return self.rows(operator, left, right, negated);
                }
                let Some(test) = Test::of(operator, negated) else { return false };
                // The column may stand on either side.
                self.one(left, test, right) || self.one(right, test.turned(), left)
            }
            Kind::AexprIn => {
                let test = if (operator_of(e) == "=") == negated { Test::Not } else { Test::Is };
                let Some(NodeEnum::List(list)) = &right.node else { return false };
                self.any_tested(left)
                    && list.items.iter().all(|item| self.is_free(item))
                    && !both_booleans(&list.items)
                    && (test == Test::Is || !list.items.iter().all(|i| says_nothing(test, i)))
            }
            Kind::AexprOpAny => {
                let test = if negated { Test::Not } else { Test::Is };
                operator_of(e) == "=" && self.among(left, test, right)
            }
            Kind::AexprOpAll => {
                let test = if negated { Test::Is } else { Test::Not };
                matches!(operator_of(e), "<>" | "!=") && self.among(left, test, right)
            }
            Kind::AexprLike | Kind::AexprIlike | Kind::AexprSimilar => {
                let test = if operator_of(e).starts_with('!') == negated {
                    Test::Like
                } else {
                    Test::NotLike
                };
                self.one(left, test, right)
            }
            Kind::AexprBetween
            | Kind::AexprBetweenSym
            | Kind::AexprNotBetween
            | Kind::AexprNotBetweenSym => {
                let Some(NodeEnum::List(list)) = &right.node else { return false };
                let [low, high] = list.items.as_slice() else { return false };
                let inside = matches!(e.kind(), Kind::AexprBetween | Kind::AexprBetweenSym);
                if inside == negated {
                    self.one(left, Test::Below, low) && self.one(left, Test::Above, high)
                } else {
                    let free = self.is_free(low) && self.is_free(high);
                    free && (self.one(left, Test::From, low) || self.one(left, Test::UpTo, high))
                }
            }
            Kind::AexprDistinct | Kind::AexprNotDistinct => {
                let is = (e.kind() == Kind::AexprNotDistinct) != negated;
                let test = if is { Test::Is } else { Test::Not };
                let known = is || (!is_null(left) && !is_null(right));
                known && (self.one(left, test, right) || self.one(right, test, left))
            }
            Kind::AexprNullif | Kind::Undefined => false,
        }
    }

    /// `column test value`
    fn one(&self, column: &pg::Node, test: Test, value: &pg::Node) -> bool {
        // `created + interval '30 days' < now()`
        let moved = matches!(&column.node, Some(NodeEnum::AExpr(e)) if operator_of(e) == "+")
            && ends::is_now_or_later(value);
        self.tested(column).is_some()
            && self.is_free(value)
            && (moved || !says_nothing(test, value))
    }

    /// `column = ANY (array)`, `column <> ALL (array)`
    fn among(&self, column: &pg::Node, test: Test, array: &pg::Node) -> bool {
        if !self.any_tested(column) || !self.is_free(array) {
            return false;
        }
        match &array.node {
            Some(NodeEnum::TypeCast(e)) if constant(array).is_none() => {
                e.arg.as_deref().is_some_and(|inner| self.among(column, test, inner))
            }
            Some(NodeEnum::AArrayExpr(e)) => {
                !e.elements.is_empty()
                    && !both_booleans(&e.elements)
                    && (test == Test::Is || !e.elements.iter().all(|i| says_nothing(test, i)))
            }
            Some(_) | None => match constant(array) {
                Some(text) => {
                    let inside = text.trim().trim_matches(|c| c == '{' || c == '}');
                    let words: Vec<&str> = inside.split(',').map(str::trim).collect();
                    let both = ["t", "f"].iter().all(|word| words.contains(word))
                        || ["true", "false"].iter().all(|word| words.contains(word));
                    !both && words.iter().any(|word| !word.is_empty())
                }
                None => true,
            },
        }
    }

    /// `(a, b) = (1, 2)`: any pair may count; in an order only the first.
    fn rows(&self, operator: &str, left: &[pg::Node], right: &[pg::Node], negated: bool) -> bool {
        let Some(test) = Test::of(operator, negated) else { return false };
        let mut pairs = left.iter().zip(right);
        let counts =
            |(a, b): (&pg::Node, &pg::Node)| self.one(a, test, b) || self.one(b, test.turned(), a);
        match test {
            Test::Is => pairs.any(counts),
            Test::Not => pairs.all(counts),
            Test::Above | Test::From | Test::Below | Test::UpTo => {
                left.len() == right.len() && pairs.next().is_some_and(counts)
            }
            Test::Like | Test::NotLike | Test::Null | Test::NotNull => false,
        }
    }

    /// `x IN (SELECT …)`, `EXISTS (SELECT …)`
    fn sub_link(&self, link: &pg::SubLink, negated: bool) -> bool {
        let Some(NodeEnum::SelectStmt(select)) =
            link.subselect.as_deref().and_then(|node| node.node.as_ref())
        else {
            return false;
        };
        let Some(facts) = self.queries.get(&address(select)) else { return false };
        let tested = || link.testexpr.as_deref().is_some_and(|test| self.any_tested(test));
        let operator = link.oper_name.last().and_then(string);
        match link.sub_link_type() {
            pg::SubLinkType::AnySublink => {
                matches!(operator, None | Some("="))
                    && tested()
                    && facts.origin.is_apart(self.family)
                    && (!negated || is_plain(select))
            }
            pg::SubLinkType::AllSublink => {
                matches!(operator, Some("<>" | "!="))
                    && tested()
                    && facts.origin.is_apart(self.family)
                    && (negated || is_plain(select))
            }
            pg::SubLinkType::ExistsSublink => {
                select.larg.is_none()
                    && facts.origin.whole.is_disjoint(self.family)
                    && (!negated || is_plain(select))
                    && select.where_clause.as_deref().is_some_and(|c| self.correlates(c, facts))
            }
            pg::SubLinkType::ExprSublink
            | pg::SubLinkType::RowcompareSublink
            | pg::SubLinkType::MultiexprSublink
            | pg::SubLinkType::ArraySublink
            | pg::SubLinkType::CteSublink
            | pg::SubLinkType::Undefined => false,
        }
    }

    /// Whether a sub-query's condition finds its own rows by a column of the changed row.
    fn correlates(&self, node: &pg::Node, inner: &Facts) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) if e.boolop() == pg::BoolExprType::AndExpr => {
                e.args.iter().any(|arg| self.correlates(arg, inner))
            }
            Some(NodeEnum::AExpr(e)) => {
                let (Some(left), Some(right)) = (e.lexpr.as_deref(), e.rexpr.as_deref()) else {
                    return false;
                };
                let outer =
                    |node: &pg::Node| !inner.may_own(node) && self.own_or_cast(node).is_some();
                e.kind() == pg::AExprKind::AexprOp
                    && operator_of(e) == "="
                    && ((outer(left) && inner.owns(right)) || (outer(right) && inner.owns(left)))
            }
            Some(_) | None => false,
        }
    }

    /// The comparisons of columns in one arm of an OR.
    fn compared(&self, node: &pg::Node, negated: bool, found: &mut Vec<Compared>) {
        let mut push = |column: Option<String>, test: Test, value: Option<String>| {
            found.extend(column.map(|column| Compared { column, test, value }));
        };
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) => {
                let not = e.boolop() == pg::BoolExprType::NotExpr;
                e.args.iter().for_each(|arg| self.compared(arg, negated != not, found));
            }
            Some(NodeEnum::ColumnRef(_)) => {
                push(self.own(node), Test::Is, Some((!negated).to_string()));
            }
            Some(NodeEnum::BooleanTest(e)) => {
                if let Some((arg, wanted)) = boolean_test(e) {
                    self.compared(arg, negated == wanted, found);
                }
            }
            Some(NodeEnum::NullTest(e)) => {
                let is_null = (e.nulltesttype() == pg::NullTestType::IsNull) != negated;
                let test = if is_null { Test::Null } else { Test::NotNull };
                push(e.arg.as_deref().and_then(|arg| self.own(arg)), test, None);
            }
            Some(NodeEnum::SubLink(link)) => {
                let columns = link.testexpr.as_deref().map(|test| self.all_tested(test));
                for column in columns.unwrap_or_default() {
                    push(Some(column), if negated { Test::Not } else { Test::Is }, None);
                }
            }
            Some(NodeEnum::AExpr(e)) => {
                use pg::AExprKind as Kind;
                let (Some(left), Some(right)) = (e.lexpr.as_deref(), e.rexpr.as_deref()) else {
                    return;
                };
                let operator = operator_of(e);
                let test = match e.kind() {
                    Kind::AexprOp => Test::of(operator, negated),
                    Kind::AexprIn | Kind::AexprOpAny | Kind::AexprOpAll => {
                        Some(if (operator == "=") == negated { Test::Not } else { Test::Is })
                    }
                    Kind::AexprNotDistinct => Some(if negated { Test::Not } else { Test::Is }),
                    Kind::AexprDistinct => Some(if negated { Test::Is } else { Test::Not }),
                    Kind::AexprBetween | Kind::AexprBetweenSym => {
                        Some(if negated { Test::Not } else { Test::Is })
                    }
                    Kind::AexprNotBetween | Kind::AexprNotBetweenSym => {
                        Some(if negated { Test::Is } else { Test::Not })
                    }
                    Kind::AexprLike | Kind::AexprIlike | Kind::AexprSimilar => {
                        let not = operator.starts_with('!') != negated;
                        Some(if not { Test::Not } else { Test::Is })
                    }
                    Kind::AexprNullif | Kind::Undefined => None,
                };
                // What cannot be placed is taken to be the whole column.
                let test = test.unwrap_or(Test::Not);
                for column in self.all_tested(left) {
                    push(Some(column), test, constant(right));
                }
                for column in self.all_tested(right) {
                    push(Some(column), test.turned(), constant(left));
                }
            }
            Some(_) | None => {}
        }
    }

    fn any_tested(&self, node: &pg::Node) -> bool {
        !self.all_tested(node).is_empty()
    }

    /// The tested columns of an expression that may be a row.
    fn all_tested(&self, node: &pg::Node) -> Vec<String> {
        match row(node) {
            Some(items) => items.iter().filter_map(|item| self.tested(item)).collect(),
            None => self.tested(node).into_iter().collect(),
        }
    }

    /// The column that an expression is about, if it tells one value of it from another: the column
    /// itself, or a form of it.
    fn tested(&self, node: &pg::Node) -> Option<String> {
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

    fn own_or_cast(&self, node: &pg::Node) -> Option<String> {
        match &node.node {
            Some(NodeEnum::ColumnRef(_)) => self.own(node),
            Some(_) | None => None,
        }
    }

    fn own(&self, node: &pg::Node) -> Option<String> {
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

    /// Whether a value comes from elsewhere than the tables that the condition is about.
    fn is_free(&self, node: &pg::Node) -> bool {
        let all = |nodes: &[pg::Node]| nodes.iter().all(|node| self.is_free(node));
        let one = |node: &Option<Box<pg::Node>>| node.as_deref().is_none_or(|n| self.is_free(n));
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
            Some(NodeEnum::TypeCast(e)) => one(&e.arg),
            Some(NodeEnum::CollateClause(e)) => one(&e.arg),
            Some(NodeEnum::AExpr(e)) => one(&e.lexpr) && one(&e.rexpr),
            Some(NodeEnum::AArrayExpr(e)) => all(&e.elements),
            Some(NodeEnum::RowExpr(e)) => all(&e.args),
            Some(NodeEnum::List(e)) => all(&e.items),
            Some(NodeEnum::CoalesceExpr(e)) => all(&e.args),
            Some(NodeEnum::MinMaxExpr(e)) => all(&e.args),
            Some(NodeEnum::FuncCall(e)) => all(&e.args),
            Some(NodeEnum::SubLink(link)) => {
                let kind = link.sub_link_type();
                let Some(NodeEnum::SelectStmt(select)) =
                    link.subselect.as_deref().and_then(|node| node.node.as_ref())
                else {
                    return false;
                };
                matches!(kind, pg::SubLinkType::ExprSublink | pg::SubLinkType::ArraySublink)
                    && self
                        .queries
                        .get(&address(select))
                        .is_some_and(|facts| facts.origin.is_apart(self.family))
            }
            Some(_) | None => false,
        }
    }
}

/// The items of a row.
fn row(node: &pg::Node) -> Option<&[pg::Node]> {
    match &node.node {
        Some(NodeEnum::RowExpr(e)) => Some(&e.args),
        Some(_) | None => None,
    }
}

fn operator_of(e: &pg::AExpr) -> &str {
    e.name.last().and_then(string).unwrap_or_default()
}

/// Whether an expression is the constant NULL, of whatever type.
pub(crate) fn is_null(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(value)) => value.isnull,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_null),
        Some(_) | None => false,
    }
}

/// The tested expression, and which answer it must have.
fn boolean_test(e: &pg::BooleanTest) -> Option<(&pg::Node, bool)> {
    let wanted = match e.booltesttype() {
        pg::BoolTestType::IsTrue | pg::BoolTestType::IsNotFalse => true,
        pg::BoolTestType::IsFalse | pg::BoolTestType::IsNotTrue => false,
        pg::BoolTestType::IsUnknown
        | pg::BoolTestType::IsNotUnknown
        | pg::BoolTestType::Undefined => return None,
    };
    Some((e.arg.as_deref()?, wanted))
}

/// Whether a list holds every value of a boolean.
fn both_booleans(items: &[pg::Node]) -> bool {
    let has = |word: &str| items.iter().any(|item| constant(item).as_deref() == Some(word));
    (has("true") || has("t")) && (has("false") || has("f"))
}

/// Whether a query's own clauses cannot empty it on purpose: what is not in an empty result is
/// everything.
fn is_plain(select: &pg::SelectStmt) -> bool {
    fn looks_at_rows(node: &pg::Node) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) if e.boolop() == pg::BoolExprType::AndExpr => {
                e.args.iter().all(looks_at_rows)
            }
            Some(NodeEnum::AExpr(e)) => {
                let is_column = |node: &Option<Box<pg::Node>>| {
                    node.as_deref().is_some_and(|n| matches!(n.node, Some(NodeEnum::ColumnRef(_))))
                };
                is_column(&e.lexpr) || is_column(&e.rexpr)
            }
            Some(NodeEnum::NullTest(_) | NodeEnum::ColumnRef(_) | NodeEnum::SubLink(_)) => true,
            Some(NodeEnum::BoolExpr(e)) => e.args.iter().all(looks_at_rows),
            Some(_) | None => false,
        }
    }
    select.larg.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.having_clause.is_none()
        && select.where_clause.as_deref().is_none_or(looks_at_rows)
}
