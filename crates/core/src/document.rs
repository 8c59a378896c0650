//! YAML documents with positions, and problems that say what, where and what to do.
//!
//! A file is parsed once into [`Node`]s and from there into types. Readers do not stop at the
//! first problem: they note it and go on, so that a person sees all of them at once. Anchors,
//! aliases, tags, several documents in one file and repeated keys are refused: each of them makes a
//! file mean something other than what a reviewer sees.
//!
//! (`serde_yaml` gives a position for the first error only, so it serves where guard writes YAML.)

mod node;
mod problem;

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use self::node::Value;
pub use self::{
    node::{Fields, Node},
    problem::{Position, Problem, Problems},
};

/// A file larger than this is refused before it is parsed, in bytes.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Nesting deeper than this is refused.
const MAX_DEPTH: usize = 32;

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
