//! `guard doctor`: what works here and what does not, and how to mend it.

use std::{
    collections::BTreeSet,
    io,
    process::{ExitCode, Stdio},
    time::Duration,
};

use guard_core::{Isolation, Timestamp};
use guard_engine::{
    exchange::exchange,
    http::{BrokerClient, BrokerUrl},
    keys::SessionKey,
};
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};

use super::{listener, token};
use crate::{
    sandbox::{
        self,
        landlock::{self, Files, Support},
        strict::Making,
    },
    words::chain,
};

/// Exit code when a run would fail here.
const BROKEN: u8 = 1;
/// A proof's time may differ from the broker's by a minute (RFC 9449 section 11.1); half of it is used up by then.
const CLOCK_TOLERANCE: i64 = 30;
/// Whoever does not answer within this is not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `guard doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard doctor --broker https://guard.example.com
  guard doctor --session --json

Exit codes: 0 a run works here · 1 it does not · 2 the command line cannot be understood")]
pub(crate) struct Args {
    /// The broker's address
    #[arg(long, env = "GUARD_BROKER_URL", value_name = "URL")]
    broker: Option<String>,
    #[command(flatten)]
    token: token::Said,
    /// Open a session and end it, and look whether its gateways can be reached
    #[arg(long)]
    session: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It works.
    Works,
    /// It does not, and runs go on without it.
    Missing,
    /// It does not, and no run works.
    Broken,
    /// It was not looked at.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do, if there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Serialize)]
struct Findings {
    /// Whether a run works here.
    works: bool,
    checks: Vec<Check>,
}

impl Check {
    fn works(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Works, found: found.into(), mend: None }
    }

    fn not(name: &'static str, state: State, found: impl Into<String>, mend: &str) -> Self {
        Self { name, state, found: found.into(), mend: Some(mend.to_owned()) }
    }
}

/// Looks, and says what was found.
pub(crate) fn main(args: &Args) -> ExitCode {
    let mut checks = isolation();
    checks.push(sockets());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => checks.extend(runtime.block_on(outside(args))),
        Err(error) => {
            let mend = "close what else runs: the system has no resources left";
            checks.push(Check::not("broker", State::Broken, error.to_string(), mend));
        }
    }
    let works = checks.iter().all(|check| check.state != State::Broken);
    let findings = Findings { works, checks };
    let mut out = io::stdout().lock();
    // Nobody may be reading any more.
    drop(if args.json { json(&mut out, &findings) } else { text(&mut out, &findings) });
    if works { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) }
}

fn json(out: &mut impl io::Write, findings: &Findings) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, findings)?;
    writeln!(out)
}

fn text(out: &mut impl io::Write, findings: &Findings) -> io::Result<()> {
    for check in &findings.checks {
        let mark = match check.state {
            State::Works => "ok     ",
            State::Missing => "missing",
            State::Broken => "BROKEN ",
            State::Unknown => "?      ",
        };
        let found: String = check.found.chars().filter(|c| !c.is_control()).collect();
        writeln!(out, "{mark}  {}: {found}", check.name)?;
        if let Some(mend) = &check.mend {
            writeln!(out, "         to mend: {mend}")?;
        }
    }
    writeln!(out, "{}", if findings.works { "a run works here" } else { "no run works here" })
}

/// The levels, the best first, and the shim's own memory.
fn isolation() -> Vec<Check> {
    let mut checks = Vec::new();
    let quiet = || Stdio::null();
    let here: BTreeSet<_> = std::env::current_dir().into_iter().collect();
    let ready = Making::begin(Files::default(), here, quiet(), quiet())
        .map_err(|error| error.to_string())
        .and_then(Making::ready);
    checks.push(match ready {
        Ok(_) => Check::works("isolation `strict`", "namespaces of its own can be made"),
        Err(reason) => Check::not(
            "isolation `strict`",
            State::Missing,
            reason,
            "let this user have user namespaces: on Ubuntu 24.04 `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, \
             elsewhere `sysctl user.max_user_namespaces=10000`; in a container they and an own /proc need \
             `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`",
        ),
    });
    checks.push(match landlock::support() {
        Support::Whole => Check::works("isolation `landlock`", "files, TCP ports and signals"),
        Support::WithoutSignals => Check::not(
            "isolation `landlock`",
            State::Works,
            "files and TCP ports, but no signals",
            "use a kernel from Linux 6.12 on",
        ),
        Support::Missing(why) => Check::not(
            "isolation `landlock`",
            State::Missing,
            why,
            "use a kernel from Linux 6.7 on with `landlock` among its `lsm=`",
        ),
    });
    checks.push(Check::works(
        "isolation `env`",
        format!(
            "everywhere (the levels are {})",
            Isolation::ALL.map(Isolation::as_str).join(" < ")
        ),
    ));
    checks.push(match sandbox::hide_memory() {
        Ok(()) => Check::works("the shim's memory", "others of this user cannot read it"),
        Err(error) => Check::not(
            "the shim's memory",
            State::Broken,
            error.to_string(),
            "allow prctl(PR_SET_DUMPABLE) to the job",
        ),
    });
    checks
}

/// Whether the listeners of a run can be opened.
fn sockets() -> Check {
    let opened = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|tcp| std::net::TcpStream::connect(tcp.local_addr()?))
        .and_then(|_| listener::private_folder());
    match opened {
        Ok(folder) => {
            let socket = std::os::unix::net::UnixListener::bind(folder.join("s"));
            drop(std::fs::remove_dir_all(&folder));
            match socket {
                Ok(_) => Check::works("sockets", "loopback TCP and Unix sockets"),
                Err(error) => Check::not(
                    "sockets",
                    State::Broken,
                    format!("no Unix socket in `{}`: {error}", folder.display()),
                    "set XDG_RUNTIME_DIR to a folder with a short path on a local disk",
                ),
            }
        }
        Err(error) => Check::not(
            "sockets",
            State::Broken,
            error.to_string(),
            "give the job a loopback interface, and a /tmp or XDG_RUNTIME_DIR that it may write to",
        ),
    }
}

/// What is elsewhere: who gives the token, the broker, its clock, gateways.
async fn outside(args: &Args) -> Vec<Check> {
    let found = token::find(&args.token, args.broker.as_deref());
    let (source, broker) = match found {
        Ok((source, broker)) => (Ok(source), broker.or_else(|| args.broker.clone())),
        Err(error) => (Err(error), args.broker.clone()),
    };
    let mut checks = Vec::new();
    let client = match broker.as_deref().map(BrokerUrl::parse) {
        Some(Ok(url)) => BrokerClient::new(url).map_err(|error| error.to_string()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("none is named".into()),
    };
    let client = match client {
        Ok(client) => client,
        Err(reason) => {
            let mend = "name it with `--broker https://…` or in GUARD_BROKER_URL";
            checks.push(Check::not("broker", State::Broken, reason, mend));
            checks.push(identity(source.as_ref().map(|_| ())));
            return checks;
        }
    };
    let audience = client.audience().await;
    match &audience {
        Ok(_) => {
            checks.push(Check::works("broker", format!("`{}` answers", client.broker())));
            checks.push(clock(client.broker().as_str()).await);
        }
        Err(error) => checks.push(Check::not(
            "broker",
            State::Broken,
            chain(error),
            "see that it runs, that this machine may connect to it, and that its certificate's authority is known here (SSL_CERT_FILE)",
        )),
    }
    checks.push(identity(source.as_ref().map(|_| ())));
    let (Ok(source), Ok(audience)) = (source, audience) else { return checks };
    if args.session {
        let audience = args.token.audience.clone().unwrap_or(audience.audience);
        checks.extend(session(&client, &source, &audience).await);
    } else {
        let found = "not looked at, since only a session knows its gateways";
        checks.push(Check::not("gateways", State::Unknown, found, "ask with `--session`"));
    }
    checks
}

fn identity(source: Result<(), &token::TokenError>) -> Check {
    match source {
        Ok(()) => Check::works("identity token", "there is somebody who gives one"),
        Err(error) => Check::not(
            "identity token",
            State::Broken,
            chain(error),
            "give the job its platform's identity, as docs/cli.md has it for each",
        ),
    }
}

/// Compares this machine's clock with the broker's, which is in each of its answers.
async fn clock(broker: &str) -> Check {
    let asked = async {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .ok()?;
        let answer = client.get(format!("{broker}/v1/audience")).send().await.ok()?;
        let date = answer.headers().get("date")?.to_str().ok()?.to_owned();
        jiff::fmt::rfc2822::parse(&date).ok()
    };
    let Some(theirs) = asked.await else {
        let found = "the broker's answer does not tell the time";
        return Check::not("clock", State::Unknown, found, "compare the clocks by hand");
    };
    let apart = Timestamp::now().as_second() - theirs.timestamp().as_second();
    if apart.abs() <= CLOCK_TOLERANCE {
        return Check::works("clock", format!("{} s from the broker's", apart.abs()));
    }
    let side = if apart > 0 { "ahead of" } else { "behind" };
    let found =
        format!("{} s {side} the broker's: proofs and tokens would be refused", apart.abs());
    Check::not("clock", State::Broken, found, "set both clocks by NTP")
}

/// Opens a session, tries its gateways, and ends it.
async fn session(client: &BrokerClient, source: &token::Source, audience: &str) -> Vec<Check> {
    let opened = async {
        let key = SessionKey::generate().map_err(|error| chain(&error))?;
        let token = match source.presented() {
            Some(token) => token.map_err(|error| chain(&error))?,
            None => {
                let thumbprint = key.thumbprint().map_err(|error| chain(&error))?;
                let audience = format!("{audience}#{thumbprint}");
                source.request(&audience).await.map_err(|error| chain(&error))?
            }
        };
        exchange(client, key, &token, &[]).await.map_err(|error| chain(&error))
    };
    let session = match opened.await {
        Ok(session) => session,
        Err(reason) => {
            let mend =
                "ask the broker's log by the decision's number, or `guard-broker trust explain`";
            return vec![Check::not("session", State::Broken, reason, mend)];
        }
    };
    let rule = &session.info.trust_rule;
    let mut checks = vec![Check::works("session", format!("given by trust rule `{rule}`"))];
    for grant in &session.info.grants {
        let name = &grant.grant.resource;
        let Some(gateway) = &grant.gateway else {
            if grant.enforce_at == guard_core::EnforceAt::Gateway {
                let found = format!("no gateway serves `{name}` now");
                let mend = "start `guard gateway`, and see that the broker knows its key";
                checks.push(Check::not("gateway", State::Broken, found, mend));
            }
            continue;
        };
        let reached = timeout(PATIENCE, TcpStream::connect(gateway.address.as_str())).await;
        let at = format!("`{}` of `{name}` at {}", gateway.name, gateway.address);
        checks.push(match reached {
            Ok(Ok(_)) => Check::works("gateway", format!("{at} can be reached")),
            Ok(Err(error)) => gateway_away(&format!("{at}: {error}")),
            Err(_) => gateway_away(&format!("{at} does not answer")),
        });
    }
    let end = guard_core::control::EndSession { exit_code: 0 };
    if let Err(error) = session.client.end(&end).await {
        let mend = "it ends by itself; see the broker's log";
        checks.push(Check::not("end of the session", State::Missing, chain(&error), mend));
    }
    checks
}

fn gateway_away(found: &str) -> Check {
    let mend = "let this machine connect to the gateway's address, or give `guard gateway` one that it can reach (`--advertise`)";
    Check::not("gateway", State::Broken, found, mend)
}
