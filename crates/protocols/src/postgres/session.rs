//! One client's connection after its start-up: one task that moves bytes both ways and keeps the two sides
//! in step. [`super::from_client`] and [`super::from_server`] are its two halves.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use guard_core::{Detectors, EndReason};
use guard_gate::{Gate, Held, Traffic};
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf},
    time::timeout,
};

use super::{
    Shared,
    budgeting::Budgeting,
    cancel::CancelKey,
    definitions::Definitions,
    encoding::Reading,
    expect::{Copy, Expect},
    frame,
    likeness::Likeness,
    names::Known,
    refuse,
    startup::Client,
    upstream::{self, Upstream},
    waiting::{Holding, SharedBell},
};
use crate::{ClientIo, Closed, ProtocolError, alarm::Alarm, detect::Found};

/// How much is read at once, once a side has sent more than [`FIRST_CHUNK`] in one go.
const CHUNK: usize = 64 << 10;
/// How much is read at once before that: most messages of an application are far smaller, and a pool of
/// idle connections should not hold what a COPY needs.
const FIRST_CHUNK: usize = 4 << 10;
/// As long as this much waits to be written to one side, nothing is read from the other.
const MAX_UNSENT: usize = 256 << 10;
/// As long as this much of a client waits to be looked at, nothing is read from it, unless a whole message
/// is longer.
const MAX_UNREAD: usize = 2 * CHUNK;
/// As long as so many messages are not answered, no more are looked at.
pub(super) const MAX_UNANSWERED: usize = 4096;
/// How long a client that takes no bytes may keep its last message waiting.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long cancelling what a gone client left running may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// One client's connection.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Arc<Gate>,
    pub(super) client: Client,
    pub(super) upstream: Upstream,
    pub(super) server_key: CancelKey,

    /// What the server has to answer.
    pub(super) expected: VecDeque<Expect>,
    pub(super) names: Known,
    /// Counts what fails together: see [`super::names::Group`].
    pub(super) group: u64,
    /// The server takes commands of the replication protocol.
    pub(super) replication: bool,
    /// What the planner's connection must be like; kept where a rule bounds rows.
    pub(super) likeness: Option<Box<Likeness>>,
    /// How the client's texts are to be read.
    pub(super) reading: Reading,

    /// State of the transaction, as the server last said.
    pub(super) status: u8,
    /// Whether a statement with masked columns in reach was sent: texts of the server may tell of them.
    pub(super) reached: bool,
    /// What is looked for in messages that are no rows.
    pub(super) detect: Detectors,
    /// What was found there.
    pub(super) detected: Found,
    /// Whether what was sent in this group leaves open how the next text is read.
    pub(super) settled: super::settled::Settled,
    /// Nothing of the client is looked at until all is answered.
    pub(super) settling: bool,
    /// Guard asked the server to answer, because too much is unanswered.
    pub(super) flushed: bool,
    /// The server skips what comes before the next Sync, because of this error.
    pub(super) skipping: Option<String>,
    /// That error is a refusal of guard's.
    pub(super) skipping_refused: bool,
    /// Definitions that were changed, and may not be visible to others yet.
    pub(super) changed: Definitions,
    /// Views that were made here.
    pub(super) views: super::views::Views,

    /// Bytes of the client's current message that still go to the server as they are.
    pub(super) copying: usize,
    /// Bytes of the client's current message that go nowhere.
    pub(super) discarding: usize,
    /// Bytes of the server's current message that still go to the client as they are.
    pub(super) passing: usize,
    /// Bytes of the server's current CopyData that still go through its masker.
    pub(super) masking: usize,
    /// Length of the client's message that is read whole and is not all there.
    pub(super) wanted: usize,
    /// Bytes of the server's current message that go nowhere.
    pub(super) dropping: usize,
    pub(super) budgeting: Budgeting,
    pub(super) grown: Grown,
    /// The client said goodbye.
    pub(super) goodbye: bool,
    /// The client's next message waits for people.
    pub(super) holding: Option<Holding>,
    /// What they decided, until the message is looked at again.
    pub(super) decided: Option<Held>,
    /// Rings when the client takes it back.
    pub(super) bell: SharedBell,

    /// Something of what the client gets is kept for the record.
    pub(super) records: bool,
    /// How much of what waits for the client may go: what is behind it is not known to be recorded.
    pub(super) released: usize,
    /// How much of it its bytes are kept of.
    pub(super) noted: usize,
    /// Keeps the bytes of both sides, if the policy does.
    pub(super) traffic: Option<Traffic>,
}

/// Which sides have sent much at once: their buffers are what a stream of rows needs, until nothing is under way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Grown {
    client: bool,
    server: bool,
}

/// Why a connection ends on which a refused batch is followed by a Query.
pub(super) const QUERY_BEFORE_SYNC: &str =
    "a Query follows a refused batch whose Sync has not come";

enum Event {
    Input,
    ClientGone,
    ServerGone,
    Ended(EndReason),
    Late,
    Cancelled,
    Decided,
}

impl Session {
    /// Serves the client until somebody goes.
    pub(super) async fn run(mut self) -> Result<Closed, ProtocolError> {
        let gate = self.gate.clone();
        let mut ended = Alarm::new(async move { gate.ended().await });
        self.release_output();
        let result = self.serve(&mut ended).await;
        if self.records {
            self.record_last().await;
        }
        let reason = match &result {
            Ok(Closed::Session(reason)) => {
                refuse::ended(&mut self.client.output, *reason);
                Some(reason.to_string())
            }
            Ok(_) => None,
            Err(error) => {
                if !matches!(error, ProtocolError::Io(_)) {
                    refuse::fatal(
                        &mut self.client.output,
                        refuse::PROTOCOL_VIOLATION,
                        &format!("the connection is closed by guard: {error}"),
                    );
                }
                Some(error.to_string())
            }
        };
        self.note_output();
        let _ = timeout(LAST_WORDS, self.client.flush()).await;
        self.leave().await;
        drop(self.expected);
        if let Some(gate) = Arc::into_inner({
            drop(ended);
            self.gate
        }) {
            gate.close(reason);
        }
        result
    }

    async fn serve(
        &mut self,
        ended: &mut Alarm<'static, EndReason>,
    ) -> Result<Closed, ProtocolError> {
        // What came behind the start-up packet is there already.
        self.hear_client().await?;
        self.record().await?;
        while !self.goodbye || self.is_finishing() {
            if self.gives_up_waiting() {
                return Ok(Closed::Client);
            }
            let event = poll_fn(|cx| self.poll(ended, cx)).await?;
            self.release_output();
            match event {
                Event::Input => {}
                Event::ClientGone => return Ok(Closed::Client),
                Event::ServerGone => {
                    self.client.flush().await?;
                    return Ok(Closed::Resource);
                }
                Event::Ended(reason) => return Ok(Closed::Session(reason)),
                Event::Late => self.out_of_time(),
                Event::Cancelled | Event::Decided => {}
            }
            self.hear_server()?;
            let mut hearing = pin!(async {
                self.hear_client().await?;
                self.record().await
            });
            let heard = poll_fn(|cx| match hearing.as_mut().poll(cx) {
                Poll::Ready(heard) => Poll::Ready(Ok(heard)),
                // The record or the catalog may let it wait: its end does not.
                Poll::Pending => Pin::new(&mut *ended).poll(cx).map(Err),
            });
            match heard.await {
                Ok(heard) => heard?,
                Err(reason) => return Ok(Closed::Session(reason)),
            }
        }
        Ok(Closed::Client)
    }

    /// Moves bytes until there is something to look at.
    fn poll(
        &mut self,
        ended: &mut Alarm<'static, EndReason>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event, ProtocolError>> {
        if let Poll::Ready(reason) = Pin::new(ended).poll(cx) {
            return Poll::Ready(Ok(Event::Ended(reason)));
        }
        if self.poll_clock(cx) {
            return Poll::Ready(Ok(Event::Late));
        }
        if self.poll_holding(cx) {
            return Poll::Ready(Ok(Event::Decided));
        }
        self.noted = self.client.output.len();
        self.tell_holding();
        self.note_output();
        let mut input = false;
        if self.poll_cancelling(cx) {
            return Poll::Ready(Ok(Event::Cancelled));
        }
        let Client { stream, output, unflushed, .. } = &mut self.client;
        if self.goodbye {
            output.clear();
        } else {
            poll_write(stream, output, unflushed, cx)?;
        }
        let (stream, output, unflushed) = self.upstream.outward();
        if let Err(error) = poll_write(stream, output, unflushed, cx) {
            // What it said before it went is worth more than that it went.
            tracing::debug!(%error, "the resource takes no more");
            output.clear();
            *unflushed = false;
        }
        if !self.goodbye
            && self.client.input.len() < MAX_UNREAD.max(self.wanted)
            && self.upstream.unsent() < MAX_UNSENT
        {
            let Client { stream, input: received, .. } = &mut self.client;
            match poll_read(stream, received, &mut self.grown.client, cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(Event::ClientGone)),
                Poll::Ready(_) => input = true,
                Poll::Pending => {}
            }
        }
        let full = self.client.output.len() >= MAX_UNSENT;
        if full {
            self.budgeting.give_up();
        }
        // What nothing passes of any more need not wait for the client.
        let drops = self.budgeting.silences() && self.passing == 0 && self.masking == 0;
        if !full || drops {
            let Upstream { stream, input: received, .. } = &mut self.upstream;
            match poll_read(stream, received, &mut self.grown.server, cx) {
                Ok(Poll::Ready(0)) | Err(_) => return Poll::Ready(Ok(Event::ServerGone)),
                Ok(Poll::Ready(_)) => input = true,
                Ok(Poll::Pending) => {}
            }
        }
        if input {
            return Poll::Ready(Ok(Event::Input));
        }
        if (self.grown.client || self.grown.server) && self.expected.is_empty() {
            let Client { input, output, .. } = &mut self.client;
            let clients = frame::release([input, output]);
            if self.upstream.release() && clients {
                self.grown = Grown::default();
            }
        }
        Poll::Pending
    }

    /// Whether the server still does what came before the client's goodbye, as it does without guard. It hears
    /// of the goodbye when that is done; while it takes data, the goodbye is an end of it.
    fn is_finishing(&mut self) -> bool {
        let takes = self.expected.front_mut().and_then(Expect::step);
        let takes = takes.is_some_and(|step| matches!(step.copy, Copy::In));
        !self.expected.is_empty() && !takes
    }

    /// Ends the server's side: what is still running is cancelled, since nobody waits for it.
    async fn leave(&mut self) {
        if !self.expected.is_empty() {
            let cancel = upstream::cancel(&*self.shared.resource, &self.server_key);
            if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, cancel).await {
                tracing::debug!(%error, "what a client left running was not cancelled");
            }
        }
        self.upstream.terminate();
        let _ = timeout(LAST_WORDS, self.upstream.flush()).await;
    }
}

/// Reads what is there; notes in `grown` that it was as much as was asked for. Until then it is read onto the stack,
/// so that a connection keeps no more than its messages need.
fn poll_read(
    stream: &mut ClientIo,
    input: &mut BytesMut,
    grown: &mut bool,
    cx: &mut Context<'_>,
) -> Result<Poll<usize>, ProtocolError> {
    if *grown {
        input.reserve(CHUNK);
        return match pin!(stream.read_buf(input)).poll(cx) {
            Poll::Ready(read) => Ok(Poll::Ready(read?)),
            Poll::Pending => Ok(Poll::Pending),
        };
    }
    let mut first = [MaybeUninit::uninit(); FIRST_CHUNK];
    let mut first = ReadBuf::uninit(&mut first);
    match Pin::new(stream).poll_read(cx, &mut first) {
        Poll::Ready(read) => {
            read?;
            let read = first.filled();
            input.extend_from_slice(read);
            *grown = read.len() >= FIRST_CHUNK;
            Ok(Poll::Ready(read.len()))
        }
        Poll::Pending => Ok(Poll::Pending),
    }
}

/// Writes what can be written.
fn poll_write(
    stream: &mut ClientIo,
    output: &mut BytesMut,
    unflushed: &mut bool,
    cx: &mut Context<'_>,
) -> Result<(), ProtocolError> {
    while !output.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, output) {
            Poll::Ready(Ok(0)) => {
                return Err(ProtocolError::Io(std::io::ErrorKind::WriteZero.into()));
            }
            Poll::Ready(Ok(written)) => {
                output.advance(written);
                *unflushed = true;
            }
            Poll::Ready(Err(error)) => return Err(error.into()),
            Poll::Pending => return Ok(()),
        }
    }
    if *unflushed {
        // TLS keeps what the socket did not take.
        match Pin::new(stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => return Err(error.into()),
            Poll::Ready(Ok(())) => *unflushed = false,
            Poll::Pending => {}
        }
    }
    Ok(())
}
