//! What passes through a WebSocket, counted and without the credential, until one side or the session ends it.

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use guard_core::EndReason;
use guard_gate::{Meter, Outcome, Running};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split,
    },
    time::{sleep, timeout},
};

use super::{
    super::{answer::TIME, credential::Shown, exchange::Connection},
    frames::{Received, Sent, close},
};
use crate::{ClientIo, Closed, ProtocolError};

/// How long one side may take to finish when the other has.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How much is read at once.
const PIECE: usize = 16 << 10;

/// The connection goes away (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;
/// A frame is none.
const PROTOCOL_ERROR: u16 = 1002;
/// It is against the policy.
const POLICY: u16 = 1008;

/// A WebSocket whose handshake is done.
pub(in super::super) struct Tunnel {
    pub(in super::super) upstream: Upgraded,
    pub(in super::super) running: Running,
    pub(in super::super) meter: Option<Meter>,
    pub(in super::super) shown: Arc<Shown>,
}

/// What both directions count.
struct Counted {
    meter: Mutex<Option<Meter>>,
    bytes: AtomicU64,
    masked: AtomicU64,
    /// The client has got whole frames.
    is_whole: AtomicBool,
}

/// Why nothing more passes.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// A side is done, or gone.
    Ended,
    Lost,
    Client,
    Server,
    Budget,
    Time,
    Session(EndReason),
}

impl Cut {
    /// For the record.
    const fn error(self) -> Option<&'static str> {
        match self {
            Self::Ended => None,
            Self::Lost => Some("lost"),
            Self::Client => Some("no frame of the client's"),
            Self::Server => Some("no frame of the server's"),
            Self::Budget => Some("budget"),
            Self::Time => Some(TIME),
            Self::Session(_) => Some("session over"),
        }
    }

    const fn code(self) -> Option<u16> {
        match self {
            Self::Ended => None,
            Self::Client => Some(PROTOCOL_ERROR),
            Self::Budget | Self::Time => Some(POLICY),
            Self::Lost | Self::Server | Self::Session(_) => Some(GOING_AWAY),
        }
    }
}

impl Counted {
    fn admit(&self, size: usize) -> Result<(), Cut> {
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        match &mut *self.meter.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(meter) => match meter.admit(std::iter::once((0, size as u64))).exceeded {
                Some(_) => Err(Cut::Budget),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl Tunnel {
    /// Passes frames. `first`: what the client sent already.
    pub(in super::super) async fn pass(
        self,
        connection: &Connection,
        client: ClientIo,
        first: Vec<u8>,
    ) -> Result<Closed, ProtocolError> {
        let Self { upstream, running, meter, shown } = self;
        let time = meter.as_ref().and_then(Meter::time_left);
        let counted = Counted {
            meter: Mutex::new(meter),
            bytes: AtomicU64::new(0),
            masked: AtomicU64::new(0),
            is_whole: AtomicBool::new(true),
        };
        let (mut client_in, mut client_out) = split(client);
        let (mut server_in, mut server_out) = split(TokioIo::new(upstream));
        let cut = {
            let sent = sent(&mut client_in, &mut server_out, first, &counted);
            let received = received(&mut server_in, &mut client_out, &shown, &counted);
            tokio::select! {
                cut = both(sent, received) => cut,
                reason = connection.gate.ended() => Cut::Session(reason),
                () = after(time) => Cut::Time,
            }
        };
        if let Some(code) = cut.code()
            && counted.is_whole.load(Ordering::Relaxed)
        {
            let _ = timeout(LAST_WORDS, client_out.write_all(&close(code))).await;
        }
        let _ = timeout(LAST_WORDS, client_out.shutdown()).await;
        let mut meter = counted.meter.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let (Cut::Time, Some(meter)) = (cut, &mut meter) {
            let _ = meter.out_of_time();
        }
        running.finish(Outcome {
            status: Some(101),
            error: cut.error().map(str::to_owned),
            bytes: counted.bytes.into_inner(),
            masked: counted.masked.into_inner(),
            budget: meter.as_ref().and_then(Meter::exceeded),
            ..Outcome::default()
        });
        match cut {
            Cut::Session(reason) => Ok(Closed::Session(reason)),
            Cut::Client => Err(ProtocolError::Client("it sent no frame of a WebSocket".into())),
            Cut::Server => Err(ProtocolError::Resource("it sent no frame of a WebSocket".into())),
            Cut::Ended | Cut::Lost | Cut::Budget | Cut::Time => Ok(Closed::Client),
        }
    }
}

/// Both directions: when the server is done, all is; when the client is, the server may finish.
async fn both(sent: impl Future<Output = Cut>, received: impl Future<Output = Cut>) -> Cut {
    let (mut sent, mut received) = (std::pin::pin!(sent), std::pin::pin!(received));
    tokio::select! {
        cut = &mut received => cut,
        cut = &mut sent => match cut {
            Cut::Ended => timeout(LAST_WORDS, received).await.unwrap_or(Cut::Ended),
            Cut::Lost | Cut::Client | Cut::Server | Cut::Budget | Cut::Time | Cut::Session(_) => cut,
        },
    }
}

async fn sent(
    client: &mut ReadHalf<ClientIo>,
    server: &mut WriteHalf<impl AsyncWrite>,
    first: Vec<u8>,
    counted: &Counted,
) -> Cut {
    let mut frames = Sent::new();
    let passing = async {
        let mut piece = first;
        loop {
            frames.check(&piece).map_err(|_| Cut::Client)?;
            counted.admit(piece.len())?;
            server.write_all(&piece).await.map_err(|_| Cut::Lost)?;
            server.flush().await.map_err(|_| Cut::Lost)?;
            piece.resize(PIECE, 0);
            match client.read(&mut piece).await {
                Ok(0) => break,
                Ok(count) => piece.truncate(count),
                Err(_) => return Err(Cut::Lost),
            }
        }
        server.shutdown().await.map_err(|_| Cut::Lost)
    };
    passing.await.err().unwrap_or(Cut::Ended)
}

async fn received(
    server: &mut ReadHalf<impl AsyncRead>,
    client: &mut WriteHalf<ClientIo>,
    shown: &Shown,
    counted: &Counted,
) -> Cut {
    let (mut frames, mut piece, mut out) = (Received::new(), vec![0; PIECE], Vec::new());
    let passing = async {
        loop {
            let count = match server.read(&mut piece).await {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(_) => return Err(Cut::Lost),
            };
            out.clear();
            let got = piece.get(..count).unwrap_or_default();
            let read = frames.push(got, &shown.hidden, &mut out).map_err(|_| Cut::Server);
            counted.masked.store(frames.found, Ordering::Relaxed);
            // What came before the fault is whole.
            if !out.is_empty() {
                counted.admit(out.len())?;
                counted.is_whole.store(false, Ordering::Relaxed);
                write(client, &out).await.map_err(|_| Cut::Lost)?;
                counted.is_whole.store(true, Ordering::Relaxed);
            }
            read?;
        }
    };
    passing.await.err().unwrap_or(Cut::Ended)
}

async fn write(to: &mut WriteHalf<ClientIo>, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Waits for so long; for ever without a limit.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}
