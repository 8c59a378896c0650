//! `guard`: run a job's command beside the shim, run a gateway, and work with policies and records.

mod command;
mod sandbox;
mod words;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Keeps a CI job to what its policy says, without giving it a credential.
#[derive(Debug, Parser)]
#[command(
    name = "guard",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  guard run --broker https://guard.example.com -- ./backup.sh
  guard policy explain --policy policies/nightly-backup.yaml \"DELETE FROM orders\"
  guard audit verify record.jsonl --key seal.pub"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command with its resources behind guard
    Run(command::run::Args),
    /// Keep one session for a job with several steps
    Session(command::run::session::Args),
    /// Serve tunnels of shims beside the resources
    Gateway(command::gateway::Args),
    /// Check, test and explain policies
    Policy(command::policy::Args),
    /// Make and compare locks: what a job does, to be looked at and kept to
    Lock(command::lock::Args),
    /// Report on and verify records
    Audit(command::audit::Args),
    /// Sign in at a broker, to decide on what people are asked
    Login(command::people::LoginArgs),
    /// Sign out
    Logout(command::people::LogoutArgs),
    /// List what people are asked
    Approvals(command::people::ListArgs),
    /// Let a held or parked operation go on
    Approve(command::people::DecideArgs),
    /// Refuse a held or parked operation
    Deny(command::people::DecideArgs),
    /// Say what works here, what does not, and how to mend it
    Doctor(command::run::doctor::Args),
}

/// Exit code of a command line that cannot be understood, of every command but `run`.
const MISUSED: u8 = 2;
/// Which log lines are shown, in `tracing`'s form (`debug`, `guard_engine=trace`).
const LOG: &str = "GUARD_LOG";

fn main() -> ExitCode {
    // The process inside is this program again, before anything of it is set up.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == sandbox::strict::INSIDE
        && let Some(code) = sandbox::strict::inside::main(rest)
    {
        return code;
    }
    guard_engine::install_crypto_provider();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    // A job's log is for its own lines; a gateway's is for whoever runs it.
    let level = match &cli.command {
        Command::Gateway(_) => "info",
        Command::Run(_)
        | Command::Session(_)
        | Command::Policy(_)
        | Command::Lock(_)
        | Command::Audit(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Approvals(_)
        | Command::Approve(_)
        | Command::Deny(_)
        | Command::Doctor(_) => "error",
    };
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match cli.command {
        Command::Run(args) => command::run::main(args),
        Command::Session(args) => command::run::session::main(args),
        Command::Gateway(args) => command::gateway::main(args),
        Command::Policy(args) => command::policy::main(args),
        Command::Lock(args) => command::lock::main(args),
        Command::Audit(args) => command::audit::main(args),
        Command::Login(args) => command::people::login(&args),
        Command::Logout(args) => command::people::logout(&args),
        Command::Approvals(args) => command::people::list(&args),
        Command::Approve(args) => command::people::decide(&args, true),
        Command::Deny(args) => command::people::decide(&args, false),
        Command::Doctor(args) => command::run::doctor::main(&args),
    }
}

/// Help and versions succeed. What cannot be understood is guard's own failure, for which `guard run` has
/// an exit code that its command's own cannot be taken for.
fn misused(error: &clap::Error) -> ExitCode {
    // Nobody may be reading any more.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let runs = std::env::args_os().nth(1).is_some_and(|name| name == "run" || name == "session");
    ExitCode::from(if runs { command::run::FAILED } else { MISUSED })
}
