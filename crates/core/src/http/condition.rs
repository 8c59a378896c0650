//! Conditions on a request's parameters and headers.

use std::{fmt, str::FromStr, sync::Arc};

use crate::pattern::glob;

/// Longest name or pattern, in bytes.
const MAX_TEXT: usize = 1024;

/// A condition that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// It is about nothing.
    #[error("a condition needs a name")]
    Name,
    /// It lists no values.
    #[error("the condition on `{0}` lists no values: write `*` for any")]
    Values(String),
    /// A name or a pattern is too long.
    #[error("a condition with a text of more than {MAX_TEXT} bytes is too long")]
    TooLong,
}

/// A pattern for a value: `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValuePattern(Arc<str>);

impl ValuePattern {
    /// Whether a value fits.
    pub fn matches(&self, value: &str) -> bool {
        glob(self.0.as_bytes(), value.as_bytes())
    }

    /// The same for who does not look at case.
    pub(super) fn matches_without_case(&self, value: &str) -> bool {
        let fold = |text: &str| text.to_uppercase().to_lowercase();
        glob(fold(&self.0).as_bytes(), fold(value).as_bytes())
    }
}

impl FromStr for ValuePattern {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_TEXT { Err(InvalidCondition::TooLong) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Display for ValuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a rule wants of one parameter or header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    name: Arc<str>,
    /// `None`: it must not be there.
    values: Option<Arc<[ValuePattern]>>,
}

impl Condition {
    /// The parameter or header must not be there.
    pub fn absent(name: &str) -> Result<Self, InvalidCondition> {
        Self::named(name, None)
    }

    /// It must be there with one of these values.
    pub fn one_of(
        name: &str,
        values: impl IntoIterator<Item = ValuePattern>,
    ) -> Result<Self, InvalidCondition> {
        let values: Arc<[ValuePattern]> = values.into_iter().collect();
        if values.is_empty() {
            return Err(InvalidCondition::Values(name.to_owned()));
        }
        Self::named(name, Some(values))
    }

    fn named(name: &str, values: Option<Arc<[ValuePattern]>>) -> Result<Self, InvalidCondition> {
        match name.len() {
            0 => Err(InvalidCondition::Name),
            1..=MAX_TEXT => Ok(Self { name: name.into(), values }),
            _ => Err(InvalidCondition::TooLong),
        }
    }

    /// What it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it holds for the values that are there. A server takes the first of several, the last, or all: so all must fit.
    pub fn holds<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> bool {
        let mut values = values.into_iter().peekable();
        match &self.values {
            None => values.peek().is_none(),
            Some(patterns) => {
                let fits = |value: &str| patterns.iter().any(|pattern| pattern.matches(value));
                values.peek().is_some() && values.all(fits)
            }
        }
    }

    /// Whether it holds for one of the values that are there, which may be the one that a server takes.
    pub fn may_hold<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> bool {
        let mut values = values.into_iter();
        match &self.values {
            None => values.next().is_none(),
            Some(patterns) => {
                values.any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn all_values_must_fit_and_one_may() {
        let patterns = ["open", "re*"].map(|text| text.parse().unwrap());
        let listed = Condition::one_of("state", patterns).unwrap();
        let absent = Condition::absent("force").unwrap();
        let cases: [(&Condition, &[&str], bool, bool); 8] = [
            (&listed, &["open"], true, true),
            (&listed, &["reopened"], true, true),
            (&listed, &["open", "reopened"], true, true),
            (&listed, &["open", "closed"], false, true),
            (&listed, &["OPEN"], false, false),
            (&listed, &[], false, false),
            (&absent, &[], true, true),
            (&absent, &[""], false, false),
        ];
        for (condition, values, holds, may) in cases {
            assert_eq!(condition.holds(values.iter().copied()), holds, "{condition:?} {values:?}");
            assert_eq!(condition.may_hold(values.iter().copied()), may, "{condition:?} {values:?}");
        }
    }

    #[test]
    fn a_condition_on_nothing_is_refused() {
        assert!(Condition::absent("").is_err());
        assert!(Condition::one_of("a", []).is_err());
        assert!(Condition::absent(&"a".repeat(MAX_TEXT + 1)).is_err());
        assert!("*".repeat(MAX_TEXT + 1).parse::<ValuePattern>().is_err());
    }
}
