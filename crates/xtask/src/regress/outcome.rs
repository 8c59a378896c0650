//! What a run of the suite says of each test.

use std::{fs, path::Path};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// One run of the suite.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    tests: Vec<Test>,
    /// How long it took.
    pub(super) seconds: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Test {
    name: String,
    ok: bool,
}

impl Outcome {
    /// From what `pg_regress` printed.
    pub(super) fn of(log: &str, seconds: u64) -> Self {
        Self { tests: log.lines().filter_map(test).collect(), seconds }
    }

    /// As it was kept, if it was.
    pub(super) fn read(kept: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(kept.join("outcome.json")) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(_) => Ok(None),
        }
    }

    /// Keeps it.
    pub(super) fn write(&self, kept: &Path) -> Result<()> {
        if self.tests.is_empty() {
            bail!("no test of the suite ran");
        }
        fs::write(kept.join("outcome.json"), serde_json::to_string_pretty(self)?)?;
        Ok(())
    }

    /// The tests' names, in the suite's order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|test| test.name.as_str())
    }

    /// Whether a test printed what the suite expects.
    pub(super) fn is_ok(&self, name: &str) -> bool {
        self.tests.iter().any(|test| test.name == name && test.ok)
    }

    /// How many tests ran.
    pub(super) fn tests(&self) -> usize {
        self.tests.len()
    }

    /// How many printed what the suite expects.
    pub(super) fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.ok).count()
    }
}

/// `test boolean ... ok  12 ms`, or without `test` in a group that ran at once.
fn test(line: &str) -> Option<Test> {
    let (name, result) = line.split_once(" ... ")?;
    let name = name.trim_start().trim_start_matches("test ").trim();
    let ok = match result.split_whitespace().next()? {
        "ok" => true,
        "FAILED" | "failed" => false,
        _ => return None,
    };
    Some(Test { name: name.to_owned(), ok })
}

/// How many lines of a difference are gone or new.
pub(super) fn changed_lines(difference: &str) -> usize {
    let changes = difference.lines().filter(|line| line.starts_with(['-', '+']));
    changes.filter(|line| !line.starts_with("---") && !line.starts_with("+++")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_alone_and_in_groups_are_read() {
        let log = "\
(using postmaster on 127.0.0.1, port 5432)
============== running regression test queries        ==============
test test_setup                   ... ok          321 ms
parallel group (2 tests):  boolean char
     boolean                      ... ok           91 ms
     char                         ... FAILED       12 ms
test tablespace                   ... failed (ignored)       12 ms
";
        let outcome = Outcome::of(log, 1);
        assert_eq!(
            outcome.names().collect::<Vec<_>>(),
            ["test_setup", "boolean", "char", "tablespace"]
        );
        assert_eq!((outcome.passed(), outcome.tests()), (2, 4));
        assert!(outcome.is_ok("boolean") && !outcome.is_ok("char"));
    }

    #[test]
    fn changed_lines_are_counted_without_the_heading() {
        assert_eq!(changed_lines("--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n z\n"), 2);
    }
}
