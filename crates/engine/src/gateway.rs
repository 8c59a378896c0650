//! A gateway: beside the resources, outside the job. It takes tunnels of shims, asks the broker
//! whether each is what it says, and serves them.

mod registration;
mod request;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use guard_core::{EnforceAt, ResourceName, SessionId, control::Enforcement};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use registration::{enrol, enrol_by_identity, keep_registered};

pub use crate::tls::ServerCertificate;

use crate::{
    control::{ControlPlane, GatewayControl},
    session::{Point, ServedSession, StartError},
    threads::Threads,
};

/// Connections at a time, over all sessions.
const MAX_CONNECTIONS: usize = 4096;
/// From the first byte to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From there to the end of the request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest header: a token, a proof and a password take less than 2 KiB.
const MAX_HEADER: usize = 16 * 1024;
/// After an error of `accept` (out of file descriptors): closing connections may help meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At shutdown, tunnels that are open may end by themselves for this long.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(5);
/// Then their sessions' notes must be on their way within this.
const SHUTDOWN_NOTES: Duration = Duration::from_secs(8);

/// A gateway and the sessions that it serves.
pub struct Gateway {
    control: Arc<dyn GatewayControl>,
    /// `host:port` where shims reach it: what their proofs name.
    address: String,
    point: Point,
    sessions: Mutex<HashMap<(SessionId, ResourceName), Arc<ServedSession>>>,
    threads: Threads,
    tunnels: TaskTracker,
    stop: CancellationToken,
}

impl Gateway {
    /// A gateway that shims reach at `address`, with its connections on `threads`.
    pub fn new(
        name: &str,
        address: String,
        control: Arc<dyn GatewayControl>,
        threads: Threads,
    ) -> Arc<Self> {
        Arc::new(Self {
            control,
            address,
            point: Point { at: EnforceAt::Gateway, name: name.to_owned() },
            sessions: Mutex::default(),
            threads,
            tunnels: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Takes connections until `shutdown` is ready, then drains.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        certificate: &ServerCertificate,
        shutdown: BoxFuture<'_, ()>,
    ) {
        let acceptor = TlsAcceptor::from(certificate.config.clone());
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tokio::select! {
            () = shutdown => {}
            () = self.clone().accept(listener, acceptor, slots) => {}
        }
        self.drain().await;
    }

    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        acceptor: TlsAcceptor,
        slots: Arc<Semaphore>,
    ) {
        loop {
            let accepted = listener.accept().await.and_then(|(stream, _)| stream.into_std());
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                tracing::warn!(
                    max = MAX_CONNECTIONS,
                    "a connection was refused: too many at a time"
                );
                continue;
            };
            let (gateway, acceptor) = (self.clone(), acceptor.clone());
            let serving = async move {
                let served = match TcpStream::from_std(stream) {
                    Ok(stream) => gateway.connection(stream, acceptor, slot).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection broke before it was a tunnel");
                }
            };
            self.tunnels.spawn_on(serving, self.threads.next());
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        slot: tokio::sync::OwnedSemaphorePermit,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        crate::resource::keep_alive(&stream)?;
        let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        // One request a connection: either it becomes a tunnel or it is over.
        let slot = Arc::new(slot);
        let service = hyper::service::service_fn({
            let gateway = self.clone();
            move |request| {
                let (gateway, slot) = (gateway.clone(), slot.clone());
                async move { Ok::<_, std::convert::Infallible>(gateway.request(request, slot).await) }
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MAX_HEADER)
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::select! {
            served = connection => served.map_err(io::Error::other),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// The session that serves a resource: the one that is there, or a new one.
    fn session(
        self: &Arc<Self>,
        enforcement: Enforcement,
    ) -> Result<Arc<ServedSession>, StartError> {
        let key = (enforcement.session, enforcement.grant.resource.clone());
        let mut sessions = self.sessions();
        if let Some(served) = sessions.get(&key).filter(|served| served.is_live()) {
            served.update(&enforcement.policy)?;
            return Ok(served.clone());
        }
        let control: Arc<dyn ControlPlane> = self.control.clone();
        let served = ServedSession::start(enforcement, control.clone(), &self.point)?;
        tracing::info!(session = %key.0, resource = %key.1, "serving");
        tokio::spawn(served.clone().follow(control));
        tokio::spawn({
            let (gateway, served, key) = (self.clone(), served.clone(), key.clone());
            async move {
                served.finished().await;
                let mut sessions = gateway.sessions();
                if sessions.get(&key).is_some_and(|other| Arc::ptr_eq(other, &served)) {
                    sessions.remove(&key);
                }
                tracing::info!(session = %key.0, resource = %key.1, "served");
            }
        });
        sessions.insert(key, served.clone());
        Ok(served)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<(SessionId, ResourceName), Arc<ServedSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drain(&self) {
        self.tunnels.close();
        if timeout(SHUTDOWN_DRAIN, self.tunnels.wait()).await.is_err() {
            self.stop.cancel();
        }
        let sessions: Vec<_> = self.sessions().values().cloned().collect();
        let finished = sessions.iter().map(|served| async {
            // From here on nothing of the session can be recorded at this point.
            served.end(guard_core::EndReason::Unrecorded);
            served.finished().await;
        });
        if timeout(SHUTDOWN_NOTES, futures_util::future::join_all(finished)).await.is_err() {
            tracing::warn!("not all notes reached the broker before the shutdown");
        }
    }
}

#[cfg(test)]
mod tests;
