//! `cargo xtask bench output`: what the command's output passes on its way to the job's log.

use std::{
    fs::{self, File},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{Stage, policies, script};
use serde_json::{Map, Value};

use super::{measure::median, programs};
use crate::shell;

/// Options of `cargo xtask bench output`.
#[derive(Args)]
pub(super) struct Options {
    /// Megabytes of output that the filter is given each time
    #[arg(long, default_value_t = 2000)]
    megabytes: usize,
    /// How often each thing is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// With the programs of the development build: to see whether something broke, not how fast it is
    #[arg(long)]
    quick: bool,
}

/// A line as logs have them; one of base64, in which secrets could stand; one of short words; and one that is a secret.
const LINES: [(&str, &str); 4] = [
    ("log", "2026-01-05T12:00:00Z INFO dumped table public.orders, 120000 rows in 3.21 s\n"),
    (
        "base64",
        "Q0kgam9icyBob2xkIHNlY3JldHMgdGhhdCBuZXZlciBleHBpcmUsIGFuZCBub2JvZHkgc2VlcyBpdC4K\n",
    ),
    ("short", "ok\n"),
    ("tokens", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvOmFjbWUvc2hvcCJ9.c2lnbmF0dXJl0123456789+/\n"),
];
/// The file that is shown again and again: it stays in memory.
const FILE: usize = 50_000_000;

/// With this, guard looks for data, too.
const DETECT: &str = "detect: { values: [email, card, iban, ssn] }\n";

/// Measures, prints, and writes `target/bench-output.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    let programs = programs(options.quick)?;
    let plain = Stage::builder().programs(programs.clone()).start()?;
    let policy = format!("{}{DETECT}", policies::READ_ONLY);
    let detecting = Stage::builder().programs(programs).policy(&policy).start()?;
    let mut figures = measure(&plain, "", options)?;
    figures.extend(measure(&detecting, ", data", options)?);
    let path = shell::root().join("target/bench-output.json");
    fs::write(&path, serde_json::to_string_pretty(&figures)?)?;
    println!("{}", path.display());
    Ok(())
}

/// Measures each kind of line.
fn measure(stage: &Stage, with: &str, options: &Options) -> Result<Map<String, Value>> {
    let mut figures = Map::new();
    for (name, line) in LINES {
        let name = format!("{name}{with}");
        let file = stage.dir().join(&name);
        fs::write(&file, line.repeat(FILE / line.len()))?;
        let times = options.megabytes * 1_000_000 / FILE;
        let show = format!("for i in $(seq {times}); do cat '{}'; done", file.display());
        let mut speeds = Vec::new();
        for _ in 0..options.rounds {
            // What a run costs besides is no part of it.
            let (empty, full) = (passed(stage, "true")?, passed(stage, &show)?);
            let bytes = (FILE / line.len() * line.len() * times) as f64;
            speeds.push(bytes / 1e6 / (full - empty.min(full)).as_secs_f64());
        }
        let speed = median(&speeds).context("nothing was measured")?;
        println!("{name:<14} {speed:>7.0} MB/s");
        figures.insert(name, Value::from(speed));
    }
    Ok(figures)
}

/// How long a script takes under guard whose output goes through the filter to where nothing is written.
fn passed(stage: &Stage, text: &str) -> Result<Duration> {
    let mut guard = stage.guard(&script(text));
    let start = Instant::now();
    let output = guard.stdout(File::create("/dev/null")?).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("guard run: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(start.elapsed())
}
