//! What guard said of statements, as it stands in the record.

use std::{collections::HashMap, fmt};

use serde_json::Value;

/// Verbs that change an object.
const WRITES: [&str; 8] =
    ["insert", "update", "delete", "truncate", "create", "alter", "drop", "maintain"];

/// Sequences, and the tables to whose columns they belong: a row takes a number without a word.
const OWNED: [(&str, &str); 3] =
    [("child_id_seq", "child"), ("made_id_seq", "made"), ("numbers", "made")];

/// What was said of one case: the statements between BEGIN and ROLLBACK.
#[derive(Default)]
pub(crate) struct Said {
    /// Verb and name of the object.
    effects: Vec<(String, String)>,
    unsure: bool,
}

impl Said {
    /// One for each transaction of a record.
    pub(crate) fn read(record: &str) -> Vec<Self> {
        let mut operations: HashMap<u64, Value> = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for line in record.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let event = &line["event"];
            let number = event["operation"].as_u64();
            match (event["type"].as_str(), number) {
                (Some("operation"), Some(number)) => {
                    operations.insert(number, event.clone());
                }
                (Some("statement"), Some(number)) => {
                    let operation = &operations[&number];
                    let text = operation["text"].as_str().unwrap();
                    if text == "BEGIN" {
                        all.push(Self::default());
                    } else if !text.contains("/*probe*/")
                        && let Some(said) = all.last_mut()
                    {
                        said.add(operation);
                    }
                }
                _ => {}
            }
        }
        all
    }

    fn add(&mut self, operation: &Value) {
        self.unsure |= operation["certainty"]["level"] != "exact";
        for effect in operation["effects"].as_array().unwrap() {
            let verb = effect["verb"].as_str().unwrap();
            let name = effect["object"]["name"]["name"].as_str().unwrap_or_default();
            self.effects.push((verb.to_owned(), name.to_owned()));
        }
    }

    /// Whether there may be more than was said.
    pub(crate) const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Whether it was said that a relation is read, or written, which looks at it.
    pub(crate) fn reads(&self, relation: &str) -> bool {
        let looks = |verb: &str| verb == "read" || WRITES.contains(&verb);
        self.effects.iter().any(|(verb, name)| looks(verb) && name == relation)
    }

    /// Whether it was said that a relation is written.
    pub(crate) fn has(&self, relation: &str) -> bool {
        let owner =
            OWNED.iter().find(|(sequence, _)| *sequence == relation).map(|(_, table)| *table);
        let is_it = |name: &str| name == relation || Some(name) == owner;
        self.effects.iter().any(|(verb, name)| WRITES.contains(&&**verb) && is_it(name))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effects: Vec<String> =
            self.effects.iter().map(|(verb, name)| format!("{verb} {name}")).collect();
        write!(f, "said: {}", effects.join(", "))
    }
}
