//! The shim's way to a gateway: TLS to exactly the certificate that the broker vouches for, one
//! request with a proof of the session's key, and then a plain stream of bytes.

use std::{io, sync::Arc, time::Duration};

use guard_core::{
    ResourceKind, ResourceName, Secret, Timestamp,
    control::{ApiError, GatewayInfo},
};
use guard_protocols::{Arrival, ClientAuth, ClientIo, TurnedAway, turn_away};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    keys::SessionKey,
    pipe,
    tls::{TlsError, towards_gateway},
};

/// The token of the `Upgrade` header.
pub(crate) const UPGRADE: &str = "guard-tunnel";
/// Says that the shim's listener knows the client by the kernel's word; its value is `proven`.
pub(crate) const CLIENT_AUTH: &str = "guard-client-auth";
/// The value of [`CLIENT_AUTH`].
pub(crate) const PROVEN: &str = "proven";
/// The password that the client must show that it knows, made for this run only.
pub(crate) const CLIENT_PASSWORD: &str = "guard-client-password";
/// The number of the command that the client comes from, in a session that has several.
pub(crate) const STEP: &str = "guard-step";
/// From dialing to the open tunnel: a TLS handshake, and the gateway's question to the broker.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest refusal of a gateway, in bytes.
const MAX_REFUSAL: usize = 16 * 1024;
/// The code by which a gateway says that no broker answered it.
pub(crate) const BROKER_UNAVAILABLE: &str = "broker-unavailable";
/// A gateway that no broker answered is asked again for this long: another broker may.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The code by which the broker says that a session is over.
const SESSION_OVER: &str = "session-over";
/// The name in the TLS hello. Gateways are known by their certificate's digest, not by a name.
const SERVER_NAME: &str = "guard-gateway";

/// A tunnel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The gateway is not there, or it is another one.
    #[error("the gateway `{name}` at `{address}` cannot be reached: {reason}")]
    Unreachable {
        /// Its name.
        name: String,
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("the gateway `{name}` refused: {message} ({code})")]
    Refused {
        /// Its name.
        name: String,
        /// The code of its answer.
        code: String,
        /// In words.
        message: String,
    },
    /// A proof could not be made.
    #[error("the tunnel's proof cannot be made")]
    Unproven,
}

impl TunnelError {
    /// Whether the same may succeed a moment later, with a new proof.
    fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code == BROKER_UNAVAILABLE,
            Self::Unreachable { .. } | Self::Unproven => false,
        }
    }

    /// What a client is told in its protocol's words.
    pub fn why(&self) -> TurnedAway {
        match self {
            Self::Refused { code, .. } if code == SESSION_OVER => TurnedAway::SessionOver,
            Self::Refused { .. } | Self::Unreachable { .. } | Self::Unproven => {
                TurnedAway::Unreachable
            }
        }
    }
}

/// Opens tunnels to one resource of one session.
pub struct Tunnel {
    gateway: GatewayInfo,
    resource: ResourceName,
    kind: ResourceKind,
    key: Arc<SessionKey>,
    token: Secret,
    connector: TlsConnector,
}

impl Tunnel {
    /// Tunnels through `gateway` to `resource`.
    pub fn new(
        gateway: GatewayInfo,
        resource: ResourceName,
        kind: ResourceKind,
        key: Arc<SessionKey>,
        token: Secret,
    ) -> Result<Self, TlsError> {
        let connector = TlsConnector::from(towards_gateway(gateway.certificate)?);
        Ok(Self { gateway, resource, kind, key, token, connector })
    }

    /// Opens a tunnel and copies bytes until either side closes.
    pub async fn serve(&self, mut client: ClientIo, arrival: Arrival) -> Result<(), TunnelError> {
        // What is needed to open it is given back when it is open.
        let mut stream = match Box::pin(self.open(&arrival)).await {
            Ok(stream) => stream,
            Err(error) => {
                turn_away(self.kind, client, error.why(), &error.to_string()).await;
                return Err(error);
            }
        };
        // An error here is a connection that broke; each side sees its own end of it.
        drop(pipe::carry(&mut client, &mut stream).await);
        Ok(())
    }

    /// Opens a tunnel.
    pub async fn open(&self, arrival: &Arrival) -> Result<ClientIo, TunnelError> {
        let opening = async {
            let started = Instant::now();
            loop {
                match self.try_open(arrival).await {
                    Err(error) if error.may_pass() && started.elapsed() < RETRY_FOR => {
                        tracing::debug!(%error, "opening a tunnel again");
                        sleep(RETRY_PAUSE).await;
                    }
                    opened => return opened,
                }
            }
        };
        match timeout(OPEN_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(self.unreachable(&"it did not answer in time")),
        }
    }

    async fn try_open(&self, arrival: &Arrival) -> Result<ClientIo, TunnelError> {
        let io_error = |error: io::Error| self.unreachable(&error);
        let tcp = TcpStream::connect(&self.gateway.address).await.map_err(io_error)?;
        tcp.set_nodelay(true).map_err(io_error)?;
        crate::resource::keep_alive(&tcp).map_err(io_error)?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| self.unreachable(&error))?;
        let tls = self.connector.connect(name, tcp).await.map_err(io_error)?;

        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .handshake::<_, Empty<&[u8]>>(TokioIo::new(tls))
            .await
            .map_err(|error| self.unreachable(&error))?;
        // Ends with the connection, or when it becomes a tunnel.
        tokio::spawn(connection.with_upgrades());
        let request = self.request(arrival)?;
        let answer =
            sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refused(answer).await);
        }
        let upgraded =
            hyper::upgrade::on(answer).await.map_err(|error| self.unreachable(&error))?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }

    fn request(&self, arrival: &Arrival) -> Result<Request<Empty<&'static [u8]>>, TunnelError> {
        let path = format!("/v1/tunnel/{}", self.resource);
        let uri = format!("https://{}{path}", self.gateway.address);
        let proof = self
            .key
            .prove("POST", &uri, Some(&self.token), Timestamp::now())
            .map_err(|_| TunnelError::Unproven)?;
        let request = Request::post(path)
            .header(header::HOST, &self.gateway.address)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, UPGRADE)
            .header(header::AUTHORIZATION, format!("DPoP {}", self.token.expose()))
            .header("DPoP", proof);
        let request = match arrival.step {
            Some(step) => request.header(STEP, step),
            None => request,
        };
        let request = match &arrival.auth {
            ClientAuth::Proven => request.header(CLIENT_AUTH, PROVEN),
            ClientAuth::Password(password) => request.header(CLIENT_PASSWORD, password.expose()),
        };
        request.body(Empty::new()).map_err(|_| TunnelError::Unproven)
    }

    async fn refused(&self, answer: hyper::Response<hyper::body::Incoming>) -> TunnelError {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_REFUSAL).collect().await;
        let error = body
            .ok()
            .and_then(|body| serde_json::from_slice::<ApiError>(&body.to_bytes()).ok())
            .unwrap_or_else(|| ApiError {
                error: "unknown".into(),
                message: format!("it answered with status {status}"),
                decision_id: None,
            });
        TunnelError::Refused {
            name: self.gateway.name.clone(),
            code: error.error,
            message: error.message,
        }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> TunnelError {
        TunnelError::Unreachable {
            name: self.gateway.name.clone(),
            address: self.gateway.address.clone(),
            reason: reason.to_string(),
        }
    }
}
