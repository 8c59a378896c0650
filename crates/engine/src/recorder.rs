//! One enforcement point's stream into the record of one session.
//!
//! Events keep their order and their numbers. One request is in flight at a time; what comes in
//! meanwhile goes out together in the next one, so that a slow broker makes larger requests and not
//! more of them. A stream that broke stays broken: the session ends here, and nothing is sent on.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use guard_audit::{Cell, Event, Row};
use guard_core::{EndReason, SessionId, control::AppendEvents};
use guard_gate::{Durability, RecordUnavailable, Recorder};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    control::{ControlError, ControlPlane},
    end::EndSignal,
};

/// Unacknowledged events beyond this make the next statement wait for the broker.
const MAX_BACKLOG_EVENTS: usize = 32_768;
/// The same in bytes, estimated.
const MAX_BACKLOG_BYTES: usize = 8 << 20;
/// The same in time: a broker that is silent for longer is waited for.
const MAX_BACKLOG_AGE: Duration = Duration::from_millis(500);
/// Notes that nobody takes: beyond this many the stream breaks. Only they count, as nobody waits for them; one message of many
/// statements may bring more events than this, and waits.
const MAX_NOTES: usize = 4 * MAX_BACKLOG_EVENTS;
/// The same in bytes: notes can have rows of answers, whose connections wait behind each piece.
const MAX_NOTE_BYTES: usize = 16 * MAX_BACKLOG_BYTES;
/// Largest request, in events.
const MAX_BATCH_EVENTS: usize = 8_192;
/// Largest request, in estimated bytes. One event alone may be larger.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// How long events that nobody waits for gather before they are sent: each request costs a signature
/// here, and its check and a write to the disk at the broker.
const LINGER: Duration = Duration::from_millis(20);
/// A request that failed is made again, with the same numbers, for this long.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What an event without texts takes as JSON, in bytes.
const EVENT_BYTES: usize = 128;

/// The stream. Its task ends when it breaks or is closed.
pub(crate) struct StreamRecorder {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something is in the queue.
    wake: Notify,
    /// Somebody waits for what is in the queue.
    hurry: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Queued>,
    /// Of the queue and of the request in flight.
    unacknowledged: usize,
    bytes: usize,
    /// Of these, notes.
    notes: usize,
    note_bytes: usize,
    /// When the oldest event of the queue came in.
    since: Option<Instant>,
    /// When the oldest event of the request in flight came in.
    in_flight_since: Option<Instant>,
    /// Number of the next event.
    next: u64,
    awaited: bool,
    broken: Option<Arc<str>>,
}

struct Queued {
    event: Event,
    bytes: usize,
    is_note: bool,
}

/// What one request takes from the queue.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    bytes: usize,
    notes: usize,
    note_bytes: usize,
}

#[derive(Default, Clone)]
struct Progress {
    /// Number of the first event that the broker has not acknowledged.
    acknowledged: u64,
    broken: Option<Arc<str>>,
}

impl StreamRecorder {
    /// Opens a stream and starts its task.
    pub(crate) fn start(
        control: Arc<dyn ControlPlane>,
        session: SessionId,
        writer: String,
        end: EndSignal,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::new(),
            hurry: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
        });
        tokio::spawn(write(shared.clone(), control, session, writer, end));
        Arc::new(Self { shared })
    }

    /// Waits until the broker has everything, or `limit` has passed. Says whether it has.
    pub(crate) async fn flush(&self, limit: Duration) -> bool {
        let target = {
            let mut queue = self.shared.queue();
            queue.awaited = true;
            queue.next
        };
        self.shared.wake.notify_one();
        self.shared.hurry.notify_one();
        matches!(timeout(limit, self.shared.reached(target)).await, Ok(Ok(())))
    }

    /// Takes no more. What is queued is lost, so flush first.
    pub(crate) fn close(&self) {
        self.shared.break_off("the session is over here");
    }
}

impl Recorder for StreamRecorder {
    fn append(
        &self,
        events: Vec<Event>,
        durability: Durability,
    ) -> BoxFuture<'_, Result<(), RecordUnavailable>> {
        let target = {
            let mut queue = self.shared.queue();
            if let Some(reason) = &queue.broken {
                return std::future::ready(Err(unavailable(reason))).boxed();
            }
            let behind = queue.is_behind();
            for event in events {
                queue.push(event, false);
            }
            let waits = match durability {
                Durability::Acknowledged => true,
                Durability::Queued => behind,
            };
            if !waits {
                drop(queue);
                self.shared.wake.notify_one();
                return std::future::ready(Ok(())).boxed();
            }
            queue.awaited = true;
            queue.next
        };
        self.shared.wake.notify_one();
        self.shared.hurry.notify_one();
        self.shared.reached(target).boxed()
    }

    fn note(&self, event: Event) {
        {
            let mut queue = self.shared.queue();
            if queue.broken.is_some() {
                return;
            }
            queue.push(event, true);
            if queue.notes > MAX_NOTES || queue.note_bytes > MAX_NOTE_BYTES {
                drop(queue);
                self.shared.break_off("the broker takes events too slowly");
                return;
            }
        }
        self.shared.wake.notify_one();
    }
}

impl Queue {
    fn push(&mut self, event: Event, is_note: bool) {
        let bytes = estimate(&event);
        self.since.get_or_insert_with(Instant::now);
        self.unacknowledged += 1;
        self.bytes += bytes;
        self.next += 1;
        if is_note {
            self.notes += 1;
            self.note_bytes += bytes;
        }
        self.events.push_back(Queued { event, bytes, is_note });
    }

    /// Whether the broker is so far behind that even repetitions wait for it.
    fn is_behind(&self) -> bool {
        self.unacknowledged >= MAX_BACKLOG_EVENTS
            || self.bytes >= MAX_BACKLOG_BYTES
            || self
                .in_flight_since
                .or(self.since)
                .is_some_and(|oldest| oldest.elapsed() > MAX_BACKLOG_AGE)
    }

    /// The events of the next request.
    fn take(&mut self) -> Batch {
        let mut batch = Batch::default();
        batch.events.reserve(self.events.len().min(MAX_BATCH_EVENTS));
        while let Some(queued) = self.events.front() {
            let full = batch.bytes + queued.bytes > MAX_BATCH_BYTES
                || batch.events.len() >= MAX_BATCH_EVENTS;
            if full && !batch.events.is_empty() {
                break;
            }
            if let Some(queued) = self.events.pop_front() {
                batch.bytes += queued.bytes;
                if queued.is_note {
                    batch.notes += 1;
                    batch.note_bytes += queued.bytes;
                }
                batch.events.push(queued.event);
            }
        }
        self.in_flight_since = self.since;
        if self.events.is_empty() {
            self.since = None;
            self.awaited = false;
        }
        batch
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_off(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        {
            let mut queue = self.queue();
            if queue.broken.is_some() {
                return;
            }
            queue.broken = Some(reason.clone());
            queue.events.clear();
        }
        self.progress.send_modify(|progress| progress.broken = Some(reason));
        self.wake.notify_one();
        self.hurry.notify_one();
    }

    /// Waits until all events before `target` are acknowledged.
    async fn reached(&self, target: u64) -> Result<(), RecordUnavailable> {
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.acknowledged >= target || progress.broken.is_some())
            .await;
        match reached {
            Ok(progress) if progress.acknowledged >= target => Ok(()),
            Ok(progress) => match &progress.broken {
                Some(reason) => Err(unavailable(reason)),
                None => Err(unavailable("the stream has ended")),
            },
            Err(_) => Err(unavailable("the stream has ended")),
        }
    }
}

fn unavailable(reason: &str) -> RecordUnavailable {
    RecordUnavailable { reason: reason.to_owned() }
}

/// Roughly the size of an event as JSON: only texts of clients can be large.
fn estimate(event: &Event) -> usize {
    match event {
        Event::Operation { text, effects, trace, masks, masked_columns, .. } => {
            let parts = effects.len() + trace.len() + masks.len() + masked_columns.len();
            EVENT_BYTES * (2 + parts) + text.reveal().len()
        }
        Event::Refused { denial, text, .. } => {
            EVENT_BYTES * 2
                + denial.what.len()
                + text.as_ref().map_or(0, |text| text.reveal().len())
        }
        Event::Statement { text, .. } => {
            EVENT_BYTES + text.as_ref().map_or(0, |text| text.reveal().len())
        }
        Event::Connected { client, .. } => EVENT_BYTES * 2 + client.reveal().len(),
        Event::Rows { rows, .. } => EVENT_BYTES + rows.reveal().iter().map(row_size).sum::<usize>(),
        Event::Traffic { data, .. } => {
            EVENT_BYTES + data.as_ref().map_or(0, |data| data.reveal().len())
        }
        Event::Disconnected { .. }
        | Event::Finished { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::AttemptRefused { .. }
        | Event::SessionRenewed { .. }
        | Event::Isolated { .. }
        | Event::EgressAsked { .. }
        | Event::EgressEnded { .. }
        | Event::LeaseTaken { .. }
        | Event::ApprovalAsked { .. }
        | Event::ApprovalDecided { .. }
        | Event::ApprovalUsed { .. }
        | Event::LeaseReleased { .. } => EVENT_BYTES,
    }
}

/// Roughly the size of a row as JSON.
fn row_size(row: &Row) -> usize {
    let cells = row.iter().map(|cell| match cell {
        Some(Cell::Text(text)) => text.len() + 4,
        Some(Cell::Binary { base64 }) => base64.len() + 16,
        None => 5,
    });
    cells.sum::<usize>() + 2
}

/// The stream's task: request after request until it breaks or is closed.
async fn write(
    shared: Arc<Shared>,
    control: Arc<dyn ControlPlane>,
    session: SessionId,
    writer: String,
    end: EndSignal,
) {
    let mut body = AppendEvents { session, writer, first: 0, events: Vec::new() };
    loop {
        let (empty, awaited) = {
            let queue = shared.queue();
            if queue.broken.is_some() {
                // After a session's end this changes nothing; a stream that broke for another reason is one.
                end.end(EndReason::Unrecorded);
                return;
            }
            (queue.events.is_empty(), queue.awaited)
        };
        if empty {
            shared.wake.notified().await;
            continue;
        }
        if !awaited {
            tokio::select! {
                () = sleep(LINGER) => {}
                () = shared.hurry.notified() => {}
            }
        }
        let Batch { events, bytes, notes, note_bytes } = shared.queue().take();
        if events.is_empty() {
            continue;
        }
        let count = events.len();
        body.events = events;
        match send(control.as_ref(), &body).await {
            Ok(()) => {
                body.first += count as u64;
                {
                    let mut queue = shared.queue();
                    queue.unacknowledged = queue.unacknowledged.saturating_sub(count);
                    queue.bytes = queue.bytes.saturating_sub(bytes);
                    queue.notes = queue.notes.saturating_sub(notes);
                    queue.note_bytes = queue.note_bytes.saturating_sub(note_bytes);
                    queue.in_flight_since = None;
                }
                shared.progress.send_modify(|progress| progress.acknowledged = body.first);
            }
            Err(error) => {
                let reason = if error.is_over() {
                    why_over(control.as_ref(), session).await
                } else {
                    EndReason::Unrecorded
                };
                tracing::warn!(%session, %error, "the record cannot be written; the session ends here");
                // First the stream, so that no statement passes between the two.
                shared.break_off(&error.to_string());
                end.end(reason);
                return;
            }
        }
    }
}

/// Sends one request until the broker has it, or it is clear that it won't.
async fn send(control: &dyn ControlPlane, body: &AppendEvents<Event>) -> Result<(), ControlError> {
    let expected = body.first + body.events.len() as u64;
    let started = Instant::now();
    loop {
        let error = match control.append(body).await {
            Ok(appended) if appended.next >= expected => return Ok(()),
            Ok(appended) => ControlError::Refused {
                status: 409,
                code: "gap".into(),
                message: format!("it has {} events of {expected}", appended.next),
                decision_id: None,
            },
            Err(error) => error,
        };
        if !error.is_transient() || started.elapsed() >= RETRY_FOR {
            return Err(error);
        }
        tracing::debug!(session = %body.session, %error, "appending again");
        sleep(RETRY_PAUSE).await;
    }
}

async fn why_over(control: &dyn ControlPlane, session: SessionId) -> EndReason {
    match control.state(session, 0, Duration::ZERO).await {
        Ok(state) => state.ended.unwrap_or(EndReason::Unrecorded),
        Err(_) => EndReason::Unrecorded,
    }
}

#[cfg(test)]
mod tests;
