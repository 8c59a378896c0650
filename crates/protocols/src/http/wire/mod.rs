//! A client's bytes, read strictly before anybody else reads them.
//!
//! hyper is lenient where RFC 9112 lets it be: a line may end with LF alone, a length may be there twice. So what it gets has gone
//! through here: each head was read as [`read_request`] reads it, and each body ends where that head says. What does not
//! pass ends the connection.

mod chunks;

use std::{
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::chunks::Chunks;
use super::head::{Body, HeadError, RawRequest, read_request};
use crate::ClientIo;

/// How much is read at once.
const PIECE: usize = 16 << 10;

/// How much is taken of what a client sends before it knows the protocol.
const MAX_HELD: usize = 64 << 10;

/// The heads of a connection, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Heads {
    read: Mutex<VecDeque<RawRequest>>,
    refused: Mutex<Option<HeadError>>,
}

impl Heads {
    /// The head of the next request.
    pub(super) fn next(&self) -> Option<RawRequest> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Why the connection ended, if a head was none.
    pub(super) fn refused(&self) -> Option<HeadError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A client's connection whose requests have one meaning.
pub(super) struct Strict {
    inner: ClientIo,
    heads: Arc<Heads>,
    /// What came in: first what may go on, then what is not yet looked at.
    buffer: BytesMut,
    released: usize,
    /// How much of the next head was there when it was last looked at.
    seen: usize,
    at: At,
}

enum At {
    Head,
    Length(u64),
    Chunked(Chunks),
    /// Behind a request that asks for another protocol: what follows is of one or the other, and nobody reads it before that is known.
    Held,
    Over,
}

impl Strict {
    pub(super) fn new(inner: ClientIo, heads: Arc<Heads>) -> Self {
        let buffer = BytesMut::new();
        Self { inner, heads, buffer, released: 0, seen: 0, at: At::Head }
    }

    /// The connection as it is, and what came in that nobody has read.
    pub(super) fn into_parts(self) -> (ClientIo, BytesMut) {
        (self.inner, self.buffer)
    }

    /// Lets go on what can be understood of what came in.
    fn release(&mut self) -> io::Result<()> {
        match &mut self.at {
            At::Over | At::Held => {}
            At::Head => self.release_head(),
            At::Length(left) => {
                let there = self.buffer.len();
                let now = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= now as u64;
                self.released = now;
                if *left == 0 {
                    self.at = At::Head;
                }
            }
            At::Chunked(chunks) => {
                let taken = chunks.take(&self.buffer);
                self.released =
                    taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if chunks.is_over() {
                    self.at = At::Head;
                }
            }
        }
        Ok(())
    }

    fn release_head(&mut self) {
        // A head does not change before a line of it ends.
        let new = self.buffer.get(self.seen..).unwrap_or_default();
        let is_long = self.buffer.len() > super::head::MAX_HEAD;
        if memchr::memchr2(b'\n', b'\r', new).is_none() && !is_long {
            self.seen = self.buffer.len();
            return;
        }
        match read_request(&self.buffer) {
            Ok(None) => self.seen = self.buffer.len(),
            Ok(Some(raw)) => {
                self.seen = 0;
                self.released = raw.taken;
                self.at = match raw.head.body {
                    _ if raw.head.is_upgrade() => At::Held,
                    Body::None | Body::UntilClose | Body::Length(0) => At::Head,
                    Body::Length(length) => At::Length(length),
                    Body::Chunked => At::Chunked(Chunks::new()),
                };
                let heads = &self.heads.read;
                heads.lock().unwrap_or_else(PoisonError::into_inner).push_back(raw);
            }
            Err(error) => {
                let refused = &self.heads.refused;
                *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                self.at = At::Over;
            }
        }
    }
}

impl AsyncRead for Strict {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.released > 0 {
                let now = this.released.min(out.remaining());
                out.put_slice(this.buffer.get(..now).unwrap_or_default());
                this.buffer.advance(now);
                this.released -= now;
                return Poll::Ready(Ok(()));
            }
            // To whoever reads it, a connection that sent something else than requests is over.
            if matches!(this.at, At::Over) {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.at, At::Held) {
                // Only to see whether the client goes away.
                if this.buffer.len() >= MAX_HELD {
                    return Poll::Pending;
                }
            } else if !this.buffer.is_empty() && this.seen < this.buffer.len() {
                this.release()?;
                if this.released > 0 || matches!(this.at, At::Over) {
                    continue;
                }
            }
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut read = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                this.at = At::Over;
                return Poll::Ready(Ok(()));
            }
            this.buffer.extend_from_slice(read.filled());
        }
    }
}

impl AsyncWrite for Strict {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What goes on of some bytes, how many heads there were, and why it ended.
    async fn read(bytes: &[u8], step: usize) -> (Vec<u8>, usize, Option<HeadError>) {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = Arc::new(Heads::default());
        let mut strict = Strict::new(Box::new(server), heads.clone());
        let parts: Vec<Vec<u8>> = bytes.chunks(step).map(<[u8]>::to_vec).collect();
        let sending = tokio::spawn(async move {
            for part in parts {
                // Whoever reads may have gone.
                if client.write_all(&part).await.is_err() {
                    return;
                }
            }
        });
        let mut out = Vec::new();
        let _ = strict.read_to_end(&mut out).await;
        drop(strict);
        sending.await.unwrap();
        let mut count = 0;
        while heads.next().is_some() {
            count += 1;
        }
        (out, count, heads.refused())
    }

    #[tokio::test]
    async fn requests_go_on_as_they_are() {
        let text = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n\
                     POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                     GET /d HTTP/1.1\r\nHost: a\r\n\r\n";
        for step in [1, 5, 4096] {
            assert_eq!(read(text, step).await, (text.to_vec(), 4, None));
        }
    }

    #[tokio::test]
    async fn what_follows_a_bad_head_fails_closed() {
        let good = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        for (bad, why) in [
            (&b"GET /b HTTP/1.1\nHost: a\n\n"[..], HeadError::LineEnd),
            (b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TwoLengths),
            (b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", HeadError::Length),
            (b"GET /b HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", HeadError::Folded),
        ] {
            let text = [good.as_slice(), bad, good].concat();
            for step in [1, 9, 4096] {
                assert_eq!(read(&text, step).await, (good.to_vec(), 1, Some(why.clone())));
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_where_it_says_fails_closed() {
        let head = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = [head.as_slice(), b"3;x\r\nabc\r\n0\r\n\r\n"].concat();
        let (out, count, _) = read(&text, 4096).await;
        assert_eq!((out, count), (head.to_vec(), 1));
    }
}
