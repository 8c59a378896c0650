//! `cargo xtask bench report`: what a report of many statements costs, and how long a browser takes to open it.
//!
//! The file is measured by itself, made by the example `report` of guard-audit. The broker's page of a run is the report,
//! too: for it a run sends as many statements through guard.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{EnforceAt, Stage, script, story};
use serde_json::{Value, json};

use super::programs;
use crate::{install, shell};

/// Options of `cargo xtask bench report`.
#[derive(Args)]
pub(super) struct Options {
    /// Statements of the record
    #[arg(long, default_value_t = 100_000)]
    statements: u64,
    /// How often each thing is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// With the programs of the development build: to see whether something broke, not how fast it is
    #[arg(long)]
    quick: bool,
}

/// Allows reads, masks one column and refuses the rest.
const POLICY: &str = "\
policy: stage
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
masks:
  - sql: { columns: [public.customers.email] }
    with: hash
";
/// Every so many statements one is refused, and one has a long text.
const REFUSED: u64 = 50;
const LONG: u64 = 1000;

/// Measures, prints, and writes `target/bench-report.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    install::need(&install::BENCH_REPORT)?;
    let folder = tempfile::tempdir_in(shell::root().join("target"))?;
    let file = file(options, folder.path())?;
    println!("{}", serde_json::to_string_pretty(&file)?);
    let page = page(options)?;
    println!("{}", serde_json::to_string_pretty(&page)?);
    let path = shell::root().join("target/bench-report.json");
    let all = json!({ "rounds": options.rounds, "file": file, "page": page });
    fs::write(&path, serde_json::to_string_pretty(&all)?)?;
    println!("{}", path.display());
    Ok(())
}

/// The report as a file: what making it takes, how large it is, and how it opens.
fn file(options: &Options, folder: &Path) -> Result<Value> {
    let mut cargo = shell::cargo();
    cargo.args(["run", "--quiet", "-p", "guard-audit", "--example", "report"]);
    if !options.quick {
        cargo.arg("--release");
    }
    cargo.arg("--").arg(folder);
    cargo.args([options.statements.to_string(), options.rounds.to_string()]);
    let made: Value = serde_json::from_str(&shell::read(&mut cargo)?)?;
    let address = format!("file://{}", folder.join("report.html").display());
    let mut story = story("opens.js")?;
    story.env("GUARD_BENCH_FILE", address);
    Ok(json!({ "made": made, "opened": opened(story, options.rounds)? }))
}

/// The broker's page of such a run.
fn page(options: &Options) -> Result<Value> {
    let stage = Stage::builder()
        .programs(programs(options.quick)?)
        .policy(POLICY)
        .shop(1000)
        .people()
        .limit("2h")
        .enforce_at(EnforceAt::Shim)
        .start()?;
    let file = stage.dir().join("statements.sql");
    fs::write(&file, statements(options.statements))?;
    let psql = format!("psql -XAtq -f {} > /dev/null 2>&1 || true", file.display());
    let run = stage.run(&script(&psql))?;
    if run.code != 0 {
        bail!("guard run: {}", run.stderr);
    }
    let record = stage.sealed_record()?.len();
    let mut story = story("opens.js")?;
    story.env("GUARD_URL", &stage.url);
    Ok(json!({ "record_bytes": record, "opened": opened(story, options.rounds)? }))
}

/// Reads that differ in literals, some of a masked column; changes that are refused; texts of many kilobytes.
fn statements(count: u64) -> String {
    let mut text = String::new();
    for number in 0..count {
        let line = if number % LONG == LONG - 1 {
            format!("SELECT {number}, '{}';\n", "x".repeat(50_000))
        } else if number % REFUSED == REFUSED - 1 {
            format!("DELETE FROM orders; -- {number}\n")
        } else if number.is_multiple_of(5) {
            format!("SELECT id, email FROM customers WHERE id = {number};\n")
        } else {
            format!("SELECT id FROM orders WHERE id = {number};\n")
        };
        text.push_str(&line);
    }
    text
}

fn opened(mut story: Command, rounds: usize) -> Result<Value> {
    let output = story
        .env("GUARD_BENCH_ROUNDS", rounds.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the browser: {text}");
    }
    serde_json::from_str(text.trim()).with_context(|| format!("the browser said `{text}`"))
}
