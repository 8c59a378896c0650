//! `guard-broker gateways`: who they are, who comes in, and who gets no new sessions.

use anyhow::{anyhow, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{Digest, ResourceName, Timestamp};
use rand::TryRngCore as _;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Common, print, shown};
use crate::{
    config::{Config, KnownBy, Labels, is_own_name},
    sessions::{gateway_labels, gateway_state},
    store::{Store, StoredGateway},
};

/// A token that nobody used by then is of no use.
const LASTS: &str = "1h";

/// Gateways of the store and of the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker gateways
  guard-broker gateways enrol eu-2 --label region=eu --label net=prod > token
  guard-broker gateways drain eu-1

A token lets one gateway in, once: guard gateway --name eu-2 --enrol-token-file token …

Exit codes: 0 · 1 no configuration, no store, or no such gateway")]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List them; the same as without a command
    List,
    /// Make a token that lets a gateway in, and print it: it is shown once
    Enrol {
        /// The gateway's name
        name: ResourceName,
        /// What it is, for resources that choose by it
        #[arg(long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// How long the token can be used: a number with s, m or h
        #[arg(long, value_name = "TIME", default_value = LASTS)]
        lasts: String,
    },
    /// Give it no new sessions; those that it has go on
    Drain {
        /// The gateway
        name: ResourceName,
    },
    /// Give it sessions again
    Undrain {
        /// The gateway
        name: ResourceName,
    },
    /// Forget it: its key opens nothing any more
    Remove {
        /// The gateway
        name: ResourceName,
    },
}

/// A gateway as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    state: &'static str,
    labels: Labels,
    /// `configuration`, `identity` or `token`.
    known_by: &'static str,
    address: Option<String>,
    version: Option<String>,
    heard_at: Option<String>,
    sessions: i64,
}

/// Runs one of them.
pub(crate) async fn run(args: GatewayArgs) -> anyhow::Result<()> {
    let (config, store) = args.common.open().await?;
    let done = work(&store, &config, &args).await;
    store.close().await;
    done
}

async fn work(store: &Store, config: &Config, args: &GatewayArgs) -> anyhow::Result<()> {
    match &args.what {
        None | Some(What::List) => list(store, config, args.common.json).await,
        Some(What::Enrol { name, labels, lasts }) => {
            if config.gateways.contains_key(name.as_str()) {
                bail!("the key of gateway `{name}` stands in the configuration");
            }
            if is_own_name(name) {
                bail!("`{name}` is a name of guard's own");
            }
            let labels = Labels::parse(labels).map_err(|problem| anyhow!(problem))?;
            let lasts = duration(lasts)?;
            let mut bytes = Zeroizing::new([0_u8; 32]);
            rand::rngs::OsRng.try_fill_bytes(bytes.as_mut())?;
            let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
            store.offer_enrolment(name.as_str(), &labels, Digest::of(&*token), lasts).await?;
            if args.common.json {
                return print(
                    &json!({ "name": name, "labels": labels, "token": *token }).to_string(),
                );
            }
            print(&token)
        }
        Some(What::Drain { name }) => {
            require(store, config, name).await?;
            store.drain_gateway(name.as_str(), true).await?;
            say(args.common.json, &format!("gateway {name} gets no new sessions"))
        }
        Some(What::Undrain { name }) => {
            require(store, config, name).await?;
            store.drain_gateway(name.as_str(), false).await?;
            say(args.common.json, &format!("gateway {name} gets sessions"))
        }
        Some(What::Remove { name }) => {
            if config.gateways.contains_key(name.as_str()) {
                bail!("gateway `{name}` stands in the configuration: take it out there");
            }
            if !store.remove_gateway(name.as_str()).await? {
                bail!("there is no gateway `{name}`");
            }
            say(args.common.json, &format!("gateway {name} is forgotten"))
        }
    }
}

fn say(json: bool, text: &str) -> anyhow::Result<()> {
    if json { print(&json!({ "done": text }).to_string()) } else { print(text) }
}

/// A whole number with `s`, `m` or `h`, as configurations have it.
fn duration(text: &str) -> anyhow::Result<std::time::Duration> {
    let mut problems = guard_core::document::Problems::new();
    let node = guard_core::document::parse("--lasts", text, &mut problems);
    let found = node.and_then(|node| node.duration(&mut problems));
    let problem = problems.iter().next().map(|problem| problem.message.clone());
    found.ok_or_else(|| anyhow!("--lasts: {}", problem.unwrap_or_default()))
}

async fn all(store: &Store, config: &Config) -> anyhow::Result<Vec<StoredGateway>> {
    let mut found = store.gateways(true).await?;
    for name in config.gateways.keys() {
        if !found.iter().any(|gateway| gateway.name == *name) {
            found.push(StoredGateway::unheard(name));
        }
    }
    // Some registered when they were known, and are not any more.
    found.retain(|gateway| gateway_labels(config, gateway).is_some());
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

async fn require(store: &Store, config: &Config, name: &ResourceName) -> anyhow::Result<()> {
    if all(store, config).await?.iter().any(|gateway| gateway.name == name.as_str()) {
        return Ok(());
    }
    bail!("there is no gateway `{name}`")
}

async fn list(store: &Store, config: &Config, json: bool) -> anyhow::Result<()> {
    let gateways: Vec<_> =
        all(store, config).await?.iter().map(|gateway| show(config, gateway)).collect();
    if json {
        return print(&serde_json::to_string(&gateways)?);
    }
    for gateway in gateways {
        let heard = match &gateway.heard_at {
            Some(at) => format!("heard of at {at}"),
            None => "never heard of".to_owned(),
        };
        let version = gateway.version.unwrap_or_else(|| "-".into());
        let address = gateway.address.unwrap_or_else(|| "-".into());
        print(&shown(&format!(
            "{}  {}  {address}  {version}  {heard}  {} sessions  {}",
            gateway.name, gateway.state, gateway.sessions, gateway.labels
        )))?;
    }
    Ok(())
}

fn show(config: &Config, gateway: &StoredGateway) -> Shown {
    let heard = gateway.heard_at.filter(|at| *at > 0);
    let heard = heard.and_then(|at| Timestamp::from_millisecond(at).ok());
    Shown {
        name: gateway.name.clone(),
        state: gateway_state(config, gateway).as_str(),
        labels: gateway_labels(config, gateway).cloned().unwrap_or_default(),
        known_by: match config.gateways.get(&gateway.name).map(|found| &found.known_by) {
            Some(KnownBy::Key(_)) => "configuration",
            Some(KnownBy::Identity(_)) => "identity",
            None => "token",
        },
        address: gateway.info.as_ref().map(|info| info.address.clone()),
        version: gateway.version.clone(),
        heard_at: heard.map(|at| at.to_string()),
        sessions: gateway.sessions,
    }
}
