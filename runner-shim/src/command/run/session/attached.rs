//! A run in a session that an agent keeps.
//!
//! The run has neither the session's token nor its key: it asks the agent for each connection, and tells it when its command has ended.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use guard_core::{
    EgressId, EndReason, ResourceKind, ResourceName, StepName,
    control::{
        AskEgress, EgressAnswer, EgressOutcome, GrantInfo, ReachedIsolation, SessionInfo,
        StepCounts,
    },
};
use guard_engine::{
    ClientAuth, ClientIo, TurnedAway, carry, control::ControlError, egress::EgressJudge,
    end::EndSignal, turn_away,
};
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

use super::{
    super::{Args, watch::Refusals},
    AgentError, socket,
    wire::{AGENT, Ask, Attachment, Auth, FromRun, Said, receive, send},
};
use crate::words::{chain, say};

/// How long the agent may take for one answer: as long as the way to a gateway, and then some.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which session a run joins, and as what.
#[derive(Debug, clap::Args)]
pub(in crate::command::run) struct Joined {
    /// Work in the session that `guard session start` opened: its agent's socket
    #[arg(long, env = AGENT, value_name = "PATH")]
    session: Option<PathBuf>,
    /// What the record calls this command, in a session that has several
    #[arg(long, value_name = "NAME")]
    step: Option<StepName>,
}

impl Joined {
    /// The agent's socket, if one is named.
    pub(in crate::command::run) fn agent(&self) -> Option<&Path> {
        self.session.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// A run with a session of its own has no step.
    pub(in crate::command::run) fn unused(&self) -> Result<(), AgentError> {
        if self.step.is_some() { Err(AgentError::NoSession) } else { Ok(()) }
    }
}

/// A run's place in the session.
pub(in crate::command::run) struct Attached {
    pub(in crate::command::run) info: SessionInfo,
    pub(in crate::command::run) refusals: Refusals,
    run: u32,
    socket: PathBuf,
    hears: mpsc::UnboundedReceiver<Said>,
    to: OwnedWriteHalf,
    over: Arc<AtomicBool>,
    /// The agent said that the session is over, and takes it to its end.
    pub(super) ended: bool,
}

impl Attached {
    pub(super) async fn join(
        args: &Args,
        socket: &Path,
    ) -> Result<(Self, Vec<PathBuf>, Option<String>), AgentError> {
        let ask = Ask::Attach {
            resources: args.asked.resources.clone(),
            step: args.joined.step.clone(),
            broker: args.asked.broker.clone(),
        };
        let (said, stream) = asked(socket, &ask).await?;
        let Said::Attached(attachment) = said else { return Err(unexpected()) };
        let Attachment { run, info, mut hidden, token_env } = *attachment;
        let own = &args.asked.token;
        hidden.extend(own.files());
        if own.token_env.is_some() && own.token_env != token_env {
            return Err(AgentError::AtStart("--token-env"));
        }
        let (from, to) = stream.into_split();
        let (heard, hears) = mpsc::unbounded_channel();
        tokio::spawn(listen(from, heard));
        let (socket, over) = (socket.to_owned(), Arc::default());
        let refusals = Refusals::default();
        Ok((Self { info, refusals, run, socket, hears, to, over, ended: false }, hidden, token_env))
    }

    /// The way to one resource.
    pub(in crate::command::run) fn way(&self, grant: &GrantInfo) -> Way {
        Way {
            to: self.line(),
            resource: grant.grant.resource.clone(),
            kind: grant.kind,
            over: self.over.clone(),
        }
    }

    /// Who says where else the command may go.
    pub(in crate::command::run) fn judge(&self) -> impl EgressJudge + use<> {
        self.line()
    }

    fn line(&self) -> Line {
        Line { socket: self.socket.clone(), run: self.run }
    }

    /// Has it recorded at which level the command is about to be run.
    pub(in crate::command::run) async fn isolated(
        &mut self,
        reached: &ReachedIsolation,
    ) -> Result<(), AgentError> {
        let said = FromRun::Isolated(reached.clone());
        send(&mut self.to, &said).await.map_err(AgentError::Garbled)?;
        loop {
            match timeout(ANSWER_TIMEOUT, self.hears.recv()).await {
                Ok(Some(Said::Done)) => return Ok(()),
                Ok(Some(Said::Refused(why))) => return Err(AgentError::Refused(why)),
                Ok(Some(Said::Notice(notice))) => self.refusals.tell(&notice),
                Ok(Some(Said::Over(reason))) => {
                    return Err(AgentError::Refused(reason.to_string()));
                }
                Ok(Some(_) | None) | Err(_) => return Err(unexpected()),
            }
        }
    }

    /// Follows the session until it is over. An agent that is gone cannot say why.
    pub(in crate::command::run) async fn over(&mut self, end: &EndSignal) -> EndReason {
        let reason = loop {
            match self.hears.recv().await {
                Some(Said::Notice(notice)) => self.refusals.tell(&notice),
                Some(Said::Over(reason)) => {
                    self.ended = true;
                    break reason;
                }
                Some(_) => {}
                None => {
                    say("the session's agent is gone");
                    break EndReason::Lost;
                }
            }
        };
        self.over.store(true, Ordering::Release);
        end.end(reason);
        reason
    }

    /// Tells the agent that the command has ended. Gives what was counted, if the agent is there.
    pub(super) async fn farewell(&mut self, exit_code: u8) -> Option<StepCounts> {
        // An agent that goes may have said why before.
        drop(send(&mut self.to, &FromRun::Bye { exit_code }).await);
        loop {
            match timeout(ANSWER_TIMEOUT, self.hears.recv()).await {
                Ok(Some(Said::Farewell { counts })) => return Some(counts),
                Ok(Some(Said::Notice(notice))) => self.refusals.tell(&notice),
                Ok(Some(Said::Over(_))) => self.ended = true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

async fn listen(mut from: OwnedReadHalf, heard: mpsc::UnboundedSender<Said>) {
    while let Ok(Some(said)) = receive::<Said>(&mut from).await {
        if heard.send(said).is_err() {
            break;
        }
    }
}

/// Asks the agent something. Gives its answer, and the connection.
pub(super) async fn asked(socket: &Path, ask: &Ask) -> Result<(Said, UnixStream), AgentError> {
    let mut stream = socket::connect(socket).await?;
    let answering = async {
        send(&mut stream, ask).await?;
        receive(&mut stream).await
    };
    let said = match timeout(ANSWER_TIMEOUT, answering).await {
        Ok(said) => said.map_err(AgentError::Garbled)?.ok_or_else(unexpected)?,
        Err(_) => return Err(unexpected()),
    };
    if let Said::Refused(why) = said {
        return Err(AgentError::Refused(why));
    }
    Ok((said, stream))
}

pub(super) fn unexpected() -> AgentError {
    AgentError::Garbled(std::io::ErrorKind::UnexpectedEof.into())
}

/// A run at the agent's socket.
struct Line {
    socket: PathBuf,
    run: u32,
}

impl EgressJudge for Line {
    fn egress<'a>(
        &'a self,
        ask: &'a AskEgress,
    ) -> BoxFuture<'a, Result<EgressAnswer, ControlError>> {
        Box::pin(async move {
            let ask = Ask::Egress { run: self.run, ask: ask.clone() };
            match asked(&self.socket, &ask).await {
                Ok((Said::Egress(answer), _)) => Ok(answer),
                Ok(_) => Err(unproven(&unexpected())),
                Err(error) => Err(unproven(&error)),
            }
        })
    }

    fn egress_ended(
        &self,
        id: EgressId,
        outcome: EgressOutcome,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move {
            let ask = Ask::EgressEnded { run: self.run, id, outcome };
            asked(&self.socket, &ask).await.map(|_| ()).map_err(|error| unproven(&error))
        })
    }
}

fn unproven(error: &AgentError) -> ControlError {
    ControlError::Unproven(chain(error))
}

/// The way to one resource, through the agent.
pub(in crate::command::run) struct Way {
    to: Line,
    resource: ResourceName,
    kind: ResourceKind,
    over: Arc<AtomicBool>,
}

impl Way {
    /// Serves one client of the run's listener.
    pub(in crate::command::run) async fn serve(&self, mut client: ClientIo, auth: ClientAuth) {
        if self.over.load(Ordering::Acquire) {
            return self.turn_away(client, TurnedAway::SessionOver, "the session is over").await;
        }
        let auth = match auth {
            ClientAuth::Proven => Auth::Proven,
            ClientAuth::Password(password) => Auth::Password(password),
        };
        let ask = Ask::Open { run: self.to.run, resource: self.resource.clone(), auth };
        match asked(&self.to.socket, &ask).await {
            Ok((Said::Opened, mut stream)) => {
                // An error here is a connection that broke; each side sees its own end of it.
                drop(carry(&mut client, &mut stream).await);
            }
            Ok((Said::TurnedAway { over, message }, _)) => {
                let why = if over { TurnedAway::SessionOver } else { TurnedAway::Unreachable };
                self.turn_away(client, why, &message).await;
            }
            Ok(_) => {
                let message = unexpected().to_string();
                self.turn_away(client, TurnedAway::Unreachable, &message).await;
            }
            Err(error) => {
                self.turn_away(client, TurnedAway::Unreachable, &error.to_string()).await;
            }
        }
    }

    /// The session is over.
    pub(in crate::command::run) fn end(&self, _reason: EndReason) {
        self.over.store(true, Ordering::Release);
    }

    async fn turn_away(&self, client: ClientIo, why: TurnedAway, message: &str) {
        say(message);
        turn_away(self.kind, client, why, message).await;
    }
}
