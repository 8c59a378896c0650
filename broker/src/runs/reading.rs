//! From pieces that come to a reader that waits for them, in a thread of its own.

use std::io::{self, BufReader, BufWriter, Read, Write};

use bytes::{Buf as _, Bytes};
use futures_util::{
    StreamExt as _,
    stream::{BoxStream, unfold},
};
use guard_audit::export::ExportError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Pieces that wait to be read.
const WAITING: usize = 4;

/// Reads pieces as one text.
pub(crate) struct Pieces {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    at: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at.is_empty() {
            match self.coming.blocking_recv() {
                Some(piece) => self.at = piece?,
                None => return Ok(0),
            }
        }
        let length = self.at.len().min(into.len());
        let Some(place) = into.get_mut(..length) else { return Ok(0) };
        self.at.copy_to_slice(place);
        Ok(length)
    }
}

/// Takes what is written, for who waits for it.
pub(super) struct Written(mpsc::Sender<io::Result<Bytes>>);

impl Write for Written {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(from))).map_err(gone)?;
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written while a record is read, as it comes. What cannot be written to its end ends with an error, so that
/// nobody takes it for the whole.
pub(super) fn written(
    pieces: BoxStream<'static, io::Result<Bytes>>,
    place: OwnedSemaphorePermit,
    write: impl FnOnce(BufReader<Pieces>, &mut BufWriter<Written>) -> Result<(), ExportError>
    + Send
    + 'static,
) -> BoxStream<'static, io::Result<Bytes>> {
    let (send, come) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let failed = send.clone();
        let done = blocking(pieces, move |record| {
            let mut out = BufWriter::with_capacity(1 << 16, Written(send));
            write(record, &mut out)?;
            out.flush().map_err(ExportError::Write)
        });
        if let Err(error) | Ok(Err(error)) =
            done.await.map_err(io::Error::other).map(|done| done.map_err(io::Error::other))
        {
            // Who went away is not told.
            let _ = failed.send(Err(error)).await;
        }
        drop(place);
    });
    unfold(come, async |mut come| Some((come.recv().await?, come))).boxed()
}

/// Does something that reads and computes, beside what must answer.
pub(crate) async fn blocking<T: Send + 'static>(
    mut pieces: BoxStream<'static, io::Result<Bytes>>,
    make: impl FnOnce(BufReader<Pieces>) -> T + Send + 'static,
) -> io::Result<T> {
    let (send, coming) = mpsc::channel(WAITING);
    let reader = BufReader::with_capacity(1 << 18, Pieces { coming, at: Bytes::new() });
    let made = tokio::task::spawn_blocking(move || make(reader));
    while let Some(piece) = pieces.next().await {
        // Who does not read any more has seen enough.
        if send.send(piece).await.is_err() {
            break;
        }
    }
    drop(send);
    made.await.map_err(io::Error::other)
}
