//! The records: appended in order, kept before it is answered, sealed at the end.
//!
//! Where they grow depends on the store. With SQLite each is a file, and the file is the truth. With PostgreSQL they are in
//! the store, so that any broker appends, and go to the recordings when they are sealed.

mod archive;
mod files;
mod parts;
mod rest;
mod resume;
mod steps;
mod tail;
mod writers;

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{BoxStream, try_unfold},
};
use guard_audit::{ChainWriter, Event, SealingKey, Segment, tlog::Leaf};
use guard_core::{
    Digest, ResourceName, SessionId, Timestamp,
    control::{Notice, StepCounts},
};

pub(crate) use archive::Archive;
pub(crate) use resume::{ResumeError, Resumed};
pub(crate) use tail::Tail;

use crate::{
    log::Keyring,
    store::{Store, StoreError},
};
use files::FileRecord;
pub(crate) use files::Files;
use parts::PartsRecord;

/// The name by which the broker's own events stand in a record.
pub(crate) const BROKER: &str = "broker";

/// Why events were not appended. Nothing of them is in the record then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Events before these are missing.
    #[error("the next event of this writer is number {expected}")]
    Gap {
        /// What the broker expects.
        expected: u64,
    },
    /// The writer is another enforcement point's.
    #[error("this writer is another enforcement point's")]
    Foreign,
    /// The record is sealed.
    #[error("the record is sealed")]
    Sealed,
    /// The events cannot be in a record.
    #[error("{0}")]
    Invalid(String),
    /// The disk does not take it.
    #[error("the record cannot be written")]
    Disk(#[from] io::Error),
    /// The store does not take it.
    #[error("the record cannot be written")]
    Store(#[from] StoreError),
    /// The recordings do not take it.
    #[error("the recordings cannot be written")]
    Archive(#[from] object_store::Error),
    /// The disk did not take something before: what the file holds is not known.
    #[error("the record could not be written before, and is closed")]
    Broken,
}

impl RecordError {
    /// Whether the broker is at fault, and not what it was asked.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Disk(_) | Self::Store(_) | Self::Archive(_) | Self::Broken => true,
            Self::Gap { .. } | Self::Foreign | Self::Sealed | Self::Invalid(_) => false,
        }
    }
}

/// Events of one writer.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The stream.
    pub(crate) writer: String,
    /// The enforcement point that writes it.
    pub(crate) owner: String,
    /// Number of the first event.
    pub(crate) first: u64,
    /// The events.
    pub(crate) events: Vec<Event>,
}

/// What came of appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Number of the writer's next event.
    pub(crate) next: u64,
    /// How many notices for the shim there are now.
    pub(crate) notices: u64,
}

/// What came of sealing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// How many entries there are.
    pub(crate) entries: u64,
    /// The hash of the last.
    pub(crate) head: Digest,
    /// The seal's leaf for the log.
    pub(crate) leaf: Leaf,
}

/// All records.
#[derive(Debug, Clone)]
pub(crate) enum Records {
    /// A file each.
    Files(Files),
    /// Parts in the store, and from there to the recordings.
    Parts(Store, Archive, Keyring),
}

/// One session's record.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    /// A file.
    File(Arc<FileRecord>),
    /// Parts in the store.
    Parts(Arc<PartsRecord>),
}

// === impl Records ===

impl Records {
    /// The line that starts a record, its hash and its segment, where records start with their session in the store.
    pub(crate) fn first_line(
        &self,
        first: &Event,
    ) -> Result<Option<(Vec<u8>, Digest, Segment)>, RecordError> {
        match self {
            Self::Files(_) => Ok(None),
            Self::Parts(..) => {
                let mut chain = ChainWriter::new();
                let mut line = Vec::new();
                chain
                    .append_into(&mut line, Timestamp::now(), BROKER, first)
                    .map_err(|error| RecordError::Invalid(error.to_string()))?;
                Ok(Some((line, chain.head(), chain.segment().clone())))
            }
        }
    }

    /// Starts the record of a session that was just stored.
    pub(crate) async fn create(
        &self,
        session: SessionId,
        first: Event,
        fallback: Option<ResourceName>,
    ) -> Result<Record, RecordError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                let created = move || files.create(session, &first, fallback);
                let created = tokio::task::spawn_blocking(created).await;
                let created = created.map_err(io::Error::other)??;
                Ok(Record::File(Arc::new(created)))
            }
            Self::Parts(store, _, keys) => {
                let record = PartsRecord::new(store.clone(), keys.clone(), session, fallback);
                Ok(Record::Parts(Arc::new(record)))
            }
        }
    }

    /// Goes on with a record of a broker that is no more.
    pub(crate) fn resume(
        &self,
        session: SessionId,
        known: Option<(u64, Digest)>,
        fallback: Option<ResourceName>,
    ) -> Result<Resumed, ResumeError> {
        match self {
            Self::Files(files) => files.resume(session, known, fallback),
            Self::Parts(store, _, keys) => {
                let record = PartsRecord::new(store.clone(), keys.clone(), session, fallback);
                Ok(Resumed::Open(Record::Parts(Arc::new(record))))
            }
        }
    }

    /// A record that is in the store. Files are opened when the broker starts.
    pub(crate) fn open(
        &self,
        session: SessionId,
        fallback: Option<ResourceName>,
    ) -> Option<Record> {
        match self {
            Self::Files(_) => None,
            Self::Parts(store, _, keys) => {
                let record = PartsRecord::new(store.clone(), keys.clone(), session, fallback);
                Some(Record::Parts(Arc::new(record)))
            }
        }
    }

    /// Takes back a record that could not be started.
    pub(crate) fn forget(&self, session: SessionId) {
        match self {
            Self::Files(files) => {
                let _ = std::fs::remove_file(files.path(session));
            }
            Self::Parts(..) => {}
        }
    }

    /// A sealed record, in pieces.
    pub(crate) async fn read(
        &self,
        session: SessionId,
        filed: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RecordError> {
        match self {
            Self::Files(files) => Ok(rest::expanded(rest::read(&files.folder, session).await?)),
            Self::Parts(_, archive, _) if filed => archive.read(session).await,
            Self::Parts(store, ..) => Ok(parts::stream(store.clone(), session).boxed()),
        }
    }

    /// A record as far as it goes now, sealed or not, in pieces.
    pub(crate) async fn read_so_far(
        &self,
        session: SessionId,
        filed: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RecordError> {
        match self {
            Self::Files(_) => self.read(session, filed).await,
            Self::Parts(_, archive, _) if filed => archive.read(session).await,
            Self::Parts(..) => {
                let tail = self.tail(session).await?;
                let pieces = try_unfold(tail, async |mut tail| {
                    let lines = tail.look().await.map_err(io::Error::other)?;
                    Ok((!lines.is_empty()).then_some((Bytes::from(lines), tail)))
                });
                Ok(pieces.boxed())
            }
        }
    }

    /// Takes a record away. One that is not there is away.
    pub(crate) async fn delete(&self, session: SessionId) -> Result<(), RecordError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                let deleted = tokio::task::spawn_blocking(move || files.delete(session)).await;
                Ok(deleted.map_err(io::Error::other)??)
            }
            // Its parts go with the word that it is gone.
            Self::Parts(_, archive, _) => archive.delete(session).await,
        }
    }

    /// Brings a sealed record to the recordings, where it is not there already. One that was deleted meanwhile stays deleted,
    /// also where two brokers wrote it and one of them was late.
    pub(crate) async fn file(&self, session: SessionId) -> Result<(), RecordError> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Parts(store, archive, _) => {
                if store.tombstone(session).await?.is_some() {
                    return Ok(());
                }
                archive.file(session, parts::stream(store.clone(), session)).await?;
                // Who deletes says so first: either they saw the file, or the word is seen here.
                if store.tombstone(session).await?.is_some() {
                    return archive.delete(session).await;
                }
                Ok(store.filed(session).await?)
            }
        }
    }
}

// === impl Record ===

impl Record {
    /// Appends events of an enforcement point. Those that the record has already are passed over, so that a
    /// repeated request is harmless.
    pub(crate) async fn append(&self, batch: Batch) -> Result<Appended, RecordError> {
        match self {
            Self::File(record) => {
                let record = record.clone();
                let appended = tokio::task::spawn_blocking(move || record.append(&batch)).await;
                appended.map_err(io::Error::other)?
            }
            Self::Parts(record) => record.append(&batch).await,
        }
    }

    /// Appends an event of the broker itself.
    pub(crate) async fn append_own(&self, event: Event) -> Result<(), RecordError> {
        match self {
            Self::File(record) => {
                let record = record.clone();
                let appended = tokio::task::spawn_blocking(move || record.append_own(&event)).await;
                appended.map_err(io::Error::other)?
            }
            Self::Parts(record) => record.append_own(&event).await,
        }
    }

    /// Seals the segment if it is due, though nothing comes. Does nothing to a record that is sealed.
    pub(crate) async fn seal_segment(&self, now: Timestamp) -> Result<(), RecordError> {
        let sealed = match self {
            Self::File(record) => {
                let record = record.clone();
                let sealed = tokio::task::spawn_blocking(move || record.seal_segment(now)).await;
                sealed.map_err(io::Error::other)?
            }
            Self::Parts(record) => record.seal_segment(now).await,
        };
        match sealed {
            Ok(()) | Err(RecordError::Sealed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Appends the last event and the seal. Nothing can be appended afterwards, and sealing again changes nothing.
    pub(crate) async fn seal(
        &self,
        last: &Event,
        now: Timestamp,
        key: &SealingKey,
    ) -> Result<Sealed, RecordError> {
        match self {
            // One signature and one append: too short to be worth a thread of its own.
            Self::File(record) => record.seal(last, now, key),
            Self::Parts(record) => record.seal(last, now, key).await,
        }
    }

    /// How many notices there are, if the store does not know.
    pub(crate) fn noticed(&self) -> Option<u64> {
        match self {
            Self::File(record) => Some(record.noticed()),
            Self::Parts(_) => None,
        }
    }

    /// The notices behind the first `after`.
    pub(crate) async fn notices(&self, after: u64) -> Result<Vec<Notice>, RecordError> {
        match self {
            Self::File(record) => Ok(record.notices(after)),
            Self::Parts(record) => record.notices(after).await,
        }
    }

    /// What was counted of each command of a session that has several.
    pub(crate) async fn steps(&self) -> Result<BTreeMap<u32, StepCounts>, RecordError> {
        match self {
            Self::File(record) => Ok(record.steps()),
            Self::Parts(record) => record.steps().await,
        }
    }

    /// How far its file reaches, if it is one.
    pub(crate) fn reached(&self) -> Option<(u64, Digest)> {
        match self {
            Self::File(record) => Some(record.reached()),
            Self::Parts(_) => None,
        }
    }
}

/// The hash of a line, which ends with its line feed.
fn line_hash(line: &[u8]) -> Digest {
    Digest::of(line.strip_suffix(b"\n").unwrap_or(line))
}
