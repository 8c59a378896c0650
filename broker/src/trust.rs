//! `guard-broker trust explain`: which rule a run gets, and why it gets none of the others.
//!
//! For whoever writes rules. Whoever asks the broker for a session learns none of this.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use guard_core::{Identity, Timestamp};
use guard_policy::{Explained, Outcome};
use serde_json::{Map, Value, json};

use crate::{
    claims,
    config::{self, Config, IssuerConfig},
    issuers::Issuers,
    jws::{self, Verified},
};

/// A token has some kilobytes; a larger file is something else.
const MAX_FILE: u64 = 1 << 20;

/// Trust rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say which trust rule a token or its claims meet, and the first gate that each other one shuts
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker trust explain --config guard.yaml --token token.jwt
  guard-broker trust explain --config guard.yaml --claims claims.json --issuer github --json

A token's signature is checked with the issuer's keys, and its audience and times are looked at; none of the three
changes which rule is named. Claims are believed.
Exit codes: 0 a rule gives grants · 1 none does, or the configuration, the token or the claims are wrong")]
struct Explain {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "guard.yaml", env = "GUARD_CONFIG")]
    config: PathBuf,
    /// An identity token, as the platform gave it; `-` for standard input
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "claims",
        conflicts_with = "claims"
    )]
    token: Option<PathBuf>,
    /// A token's claims as a JSON object; `-` for standard input
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// The issuer's name in the configuration; the one of the claim `iss` if left out
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// What was looked at besides the rules: what, and what is wrong with it.
type Checks = Vec<(&'static str, Option<String>)>;

/// Runs it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let What::Explain(args) = args.what;
    let config = config::load(&args.config).map_err(|problems| anyhow!("{problems}"))?;
    let shown = match (&args.token, &args.claims) {
        (Some(path), _) => Shown::Token(read(path)?),
        (None, Some(path)) => Shown::Claims(read(path)?),
        (None, None) => bail!("give `--token` or `--claims`"),
    };
    let (text, admitted) = explain(&config, &shown, args.issuer.as_deref(), args.json).await?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if admitted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What there is to explain.
pub(crate) enum Shown {
    /// A token.
    Token(String),
    /// Claims as JSON.
    Claims(String),
}

/// What is said of it, and whether a rule gives grants.
pub(crate) async fn explain(
    config: &Config,
    shown: &Shown,
    issuer: Option<&str>,
    json: bool,
) -> anyhow::Result<(String, bool)> {
    let (who, checks) = match shown {
        Shown::Token(text) => of_token(config, text, issuer, Timestamp::now()).await?,
        Shown::Claims(text) => (of_claims(config, text, issuer)?, vec![]),
    };
    let rules = config.trust.explain(&who);
    let text = if json { as_json(&who, &checks, &rules) } else { as_text(&who, &checks, &rules) };
    let admitted = rules.iter().any(|rule| matches!(rule.outcome, Outcome::Admits(_)));
    Ok((text, admitted))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let from: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("`{}`", path.display()))?)
    };
    from.take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(|| format!("`{}`", path.display()))?;
    Ok(text)
}

fn issuer<'a>(
    config: &'a Config,
    name: Option<&str>,
    claims: &Map<String, Value>,
) -> anyhow::Result<&'a IssuerConfig> {
    let url = claims.get("iss").and_then(Value::as_str);
    let found = match (name, url) {
        (Some(name), _) => config.issuers.iter().find(|issuer| issuer.name == name),
        (None, Some(url)) => config.issuers.iter().find(|issuer| issuer.url == url),
        (None, None) => bail!("the claims have no `iss`: name the issuer with `--issuer`"),
    };
    found.ok_or_else(|| {
        let known: Vec<_> =
            config.issuers.iter().map(|i| format!("`{}` ({})", i.name, i.url)).collect();
        let what = name.or(url).unwrap_or_default();
        anyhow!("`{}` is no configured issuer; there are {}", shown(what), known.join(", "))
    })
}

async fn of_token(
    config: &Config,
    text: &str,
    name: Option<&str>,
    now: Timestamp,
) -> anyhow::Result<(Identity, Checks)> {
    let text = text.trim();
    let wrong = |fault: jws::Fault| anyhow!("the token cannot be read: {fault}");
    let claims = jws::read(text).map_err(wrong)?.into_claims();
    let issuer = issuer(config, name, &claims)?;
    let issuers = Issuers::new(&config.audience, &config.issuers)?;
    let signature = issuers.authentic(text).await.err().map(|error| error.to_string());
    let token = Verified::written(claims);
    let told = |fault: jws::Fault| Some(fault.to_string());
    // Any key is fine here: the token itself says which one it is for.
    let bound = token.audiences(issuer.multi_audience).ok();
    let bound = bound.and_then(|list| list.iter().find_map(|aud| Some(aud.rsplit_once('#')?.1)));
    let key = bound.unwrap_or_default().to_owned();
    let audience = claims::check_audience(&token, issuer, &config.audience, &key);
    let checks = vec![
        ("signature", signature),
        ("audience", audience.err().and_then(told)),
        ("times", claims::check_times(&token, issuer, now).err().and_then(told)),
    ];
    let read = claims::read(&token, issuer).map_err(|fault| anyhow!("no run: {fault}"))?;
    Ok((read.identity, checks))
}

fn of_claims(config: &Config, text: &str, name: Option<&str>) -> anyhow::Result<Identity> {
    let mut claims = jws::parse_object(text.as_bytes()).context("the claims are no JSON object")?;
    let issuer = issuer(config, name, &claims)?;
    // What each token has one of its own of.
    claims.entry("jti").or_insert_with(|| "written-down".into());
    let token = Verified::written(claims);
    let read = claims::read(&token, issuer).map_err(|fault| anyhow!("no run: {fault}"))?;
    Ok(read.identity)
}

fn as_text(who: &Identity, checks: &Checks, rules: &[Explained<'_>]) -> String {
    let mut lines = vec![
        format!("run of issuer `{}` ({}): {}", who.issuer_name, who.platform.as_str(), who.run),
        format!("  {} {} {} {}", who.repository, who.git_ref, who.event, who.workflow),
    ];
    for (what, fault) in checks {
        lines.push(match fault {
            None => format!("{what}: right"),
            Some(fault) => format!("{what}: the broker would refuse it: {fault}"),
        });
    }
    for rule in rules {
        match &rule.outcome {
            Outcome::Admits(grants) => {
                lines.push(format!("rule `{}`: MATCHES", rule.rule));
                for (resource, policy, lasts) in grants {
                    lines.push(format!(
                        "  gives `{resource}` by policy `{policy}` for {} s",
                        lasts.as_secs()
                    ));
                }
            }
            Outcome::Behind(first) => lines
                .push(format!("rule `{}`: would match, but `{first}` stands before it", rule.rule)),
            Outcome::Refuses(gate) => {
                lines.push(format!("rule `{}`: {gate}", rule.rule));
                lines.extend(gate.hint.map(|hint| format!("  hint: {hint}")));
            }
        }
        lines.extend(rule.broad.map(|reason| format!("  it is broad, because: {reason}")));
    }
    if !rules.iter().any(|rule| matches!(rule.outcome, Outcome::Admits(_))) {
        lines.push("no rule matches: this run gets no session".to_owned());
    }
    lines.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n")
}

/// What a run names cannot write to the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn as_json(who: &Identity, checks: &Checks, rules: &[Explained<'_>]) -> String {
    let rules = rules.iter().map(|rule| {
        let (name, issuer, broad) = (rule.rule, rule.issuer, rule.broad);
        match &rule.outcome {
            Outcome::Admits(grants) => {
                let grants = grants.iter().map(|(resource, policy, lasts)| {
                    json!({ "resource": resource, "policy": policy, "seconds": lasts.as_secs() })
                });
                json!({
                    "rule": name, "issuer": issuer, "broad": broad, "outcome": "matches",
                    "grants": grants.collect::<Vec<_>>(),
                })
            }
            Outcome::Behind(first) => json!({
                "rule": name, "issuer": issuer, "broad": broad, "outcome": "behind",
                "behind": first,
            }),
            Outcome::Refuses(gate) => json!({
                "rule": name, "issuer": issuer, "broad": broad, "outcome": "refuses",
                "gate": gate.name, "reason": gate.reason, "hint": gate.hint,
            }),
        }
    });
    let checks = checks
        .iter()
        .map(|(what, fault)| json!({ "what": what, "right": fault.is_none(), "reason": fault }));
    let said = json!({
        "identity": who,
        "checks": checks.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
    });
    said.to_string()
}
