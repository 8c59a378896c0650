//! Whether a condition really limits the rows that an UPDATE, DELETE or MERGE reaches.
//!
//! The test is positive. A condition counts if it compares a column of the changed table with something
//! that does not come from the same table: a constant, a parameter, a row of another table, or rows of the
//! same table that are themselves limited. Of arms joined by AND one must count, of arms joined by OR each,
//! and no two of them may look at one column from opposite sides. What is not recognised does not
//! count, so a tautology that nobody thought of is unbounded. That a comparison happens to be true of
//! every row that is there cannot be known from the text, but for the ends of a range (see [`ends`]).

mod condition;
mod ends;
mod facts;
#[cfg(test)]
mod tests;
mod values;

use pg_query::{NodeEnum, protobuf as pg};

pub(crate) use self::condition::Condition;
pub(crate) use self::facts::{Facts, Queries, address, is_listed};
use self::{
    condition::{remainder, row},
    ends::{Compared, Test, exhaustive, says_nothing},
};
use crate::nodes::{constant, dotted, is_null, operator_of, selected_by, string};

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
                self.tells(left, test, Some(list.items.len()))
                    && list.items.iter().all(|item| self.is_free(item))
                    && !both_booleans(&list.items)
                    && (test == Test::Is || self.any_tells(test, &list.items))
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
                let is = operator_of(e).starts_with('!') == negated;
                let test = match (e.kind() == Kind::AexprSimilar, is) {
                    (true, true) => Test::Matches,
                    (true, false) => Test::NotMatches,
                    (false, true) => Test::Like,
                    (false, false) => Test::NotLike,
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
                    let between = |low: &pg::Node, high: &pg::Node| {
                        self.one(left, Test::From, low) || self.one(left, Test::UpTo, high)
                    };
                    let symmetric =
                        matches!(e.kind(), Kind::AexprBetweenSym | Kind::AexprNotBetweenSym);
                    self.is_free(low)
                        && self.is_free(high)
                        && between(low, high)
                        && (!symmetric || between(high, low))
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
        self.tells(column, test, None)
            && self.is_free(value)
            && (test == Test::Is || !self.is_beside(value))
            && (moved || !says_nothing(test, value))
            && self.is_one_value(test, value)
    }

    /// `column = ANY (array)`, `column <> ALL (array)`
    fn among(&self, column: &pg::Node, test: Test, array: &pg::Node) -> bool {
        if !self.is_free(array) {
            return false;
        }
        let tells = |count| self.tells(column, test, count);
        match &array.node {
            Some(NodeEnum::TypeCast(e)) if constant(array).is_none() => {
                e.arg.as_deref().is_some_and(|inner| self.among(column, test, inner))
            }
            Some(NodeEnum::AArrayExpr(e)) => {
                !e.elements.is_empty()
                    && tells(Some(e.elements.len()))
                    && !both_booleans(&e.elements)
                    && (test == Test::Is || self.any_tells(test, &e.elements))
            }
            Some(NodeEnum::SubLink(link)) => {
                tells(Some(usize::MAX))
                    && (test == Test::Is
                        || selected_by(link).is_some_and(|s| self.is_data(test, s)))
            }
            Some(_) | None => match constant(array) {
                Some(text) => {
                    let inside = text.trim().trim_matches(|c| c == '{' || c == '}');
                    let words: Vec<&str> = inside.split(',').map(str::trim).collect();
                    let both = ["t", "f"].iter().all(|word| words.contains(word))
                        || ["true", "false"].iter().all(|word| words.contains(word));
                    tells(Some(words.len())) && !both && words.iter().any(|word| !word.is_empty())
                }
                None => tells(Some(usize::MAX)) && self.is_one_value(test, array),
            },
        }
    }

    /// Whether not to be one of these values says something.
    fn any_tells(&self, test: Test, items: &[pg::Node]) -> bool {
        items.iter().any(|item| !says_nothing(test, item) && self.is_one_value(test, item))
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
            Test::Like
            | Test::NotLike
            | Test::Matches
            | Test::NotMatches
            | Test::Null
            | Test::NotNull => false,
        }
    }

    /// Whether a test of a column with this many values tells some rows from others. Every row has a place (`ctid`)
    /// after the first and before the last, and a remainder is one of few.
    fn tells(&self, node: &pg::Node, test: Test, count: Option<usize>) -> bool {
        let columns = self.all_tested(node);
        let is = test == Test::Is;
        let few = match remainder(node) {
            Some(of) => is && count.is_none_or(|count| (count as f64) < of),
            None => true,
        };
        few && !columns.is_empty() && (is || columns.iter().any(|column| column != "ctid"))
    }

    /// `x IN (SELECT …)`, `EXISTS (SELECT …)`
    fn sub_link(&self, link: &pg::SubLink, negated: bool) -> bool {
        let Some(select) = selected_by(link) else { return false };
        let Some(facts) = self.queries.get(&address(select)) else { return false };
        let tested = || link.testexpr.as_deref().is_some_and(|test| self.any_tested(test));
        let operator = link.oper_name.last().and_then(string);
        match link.sub_link_type() {
            pg::SubLinkType::AnySublink => {
                matches!(operator, None | Some("="))
                    && tested()
                    && facts.origin.is_apart(self.family)
                    && (!negated || (is_plain(select) && self.is_data(Test::Not, select)))
            }
            pg::SubLinkType::AllSublink => {
                matches!(operator, Some("<>" | "!="))
                    && tested()
                    && facts.origin.is_apart(self.family)
                    && (negated || (is_plain(select) && self.is_data(Test::Not, select)))
            }
            pg::SubLinkType::ExistsSublink => {
                select.larg.is_none()
                    && facts.origin.is_apart(self.family)
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
                let of_few = remainder(left).is_some() || remainder(right).is_some();
                let test = test.filter(|_| !of_few).unwrap_or(Test::Not);
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
