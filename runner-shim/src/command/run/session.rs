//! `guard session`: one session for a job with several steps.
//!
//! `start` leaves an agent behind, which keeps the session's key, its renewals and heartbeats and the ways to the gateways. Each
//! `guard run` of the job works in that session, with listeners, isolation and an output filter of its own, and sends its clients'
//! bytes through the agent's socket. `stop` ends the session and writes its report.

mod agent;
pub(super) mod attached;
mod commands;
mod ended;
mod runs;
mod serve;
mod shared;
mod socket;
mod start;
pub(super) mod wire;
pub(super) mod within;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Subcommand, ValueEnum};

use self::wire::AGENT;
use super::open;
use crate::command::lock::Learn;

/// Arguments of `guard session`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open a session for the runs that follow, and leave an agent that keeps it
    Start(Start),
    /// Say what the session is, and what its runs did so far
    Status(Status),
    /// End the session, wait until its record is sealed, and write its report
    Stop(Stop),
    /// What `start` leaves behind
    #[command(hide = true)]
    Agent(Start),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard session start >> \"$GITHUB_ENV\"
  eval \"$(guard session start --export)\"

Prints GUARD_SESSION=PATH, by which `guard run`, `guard session status` and `guard session stop` find the session.

Exit codes: 0 the session is open · 125 guard failed")]
struct Start {
    #[command(flatten)]
    asked: open::Asked,
    /// End the session when this process is gone
    #[arg(long, value_name = "PID")]
    parent: Option<i32>,
    /// Print `export GUARD_SESSION=…`, for a shell's `eval`
    #[arg(long)]
    export: bool,
}

/// Where the agent is.
#[derive(Debug, clap::Args)]
struct Where {
    /// The socket of the session's agent
    #[arg(long, env = AGENT, value_name = "PATH")]
    session: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Status {
    #[command(flatten)]
    place: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the record is sealed and the report written · 1 statements were refused (with `--fail-on blocked`) · \
125 guard failed, or the agent is gone")]
struct Stop {
    #[command(flatten)]
    place: Where,
    /// Where the report goes, if elsewhere than `start` said
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    #[command(flatten)]
    learn: Learn,
    /// When to fail: only when guard did (`error`), or also when a statement was refused (`blocked`)
    #[arg(long, value_name = "WHEN", default_value = "error")]
    fail_on: FailOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Error,
    Blocked,
}

/// The agent does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(
        "the session's agent at `{path}` cannot be reached: it has ended or was killed, and its log is beside the socket; `guard session start` opens another session",
        path = .0.display()
    )]
    Gone(PathBuf, #[source] io::Error),
    #[error("the session's agent at `{path}` belongs to another user", path = .0.display())]
    Foreign(PathBuf),
    #[error("the session's agent refused: {0}")]
    Refused(String),
    #[error(
        "the session's agent did not answer as it should: another version of guard may have started it"
    )]
    Garbled(#[source] io::Error),
    #[error("`{0}` is said when the session is started: a run takes the session that is there")]
    AtStart(&'static str),
    #[error(
        "`--step` names a run of a session that has several: start one with `guard session start`"
    )]
    NoSession,
    #[error(
        "`--learn` needs the whole session, which others may work in: say it when that ends, `guard session stop --learn`"
    )]
    LearnAtStop,
    #[error("the folder of the session's agent cannot be made")]
    Folder(#[source] io::Error),
    #[error("the session's agent cannot be started")]
    Start(#[source] io::Error),
    #[error("`--parent {0}`: there is no such process")]
    NoParent(i32),
}

/// Does what was asked.
pub(crate) fn main(args: Args) -> ExitCode {
    match args.command {
        Command::Start(start) => start::main(&start),
        Command::Status(status) => commands::status(&status),
        Command::Stop(stop) => commands::stop(&stop),
        Command::Agent(start) => agent::main(start),
    }
}
