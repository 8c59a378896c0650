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

use super::upstream::Outgoing;

/// A client that sends nothing for this long while its body is awaited is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a body that is read whole may take.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest body that is read whole to be judged.
pub(super) const MAX_WHOLE: usize = 1 << 20;
/// Longest body that is read whole to be signed: the longest that services of AWS take besides S3, but for code that is uploaded.
pub(super) const MAX_SIGNED: usize = 16 << 20;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLong,
    Broken,
}

/// Reads a body whole.
pub(super) async fn whole(incoming: Incoming, longest: usize) -> Result<Bytes, Unread> {
    let reading = Limited::new(incoming, longest).collect();
    match timeout(WHOLE_TIMEOUT, reading).await {
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
pub(super) fn metered(bytes: Bytes, meter: Option<Meter>, over: &OnceLock<Exceeded>) -> Outgoing {
    let size = bytes.len() as u64;
    match meter.and_then(|mut meter| meter.admit(std::iter::once((0, size))).exceeded) {
        None => read(bytes),
        Some(exceeded) => {
            let _ = over.set(exceeded);
            let none = Err::<Frame<Bytes>, _>(io::Error::other("over a budget"));
            let none = futures_util::stream::iter([none]);
            http_body_util::StreamBody::new(none).boxed()
        }
    }
}

/// A body that goes on while it comes in.
pub(super) struct Passing {
    incoming: Incoming,
    meter: Option<Meter>,
    /// The budget that it was over.
    over: Arc<OnceLock<Exceeded>>,
    silence: Pin<Box<Sleep>>,
}

impl Passing {
    pub(super) fn new(
        incoming: Incoming,
        meter: Option<Meter>,
        over: Arc<OnceLock<Exceeded>>,
    ) -> Self {
        Self { incoming, meter, over, silence: Box::pin(sleep(SILENCE)) }
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
                return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
            }
        };
        this.silence.as_mut().reset(Instant::now() + SILENCE);
        let data = match frame {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if let Some(meter) = &mut this.meter {
            let size = data.len() as u64;
            if let Some(exceeded) = meter.admit(std::iter::once((0, size))).exceeded {
                let _ = this.over.set(exceeded);
                return Poll::Ready(Some(Err(io::Error::other("over a budget"))));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
