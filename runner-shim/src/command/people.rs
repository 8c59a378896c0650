//! `guard login`, `logout`, `approvals`, `approve` and `deny`: for people, not for jobs.

mod kept;

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::Args;
use guard_audit::report::{printable, visible};
use guard_core::{
    ApprovalId, Secret,
    people::{ApprovalView, AskPersonToken, DecideApproval, DeviceState, PersonInfo},
};
use guard_engine::{
    control::ControlError,
    http::{BrokerClient, BrokerUrl, InvalidBrokerUrl, Proof},
};
use tokio::time::{Instant, sleep};

use kept::{Kept, KeptError};

/// RFC 8628 section 3.5: what `slow_down` adds to the pause.
const SLOWER: Duration = Duration::from_secs(5);
/// A provider that gives no time, and one that gives too much, waits for so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// Nobody is asked more often.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The environment's broker.
const BROKER: &str = "GUARD_BROKER_URL";

const LOGIN: &str = "Example:
  guard login --broker https://guard.example.com

Shows an address and a code. Whoever opens the address and signs in there is signed in here: what shows it is kept in
`$XDG_CONFIG_HOME/guard/people.json`, readable by this user only, until its time is over or `guard logout`.
Exit codes: 0 signed in · 1 not";

const DECIDE: &str = "Example:
  guard approve 01928f4e-8f3a-7cc2-9d2f-2f8c6f0e5a11 --reason \"the cleanup of June\"

Shows what it is about first. Exit codes: 0 it counts · 1 it does not";

#[derive(Debug, Args)]
#[command(after_help = LOGIN)]
pub(crate) struct LoginArgs {
    /// The broker
    #[arg(long, value_name = "URL", env = BROKER)]
    broker: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The broker, where several are known
    #[arg(long, value_name = "URL", env = BROKER)]
    broker: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The broker, where several are known
    #[arg(long, value_name = "URL", env = BROKER)]
    broker: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = DECIDE)]
pub(crate) struct DecideArgs {
    /// The request
    #[arg(value_name = "ID")]
    id: ApprovalId,
    /// Why; kept in the run's record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// The broker, where several are known
    #[arg(long, value_name = "URL", env = BROKER)]
    broker: Option<String>,
}

/// Why it does not work.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Address(#[from] InvalidBrokerUrl),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("{0}")]
    Broker(#[from] ControlError),
    #[error("nobody is signed in: `guard login --broker URL`")]
    Nobody,
    #[error("several brokers are known: say which with `--broker`")]
    Several,
    #[error("the sign-in was refused, or none of your groups has a role at this broker")]
    Denied,
    #[error("nobody signed in in time: `guard login` again")]
    Late,
    #[error("it does not start: {0}")]
    Start(#[from] std::io::Error),
}

/// `guard login`.
pub(crate) fn login(args: &LoginArgs) -> ExitCode {
    finish(block_on(async {
        let broker = BrokerUrl::parse(&args.broker)?;
        let client = BrokerClient::new(broker.clone())?;
        let begun = client.device().await?;
        let address = printable(&begun.verification_uri);
        say(&format!("open {address} and enter the code {}", printable(&begun.user_code)));
        if let Some(complete) = &begun.verification_uri_complete {
            say(&format!("or open {} and compare the code", printable(complete)));
        }
        let ask = AskPersonToken { device_code: begun.device_code };
        let patience = Duration::from_secs(begun.expires_in).min(PATIENCE);
        let until = Instant::now() + if patience.is_zero() { PATIENCE } else { patience };
        let mut pause = Duration::from_secs(begun.interval).max(MIN_PAUSE);
        while Instant::now() < until {
            sleep(pause).await;
            match client.device_token(&ask).await {
                Ok(DeviceState::Waiting) => {}
                Ok(DeviceState::SlowDown) => pause += SLOWER,
                Ok(DeviceState::Denied) => return Err(Problem::Denied),
                Ok(DeviceState::Expired) => return Err(Problem::Late),
                Ok(DeviceState::SignedIn { token, person }) => {
                    let mut kept = Kept::load()?;
                    kept.set(broker.as_str(), &Secret::new(token), person.until);
                    kept.save()?;
                    say(&signed_in(&person));
                    return Ok(());
                }
                // The next broker, or the next moment.
                Err(error) if error.is_unanswered() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::Late)
    }))
}

/// `guard logout`.
pub(crate) fn logout(args: &LogoutArgs) -> ExitCode {
    finish(block_on(async {
        let mut kept = Kept::load()?;
        let (client, broker) = client(&kept, args.broker.as_deref())?;
        // The file first: what the broker does not hear of ends by itself.
        kept.remove(broker.as_str());
        kept.save()?;
        client.sign_out().await?;
        say("signed out");
        Ok(())
    }))
}

/// `guard approvals`.
pub(crate) fn list(args: &ListArgs) -> ExitCode {
    finish(block_on(async {
        let (client, _) = client(&Kept::load()?, args.broker.as_deref())?;
        let found = client.approvals().await?;
        if args.json {
            print(&serde_json::to_string_pretty(&found).unwrap_or_default());
            return Ok(());
        }
        if found.waiting.is_empty() {
            say("nothing waits");
        }
        for (index, one) in found.waiting.iter().enumerate() {
            if index > 0 {
                print("");
            }
            print(&about(one));
        }
        Ok(())
    }))
}

/// `guard approve` and `guard deny`.
pub(crate) fn decide(args: &DecideArgs, grant: bool) -> ExitCode {
    finish(block_on(async {
        let (client, _) = client(&Kept::load()?, args.broker.as_deref())?;
        print(&about(&client.approval(args.id).await?));
        let decision = DecideApproval { grant, reason: args.reason.clone() };
        let one = client.decide(args.id, &decision).await?;
        say(&format!("you said {}; it is {}", if grant { "yes" } else { "no" }, one.state));
        Ok(())
    }))
}

/// A request, for a terminal: nothing that a job wrote can move its cursor or hide.
fn about(one: &ApprovalView) -> String {
    let mut lines = vec![
        format!("{}  {}", one.id, one.state),
        format!("  {}", printable(&one.what)),
        format!("  run        {} by {}", printable(&one.repository), printable(&one.actor)),
        format!("  resource   {} · rules {}", printable(&one.resource), one.rules.join(", ")),
        format!("  until      {}", one.until.strftime("%Y-%m-%d %H:%M:%S UTC")),
    ];
    if !one.effects.is_empty() {
        lines.push(format!("  effects    {}", printable(&one.effects.join(", "))));
    }
    if let Some(rows) = one.estimated_rows {
        lines.push(format!("  rows       about {rows}, by the server's planner"));
    }
    for line in visible(&one.text).lines() {
        lines.push(format!("    | {line}"));
    }
    if one.cut {
        lines.push("    | … this is the beginning; what is decided on is the whole".into());
    }
    lines.push(format!("  all of it  {}", printable(&one.address)));
    if let Some(why) = &one.why_not {
        lines.push(format!("  your word would not count: {}", printable(why)));
    }
    lines.join("\n")
}

fn signed_in(person: &PersonInfo) -> String {
    format!(
        "signed in as {} ({}) until {}",
        printable(&person.name),
        person.roles.join(", "),
        person.until.strftime("%Y-%m-%d %H:%M UTC")
    )
}

/// A client that shows who is signed in.
fn client(kept: &Kept, broker: Option<&str>) -> Result<(BrokerClient, BrokerUrl), Problem> {
    let broker = match broker {
        Some(broker) => BrokerUrl::parse(broker)?,
        None => {
            let mut known = kept.brokers();
            let one = known.next().ok_or(Problem::Nobody)?;
            if known.next().is_some() {
                return Err(Problem::Several);
            }
            BrokerUrl::parse(one)?
        }
    };
    let token = kept.token(broker.as_str()).ok_or(Problem::Nobody)?;
    Ok((BrokerClient::new(broker.clone())?.with_proof(Proof::Person(token)), broker))
}

fn block_on(what: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(what)
}

fn finish(done: Result<(), Problem>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&problem.to_string());
            ExitCode::FAILURE
        }
    }
}

/// For whoever sits there.
fn say(line: &str) {
    // Nobody may be reading any more.
    drop(writeln!(std::io::stderr(), "guard: {line}"));
}

fn print(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
