//! `guard run`: a command with its resources behind guard.
//!
//! The order: find the run's identity token, exchange it for a session, open a listener for each resource,
//! start the child with addresses and no secrets, watch over both, and at the end have the record
//! sealed and the report written.

mod child;
pub(crate) mod doctor;
mod environment;
mod finish;
mod isolation;
mod listener;
mod output;
mod renew;
mod route;
mod token;
mod watch;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use guard_core::{
    EndReason, EnforceAt, Isolation, ResourceName,
    control::{ReachedIsolation, SessionInfo},
};
use guard_engine::{
    control::ControlError,
    egress::EgressJudge,
    end::EndSignal,
    exchange::{Session, exchange},
    http::{BrokerClient, BrokerUrl, InvalidBrokerUrl},
    keys::{KeyError, SessionKey},
    threads::Threads,
};

use crate::{
    sandbox,
    words::{chain, say},
};

/// Exit code of a run that is parked: people have to approve something, and it is to be run again (`EX_TEMPFAIL`).
pub(crate) const PARKED: u8 = 75;
/// Exit code of guard's own failures.
pub(crate) const FAILED: u8 = 125;
/// Connections that are open when the child is gone may end by themselves for this long.
const CONNECTIONS_DRAIN: Duration = Duration::from_millis(500);

/// Arguments of `guard run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard run --broker https://guard.example.com -- ./backup.sh
  guard run --resource orders -- psql -c 'select count(*) from orders'

The command finds its resources in PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE, \
DATABASE_URL and GUARD_<RESOURCE>_URL.

Exit codes: the command's own, or 128 + the signal that ended it · 75 people have to approve something: \
run it again then · 125 guard failed · \
126 the command cannot be started · 127 there is no such command")]
pub(crate) struct Args {
    /// The broker's address
    #[arg(long, env = "GUARD_BROKER_URL", value_name = "URL")]
    broker: Option<String>,
    /// A resource that the command needs; all that the run may have if left out
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<ResourceName>,
    /// Where the report goes, in a folder named after the session
    #[arg(long, value_name = "DIR", default_value = "guard-report")]
    report: PathBuf,
    #[command(flatten)]
    token: token::Said,
    /// How much of the machine the command is kept from: `strict`, `landlock` or `env`, and nothing is run where that cannot be
    /// reached; `auto` takes the best that the machine gives
    #[arg(long, env = "GUARD_ISOLATION", value_name = "LEVEL", default_value = "auto")]
    isolation: isolation::Asked,
    /// Let the command write to this file or folder, too (at `landlock` and `strict`)
    #[arg(long, value_name = "PATH")]
    writable: Vec<PathBuf>,
    #[command(flatten)]
    passed: environment::Passed,
    /// Leave the command's output as it is: nothing that guard knows to be secret is hidden in it
    #[arg(long)]
    raw: bool,
    /// End the command (SIGTERM) when its session is over before it; left alone otherwise
    #[arg(long)]
    kill_on_end: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

/// Why the command was not run, or its run cannot be vouched for.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("no broker: name it with `--broker URL` or in GUARD_BROKER_URL")]
    NoBroker,
    #[error(transparent)]
    Broker(#[from] InvalidBrokerUrl),
    #[error(transparent)]
    Token(#[from] token::TokenError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Route(#[from] route::RouteError),
    #[error(transparent)]
    Isolation(#[from] isolation::IsolationError),
    #[error("the command's output cannot be taken")]
    Output(#[source] std::io::Error),
    #[error("no listener for the command can be opened")]
    Listener(#[source] std::io::Error),
    #[error("the shim's memory cannot be hidden from the command")]
    Sandbox(#[source] std::io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Finish(#[from] finish::FinishError),
}

/// Threads of the data path: half of the processors. The command and often its server need the others.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// Runs the command.
pub(crate) fn main(args: Args) -> ExitCode {
    // Before there are threads, and before anybody could look.
    let own = environment::IDENTITY.into_iter().chain(args.token.token_env.as_deref());
    let hidden = sandbox::hide_memory().and_then(|()| sandbox::take_platform(own));
    if let Err(error) = hidden.map_err(RunError::Sandbox) {
        say(&chain(&error));
        return ExitCode::from(FAILED);
    }
    // This one is for what is not of a connection: the session's life and the child.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let started =
        runtime.and_then(|runtime| Ok((runtime, Arc::new(Threads::start_usual(workers())?))));
    let (runtime, threads) = match started {
        Ok(started) => started,
        Err(error) => {
            say(&format!("no threads can be started: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    // They outlive the run: what asks the broker may have a connection there.
    let result = runtime.block_on(run(args, &threads));
    // Copies that are under way in blocking threads are of no use any more.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&chain(&error));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(args: Args, threads: &Arc<Threads>) -> Result<u8, RunError> {
    let (source, broker) = token::find(&args.token, args.broker.as_deref())?;
    let broker = broker.or(args.broker.clone()).ok_or(RunError::NoBroker)?;
    let client = BrokerClient::new(BrokerUrl::parse(&broker)?)?;
    if source.is_development() {
        say(
            "DEVELOPMENT: this identity comes from `guard-broker dev` on this machine and proves nothing",
        );
    }
    // It has its own processes and takes a moment, in which the broker is asked.
    let outputs = output::Outputs::new(args.raw).map_err(RunError::Output)?;
    let hidden = args.token.files().into_iter().collect();
    let attempt =
        isolation::Attempt::begin(args.isolation, &args.command, &args.writable, hidden, || {
            outputs.for_command()
        });
    let known = output::Known::default();
    for secret in sandbox::platform_secrets() {
        known.add(&secret);
    }
    let key = SessionKey::generate()?;
    let (token, audience) = match source.presented() {
        Some(token) => (token?, None),
        None => {
            let audience = match &args.token.audience {
                Some(audience) => audience.clone(),
                None => client.audience().await?.audience,
            };
            // For this run's key alone: whoever finds the token cannot exchange it.
            let audience = format!("{audience}#{}", key.thumbprint()?);
            (source.request(&audience).await?, Some(audience))
        }
    };
    let session = exchange(&client, key, &token, &args.resources).await.inspect_err(|error| {
        if audience.is_none() && matches!(error, ControlError::Refused { code, .. } if code == "invalid_grant") {
            say("hint: a token that was there before guard is taken once, and only where its issuer has `bind: none`");
        }
    })?;
    known.add(&token);
    known.add(&session.token);
    drop(token);
    let locked = sandbox::lock_memory();
    tracing::debug!(?locked, "the session's key is made");

    let mut refusals = watch::Refusals::default();
    let end = EndSignal::default();
    let tokens = renew::Tokens { source: &source, audience, known: &known };
    let way = Way { attempt, outputs, known: &known };
    let code = guarded(&args, &session, way, &tokens, threads, &end, &mut refusals).await;
    // What was parked at the last moment parks the run, too.
    drop(refusals.ask(&session, Duration::ZERO).await);
    let parked = *refusals.parked.borrow();
    let code = if parked { code.map(|_| PARKED) } else { code };
    let exit_code = match &code {
        Ok(code) => *code,
        Err(_) => FAILED,
    };
    let finished = finish::finish(&args.report, &session, exit_code, &mut refusals).await;
    match (code, finished) {
        (Err(error), _) => Err(error),
        // A run whose record is not sealed is not one to rely on; a failure of its own says more.
        (Ok(0), Err(error)) => Err(error.into()),
        (Ok(code), Err(error)) => {
            say(&chain(&error));
            Ok(code)
        }
        (Ok(code), Ok(())) => Ok(code),
    }
}

/// What stands around the command.
struct Way<'a> {
    attempt: isolation::Attempt,
    outputs: output::Outputs,
    known: &'a output::Known,
}

/// From the session to the end of the child; everything that was opened is closed when it returns.
async fn guarded(
    args: &Args,
    session: &Session,
    way: Way<'_>,
    tokens: &renew::Tokens<'_>,
    threads: &Arc<Threads>,
    end: &EndSignal,
    refusals: &mut watch::Refusals,
) -> Result<u8, RunError> {
    let reached = way.attempt.settle(session.info.isolation)?;
    let mut routes = Vec::new();
    for grant in &session.info.grants {
        routes.push((grant, route::open(session, grant, threads, way.known).await?));
    }
    introduce(&session.info, &reached.word);
    // Recorded before the command can do anything.
    session.client.isolated(&reached.word).await?;
    let network = match (&reached.place, reached.word.level) {
        (Some(_), _) => listener::Network::Inside,
        (None, Isolation::Env) => listener::Network::Here,
        (None, Isolation::Landlock | Isolation::Strict) => listener::Network::Ports,
    };
    let judge =
        session.info.egress.then(|| Arc::new(session.client.clone()) as Arc<dyn EgressJudge>);
    let mut listeners =
        listener::Listeners::open(&routes, judge, threads, network).map_err(RunError::Listener)?;
    let ports = listeners.ports();
    for endpoint in listeners.endpoints() {
        way.known.add(&endpoint.password);
    }
    if let Some(out) = listeners.way_out() {
        way.known.add(&out.password);
    }
    let token = args.token.token_env.as_deref();
    let environment =
        environment::environment(listeners.endpoints(), listeners.way_out(), &args.passed, token);
    let mut signals = child::Signals::new().map_err(RunError::Signals)?;

    let plan = child::Plan { command: &args.command, environment: &environment, reached, ports };
    let started = child::start(plan, &way.outputs);
    drop(environment);
    let filters = way.outputs.filter(way.known).map_err(RunError::Output)?;
    let mut process = match started {
        Ok(process) => process,
        Err(error) => {
            say(&error.message);
            close(listeners, &routes, EndReason::Finished).await;
            return Ok(error.code);
        }
    };
    let opened = std::mem::take(&mut process.listeners);
    listeners.adopt(opened).map_err(RunError::Listener)?;
    let mut over = false;
    let mut parked = refusals.parked.subscribe();
    let mut told = false;
    let code = {
        let watching = async {
            tokio::select! {
                reason = watch::watch(session, end, refusals) => reason,
                never = renew::keep(session, tokens) => match never {},
            }
        };
        tokio::pin!(watching);
        loop {
            tokio::select! {
                code = process.wait() => break code,
                signal = signals.next() => process.forward(signal),
                Ok(_) = parked.wait_for(|parked| *parked), if !told => {
                    told = true;
                    say("the run ends here: run the job again when it is approved");
                    process.forward(rustix::process::Signal::TERM);
                }
                reason = &mut watching, if !over => {
                    over = true;
                    say(&format!("the session is over: {reason}"));
                    for (_, route) in &routes {
                        route.end(reason);
                    }
                    listeners.shut_way_out();
                    if args.kill_on_end {
                        process.forward(rustix::process::Signal::TERM);
                    }
                }
            }
        }
    };
    let hidden = tokio::task::spawn_blocking(|| filters.finish()).await.unwrap_or_default();
    if hidden > 0 {
        say(&format!("{hidden} secret(s) were hidden in the command's output"));
    }
    close(listeners, &routes, EndReason::Finished).await;
    Ok(code)
}

async fn close(
    listeners: listener::Listeners<'_>,
    routes: &[(&guard_core::control::GrantInfo, Arc<route::Route>)],
    reason: EndReason,
) {
    listeners.close(CONNECTIONS_DRAIN).await;
    for (_, route) in routes {
        route.finish(reason).await;
    }
}

/// Who this is, what it may reach, where that is enforced, and until when.
fn introduce(info: &SessionInfo, isolation: &ReachedIsolation) {
    for grant in info.grants.iter().filter(|grant| !grant.mode.enforces()) {
        say(&format!(
            "policy `{}` only OBSERVES `{}`: what it blocks is recorded and not refused",
            grant.grant.policy, grant.grant.resource
        ));
    }
    let who = &info.identity;
    let reach: Vec<_> = info
        .grants
        .iter()
        .map(|grant| {
            let at = match (grant.enforce_at, &grant.gateway) {
                (EnforceAt::Gateway, Some(gateway)) => format!("gateway `{}`", gateway.name),
                (EnforceAt::Gateway, None) => "a gateway".into(),
                (EnforceAt::Shim, _) => "this shim".into(),
            };
            format!(
                "`{}` by policy `{}`, enforced at {at}",
                grant.grant.resource, grant.grant.policy
            )
        })
        .collect();
    say(&format!(
        "{} {} ({}), run {}.{}, may reach {}; until {} (session {})",
        who.repository,
        who.git_ref,
        who.event,
        who.run.run_id,
        who.run.attempt,
        reach.join("; "),
        info.until.strftime("%Y-%m-%d %H:%M:%S UTC"),
        info.id
    ));
    let why = match isolation.why_not.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join("; ")),
    };
    say(&format!("isolation of the command: {}{why}", isolation.level));
}
