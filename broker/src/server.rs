//! Listening: connections in, each with its limits, until the broker is told to stop.

mod tls;

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use tls::Tls;

use crate::metrics::Metrics;

/// Connections at once: shims keep one or two each, gateways a few.
const MAX_CONNECTIONS: usize = 4096;
/// A peer that does not finish its TLS handshake by then is not going to.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head is one packet; slower is an attack.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A head holds a token and a proof, some kilobytes each.
const MAX_HEAD: usize = 64 * 1024;
/// After an error of accepting (no file handles left), others need a moment to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that run when the broker is told to stop may take this long.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Serves until `stop`, then lets requests that run come to their end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            tracing::warn!("too many connections");
            metrics.connection_refused();
            continue;
        };
        // The certificate as it is at this moment.
        let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.now()));
        let (router, stop) = (router.clone(), stop.clone());
        let open = metrics.connected();
        tasks.spawn(async move {
            connection(stream, tls, router, stop).await;
            drop((place, open));
        });
    }
    tasks.close();
    let _ = tokio::time::timeout(SHUTDOWN, tasks.wait()).await;
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let served = match tls {
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, router, stop).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no TLS handshake in time".into()),
        },
        None => http(stream, router, stop).await,
    };
    if let Err(error) = served {
        tracing::debug!(error, "a connection ended");
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|error| error.to_string())
}
