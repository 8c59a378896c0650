//! What tools of many makers send to a server, kept as they sent it: `fixtures/tools/`, a file a tool.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use guard_core::{Certainty, Outputs};

use super::relation;
use crate::{Catalog, Names, RelationKind, Statement, StatementRole, analyze};

/// What a connection would remember.
#[derive(Default)]
struct Remembered(RefCell<HashMap<Arc<str>, Arc<Statement>>>);

impl Names for Remembered {
    fn prepared(&self, name: &str) -> Vec<Arc<Statement>> {
        self.0.borrow().get(name).cloned().into_iter().collect()
    }
    fn cursor(&self, name: &str) -> Vec<Arc<Statement>> {
        self.prepared(name)
    }
}

/// The relations of every server, and none of a user's.
fn system_catalog() -> Catalog {
    let relations =
        include_str!("../../fixtures/system_relations.txt").lines().enumerate().map(|(n, line)| {
            let mut parts = line.splitn(3, ' ');
            let mut part = || parts.next().unwrap();
            let (name, kind, columns) = (part(), part(), part());
            let kind = if kind == "v" { RelationKind::View } else { RelationKind::Table };
            relation(1000 + u32::try_from(n).unwrap(), name, kind, columns)
        });
    Catalog::new(relations, [])
}

/// The statements of a text, and what a connection remembers of them.
fn read(text: &str, catalog: &Catalog, remembered: &Remembered) -> Vec<Arc<Statement>> {
    let statements = analyze(&text.into(), catalog, remembered);
    for statement in &statements {
        match &statement.role {
            StatementRole::Prepare { name, inner } | StatementRole::Declare { name, inner } => {
                remembered.0.borrow_mut().insert(name.clone(), inner.clone());
            }
            StatementRole::Plain
            | StatementRole::Deallocate(_)
            | StatementRole::Fetch(_)
            | StatementRole::Close(_)
            | StatementRole::CopyOut(_)
            | StatementRole::CopyIn(_)
            | StatementRole::DiscardAll => {}
        }
    }
    statements
}

/// A statement on one line, as far as it takes to know it.
fn head(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(100).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tools")
}

/// The texts of each tool.
pub(crate) fn texts() -> BTreeMap<String, Vec<String>> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| {
            let tool = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (tool, text.split("\n----\n").map(Into::into).collect())
        })
        .collect()
}

/// The review: for each tool how many statements there are, none of them unparsed, which are
/// partial and which show columns whose origin is not known, each with the reason. A line that changes is read by
/// a person.
#[test]
fn what_is_not_understood_of_each_tool_is_reviewed() {
    let catalog = system_catalog();
    let mut review = String::new();
    let mut unparsed = String::new();
    for (tool, texts) in texts() {
        let remembered = Remembered::default();
        let (mut count, mut partial) = (0_u32, String::new());
        for text in texts {
            for statement in read(&text, &catalog, &remembered) {
                let operation = &statement.operation;
                count += 1;
                let text = head(operation.text.reveal());
                match &operation.certainty {
                    Certainty::Exact => {
                        if let Outputs::Unknown(why) = &operation.outputs {
                            writeln!(partial, "  shows {why}: {text}").unwrap();
                        }
                    }
                    Certainty::Partial(why) => writeln!(partial, "  {why}: {text}").unwrap(),
                    Certainty::Unparsed(why) => {
                        writeln!(unparsed, "{tool}: {why}: {text}").unwrap();
                    }
                }
            }
        }
        writeln!(review, "{tool} {count}\n{partial}").unwrap();
    }
    assert!(unparsed.is_empty(), "{unparsed}");
    let golden = folder().join("review.txt");
    if std::env::var_os("GUARD_WRITE_CASES").is_some() {
        fs::write(&golden, &review).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    assert!(
        review == expected,
        "set GUARD_WRITE_CASES=1 and read what changed in `{}`",
        golden.display()
    );
}
