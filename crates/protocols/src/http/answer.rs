//! The body of an answer on its way to the client: the credential hidden, fields masked, bytes counted.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use guard_gate::{Meter, Outcome, Running};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    credential::Shown,
    decode::{Decoded, Decoder, Undecodable},
    keep::{Keep, Waits},
    rewrite::Rewriter,
};

/// What is sent to a client.
pub(super) enum Answer {
    /// Of guard's own.
    Own(Option<Bytes>),
    /// Of the resource.
    Passed(Box<Passed>),
}

/// The body of an answer of the resource's.
pub(super) struct Passed {
    pub(super) incoming: Incoming,
    /// How long it is, where that is known and stays.
    pub(super) length: Option<u64>,
    pub(super) shown: Arc<Shown>,
    pub(super) held: Vec<u8>,
    pub(super) decoder: Option<Box<Decoder>>,
    pub(super) rewriter: Rewriter,
    /// What of it is recorded, and until when it waits for that.
    pub(super) keep: Option<Keep>,
    pub(super) waits: Option<Waits>,
    pub(super) meter: Option<Meter>,
    /// Done when nothing more may pass: says why.
    pub(super) cut: BoxFuture<'static, &'static str>,
    pub(super) running: Option<Running>,
    pub(super) outcome: Outcome,
    pub(super) done: bool,
}

impl Passed {
    /// What may go on of the next piece.
    fn piece(&mut self, piece: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (plain, found) = self.shown.hidden.in_piece(&mut self.held, piece);
        self.outcome.masked += found;
        self.masked(plain)
    }

    fn masked(&mut self, plain: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        self.rewriter.push(plain).map_err(|_| NOT_MASKABLE)
    }

    /// What is decoded of what came in; without a coding nothing is.
    fn decoded(&mut self) -> Result<Decoded, &'static str> {
        match &mut self.decoder {
            Some(decoder) => decoder.step().map_err(Undecodable::as_str),
            None => Ok(Decoded::More),
        }
    }

    fn piece_of_decoder(&mut self, length: usize) -> Result<Vec<u8>, &'static str> {
        let Some(decoder) = self.decoder.take() else { return Ok(Vec::new()) };
        let piece = self.piece(decoder.decoded(length));
        self.decoder = Some(decoder);
        piece
    }

    /// What is left at the end, which has come.
    fn end(&mut self) -> Result<Option<Bytes>, &'static str> {
        let last = self.last()?;
        self.admit(&last)?;
        self.finish(None);
        Ok((!last.is_empty()).then(|| Bytes::from(last)))
    }

    /// What is left at the end.
    fn last(&mut self) -> Result<Vec<u8>, &'static str> {
        let held = std::mem::take(&mut self.held);
        let mut out = self.masked(held)?;
        out.append(&mut self.rewriter.finish().map_err(|_| NOT_MASKABLE)?);
        Ok(out)
    }

    /// Takes bytes from the budgets, if they may pass.
    fn admit(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let size = bytes.len() as u64;
        if let Some(meter) = &mut self.meter
            && meter.admit(std::iter::once((0, size))).exceeded.is_some()
        {
            return Err("budget");
        }
        self.outcome.bytes += size;
        if let Some(keep) = &mut self.keep {
            keep.pass(bytes);
            keep.flush();
        }
        Ok(())
    }

    fn finish(&mut self, error: Option<&str>) {
        self.done = true;
        if let Some(running) = self.running.take() {
            let mut outcome = std::mem::take(&mut self.outcome);
            outcome.detected = self.rewriter.found();
            outcome.masked += self.rewriter.masked() + outcome.detected.values().sum::<u64>();
            outcome.kept = self.keep.take().map(Keep::finish);
            outcome.budget = self.meter.as_ref().and_then(Meter::exceeded);
            if let Some(error) = error {
                outcome.error = Some(error.to_owned());
            }
            running.finish(outcome);
        }
    }

    /// The next bytes that go on, when they are recorded if they are to be.
    fn recorded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, &'static str>> {
        if self.waits.as_ref().is_none_or(|waits| waits.waiting.is_none()) {
            let next = ready!(self.next(cx))?;
            match (next, &mut self.waits) {
                (Some(bytes), Some(waits)) => waits.waiting = Some((bytes, (waits.recorded)())),
                (next, _) => return Poll::Ready(Ok(next)),
            }
        }
        let Some((_, recorded)) = self.waits.as_mut().and_then(|waits| waits.waiting.as_mut())
        else {
            return Poll::Ready(Ok(None));
        };
        let is_recorded = ready!(recorded.as_mut().poll(cx));
        let waited = self.waits.as_mut().and_then(|waits| waits.waiting.take());
        Poll::Ready(match waited {
            Some((bytes, _)) if is_recorded => Ok(Some(bytes)),
            Some(_) | None => Err("not recorded"),
        })
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, &'static str>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(None));
            }
            if let Poll::Ready(why) = self.cut.as_mut().poll(cx) {
                if why == TIME
                    && let Some(meter) = &mut self.meter
                {
                    let _ = meter.out_of_time();
                }
                return Poll::Ready(Err(why));
            }
            let piece = match self.decoded()? {
                Decoded::Bytes(length) => self.piece_of_decoder(length)?,
                Decoded::End => return Poll::Ready(self.end()),
                Decoded::More => match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                    Some(Ok(frame)) => match (frame.into_data(), &mut self.decoder) {
                        (Ok(data), Some(decoder)) => {
                            decoder.feed(data);
                            continue;
                        }
                        (Ok(data), None) => self.piece(&data)?,
                        // Trailers do not go on.
                        (Err(_), _) => continue,
                    },
                    Some(Err(_)) => return Poll::Ready(Err("lost")),
                    None => match &mut self.decoder {
                        Some(decoder) => {
                            decoder.end();
                            continue;
                        }
                        None => return Poll::Ready(self.end()),
                    },
                },
            };
            if !piece.is_empty() {
                self.admit(&piece)?;
                // Nobody asks for more than was promised.
                if self.length == Some(self.outcome.bytes) {
                    self.finish(None);
                }
                return Poll::Ready(Ok(Some(piece.into())));
            }
        }
    }
}

/// Why one is cut off that turns out not to be what its head says.
const NOT_MASKABLE: &str = "not maskable";

/// Why an answer is cut off at the budget of time.
pub(super) const TIME: &str = "time";

impl Drop for Passed {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.finish(Some("lost"));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => match ready!(passed.recorded(cx)) {
                Ok(bytes) => Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes)))),
                Err(why) => {
                    passed.finish(Some(why));
                    Poll::Ready(Some(Err(io::Error::other(why))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passed(passed) => {
                passed.done && passed.waits.as_ref().is_none_or(|waits| waits.waiting.is_none())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |it| it.len() as u64))
            }
            Self::Passed(passed) => match passed.length {
                Some(length) => SizeHint::with_exact(length),
                None => SizeHint::default(),
            },
        }
    }
}

impl From<Bytes> for Answer {
    fn from(bytes: Bytes) -> Self {
        Self::Own(Some(bytes))
    }
}
