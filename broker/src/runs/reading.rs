//! From pieces that come to a reader that waits for them, in a thread of its own.

use std::io::{self, BufReader, Read};

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::sync::mpsc;

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
