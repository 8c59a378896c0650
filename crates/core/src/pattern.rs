//! Patterns for names of tables and columns, as policies write them.
//!
//! A pattern has one part for each part of the name, joined by dots. In a part, `*` stands for any run of
//! characters; it never crosses a dot, since parts are matched one by one. A part in double quotes is taken
//! as it is (`"Odd.Name"`). A server folds unquoted names to lower case, so an unquoted part with a capital
//! letter could never match what its writer meant and is refused.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{ColumnName, ObjectName};

/// PostgreSQL cuts longer names (`NAMEDATALEN` - 1), so a longer part could match nothing.
const MAX_NAME: usize = 63;

/// A pattern that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It has too few or too many parts.
    #[error("`{text}` has {found} parts, but {form} is expected")]
    Parts {
        /// What was given.
        text: String,
        /// How many parts it has.
        found: usize,
        /// The form that is expected.
        form: &'static str,
    },
    /// A part is empty.
    #[error("`{0}` has an empty part")]
    Empty(String),
    /// A part is longer than any name.
    #[error("`{0}` has a part of more than {MAX_NAME} bytes, which no name has")]
    TooLong(String),
    /// A part holds a character that must be quoted.
    #[error(
        "`{text}` holds `{character}`: names are folded to lower case unless quoted; write lower case, or quote the part as in SQL"
    )]
    Character {
        /// What was given.
        text: String,
        /// The character.
        character: char,
    },
    /// A quote is not closed, or something stands beside it.
    #[error("`{0}` is quoted in a way that cannot be read")]
    Quote(String),
}

/// A pattern for one part of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamePattern {
    text: Arc<str>,
    quoted: bool,
}

impl NamePattern {
    /// Matches every name.
    pub fn any() -> Self {
        Self { text: "*".into(), quoted: false }
    }

    /// Whether it matches every name.
    pub fn is_any(&self) -> bool {
        !self.quoted && self.text.bytes().all(|byte| byte == b'*')
    }

    /// The one name that it matches, if it is one.
    pub fn exact(&self) -> Option<&str> {
        (self.quoted || !self.text.contains('*')).then_some(&*self.text)
    }

    /// Whether a name fits.
    pub fn matches(&self, name: &str) -> bool {
        if self.quoted { *self.text == *name } else { glob(self.text.as_bytes(), name.as_bytes()) }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quoted {
            write!(f, "\"{}\"", self.text.replace('"', "\"\""))
        } else {
            f.write_str(&self.text)
        }
    }
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let [name] = parts(text, "a single name")?;
        Ok(name)
    }
}

/// A pattern for a table or another object in a schema: `schema.name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TablePattern {
    /// The schema.
    pub schema: NamePattern,
    /// The name.
    pub name: NamePattern,
}

impl TablePattern {
    /// Whether a name fits. A name without a schema never does.
    pub fn matches(&self, name: &ObjectName) -> bool {
        name.schema.as_deref().is_some_and(|schema| self.matches_parts(schema, &name.name))
    }

    /// Whether a name could fit: one without a schema is looked at without it.
    pub fn may_match(&self, name: &ObjectName) -> bool {
        name.schema.as_deref().is_none_or(|schema| self.schema.matches(schema))
            && self.name.matches(&name.name)
    }

    /// Whether a schema and a name fit.
    pub fn matches_parts(&self, schema: &str, name: &str) -> bool {
        self.schema.matches(schema) && self.name.matches(name)
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl FromStr for TablePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let [schema, name] = parts(text, "`schema.table`")?;
        Ok(Self { schema, name })
    }
}

/// A pattern for a column of a table: `schema.table.column`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnPattern {
    /// The table.
    pub table: TablePattern,
    /// The column.
    pub column: NamePattern,
}

impl ColumnPattern {
    /// Whether a column fits. A column of a table without a schema never does.
    pub fn matches(&self, name: &ColumnName) -> bool {
        self.table.matches(&name.table) && self.column.matches(&name.column)
    }
}

impl fmt::Display for ColumnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

impl FromStr for ColumnPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let [schema, name, column] = parts(text, "`schema.table.column`")?;
        Ok(Self { table: TablePattern { schema, name }, column })
    }
}

// === reading ===

fn parts<const N: usize>(
    text: &str,
    form: &'static str,
) -> Result<[NamePattern; N], InvalidPattern> {
    let found = split(text)?;
    let count = found.len();
    found.try_into().map_err(|_| InvalidPattern::Parts {
        text: text.to_owned(),
        found: count,
        form,
    })
}

fn split(text: &str) -> Result<Vec<NamePattern>, InvalidPattern> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        let mut part = String::new();
        let quoted = rest.next_if_eq(&'"').is_some();
        if quoted {
            loop {
                match rest.next() {
                    Some('"') if rest.next_if_eq(&'"').is_some() => part.push('"'),
                    Some('"') => break,
                    Some(character) => part.push(character),
                    None => return Err(InvalidPattern::Quote(text.to_owned())),
                }
            }
        } else {
            while let Some(character) = rest.next_if(|character| *character != '.') {
                if character == '"' {
                    return Err(InvalidPattern::Quote(text.to_owned()));
                }
                if !is_plain(character) {
                    return Err(InvalidPattern::Character { text: text.to_owned(), character });
                }
                part.push(character);
            }
        }
        if part.is_empty() {
            return Err(InvalidPattern::Empty(text.to_owned()));
        }
        if part.len() > MAX_NAME {
            return Err(InvalidPattern::TooLong(text.to_owned()));
        }
        found.push(NamePattern { text: part.into(), quoted });
        match rest.next() {
            None => return Ok(found),
            Some('.') => {}
            Some(_) => return Err(InvalidPattern::Quote(text.to_owned())),
        }
    }
}

fn is_plain(character: char) -> bool {
    matches!(character, '*' | '_' | '$' | '0'..='9')
        || (character.is_alphabetic() && !character.is_uppercase())
}

/// Whether `name` fits `pattern`, in which `*` is any run of bytes. Linear in the product of the lengths,
/// both of which are bounded; bytes are enough since `*` is the only special one and ASCII.
pub(crate) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if name.get(from) == Some(byte) => {
                at += 1;
                from += 1;
            }
            Some(_) | None => {
                let Some((star_at, star_from)) = star else { return false };
                at = star_at + 1;
                from = star_from + 1;
                star = Some((star_at, from));
            }
        }
    }
    pattern.get(at..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_star_stays_in_its_part() {
        for (pattern, name, fits) in [
            ("public.users", ("public", "users"), true),
            ("public.users", ("public", "users2"), false),
            ("public.*", ("public", "users"), true),
            ("public.*", ("public", "a.b"), true),
            ("public.*", ("publicx", "users"), false),
            ("p*c.u*s", ("public", "users"), true),
            ("p*.audit_*", ("public", "audit_2024"), true),
            ("*.users", ("a.b", "users"), true),
            ("*.users", ("a", "b.users"), false),
            ("\"Odd.Name\".t", ("Odd.Name", "t"), true),
            ("\"*\".t", ("public", "t"), false),
            ("public.a*b*c", ("public", "abbbc"), true),
            ("public.a*b*c", ("public", "acb"), false),
        ] {
            let pattern: TablePattern = pattern.parse().unwrap();
            let name = ObjectName::qualified(name.0, name.1);
            assert_eq!(pattern.matches(&name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_without_a_schema_only_may_match() {
        let pattern: TablePattern = "public.users".parse().unwrap();
        assert!(!pattern.matches(&ObjectName::bare("users")));
        assert!(pattern.may_match(&ObjectName::bare("users")));
        assert!(!pattern.may_match(&ObjectName::bare("orders")));
        assert!(!pattern.may_match(&ObjectName::qualified("other", "users")));
        let all: TablePattern = "*.*".parse().unwrap();
        assert!(!all.matches(&ObjectName::bare("users")));
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for text in [
            "users",
            "a.b.c",
            "public.",
            ".users",
            "public.Users",
            "public.us ers",
            "public.\"users",
            "public.\"users\"x",
            "public.us\"ers\"",
            "",
            "public.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(text.parse::<TablePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_is_read() {
        for text in ["public.users.email", "\"A\"\"b\".*.x*", "a.b.\"C.d\""] {
            assert_eq!(text.parse::<ColumnPattern>().unwrap().to_string(), text);
        }
    }
}
