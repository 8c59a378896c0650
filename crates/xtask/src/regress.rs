//! `cargo xtask regress`: PostgreSQL's own regression suite, direct and through guard.
//!
//! The suite is the server's own description of how it behaves towards a client. What a test prints through guard
//! is held against what it prints without: an honest client cannot tell the two apart, and where it can the
//! reason stands in [`reasons`]. An unexplained difference fails the command, and so does a reason that no
//! longer has a difference.

mod outcome;
mod reasons;
mod suite;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use guard_tests::{
    Postgres, Stage,
    process::{Process, is_root},
    stage::Programs,
};

use crate::{install, shell};
use outcome::Outcome;
use suite::Suite;

/// The database that the suite wants.
const DATABASE: &str = "regression";
/// How many tests run at once, as the suite's own makefile has it.
const AT_ONCE: &str = "20";
/// Ten times what a slow machine takes: then something hangs.
const WITHIN: Duration = Duration::from_mins(30);
/// What the suite expects of its database.
const SETTINGS: [&str; 6] = [
    "lc_messages TO 'C'",
    "lc_monetary TO 'C'",
    "lc_numeric TO 'C'",
    "lc_time TO 'C'",
    "bytea_output TO 'hex'",
    "timezone_abbreviations TO 'Default'",
];

/// Options of `cargo xtask regress`.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs the suite direct again, too; else what it printed the last time is taken
    #[arg(long)]
    again: bool,
    /// Only these tests, after `test_setup`; nothing is compared with the reasons
    tests: Vec<String>,
}

/// Runs the suite and compares.
pub(crate) fn run(options: &Options) -> Result<()> {
    install::need(&install::REGRESS)?;
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--bins"]))?;
    let suite = Suite::fetch()?;
    let direct = direct(&suite, options)?;
    let guarded = guarded(&suite, options)?;
    println!(
        "direct: {} of {} as expected in {} s; through guard: {} in {} s",
        direct.passed(),
        direct.tests(),
        direct.seconds,
        guarded.passed(),
        guarded.seconds
    );
    compare(&suite, &direct, &guarded, options)
}

/// What the suite prints without guard.
fn direct(suite: &Suite, options: &Options) -> Result<Outcome> {
    let kept = suite.kept("direct");
    if !options.again
        && options.tests.is_empty()
        && let Some(outcome) = Outcome::read(&kept)?
    {
        return Ok(outcome);
    }
    println!("running the suite direct");
    let dir = suite::work_dir()?;
    let postgres = Postgres::start(dir.path(), &[])?;
    postgres.sql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
    prepare(&postgres)?;
    let copy = suite.copy(dir.path())?;
    let mut command = pg_regress(suite, &copy, options);
    for (name, value) in postgres.client("psql", DATABASE).get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let start = Instant::now();
    let log = dir.path().join("pg_regress.log");
    let process = Process::start("pg_regress", &mut command, &log)?;
    keep(process, &copy, &kept, start, options)
}

/// What it prints through guard.
fn guarded(suite: &Suite, options: &Options) -> Result<Outcome> {
    println!("running the suite through guard");
    let stage =
        Stage::builder().programs(Programs::built()?).database(DATABASE).limit("2h").start()?;
    prepare(&stage.postgres)?;
    let dir = suite::work_dir()?;
    let copy = suite.copy(dir.path())?;
    let start = Instant::now();
    let process = stage.spawn("pg_regress", &pg_regress(suite, &copy, options))?;
    let outcome = keep(process, &copy, &suite.kept("guard"), start, options);
    if let Some(gateway) = &stage.gateway {
        fs::write(suite.kept("guard").join("gateway.log"), gateway.log())?;
    }
    fs::write(suite.kept("guard").join("postgres.log"), stage.postgres.log())?;
    outcome
}

fn prepare(postgres: &Postgres) -> Result<()> {
    for setting in SETTINGS {
        postgres.sql("postgres", &format!("ALTER DATABASE {DATABASE} SET {setting}"))?;
    }
    Ok(())
}

fn pg_regress(suite: &Suite, copy: &Path, options: &Options) -> Command {
    // The server writes files where the suite looks for them: both are one user's.
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(&suite.runner);
        command
    } else {
        Command::new(&suite.runner)
    };
    let folder = |name: &str| format!("--{name}={}", copy.display());
    command
        .current_dir(copy)
        .args(["--use-existing", "--host=127.0.0.1", "--user=postgres"])
        .arg(format!("--dbname={DATABASE}"))
        .args([folder("inputdir"), folder("outputdir"), folder("dlpath")])
        .arg(format!("--bindir={}", suite.programs.display()))
        .arg(format!("--max-connections={AT_ONCE}"));
    if options.tests.is_empty() {
        command.arg(format!("--schedule={}", copy.join("parallel_schedule").display()));
    } else {
        command.arg("test_setup").args(&options.tests);
    }
    command
}

/// Waits for the end, and keeps what was printed.
fn keep(
    mut process: Process,
    copy: &Path,
    kept: &Path,
    start: Instant,
    options: &Options,
) -> Result<Outcome> {
    let status = process.wait(WITHIN);
    let seconds = start.elapsed().as_secs();
    drop(fs::remove_dir_all(kept));
    fs::create_dir_all(kept)?;
    fs::write(kept.join("pg_regress.log"), process.log())?;
    let results = copy.join("results");
    if !results.is_dir() {
        bail!("the suite did not run:\n{}", process.log());
    }
    shell::run(shell::command("cp").arg("-R").arg(&results).arg(kept.join("results")))?;
    status?;
    let outcome = Outcome::of(&process.log(), seconds);
    if options.tests.is_empty() {
        outcome.write(kept)?;
    }
    Ok(outcome)
}

/// Prints each difference with its reason.
fn compare(suite: &Suite, direct: &Outcome, guarded: &Outcome, options: &Options) -> Result<()> {
    let (before, after) = (suite.kept("direct"), suite.kept("guard"));
    let mut differences = String::new();
    let (mut same, mut explained) = (0, 0);
    let mut unexplained = Vec::new();
    let mut outlived = Vec::new();
    for name in direct.names() {
        let file = format!("results/{name}.out");
        let is_same = direct.is_ok(name) && guarded.is_ok(name)
            || fs::read(before.join(&file)).ok() == fs::read(after.join(&file)).ok();
        match (is_same, reasons::of(name)) {
            (true, None) => same += 1,
            (true, Some(_)) => {
                same += 1;
                outlived.push(name);
            }
            (false, reason) => {
                let difference = suite::difference(&before.join(&file), &after.join(&file))?;
                let lines = outcome::changed_lines(&difference);
                differences.push_str(&difference);
                match reason {
                    Some(reason) => {
                        explained += 1;
                        println!("{name:<24} {lines:>5} lines  {reason}");
                    }
                    None => {
                        unexplained.push(name);
                        println!("{name:<24} {lines:>5} lines  {}", shell::bold("unexplained"));
                    }
                }
            }
        }
    }
    let shown = suite.kept("guard").join("differences.diff");
    fs::write(&shown, differences).with_context(|| shown.display().to_string())?;
    println!(
        "{same} of {} the same, {explained} with an explained difference, {} unexplained; see {}",
        direct.tests(),
        unexplained.len(),
        shown.display()
    );
    if !options.tests.is_empty() {
        return Ok(());
    }
    if !outlived.is_empty() {
        bail!(
            "a reason stands in `reasons.rs` for what no longer differs: {}",
            outlived.join(", ")
        );
    }
    if !unexplained.is_empty() {
        bail!("{} tests differ through guard and nobody says why", unexplained.len());
    }
    Ok(())
}
