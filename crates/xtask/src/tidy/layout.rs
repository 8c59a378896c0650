//! What lies at the top of the repository, and what the README must lead to.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Finding;
use crate::shell;

/// Everything that may lie at the top. A new entry is a decision that ARCHITECTURE.md shows.
const TOP: [&str; 24] = [
    ".cargo",
    ".ci",
    ".config",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "action",
    "broker",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "policies",
    "runner-shim",
    "rustfmt.toml",
    "schemas",
    "tests",
];

/// What the README must say, so that a newcomer needs nothing else.
const README: [&str; 4] = ["cargo xtask demo", "cargo xtask test", "ARCHITECTURE.md", "guard run"];

/// Checks the top of the tree as git knows it.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let listed = shell::files(None)?;
    let readme =
        std::fs::read_to_string(root.join("README.md")).context("cannot read README.md")?;
    let mut findings = strangers(&listed);
    findings.extend(silences(&readme));
    Ok(findings)
}

fn strangers(listed: &str) -> Vec<Finding> {
    let mut tops: Vec<&str> = listed.lines().filter_map(|path| path.split('/').next()).collect();
    tops.sort_unstable();
    tops.dedup();
    tops.into_iter()
        .filter(|top| !TOP.contains(top))
        .map(|top| {
            Finding::new(
                top,
                "does not belong at the top of the repository, which newcomers read first; move it into \
                 the folder whose subject it is, or add it to ARCHITECTURE.md and to \
                 crates/xtask/src/tidy/layout.rs",
            )
        })
        .collect()
}

fn silences(readme: &str) -> Vec<Finding> {
    README
        .into_iter()
        .filter(|words| !readme.contains(words))
        .map(|words| {
            Finding::new(
                "README.md",
                format!("does not name `{words}`, which is what a newcomer looks for; say it"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_entries_are_fixed() {
        assert_eq!(strangers("README.md\ncrates/core/src/lib.rs\ntests/lib.rs\n"), []);
        let found = strangers("notes.txt\nutils/a.rs\nutils/b.rs\n");
        assert_eq!(found.iter().map(|f| f.at.as_str()).collect::<Vec<_>>(), ["notes.txt", "utils"]);
    }

    #[test]
    fn readme_names_what_a_newcomer_needs() {
        let found = silences("see ARCHITECTURE.md; cargo xtask demo; guard run");
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|f| f.says.contains("cargo xtask test")));
    }
}
