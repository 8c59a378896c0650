//! The agent: opens the session, keeps it, and takes it to its end.
//!
//! It ends by `stop`, by SIGTERM, when the process that it was told to watch is gone, when the session is over, and when a run was killed
//! whose command may then be out of its hands. Every way leads through [`Keeping::close`], which ends the session at the broker and writes
//! the report.

use std::{
    fs,
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use guard_core::EndReason;
use guard_engine::{end::EndSignal, exchange::Session, threads::Threads};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch as channel},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{
        FAILED, RunError, finish, introduce_session, listener, open,
        output::Known,
        renew::{self, Tokens},
        route, shielded,
        watch::{self, Refusals},
    },
    AgentError, Start, ended, serve,
    shared::{Shared, Wish},
    socket::{self, LOG},
    start::Ready,
    wire::Ended,
};
use crate::words::{chain, say};

/// Runs the agent.
pub(super) fn main(start: Start) -> ExitCode {
    let token = start.asked.token.token_env.clone();
    shielded(token.as_deref(), async move |threads: &Arc<Threads>| {
        agent(start, threads).await.map(|()| 0)
    })
}

async fn agent(mut start: Start, threads: &Arc<Threads>) -> Result<(), RunError> {
    // Whoever ends the session may be in another folder.
    start.asked.report = std::path::absolute(&start.asked.report).map_err(AgentError::Folder)?;
    let parent = start.parent.map(Parent::new).transpose()?;
    let beginning = open::begin(&start.asked)?;
    let broker = beginning.client.broker().to_string();
    let known = Known::default();
    let open::Opened { session, source, audience } = beginning.open(&start.asked, &known).await?;
    let opened = prepare(&start, session, broker, threads, &known).await;
    let (keeping, listener, wishes) = match opened {
        Ok(opened) => opened,
        Err((session, error)) => {
            let mut refusals = Refusals::default();
            let report = &start.asked.report;
            if let Err(error) = finish::finish(report, &session, FAILED, &mut refusals).await {
                say(&chain(&error));
            }
            return Err(error);
        }
    };
    let tokens = Tokens { source: &source, audience, known: &known };
    keeping.keep(listener, wishes, &tokens, parent).await
}

/// What was opened for a session, or the session and why not.
type Prepared =
    Result<(Keeping, UnixListener, mpsc::UnboundedReceiver<Wish>), (Box<Session>, RunError)>;

/// Opens the ways to the resources and the socket.
async fn prepare(
    start: &Start,
    session: Session,
    broker: String,
    threads: &Arc<Threads>,
    known: &Known,
) -> Prepared {
    let mut routes = Vec::new();
    for grant in &session.info.grants {
        match route::open(&session, grant, threads, known).await {
            Ok(route) => routes.push((grant.grant.resource.clone(), route)),
            Err(error) => return Err((Box::new(session), error.into())),
        }
    }
    let place = listener::private_folder()
        .and_then(|folder| socket::bind(&folder).map(|(listener, path)| (folder, listener, path)));
    let (folder, listener, path) = match place {
        Ok(place) => place,
        Err(error) => return Err((Box::new(session), AgentError::Folder(error).into())),
    };
    let (wish, wishes) = mpsc::unbounded_channel();
    let until = session.info.until;
    let shared = Shared {
        session,
        broker,
        asked: super::start::wishes(&start.asked),
        routes,
        hidden: start.asked.token.files(),
        token_env: start.asked.token.token_env.clone(),
        threads: threads.clone(),
        runs: Mutex::default(),
        heard: channel::Sender::new((until, 0)),
        wishes: wish,
        cut: CancellationToken::new(),
        clients: TaskTracker::new(),
    };
    let report = start.asked.report.clone();
    Ok((Keeping { shared: Arc::new(shared), folder, path, report }, listener, wishes))
}

/// A session that is open.
struct Keeping {
    shared: Arc<Shared>,
    folder: PathBuf,
    path: PathBuf,
    report: PathBuf,
}

/// Why a session is taken to its end.
enum Why {
    Stopped { report: Option<PathBuf>, done: oneshot::Sender<Ended> },
    Over(EndReason),
    Said(String),
}

impl Keeping {
    async fn keep(
        self,
        listener: UnixListener,
        mut wishes: mpsc::UnboundedReceiver<Wish>,
        tokens: &Tokens<'_>,
        parent: Option<Parent>,
    ) -> Result<(), RunError> {
        let mut refusals = Refusals::default();
        let of_runs = self.shared.clone();
        refusals.agent = Some(Box::new(move |state| of_runs.hear(state)));
        let end = EndSignal::default();
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
        introduce_session(&self.shared.session.info);
        if let Some(level) = self.shared.session.info.isolation {
            say(&format!("the trust rule asks for isolation `{level}` of each command"));
        }
        // Whoever started it waits for this. If that is gone, so is the job.
        let told = self.step_back();
        let why = if let Err(error) = told {
            Why::Said(format!("nobody waits for the session any more: {error}"))
        } else {
            let accepting = serve::accept(&self.shared, listener);
            tokio::select! {
                reason = watch::watch(&self.shared.session, &end, &mut refusals) => Why::Over(reason),
                never = renew::keep(&self.shared.session, tokens) => match never {},
                never = accepting => match never {},
                _ = terminate.recv() => Why::Said("a signal ends the session".into()),
                pid = gone(parent) => Why::Said(format!("process {pid} is gone, and the session ends with it")),
                Some(wish) = wishes.recv() => match wish {
                    Wish::Stop { report, done } => Why::Stopped { report, done },
                    Wish::Freed(run) => Why::Said(format!(
                        "run {run} was killed, and nothing keeps its command from the session any more: the session ends"
                    )),
                },
            }
        };
        self.close(why, &mut refusals).await;
        Ok(())
    }

    /// Tells `start` where the socket is, and lets go of its output.
    fn step_back(&self) -> io::Result<()> {
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.folder.join(LOG))?;
        let ready = Ready { socket: self.path.clone(), session: self.shared.session.info.id };
        let mut line = serde_json::to_vec(&ready)?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line).and_then(|()| out.flush())?;
        let nothing = fs::OpenOptions::new().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(nothing.as_fd())?;
        rustix::stdio::dup2_stderr(log.as_fd())?;
        Ok(())
    }

    /// Ends the session, has its record sealed, and writes the report.
    async fn close(self, why: Why, refusals: &mut Refusals) {
        let (reason, report, done) = match why {
            Why::Stopped { report, done } => (EndReason::Finished, report, Some(done)),
            Why::Over(reason) => {
                say(&format!("the session is over: {reason}"));
                (reason, None, None)
            }
            Why::Said(words) => {
                say(&words);
                (EndReason::Finished, None, None)
            }
        };
        let shared = &self.shared;
        // What was parked at the last moment parks the session, too.
        drop(refusals.ask(&shared.session, std::time::Duration::ZERO).await);
        shared.runs().over(reason);
        for (_, route) in &shared.routes {
            route.finish(reason).await;
        }
        let exit_code = shared.runs().exit_code();
        let report = report.unwrap_or_else(|| self.report.clone());
        let ended = match finish::finish(&report, &shared.session, exit_code, refusals).await {
            Ok(written) => Ended {
                lines: finish::last_lines(&written),
                problem: None,
                refused: written.counts.refused,
                record: Some(written.record),
                markdown: written.markdown,
            },
            Err(error) => Ended {
                lines: Vec::new(),
                problem: Some(chain(&error)),
                refused: 0,
                record: None,
                markdown: String::new(),
            },
        };
        ended.lines.iter().chain(&ended.problem).for_each(|line| say(line));
        if let Err(error) = ended::leave(&self.folder, &ended) {
            say(&format!("how the session ended cannot be left beside the log: {error}"));
        }
        self.leave(done, ended).await;
    }

    /// Lets go of everybody, the one who waits for the end last.
    async fn leave(self, done: Option<oneshot::Sender<Ended>>, ended: Ended) {
        drop(fs::remove_file(&self.path));
        if let Some(done) = done {
            drop(done.send(ended));
        }
        self.shared.clients.close();
        let going = self.shared.clients.wait();
        if tokio::time::timeout(serve::LAST_WORDS, going).await.is_err() {
            self.shared.cut.cancel();
            self.shared.clients.wait().await;
        }
    }
}

/// A process that the session does not outlive.
struct Parent {
    pid: i32,
    gone: oneshot::Receiver<()>,
}

impl Parent {
    /// Watches it by a descriptor, which no other process of the same number can stand for.
    fn new(pid: i32) -> Result<Self, AgentError> {
        let process = Pid::from_raw(pid).ok_or(AgentError::NoParent(pid))?;
        let watched = pidfd_open(process, PidfdFlags::empty());
        let watched = watched.map_err(|_| AgentError::NoParent(pid))?;
        let (told, gone) = oneshot::channel();
        std::thread::spawn(move || {
            // Readable when it is gone (pidfd_open(2)).
            while let Err(Errno::INTR) = poll(&mut [PollFd::new(&watched, PollFlags::IN)], None) {}
            told.send(())
        });
        Ok(Self { pid, gone })
    }
}

/// Waits until it is gone.
async fn gone(parent: Option<Parent>) -> i32 {
    let Some(Parent { pid, gone }) = parent else { return std::future::pending().await };
    drop(gone.await);
    pid
}
