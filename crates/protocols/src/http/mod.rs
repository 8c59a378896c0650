//! HTTP APIs: what a request means, what of it may go on, and masks in what comes back.
//!
//! A connection goes through these rooms:
//!
//! 1. [`begun`]: which version of HTTP a client speaks; [`serve`]: its connection. [`wire`]: what it sends in HTTP/1.1, read strictly,
//!    so that hyper gets nothing else; [`two`]: its streams in HTTP/2. From here on there are requests, whatever they came in.
//! 2. [`head`]: which headers go on, and where the body ends, so that nobody behind reads another request than guard.
//! 3. [`target`]: the one path and query that a target stands for, asked of the resource by one of its names ([`named`]). What is
//!    matched is what is sent.
//! 4. [`matching`]: the request as rules look at it, with methods that are meant besides the one that was sent; [`operation`]: what
//!    the gate is asked. Where a rule looks into bodies, [`content`] says what one could be taken for.
//! 5. [`exchange`]: judged, sent to the resource ([`upstream`]) with its credential ([`credential`]), and the answer passed on.
//! 6. [`looked_into`] and [`answer`]: it is decoded ([`decode`]), the credential is hidden in it ([`hide`]), and fields
//!    are masked ([`fields`], [`mask`], [`rewrite`]) while it comes in.
//! 7. [`socket`]: what a connection becomes that asked for a WebSocket and got one.

mod answer;
mod asked;
mod begun;
mod body;
pub(crate) mod content;
mod credential;
pub(crate) mod decode;
mod describe;
mod exchange;
mod fields;
pub(crate) mod fuzz;
pub mod head;
mod hide;
mod keep;
mod looked_into;
pub mod mask;
pub mod matching;
mod named;
mod operation;
mod refuse;
mod rewrite;
mod serve;
pub(crate) mod socket;
pub mod target;
mod tasks;
mod trailers;
mod turn_away;
mod two;
mod upstream;
mod verb;
mod wire;

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, select};
use guard_core::{SendAs, TlsMode, http::Api};
use guard_gate::{ConnectionInfo, SessionGate};
use hyper::header::HeaderValue;
use tokio::time::timeout;

pub use self::describe::{NoRequest, describe};
use self::{
    begun::{Begun, Spoken},
    credential::Credentials,
    exchange::Connection,
    named::Names,
    operation::Operations,
    refuse::Refusal,
    target::{Authority, Scheme},
    upstream::{Order, Upstream},
};
pub(crate) use turn_away::turn_away;

use crate::{Arrival, ClientAuth, ClientIo, Closed, ProtocolError, ProtocolHandler, Resource};

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A connection may be without a whole head for so long: before its first request, and between two.
    pub head: Duration,
    /// A client that sends nothing for this long while its body is awaited is gone.
    pub body: Duration,
    /// A body that is read whole may take so long.
    pub whole_body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { head: minute, body: minute, whole_body: minute }
    }
}

/// Serves clients of one HTTP API in one session.
pub struct HttpHandler {
    shared: Arc<Shared>,
}

/// What all connections of a session have in common.
struct Shared {
    patience: Patience,
    resource: Arc<dyn Resource>,
    /// The names that clients may call it by.
    names: Names,
    /// The same as the header Host.
    host: HeaderValue,
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
        Self::patient(resource, Patience::default())
    }

    /// One that gives clients so much time.
    pub fn patient(
        resource: Arc<dyn Resource>,
        patience: Patience,
    ) -> Result<Arc<Self>, NoAddress> {
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
        let host = HeaderValue::from_str(&host).map_err(|_| NoAddress(spec.address.clone()))?;
        let send_as = spec.send_as.clone().unwrap_or(SendAs::Bearer);
        let credentials = Credentials::new(send_as, scheme == Scheme::Https);
        let operations = Operations::default();
        let api = spec.api.as_ref().map(Api::new);
        let names = Names::new(&authority);
        let shared = Shared { patience, names, host, credentials, operations, api, resource };
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
        let begun = timeout(self.shared.patience.head, Begun::read(client));
        let (client, spoken) = match select(pin!(begun), pin!(gate.ended())).await {
            Either::Left((Ok(begun), _)) => begun?,
            Either::Left((Err(_), _)) => return Ok(Closed::Client),
            Either::Right((reason, _)) => return Ok(Closed::Session(reason)),
        };
        let order = match spoken {
            Spoken::One => Order::OneByOne,
            Spoken::Two => Order::Parallel,
        };
        let shared = self.shared.clone();
        let upstream = Upstream::new(shared.host.clone(), order);
        let connection = Arc::new(Connection { shared, gate, upstream, tunnel: Mutex::default() });
        let closed = match spoken {
            Spoken::One => serve::one(connection.clone(), client).await,
            Spoken::Two => serve::two(connection.clone(), client).await,
        };
        if let Some(connection) = Arc::into_inner(connection) {
            connection.gate.close(closed.as_ref().err().map(ToString::to_string));
        }
        closed
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
