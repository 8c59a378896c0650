//! `cargo xtask bench`: guard beside a direct connection and PgBouncer.
//!
//! All ways are measured in interleaved rounds of one run, so that a machine that is busy for a while is busy
//! for all of them. The table gives medians and their ratio to the direct connection, and the processors' time
//! that each program between client and server took: that figure means something on a busy machine too.

mod bouncer;
mod cost;
mod exchange;
mod http;
mod measure;
mod memory;
mod output;
mod record;
mod report;
mod run;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{Programs, Stage};

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
    #[command(subcommand)]
    other: Option<Other>,
}

/// What is measured instead.
#[derive(clap::Subcommand)]
enum Other {
    /// Measures what an exchange of an identity token costs the broker, with each store
    Exchange(exchange::Options),
    /// Measures HTTP through guard beside nginx and HAProxy
    Http(http::Options),
    /// Measures what a run costs at each level of isolation
    Run(run::Options),
    /// Measures what passes the filter of the command's output
    Output(output::Options),
    /// Measures what the record costs: an entry, and the data path with and without it
    Record(record::Options),
    /// Measures what a report of many statements costs, and how long a browser takes to open it
    Report(report::Options),
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

/// Texts of 10 000 structures, each with literals of its own.
const DISTINCT: &str = "\\set s random(1, 10000)\n\\set aid random(1, 1000000)\n\
     SELECT abalance AS c:s FROM pgbench_accounts WHERE aid = :aid;\n";
const DISTINCT_NAME: &str = "10 000 distinct, 8 clients";

/// What is copied; `wide` and `ten` are as long.
const COPIES: [(&str, &str); 3] = [
    ("copy out", "COPY wide TO STDOUT"),
    ("masked copy out, text", "COPY ten TO STDOUT"),
    ("masked copy out, binary", "COPY ten TO STDOUT (FORMAT binary)"),
];

/// Allows reads; two columns of ten are masked.
const POLICY: &str = "\
policy: stage
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
masks:
  - sql: { columns: [public.ten.mail, public.ten.card] }
    with: redact
";

/// Runs the bench, prints the table and writes `target/bench.json`.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.other {
        Some(Other::Exchange(options)) => return exchange::run(options),
        Some(Other::Http(options)) => return http::run(options),
        Some(Other::Run(options)) => return run::run(options),
        Some(Other::Output(options)) => return output::run(options),
        Some(Other::Record(options)) => return record::run(options),
        Some(Other::Report(options)) => return report::run(options),
        None => {}
    }
    install::need(&install::BENCH)?;
    let programs = programs(false)?;
    let interrupted = interrupt::listen()?;
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let costs = if wanted("parse") { cost::measure()? } else { Vec::new() };
    if options.only.as_deref() == Some("parse") {
        cost::print(&costs);
        return Ok(());
    }
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let seconds = options.seconds.unwrap_or(if options.quick { 2 } else { 5 });
    let megabytes: u32 = if options.quick { 100 } else { 1000 };

    println!("making a database with {megabytes} MB to copy");
    let mut stage = Stage::builder()
        .programs(programs)
        .policy(POLICY)
        .plain()
        .also_at_shim()
        .limit("6h")
        .setting("shared_buffers=512MB")
        .setting("max_connections=900")
        .start()?;
    fill(&stage, megabytes)?;
    let ways = Ways::open(&stage)?;

    let mut cells = Vec::new();
    for (name, arguments) in PGBENCH.into_iter().filter(|(name, _)| wanted(name)) {
        cells.push(Cell::new(name, "transactions/s", move |way: &measure::Way| {
            pgbench(&way.client("pgbench"), arguments, seconds)
        }));
    }
    if wanted("distinct") {
        let script = stage.dir().join("distinct.sql");
        std::fs::write(&script, DISTINCT)?;
        let script = script.display().to_string();
        cells.push(Cell::new(DISTINCT_NAME, "transactions/s", move |way: &measure::Way| {
            pgbench(&way.client("pgbench"), &["-M", "simple", "-c", "8", "-f", &script], seconds)
        }));
    }
    for (name, statement) in COPIES.into_iter().filter(|(name, _)| wanted(name)) {
        cells.push(Cell::new(name, "MB/s", move |way: &measure::Way| {
            copy_out(way, statement, megabytes)
        }));
    }
    for round in 1..=rounds {
        for cell in &mut cells {
            println!("{}", shell::dim(&format!("round {round} of {rounds}: {}", cell.name)));
            cell.measure(&ways.all, round)?;
            if interrupted.try_recv().is_ok() {
                bail!("interrupted; everything that was started is stopped");
            }
        }
    }
    let start = if wanted("guard run") { Some(start_times(&stage, rounds * 10)?) } else { None };
    drop(ways);
    let idle = if wanted("idle") { memory::measure(&mut stage)? } else { Vec::new() };
    table::print(&cells, start.as_ref());
    table::print_idle(&idle);
    cost::print(&costs);
    table::write(&cells, start.as_ref(), &idle, &costs, rounds, seconds)
}

/// The programs, built with optimisation or as they are developed with.
fn programs(quick: bool) -> Result<Programs> {
    let profile = if quick { "debug" } else { "release" };
    println!("building {profile} programs");
    let mut cargo = shell::cargo();
    // The whole workspace's features, as every other build has them: nothing is compiled twice.
    cargo.args(["build", "--quiet", "--workspace", "--bin=guard", "--bin=guard-broker"]);
    if !quick {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    Ok(Programs::of(&shell::root().join("target").join(profile)))
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
         FROM generate_series(1, {rows}) AS n; VACUUM (FREEZE, ANALYZE) wide; \
         CREATE UNLOGGED TABLE ten AS SELECT 1000000000 + n AS id, 'ann' || 100000000 + n || '@example.org' AS mail, \
         4111111111111111 + n || '' AS card, 'abcdefg' AS a, n % 7 AS b, 'hijklmnop' AS c, date '2024-01-01' AS d, \
         'a note of 21 letters.' AS e, n % 2 = 0 AS f, 'the last' AS g \
         FROM generate_series(1, {rows}) AS n; VACUUM (FREEZE, ANALYZE) ten"
    );
    for statement in sql.split("; ") {
        stage.postgres.sql("shop", statement)?;
    }
    Ok(())
}

fn pgbench(client: &measure::Client, arguments: &[&str], seconds: u32) -> Result<Sample> {
    let threads = if arguments.contains(&"1") { "1" } else { "2" };
    let select = if arguments.contains(&"-f") { "-n" } else { "-S" };
    let output = client
        .command()
        .args(["-n", select, "-j", threads, "-T", &seconds.to_string()])
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

fn copy_out(way: &measure::Way, statement: &str, megabytes: u32) -> Result<Sample> {
    let start = Instant::now();
    let status = way
        .client("psql")
        .command()
        .args(["-X", "-q", "-c", statement])
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
