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
use hyper::{
    HeaderMap,
    body::{Body, Frame, Incoming, SizeHint},
};

use super::{
    credential::Shown,
    decode::{Decoded, Decoder, Undecodable},
    keep::{Keep, Waits},
    rewrite::Rewriter,
    trailers,
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
    /// What stands behind it.
    pub(super) trailing: Trailing,
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

/// What stands behind a body.
pub(super) enum Trailing {
    /// Nothing yet that could go on.
    Nothing,
    /// It does not go on: fields of the answer are masked.
    Dropped,
    /// As it came.
    Sent(HeaderMap),
    /// As it goes on, once all else is gone.
    Kept(HeaderMap),
}

impl Trailing {
    fn came(&mut self, sent: HeaderMap) {
        if matches!(self, Self::Nothing) {
            *self = Self::Sent(sent);
        }
    }
}

impl Passed {
    /// What may go on of the next piece.
    fn piece(&mut self, piece: Bytes) -> Result<Bytes, &'static str> {
        let (plain, found) = self.shown.hidden.in_piece(&mut self.held, piece);
        self.outcome.masked += found;
        self.masked(plain)
    }

    fn masked(&mut self, plain: Bytes) -> Result<Bytes, &'static str> {
        self.rewriter.push(plain).map_err(|_| NOT_MASKABLE)
    }

    /// What is decoded of what came in; without a coding nothing is.
    fn decoded(&mut self) -> Result<Decoded, &'static str> {
        match &mut self.decoder {
            Some(decoder) => decoder.step().map_err(Undecodable::as_str),
            None => Ok(Decoded::More),
        }
    }

    fn piece_of_decoder(&mut self, length: usize) -> Result<Bytes, &'static str> {
        let Some(decoder) = &self.decoder else { return Ok(Bytes::new()) };
        self.piece(Bytes::copy_from_slice(decoder.decoded(length)))
    }

    /// What is left at the end, which has come. Trailers are behind it, without what was held back, which is another frame.
    fn end(&mut self) -> Result<Option<Frame<Bytes>>, &'static str> {
        let last = self.last()?;
        self.admit(&last)?;
        match std::mem::replace(&mut self.trailing, Trailing::Nothing) {
            Trailing::Sent(sent) => {
                let kept = trailers::of_answer(&sent, &self.shown);
                let kept = kept.map_err(|_| "unsound trailers")?;
                self.count(trailers::size(&kept))?;
                self.trailing = Trailing::Kept(kept);
            }
            Trailing::Nothing | Trailing::Dropped | Trailing::Kept(_) => self.finish(None),
        }
        Ok((!last.is_empty()).then(|| Frame::data(last)))
    }

    /// What is left at the end.
    fn last(&mut self) -> Result<Bytes, &'static str> {
        let (rest, found) = self.shown.hidden.in_rest(std::mem::take(&mut self.held));
        self.outcome.masked += found;
        let out = self.masked(rest.into())?;
        let last = self.rewriter.finish().map_err(|_| NOT_MASKABLE)?;
        Ok(if last.is_empty() { out } else { [&*out, &last].concat().into() })
    }

    /// Takes bytes from the budgets, if they may pass, and keeps them for the record.
    fn admit(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.count(bytes.len() as u64)?;
        if let Some(keep) = &mut self.keep {
            keep.pass(bytes);
            keep.flush();
        }
        Ok(())
    }

    fn count(&mut self, size: u64) -> Result<(), &'static str> {
        if let Some(meter) = &mut self.meter
            && meter.admit(std::iter::once((0, size))).exceeded.is_some()
        {
            return Err("budget");
        }
        self.outcome.bytes += size;
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

    /// What goes on next, when it is recorded if it is to be.
    fn recorded(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, &'static str>> {
        if self.waits.as_ref().is_none_or(|waits| waits.waiting.is_none()) {
            let next = ready!(self.next(cx))?;
            let Some(waits) = &mut self.waits else { return Poll::Ready(Ok(next)) };
            match next.map(Frame::into_data) {
                Some(Ok(bytes)) => waits.waiting = Some((bytes, (waits.recorded)())),
                Some(Err(trailers)) => return Poll::Ready(Ok(Some(trailers))),
                None => return Poll::Ready(Ok(None)),
            }
        }
        let Some((_, recorded)) = self.waits.as_mut().and_then(|waits| waits.waiting.as_mut())
        else {
            return Poll::Ready(Ok(None));
        };
        let is_recorded = ready!(recorded.as_mut().poll(cx));
        let waited = self.waits.as_mut().and_then(|waits| waits.waiting.take());
        Poll::Ready(match waited {
            Some((bytes, _)) if is_recorded => Ok(Some(Frame::data(bytes))),
            Some(_) | None => Err("not recorded"),
        })
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, &'static str>> {
        loop {
            if let Trailing::Kept(trailers) = &mut self.trailing {
                let trailers = std::mem::take(trailers);
                self.trailing = Trailing::Nothing;
                self.finish(None);
                return Poll::Ready(Ok(Some(Frame::trailers(trailers))));
            }
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
                Decoded::End => match self.end()? {
                    Some(last) => return Poll::Ready(Ok(Some(last))),
                    None => continue,
                },
                Decoded::More => match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                    Some(Ok(frame)) => match (frame.into_data(), &mut self.decoder) {
                        (Ok(data), Some(decoder)) => {
                            decoder.feed(data);
                            continue;
                        }
                        (Ok(data), None) => self.piece(data)?,
                        (Err(frame), _) => {
                            self.trailing.came(frame.into_trailers().unwrap_or_default());
                            continue;
                        }
                    },
                    Some(Err(_)) => return Poll::Ready(Err("lost")),
                    None => match &mut self.decoder {
                        Some(decoder) => {
                            decoder.end();
                            continue;
                        }
                        None => match self.end()? {
                            Some(last) => return Poll::Ready(Ok(Some(last))),
                            None => continue,
                        },
                    },
                },
            };
            if !piece.is_empty() {
                self.admit(&piece)?;
                // Nobody asks for more than was promised.
                if self.length == Some(self.outcome.bytes) {
                    self.finish(None);
                }
                return Poll::Ready(Ok(Some(Frame::data(piece))));
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
                Ok(frame) => Poll::Ready(frame.map(Ok)),
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
        Self::Own((!bytes.is_empty()).then_some(bytes))
    }
}
