//! One value as it is written in JSON in, a hidden one of the same kind out.

use std::io::Write as _;

use guard_core::{Mask, Masking};

use super::lexer::InNumber;
use crate::mask::{
    MASKED, MAX_VALUE, MaskKeys, Room, hash_integer, hash_text, partial, shape_decimal,
    shape_integer, shape_text,
};

/// What stands for a string that could not be hidden in a better way.
const REDACTED: &[u8] = b"\"[masked]\"";

/// Hides values.
pub(in super::super) struct Hider {
    keys: MaskKeys,
    room: Room,
    hidden: Vec<u8>,
}

impl Hider {
    /// With the session's key and a lasting one, if the resource has one.
    pub(in super::super) fn new(run: &[u8], lasting: Option<&[u8]>) -> Self {
        let keys = MaskKeys::new(run, lasting);
        Self { keys, room: Room::default(), hidden: Vec::new() }
    }

    /// A string with its quotes; `None` if it was too long to be held.
    pub(super) fn string(&mut self, masking: Masking, raw: Option<&[u8]>, out: &mut Vec<u8>) {
        match masking.mask {
            Mask::Null => return out.extend_from_slice(b"null"),
            Mask::Redact => return out.extend_from_slice(REDACTED),
            Mask::Hash | Mask::Format | Mask::Partial => {}
        }
        // What has half a surrogate pair has no text.
        let text = raw.and_then(|raw| serde_json::from_slice::<String>(raw).ok());
        let hidden = text.and_then(|text| {
            let hidden = self.hide(masking, text.as_bytes())?;
            serde_json::to_string(std::str::from_utf8(hidden).ok()?).ok()
        });
        out.extend_from_slice(hidden.as_ref().map_or(REDACTED, |hidden| hidden.as_bytes()));
    }

    /// A text as it is meant; `None` if it was too long to be held. What comes back is none where there is to be nothing.
    pub(in super::super) fn text(
        &mut self,
        masking: Masking,
        text: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        if masking.mask == Mask::Null {
            return None;
        }
        let text = text.filter(|text| std::str::from_utf8(text).is_ok());
        let hidden = text.and_then(|text| self.hide(masking, text));
        Some(hidden.unwrap_or(MASKED.as_bytes()).to_vec())
    }

    /// The hidden form of a text; `None` is to be redacted.
    fn hide(&mut self, masking: Masking, text: &[u8]) -> Option<&[u8]> {
        let Self { keys, room, hidden } = self;
        let key = keys.of(masking.stable);
        hidden.clear();
        if text.len() > MAX_VALUE {
            return None;
        }
        match masking.mask {
            Mask::Null | Mask::Redact => return None,
            Mask::Hash => hash_text(key, text, usize::MAX, hidden),
            Mask::Format => shape_text(key, text, usize::MAX, room, hidden),
            Mask::Partial => partial(text, hidden),
        }
        Some(hidden)
    }

    /// A number; `None` if it was too long to be held.
    pub(super) fn number(&mut self, masking: Masking, raw: Option<&[u8]>, out: &mut Vec<u8>) {
        if masking.mask == Mask::Null {
            return out.extend_from_slice(b"null");
        }
        let Self { keys, room, hidden } = self;
        let key = keys.of(masking.stable);
        hidden.clear();
        let integer = raw.and_then(|raw| std::str::from_utf8(raw).ok()?.parse::<i64>().ok());
        let done = match (masking.mask, integer, raw) {
            (Mask::Hash, Some(number), _) => write!(hidden, "{}", hash_integer(key, number)).ok(),
            (Mask::Format, Some(number), _) => {
                write!(hidden, "{}", shape_integer(key, number)).ok()
            }
            // What is written with an exponent has no digits to keep.
            (Mask::Format, None, Some(raw)) => shape_decimal(key, raw, room, hidden),
            (Mask::Hash, None, _)
            | (Mask::Format, None, None)
            | (Mask::Null | Mask::Redact | Mask::Partial, _, _) => None,
        };
        let done = done.is_some() && is_number(hidden);
        out.extend_from_slice(if done { hidden } else { b"0" });
    }

    /// True or false.
    pub(super) fn boolean(masking: Masking) -> &'static [u8] {
        if masking.mask == Mask::Null { b"null" } else { b"false" }
    }
}

/// Whether JSON takes it for a number: other writers put zeros before it, or a point at its end.
fn is_number(text: &[u8]) -> bool {
    let first = text.first().and_then(|byte| InNumber::first(*byte));
    let last = text.iter().skip(1).try_fold(first, |state, byte| state?.next(*byte).map(Some));
    last.flatten().is_some_and(InNumber::is_whole)
}
