//! Bytes from one stream to another and back, until both have ended.
//!
//! As `tokio::io::copy_bidirectional`, but without buffers of its own: bytes are read onto the stack of the
//! thread and written from there, and only what the other side does not take at once is kept. So a connection
//! that is idle holds nothing, and one that was busy leaves no holes in the heap.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes in flight in one direction: some rows' worth, so that COPY takes few system calls. They are on the
/// stack for a moment, of which threads have megabytes.
const CHUNK: usize = 64 << 10;

/// A stream of bytes that can be polled where it is.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Carries bytes both ways. An end of one side is passed on; an error ends both.
///
/// Dropped before it ends, bytes that were read may not be written.
pub async fn carry(one: &mut impl Stream, other: &mut impl Stream) -> io::Result<()> {
    let (mut there, mut back) = (Direction::new(), Direction::new());
    poll_fn(|cx| {
        let there = there.poll(one, other, cx)?;
        let back = back.poll(other, one, cx)?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

struct Direction {
    /// What was read and the other side has not taken.
    kept: BytesMut,
    state: State,
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
        Self { kept: BytesMut::new(), state: State::Reading, unflushed: false }
    }

    fn poll(
        &mut self,
        from: &mut impl Stream,
        to: &mut impl Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.kept.is_empty() {
                while !self.kept.is_empty() {
                    let written = ready!(write(to, &self.kept, cx))?;
                    self.kept.advance(written);
                }
                self.kept = BytesMut::new();
            }
            match self.state {
                State::Reading => {
                    if self.pass(from, to, cx)?.is_pending() {
                        // TLS keeps what the socket did not take.
                        if self.unflushed && self.kept.is_empty() {
                            ready!(Pin::new(&mut *to).poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads what is there, up to a chunk, and writes what is taken of it. Ready if there may be more to do.
    fn pass(
        &mut self,
        from: &mut impl Stream,
        to: &mut impl Stream,
        cx: &mut Context<'_>,
    ) -> io::Result<Poll<()>> {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        let mut more = Ok(Poll::Ready(()));
        while chunk.remaining() > 0 {
            let before = chunk.filled().len();
            match Pin::new(&mut *from).poll_read(cx, &mut chunk) {
                Poll::Ready(Ok(())) if chunk.filled().len() > before => continue,
                Poll::Ready(Ok(())) => self.state = State::Ending,
                // What came before the error goes on.
                Poll::Ready(Err(error)) => more = Err(error),
                Poll::Pending => more = Ok(Poll::Pending),
            }
            break;
        }
        let mut rest = chunk.filled();
        while !rest.is_empty() {
            self.unflushed = true;
            match write(to, rest, cx) {
                Poll::Ready(written) => rest = rest.get(written?..).unwrap_or_default(),
                Poll::Pending => {
                    self.kept.extend_from_slice(rest);
                    return more.map(|_| Poll::Pending);
                }
            }
        }
        more
    }
}

fn write(to: &mut impl Stream, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
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
    async fn an_idle_direction_holds_no_buffer() {
        let (mut client, mut near) = duplex(1 << 20);
        let (mut server, mut far) = duplex(100_000);
        let mut direction = Direction::new();
        let mut step = |direction: &mut Direction| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(direction.poll(&mut near, &mut far, &mut cx).is_pending());
        };
        client.write_all(&vec![1; 500_000]).await.unwrap();
        step(&mut direction);
        assert!(!direction.kept.is_empty(), "the other side has not taken all");
        assert!(direction.kept.len() <= CHUNK, "{}", direction.kept.len());
        for _ in 0..5 {
            server.read_exact(&mut vec![0; 100_000]).await.unwrap();
            step(&mut direction);
        }
        assert_eq!(direction.kept.capacity(), 0);
    }
}
