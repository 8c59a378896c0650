//! HTTP APIs: what a request means, what of it may go on, and masks in what comes back.
//!
//! A connection goes through these rooms:
//!
//! 1. [`wire`]: what a client sends, read strictly. hyper gets nothing else.
//! 2. [`head`]: which headers go on, and where the body ends, so that nobody behind reads another request than guard.
//! 3. [`target`]: the one path and query that a target stands for. What is matched is what is sent.
//! 4. [`matching`]: the request as rules look at it, with methods that are meant besides the one that was sent; [`operation`]: what
//!    the gate is asked. Where a rule looks into bodies, [`content`] says what one could be taken for.
//! 5. [`exchange`]: judged, sent to the resource ([`upstream`]) with its credential ([`credential`]), and the answer passed on.
//! 6. [`looked_into`] and [`answer`]: the credential is hidden in it ([`hide`]), and fields are masked ([`mask`]) while it comes in.

mod answer;
mod body;
pub(crate) mod content;
mod credential;
mod describe;
mod exchange;
pub(crate) mod fuzz;
pub mod head;
mod hide;
mod looked_into;
pub mod mask;
pub mod matching;
mod operation;
mod refuse;
pub mod target;
mod turn_away;
mod upstream;
mod wire;

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, Either, select};
use guard_core::{SendAs, TlsMode, http::Api};
use guard_gate::{ConnectionInfo, SessionGate};
use hyper::{Request, body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::AsyncWriteExt as _, sync::Mutex};

pub use self::describe::{NoRequest, describe};
use self::{
    credential::Credentials,
    exchange::Connection,
    operation::Operations,
    refuse::Refusal,
    target::{Authority, Scheme},
    upstream::Upstream,
    wire::{Heads, Strict},
};
pub(crate) use turn_away::turn_away;

use crate::{Arrival, ClientAuth, ClientIo, Closed, ProtocolError, ProtocolHandler, Resource};

/// How long a connection may be without a whole head: before its first request, and between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves clients of one HTTP API in one session.
pub struct HttpHandler {
    shared: Arc<Shared>,
}

/// What all connections of a session have in common.
struct Shared {
    resource: Arc<dyn Resource>,
    /// The resource's own name.
    authority: Authority,
    /// The same as the header Host.
    host: String,
    credentials: Credentials,
    operations: Operations,
    /// The operations of the resource's OpenAPI document.
    api: Option<Api>,
}

/// The resource is none that could be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of an HTTP API")]
pub struct NoAddress(String);

impl HttpHandler {
    /// A handler for a resource.
    pub fn new(resource: Arc<dyn Resource>) -> Result<Arc<Self>, NoAddress> {
        let spec = resource.spec();
        let scheme = match spec.tls {
            TlsMode::VerifyFull => Scheme::Https,
            TlsMode::Disable => Scheme::Http,
        };
        let authority = Authority::read(spec.address.as_bytes(), scheme)
            .map_err(|_| NoAddress(spec.address.clone()))?;
        let host = match (scheme, authority.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => authority.host.to_string(),
            (Scheme::Https | Scheme::Http, _) => authority.to_string(),
        };
        let credentials = Credentials::new(spec.send_as.clone().unwrap_or(SendAs::Bearer));
        let operations = Operations::default();
        let api = spec.api.as_ref().map(Api::new);
        let shared = Shared { authority, host, credentials, operations, api, resource };
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    async fn connect(
        &self,
        client: ClientIo,
        arrival: Arrival,
        session_gate: Arc<SessionGate>,
    ) -> Result<Closed, ProtocolError> {
        match arrival.auth {
            ClientAuth::Proven => {}
            ClientAuth::Password(_) => {
                turn_away::say(client, &Refusal::stranger()).await;
                return Err(ProtocolError::Client("it is of another user".into()));
            }
        }
        let info =
            ConnectionInfo { client: String::new(), database: String::new(), step: arrival.step };
        let gate = match session_gate.connection(info).await {
            Ok(gate) => gate,
            Err(error) => {
                let message = "the record of this session cannot be written";
                turn_away(client, crate::TurnedAway::TooMany, message).await;
                return Err(ProtocolError::Guard(error.to_string()));
            }
        };
        let heads = Arc::<Heads>::default();
        let upstream = Mutex::<Upstream>::default();
        let (shared, strict) = (self.shared.clone(), Strict::new(client, heads.clone()));
        let connection = Arc::new(Connection { shared, gate, heads: heads.clone(), upstream });
        let closed = serve(connection.clone(), strict, &heads).await;
        if let Some(connection) = Arc::into_inner(connection) {
            connection.gate.close(closed.as_ref().err().map(ToString::to_string));
        }
        closed
    }
}

async fn serve(
    connection: Arc<Connection>,
    strict: Strict,
    heads: &Heads,
) -> Result<Closed, ProtocolError> {
    let service = service_fn(|request: Request<Incoming>| {
        let answering = connection.clone().answer(request.into_body());
        Box::pin(async { Ok::<_, Infallible>(answering.await) })
    });
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(head::MAX_FIELDS + 1)
        .max_buf_size(2 * head::MAX_HEAD);
    let mut serving = builder.serve_connection(TokioIo::new(strict), service);
    let mut over = None;
    let served = {
        let ended = pin!(connection.gate.ended());
        let both = select(poll_fn(|cx| serving.poll_without_shutdown(cx)), ended);
        match both.await {
            Either::Left((served, _)) => Some(served),
            Either::Right((reason, _)) => {
                over = Some(reason);
                None
            }
        }
    };
    let served = match served {
        Some(served) => served,
        None => {
            // What is being answered is told so; nothing more is taken.
            std::pin::Pin::new(&mut serving).graceful_shutdown();
            poll_fn(|cx| serving.poll_without_shutdown(cx)).await
        }
    };
    let mut client = serving.into_parts().io.into_inner();
    if let Some(reason) = over {
        let _ = client.shutdown().await;
        return Ok(Closed::Session(reason));
    }
    if let Some(why) = heads.refused() {
        let refusal = connection.bad_head(why.to_string()).await;
        // In the middle of an answer it would be taken for a part of it.
        if served.is_ok() {
            let _ = client.write_all(&refusal.bytes()).await;
        }
        let _ = client.shutdown().await;
        return Err(ProtocolError::Client(why.to_string()));
    }
    let _ = client.shutdown().await;
    match served {
        Ok(()) => Ok(Closed::Client),
        Err(error) => Err(ProtocolError::Client(error.to_string())),
    }
}

impl ProtocolHandler for HttpHandler {
    fn serve(
        self: Arc<Self>,
        client: ClientIo,
        arrival: Arrival,
        gate: Arc<SessionGate>,
    ) -> BoxFuture<'static, Result<Closed, ProtocolError>> {
        Box::pin(async move { self.connect(client, arrival, gate).await })
    }
}
