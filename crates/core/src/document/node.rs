//! Values of a document, each with its place, and how types are read from them.

use std::{cell::Cell, fmt, sync::Arc};

use super::problem::{Position, Problems};

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) file: Arc<str>,
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Where it stands.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The file it stands in.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Notes a problem at this place.
    pub fn problem(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(&self.file, self.at, message);
    }

    /// Notes a problem at this place with what to do about it.
    pub fn problem_with_help(
        &self,
        problems: &mut Problems,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        problems.add_with_help(&self.file, self.at, message, help);
    }

    /// Whether it is a single value.
    pub fn is_scalar(&self) -> bool {
        matches!(self.value, Value::Scalar { .. })
    }

    /// Whether it is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::Sequence(_))
    }

    /// Whether it is the unquoted word `null`, for the places where that is a word like others.
    pub fn is_word_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if text == "null")
    }

    /// A text that stands there without quotes.
    pub fn unquoted(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } if is_null(text) => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// A text; numbers and words are taken as they are written. Nothing (`null`, `~`, empty) is a problem.
    pub fn text(&self, problems: &mut Problems) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain } if !(*plain && is_null(text)) => Some(text),
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => {
                self.problem(problems, format!("expected a text, found {}", self.describe()));
                None
            }
        }
    }

    /// `true` or `false`, unquoted.
    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => {
                self.problem(problems, "expected `true` or `false`");
                None
            }
        }
    }

    /// A whole number that is not negative.
    pub fn number(&self, problems: &mut Problems) -> Option<u64> {
        let text = self.text(problems)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.problem(problems, format!("expected a whole number, found `{text}`"));
        }
        number
    }

    /// Anything that has a `FromStr` whose error says what is wrong.
    pub fn parsed<T>(&self, problems: &mut Problems) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(problems)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(problems, error.to_string());
                None
            }
        }
    }

    /// A length of time: a whole number with `s`, `m` or `h`.
    pub fn duration(&self, problems: &mut Problems) -> Option<std::time::Duration> {
        let text = self.text(problems)?;
        let parsed = text
            .char_indices()
            .next_back()
            .and_then(|(at, unit)| Some((text.get(..at)?.parse::<u64>().ok()?, unit)))
            .and_then(|(count, unit)| match unit {
                's' => Some(count),
                'm' => count.checked_mul(60),
                'h' => count.checked_mul(3600),
                _ => None,
            });
        if parsed.is_none() {
            self.problem(problems, format!("expected a length of time like `45m`, found `{text}`"));
        }
        parsed.map(std::time::Duration::from_secs)
    }

    /// An amount of bytes: a whole number with `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`,
    /// `TiB` (powers of 1024).
    pub fn size(&self, problems: &mut Problems) -> Option<u64> {
        const UNITS: [(&str, u64); 9] = [
            ("B", 1),
            ("kB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
        ];
        let text = self.text(problems)?;
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(word, _)| *word == unit).map(|(_, bytes)| *bytes);
        let size =
            count.parse::<u64>().ok().zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
        if size.is_none() {
            let units = UNITS.map(|(word, _)| format!("`{word}`")).join(", ");
            self.problem_with_help(
                problems,
                format!("expected an amount of bytes like `50MB`, found `{text}`"),
                format!("a whole number and one of {units}, without a blank"),
            );
        }
        size
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let text = self.text(problems)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let list: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let help = format!("one of {}", list.join(", "));
            self.problem_with_help(problems, format!("`{text}` is not known here"), help);
        }
        found
    }

    /// The items of a list. An empty list is a problem: it is never "all".
    pub fn list(&self, problems: &mut Problems) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) if items.is_empty() => {
                self.problem_with_help(
                    problems,
                    "the list is empty, which would mean nothing at all",
                    "write what it should hold, `\"*\"` for all where that is possible, or leave it out",
                );
                None
            }
            Value::Sequence(items) => Some(items),
            Value::Scalar { .. } | Value::Mapping(_) => {
                self.problem(problems, format!("expected a list, found {}", self.describe()));
                None
            }
        }
    }

    /// The items of a list, or the one value that stands in its place.
    pub fn one_or_more(&self, problems: &mut Problems) -> Option<&[Node]> {
        if self.is_list() { self.list(problems) } else { Some(std::slice::from_ref(self)) }
    }

    /// The fields of a mapping. Call [`Fields::finish`] when all are read.
    pub fn fields(&self, problems: &mut Problems) -> Option<Fields<'_>> {
        match &self.value {
            Value::Mapping(entries) => {
                let entries = entries.iter().map(|(key, value)| (key, value, Cell::new(false)));
                Some(Fields { node: self, entries: entries.collect() })
            }
            Value::Scalar { .. } | Value::Sequence(_) => {
                self.problem(problems, format!("expected a mapping, found {}", self.describe()));
                None
            }
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The fields of a mapping, some of them read already.
#[derive(Debug)]
pub struct Fields<'a> {
    node: &'a Node,
    entries: Vec<(&'a Node, &'a Node, Cell<bool>)>,
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// A field that may be left out.
    pub fn optional(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find_map(|(key, value, seen)| {
            matches!(&key.value, Value::Scalar { text, .. } if text == name).then(|| {
                seen.set(true);
                *value
            })
        })
    }

    /// A field that must be there.
    pub fn required(&self, name: &str, problems: &mut Problems) -> Option<&'a Node> {
        let field = self.optional(name);
        if field.is_none() {
            self.node.problem(problems, format!("`{name}` is missing"));
        }
        field
    }

    /// Every field with its name, all counted as read: for mappings whose keys are names.
    pub fn all(&self) -> Vec<(&'a str, &'a Node, &'a Node)> {
        let entries = self.entries.iter().filter_map(|(key, value, seen)| {
            seen.set(true);
            match &key.value {
                Value::Scalar { text, .. } => Some((text.as_str(), *key, *value)),
                Value::Sequence(_) | Value::Mapping(_) => None,
            }
        });
        entries.collect()
    }

    /// Notes a problem for every field that nobody read.
    pub fn finish(self, known: &[&str], problems: &mut Problems) {
        for (key, _, seen) in &self.entries {
            let Value::Scalar { text, .. } = &key.value else { continue };
            if !seen.get() && !known.contains(&text.as_str()) {
                let message = format!("`{text}` is not known here");
                let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
                key.problem_with_help(problems, message, format!("known are {}", names.join(", ")));
            }
        }
    }
}
