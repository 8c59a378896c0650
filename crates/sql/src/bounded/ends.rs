//! Comparisons that say nothing: with the end of a range, or with what no condition needs to be
//! computed for.

use pg_query::{NodeEnum, protobuf as pg};

use crate::nodes::{constant, dotted, operator_of};

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// Is a value, or one of some.
    Is,
    /// Is not.
    Not,
    Above,
    From,
    Below,
    UpTo,
    Like,
    NotLike,
    /// Matches a regular expression.
    Matches,
    NotMatches,
    Null,
    NotNull,
}

impl Test {
    /// The test of an operator, or of its negation.
    pub(super) fn of(operator: &str, negated: bool) -> Option<Self> {
        let test = match operator {
            "=" => Self::Is,
            "<>" | "!=" => Self::Not,
            ">" => Self::Above,
            ">=" => Self::From,
            "<" => Self::Below,
            "<=" => Self::UpTo,
            "~" | "~*" => Self::Matches,
            "!~" | "!~*" => Self::NotMatches,
            "~~" | "~~*" | "@>" | "<@" | "&&" | "?" | "?|" | "?&" | "@@" | "<<" | ">>" | "<<="
            | ">>=" | "^@" => Self::Like,
            "!~~" | "!~~*" => Self::NotLike,
            _ => return None,
        };
        Some(if negated { test.negated() } else { test })
    }

    const fn negated(self) -> Self {
        match self {
            Self::Is => Self::Not,
            Self::Not => Self::Is,
            Self::Above => Self::UpTo,
            Self::From => Self::Below,
            Self::Below => Self::From,
            Self::UpTo => Self::Above,
            Self::Like => Self::NotLike,
            Self::NotLike => Self::Like,
            Self::Matches => Self::NotMatches,
            Self::NotMatches => Self::Matches,
            Self::Null => Self::NotNull,
            Self::NotNull => Self::Null,
        }
    }

    /// The same with its sides exchanged.
    pub(super) const fn turned(self) -> Self {
        match self {
            Self::Above => Self::Below,
            Self::From => Self::UpTo,
            Self::Below => Self::Above,
            Self::UpTo => Self::From,
            Self::Is
            | Self::Not
            | Self::Like
            | Self::NotLike
            | Self::Matches
            | Self::NotMatches
            | Self::Null
            | Self::NotNull => self,
        }
    }
}

/// A comparison of a column, for the arms of an OR.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    pub(super) column: String,
    pub(super) test: Test,
    pub(super) value: Option<String>,
}

/// Numbers from here on end a range: the largest that the usual key has.
const HIGHEST: f64 = 2_147_483_647.0;

/// How texts of moments begin before which, or after which, nothing is stored.
const EARLIEST: [&str; 5] = ["0001-", "1000-", "1900-01-01", "1970-01-01", "epoch"];
const LATEST: [&str; 4] = ["9999-", "3000-", "294276-", "5874897-"];

/// Whether a comparison with a value is true of all that a column usually holds: all numbers that a key
/// counts from 1, all texts, all moments up to now.
pub(super) fn says_nothing(test: Test, value: &pg::Node) -> bool {
    let text = constant(value);
    let text = text.as_deref().map(str::trim);
    let starts = |ends: &[&str]| text.is_some_and(|t| ends.iter().any(|end| t.starts_with(end)));
    let unlimited = matches!(text, Some("infinity" | "-infinity" | "NaN"));
    let number = number(value);
    match test {
        Test::Is => false,
        Test::Not => {
            number.is_some_and(|n| n <= 0.0) || text == Some("") || unlimited || is_computed(value)
        }
        Test::Above => {
            number.is_some_and(|n| n <= 0.0)
                || text.is_some_and(is_low)
                || unlimited
                || starts(&EARLIEST)
                || is_computed(value)
        }
        Test::From => {
            number.is_some_and(|n| n <= 1.0)
                || text.is_some_and(is_low)
                || unlimited
                || starts(&EARLIEST)
                || is_computed(value)
        }
        Test::Below | Test::UpTo => {
            number.is_some_and(|n| n >= HIGHEST)
                || text.is_some_and(is_high)
                || matches!(text, Some("now" | "today" | "tomorrow"))
                || unlimited
                || starts(&LATEST)
                || is_now_or_later(value)
                || is_computed(value)
        }
        Test::Like | Test::NotLike => matches_all(value),
        Test::Matches | Test::NotMatches => matches_any_text(value),
        Test::Null | Test::NotNull => false,
    }
}

/// Whether a pattern, an array or a document is one that everything matches.
fn matches_all(value: &pg::Node) -> bool {
    match &value.node {
        Some(NodeEnum::FuncCall(call)) => call.args.first().is_none_or(matches_all),
        Some(NodeEnum::AArrayExpr(e)) => e.elements.is_empty(),
        Some(NodeEnum::TypeCast(e)) => e.arg.as_deref().is_none_or(matches_all),
        Some(_) | None => {
            let Some(text) = constant(value) else { return is_computed(value) };
            // Of a regular expression: what it repeats or offers may be nothing.
            let plain = text.trim_start_matches('^').trim_end_matches('$');
            let plain = plain.replace(".*", "").replace(".+", "");
            let is_open = plain.contains(['*', '?', '{', '|', '(', '['])
                && !plain.starts_with('{')
                && !plain.starts_with('[');
            is_open || !plain.contains(|c: char| c.is_alphanumeric())
        }
    }
}

/// Whether a text stands before all others: nothing in it is a letter or a digit.
fn is_low(text: &str) -> bool {
    !text.contains(char::is_alphanumeric)
}

/// Whether a text stands behind all others.
fn is_high(text: &str) -> bool {
    text.starts_with(|c: char| c > 'z')
        || (!text.is_empty() && text.chars().all(|c| matches!(c, 'z' | 'Z')))
}

/// Whether a regular expression is one that every text may match: there is no letter and no digit that must be in it.
/// Classes, escapes and what is offered or repeated do not count.
fn matches_any_text(value: &pg::Node) -> bool {
    match &value.node {
        // `SIMILAR TO`
        Some(NodeEnum::FuncCall(call)) => call.args.first().is_none_or(matches_any_text),
        Some(NodeEnum::TypeCast(e)) => e.arg.as_deref().is_none_or(matches_any_text),
        Some(_) | None => {
            let Some(text) = constant(value) else { return is_computed(value) };
            let mut rest = text.chars().peekable();
            let mut must = false;
            while let Some(c) = rest.next() {
                match c {
                    '|' | '(' => return true,
                    '\\' => {
                        let _escaped = rest.next();
                    }
                    '[' => {
                        // A bracket at the start stands for itself, also behind `^`.
                        let _not = rest.next_if_eq(&'^');
                        let _first = rest.next();
                        while rest.next().is_some_and(|c| c != ']') {}
                    }
                    '{' => while rest.next().is_some_and(|c| c != '}') {},
                    c if c.is_alphanumeric() => {
                        must |= !rest.peek().is_some_and(|next| matches!(next, '*' | '?' | '{'));
                    }
                    _ => {}
                }
            }
            !must
        }
    }
}

/// A value that is computed of constants alone, other than a moment.
fn is_computed(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_none_or(is_computed),
        Some(NodeEnum::AExpr(_) | NodeEnum::FuncCall(_) | NodeEnum::CoalesceExpr(_)) => {
            !has_moment(node)
        }
        Some(_) | None => false,
    }
}

/// Whether an expression has a part that is not a constant: a moment, a parameter, another row.
fn has_moment(node: &pg::Node) -> bool {
    let one = |node: &Option<Box<pg::Node>>| node.as_deref().is_some_and(has_moment);
    match &node.node {
        Some(
            NodeEnum::ParamRef(_)
            | NodeEnum::ColumnRef(_)
            | NodeEnum::SubLink(_)
            | NodeEnum::SqlvalueFunction(_),
        ) => true,
        Some(NodeEnum::AExpr(e)) => one(&e.lexpr) || one(&e.rexpr),
        Some(NodeEnum::TypeCast(e)) => {
            let to = e.type_name.as_ref().map(|to| dotted(&to.names).1).unwrap_or_default();
            one(&e.arg) || matches!(to, "date" | "timestamp" | "timestamptz")
        }
        Some(NodeEnum::CoalesceExpr(e)) => e.args.iter().any(has_moment),
        Some(NodeEnum::FuncCall(e)) => {
            is_clock(node)
                || matches!(
                    dotted(&e.funcname).1,
                    "to_timestamp"
                        | "to_date"
                        | "make_date"
                        | "make_timestamp"
                        | "make_timestamptz"
                )
                || e.args.iter().any(has_moment)
        }
        Some(_) | None => false,
    }
}

/// The present moment or a later one: everything that was stored lies before it.
pub(super) fn is_now_or_later(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::SqlvalueFunction(_)) => true,
        Some(NodeEnum::FuncCall(call)) => is_clock(node) || call.args.iter().any(is_now_or_later),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_now_or_later),
        Some(NodeEnum::AExpr(e)) => {
            let now = |node: &Option<Box<pg::Node>>| node.as_deref().is_some_and(is_now_or_later);
            let back = operator_of(e) == "-" && e.rexpr.as_deref().is_some_and(|by| !is_zero(by));
            (now(&e.lexpr) && !back) || now(&e.rexpr)
        }
        Some(_) | None => false,
    }
}

fn is_clock(node: &pg::Node) -> bool {
    let Some(NodeEnum::FuncCall(call)) = &node.node else { return false };
    matches!(
        dotted(&call.funcname).1,
        "now" | "clock_timestamp" | "statement_timestamp" | "transaction_timestamp" | "timeofday"
    )
}

/// Whether an amount is nothing, or less, or not known to be more.
pub(super) fn is_zero(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::ParamRef(_)) => false,
        Some(NodeEnum::AExpr(e)) => {
            let zero = |node: &Option<Box<pg::Node>>| node.as_deref().is_some_and(is_zero);
            zero(&e.lexpr) || zero(&e.rexpr) || e.lexpr.is_none()
        }
        Some(NodeEnum::FuncCall(call)) => {
            call.args.is_empty() && !is_clock(node) || call.args.iter().any(is_zero)
        }
        Some(NodeEnum::NamedArgExpr(e)) => e.arg.as_deref().is_none_or(is_zero),
        Some(NodeEnum::TypeCast(e)) => e.arg.as_deref().is_none_or(is_zero),
        Some(NodeEnum::AConst(_)) => constant(node).is_none_or(|text| {
            let text = text.trim();
            // `' days'` stands behind a number that is joined to it.
            let has_digit = text.contains(|c: char| c.is_ascii_digit());
            text.starts_with('-')
                || (has_digit && !text.contains(|c: char| ('1'..='9').contains(&c)))
        }),
        Some(_) | None => false,
    }
}

/// The number that a constant is.
pub(super) fn number(node: &pg::Node) -> Option<f64> {
    match &node.node {
        Some(NodeEnum::AExpr(e)) if e.lexpr.is_none() => {
            let inner = number(e.rexpr.as_deref()?)?;
            match operator_of(e) {
                "-" => Some(-inner),
                "+" => Some(inner),
                _ => None,
            }
        }
        Some(_) | None => constant(node)?.trim().parse().ok(),
    }
}

/// Whether the arms of an OR look at a column from opposite sides, so that together they may be true
/// of every row.
pub(super) fn exhaustive(arms: &[Vec<Compared>]) -> bool {
    let pairs = arms.iter().enumerate().flat_map(|(at, arm)| {
        arms.iter()
            .skip(at + 1)
            .flat_map(move |other| arm.iter().flat_map(move |a| other.iter().map(move |b| (a, b))))
    });
    pairs.into_iter().any(|(a, b)| a.column == b.column && (opposite(a, b) || opposite(b, a)))
}

fn opposite(a: &Compared, b: &Compared) -> bool {
    match (a.test, b.test) {
        (Test::NotNull, _) => true,
        (Test::Not | Test::NotLike | Test::NotMatches, Test::Null) => false,
        (Test::Not | Test::NotLike | Test::NotMatches, _) => true,
        (Test::Above | Test::From, Test::Below | Test::UpTo) => !is_gap(b, a),
        (Test::Is, Test::Is) => {
            let word =
                |c: &Compared, letter| c.value.as_deref().is_some_and(|v| v.starts_with(letter));
            let boolean =
                |c: &Compared| matches!(c.value.as_deref(), Some("true" | "false" | "t" | "f"));
            boolean(a) && boolean(b) && word(a, 't') && word(b, 'f')
        }
        (
            Test::Is
            | Test::Above
            | Test::From
            | Test::Below
            | Test::UpTo
            | Test::Like
            | Test::Matches
            | Test::Null,
            _,
        ) => false,
    }
}

/// Whether something lies between what is below one constant and above another.
fn is_gap(below: &Compared, above: &Compared) -> bool {
    let (Some(low), Some(high)) = (&below.value, &above.value) else { return false };
    match (low.parse::<f64>(), high.parse::<f64>()) {
        (Ok(low), Ok(high)) => low < high,
        // Days in the order of their texts.
        _ => low.len() == high.len() && low.starts_with(|c: char| c.is_ascii_digit()) && low < high,
    }
}
