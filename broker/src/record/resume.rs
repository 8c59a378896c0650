//! Going on with records of a broker that is no more.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _},
    sync::Arc,
};

use guard_audit::{ChainWriter, Entry, Event, MAX_LINE, Seal, Segment, tlog::Leaf};
use guard_core::{Digest, ResourceName, SessionId};

use super::{
    BROKER, Record, Sealed,
    files::{FileRecord, Files, Lines},
};

/// Why a record cannot be gone on with. Its file is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    /// The file cannot be read.
    #[error("the record's file cannot be read")]
    File(#[from] io::Error),
    /// The file is not what the broker wrote.
    #[error("line {line} of the record is not what the broker wrote: {reason}")]
    Changed {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The file ends before what the store knows of it.
    #[error("the record has {entries} entries, and had {known}")]
    Cut {
        /// How many there are.
        entries: u64,
        /// How many there were.
        known: u64,
    },
}

/// A record as it was found.
#[derive(Debug)]
pub(crate) enum Resumed {
    /// It can be gone on with.
    Open(Record),
    /// It is sealed; only the store does not know yet.
    Sealed(Sealed),
}

impl Files {
    /// Reads a record from its start, checks its chain, and opens it for appending. `known` is what
    /// the store says of its end. An unfinished last line was never acknowledged and is cut off.
    pub(crate) fn resume(
        &self,
        session: SessionId,
        known: Option<(u64, Digest)>,
        fallback: Option<ResourceName>,
    ) -> Result<Resumed, ResumeError> {
        let file = OpenOptions::new().read(true).append(true).open(self.path(session))?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut entries = 0_u64;
        let mut head = Digest::ZERO;
        let mut lines = Lines::default();
        let mut segment = Segment::default();
        let mut line = Vec::new();
        let mut matched = known.is_none_or(|(entries, _)| entries == 0);
        loop {
            line.clear();
            let limit = MAX_LINE as u64 + 2;
            reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
            let changed = |reason: String| ResumeError::Changed { line: entries + 1, reason };
            if line.len() as u64 == limit {
                return Err(changed("it is longer than any line".into()));
            }
            let Some(text) = line.strip_suffix(b"\n") else { break };
            if text.starts_with(b"{\"seal\":") {
                let seal = Seal::parse(text).ok_or_else(|| changed("it is no seal".into()))?;
                if seal.entries != entries || seal.head != head {
                    return Err(changed("it does not seal what is before it".into()));
                }
                if let Some(number) = seal.segment
                    && !lines.ended
                {
                    head = Digest::of(text);
                    lines.length += line.len() as u64;
                    segment = Segment { number: number + 1, ..Segment::default() };
                    matched |= known == Some((entries, head));
                    continue;
                }
                let leaf = Leaf::seal(session, seal.sealed_at, Digest::of(text));
                return Ok(Resumed::Sealed(Sealed { entries, head, leaf }));
            }
            let entry: Entry =
                serde_json::from_slice(text).map_err(|error| changed(error.to_string()))?;
            if entry.seq != entries || entry.prev != head {
                return Err(changed("it does not follow the line before".into()));
            }
            if let Event::SessionEnded { .. } = entry.event {
                lines.ended = true;
            }
            if &*entry.writer == BROKER {
                lines.writers.count_own(&entry.event);
            } else {
                lines.follow(&entry.writer, &entry.event, fallback.as_ref());
            }
            entries += 1;
            head = Digest::of(text);
            lines.length += line.len() as u64;
            segment.entries += 1;
            segment.bytes += line.len() as u64;
            segment.since.get_or_insert(entry.at);
            if known == Some((entries, head)) {
                matched = true;
            }
        }
        if !matched {
            let known = known.map(|(entries, _)| entries).unwrap_or_default();
            return Err(if entries < known {
                ResumeError::Cut { entries, known }
            } else {
                ResumeError::Changed { line: known, reason: "the store knows another one".into() }
            });
        }
        if !line.is_empty() {
            tracing::warn!(%session, bytes = line.len(), "cut off the unfinished end of a record");
            file.set_len(lines.length)?;
            file.sync_data()?;
        }
        File::open(&self.folder)?.sync_all()?;
        lines.chain = ChainWriter::resume_in(entries, head, segment);
        let record = FileRecord::new(session, fallback, self.keys.clone(), file, lines);
        Ok(Resumed::Open(Record::File(Arc::new(record))))
    }
}
