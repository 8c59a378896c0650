//! Bytes from one stream to another and back, until both have ended.
//!
//! As `tokio::io::copy_bidirectional`, but with buffers that are small until there is much to carry and become
//! small again: a job's pool of idle connections should not hold what a COPY needs.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Bytes in flight in one direction at first: most messages of an application are smaller.
const FIRST_CHUNK: usize = 4 << 10;
/// The same once it has been filled: some rows' worth, so that COPY takes few system calls.
const CHUNK: usize = 64 << 10;

/// A stream of bytes that can be polled where it is.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Carries bytes both ways. An end of one side is passed on; an error ends both.
///
/// Dropped before it ends, bytes that were read may not be written.
pub(crate) async fn carry(one: &mut impl Stream, other: &mut impl Stream) -> io::Result<()> {
    let (mut there, mut back) = (Direction::new(), Direction::new());
    poll_fn(|cx| {
        let there = there.poll(one, other, cx)?;
        let back = back.poll(other, one, cx)?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

struct Direction {
    bytes: BytesMut,
    state: State,
    /// The last read filled a small buffer.
    full: bool,
    /// The buffer is a large one.
    large: bool,
    unflushed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The reader has ended; the writer is told.
    Ending,
    Ended,
}

impl Direction {
    fn new() -> Self {
        Self {
            bytes: BytesMut::new(),
            state: State::Reading,
            full: false,
            large: false,
            unflushed: false,
        }
    }

    fn poll(
        &mut self,
        from: &mut impl Stream,
        to: &mut impl Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.bytes.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.bytes))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.bytes.advance(written);
                self.unflushed = true;
            }
            match self.state {
                State::Reading => match self.read(from, cx) {
                    Poll::Ready(read) => {
                        if read? == 0 {
                            self.state = State::Ending;
                        }
                    }
                    Poll::Pending => {
                        // TLS keeps what the socket did not take.
                        if self.unflushed {
                            ready!(Pin::new(&mut *to).poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                },
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads into the empty buffer.
    fn read(&mut self, from: &mut impl Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.bytes.reserve(if self.full { CHUNK } else { FIRST_CHUNK });
        self.large |= self.full;
        match pin!(from.read_buf(&mut self.bytes)).poll(cx) {
            Poll::Ready(read) => {
                self.full = read.as_ref().is_ok_and(|read| *read >= FIRST_CHUNK);
                Poll::Ready(read)
            }
            Poll::Pending => {
                if self.large && !self.full {
                    self.bytes = BytesMut::new();
                    self.large = false;
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn all_bytes_arrive_in_order_and_an_end_is_passed_on() {
        let (mut client, mut near) = duplex(700);
        let (mut server, mut far) = duplex(10_000);
        let carried = tokio::spawn(async move { carry(&mut near, &mut far).await });
        let sent: Vec<u8> =
            (0..300_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
        let expected = sent.clone();
        let writes = tokio::spawn(async move {
            server.write_all(&sent).await.unwrap();
            server.shutdown().await.unwrap();
            let mut heard = String::new();
            server.read_to_string(&mut heard).await.unwrap();
            heard
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        client.write_all(b"the other side still speaks").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(writes.await.unwrap(), "the other side still speaks");
        carried.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_buffer_becomes_small_again() {
        let (mut client, mut near) = duplex(1 << 20);
        let (mut server, mut far) = duplex(1 << 20);
        let mut direction = Direction::new();
        let mut step = |direction: &mut Direction| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(direction.poll(&mut near, &mut far, &mut cx).is_pending());
        };
        client.write_all(&vec![1; 500_000]).await.unwrap();
        step(&mut direction);
        client.write_all(b"end").await.unwrap();
        step(&mut direction);
        assert!(direction.bytes.capacity() <= FIRST_CHUNK, "{}", direction.bytes.capacity());
        server.read_exact(&mut vec![0; 500_003]).await.unwrap();
    }
}
