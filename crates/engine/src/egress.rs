//! The way out for a run's commands besides their resources: a proxy that takes `CONNECT` (RFC 9110, section 9.3.6) and nothing else.
//!
//! The broker says whether a place may be gone to, and records it, before its name is looked up. Then guard itself looks the name up
//! and dials one of the addresses that it checked, so that a name cannot mean something else the second time. Where only TLS
//! passes, the first message of the client has to be for the very name that was asked for.

mod api;
mod counted;
mod hello;
mod request;
#[cfg(test)]
mod tests;

use std::{fmt::Display, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use guard_core::{
    EgressId, Secret,
    control::{AskEgress, EgressAnswer, EgressOutcome},
    egress::{EgressTerms, Host, is_reachable},
};
use guard_protocols::ClientIo;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    api::{Api, RunAuthority, ServeApi},
    request::EGRESS_USER,
};
use self::{
    counted::Counted,
    request::{Answer, Request, Target},
};
use crate::{
    control::ControlError,
    pipe::{Stream, carry},
};

/// How long a client may take for its request, and for its first message behind it.
const CLIENT_WITHIN: Duration = Duration::from_secs(20);
/// How long a name may take to be looked up.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(10);
/// How long one address may take to answer.
const DIALLED_WITHIN: Duration = Duration::from_secs(10);
/// The answer to a client that is connected.
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Who decides where commands may go, and keeps the record of it.
pub trait EgressJudge: Send + Sync {
    /// Whether a command may go to a place. Recorded when it answers.
    fn egress<'a>(
        &'a self,
        ask: &'a AskEgress,
    ) -> BoxFuture<'a, Result<EgressAnswer, ControlError>>;

    /// What came of an attempt that was allowed.
    fn egress_ended(
        &self,
        id: EgressId,
        outcome: EgressOutcome,
    ) -> BoxFuture<'_, Result<(), ControlError>>;
}

/// The proxy of one run.
pub struct Egress {
    judge: Arc<dyn EgressJudge>,
    /// What clients show, as `guard:PASSWORD` (RFC 7617).
    password: Secret,
    apis: Vec<Api>,
}

/// Nobody who decides: commands may go nowhere but to their resources.
pub struct Nowhere;

impl EgressJudge for Nowhere {
    fn egress<'a>(
        &'a self,
        ask: &'a AskEgress,
    ) -> BoxFuture<'a, Result<EgressAnswer, ControlError>> {
        let place = format!("{}:{}", ask.host, ask.port);
        let why =
            format!("{place} is no API of this run, and no policy of it has an `egress` list");
        Box::pin(std::future::ready(Ok(EgressAnswer::Refused(why))))
    }

    fn egress_ended(
        &self,
        _: EgressId,
        _: EgressOutcome,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Why a client does not get where it wanted.
enum Stop {
    /// Guard does not let it.
    Refused(String),
    /// The network or the other side did not go along.
    Failed(String),
}

impl Egress {
    /// A proxy for clients of a run that has this password.
    pub fn new(judge: Arc<dyn EgressJudge>, password: Secret, apis: Vec<Api>) -> Self {
        Self { judge, password, apis }
    }

    /// Serves one client until it or the other side is done, or the run is over. Answers with what it was refused, in words.
    /// `is_proven` says of a client that shows no password whether it is known to be the run's. One that shows another is refused.
    pub async fn serve(
        &self,
        mut client: ClientIo,
        is_proven: impl FnOnce() -> bool + Send,
        over: &CancellationToken,
    ) -> Option<String> {
        let request = match timeout(CLIENT_WITHIN, request::read(&mut client)).await {
            Ok(Ok(request)) => request,
            Ok(Err(answer)) => {
                answer.send(&mut client).await;
                return None;
            }
            Err(_) => return None,
        };
        if !request.knows(&self.password).unwrap_or_else(is_proven) {
            Answer::unknown().send(&mut client).await;
            return Some("a client of guard's proxy that did not show the run's password".into());
        }
        if request.connects
            && let Some(api) = self.apis.iter().find(|api| api.is_at(&request.target))
        {
            return api.open(client, request).await;
        }
        let Target { host, port } = request.target.clone();
        let id = EgressId::from_uuid(uuid::Uuid::now_v7());
        let ask = AskEgress { id, host: host.clone(), port, step: None };
        let terms = match self.judge.egress(&ask).await {
            Ok(EgressAnswer::Allowed(terms)) => terms,
            Ok(EgressAnswer::Refused(why)) => {
                Answer::refused(&why).send(&mut client).await;
                return Some(format!("a connection: {why}"));
            }
            Err(error) => {
                Answer::unavailable(&error).send(&mut client).await;
                return Some(format!(
                    "a connection to {host}:{port}: it cannot be recorded: {error}"
                ));
            }
        };
        let mut outcome = EgressOutcome::default();
        let words = match self.go(client, request, &terms, over, &mut outcome).await {
            Ok(()) => None,
            Err(Stop::Refused(why)) => {
                outcome.refused = Some(why.clone());
                Some(format!("a connection to {host}:{port}: {why}"))
            }
            Err(Stop::Failed(why)) => {
                outcome.failed = Some(why);
                None
            }
        };
        if let Err(error) = self.judge.egress_ended(id, outcome).await {
            tracing::warn!(%error, "what came of a connection is not in the record");
        }
        words
    }

    async fn go(
        &self,
        mut client: ClientIo,
        request: Request,
        terms: &EgressTerms,
        over: &CancellationToken,
        outcome: &mut EgressOutcome,
    ) -> Result<(), Stop> {
        let reached = tokio::select! {
            reached = self.reach(&request, terms, outcome) => reached,
            () = over.cancelled() => return Ok(()),
        };
        let reached = match reached {
            Ok(reached) => reached,
            Err(stop) => {
                let answer = match &stop {
                    Stop::Refused(why) => Answer::refused(why),
                    Stop::Failed(why) => Answer::failed(why),
                };
                answer.send(&mut client).await;
                return Err(stop);
            }
        };
        let mut server = Counted::new(reached);
        let passed = tokio::select! {
            passed = pass(&mut client, &mut server, request, terms) => passed,
            () = over.cancelled() => Ok(()),
        };
        // What passed is counted also where it was cut off.
        (outcome.sent, outcome.received) = server.counts();
        passed
    }

    /// A connection to one of the addresses of the place that may be gone to.
    async fn reach(
        &self,
        request: &Request,
        terms: &EgressTerms,
        outcome: &mut EgressOutcome,
    ) -> Result<TcpStream, Stop> {
        if !request.connects {
            return Err(Stop::Refused(
                "guard passes connections on (CONNECT), no single requests: use https".into(),
            ));
        }
        let addresses = look_up(&request.target).await?;
        let reachable = among(&addresses, terms);
        if reachable.is_empty() {
            return Err(Stop::Refused(format!(
                "`{}` is at {}, where no public service is: name its network in the policy if it is meant",
                request.target.host,
                listed(&addresses)
            )));
        }
        let mut problem = "no address answered".to_owned();
        for address in reachable {
            outcome.address = Some(address.ip());
            match timeout(DIALLED_WITHIN, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Latency is the client's to decide on; where it cannot be set nothing is lost.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => problem = format!("{address}: {error}"),
                Err(_) => problem = format!("{address}: no answer in time"),
            }
        }
        Err(Stop::Failed(problem))
    }
}

/// The addresses of a place, as the resolver of this machine knows them.
async fn look_up(target: &Target) -> Result<Vec<SocketAddr>, Stop> {
    let host = Host::new(&target.host).map_err(|error| Stop::Refused(error.to_string()))?;
    if let Some(address) = host.address() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    match timeout(LOOKED_UP_WITHIN, lookup_host((host.as_str(), target.port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(Stop::Failed(format!("`{host}` cannot be looked up: {error}"))),
        Err(_) => Err(Stop::Failed(format!("`{host}` cannot be looked up in time"))),
    }
}

/// Those that may be gone to. The others are left out: one of several answers may be somebody's who wants in.
fn among(addresses: &[SocketAddr], terms: &EgressTerms) -> Vec<SocketAddr> {
    let reachable = addresses.iter().filter(|one| is_reachable(one.ip(), &terms.networks));
    reachable.take(MAX_ADDRESSES).copied().collect()
}

fn listed(addresses: &[SocketAddr]) -> String {
    let all: Vec<_> =
        addresses.iter().take(MAX_ADDRESSES).map(|one| one.ip().to_string()).collect();
    if all.is_empty() { "no address".to_owned() } else { all.join(", ") }
}

/// Tells the client that it is connected, and carries what it and the other side say.
async fn pass(
    client: &mut impl Stream,
    server: &mut Counted<TcpStream>,
    request: Request,
    terms: &EgressTerms,
) -> Result<(), Stop> {
    let failed = |error: io::Error| Stop::Failed(error.to_string());
    client.write_all(CONNECTED).await.map_err(failed)?;
    client.flush().await.map_err(failed)?;
    let mut first = request.behind;
    if terms.tls {
        let for_name = timeout(CLIENT_WITHIN, hello::read(client, &mut first)).await;
        let for_name = match for_name {
            Ok(for_name) => for_name.map_err(Stop::Refused)?,
            Err(_) => return Err(Stop::Refused("no TLS came: only TLS passes here".into())),
        };
        check_name(&request.target, for_name.as_deref()).map_err(Stop::Refused)?;
    }
    server.write_all(&first).await.map_err(failed)?;
    carry(client, server).await.map_err(failed)
}

/// The name that a client wants to talk to has to be the one that it asked to be connected with.
fn check_name(target: &Target, said: Option<&str>) -> Result<(), String> {
    let asked = Host::new(&target.host).map_err(|error| error.to_string())?;
    let differs = |said: &dyn Display| {
        format!("the connection is for `{asked}` and TLS in it for {said}: only the same passes")
    };
    match (said, asked.address()) {
        // TLS has no word for addresses (RFC 6066, section 3).
        (None, Some(_)) => Ok(()),
        (None, None) => Err(differs(&"no name")),
        (Some(said), _) => match Host::new(said) {
            Ok(said) if said == asked => Ok(()),
            Ok(_) | Err(_) => Err(differs(&format!("`{said}`"))),
        },
    }
}
