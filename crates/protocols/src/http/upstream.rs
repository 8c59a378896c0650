//! The connections to the real server, for one client. What is sent there was permitted.
//!
//! The client's requests do not wait for each other: a server that speaks HTTP/2 gets them over one connection, another one over as many as
//! are under way at once. Without TLS nothing tells what a server speaks: it is HTTP/1.1, but for calls of gRPC, which are in HTTP/2 or none.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use guard_core::TlsMode;
use guard_gate::{Permit, Running};
use http_body_util::combinators::BoxBody;
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, TE, UPGRADE},
    http::uri::Scheme,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::{
    head::{MAX_FIELDS, MAX_HEAD},
    tasks::Tasks,
    two,
    verb::is_grpc_type,
};
use crate::{ClientIo, ProtocolError, Resource, tls};

/// How long a server may think before it answers: as long as the longest requests that are usual.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How many connections without a request are kept, where a server speaks HTTP/1.1.
const MAX_IDLE: usize = 8;
/// HTTP/1.1 in ALPN.
const ALPN_ONE: &[u8] = b"http/1.1";
/// How often a request is tried that never left, because the server closes connections.
const MAX_TRIES: usize = 3;

/// The body of a request.
pub(super) type Outgoing = BoxBody<Bytes, std::io::Error>;

/// There is no answer.
pub(super) enum Failed {
    /// It did not come in time.
    Late,
    /// It cannot come any more.
    Broken(ProtocolError),
}

/// Whether a client has several requests under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OneByOne,
    Parallel,
}

/// Connections to the resource for one client.
pub(super) struct Upstream {
    /// The resource's own name, as the header Host.
    host: HeaderValue,
    order: Order,
    open: Mutex<Open>,
    /// Held by who opens a connection while it is not known whether one is enough.
    opening: tokio::sync::Mutex<()>,
    tasks: Tasks,
}

#[derive(Default)]
struct Open {
    spoken: Option<Spoken>,
    one: Vec<http1::SendRequest<Outgoing>>,
    two: Option<http2::SendRequest<Outgoing>>,
}

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    One,
    Two,
}

enum Sender {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Upstream {
    pub(super) fn new(host: HeaderValue, order: Order) -> Self {
        let (open, opening, tasks) =
            (Mutex::default(), tokio::sync::Mutex::default(), Tasks::default());
        Self { host, order, open, opening, tasks }
    }

    /// Sends a request that was permitted, and gives the answer's head. Once: only what never left is sent again. `limit` is what is
    /// left of its time.
    ///
    /// Dropped, it takes its connection with it, or its stream: what comes late would be the answer to another request.
    pub(super) async fn send(
        &self,
        resource: &dyn Resource,
        permit: Permit,
        request: Request<Outgoing>,
        limit: Option<Duration>,
    ) -> (Running, Result<Response<Incoming>, Failed>) {
        let running = permit.spend();
        let limit = limit.unwrap_or(ANSWER_TIMEOUT).min(ANSWER_TIMEOUT);
        let sending = async {
            if request.headers().contains_key(UPGRADE) {
                Box::pin(self.send_alone(resource, request)).await
            } else {
                self.send_once(resource, request).await
            }
        };
        let sent = match timeout(limit, pin!(sending)).await {
            Ok(sent) => sent.map_err(Failed::Broken),
            Err(_) => Err(Failed::Late),
        };
        (running, sent)
    }

    async fn send_once(
        &self,
        resource: &dyn Resource,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, ProtocolError> {
        let needed = needed(resource, &request);
        let mut tries = 1;
        loop {
            let (mut sender, is_new) = self.sender(resource, needed).await?;
            let fitting = self.fitting(resource, request, &sender)?;
            let mut error = match sender.send(fitting).await {
                Ok(answer) => {
                    self.keep(sender);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.forget(&sender);
            match error.take_message() {
                // The server closed it in the same moment; nothing of the request has left.
                Some(unsent) if !is_new && tries < MAX_TRIES => request = unsent,
                Some(_) | None => {
                    return Err(ProtocolError::Resource(error.into_error().to_string()));
                }
            }
            tries += 1;
        }
    }

    /// Sends a request that asks for another protocol, over a connection that is for nothing else.
    async fn send_alone(
        &self,
        resource: &dyn Resource,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, ProtocolError> {
        let broken = |error: hyper::Error| ProtocolError::Resource(error.to_string());
        let (stream, _) = reach(resource, &[ALPN_ONE]).await?;
        let (sender, connection) =
            one_builder().handshake(TokioIo::new(stream)).await.map_err(broken)?;
        self.tasks.spawn(async move { drop(connection.with_upgrades().await) });
        let mut sender = Sender::One(sender);
        let request = self.fitting(resource, request, &sender)?;
        sender.send(request).await.map_err(|error| broken(error.into_error()))
    }

    /// A request as it is written in the version of a connection.
    fn fitting(
        &self,
        resource: &dyn Resource,
        mut request: Request<Outgoing>,
        sender: &Sender,
    ) -> Result<Request<Outgoing>, ProtocolError> {
        let unfit = || ProtocolError::Guard("the request cannot be written anew".into());
        let path = request.uri().path_and_query().cloned().ok_or_else(unfit)?;
        match sender {
            Sender::One(_) => {
                *request.uri_mut() = Uri::from(path);
                let headers = request.headers_mut();
                headers.insert(HOST, self.host.clone());
                // What is meant for the next hop has to be named.
                if headers.contains_key(UPGRADE) {
                    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                } else if headers.contains_key(TE) {
                    headers.insert(CONNECTION, HeaderValue::from_static("te"));
                }
            }
            Sender::Two(_) => {
                let scheme = match resource.spec().tls {
                    TlsMode::VerifyFull => Scheme::HTTPS,
                    TlsMode::Disable => Scheme::HTTP,
                };
                let uri = Uri::builder().scheme(scheme).authority(self.host.as_bytes());
                *request.uri_mut() = uri.path_and_query(path).build().map_err(|_| unfit())?;
                request.headers_mut().remove(HOST);
                request.headers_mut().remove(CONNECTION);
            }
        }
        Ok(request)
    }

    // === connections ===

    /// A connection that is free, and whether it was opened for this.
    async fn sender(
        &self,
        resource: &dyn Resource,
        needed: Option<Spoken>,
    ) -> Result<(Sender, bool), ProtocolError> {
        if let Some(sender) = self.free(needed).await {
            return Ok((sender, false));
        }
        let spoken = needed.or(self.open().spoken);
        let opening = match spoken {
            Some(Spoken::One) => None,
            Some(Spoken::Two) | None => Some(self.opening.lock().await),
        };
        // Somebody else may have opened it meanwhile.
        if opening.is_some()
            && let Some(sender) = self.free(needed).await
        {
            return Ok((sender, false));
        }
        // Rare and large: it would be a part of each request otherwise.
        let sender = Box::pin(self.connect(resource, needed)).await?;
        Ok((sender, true))
    }

    async fn free(&self, needed: Option<Spoken>) -> Option<Sender> {
        loop {
            let taken = self.open().take(self.order, needed)?;
            match taken {
                Sender::Two(sender) => return Some(Sender::Two(sender)),
                Sender::One(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Some(Sender::One(sender));
                    }
                }
            }
        }
    }

    /// Takes a connection back whose answer has begun.
    fn keep(&self, sender: Sender) {
        match sender {
            Sender::One(sender) => self.open().one.push(sender),
            // It never was away.
            Sender::Two(_) => {}
        }
    }

    fn forget(&self, sender: &Sender) {
        match sender {
            Sender::One(_) => {}
            Sender::Two(_) => self.open().two = None,
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(
        &self,
        resource: &dyn Resource,
        needed: Option<Spoken>,
    ) -> Result<Sender, ProtocolError> {
        let (stream, told) = reach(resource, &[two::ALPN, ALPN_ONE]).await?;
        let spoken = needed.unwrap_or(told);
        let broken = |error: hyper::Error| ProtocolError::Resource(error.to_string());
        let io = TokioIo::new(stream);
        // What goes wrong in a connection is an error of whoever sends or reads.
        let sender = match spoken {
            Spoken::One => {
                let (sender, connection) = one_builder().handshake(io).await.map_err(broken)?;
                self.tasks.spawn(async move { drop(connection.await) });
                Sender::One(sender)
            }
            Spoken::Two => {
                let builder = two::client(self.tasks.clone());
                let (sender, connection) = builder.handshake(io).await.map_err(broken)?;
                self.tasks.spawn(async move { drop(connection.await) });
                self.open().two = Some(sender.clone());
                Sender::Two(sender)
            }
        };
        self.open().spoken = Some(spoken);
        Ok(sender)
    }
}

/// What a request has to be sent in that can be sent in one version only, where the server does not say what it speaks.
fn needed<B>(resource: &dyn Resource, request: &Request<B>) -> Option<Spoken> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match resource.spec().tls {
        TlsMode::Disable => content_type.is_some_and(is_grpc_type).then_some(Spoken::Two),
        TlsMode::VerifyFull => None,
    }
}

/// Opens a connection in which one of these is spoken.
async fn reach(
    resource: &dyn Resource,
    alpn: &[&[u8]],
) -> Result<(ClientIo, Spoken), ProtocolError> {
    let unreachable = |error| ProtocolError::Resource(format!("it cannot be reached: {error}"));
    let tcp = resource.dial().await.map_err(unreachable)?;
    tcp.set_nodelay(true)?;
    match resource.spec().tls {
        TlsMode::Disable => Ok((Box::new(tcp), Spoken::One)),
        TlsMode::VerifyFull => {
            let mut config = ClientConfig::clone(&resource.tls());
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            let stream = tls::open(resource, Arc::new(config), tcp).await?;
            let is_two = stream.get_ref().1.alpn_protocol() == Some(two::ALPN);
            Ok((Box::new(stream), if is_two { Spoken::Two } else { Spoken::One }))
        }
    }
}

fn one_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_FIELDS).max_buf_size(2 * MAX_HEAD);
    builder
}

impl Open {
    /// One that can be used, or, where requests come one by one, will be.
    fn take(&mut self, order: Order, needed: Option<Spoken>) -> Option<Sender> {
        if let Some(sender) = &self.two {
            if !sender.is_closed() {
                return Some(Sender::Two(sender.clone()));
            }
            self.two = None;
        }
        if needed == Some(Spoken::Two) {
            return None;
        }
        self.one.retain(|sender| !sender.is_closed());
        let mut idle = 0;
        self.one.retain(|sender| {
            idle += usize::from(sender.is_ready());
            idle <= MAX_IDLE || !sender.is_ready()
        });
        let free = match order {
            Order::OneByOne => self.one.len().checked_sub(1),
            Order::Parallel => self.one.iter().rposition(http1::SendRequest::is_ready),
        };
        free.map(|at| Sender::One(self.one.swap_remove(at)))
    }
}

impl Sender {
    async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match self {
            Self::One(sender) => sender.try_send_request(request).await,
            Self::Two(sender) => sender.try_send_request(request).await,
        }
    }
}
