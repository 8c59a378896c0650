//! The body of a request: read whole where it must be looked at, else passed while it comes in.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use guard_core::Exceeded;
use guard_gate::Meter;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{exchange::Connection, head::HeadError, trailers, upstream::Outgoing};

/// Longest body that is read whole to be judged.
pub(super) const MAX_WHOLE: usize = 1 << 20;
/// Longest body that is read whole to be signed: the longest that services of AWS take besides S3, but for code that is uploaded.
pub(super) const MAX_SIGNED: usize = 16 << 20;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLong,
    /// Something stands behind it, which nobody would look at.
    Trailers,
    Broken,
}

/// Reads a body whole, if it comes within some time.
pub(super) async fn whole(
    incoming: Incoming,
    longest: usize,
    within: Duration,
) -> Result<Bytes, Unread> {
    let reading = Limited::new(incoming, longest).collect();
    match timeout(within, reading).await {
        Ok(Ok(body)) if body.trailers().is_some_and(|it| !it.is_empty()) => Err(Unread::Trailers),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLong),
        Ok(Err(_)) | Err(_) => Err(Unread::Broken),
    }
}

/// A body that was read whole, to be sent on.
pub(super) fn read(bytes: Bytes) -> Outgoing {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// The same, if its bytes are within the budgets: else nothing of it is sent.
pub(super) fn metered(bytes: Bytes, meter: Option<Meter>, stopped: &OnceLock<Stopped>) -> Outgoing {
    let size = bytes.len() as u64;
    match meter.and_then(|mut meter| meter.admit(std::iter::once((0, size))).exceeded) {
        None => read(bytes),
        Some(exceeded) => {
            let _ = stopped.set(Stopped::Over(exceeded));
            let none = Err::<Frame<Bytes>, _>(io::Error::other("over a budget"));
            let none = futures_util::stream::iter([none]);
            http_body_util::StreamBody::new(none).boxed()
        }
    }
}

/// Why a body did not go on to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It was over this budget.
    Over(Exceeded),
    /// What stands behind it must not go on.
    Trailers(HeadError),
    /// The client sent nothing more.
    Silent,
    /// The client is gone, or what it sent is no such body.
    Broken,
}

/// A body that goes on while it comes in.
pub(super) struct Passing {
    incoming: Incoming,
    connection: Arc<Connection>,
    meter: Option<Meter>,
    stopped: Arc<OnceLock<Stopped>>,
    silence: Pin<Box<Sleep>>,
}

impl Passing {
    pub(super) fn new(
        incoming: Incoming,
        connection: Arc<Connection>,
        meter: Option<Meter>,
        stopped: Arc<OnceLock<Stopped>>,
    ) -> Self {
        let silence = Box::pin(sleep(connection.shared.patience.body));
        Self { incoming, connection, meter, stopped, silence }
    }

    fn stop(&self, why: Stopped) -> io::Error {
        let _ = self.stopped.set(why);
        io::Error::other("the body was stopped")
    }

    /// Takes bytes from the budgets, if they may pass.
    fn admit(&mut self, size: u64) -> Result<(), Stopped> {
        let Some(meter) = &mut self.meter else { return Ok(()) };
        match meter.admit(std::iter::once((0, size))).exceeded {
            Some(exceeded) => Err(Stopped::Over(exceeded)),
            None => Ok(()),
        }
    }

    /// What goes on of a frame.
    fn frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Stopped> {
        match frame.into_data() {
            Ok(data) => {
                self.admit(data.len() as u64)?;
                Ok(Frame::data(data))
            }
            Err(frame) => {
                let sent = frame.into_trailers().unwrap_or_default();
                let kept = self.connection.trailers(&sent).map_err(Stopped::Trailers)?;
                self.admit(trailers::size(&kept))?;
                Ok(Frame::trailers(kept))
            }
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.silence.as_mut().poll(cx));
                return Poll::Ready(Some(Err(this.stop(Stopped::Silent))));
            }
        };
        this.silence.as_mut().reset(Instant::now() + this.connection.shared.patience.body);
        let passed = match frame {
            None => return Poll::Ready(None),
            Some(Err(_)) => Err(Stopped::Broken),
            Some(Ok(frame)) => this.frame(frame),
        };
        Poll::Ready(Some(passed.map_err(|why| this.stop(why))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
