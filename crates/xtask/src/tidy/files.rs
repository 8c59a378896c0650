//! Rules on the text of each Rust file, and on the names of all.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Finding;
use crate::shell;

/// Above this a file is more than one thing.
const MAX_LINES: usize = 700;

/// What merges and patches leave behind.
const LEFTOVERS: [&str; 3] = ["orig", "rej", "bak"];

/// Checks every Rust file that git knows or would know.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings: Vec<_> = shell::files(None)?.lines().filter_map(check_name).collect();
    let listed = shell::files(Some("*.rs"))?;
    for path in listed.lines().map(PathBuf::from) {
        let full = root.join(&path);
        if !full.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&full)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        findings.extend(check_file(&path, &text));
    }
    Ok(findings)
}

fn check_name(path: &str) -> Option<Finding> {
    let extension = Path::new(path).extension()?;
    let left = LEFTOVERS.iter().any(|end| extension == *end);
    left.then(|| {
        Finding::new(
            path,
            "is a leftover of a merge or a patch, which nobody meant to keep: remove it",
        )
    })
}

fn check_file(path: &Path, text: &str) -> Vec<Finding> {
    let at = path.display().to_string();
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(Finding::new(
            &at,
            format!(
                "has {lines} lines, more than {MAX_LINES}: it is more than one thing; give each thing \
                 a file of its own"
            ),
        ));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        findings.push(Finding::new(
            &at,
            "does not start with `//!`: say what the module is and why it is there, so that its \
             reader need not guess",
        ));
    }
    let is_test = is_test_file(path);
    let mut in_tests = is_test;
    for (number, line) in text.lines().enumerate() {
        in_tests |= line.trim_start().starts_with("#[cfg(test)]");
        if let Some(says) = check_line(line, in_tests) {
            findings.push(Finding::new(format!("{at}:{}", number + 1), says));
        }
    }
    findings
}

/// A file that holds tests only: of the suites, or split off its module.
fn is_test_file(path: &Path) -> bool {
    let suite = path.starts_with("tests") && !path.starts_with("tests/harness");
    let part = path.components().any(|part| part.as_os_str() == "tests");
    suite || part && !path.starts_with("tests") || path.ends_with("tests.rs")
}

fn check_line(line: &str, in_tests: bool) -> Option<&'static str> {
    let code = line.trim_start();
    if code.starts_with("//") {
        let open = ["TODO", "FIXME", "XXX", "HACK"]
            .iter()
            .any(|mark| code.trim_start_matches(['/', '!', ' ']).starts_with(mark));
        return open.then_some(
            "leaves work open in a comment that nobody will find again; do it now, or open an issue",
        );
    }
    if code.starts_with("#[ignore]") || code.starts_with("#[ignore =") && code.contains("\"\"") {
        return Some(
            "ignores a test without a reason: repair it, remove it, or say why: `#[ignore = \"…\"]`",
        );
    }
    let allow = ["#[allow(", "#![allow("].iter().any(|start| code.starts_with(start));
    if allow && code.ends_with(")]") && !code.contains("reason =") {
        return Some(
            "switches a lint off without a reason: add `reason = \"…\"`, or repair what the lint found",
        );
    }
    let sleeps = ["thread::sleep(", "time::sleep("].iter().any(|call| code.contains(call));
    if in_tests && sleeps {
        return Some(
            "sleeps in a test, which is slow on a fast machine and wrong on a slow one: wait for the \
             condition itself",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, expected: &[&str]) {
        let found = check_file(Path::new(path), text);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.says.contains(part), "{finding:?} has no `{part}`");
        }
    }

    #[test]
    fn a_module_says_what_it_is() {
        finds("crates/a/src/b.rs", "//! What.\nfn a() {}\n", &[]);
        finds("crates/a/src/b.rs", "fn a() {}\n", &["does not start with `//!`"]);
    }

    #[test]
    fn nothing_is_left_of_a_merge() {
        assert!(check_name("broker/src/main.rs.orig").is_some());
        assert!(check_name("docs/original.md").is_none());
    }

    #[test]
    fn a_file_is_one_thing() {
        let long = format!("//! What.\n{}", "fn a() {}\n".repeat(MAX_LINES));
        finds("crates/a/src/b.rs", &long, &["701 lines"]);
    }

    #[test]
    fn lines() {
        let cases = [
            ("// an ordinary remark", None),
            ("    // TODO: later", Some("leaves work open")),
            ("#[ignore]", Some("without a reason")),
            ("#[ignore = \"needs an hour\"]", None),
            ("#[allow(dead_code)]", Some("switches a lint off")),
            ("#[allow(dead_code, reason = \"used by the fuzzer\")]", None),
        ];
        for (line, expected) in cases {
            let text = format!("//! What.\n{line}\n");
            let expected: Vec<&str> = expected.into_iter().collect();
            finds("crates/a/src/b.rs", &text, &expected);
        }
    }

    #[test]
    fn only_tests_may_not_sleep() {
        let sleep = concat!("std::thread::", "sleep(pause);");
        finds("crates/a/src/b.rs", &format!("//! What.\n{sleep}\n"), &[]);
        finds("crates/a/src/b.rs", &format!("//! What.\n#[cfg(test)]\n{sleep}\n"), &["sleeps"]);
        finds("tests/session/main.rs", &format!("//! What.\n{sleep}\n"), &["sleeps"]);
        finds("tests/harness/process.rs", &format!("//! What.\n{sleep}\n"), &[]);
    }
}
