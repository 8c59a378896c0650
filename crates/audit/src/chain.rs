//! The chain: how an event becomes a line of the record.
//!
//! A line is one JSON object in the field order of [`Entry`](crate::Entry), without blanks, maps
//! in the order of their keys, ended by one line feed. Its hash is the SHA-256 of the bytes before
//! the line feed, and the next line names it. After so many entries the broker puts a seal between them
//! ([`ChainWriter::seal_segment_into`]), which the next line names like any other. Whoever verifies hashes the bytes that are there and
//! never writes JSON again, so no two writers have to agree on more than their own bytes.

use std::sync::Arc;

use guard_core::{Digest, SessionId, Timestamp};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{Event, Seal, SealingKey};

/// The longest line of a record, in bytes without its line feed. A statement's text has at most
/// 1 MiB, which JSON makes six times as long in the worst case; the rest is room for its trace.
pub const MAX_LINE: usize = 16 << 20;

/// A segment is sealed when it has this many entries,
pub const SEGMENT_ENTRIES: u64 = 10_000;
/// or this many bytes,
pub const SEGMENT_BYTES: u64 = 4 << 20;
/// or when its first entry is this old, whether or not another comes.
pub const SEGMENT_LASTS: SignedDuration = SignedDuration::from_mins(5);

/// The part of a record that no seal covers yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// Its number, from 0.
    pub number: u64,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes.
    pub bytes: u64,
    /// When its first entry was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// An event that cannot become a line. Nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It would be longer than any reader takes.
    #[error("an entry of {length} bytes is longer than the {MAX_LINE} bytes that a line may have")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// It has no JSON form.
    #[error("an entry cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Writes the lines of one record, in order. Does no I/O: the lines go to a buffer of the caller.
#[derive(Debug, Clone)]
pub struct ChainWriter {
    next: u64,
    head: Digest,
    segment: Segment,
    /// The last time that was written, as text: lines of a batch share it.
    at: Option<(Timestamp, Arc<str>)>,
}

/// Borrowed twin of [`Entry`](crate::Entry): the same fields in the same order.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: &'a str,
    prev: Digest,
    writer: &'a str,
    event: &'a Event,
}

/// Two are equal that go on in the same way.
impl PartialEq for ChainWriter {
    fn eq(&self, other: &Self) -> bool {
        (self.next, self.head) == (other.next, other.head)
    }
}

impl Eq for ChainWriter {}

impl Default for ChainWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ChainWriter {
    /// Starts a record.
    pub const fn new() -> Self {
        Self::resume(0, Digest::ZERO)
    }

    /// Goes on behind `entries` lines, of which the last has the hash `head`.
    pub const fn resume(entries: u64, head: Digest) -> Self {
        let segment = Segment { number: 0, entries: 0, bytes: 0, since: None };
        Self::resume_in(entries, head, segment)
    }

    /// The same, in a segment that was begun.
    pub const fn resume_in(entries: u64, head: Digest, segment: Segment) -> Self {
        Self { next: entries, head, segment, at: None }
    }

    /// How many lines there are.
    pub const fn entries(&self) -> u64 {
        self.next
    }

    /// The hash of the last line; all zero if there is none.
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// What no seal covers yet.
    pub const fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Whether the segment is to be sealed.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let Segment { entries, bytes, since, .. } = self.segment;
        entries >= SEGMENT_ENTRIES
            || bytes >= SEGMENT_BYTES
            || since.is_some_and(|since| now.duration_since(since) >= SEGMENT_LASTS)
    }

    /// Seals the segment: the seal's line, with its line feed, goes to `lines`, and the next entry names its hash.
    pub fn seal_segment_into(
        &mut self,
        lines: &mut Vec<u8>,
        session: SessionId,
        now: Timestamp,
        key: &SealingKey,
    ) -> Result<(), AppendError> {
        let line = Seal::line(session, self, now, key)?;
        self.head = Digest::of(line.strip_suffix(b"\n").unwrap_or(&line));
        self.segment = Segment { number: self.segment.number + 1, ..Segment::default() };
        lines.extend_from_slice(&line);
        Ok(())
    }

    /// Appends one line, with its line feed, to `lines`.
    ///
    /// On an error `lines` and the chain are as they were. To append a batch call it for each
    /// event and write `lines` at once; keep a clone of the writer to go back to if that fails.
    pub fn append_into(
        &mut self,
        lines: &mut Vec<u8>,
        at: Timestamp,
        writer: &str,
        event: &Event,
    ) -> Result<(), AppendError> {
        let start = lines.len();
        let text = match self.at.take() {
            Some((last, text)) if last == at => text,
            Some(_) | None => at.to_string().into(),
        };
        self.at = Some((at, text.clone()));
        let line = Line { seq: self.next, at: &text, prev: self.head, writer, event };
        if let Err(error) = serde_json::to_writer(&mut *lines, &line) {
            lines.truncate(start);
            return Err(error.into());
        }
        let length = lines.len() - start;
        if length > MAX_LINE {
            lines.truncate(start);
            return Err(AppendError::TooLong { length });
        }
        self.head = Digest::of(lines.get(start..).unwrap_or_default());
        self.next += 1;
        self.segment.entries += 1;
        self.segment.bytes += length as u64 + 1;
        self.segment.since.get_or_insert(at);
        lines.push(b'\n');
        Ok(())
    }
}
