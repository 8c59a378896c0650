//! `guard-broker`: gives the runs of pipelines sessions, and keeps the record of what they do.

mod admin;
mod api;
mod app;
mod claims;
mod config;
mod credentials;
mod dev;
mod error;
mod issuers;
mod jws;
mod leases;
mod log;
mod metrics;
mod pages;
mod people;
mod proofs;
mod protect;
mod record;
mod reload;
mod runs;
mod serve;
mod server;
mod sessions;
mod store;
mod telemetry;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// guard's control plane: exchanges a pipeline's identity token for a session, leases credentials,
/// keeps the records.
#[derive(Debug, Parser)]
#[command(name = "guard-broker", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  guard-broker check --config guard.yaml
  guard-broker serve --config guard.yaml
  guard-broker trust explain --config guard.yaml --token token.jwt
  guard-broker key --config guard.yaml > seal.pub
  guard-broker dev --postgres postgres://app@127.0.0.1:5432/shop --password-file pw --policy p.yaml";

const SERVE: &str = "Example:
  guard-broker serve --config /etc/guard/guard.yaml

Exit codes: 0 after SIGTERM or SIGINT · 1 the configuration is wrong, or the broker cannot start";

const CHECK: &str = "Examples:
  guard-broker check --config guard.yaml
  guard-broker check --config guard.yaml --connect

Each problem has file, line and column. Credentials are looked at with --connect only: for each policy that is granted
over a resource it takes one from its source and gives it back.
Exit codes: 0 nothing is wrong · 1 problems";

const KEY: &str = "Example:
  guard audit verify record.jsonl --key \"$(guard-broker key --config guard.yaml)\"

  guard-broker key rotate --config guard.yaml

The key is made if there is none yet. `rotate` makes a new one, which the old one signs in the log; brokers that run take it
up within seconds, each from its own file. Exit codes: 0 · 1 no configuration, no key, or no store";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    #[command(after_help = SERVE)]
    Serve(ConfigFile),
    /// Read the configuration, its trust rules and policies, and say all that is wrong with them
    #[command(after_help = CHECK)]
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Also take a credential from each source, and give it back
        #[arg(long)]
        connect: bool,
    },
    /// List the credentials that are out
    Leases(leases::Args),
    /// Wait until all brokers run by the files as they are
    Reload(admin::ReloadArgs),
    /// List gateways, let them in, and drain them
    Gateways(admin::GatewayArgs),
    /// List, show and end sessions
    Sessions(admin::Args),
    /// List who is signed in, and sign people out
    People(admin::PeopleArgs),
    /// Hold records, release and list holds, delete a record
    Records(admin::RecordArgs),
    /// Say why a run gets a session, or none
    Trust(trust::Args),
    /// Try guard out on this machine: a broker, an issuer and a gateway on loopback. Never for real work
    Dev(dev::Args),
    /// Only the issuer of `dev`
    #[command(hide = true)]
    DevIssuer(dev::IssuerArgs),
    /// Print the public key that verifies the seals of records, or replace it
    #[command(after_help = KEY)]
    Key(admin::KeyArgs),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "guard.yaml", env = "GUARD_CONFIG")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    if let Err(error) = protect::memory() {
        say(&format!("guard-broker: the broker's memory cannot be protected: {error}"));
        return ExitCode::FAILURE;
    }
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("guard-broker: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(ConfigFile { config }) => runtime()?.block_on(serve::run(&config))?,
        Command::Reload(args) => return runtime()?.block_on(admin::reload(args)),
        Command::Gateways(args) => runtime()?.block_on(admin::gateways(args))?,
        Command::Sessions(args) => runtime()?.block_on(admin::run(args))?,
        Command::People(args) => runtime()?.block_on(admin::people(args))?,
        Command::Records(args) => runtime()?.block_on(admin::records(args))?,
        Command::Trust(args) => return runtime()?.block_on(trust::run(args)),
        Command::Dev(args) => runtime()?.block_on(dev::run(args))?,
        Command::DevIssuer(args) => runtime()?.block_on(dev::run_issuer(args))?,
        Command::Leases(args) => runtime()?.block_on(leases::run(args))?,
        Command::Check { config: ConfigFile { config }, connect } => match config::load(&config) {
            Ok(found) => {
                if connect && !runtime()?.block_on(leases::try_all(&found))? {
                    return Ok(ExitCode::FAILURE);
                }
                say(&format!(
                    "{}: {} issuers, {} resources, {} policies, {} gateways: nothing is wrong",
                    config.display(),
                    found.issuers.len(),
                    found.resources.len(),
                    found.policies.len(),
                    found.gateways.len(),
                ));
                for advice in found.trust.advice() {
                    say(&format!("note: {advice}"));
                }
            }
            Err(problems) => {
                say(&problems.to_string());
                return Ok(ExitCode::FAILURE);
            }
        },
        Command::Key(args) => runtime()?.block_on(admin::key(args))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // The one crypto provider, for what the broker serves and for what it fetches.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a crypto provider is there already");
    }
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// JSON for machines, lines for people. Levels come from `GUARD_LOG`.
fn start_log() {
    let filter =
        EnvFilter::try_from_env("GUARD_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().flatten_event(true).with_current_span(false).init();
    }
}

/// A line on standard error. Nobody is left to tell if that fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
