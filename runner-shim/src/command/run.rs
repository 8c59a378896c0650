//! `guard run`: a command with its resources behind guard.
//!
//! The order: find the run's identity token, exchange it for a session, open a listener for each resource,
//! start the child with addresses and no secrets, watch over both, and at the end have the record
//! sealed and the report written.

mod aws;
mod child;
pub(crate) mod doctor;
mod environment;
mod finish;
mod isolation;
mod java;
mod life;
mod listener;
mod open;
mod output;
mod peer;
mod renew;
mod route;
pub(crate) mod session;
mod token;
mod trusted;
mod watch;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use guard_core::{
    EndReason, EnforceAt, Isolation,
    control::{GrantInfo, ReachedIsolation, SessionInfo},
};
use guard_engine::{
    control::ControlError, end::EndSignal, http::InvalidBrokerUrl, keys::KeyError, threads::Threads,
};

use crate::{
    command::lock::{Learn, LockError},
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
  guard run --step report -- ./report.sh
  guard run --resource orders -- psql -c 'select count(*) from orders'

The command finds its resources in PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE, \
DATABASE_URL and GUARD_<RESOURCE>_URL.

Exit codes: the command's own, or 128 + the signal that ended it · 75 people have to approve something: \
run it again then · 125 guard failed · \
126 the command cannot be started · 127 there is no such command")]
pub(crate) struct Args {
    #[command(flatten)]
    asked: open::Asked,
    #[command(flatten)]
    joined: session::attached::Joined,
    #[command(flatten)]
    learn: Learn,
    /// How much of the machine the command is kept from: `strict`, `landlock` or `env`, and nothing is run where that cannot be
    /// reached; `auto` takes the best that the machine gives
    #[arg(long, env = "GUARD_ISOLATION", value_name = "LEVEL", default_value = "auto")]
    isolation: isolation::Asked,
    /// Run the command as this user of the machine, by name or number; only root can
    #[arg(long, value_name = "USER")]
    user: Option<String>,
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
    Agent(#[from] session::AgentError),
    #[error(transparent)]
    Isolation(#[from] isolation::IsolationError),
    #[error(transparent)]
    User(#[from] sandbox::UserError),
    #[error(transparent)]
    Learn(#[from] LockError),
    #[error("the command's output cannot be taken")]
    Output(#[source] std::io::Error),
    #[error("the certificate that the command is to trust cannot be written")]
    Trusted(#[source] std::io::Error),
    #[error("no listener for the command can be opened")]
    Listener(#[source] std::io::Error),
    #[error("the shim's memory cannot be hidden from the command")]
    Sandbox(#[source] std::io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Finish(#[from] finish::FinishError),
}

/// Threads of the data path: half of the processors, as the command and often its server need the others, but not one alone, which a few
/// busy connections fill.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.div_ceil(2).max(processors.min(2))
}

/// Runs the command.
pub(crate) fn main(args: Args) -> ExitCode {
    let token = args.asked.token.token_env.clone();
    shielded(token.as_deref(), async move |threads: &Arc<Threads>| run(args, threads).await)
}

/// Hides this process from the command, and does its work on threads of its own. `token_env` is the variable that holds the
/// identity token, if the command line named one.
fn shielded(
    token_env: Option<&str>,
    work: impl AsyncFnOnce(&Arc<Threads>) -> Result<u8, RunError>,
) -> ExitCode {
    // Before there are threads, and before anybody could look.
    let own = environment::IDENTITY.into_iter().chain(token_env);
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
    let result = runtime.block_on(work(&threads));
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
    match args.joined.agent() {
        Some(socket) => session::within::run(&args, socket, threads).await,
        None => alone(&args, threads).await,
    }
}

/// A run with a session of its own.
async fn alone(args: &Args, threads: &Arc<Threads>) -> Result<u8, RunError> {
    args.joined.unused()?;
    let learning = args.learn.begin()?;
    let beginning = open::begin(&args.asked)?;
    // It has its own processes and takes a moment, in which the broker is asked.
    let known = output::Known::default();
    let hidden = args.asked.token.files().into_iter().collect();
    let way = Way::begin(args, hidden, &known)?;
    let open::Opened { session, source, audience } = beginning.open(&args.asked, &known).await?;

    let mut refusals = watch::Refusals::default();
    let tokens = renew::Tokens { source: &source, audience, known: &known };
    let mut life = life::Life::Own { session: &session, tokens, refusals: &mut refusals };
    let token = args.asked.token.token_env.as_deref();
    let code = guarded(args, &mut life, way, token, threads).await;
    drop(life);
    // What was parked at the last moment parks the run, too.
    drop(refusals.ask(&session, Duration::ZERO).await);
    let parked = *refusals.parked.borrow();
    let code = if parked { code.map(|_| PARKED) } else { code };
    let exit_code = match &code {
        Ok(code) => *code,
        Err(_) => FAILED,
    };
    let finished = finish::finish(&args.asked.report, &session, exit_code, &mut refusals).await;
    let finished = finished.and_then(|written| {
        finish::publish(&written)?;
        finish::learn(learning, &written)
    });
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
    user: Option<sandbox::User>,
    trusted: trusted::Trusted,
    attempt: isolation::Attempt,
    outputs: output::Outputs,
    known: &'a output::Known,
}

impl<'a> Way<'a> {
    /// Begins with the processes that the isolation needs. `hidden`: files that the command must not read.
    fn begin(
        args: &Args,
        hidden: BTreeSet<PathBuf>,
        known: &'a output::Known,
    ) -> Result<Self, RunError> {
        let user = args.user.as_deref().map(sandbox::User::find).transpose()?;
        let outputs = output::Outputs::new(args.raw).map_err(RunError::Output)?;
        let for_command = || outputs.for_command();
        let trusted = trusted::Trusted::new().map_err(RunError::Trusted)?;
        let (command, writable) = (&args.command, &args.writable);
        let attempt = isolation::Attempt::begin(
            args.isolation,
            command,
            writable,
            user.as_ref(),
            isolation::Places { hidden, shown: trusted.folder() },
            for_command,
        );
        Ok(Self { user, trusted, attempt, outputs, known })
    }
}

/// From the session to the end of the child; everything that was opened is closed when it returns. `token` is the variable that held
/// the identity token.
async fn guarded(
    args: &Args,
    life: &mut life::Life<'_>,
    way: Way<'_>,
    token: Option<&str>,
    threads: &Arc<Threads>,
) -> Result<u8, RunError> {
    let reached = way.attempt.settle(life.info().isolation)?;
    let routes = life.routes(threads, way.known).await?;
    let user = way.user.as_ref();
    introduce(life.info(), &reached.word, user);
    // Recorded before the command can do anything.
    life.isolated(&reached.word).await?;
    let network = match (&reached.place, reached.word.level) {
        (Some(_), _) => listener::Network::Inside,
        // A Unix socket would be in a folder of this user.
        (None, Isolation::Env) if user.is_none() => listener::Network::Here,
        (None, Isolation::Env) => listener::Network::Ports,
        (None, Isolation::Landlock | Isolation::Strict) => listener::Network::Ports,
    };
    let child = user.map_or_else(|| rustix::process::geteuid().as_raw(), sandbox::User::number);
    let mut listeners = listener::Listeners::open(&routes, life.judge(), threads, network, child)
        .map_err(RunError::Listener)?;
    let ports = listeners.ports();
    for endpoint in listeners.endpoints() {
        way.known.add(&endpoint.password);
    }
    if let Some(out) = listeners.way_out() {
        way.known.add(&out.password);
    }
    let environment =
        environment::environment(listeners.endpoints(), listeners.way_out(), &args.passed, token);
    let mut environment = environment.for_user(user);
    if let Some(out) = listeners.way_out() {
        let mut store = None;
        if let Some(authority) = &out.authority {
            let (variables, file) = way.trusted.write(authority).map_err(RunError::Trusted)?;
            environment.set.extend(variables);
            store = Some(file);
        }
        let java = java::options(environment.of_job(java::OPTIONS), out.port, store.as_deref());
        environment.set.push((java::OPTIONS.to_owned(), java));
    }
    let mut signals = child::Signals::new().map_err(RunError::Signals)?;

    let plan =
        child::Plan { command: &args.command, environment: &environment, reached, user, ports };
    let started = child::start(plan, &way.outputs);
    drop(environment);
    let values = output::Values::new(&life.info().detect);
    let filters = way.outputs.filter(way.known, values).map_err(RunError::Output)?;
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
    let mut parked = life.parked();
    let mut told = false;
    let end = EndSignal::default();
    let code = {
        let watching = life.over(&end);
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
    routes: &[(GrantInfo, Arc<route::Route>)],
    reason: EndReason,
) {
    listeners.close(CONNECTIONS_DRAIN).await;
    for (_, route) in routes {
        route.finish(reason).await;
    }
}

/// Who this is, what it may reach, where that is enforced, and until when; and at which level the command is.
fn introduce(info: &SessionInfo, isolation: &ReachedIsolation, user: Option<&sandbox::User>) {
    introduce_session(info);
    let why = match isolation.why_not.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join("; ")),
    };
    let user = user.map(|user| format!(", as user `{}`", user.name)).unwrap_or_default();
    say(&format!("isolation of the command: {}{user}{why}", isolation.level));
}

fn introduce_session(info: &SessionInfo) {
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
}
