//! The protocols that guard speaks, a folder each.
//!
//! A handler speaks the server's side to the client and the client's side to the resource. It
//! describes what a client asks as operations and sends nothing on without a permit. It cannot reach
//! a policy, a socket address or a broker: what it needs comes through [`Resource`].

pub mod alarm;
mod beginnings;
mod checks;
mod detect;
pub mod http;
mod mask;
pub mod postgres;
mod tls;

/// Decoders as fuzz targets see them.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::http::{
        content::fuzz_body,
        decode::fuzz::fuzz_coded,
        fuzz::{fuzz_head, fuzz_target},
        mask::fuzz::fuzz_json,
        socket::frames::fuzz_socket,
    };
    pub use crate::postgres::{
        auth::fuzz::fuzz_scram,
        mask::fuzz::{fuzz_copy, fuzz_message, fuzz_row},
    };
}

pub use beginnings::{BEGINNING, Beginnings};
pub use detect::{places, secret_at};
pub use mask::MASKED_ADDRESS;

use std::{io, sync::Arc};

use futures_util::future::BoxFuture;
use guard_core::{Denial, ResourceKind, ResourceSpec, Secret};
use guard_gate::SessionGate;
use tokio::io::{AsyncRead, AsyncWrite};

/// Both directions of a client's connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Both directions of a client's connection, whatever it came by.
pub type ClientIo = Box<dyn Stream>;

/// How a client of a listener shows that it belongs to the run.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// The kernel or the listener already proved it (a private socket and its peer's user).
    Proven,
    /// It must know the password made for this run.
    Password(Secret),
}

/// What is known of a client before its first byte.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// How it shows that it belongs to the run.
    pub auth: ClientAuth,
    /// The number of the command that it comes from, if the session has several.
    pub step: Option<u32>,
}

impl From<ClientAuth> for Arrival {
    fn from(auth: ClientAuth) -> Self {
        Self { auth, step: None }
    }
}

/// A user name and password at the resource.
#[derive(Debug, Clone)]
pub struct Credential {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// What belongs to a temporary access key of AWS, besides.
    pub session_token: Option<Secret>,
}

/// What a handler may ask of the engine: the resource, and nothing else.
pub trait Resource: Send + Sync {
    /// What is known of it.
    fn spec(&self) -> &ResourceSpec;

    /// Opens a connection to it, within the engine's deadline.
    fn dial(&self) -> BoxFuture<'_, io::Result<tokio::net::TcpStream>>;

    /// The session's credential for it; taken at the first call, kept until the session ends.
    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, CredentialUnavailable>>;

    /// TLS towards it: verified against its own or the system's authorities.
    fn tls(&self) -> Arc<rustls::ClientConfig>;

    /// Key of the masks `hash` and `format`: the session's own.
    fn mask_key(&self) -> &[u8];

    /// The key of masks that are the same in every session; `None` if the resource has none.
    fn lasting_mask_key(&self) -> Option<&[u8]>;

    /// Says that a statement was refused, for the people who watch the run. The record has it already.
    fn refused(&self, denial: &Denial);
}

/// No credential could be had.
#[derive(Debug, thiserror::Error)]
#[error("no credential for the resource: {reason}")]
pub struct CredentialUnavailable {
    /// Why, for the log; never shown to a client.
    pub reason: String,
}

/// How a connection came to its end when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client said goodbye or went away.
    Client,
    /// The resource closed it.
    Resource,
    /// The session is over.
    Session(guard_core::EndReason),
    /// It asked to cancel a statement on another connection, which was passed on or ignored.
    CancelRequest,
}

/// Why a client is sent away before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// The way to the resource is not there.
    Unreachable,
    /// The session is over.
    SessionOver,
    /// There are too many clients.
    TooMany,
}

/// Sends a client away that cannot be served, in the words of the resource's protocol.
pub async fn turn_away(kind: ResourceKind, client: ClientIo, why: TurnedAway, message: &str) {
    match kind {
        ResourceKind::Postgres => postgres::turn_away(client, why, message).await,
        ResourceKind::Http => http::turn_away(client, why, message).await,
    }
}

/// One client, from its first byte to its last.
pub trait ProtocolHandler: Send + Sync {
    /// Serves one client until either side or the session ends.
    fn serve(
        self: Arc<Self>,
        client: ClientIo,
        arrival: Arrival,
        gate: Arc<SessionGate>,
    ) -> BoxFuture<'static, Result<Closed, ProtocolError>>;
}

/// Whose fault it was that a connection broke. This alone drives log level and metric.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The client broke the protocol or could not show who it is.
    #[error("client: {0}")]
    Client(String),
    /// The resource broke the protocol, refused guard, or could not be reached.
    #[error("resource: {0}")]
    Resource(String),
    /// Guard's own surroundings: no credential, no record.
    #[error("guard: {0}")]
    Guard(String),
    /// A connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
}
