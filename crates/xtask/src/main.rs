//! `cargo xtask`: everything that one does with this repository, in one place and without a script.

#![allow(clippy::print_stdout, reason = "a program for a person at a terminal")]

mod bench;
mod ci;
mod demo;
mod fuzz;
mod install;
mod interrupt;
mod regress;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything that one does with this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", after_help = "example: cargo xtask demo --keep")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows guard at work: a masked dump, a refused DROP TABLE, a verified report
    #[command(after_help = "example: cargo xtask demo --keep")]
    Demo(demo::Options),
    /// Runs all tests against real servers and real clients
    #[command(after_help = "example: cargo xtask test -- -E 'test(masks)'")]
    Test(test::Options),
    /// Runs all that a change must pass: format, lints, tidy, dependencies, tests, demo
    Ci,
    /// Checks the rules of the house that no other tool knows
    Tidy,
    /// Installs what a build or a test needs and is missing
    #[command(after_help = "example: cargo xtask install --list")]
    Install(install::Options),
    /// Measures guard beside a direct connection and PgBouncer
    ///
    /// Starts a PostgreSQL, a PgBouncer, a broker, a gateway and a run of its own, measures pgbench, COPY and
    /// connections by each way in turn, prints medians with their ratios, and stops all of it. The figures are
    /// also in target/bench.json
    #[command(after_help = "example: cargo xtask bench --only 'prepared, 8' --seconds 10")]
    Bench(bench::Options),
    /// Runs PostgreSQL's own regression suite direct and through guard, and compares
    ///
    /// Fetches the suite of the installed server's version into target/regress. What differs is printed with its
    /// reason; an unexplained difference fails
    #[command(
        after_help = "example: cargo xtask regress\n         cargo xtask regress copy2 encoding"
    )]
    Regress(regress::Options),
    /// Runs each fuzz target for a while
    #[command(after_help = "example: cargo xtask fuzz --seconds 60 sql_analyze")]
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Install(options) => install::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Regress(options) => regress::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
