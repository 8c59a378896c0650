//! Rows of an answer on their way into the record, where the policy keeps them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use guard_audit::{Event, Kept, Row};
use guard_core::{Recording, Sensitive};

use crate::Recorder;

/// Rows of one event, at most.
const CHUNK_ROWS: usize = 1_000;
/// Bytes of one event, at most, but for a row that is longer.
const CHUNK_BYTES: u64 = 64 << 10;
/// Longest row that is kept: a line of a record is read whole.
const MAX_ROW: u64 = 1 << 20;

/// How much of an answer was kept, over all its parts.
#[derive(Debug, Default)]
pub struct KeptSoFar {
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// Keeps the rows that the client gets of one statement: the first ones, up to the policy's limit. Dropped, it records what
/// it holds.
pub struct Keeping {
    recorder: Arc<dyn Recorder>,
    statement: u64,
    limit: Recording,
    /// Of the portal, if its answer is fetched in parts.
    so_far: Arc<KeptSoFar>,
    columns: Option<Vec<String>>,
    pending: Vec<Row>,
    pending_bytes: u64,
    kept: Kept,
    full: bool,
}

impl Keeping {
    /// Keeps rows of a statement of this number, up to a limit.
    pub fn new(recorder: Arc<dyn Recorder>, statement: u64, limit: Recording) -> Self {
        Self {
            recorder,
            statement,
            limit,
            so_far: Arc::default(),
            columns: None,
            pending: Vec::new(),
            pending_bytes: 0,
            kept: Kept::default(),
            full: false,
        }
    }

    /// Counts on from what was kept of the same answer before.
    #[must_use]
    pub fn going_on(mut self, so_far: Arc<KeptSoFar>) -> Self {
        self.so_far = so_far;
        self
    }

    /// Counts only bytes: rows are no more than parts of an answer.
    #[must_use]
    pub fn by_bytes(mut self) -> Self {
        self.limit.rows = u64::MAX;
        self
    }

    /// Longest row that would be kept now, in bytes; `None` if no further one would be.
    pub fn room(&self) -> Option<u64> {
        let rows = self.so_far.rows.load(Ordering::Relaxed);
        let bytes = self.so_far.bytes.load(Ordering::Relaxed);
        let left = self.limit.bytes.saturating_sub(bytes).min(MAX_ROW);
        (!self.full && rows < self.limit.rows).then_some(left)
    }

    /// Names the columns of the rows that follow.
    pub fn columns(&mut self, names: Vec<String>) {
        self.flush();
        self.columns = Some(names);
    }

    /// Keeps a row of so many bytes, for which there is room.
    pub fn row(&mut self, row: Row, bytes: u64) {
        self.so_far.rows.fetch_add(1, Ordering::Relaxed);
        self.so_far.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.kept.rows += 1;
        self.pending.push(row);
        self.pending_bytes += bytes;
        if self.pending.len() >= CHUNK_ROWS || self.pending_bytes >= CHUNK_BYTES {
            self.flush();
        }
    }

    /// The client gets a row that is not kept: nor are those behind it, so that what is kept are the first ones.
    pub fn leave_out(&mut self) {
        self.full = true;
        self.kept.truncated = true;
    }

    /// Gives what it holds to the record.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.pending_bytes = 0;
        self.recorder.note(Event::Rows {
            statement: self.statement,
            columns: self.columns.take().map(Sensitive::new),
            rows: Sensitive::new(std::mem::take(&mut self.pending)),
        });
    }

    /// Records what is left, and says how much there is in all.
    pub fn finish(mut self) -> Kept {
        self.flush();
        self.kept
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.flush();
    }
}
