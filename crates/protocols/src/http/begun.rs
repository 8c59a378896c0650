//! How a client begins: with HTTP/2 if its first bytes are that protocol's preface (RFC 9113, section 3.4), else with a request of HTTP/1.1.
//!
//! TLS may have ended elsewhere, so that nothing else tells. No request of HTTP/1.1 begins so: a client that means one cannot
//! be taken for the other.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::ClientIo;

/// What a client of HTTP/2 sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    One,
    Two,
}

/// A client's connection of which the first bytes were read.
pub(super) struct Begun {
    read: BytesMut,
    inner: ClientIo,
}

impl Begun {
    /// Reads until it is known what the client speaks. What does not go on is HTTP/1.1, and not sound.
    pub(super) async fn read(mut inner: ClientIo) -> io::Result<(Self, Spoken)> {
        let mut read = BytesMut::with_capacity(PREFACE.len());
        loop {
            let is_over = inner.read_buf(&mut read).await? == 0;
            if read.starts_with(PREFACE) {
                return Ok((Self { read, inner }, Spoken::Two));
            }
            if is_over || !PREFACE.starts_with(&read) {
                return Ok((Self { read, inner }, Spoken::One));
            }
        }
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, out);
        }
        let now = self.read.len().min(out.remaining());
        out.put_slice(self.read.get(..now).unwrap_or_default());
        self.read.advance(now);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
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
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_preface_alone_is_http_2_and_no_byte_is_lost() {
        let preface = [PREFACE, b"more"].concat();
        for (bytes, expected) in [
            (preface.as_slice(), Spoken::Two),
            (b"GET / HTTP/1.1\r\n\r\n", Spoken::One),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", Spoken::One),
            (b"PRI * HTTP/2.0\r\n\r\n", Spoken::One),
            (b"P", Spoken::One),
            (b"", Spoken::One),
        ] {
            for step in [1, 7, 64] {
                let (mut client, server) = tokio::io::duplex(64);
                let reading = tokio::spawn(async move {
                    let (mut begun, spoken) = Begun::read(Box::new(server)).await.unwrap();
                    let mut all = Vec::new();
                    begun.read_to_end(&mut all).await.unwrap();
                    (all, spoken)
                });
                for part in bytes.chunks(step) {
                    client.write_all(part).await.unwrap();
                }
                drop(client);
                assert_eq!(reading.await.unwrap(), (bytes.to_vec(), expected));
            }
        }
    }
}
