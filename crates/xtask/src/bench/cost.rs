//! What understanding a text costs, in instructions: a figure that a busy machine does not move.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::shell;

/// What `crates/sql/src/bin/sql-cost.rs` can be told to do.
const WHATS: [&str; 4] = ["template-short", "analyze-short", "template-long", "analyze-long"];
/// How often it does it in the shorter and the longer of two counts: the difference has no start-up in it.
const TIMES: [u32; 2] = [20, 120];

/// Instructions of one thing, once the caches of the process are warm.
pub(crate) struct Cost {
    pub(super) what: &'static str,
    pub(super) instructions: u64,
}

/// Counts with callgrind.
pub(super) fn measure() -> Result<Vec<Cost>> {
    shell::run(shell::cargo().args([
        "build",
        "--release",
        "--quiet",
        "--workspace",
        "--bin=sql-cost",
    ]))?;
    let program = shell::root().join("target/release/sql-cost");
    let mut costs = Vec::new();
    for what in WHATS {
        let [few, many] = TIMES.map(|times| count(&program, what, times));
        let [few, many] = [few?, many?];
        let [from, to] = TIMES;
        costs.push(Cost { what, instructions: many.saturating_sub(few) / u64::from(to - from) });
    }
    Ok(costs)
}

/// Prints what was counted.
pub(super) fn print(costs: &[Cost]) {
    for Cost { what, instructions } in costs {
        println!("{what:<16} {instructions:>10} instructions");
    }
}

fn count(program: &Path, what: &str, times: u32) -> Result<u64> {
    let output = shell::command("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([what, &times.to_string()])
        .output()
        .context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split_once("Collected :"));
    let (_, counted) = counted.with_context(|| format!("valgrind counted nothing: {text}"))?;
    counted.trim().parse().context("what valgrind counted is no number")
}
