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
    mask::{EventsMasker, JsonMasker, Kind, LinesMasker, Malformed},
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
    /// What stands behind it, once all else is gone.
    pub(super) trailers: Option<HeaderMap>,
    pub(super) masker: Option<Masker>,
    pub(super) meter: Option<Meter>,
    /// Done when nothing more may pass: says why.
    pub(super) cut: BoxFuture<'static, &'static str>,
    pub(super) running: Option<Running>,
    pub(super) outcome: Outcome,
    pub(super) done: bool,
}

/// Masks texts of one kind.
pub(super) enum Masker {
    Json(JsonMasker),
    Lines(LinesMasker),
    Events(EventsMasker),
}

impl Masker {
    pub(super) fn new(kind: Kind, masker: JsonMasker) -> Self {
        match kind {
            Kind::Json => Self::Json(masker),
            Kind::Lines => Self::Lines(LinesMasker::new(masker)),
            Kind::Events => Self::Events(EventsMasker::new(masker)),
        }
    }

    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Json(masker) => masker.push(piece, out),
            Self::Lines(masker) => masker.push(piece, out),
            Self::Events(masker) => masker.push(piece, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Json(masker) => masker.finish(out),
            Self::Lines(masker) => masker.finish(out),
            Self::Events(masker) => masker.finish(),
        }
    }

    const fn masked(&self) -> u64 {
        match self {
            Self::Json(masker) => masker.masked(),
            Self::Lines(masker) => masker.masked(),
            Self::Events(masker) => masker.masked(),
        }
    }
}

impl Passed {
    /// What may go on of the next piece.
    fn piece(&mut self, piece: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (plain, found) = self.shown.hidden.in_piece(&mut self.held, piece);
        self.outcome.masked += found;
        self.masked(plain)
    }

    fn masked(&mut self, plain: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        let Some(masker) = &mut self.masker else { return Ok(plain) };
        let mut out = Vec::with_capacity(plain.len());
        match masker.push(&plain, &mut out) {
            Ok(()) => Ok(out),
            Err(_) => Err("not maskable"),
        }
    }

    /// What is left at the end.
    fn last(&mut self) -> Result<Vec<u8>, &'static str> {
        let held = std::mem::take(&mut self.held);
        let mut out = self.masked(held)?;
        if let Some(masker) = &mut self.masker {
            masker.finish(&mut out).map_err(|_| "not maskable")?;
        }
        Ok(out)
    }

    /// Takes bytes from the budgets, if they may pass.
    fn admit(&mut self, size: u64) -> Result<(), &'static str> {
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
            outcome.masked += self.masker.as_ref().map_or(0, Masker::masked);
            outcome.budget = self.meter.as_ref().and_then(Meter::exceeded);
            if let Some(error) = error {
                outcome.error = Some(error.to_owned());
            }
            running.finish(outcome);
        }
    }

    /// What goes on of trailers: without what was held back before them, which is another frame.
    fn behind(&mut self, sent: &HeaderMap) -> Result<HeaderMap, &'static str> {
        let kept = trailers::of_answer(sent, &self.shown).map_err(|_| "unsound trailers")?;
        self.admit(trailers::size(&kept))?;
        Ok(kept)
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, &'static str>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
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
            let piece = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece(&data)?,
                    Err(frame) => {
                        let last = self.last()?;
                        let sent = frame.into_trailers().unwrap_or_default();
                        self.trailers = Some(self.behind(&sent)?);
                        last
                    }
                },
                Some(Err(_)) => return Poll::Ready(Err("lost")),
                None => {
                    let last = self.last()?;
                    self.admit(last.len() as u64)?;
                    self.finish(None);
                    let last = (!last.is_empty()).then(|| Frame::data(Bytes::from(last)));
                    return Poll::Ready(Ok(last));
                }
            };
            if !piece.is_empty() {
                self.admit(piece.len() as u64)?;
                // Nobody asks for more than was promised.
                if self.length == Some(self.outcome.bytes) {
                    self.finish(None);
                }
                return Poll::Ready(Ok(Some(Frame::data(piece.into()))));
            }
        }
    }
}

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
            Self::Passed(passed) => match ready!(passed.next(cx)) {
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
            Self::Passed(passed) => passed.done,
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
