//! `cargo xtask bench record`: what an entry costs to append, and what the record costs the data path.
//!
//! The data path with and without a record is one program (guard-engine's example `data_path`), measured in turns. No program of
//! guard can leave the record out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{
    Postgres,
    postgres::{PASSWORD, SUPERUSER},
    process::Process,
};
use serde_json::{Value, json};

use super::measure::{cpu_time_of, median};
use crate::{install, shell};

/// Options of `cargo xtask bench record`.
#[derive(Args)]
pub(super) struct Options {
    /// How often the data path is measured with and without the record
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How long each `pgbench` runs
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Without optimisation: to see whether something broke, not how fast it is
    #[arg(long)]
    quick: bool,
}

/// The whole record, the enforcement point's half of it, and none.
const PATHS: [&str; 3] = ["whole", "sent", "off"];
/// How `pgbench` is called.
const CELLS: [(&str, &[&str]); 3] = [
    ("simple, 8 clients", &["-M", "simple", "-c", "8"]),
    ("prepared, 1 client", &["-M", "prepared", "-c", "1"]),
    ("prepared, 8 clients", &["-M", "prepared", "-c", "8"]),
];

/// Measures, prints, and writes `target/bench-record.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    install::need(&install::BENCH)?;
    let append = shell::read(&mut Command::new(example(options, "append")?))?;
    print!("{append}");
    let cells = data_path(options)?;
    let path = shell::root().join("target/bench-record.json");
    let all = json!({ "append": append.lines().collect::<Vec<_>>(), "data_path": cells });
    fs::write(&path, serde_json::to_string_pretty(&all)?)?;
    println!("{}", path.display());
    Ok(())
}

/// Builds an example, and says where it is.
fn example(options: &Options, example: &str) -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    // The whole workspace's features, as every other build has them: nothing is compiled twice.
    cargo.args(["build", "--quiet", "--workspace", "--example", example]);
    if !options.quick {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    let profile = if options.quick { "debug" } else { "release" };
    Ok(shell::root().join("target").join(profile).join("examples").join(example))
}

/// Transactions a second with the record, with its first half, and without it, in turns, and what each takes of the processors.
fn data_path(options: &Options) -> Result<Vec<Value>> {
    use std::os::unix::fs::PermissionsExt as _;
    let program = example(options, "data_path")?;
    let folder = tempfile::tempdir_in(shell::root().join("target"))?;
    // The server's user has to pass.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let server = Postgres::start(folder.path(), &["shared_buffers=256MB"])?;
    server.sql("postgres", "CREATE DATABASE shop")?;
    let filled = server.client("pgbench", "shop").args(["-i", "-q", "-s", "10"]).output()?;
    if !filled.status.success() {
        bail!("pgbench -i: {}", String::from_utf8_lossy(&filled.stderr));
    }
    // A socket's path has room for some hundred bytes only.
    let sockets = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.arg(sockets.path()).args([&server.port.to_string(), SUPERUSER, PASSWORD]);
    let mut serving = Process::start("data_path", &mut command, &folder.path().join("log"))?;
    let ready = |path: &str| sockets.path().join(path).join(".s.PGSQL.5432").exists();
    serving.wait_until("sockets", || PATHS.into_iter().all(ready))?;
    let mut cells = Vec::new();
    for (name, arguments) in CELLS {
        let mut sides = [Side::default(), Side::default(), Side::default()];
        for round in 0..options.rounds {
            // Each round begins with another one.
            for place in (0..PATHS.len()).map(|place| (round + place) % PATHS.len()) {
                let (Some(path), Some(side)) = (PATHS.get(place), sides.get_mut(place)) else {
                    continue;
                };
                let at = sockets.path().join(path);
                let before = cpu_time_of(serving.pid()).unwrap_or(f64::NAN);
                let ran = pgbench(&server, &at, arguments, options.seconds);
                let ran = ran.with_context(|| serving.log())?;
                let taken = cpu_time_of(serving.pid()).unwrap_or(f64::NAN) - before;
                side.rates.push(ran.rate);
                side.micros.push(taken / ran.transactions);
            }
        }
        let [whole, sent, off] = sides;
        let cell = |side: &Side| {
            let (rate, micros) = side.medians();
            json!({ "rate": rate, "micros": micros, "slower": side.slower_than(&off) })
        };
        println!(
            "{name:<22} {:>9.0} without the record; with its half here {:.1} % slower, with all of it {:.1} %; \
             {:.1}, {:.1} and {:.1} µs of processor",
            off.medians().0,
            sent.slower_than(&off),
            whole.slower_than(&off),
            off.medians().1,
            sent.medians().1,
            whole.medians().1
        );
        cells.push(json!({
            "name": name, "off": cell(&off), "sent": cell(&sent), "whole": cell(&whole)
        }));
    }
    Ok(cells)
}

/// What was measured on one of the paths.
#[derive(Default)]
struct Side {
    /// Transactions a second.
    rates: Vec<f64>,
    /// Processors' time of the program between, for each of them.
    micros: Vec<f64>,
}

impl Side {
    fn medians(&self) -> (f64, f64) {
        let middle = |values| median(values).unwrap_or(f64::NAN);
        (middle(&self.rates), middle(&self.micros))
    }

    /// By how much in a hundred its rates are lower, round by round: what moves from one moment to the next moves both.
    fn slower_than(&self, other: &Self) -> f64 {
        let pairs = self.rates.iter().zip(&other.rates);
        let each: Vec<f64> = pairs.map(|(rate, other)| (1.0 - rate / other) * 100.0).collect();
        median(&each).unwrap_or(f64::NAN)
    }
}

/// What `pgbench` says of a run.
struct Ran {
    rate: f64,
    transactions: f64,
}

fn pgbench(server: &Postgres, at: &Path, arguments: &[&str], seconds: u32) -> Result<Ran> {
    let output = Command::new(server.programs().join("pgbench"))
        .args(["-n", "-S", "-j", "1", "-T", &seconds.to_string()])
        .args(arguments)
        .arg("-h")
        .arg(at)
        .args(["-p", "5432", "-U", "job", "shop"])
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |before: &str| -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(before))?;
        rest.split(' ').next()?.parse().ok()
    };
    let rate = number("tps = ").filter(|_| output.status.success());
    let ran = rate.zip(number("number of transactions actually processed: "));
    let (rate, transactions) =
        ran.with_context(|| format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Ran { rate, transactions })
}
