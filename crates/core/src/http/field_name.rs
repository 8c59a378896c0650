//! Names of masked headers, cookies and fields of forms.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest name, in bytes.
const MAX_NAME: usize = 256;

/// A name that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a name: write one of at most {MAX_NAME} characters as the API has it, or `*` for all", .0.escape_debug())]
pub struct InvalidFieldName(String);

/// A name, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldName(Option<Arc<str>>);

impl FieldName {
    /// The name; `None` is all of them.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether it could be the name of a header or of a cookie (RFC 9110, section 5.6.2).
    pub fn is_token(&self) -> bool {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        self.name().is_none_or(|name| name.bytes().all(inside))
    }
}

impl FromStr for FieldName {
    type Err = InvalidFieldName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self(None));
        }
        let is_right = (1..=MAX_NAME).contains(&text.len())
            && !text.chars().any(char::is_control)
            && text.trim() == text;
        if is_right {
            Ok(Self(Some(text.into())))
        } else {
            Err(InvalidFieldName(text.chars().take(MAX_NAME).collect()))
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for (text, is_token) in
            [("*", true), ("X-Email", true), ("user[email]", false), ("é", false)]
        {
            let name: FieldName = text.parse().unwrap();
            assert_eq!((name.to_string().as_str(), name.is_token()), (text, is_token));
        }
        let long = "a".repeat(MAX_NAME + 1);
        for text in ["", " a", "a ", "a\nb", "\u{1b}", &long] {
            assert!(text.parse::<FieldName>().is_err(), "{text:?}");
        }
    }
}
