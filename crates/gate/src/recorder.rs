//! What the gate needs of the record: append before the act.

use futures_util::future::BoxFuture;
use guard_audit::Event;

/// How durable an entry must be before the operation may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The broker has it. For everything that changes something, and for whatever this session
    /// has not been seen doing before.
    Acknowledged,
    /// It is in the writer's bounded queue to the broker. For repetitions of a statement that the
    /// broker already has and that changes nothing. When the queue is full or the broker is
    /// silent for too long, the append fails.
    Queued,
}

/// The record cannot be written, so nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written: {reason}")]
pub struct RecordUnavailable {
    /// Why, for the log.
    pub reason: String,
}

/// One writer's stream into the record of one session. Order is kept.
pub trait Recorder: Send + Sync {
    /// Appends events before the act that they announce.
    fn append(
        &self,
        events: Vec<Event>,
        durability: Durability,
    ) -> BoxFuture<'_, Result<(), RecordUnavailable>>;

    /// Appends what came of an act. Must not wait; if it cannot be taken, the stream is broken and
    /// later appends fail.
    fn note(&self, event: Event);
}
