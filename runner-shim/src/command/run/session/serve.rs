//! One connection to the agent.

use std::{
    collections::HashSet,
    convert::Infallible,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use guard_core::{
    ResourceName, StepName,
    control::{AskEgress, ReachedIsolation, SessionInfo},
};
use guard_engine::{
    Arrival, ClientAuth, ClientIo, TurnedAway, alarm::unless, carry, control::ControlPlane as _,
    egress::EgressJudge as _,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{
    super::route::Route,
    shared::{Shared, Wish},
    socket,
    wire::{Ask, Attachment, Auth, FromRun, Said, Status, receive, send},
};
use crate::words::{chain, say};

/// Connections at a time: all clients of all runs are among them.
const MAX_CONNECTIONS: usize = 2_048;
/// From the connection to the first frame.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Notices of a run that goes are waited for so long.
const NOTICES_TIMEOUT: Duration = Duration::from_secs(3);
/// At the end, who is connected has so long to go.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
/// After an error of `accept` (out of file descriptors): closing connections may help meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections.
pub(super) async fn accept(shared: &Arc<Shared>, listener: UnixListener) -> Infallible {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if !socket::is_own(&stream) {
            say("refused a connection of another user on the session's socket");
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let Ok(stream) = stream.into_std() else { continue };
        let serving = shared.clone();
        shared.clients.spawn_on(
            async move {
                let _slot = slot;
                let Ok(stream) = UnixStream::from_std(stream) else { return };
                let cut = serving.cut.clone();
                if let Ok(Err(error)) = unless(cut.cancelled(), connection(&serving, stream)).await
                {
                    tracing::debug!(%error, "a connection to the agent broke");
                }
            },
            shared.threads.next(),
        );
    }
}

async fn connection(shared: &Arc<Shared>, mut stream: UnixStream) -> io::Result<()> {
    let ask = timeout(ASK_TIMEOUT, receive(&mut stream)).await??;
    let Some(ask) = ask else { return Ok(()) };
    let process = match admit(shared, &stream) {
        Ok(process) => process,
        Err(why) => {
            say(&format!("refused a connection on the session's socket: {why}"));
            return send(&mut stream, &Said::Refused(why)).await;
        }
    };
    match ask {
        Ask::Attach { resources, step, broker } => {
            attach(shared, stream, process, Wanted { resources, step, broker }).await
        }
        Ask::Open { run, resource, auth } => {
            let may = shared.runs().may(run, process, Some(&resource));
            let route = shared.routes.iter().find(|(name, _)| *name == resource && may);
            let Some((_, route)) = route else { return foreign(&mut stream).await };
            open(route, stream, run, auth).await
        }
        Ask::Egress { run, ask } => {
            if !shared.runs().may(run, process, None) {
                return foreign(&mut stream).await;
            }
            let ask = AskEgress { step: Some(run), ..ask };
            let said = match shared.session.client.egress(&ask).await {
                Ok(answer) => Said::Egress(answer),
                Err(error) => Said::Refused(chain(&error)),
            };
            send(&mut stream, &said).await
        }
        Ask::EgressEnded { run, id, outcome } => {
            if !shared.runs().may(run, process, None) {
                return foreign(&mut stream).await;
            }
            let said = match shared.session.client.egress_ended(id, outcome).await {
                Ok(()) => Said::Done,
                Err(error) => Said::Refused(chain(&error)),
            };
            send(&mut stream, &said).await
        }
        Ask::Status => {
            refresh(shared).await;
            send(&mut stream, &Said::Status(Box::new(status(shared)))).await
        }
        Ask::Stop { report } => stop(shared, stream, report).await,
    }
}

/// Lets a process in that is no command of a run. Gives its number.
fn admit(shared: &Shared, stream: &UnixStream) -> Result<i32, String> {
    let hidden =
        "its process cannot be seen from here: it is in another container, or already gone";
    let process = socket::process(stream).ok_or(hidden)?;
    let mut above = shared.runs().processes();
    // A run itself is asked what it may.
    above.remove(&process);
    match socket::is_below(process, &above) {
        Some(false) => {}
        Some(true) => return Err("a command of `guard run` has its listeners and no more".into()),
        None => return Err(hidden.into()),
    }
    // Looked at after the ancestors: a run that was killed before they were told is seen to be gone now.
    if shared.runs().one_is_gone() {
        return Err("a run of the session was killed".into());
    }
    Ok(process)
}

async fn foreign(stream: &mut UnixStream) -> io::Result<()> {
    let why = "this is no run of the session with that resource";
    send(stream, &Said::Refused(why.into())).await
}

/// What a run says when it comes.
struct Wanted {
    resources: Vec<ResourceName>,
    step: Option<StepName>,
    broker: Option<String>,
}

async fn attach(
    shared: &Arc<Shared>,
    mut stream: UnixStream,
    process: i32,
    wanted: Wanted,
) -> io::Result<()> {
    let line = stream.as_fd().try_clone_to_owned()?;
    let (to, told) = mpsc::unbounded_channel();
    let attached = join(shared, process, wanted, line, to);
    let (run, info) = match attached {
        Ok(attached) => attached,
        Err(why) => return send(&mut stream, &Said::Refused(why)).await,
    };
    let attachment = Attachment {
        run,
        info,
        hidden: shared.hidden.clone(),
        token_env: shared.token_env.clone(),
    };
    let talked = match send(&mut stream, &Said::Attached(Box::new(attachment))).await {
        Ok(()) => talk(shared, stream, run, told).await,
        Err(error) => Err(error),
    };
    // It went without a word, whatever the reason.
    let exit_code = talked.unwrap_or(None);
    if exit_code.is_none() {
        say(&format!("run {run} is gone without a word"));
    }
    if shared.runs().gone(run, exit_code) {
        drop(shared.wishes.send(Wish::Freed(run)));
    }
    Ok(())
}

fn join(
    shared: &Shared,
    process: i32,
    wanted: Wanted,
    line: OwnedFd,
    to: mpsc::UnboundedSender<Said>,
) -> Result<(u32, SessionInfo), String> {
    let Wanted { resources, step, broker } = wanted;
    let same = |named: &String| named.trim_end_matches('/') == shared.broker.trim_end_matches('/');
    if broker.as_ref().is_some_and(|named| !same(named)) {
        return Err(format!("the session is at the broker `{}`", shared.broker));
    }
    let mut info = shared.session.info.clone();
    for name in &resources {
        if !info.grants.iter().any(|grant| grant.grant.resource == *name) {
            return Err(format!("the session has no resource `{name}`"));
        }
    }
    if !resources.is_empty() {
        info.grants.retain(|grant| resources.contains(&grant.grant.resource));
    }
    (info.until, _) = *shared.heard.borrow();
    let granted: HashSet<_> = info.grants.iter().map(|g| g.grant.resource.clone()).collect();
    let run = shared.runs().attach(step, process, granted, line, to)?;
    Ok((run, info))
}

/// Talks with a run until it goes. Gives its exit code, if it said it.
async fn talk(
    shared: &Shared,
    stream: UnixStream,
    run: u32,
    mut told: mpsc::UnboundedReceiver<Said>,
) -> io::Result<Option<u8>> {
    let (mut from, mut to) = stream.into_split();
    let (heard, mut hears) = mpsc::channel(4);
    // A frame is read whole, whatever is said meanwhile.
    let reading = tokio::spawn(async move {
        while let Ok(Some(said)) = receive::<FromRun>(&mut from).await {
            if heard.send(said).await.is_err() {
                break;
            }
        }
    });
    let talking = async {
        loop {
            tokio::select! {
                Some(said) = told.recv() => send(&mut to, &said).await?,
                said = hears.recv() => match said {
                    Some(FromRun::Isolated(reached)) => {
                        let answer = isolated(shared, run, reached).await;
                        send(&mut to, &answer).await?;
                    }
                    Some(FromRun::Bye { exit_code }) => {
                        refresh(shared).await;
                        while let Ok(said) = told.try_recv() {
                            send(&mut to, &said).await?;
                        }
                        let counts = shared.runs().counts(run);
                        // Its word counts whether or not it still hears the answer.
                        drop(send(&mut to, &Said::Farewell { counts }).await);
                        return Ok(Some(exit_code));
                    }
                    None => return Ok(None),
                },
            }
        }
    };
    let talked = talking.await;
    reading.abort();
    talked
}

async fn isolated(shared: &Shared, run: u32, mut reached: ReachedIsolation) -> Said {
    reached.step = shared.runs().step(run);
    match shared.session.client.isolated(&reached).await {
        Ok(()) => {
            shared.runs().isolated(run, reached.level);
            Said::Done
        }
        Err(error) => Said::Refused(chain(&error)),
    }
}

/// Carries a client of a run to its resource.
async fn open(route: &Route, mut stream: UnixStream, run: u32, auth: Auth) -> io::Result<()> {
    let auth = match auth {
        Auth::Proven => ClientAuth::Proven,
        Auth::Password(password) => ClientAuth::Password(password),
    };
    let arrival = Arrival { auth, step: Some(run) };
    match route {
        Route::Tunnel(tunnel) => match Box::pin(tunnel.open(&arrival)).await {
            Ok(mut there) => {
                send(&mut stream, &Said::Opened).await?;
                carry(&mut stream, &mut there).await
            }
            Err(error) => {
                say(&chain(&error));
                let over = error.why() == TurnedAway::SessionOver;
                let message = error.to_string();
                send(&mut stream, &Said::TurnedAway { over, message }).await
            }
        },
        Route::Here(_) => {
            send(&mut stream, &Said::Opened).await?;
            let stream: ClientIo = Box::new(stream);
            route.serve(stream, arrival).await;
            Ok(())
        }
        // An agent has its session itself.
        Route::Agent(_) => foreign(&mut stream).await,
    }
}

async fn stop(shared: &Shared, mut stream: UnixStream, report: Option<PathBuf>) -> io::Result<()> {
    let (done, ended) = oneshot::channel();
    let asked = shared.wishes.send(Wish::Stop { report, done });
    let said = match (asked, ended.await) {
        (Ok(()), Ok(ended)) => Said::Ended(Box::new(ended)),
        // Another one stops it.
        (Ok(()), Err(_)) | (Err(_), _) => {
            Said::Refused("the session is being ended already".into())
        }
    };
    send(&mut stream, &said).await
}

/// Waits until what the broker knows now is passed on.
async fn refresh(shared: &Shared) {
    let session = &shared.session;
    // Behind all that there may be: only how many there are is asked.
    let state = session.client.state(session.info.id, u64::MAX, Duration::ZERO).await;
    let Ok(state) = state else { return };
    shared.runs().count(&state.steps);
    let mut heard = shared.heard.subscribe();
    let passed_on = heard.wait_for(|(_, passed_on)| *passed_on >= state.next);
    drop(timeout(NOTICES_TIMEOUT, passed_on).await);
}

fn status(shared: &Shared) -> Status {
    let info = &shared.session.info;
    let (until, _) = *shared.heard.borrow();
    let grants = info.grants.iter().map(|grant| &grant.grant);
    Status {
        session: info.id,
        broker: shared.broker.clone(),
        until,
        isolation: info.isolation,
        resources: grants.map(|g| (g.resource.clone(), g.policy.clone())).collect(),
        runs: shared.runs().status(),
        asked: shared.asked.clone(),
    }
}
