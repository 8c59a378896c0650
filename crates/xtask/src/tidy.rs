//! `cargo xtask tidy`: the rules of the house that no other tool knows. Each finding says why the
//! rule is there and what to do.

mod arrows;
mod files;
mod layout;
mod links;

use anyhow::{Result, bail};

use crate::shell;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// File or crate, with a line where there is one.
    at: String,
    /// What is wrong, why it matters, what to do.
    says: String,
}

impl Finding {
    fn new(at: impl Into<String>, says: impl Into<String>) -> Self {
        Self { at: at.into(), says: says.into() }
    }
}

/// Checks everything and shows every finding at once.
pub(crate) fn run() -> Result<()> {
    let mut findings = arrows::check(&arrows::workspace()?);
    findings.extend(layout::check(shell::root())?);
    findings.extend(files::check(shell::root())?);
    findings.extend(links::check(shell::root())?);
    for Finding { at, says } in &findings {
        println!("{}: {says}", shell::bold(at));
    }
    if findings.is_empty() {
        println!("tidy");
        Ok(())
    } else {
        bail!("{} to tidy up", findings.len())
    }
}
