//! A body as it goes on, while it comes in: fields masked, and hidden what detectors find in the rest.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use guard_core::Detector;

use super::mask::{EventsMasker, FormMasker, JsonMasker, LinesMasker, Looker, Malformed};

/// Masks a text of one kind.
pub(super) enum Masker {
    Json(JsonMasker),
    Lines(LinesMasker),
    Events(EventsMasker),
    /// Detectors look in it, too.
    Form(FormMasker),
}

/// Rewrites one body.
#[derive(Default)]
pub(super) struct Rewriter {
    // Most answers have neither.
    masker: Option<Box<Masker>>,
    looker: Option<Box<Looker>>,
    /// What the masker gave.
    masked: Vec<u8>,
}

impl Rewriter {
    pub(super) fn new(masker: Option<Masker>, looker: Option<Looker>) -> Self {
        Self { masker: masker.map(Box::new), looker: looker.map(Box::new), masked: Vec::new() }
    }

    /// Whether a body goes on as it is.
    pub(super) const fn is_empty(&self) -> bool {
        self.masker.is_none() && self.looker.is_none()
    }

    /// What may go on of the next bytes.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<Bytes, Malformed> {
        if self.is_empty() {
            return Ok(piece);
        }
        let out = self.step(&piece, |masker, out| masker.push(&piece, out))?;
        Ok(out.into())
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut out = self.step(&[], Masker::finish)?;
        if let Some(looker) = &mut self.looker {
            looker.finish(&mut out);
        }
        Ok(out)
    }

    fn step(
        &mut self,
        piece: &[u8],
        with: impl FnOnce(&mut Masker, &mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        match (&mut self.masker, &mut self.looker) {
            (None, None) => out.extend_from_slice(piece),
            (Some(masker), None) => {
                out.reserve(piece.len());
                with(masker, &mut out)?;
            }
            (None, Some(looker)) => {
                out.reserve(piece.len());
                looker.push(piece, &mut out);
            }
            (Some(masker), Some(looker)) => {
                self.masked.clear();
                with(masker, &mut self.masked)?;
                out.reserve(self.masked.len());
                let mut at = 0;
                for Range { start, end } in masker.take_hidden() {
                    looker.push(self.masked.get(at..start).unwrap_or_default(), &mut out);
                    looker.push_hidden(self.masked.get(start..end).unwrap_or_default(), &mut out);
                    at = end;
                }
                looker.push(self.masked.get(at..).unwrap_or_default(), &mut out);
            }
        }
        Ok(out)
    }

    /// How many values were masked.
    pub(super) fn masked(&self) -> u64 {
        self.masker.as_ref().map_or(0, |masker| masker.masked())
    }

    /// What detectors found, and how often.
    pub(super) fn found(&self) -> BTreeMap<Detector, u64> {
        let in_form = match self.masker.as_deref() {
            Some(Masker::Form(form)) => Some(form.found()),
            Some(Masker::Json(_) | Masker::Lines(_) | Masker::Events(_)) | None => None,
        };
        let looked = self.looker.as_deref().map(Looker::found);
        in_form.into_iter().flatten().chain(looked.into_iter().flatten()).collect()
    }
}

impl Masker {
    /// Takes the next bytes, and appends what may go on.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Json(masker) => masker.push(piece, out),
            Self::Lines(masker) => masker.push(piece, out),
            Self::Events(masker) => masker.push(piece, out),
            Self::Form(masker) => {
                masker.push(piece, out);
                Ok(())
            }
        }
    }

    /// Says that there is no more.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Json(masker) => masker.finish(out),
            Self::Lines(masker) => masker.finish(out),
            Self::Events(masker) => masker.finish(),
            Self::Form(masker) => {
                masker.finish(out);
                Ok(())
            }
        }
    }

    /// Where hidden values are in what was appended.
    fn take_hidden(&mut self) -> Vec<Range<usize>> {
        match self {
            Self::Json(masker) => masker.take_hidden(),
            Self::Lines(masker) => masker.take_hidden(),
            Self::Events(masker) => masker.take_hidden(),
            Self::Form(_) => Vec::new(),
        }
    }

    /// How many values were hidden.
    const fn masked(&self) -> u64 {
        match self {
            Self::Json(masker) => masker.masked(),
            Self::Lines(masker) => masker.masked(),
            Self::Events(masker) => masker.masked(),
            Self::Form(masker) => masker.masked(),
        }
    }
}
