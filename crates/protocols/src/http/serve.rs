//! A client's connection from its first byte to its last, in either version of HTTP.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use guard_core::EndReason;
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONNECTION, HeaderValue},
    server::conn::http1::Builder,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    time::{interval, timeout},
};

use super::{
    answer::Answer,
    asked::Asked,
    begun::Begun,
    exchange::Connection,
    head::{self, HeadError},
    tasks::Tasks,
    two,
    wire::{Heads, Strict},
};
use crate::{ClientIo, Closed, ProtocolError};

/// How long clients may take to read that the session is over.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a client that still sends is heard after its answer. Otherwise it is told of a broken connection before it reads why.
const LINGER: Duration = Duration::from_secs(10);
/// A client that sends nothing for this long has nothing to send.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// How many requests more may be abandoned than answered, one after the other, on one connection.
const MAX_ABANDONED: u64 = 100;

/// Serves HTTP/1.1.
pub(super) async fn one(
    connection: Arc<Connection>,
    client: Begun,
) -> Result<Closed, ProtocolError> {
    let heads = Arc::<Heads>::default();
    let strict = Strict::new(Box::new(client), heads.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let asked = heads.next().map(Asked::from).ok_or(HeadError::Unreadable("it is not there"));
        let upgrades = asked.as_ref().is_ok_and(|asked| asked.head.is_upgrade());
        let connection = connection.clone();
        Box::pin(async move {
            let mut answer = connection.answer(asked, request.into_body()).await;
            if upgrades && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                // What the client has sent behind it is of neither protocol.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        })
    });
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(connection.shared.patience.head)
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
        Some(served) => Some(served),
        None => {
            // What is being answered is told so; nothing more is taken.
            Pin::new(&mut serving).graceful_shutdown();
            timeout(LAST_WORDS, poll_fn(|cx| serving.poll_without_shutdown(cx))).await.ok()
        }
    };
    let (mut client, behind) = serving.into_parts().io.into_inner().into_parts();
    if let Some(reason) = over {
        linger(client).await;
        return Ok(Closed::Session(reason));
    }
    if let Some(why) = heads.refused() {
        let refusal = connection.unsound("request", "", why.to_string()).await;
        // In the middle of an answer it would be taken for a part of it.
        if matches!(served, Some(Ok(()))) {
            let _ = client.write_all(&refusal.bytes()).await;
        }
        linger(client).await;
        return Err(ProtocolError::Client(why.to_string()));
    }
    if let (Some(Ok(())), Some(tunnel)) = (&served, connection.tunnel()) {
        return tunnel.pass(&connection, client, behind.to_vec()).await;
    }
    linger(client).await;
    match served {
        Some(Err(error)) => Err(ProtocolError::Client(error.to_string())),
        Some(Ok(())) | None => Ok(Closed::Client),
    }
}

/// Closes a connection whose client may still be sending, so that it reads what was sent to it.
async fn linger(mut client: ClientIo) {
    let _ = client.shutdown().await;
    let mut nothing = [0; 4096];
    let hearing = async {
        while let Ok(Ok(1..)) = timeout(LINGER_SILENCE, client.read(&mut nothing)).await {}
    };
    let _ = timeout(LINGER, hearing).await;
}

// === HTTP/2 ===

/// Serves HTTP/2: each stream is a request of its own.
pub(super) async fn two(
    connection: Arc<Connection>,
    client: Begun,
) -> Result<Closed, ProtocolError> {
    let (tasks, streams) = (Tasks::default(), Arc::<Streams>::default());
    let service = {
        let (connection, streams) = (connection.clone(), streams.clone());
        service_fn(move |request: Request<Incoming>| {
            stream(connection.clone(), Stream::begin(streams.clone()), request)
        })
    };
    let builder = two::server(tasks.clone());
    let mut serving = Box::pin(builder.serve_connection(TokioIo::new(client), service));
    let end = tokio::select! {
        served = &mut serving => End::Served(served),
        reason = connection.gate.ended() => End::Session(reason),
        () = streams.idle(&tasks, connection.shared.patience.head) => End::Idle,
        () = streams.abandoned.notified() => End::Flood,
    };
    if matches!(end, End::Session(_) | End::Idle) {
        // What is being answered is told so; nothing more is taken.
        serving.as_mut().graceful_shutdown();
        let _ = timeout(LAST_WORDS, &mut serving).await;
    }
    let closed = match end {
        End::Served(Ok(())) | End::Idle => Ok(Closed::Client),
        End::Served(Err(error)) => Err(ProtocolError::Client(error.to_string())),
        End::Session(reason) => Ok(Closed::Session(reason)),
        End::Flood => Err(ProtocolError::Client("it abandons its requests".into())),
    };
    drop(serving);
    tasks.end().await;
    closed
}

/// Why a connection is over.
enum End {
    Served(hyper::Result<()>),
    Session(EndReason),
    Idle,
    Flood,
}

async fn stream(
    connection: Arc<Connection>,
    stream: Stream,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let asked = two::request(&request, request.body().is_end_stream());
    let answer = connection.answer(asked, request.into_body()).await;
    stream.answered();
    Ok(answer)
}

/// What the streams of a connection were about.
#[derive(Default)]
struct Streams {
    begun: AtomicU64,
    /// How many more were abandoned than answered.
    balance: AtomicU64,
    /// Told when these are too many.
    abandoned: Notify,
}

/// One that waits for its answer.
struct Stream {
    streams: Arc<Streams>,
    is_answered: bool,
}

impl Streams {
    /// Waits until nothing was asked for some time, be it that half of a head came.
    async fn idle(&self, tasks: &Tasks, time: Duration) {
        let mut ticks = interval(time);
        let mut before = 0;
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let begun = self.begun.load(Ordering::Relaxed);
            if tasks.is_idle() && begun == before {
                return;
            }
            before = begun;
        }
    }
}

impl Stream {
    fn begin(streams: Arc<Streams>) -> Self {
        streams.begun.fetch_add(1, Ordering::Relaxed);
        Self { streams, is_answered: false }
    }

    fn answered(mut self) {
        self.is_answered = true;
        let less = |balance: u64| Some(balance.saturating_sub(1));
        let _ = self.streams.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_answered
            && self.streams.balance.fetch_add(1, Ordering::Relaxed) >= MAX_ABANDONED
        {
            self.streams.abandoned.notify_one();
        }
    }
}
