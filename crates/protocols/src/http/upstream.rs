//! The connection to the real server. What is sent there was permitted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use guard_core::TlsMode;
use guard_gate::{Permit, Running};
use http_body_util::combinators::BoxBody;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{task::AbortHandle, time::timeout};
use tokio_rustls::TlsConnector;

use super::head::{MAX_FIELDS, MAX_HEAD};
use crate::{ClientIo, ProtocolError, Resource};

/// How long TLS may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may think before it answers: as long as the longest requests that are usual.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The body of a request.
pub(super) type Outgoing = BoxBody<Bytes, std::io::Error>;

/// There is no answer.
pub(super) enum Failed {
    /// It did not come in time.
    Late,
    /// It cannot come any more.
    Broken(ProtocolError),
}

/// Connections to the resource for one client, one at a time.
#[derive(Default)]
pub(super) struct Upstream {
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Outgoing>,
    task: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Sends a request that was permitted, and gives the answer's head. Once: only what never left is sent again. `limit` is what is
    /// left of its time.
    pub(super) async fn send(
        &mut self,
        resource: &dyn Resource,
        permit: Permit,
        request: Request<Outgoing>,
        limit: Option<Duration>,
    ) -> (Running, Result<Response<Incoming>, Failed>) {
        let running = permit.spend();
        let limit = limit.unwrap_or(ANSWER_TIMEOUT).min(ANSWER_TIMEOUT);
        let sent = match timeout(limit, self.send_once(resource, request)).await {
            Ok(sent) => sent.map_err(Failed::Broken),
            Err(_) => Err(Failed::Late),
        };
        if sent.is_err() {
            // What comes late would be the answer to another request.
            self.open = None;
        }
        (running, sent)
    }

    async fn send_once(
        &mut self,
        resource: &dyn Resource,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, ProtocolError> {
        loop {
            let mut there = self.open.take();
            if let Some(open) = &mut there
                && open.sender.ready().await.is_err()
            {
                there = None;
            }
            let is_new = there.is_none();
            let open = match there {
                Some(open) => open,
                None => connect(resource).await?,
            };
            let open = self.open.insert(open);
            match open.sender.try_send_request(request).await {
                Ok(answer) => return Ok(answer),
                Err(mut error) => {
                    self.open = None;
                    match error.take_message() {
                        // The server closed it in the same moment; nothing of the request has left.
                        Some(unsent) if !is_new => request = unsent,
                        Some(_) | None => {
                            return Err(ProtocolError::Resource(error.into_error().to_string()));
                        }
                    }
                }
            }
        }
    }
}

async fn connect(resource: &dyn Resource) -> Result<Open, ProtocolError> {
    let unreachable = |error| ProtocolError::Resource(format!("it cannot be reached: {error}"));
    let tcp = resource.dial().await.map_err(unreachable)?;
    tcp.set_nodelay(true)?;
    let stream: ClientIo = match resource.spec().tls {
        TlsMode::Disable => Box::new(tcp),
        TlsMode::VerifyFull => {
            let address = &resource.spec().address;
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host)
                .map_err(|_| ProtocolError::Guard(format!("`{address}` has no name for TLS")))?;
            let connector = TlsConnector::from(Arc::clone(&resource.tls()));
            let stream = timeout(TLS_TIMEOUT, connector.connect(name, tcp)).await;
            let stream = stream.map_err(|_| ProtocolError::Resource("TLS took too long".into()))?;
            Box::new(stream.map_err(|error| ProtocolError::Resource(format!("TLS: {error}")))?)
        }
    };
    let mut builder = Builder::new();
    builder.max_headers(MAX_FIELDS).max_buf_size(2 * MAX_HEAD);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ProtocolError::Resource(error.to_string()))?;
    // What goes wrong in it is an error of whoever sends or reads.
    let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok(Open { sender, task })
}
