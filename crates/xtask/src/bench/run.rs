//! `cargo xtask bench run`: what a run costs at each level of isolation, and what its output passes.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;
use guard_tests::Stage;
use serde_json::json;

use super::programs;
use crate::shell;

/// Options of `cargo xtask bench run`.
#[derive(Args)]
pub(super) struct Options {
    /// How often each level is measured
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// With the programs of the development build: to see whether something broke, not how fast it is
    #[arg(long)]
    quick: bool,
}

const LEVELS: [&str; 3] = ["env", "landlock", "strict"];

/// Measures, prints, and writes `target/bench-run.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    let stage = Stage::builder().programs(programs(options.quick)?).start()?;
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
    let milliseconds = names.iter().zip(medians.iter().map(|time| time.as_secs_f64() * 1e3));
    let all = json!({
        "rounds": options.rounds,
        "milliseconds": milliseconds.collect::<std::collections::BTreeMap<_, _>>(),
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
    // Waited for as by a shell: the tests' way looks every few milliseconds.
    let run = stage.guard(command.env("GUARD_ISOLATION", level)).stdin(Stdio::null()).output()?;
    let time = start.elapsed();
    let said = String::from_utf8_lossy(&run.stderr);
    // Should the level not be reached, the time of another one would be told.
    if !run.status.success() || !said.contains(&format!("isolation of the command: {level}")) {
        bail!("guard run --isolation {level} -- true: {said}");
    }
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
