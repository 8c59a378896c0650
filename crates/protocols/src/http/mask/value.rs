//! One value as it is written in JSON in, a hidden one of the same kind out.

use guard_core::{Mask, Masking, Stability};

use super::lexer::InNumber;
use crate::postgres::mask::{ColumnMasker, ColumnType, Format, MaskKeys, Scratch, oid};

/// What stands for a text that could not be hidden in a better way.
const REDACTED: &[u8] = b"\"[masked]\"";
const REDACTED_TEXT: &[u8] = b"[masked]";

/// Hides values, with each mask that there is. Texts and numbers are hidden as those of columns are, so that what is equal stays equal
/// across the protocols of a session.
pub(in super::super) struct Hider {
    ways: [Way; WAYS.len()],
    scratch: Scratch,
}

struct Way {
    masking: Masking,
    text: ColumnMasker,
    integer: ColumnMasker,
    number: ColumnMasker,
}

const WAYS: [(Mask, Stability); 10] = [
    (Mask::Redact, Stability::Run),
    (Mask::Null, Stability::Run),
    (Mask::Hash, Stability::Run),
    (Mask::Format, Stability::Run),
    (Mask::Partial, Stability::Run),
    (Mask::Redact, Stability::Always),
    (Mask::Null, Stability::Always),
    (Mask::Hash, Stability::Always),
    (Mask::Format, Stability::Always),
    (Mask::Partial, Stability::Always),
];

impl Hider {
    /// With the session's key and a lasting one, if the resource has one.
    pub(in super::super) fn new(run: &[u8], lasting: Option<&[u8]>) -> Self {
        let keys = MaskKeys::new(run, lasting);
        let ways = WAYS.map(|(mask, stable)| {
            let masking = Masking { mask, stable };
            let column = |oid| ColumnType { oid, modifier: -1, not_null: false };
            Way {
                masking,
                text: ColumnMasker::new(masking, column(oid::TEXT), &keys),
                integer: ColumnMasker::new(masking, column(oid::INT8), &keys),
                number: ColumnMasker::new(masking, column(oid::NUMERIC), &keys),
            }
        });
        Self { ways, scratch: Scratch::default() }
    }

    /// A string with its quotes; `None` if it was too long to be held.
    pub(super) fn string(&mut self, masking: Masking, raw: Option<&[u8]>, out: &mut Vec<u8>) {
        let Self { ways, scratch } = self;
        match masking.mask {
            Mask::Null => return out.extend_from_slice(b"null"),
            Mask::Redact => return out.extend_from_slice(REDACTED),
            Mask::Hash | Mask::Format | Mask::Partial => {}
        }
        let way = ways.iter().find(|way| way.masking == masking);
        // What has half a surrogate pair has no text.
        let text = raw.and_then(|raw| serde_json::from_slice::<String>(raw).ok());
        let hidden = way.zip(text).and_then(|(way, text)| {
            let hidden = way.text.mask(text.as_bytes(), Format::Text, scratch)?;
            let hidden = std::str::from_utf8(hidden).ok()?;
            serde_json::to_string(hidden).ok()
        });
        out.extend_from_slice(hidden.as_ref().map_or(REDACTED, |hidden| hidden.as_bytes()));
    }

    /// A text as it is meant; `None` if it was too long to be held. What comes back is none where there is to be nothing.
    pub(in super::super) fn text(
        &mut self,
        masking: Masking,
        text: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let Self { ways, scratch } = self;
        match masking.mask {
            Mask::Null => return None,
            Mask::Redact => return Some(REDACTED_TEXT.to_vec()),
            Mask::Hash | Mask::Format | Mask::Partial => {}
        }
        let way = ways.iter().find(|way| way.masking == masking);
        let text = text.filter(|text| std::str::from_utf8(text).is_ok());
        let hidden =
            way.zip(text).and_then(|(way, text)| way.text.mask(text, Format::Text, scratch));
        Some(hidden.unwrap_or(REDACTED_TEXT).to_vec())
    }

    /// A number; `None` if it was too long to be held.
    pub(super) fn number(&mut self, masking: Masking, raw: Option<&[u8]>, out: &mut Vec<u8>) {
        let Self { ways, scratch } = self;
        if masking.mask == Mask::Null {
            out.extend_from_slice(b"null");
            return;
        }
        let way = ways.iter().find(|way| way.masking == masking);
        let hidden = way.zip(raw).and_then(|(way, raw)| {
            let is_plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            // What is written with an exponent has no digits to keep.
            if !raw.iter().all(is_plain) {
                return None;
            }
            let is_integer = std::str::from_utf8(raw).is_ok_and(|raw| raw.parse::<i64>().is_ok());
            let masker = if is_integer { &way.integer } else { &way.number };
            masker.mask(raw, Format::Text, scratch).filter(|hidden| is_number(hidden))
        });
        out.extend_from_slice(hidden.unwrap_or(b"0"));
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
