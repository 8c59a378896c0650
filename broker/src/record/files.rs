//! Records on disk: one file a session, appended in order, on the disk before it is answered.
//!
//! The file is the truth. What each writer has delivered is counted from the lines that carry its
//! name, so a broker that starts again knows what every enforcement point may send next. An append is
//! answered when the system says that the bytes are on the disk (`fdatasync`, one for all appends that
//! wait): neither the end of this process nor a loss of power takes back what was acknowledged.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use guard_audit::{ChainWriter, Event, Seal, SealingKey, tlog::Leaf};
use guard_core::{
    Digest, ResourceName, SessionId, Timestamp,
    control::{Notice, StepCounts},
};

use super::{
    Appended, BROKER, Batch, RecordError, Sealed, line_hash,
    writers::{MAX_NOTICES, Writers, held},
};
use crate::log::Keyring;

/// The folder of all records.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(super) folder: PathBuf,
    pub(super) keys: Keyring,
}

/// One session's record, open for appending.
#[derive(Debug)]
pub(crate) struct FileRecord {
    session: SessionId,
    /// The resource of refusals whose writer named none.
    fallback: Option<ResourceName>,
    keys: Keyring,
    file: File,
    lines: Mutex<Lines>,
    /// How many bytes are known to be on the disk. Held while they are brought there.
    synced: Mutex<u64>,
}

/// What is in the file, and what that means.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) chain: ChainWriter,
    /// Length of the file.
    pub(super) length: u64,
    pub(super) writers: Writers,
    /// What the shim is to be told.
    pub(super) notices: Vec<Notice>,
    /// Whether the last event is there.
    pub(super) ended: bool,
    /// What came of sealing.
    sealed: Option<Sealed>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    Sealed,
    Broken,
}

// === impl Files ===

impl Files {
    /// Uses a folder, made for the broker's user only if it is not there.
    pub(crate) fn open(folder: &Path, keys: Keyring) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), keys })
    }

    /// Where a session's record is.
    pub(crate) fn path(&self, session: SessionId) -> PathBuf {
        self.folder.join(format!("{session}.jsonl"))
    }

    /// Starts a record with its first event.
    pub(super) fn create(
        &self,
        session: SessionId,
        first: &Event,
        fallback: Option<ResourceName>,
    ) -> Result<FileRecord, RecordError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(session))?;
        let record = FileRecord::new(session, fallback, self.keys.clone(), file, Lines::default());
        record.append_own(first)?;
        // The name is on the disk only when its folder is.
        File::open(&self.folder)?.sync_all()?;
        Ok(record)
    }
}

// === impl FileRecord ===

impl FileRecord {
    pub(super) fn new(
        session: SessionId,
        fallback: Option<ResourceName>,
        keys: Keyring,
        file: File,
        lines: Lines,
    ) -> Self {
        let synced = Mutex::new(lines.length);
        Self { session, fallback, keys, file, lines: Mutex::new(lines), synced }
    }

    /// Appends events of an enforcement point. Blocks on the disk.
    pub(super) fn append(&self, batch: &Batch) -> Result<Appended, RecordError> {
        let mut lines = self.lines();
        let known =
            lines.writers.accept(&batch.writer, &batch.owner, batch.first, batch.events.len())?;
        let new = batch.events.get(known..).unwrap_or_default();
        self.write(&mut lines, &batch.writer, new, true)?;
        for event in new {
            lines.follow(&batch.writer, event, self.fallback.as_ref());
        }
        let next = lines.writers.next(&batch.writer);
        let appended = Appended { next, notices: lines.notices.len() as u64 };
        let end = lines.length;
        drop(lines);
        self.sync(end)?;
        Ok(appended)
    }

    /// Appends an event of the broker itself. Blocks on the disk.
    pub(super) fn append_own(&self, event: &Event) -> Result<(), RecordError> {
        let mut lines = self.lines();
        if !lines.writers.is_new(event) {
            return Ok(());
        }
        self.write(&mut lines, BROKER, std::slice::from_ref(event), true)?;
        lines.writers.count_own(event);
        if let Some(notice) = held(event)
            && (lines.notices.len() as u64) < MAX_NOTICES
        {
            lines.notices.push(notice);
        }
        let end = lines.length;
        drop(lines);
        self.sync(end)
    }

    /// Seals the segment if it is due. Blocks on the disk.
    pub(super) fn seal_segment(&self, now: Timestamp) -> Result<(), RecordError> {
        let mut lines = self.lines();
        lines.writable()?;
        if lines.ended || !lines.chain.is_due(now) {
            return Ok(());
        }
        let mut chain = lines.chain.clone();
        let mut seal = Vec::new();
        chain
            .seal_segment_into(&mut seal, self.session, now, &self.keys.current())
            .map_err(|error| RecordError::Invalid(error.to_string()))?;
        self.write_bytes(&mut lines, &seal)?;
        lines.chain = chain;
        let end = lines.length;
        drop(lines);
        self.sync(end)
    }

    /// How many notices there are.
    pub(super) fn noticed(&self) -> u64 {
        self.lines().notices.len() as u64
    }

    /// What was counted of each command.
    pub(super) fn steps(&self) -> BTreeMap<u32, StepCounts> {
        self.lines().writers.steps()
    }

    /// The notices behind the first `after`.
    pub(super) fn notices(&self, after: u64) -> Vec<Notice> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        self.lines().notices.get(after..).unwrap_or_default().to_vec()
    }

    /// Appends the last event and the seal. Nothing can be appended afterwards, and sealing again
    /// changes nothing. Blocks on the disk.
    pub(super) fn seal(
        &self,
        last: &Event,
        now: Timestamp,
        key: &SealingKey,
    ) -> Result<Sealed, RecordError> {
        let mut lines = self.lines();
        if let Some(sealed) = &lines.sealed {
            return Ok(sealed.clone());
        }
        // A record that has its last event already lost only its seal.
        if !lines.ended {
            // The seal of the whole follows, so none of a segment.
            self.write(&mut lines, BROKER, std::slice::from_ref(last), false)?;
            lines.ended = true;
        }
        let (entries, head) = (lines.chain.entries(), lines.chain.head());
        let seal = Seal::line(self.session, &lines.chain, now, key)
            .map_err(|error| RecordError::Invalid(error.to_string()))?;
        self.write_bytes(&mut lines, &seal)?;
        lines.state = State::Sealed;
        let sealed =
            Sealed { entries, head, leaf: Leaf::seal(self.session, now, line_hash(&seal)) };
        lines.sealed = Some(sealed.clone());
        let end = lines.length;
        drop(lines);
        self.sync(end)?;
        Ok(sealed)
    }

    /// How many entries there are, and the hash of the last.
    pub(super) fn reached(&self) -> (u64, Digest) {
        let lines = self.lines();
        (lines.chain.entries(), lines.chain.head())
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of the events, or none; and the seal of the segment, where that is due and may be.
    fn write(
        &self,
        lines: &mut Lines,
        writer: &str,
        events: &[Event],
        seals: bool,
    ) -> Result<(), RecordError> {
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
            .and_then(|()| {
                if !seals || !lines.chain.is_due(now) {
                    return Ok(());
                }
                let key = self.keys.current();
                lines.chain.seal_segment_into(&mut bytes, self.session, now, &key)
            })
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

impl Lines {
    /// Counts an event that is in the file.
    pub(super) fn follow(&mut self, writer: &str, event: &Event, fallback: Option<&ResourceName>) {
        let notice = self.writers.follow(writer, event, fallback);
        if let Some(notice) = notice
            && (self.notices.len() as u64) < MAX_NOTICES
        {
            self.notices.push(notice);
        }
    }

    fn writable(&self) -> Result<(), RecordError> {
        match self.state {
            State::Open => Ok(()),
            State::Sealed => Err(RecordError::Sealed),
            State::Broken => Err(RecordError::Broken),
        }
    }
}
