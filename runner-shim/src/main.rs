//! `guard`: run a job's command beside the shim, run a gateway, and work with policies and records.

mod command;

use clap::{Parser, Subcommand};

/// Keeps a CI job to what its policy says, without giving it a credential.
#[derive(Debug, Parser)]
#[command(name = "guard", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command with its resources behind guard
    Run(command::run::Args),
    /// Serve tunnels of shims beside the resources
    Gateway(command::gateway::Args),
    /// Check, test and explain policies
    Policy(command::policy::Args),
    /// Report on and verify records
    Audit(command::audit::Args),
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command {
        Command::Run(args) => command::run::main(args),
        Command::Gateway(args) => command::gateway::main(args),
        Command::Policy(args) => command::policy::main(args),
        Command::Audit(args) => command::audit::main(args),
    }
}
