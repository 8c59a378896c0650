//! `guard policy`: check, test, explain and replay policies, offline and without a server.

mod analysis;
mod check;
mod explain;
mod files;
mod replay;
mod test;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Subcommand;
use guard_audit::report::printable;
use guard_core::document::Problems;

use super::paint::Paint;

/// Every policy is right, every case is as expected, or the statement was explained.
const RIGHT: u8 = 0;
/// A policy has problems, or a case is not as expected.
const WRONG: u8 = 1;
/// It could not be done: wrong arguments, or a file that cannot be read.
const UNUSABLE: u8 = 2;

/// PostgreSQL's parser recurses; a main thread's stack is too small for what it accepts.
const STACK: usize = 256 << 20;

/// Arguments of `guard policy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard policy check policies/
  guard policy test policies/
  guard policy replay policies/nightly-backup.yaml --records recordings/ --runs 30d
  guard policy explain --policy policies/nightly-backup.yaml \"DELETE FROM orders\"")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read policies and their cases, and tell every problem
    Check(check::Args),
    /// Run the cases beside policies
    Test(test::Args),
    /// Say which rulings on past runs a proposed policy would change
    Replay(replay::Args),
    /// Say what a statement does and what a policy makes of it
    Explain(explain::Args),
}

/// What keeps a command from being done.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("cannot read `{path}`: {source}")]
    Read { path: String, source: io::Error },
    #[error("`{path}` is longer than {most} bytes, which no policy is")]
    TooLong { path: String, most: usize },
    #[error(
        "found no policy in {0}; policies are named `NAME.yaml`, their cases `NAME.cases.yaml`"
    )]
    NoPolicy(String),
    #[error(
        "found no cases in {0}; cases are named `NAME.cases.yaml` and stand beside `NAME.yaml`"
    )]
    NoCases(String),
    #[error("cannot use a policy or cases with problems:\n{0}")]
    Problems(Problems),
    #[error("`{0}` holds no statement")]
    NoStatement(String),
    #[error("`{0}` cannot be used: {1}")]
    Request(String, String),
    #[error("found no run under policy `{policy}` in `{folder}`; `--policy` names another one")]
    NoRuns { policy: guard_core::PolicyName, folder: String },
    #[error(transparent)]
    Records(#[from] super::audit::Unusable),
    #[error("cannot write the answer: {0}")]
    Write(io::Error),
    #[error("cannot start: {0}")]
    Thread(io::Error),
    #[error("gave up: the analysis of a statement failed")]
    Failed,
}

/// Runs the command.
pub(crate) fn main(args: Args) -> ExitCode {
    let run = move || match args.command {
        Command::Check(args) => check::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Replay(args) => replay::main(&args),
        Command::Explain(args) => explain::main(&args),
    };
    let done = std::thread::Builder::new()
        .name("policy".to_owned())
        .stack_size(STACK)
        .spawn(run)
        .map_err(Unusable::Thread)
        .and_then(|thread| thread.join().map_err(|_| Unusable::Failed)?);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text: Vec<_> = error.to_string().lines().map(printable).collect();
            // Nobody may be listening any more; the exit code says it, too.
            let _ = writeln!(io::stderr(), "guard: {}", text.join("\n"));
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Writes an answer. A reader that has seen enough is no error.
fn write(text: &str) -> Result<(), Unusable> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Unusable::Write),
    }
}

fn write_json(value: &serde_json::Value) -> Result<(), Unusable> {
    write(&format!("{value:#}\n"))
}

/// `1 rule`, `2 rules`.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn problems_json(problems: &Problems) -> Vec<serde_json::Value> {
    let one = |problem: &guard_core::document::Problem| {
        serde_json::json!({
            "file": problem.file,
            "line": problem.at.line,
            "column": problem.at.column,
            "message": problem.message,
            "help": problem.help,
        })
    };
    problems.iter().map(one).collect()
}

/// Problems as text, with nothing in it that a terminal would obey.
fn problems_text(problems: &Problems) -> String {
    problems.to_string().lines().map(|line| format!("{}\n", printable(line))).collect()
}
