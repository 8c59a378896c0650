//! `guard-broker sessions`: what a person who runs the broker sees and ends.
//!
//! It works on the store. The brokers that run hear of it there, within a second.

mod gateways;
mod keys;
mod people;
mod records;
mod reload;

use std::{io::Write as _, path::PathBuf};

use anyhow::{anyhow, bail};
use guard_core::SessionId;

use crate::{
    config::{self, Config},
    serve,
    store::{Overview, Store},
};

pub(crate) use gateways::{GatewayArgs, run as gateways};
pub(crate) use keys::{KeyArgs, run as key};
pub(crate) use people::{PeopleArgs, run as people};
pub(crate) use records::{RecordArgs, run as records};
pub(crate) use reload::{ReloadArgs, run as reload};

/// What is said of the reason of an end at most.
const MAX_NOTE: usize = 500;

/// What all of these commands take.
#[derive(Debug, clap::Args)]
struct Common {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "guard.yaml",
        env = "GUARD_CONFIG",
        global = true
    )]
    config: PathBuf,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    /// The configuration, and the store that it names.
    async fn open(&self) -> anyhow::Result<(Config, Store)> {
        let config = config::load(&self.config).map_err(|problems| anyhow!("{problems}"))?;
        let store = serve::open_store(&config).await?;
        Ok((config, store))
    }
}

/// Sessions of the store.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker sessions list
  guard-broker sessions show 0192f0c0-7b1e-7000-8000-000000000000 --json
  guard-broker sessions end 0192f0c0-7b1e-7000-8000-000000000000 --reason 'incident 42'

Exit codes: 0 · 1 no configuration, no store, or no such session")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List sessions that live or are being ended, the newest first
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
        /// As many at most
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: u32,
    },
    /// Show one session: its run, what it may reach, the leases that are out
    Show {
        /// The session
        id: SessionId,
    },
    /// End a session now: its statements are cancelled and its connections closed within a second
    End {
        /// The session
        id: SessionId,
        /// Why, for the record and the report
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (_, store) = args.common.open().await?;
    let done = work(&store, &args).await;
    store.close().await;
    done
}

async fn work(store: &Store, args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::List { all, limit } => {
            let sessions = store.overview(*all, *limit).await?;
            if args.common.json {
                return print(&serde_json::to_string(&sessions)?);
            }
            for session in &sessions {
                print(&line(session))?;
            }
        }
        What::Show { id } => {
            let Some(session) = store.overview_of(*id).await? else {
                bail!("there is no session {id}");
            };
            if args.common.json {
                return print(&serde_json::to_string(&session)?);
            }
            print(&whole(&session))?;
        }
        What::End { id, reason } => {
            if reason.len() > MAX_NOTE || reason.chars().any(char::is_control) {
                bail!("a reason is one line of at most {MAX_NOTE} bytes");
            }
            let ended = store.revoke(*id, reason).await?;
            let Some(session) = store.overview_of(*id).await? else {
                bail!("there is no session {id}");
            };
            if args.common.json {
                return print(&serde_json::to_string(&session)?);
            }
            let why = session.reason.as_deref().unwrap_or("over");
            print(&if ended {
                format!("session {id} is over: {why}")
            } else {
                format!("session {id} was over already: {why}")
            })?;
        }
    }
    Ok(())
}

/// One line of a list.
fn line(session: &Overview) -> String {
    let run = &session.identity;
    let state = match &session.reason {
        Some(reason) => format!("{} ({reason})", session.state),
        None => format!("{} until {}", session.state, session.until),
    };
    shown(&format!(
        "{}  {state}  {} {} run {}.{}  {}",
        session.id,
        run.repository,
        run.git_ref,
        run.run.run_id,
        run.run.attempt,
        session.trust_rule
    ))
}

fn whole(session: &Overview) -> String {
    let run = &session.identity;
    let mut lines = vec![
        ("session", session.id.clone()),
        ("state", session.state.to_owned()),
        ("run", run.run.to_string()),
        ("repository", format!("{} {}", run.repository, run.git_ref)),
        ("event", format!("{} by {}", run.event, run.actor)),
        ("trust rule", session.trust_rule.clone()),
        ("opened", session.opened_at.clone().unwrap_or_default()),
        ("until", session.until.clone()),
        ("heard of", session.heard_at.clone().unwrap_or_default()),
        ("ended", session.ended_at.clone().unwrap_or_default()),
        ("reason", session.reason.clone().unwrap_or_default()),
        ("note", session.note.clone().unwrap_or_default()),
        ("exit code", session.exit_code.map(|code| code.to_string()).unwrap_or_default()),
        ("entries", session.entries.to_string()),
    ];
    for grant in &session.grants {
        lines.push(("grant", format!("{} by policy {}", grant.resource, grant.policy)));
    }
    for tunnel in &session.tunnels {
        lines.push(("tunnel", format!("{} at gateway {}", tunnel.resource, tunnel.gateway)));
    }
    for lease in &session.leases {
        lines.push(("lease", format!("{} of {} at {}", lease.id, lease.resource, lease.holder)));
    }
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines: Vec<_> = lines.map(|(name, value)| shown(&format!("{name:<11} {value}"))).collect();
    lines.join("\n")
}

/// What a run names cannot write to the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
