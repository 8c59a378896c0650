//! The records on disk: one file a session, appended in order, on the disk before it is answered.
//!
//! The file is the truth. What each writer has delivered is counted from the lines that carry its
//! name, so a broker that starts again knows what every enforcement point may send next. An append is
//! answered when the system says that the bytes are on the disk (`fdatasync`, one for all appends that
//! wait): neither the end of this process nor a loss of power takes back what was acknowledged.

mod resume;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use guard_audit::{ChainWriter, Event, Seal, SealingKey};
use guard_core::{Digest, SessionId, Timestamp};

pub(crate) use resume::{ResumeError, Resumed};

/// The name by which the broker's own events stand in a record.
pub(crate) const BROKER: &str = "broker";

/// A session has a few enforcement points; more names than this are a mistake or an attack.
const MAX_WRITERS: usize = 1024;

/// Why events were not appended. Nothing of them is in the record then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Events before these are missing.
    #[error("the next event of this writer is number {expected}")]
    Gap {
        /// What the broker expects.
        expected: u64,
    },
    /// The record is sealed.
    #[error("the record is sealed")]
    Sealed,
    /// The events cannot be in a record.
    #[error("{0}")]
    Invalid(String),
    /// The disk does not take it.
    #[error("the record cannot be written")]
    Disk(#[from] io::Error),
    /// The disk did not take something before: what the file holds is not known.
    #[error("the record could not be written before, and is closed")]
    Broken,
}

/// The folder of all records.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
}

/// One session's record, open for appending.
#[derive(Debug)]
pub(crate) struct Record {
    session: SessionId,
    file: File,
    lines: Mutex<Lines>,
    /// How many bytes are known to be on the disk. Held while they are brought there.
    synced: Mutex<u64>,
}

#[derive(Debug)]
struct Lines {
    chain: ChainWriter,
    /// Length of the file.
    length: u64,
    /// Number of the next event, by writer.
    writers: HashMap<Arc<str>, u64>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Sealed,
    Broken,
}

// === impl Records ===

impl Records {
    /// Uses a folder, made for the broker's user only if it is not there.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where a session's record is.
    pub(crate) fn path(&self, session: SessionId) -> PathBuf {
        self.folder.join(format!("{session}.jsonl"))
    }

    /// Starts a record with its first event.
    pub(crate) fn create(&self, session: SessionId, first: &Event) -> Result<Record, RecordError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(session))?;
        let record = Record::new(session, file, ChainWriter::new(), 0, HashMap::new());
        record.append_own(std::slice::from_ref(first))?;
        // The name is on the disk only when its folder is.
        File::open(&self.folder)?.sync_all()?;
        Ok(record)
    }
}

// === impl Record ===

impl Record {
    fn new(
        session: SessionId,
        file: File,
        chain: ChainWriter,
        length: u64,
        writers: HashMap<Arc<str>, u64>,
    ) -> Self {
        let lines = Lines { chain, length, writers, state: State::Open };
        Self { session, file, lines: Mutex::new(lines), synced: Mutex::new(length) }
    }

    /// Appends events of an enforcement point and answers with the number of its next one, and how
    /// many of these events were new. Events that the record has already are passed over, so that a
    /// repeated request is harmless.
    ///
    /// Blocks on the disk.
    pub(crate) fn append(
        &self,
        writer: &str,
        first: u64,
        events: &[Event],
    ) -> Result<(u64, usize), RecordError> {
        let mut lines = self.lines();
        let expected = lines.writers.get(writer).copied().unwrap_or_default();
        let Some(known) = expected.checked_sub(first) else {
            return Err(RecordError::Gap { expected });
        };
        let new = usize::try_from(known).ok().and_then(|known| events.get(known..));
        let new = new.unwrap_or_default();
        if expected == 0 && !new.is_empty() {
            if lines.writers.len() >= MAX_WRITERS {
                return Err(RecordError::Invalid("the session has too many writers".into()));
            }
            lines.writers.insert(writer.into(), 0);
        }
        self.write(&mut lines, writer, new)?;
        let next = expected + new.len() as u64;
        if let Some(number) = lines.writers.get_mut(writer) {
            *number = next;
        }
        let end = lines.length;
        drop(lines);
        self.sync(end)?;
        Ok((next, new.len()))
    }

    /// Appends events of the broker itself. Blocks on the disk.
    pub(crate) fn append_own(&self, events: &[Event]) -> Result<(), RecordError> {
        let mut lines = self.lines();
        self.write(&mut lines, BROKER, events)?;
        let end = lines.length;
        drop(lines);
        self.sync(end)
    }

    /// Appends the last event and the seal. Nothing can be appended afterwards, and sealing again
    /// changes nothing. Blocks on the disk.
    pub(crate) fn seal(
        &self,
        last: &Event,
        now: Timestamp,
        key: &SealingKey,
    ) -> Result<(u64, Digest), RecordError> {
        let mut lines = self.lines();
        if lines.state == State::Sealed {
            return Ok((lines.chain.entries(), lines.chain.head()));
        }
        // A record that has its last event already lost only its seal.
        if lines.writers.insert(ENDED.into(), 1).is_none() {
            self.write(&mut lines, BROKER, std::slice::from_ref(last))?;
        }
        let reached = (lines.chain.entries(), lines.chain.head());
        let seal = Seal::line(self.session, &lines.chain, now, key)
            .map_err(|error| RecordError::Invalid(error.to_string()))?;
        self.write_bytes(&mut lines, &seal)?;
        lines.state = State::Sealed;
        let end = lines.length;
        drop(lines);
        self.sync(end)?;
        Ok(reached)
    }

    /// How many entries there are, and the hash of the last.
    pub(crate) fn reached(&self) -> (u64, Digest) {
        let lines = self.lines();
        (lines.chain.entries(), lines.chain.head())
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of the events, or none.
    fn write(&self, lines: &mut Lines, writer: &str, events: &[Event]) -> Result<(), RecordError> {
        lines.writable()?;
        if events.is_empty() {
            return Ok(());
        }
        let before = lines.chain.clone();
        let now = Timestamp::now();
        let mut bytes = Vec::with_capacity(events.len() * 512);
        let chained = events
            .iter()
            .try_for_each(|event| lines.chain.append_into(&mut bytes, now, writer, event))
            .map_err(|error| RecordError::Invalid(error.to_string()));
        let written = chained.and_then(|()| self.write_bytes(lines, &bytes));
        if written.is_err() {
            lines.chain = before;
        }
        written
    }

    fn write_bytes(&self, lines: &mut Lines, bytes: &[u8]) -> Result<(), RecordError> {
        lines.writable()?;
        match (&self.file).write_all(bytes) {
            Ok(()) => {
                lines.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A part may be there: away with it, or nothing could follow it.
                if self.file.set_len(lines.length).is_err() {
                    lines.state = State::Broken;
                }
                Err(error.into())
            }
        }
    }

    /// Waits until the file is on the disk up to `end`. Who comes while others wait is served by
    /// the next round, together with all who came by then.
    fn sync(&self, end: u64) -> Result<(), RecordError> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= end {
            return Ok(());
        }
        let reached = self.lines().length;
        if let Err(error) = self.file.sync_data() {
            // The system may forget what it could not write and say so only once.
            self.lines().state = State::Broken;
            return Err(error.into());
        }
        *synced = reached;
        Ok(())
    }
}

/// Stands among the writers once the last event is written. No writer can have this name.
const ENDED: &str = "";

impl Lines {
    fn writable(&self) -> Result<(), RecordError> {
        match self.state {
            State::Open => Ok(()),
            State::Sealed => Err(RecordError::Sealed),
            State::Broken => Err(RecordError::Broken),
        }
    }
}
