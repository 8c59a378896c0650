//! `cargo xtask bench`: guard beside a direct connection and PgBouncer.
//!
//! All ways are measured in interleaved rounds of one run, so that a machine that is busy for a while is busy
//! for all of them. The table gives medians and their ratio to the direct connection, and the processors' time
//! that each program between client and server took: that figure means something on a busy machine too.

mod bouncer;
mod measure;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{Programs, Stage, policies};

use crate::{install, interrupt, shell};
use measure::{Cell, Sample, Ways};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Shorter, with less data: to see whether something broke, not how fast it is
    #[arg(long)]
    quick: bool,
    /// How often each thing is measured
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each `pgbench` runs
    #[arg(long)]
    seconds: Option<u32>,
    /// Only cells whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// How `pgbench` is called in each cell.
const PGBENCH: [(&str, &[&str]); 10] = [
    ("select simple, 1 client", &["-M", "simple", "-c", "1"]),
    ("select simple, 8 clients", &["-M", "simple", "-c", "8"]),
    ("select simple, 32 clients", &["-M", "simple", "-c", "32"]),
    ("select extended, 1 client", &["-M", "extended", "-c", "1"]),
    ("select extended, 8 clients", &["-M", "extended", "-c", "8"]),
    ("select extended, 32 clients", &["-M", "extended", "-c", "32"]),
    ("select prepared, 1 client", &["-M", "prepared", "-c", "1"]),
    ("select prepared, 8 clients", &["-M", "prepared", "-c", "8"]),
    ("select prepared, 32 clients", &["-M", "prepared", "-c", "32"]),
    ("connections, 1 client", &["-M", "simple", "-c", "1", "-C"]),
];

/// Runs the bench, prints the table and writes `target/bench.json`.
pub(crate) fn run(options: &Options) -> Result<()> {
    install::need(&install::BENCH)?;
    println!("building release programs");
    // The whole workspace's features, as every other build has them: nothing is compiled twice.
    let programs = ["--bin=guard", "--bin=guard-broker"];
    shell::run(
        shell::cargo().args(["build", "--release", "--quiet", "--workspace"]).args(programs),
    )?;
    let interrupted = interrupt::listen()?;
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let seconds = options.seconds.unwrap_or(if options.quick { 2 } else { 5 });
    let megabytes: u32 = if options.quick { 100 } else { 1000 };

    println!("making a database with {megabytes} MB to copy");
    let programs = Programs::of(&shell::root().join("target/release"));
    let stage = Stage::builder()
        .programs(programs)
        .policy(policies::READ_ONLY)
        .plain()
        .also_at_shim()
        .limit("6h")
        .setting("shared_buffers=512MB")
        .start()?;
    fill(&stage, megabytes)?;
    let ways = Ways::open(&stage)?;

    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut cells = Vec::new();
    for (name, arguments) in PGBENCH.into_iter().filter(|(name, _)| wanted(name)) {
        cells.push(Cell::new(name, "transactions/s", move |way| {
            pgbench(&way.client("pgbench"), arguments, seconds)
        }));
    }
    if wanted("copy out") {
        cells.push(Cell::new("copy out", "MB/s", move |way| copy_out(way, megabytes)));
    }
    for round in 1..=rounds {
        for cell in &mut cells {
            println!("{}", shell::dim(&format!("round {round} of {rounds}: {}", cell.name)));
            cell.measure(&ways, round)?;
            if interrupted.try_recv().is_ok() {
                bail!("interrupted; everything that was started is stopped");
            }
        }
    }
    let start = if wanted("guard run") { Some(start_times(&stage, rounds * 10)?) } else { None };
    table::print(&cells, start.as_ref());
    table::write(&cells, start.as_ref(), rounds, seconds)
}

fn fill(stage: &Stage, megabytes: u32) -> Result<()> {
    let output =
        stage.postgres.client("pgbench", "shop").args(["-i", "-q", "-s", "10"]).output()?;
    if !output.status.success() {
        bail!("pgbench -i: {}", String::from_utf8_lossy(&output.stderr));
    }
    // A line of COPY has 128 bytes.
    let rows = u64::from(megabytes) * 1_000_000 / 128;
    let sql = format!(
        "CREATE UNLOGGED TABLE wide AS SELECT 1000000000 + n AS id, timestamptz '2024-01-01 00:00:00.123456Z' AS at, \
         md5(n::text) AS a, md5((n + 1)::text) AS b, 'a note of 21 letters.' AS note \
         FROM generate_series(1, {rows}) AS n; VACUUM (FREEZE, ANALYZE) wide"
    );
    for statement in sql.split("; ") {
        stage.postgres.sql("shop", statement)?;
    }
    Ok(())
}

fn pgbench(client: &measure::Client, arguments: &[&str], seconds: u32) -> Result<Sample> {
    let threads = if arguments.contains(&"1") { "1" } else { "2" };
    let output = client
        .command()
        .args(["-n", "-S", "-j", threads, "-T", &seconds.to_string()])
        .args(arguments)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench at {}: {}", client.way, String::from_utf8_lossy(&output.stderr));
    }
    let number = |label: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(label))?;
        line.trim_start_matches(label).split([' ', '/']).find(|word| !word.is_empty())?.parse().ok()
    };
    Ok(Sample {
        value: number("tps = ").with_context(|| {
            format!(
                "pgbench at {} did nothing in {seconds} s; use a longer `--seconds`",
                client.way
            )
        })?,
        units: number("number of transactions actually processed:").unwrap_or(0.0),
    })
}

fn copy_out(way: &measure::Way, megabytes: u32) -> Result<Sample> {
    let start = Instant::now();
    let status = way
        .client("psql")
        .command()
        .args(["-X", "-q", "-c", "COPY wide TO STDOUT"])
        .stdout(std::process::Stdio::null())
        .status()?;
    if !status.success() {
        bail!("COPY at {}: {status}", way.name);
    }
    let megabytes = f64::from(megabytes);
    Ok(Sample { value: megabytes / start.elapsed().as_secs_f64(), units: megabytes })
}

/// How long `guard run -- true` takes, and `true` alone.
fn start_times(stage: &Stage, times: usize) -> Result<[Duration; 2]> {
    let mut direct = Vec::new();
    let mut guarded = Vec::new();
    let child = std::process::Command::new("true");
    for _ in 0..times {
        let start = Instant::now();
        std::process::Command::new("true").status()?;
        direct.push(start.elapsed());
        let start = Instant::now();
        let run = stage.run(&child)?;
        guarded.push(start.elapsed());
        if run.code != 0 {
            bail!("guard run -- true: {}", run.stderr);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    Ok([median(direct), median(guarded)])
}
