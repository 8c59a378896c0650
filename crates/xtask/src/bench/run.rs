//! `cargo xtask bench run`: what a run costs at each level of isolation, and what its output passes.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;
use guard_tests::{Programs, Stage};
use serde_json::json;

use crate::shell;

/// Options of `cargo xtask bench run`.
#[derive(Args)]
pub(super) struct Options {
    /// How often each level is measured
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// Megabytes of output that the filter is given
    #[arg(long, default_value_t = 2000)]
    megabytes: usize,
}

const LEVELS: [&str; 3] = ["env", "landlock", "strict"];
/// A line of output, as logs have them.
const LINE: &str = "2026-01-05T12:00:00Z INFO dumped table public.orders, 120000 rows in 3.21 s\n";

/// Measures, prints, and writes `target/bench-run.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    println!("building release programs");
    let programs = ["--bin=guard", "--bin=guard-broker"];
    shell::run(
        shell::cargo().args(["build", "--release", "--quiet", "--workspace"]).args(programs),
    )?;
    let programs = Programs::of(&shell::root().join("target/release"));
    let stage = Stage::builder().programs(programs).start()?;
    let mut times = vec![Vec::new(); LEVELS.len() + 1];
    // In turns, so that a machine that is busy for a while is so for all.
    for _ in 0..options.rounds {
        for (level, times) in [None].into_iter().chain(LEVELS.map(Some)).zip(&mut times) {
            times.push(once(&stage, level)?);
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    let names = ["true", "env", "landlock", "strict"];
    for (name, time) in names.iter().zip(&medians) {
        println!("{name:<10} {time:>10.1?}");
    }
    let speed = filtered(&stage, options.megabytes)?;
    println!("output     {speed:>7.0} MB/s");
    let milliseconds = names.iter().zip(medians.iter().map(|time| time.as_secs_f64() * 1e3));
    let all = json!({
        "rounds": options.rounds,
        "milliseconds": milliseconds.collect::<std::collections::BTreeMap<_, _>>(),
        "output_megabytes_per_second": speed,
    });
    let path = shell::root().join("target/bench-run.json");
    fs::write(&path, serde_json::to_string_pretty(&all)?)?;
    println!("{}", path.display());
    Ok(())
}

/// `guard run --isolation LEVEL -- true`, or `true` alone.
fn once(stage: &Stage, level: Option<&str>) -> Result<Duration> {
    let mut command = Command::new("true");
    let start = Instant::now();
    let Some(level) = level else {
        command.status()?;
        return Ok(start.elapsed());
    };
    let run = stage.run(command.env("GUARD_ISOLATION", level))?;
    let time = start.elapsed();
    // Should the level not be reached, the time of another one would be told.
    if run.code != 0 || !run.stderr.contains(&format!("isolation of the command: {level}")) {
        bail!("guard run --isolation {level} -- true: {}", run.stderr);
    }
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Megabytes of text in a second that pass the filter, to where nothing is written: what the run costs besides is subtracted.
fn filtered(stage: &Stage, megabytes: usize) -> Result<f64> {
    let text = stage.dir().join("output.txt");
    let piece = LINE.repeat(1_000_000 / LINE.len());
    fs::write(&text, piece.repeat(100))?;
    let rounds = megabytes.div_ceil(100);
    let script =
        format!("i=0; while [ $i -lt {rounds} ]; do cat {}; i=$((i+1)); done", text.display());
    let mut empty = Duration::ZERO;
    let mut full = Duration::ZERO;
    for (script, time) in [("true", &mut empty), (script.as_str(), &mut full)] {
        let mut guard = stage.guard(&guard_tests::script(script));
        let start = Instant::now();
        let output = guard.stdout(File::create("/dev/null")?).stderr(Stdio::piped()).output()?;
        *time = start.elapsed();
        if !output.status.success() {
            bail!("guard run: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let bytes = (piece.len() * 100 * rounds) as f64;
    Ok(bytes / 1e6 / (full - empty.min(full)).as_secs_f64())
}
