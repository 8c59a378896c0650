//! A record as it grows: its lines from the start, and then whatever comes.

use std::{io, io::SeekFrom};

use guard_audit::MAX_LINE;
use guard_core::SessionId;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

use super::{RecordError, Records};
use crate::store::Store;

/// Bytes that one look brings at most, if a line is not longer.
const PIECE: usize = 1 << 20;

/// Where a reader of a growing record stands.
#[derive(Debug)]
pub(crate) enum Tail {
    /// In a file: the offset of the next line.
    File(File, u64),
    /// In the store: the number of the next entry.
    Parts(Store, SessionId, u64),
}

impl Records {
    /// A record from its start, as it grows.
    pub(crate) async fn tail(&self, session: SessionId) -> Result<Tail, RecordError> {
        match self {
            Self::Files(files) => Ok(Tail::File(File::open(files.path(session)).await?, 0)),
            Self::Parts(store, ..) => Ok(Tail::Parts(store.clone(), session, 0)),
        }
    }
}

impl Tail {
    /// Whole lines that came since the last look; empty if none did.
    pub(crate) async fn look(&mut self) -> Result<Vec<u8>, RecordError> {
        match self {
            Self::File(file, offset) => {
                file.seek(SeekFrom::Start(*offset)).await?;
                let mut most = PIECE;
                let mut bytes = Vec::new();
                loop {
                    (&mut *file).take(most as u64).read_to_end(&mut bytes).await?;
                    let end = bytes.iter().rposition(|byte| *byte == b'\n');
                    if let Some(end) = end {
                        bytes.truncate(end + 1);
                        *offset += bytes.len() as u64;
                        return Ok(bytes);
                    }
                    if bytes.len() < most {
                        // A line that is being written.
                        return Ok(Vec::new());
                    }
                    if bytes.len() > MAX_LINE {
                        return Err(io::Error::other("a line of the record has no end").into());
                    }
                    file.seek(SeekFrom::Start(*offset)).await?;
                    bytes.clear();
                    most = most.saturating_mul(4);
                }
            }
            Self::Parts(store, session, next) => {
                let mut bytes = Vec::new();
                for part in store.parts(*session, *next).await? {
                    if part.first != *next {
                        return Err(io::Error::other("a part of the record is missing").into());
                    }
                    let entries = part
                        .lines
                        .split_inclusive(|byte| *byte == b'\n')
                        .filter(|line| !line.starts_with(b"{\"seal\":"))
                        .count();
                    *next += entries as u64;
                    bytes.extend_from_slice(&part.lines);
                }
                Ok(bytes)
            }
        }
    }
}
