//! YAML documents with positions, and problems that say what, where and what to do.
//!
//! A file is parsed once into [`Node`]s and from there into types. Readers do not stop at the
//! first problem: they note it and go on, so that a person sees all of them at once. Anchors,
//! aliases, tags, several documents in one file and repeated keys are refused: each of them makes a
//! file mean something other than what a reviewer sees.
//!
//! (`serde_yaml` gives a position for the first error only, so it serves where guard writes YAML.)

use std::{cell::Cell, collections::HashSet, fmt, path::Path};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A file larger than this is refused before it is parsed, in bytes.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Nesting deeper than this is refused.
const MAX_DEPTH: usize = 32;

/// A place in a file, both counted from 1; columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the reader named it.
    pub file: String,
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.at.line, self.at.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, over all files that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Notes a problem.
    pub fn add(&mut self, file: &str, at: Position, message: impl Into<String>) {
        self.list.push(Problem { file: file.to_owned(), at, message: message.into(), help: None });
    }

    /// Notes a problem with what to do about it.
    pub fn add_with_help(
        &mut self,
        file: &str,
        at: Position,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.list.push(Problem {
            file: file.to_owned(),
            at,
            message: message.into(),
            help: Some(help.into()),
        });
    }

    /// `Ok(value)` if nothing is wrong.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            Some(_) => Err(self),
            None => {
                debug_assert!(!self.is_empty(), "a reader gave up without saying why");
                Err(self)
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    file: std::sync::Arc<str>,
    at: Position,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// Reads a file and parses it. Notes what is wrong and returns `None` then.
pub fn read(path: &Path, problems: &mut Problems) -> Option<Node> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text, problems),
        Err(error) => {
            problems.add(&name, Position::START, format!("cannot be read: {error}"));
            None
        }
    }
}

/// Parses one document. Notes what is wrong and returns `None` then.
pub fn parse(file: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > MAX_DOCUMENT {
        problems.add(
            file,
            Position::START,
            format!("is {} bytes long; at most {MAX_DOCUMENT} are read", text.len()),
        );
        return None;
    }
    let mut reader = Reader { file: file.into(), events: Parser::new_from_str(text), problems };
    reader.document()
}

struct Reader<'a> {
    file: std::sync::Arc<str>,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Position)> {
        match self.events.next_event()? {
            Ok((event, span)) => Some((event, position(span))),
            Err(error) => {
                let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
                self.problems.add(&self.file, at, format!("is not YAML: {}", error.info()));
                None
            }
        }
    }

    fn refuse(&mut self, at: Position, message: &str) -> Option<Node> {
        self.problems.add(&self.file, at, message);
        None
    }

    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        while let Some((event, at)) = self.next() {
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return self.refuse(at, "a second document in one file is not read");
                }
                Event::DocumentStart(_) => {
                    let (event, at) = self.next()?;
                    root = Some(self.node(event, at, 0)?);
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => return self.refuse(at, "is not one YAML document"),
            }
        }
        if root.is_none() && self.problems.is_empty() {
            return self.refuse(Position::START, "is empty");
        }
        root.filter(|_| self.problems.iter().all(|p| p.file != *self.file))
    }

    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return self.refuse(at, "is nested too deep");
        }
        let value = match event {
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return self
                    .refuse(at, "anchors are not read: write the value out where it is used");
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => return self.refuse(at, "tags are not read"),
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        break Value::Sequence(items);
                    }
                    items.push(self.node(event, at, depth + 1)?);
                }
            }
            Event::MappingStart(..) => {
                let mut entries: Vec<(Node, Node)> = Vec::new();
                let mut keys = HashSet::new();
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::MappingEnd {
                        break Value::Mapping(entries);
                    }
                    let key = self.node(event, at, depth + 1)?;
                    let Value::Scalar { text, .. } = &key.value else {
                        return self.refuse(at, "a key is a word");
                    };
                    if !keys.insert(text.clone()) {
                        self.problems.add(&self.file, at, format!("`{text}` stands here twice"));
                    }
                    let (event, at) = self.next()?;
                    entries.push((key, self.node(event, at, depth + 1)?));
                }
            }
            Event::Alias(_) => {
                return self
                    .refuse(at, "aliases are not read: write the value out where it is used");
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return self.refuse(at, "is not one YAML document"),
        };
        Some(Node { file: self.file.clone(), at, value })
    }
}

fn position(span: Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    fn problems_of(text: &str) -> String {
        let mut problems = Problems::new();
        let node = parse("f.yaml", text, &mut problems);
        assert_eq!(node.is_none(), !problems.is_empty(), "{problems}");
        problems.to_string()
    }

    #[test]
    fn reads_fields_with_their_places() {
        let mut problems = Problems::new();
        let node = parse("f.yaml", "a: 1\nb: [x, y]\nc: 45m\n", &mut problems).expect("parses");
        let fields = node.fields(&mut problems).unwrap();
        assert_eq!(fields.required("a", &mut problems).unwrap().number(&mut problems), Some(1));
        let list = fields.required("b", &mut problems).unwrap();
        assert_eq!(list.at(), Position { line: 2, column: 4 });
        assert_eq!(list.list(&mut problems).unwrap().len(), 2);
        fields.finish(&["a", "b"], &mut problems);
        assert_eq!(
            problems.to_string(),
            "f.yaml:3:1: `c` is not known here\n  help: known are `a`, `b`"
        );
    }

    #[test]
    fn refuses_what_makes_a_file_mean_something_else() {
        assert!(problems_of("a: 1\na: 2\n").contains("f.yaml:2:1: `a` stands here twice"));
        assert!(problems_of("a: &x 1\nb: *x\n").contains("anchors are not read"));
        assert!(problems_of("a: !!str 1\n").contains("tags are not read"));
        assert!(problems_of("a: 1\n---\nb: 2\n").contains("a second document"));
        assert!(problems_of("").contains("is empty"));
        assert!(problems_of("a: [1\n").contains("is not YAML"));
        assert!(problems_of(&"[".repeat(100)).contains("nested too deep"));
    }

    #[test]
    fn an_empty_list_is_never_all() {
        let mut problems = Problems::new();
        let node = parse("f.yaml", "[]", &mut problems).unwrap();
        assert!(node.list(&mut problems).is_none());
        assert!(problems.to_string().contains("the list is empty"));
    }
}
