//! Sealed records at rest: compressed, a frame a segment.
//!
//! A file that grew in the folder is compressed when it has rested for a while. The compressed one is written beside it, read
//! back, and only then takes its place; whoever has the old one open reads it to its end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::{Buf as _, Bytes};
use futures_util::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{BoxStream, try_unfold},
};
use guard_audit::{AtRest, Expander, Plain, compressed_extension};
use guard_core::SessionId;
use sha2::{Digest as _, Sha256};

use super::files::Files;

/// A file that grew is read and sent in pieces of this size.
const FILE_PIECE: usize = 64 * 1024;
/// A piece of what is expanded.
const PIECE: usize = 128 * 1024;
/// A file that nobody wrote to for this long is at rest.
const RESTED: Duration = Duration::from_secs(60);

/// The name of a record that is not compressed.
pub(super) fn plain_name(session: SessionId) -> String {
    format!("{session}.jsonl")
}

/// The name of a record at rest.
pub(super) fn name(session: SessionId) -> String {
    format!("{session}.jsonl{}", compressed_extension())
}

/// A record of a folder, as it is kept, in pieces.
pub(super) async fn read(
    folder: &Path,
    session: SessionId,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    match read_file(folder.join(plain_name(session))).await {
        Ok(pieces) => Ok(pieces.boxed()),
        // Compressed; perhaps just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(read_file(folder.join(name(session))).await?.boxed())
        }
        Err(error) => Err(error),
    }
}

/// What pieces are once they are compressed.
pub(super) fn compressed(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send> {
    let state = Some((Box::pin(pieces), AtRest::new()?));
    Ok(try_unfold(state, |state| async move {
        let Some((mut pieces, mut rest)) = state else { return Ok(None) };
        while let Some(piece) = pieces.try_next().await? {
            let frames = rest.push(&piece)?;
            if !frames.is_empty() {
                return Ok(Some((Bytes::from(frames), Some((pieces, rest)))));
            }
        }
        Ok(Some((Bytes::from(rest.finish()?), None)))
    }))
}

/// What pieces of a record are, however they are kept.
pub(super) fn expanded(
    pieces: BoxStream<'static, io::Result<Bytes>>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let state = (pieces, Expander::default(), Bytes::new(), false);
    let expanding =
        try_unfold(state, |(mut pieces, mut expander, mut piece, mut more)| async move {
            loop {
                if piece.is_empty() && !more {
                    match pieces.try_next().await? {
                        Some(next) => piece = next,
                        None if expander.is_whole() => return Ok(None),
                        None => {
                            return Err(io::Error::new(
                                io::ErrorKind::UnexpectedEof,
                                "a frame of the record is cut off",
                            ));
                        }
                    }
                }
                let mut out = vec![0; PIECE];
                let (taken, given) = expander.step(&piece, &mut out)?;
                piece.advance(taken);
                // A full piece may be followed by more of what was taken.
                more = given == out.len();
                if given > 0 {
                    out.truncate(given);
                    return Ok(Some((Bytes::from(out), (pieces, expander, piece, more))));
                }
            }
        });
    expanding.boxed()
}

/// Takes a file away. One that is not there is away.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Files {
    /// Records that are not compressed and that nobody wrote to for a while, sealed or not.
    pub(crate) fn rested(&self) -> io::Result<Vec<SessionId>> {
        let mut rested = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
            let Some(id) = id else { continue };
            let since = entry.metadata()?.modified()?;
            if SystemTime::now().duration_since(since).is_ok_and(|rested| rested >= RESTED) {
                rested.push(id);
            }
        }
        Ok(rested)
    }

    /// Takes a record away. One that is not there is away. Blocks on the disk.
    pub(crate) fn delete(&self, session: SessionId) -> io::Result<()> {
        // The plain one first: what is compressed from it comes behind its name.
        for name in [plain_name(session), name(session), format!(".{session}.new")] {
            remove(&self.folder.join(name))?;
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Compresses a sealed record. Doing it again, or going on where a broker died, is harmless. Blocks on the disk.
    pub(crate) fn compress(&self, session: SessionId) -> io::Result<()> {
        let (plain, at_rest) = (self.path(session), self.folder.join(name(session)));
        let new = self.folder.join(format!(".{session}.new"));
        if let Err(error) = self.write_compressed(&plain, &new) {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        fs::rename(&new, &at_rest)?;
        // The new name is on the disk before the old one goes.
        File::open(&self.folder)?.sync_all()?;
        fs::remove_file(&plain)?;
        File::open(&self.folder)?.sync_all()
    }

    fn write_compressed(&self, plain: &PathBuf, new: &PathBuf) -> io::Result<()> {
        let mut from = BufReader::with_capacity(PIECE, File::open(plain)?);
        let mut options = OpenOptions::new();
        let mut to = options.create(true).write(true).truncate(true).mode(0o600).open(new)?;
        let mut rest = AtRest::new()?;
        let mut written = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            let length = from.read(&mut piece)?;
            let piece = piece.get(..length).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            written.update(piece);
            to.write_all(&rest.push(piece)?)?;
        }
        to.write_all(&rest.finish()?)?;
        to.sync_all()?;
        let mut there = Sha256::new();
        io::copy(&mut Plain::of(BufReader::new(File::open(new)?))?, &mut there)?;
        if written.finalize() == there.finalize() {
            Ok(())
        } else {
            Err(io::Error::other("the compressed record is not the same"))
        }
    }
}

/// A file in pieces.
async fn read_file(
    path: PathBuf,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let file = tokio::fs::File::open(path).await?;
    Ok(try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(FILE_PIECE);
        let mut rest = tokio::io::AsyncReadExt::take(&mut file, FILE_PIECE as u64);
        tokio::io::AsyncReadExt::read_to_end(&mut rest, &mut piece).await?;
        Ok((!piece.is_empty()).then_some((Bytes::from(piece), file)))
    }))
}
