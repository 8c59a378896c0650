//! One value in, one hidden value of the same type out.

use std::sync::Arc;

use guard_core::{Detectors, Mask, Masking, Stability};

use super::{
    MAX_DETECTED,
    how::{Detected, How},
    moments::shape_moment,
    numbers::{Integer, read_numeric},
    shape_numbers::{shape_double, shape_numeric, shape_single},
    types::{self, ColumnType, Format, Redacted, UserType},
};
use crate::{
    detect::{self, Found},
    mask::{
        MAX_VALUE, MaskKey, MaskKeys, Purpose, Room, hash_integer, hash_text, hash_uuid,
        hash_uuid_text, partial, permute, shape_integer, shape_text,
    },
};

/// Hides the values of one column.
#[derive(Clone)]
pub(crate) struct ColumnMasker {
    how: How,
    mask: Mask,
    key: MaskKey,
    redacted: Option<Redacted>,
    /// The labels of an enum.
    labels: Option<Arc<[Arc<str>]>>,
}

/// Room in which a value is hidden, used again for the next one.
#[derive(Default)]
pub(crate) struct Scratch {
    out: Vec<u8>,
    room: Room,
    decimal: Vec<u8>,
    masked: u64,
    found: Found,
}

impl Scratch {
    /// Counts a value that was hidden.
    pub(super) fn count(&mut self) {
        self.masked += 1;
    }

    /// Values that were hidden since this was asked the last time.
    pub(super) fn take_masked(&mut self) -> u64 {
        std::mem::take(&mut self.masked)
    }

    /// What detectors found so far.
    pub(super) const fn found(&self) -> Found {
        self.found
    }
}

impl ColumnMasker {
    /// A masker for a column.
    pub(crate) fn new(masking: Masking, column: ColumnType, keys: &MaskKeys) -> Self {
        Self {
            how: How::of(masking.mask, column),
            mask: masking.mask,
            key: keys.of(masking.stable).clone(),
            redacted: types::redacted(column.oid, column.modifier),
            labels: None,
        }
    }

    /// The same for a column of a type that somebody made.
    pub(crate) fn of_user_type(mut self, user_type: &UserType) -> Self {
        self.redacted = user_type.redacted();
        if let UserType::Enum(labels) = user_type
            && matches!(self.mask, Mask::Hash | Mask::Format)
        {
            self.how = How::Label;
            self.labels = Some(labels.clone());
        }
        self
    }

    /// A masker that hides what detectors find in a column; `None` if they cannot find anything there.
    pub(crate) fn detecting(
        detectors: Detectors,
        column: ColumnType,
        keys: &MaskKeys,
    ) -> Option<Self> {
        if detectors.is_empty() {
            return None;
        }
        Some(Self {
            how: How::Detect { detectors, what: Detected::of(column)? },
            mask: Mask::Redact,
            key: keys.of(Stability::Run).clone(),
            redacted: types::redacted(column.oid, column.modifier),
            labels: None,
        })
    }

    /// Whether it only looks for what detectors find.
    pub(super) const fn is_detecting(&self) -> bool {
        matches!(self.how, How::Detect { .. })
    }

    /// Longest value that is read whole, in bytes.
    pub(super) const fn longest(&self) -> usize {
        if self.is_detecting() { MAX_DETECTED } else { MAX_VALUE }
    }

    /// The hidden form of a value that is not NULL; `None` is NULL. `scratch` is room for it.
    pub(crate) fn mask<'a>(
        &'a self,
        value: &[u8],
        format: Format,
        scratch: &'a mut Scratch,
    ) -> Option<&'a [u8]> {
        let Self { how, key, .. } = self;
        let Scratch { out, room, decimal, masked, found } = scratch;
        out.clear();
        if let How::Detect { detectors, what } = *how {
            return match detect(detectors, what, value, format, decimal, out, found) {
                Finding::Nothing => Some(out),
                Finding::Hidden => {
                    *masked += 1;
                    Some(out)
                }
                Finding::Whole => {
                    *masked += 1;
                    self.redact(format)
                }
            };
        }
        *masked += 1;
        if value.len() > MAX_VALUE {
            return self.redact(format);
        }
        let hidden = match *how {
            How::Null => return None,
            How::Redact | How::Detect { .. } => None,
            How::HashText { capacity, padded } => {
                let value = if padded { value.trim_ascii_end() } else { value };
                hash_text(key, value, capacity, out);
                Some(())
            }
            How::HashInteger(integer) => integer.read(value, format).map(|number| {
                integer.write(hash_integer(key, number), format, out);
            }),
            How::Uuid => match format {
                Format::Text => hash_uuid_text(key, value, out),
                Format::Binary => {
                    value.try_into().ok().map(|id| out.extend_from_slice(&hash_uuid(key, id)))
                }
            },
            How::Partial => {
                partial(value, out);
                Some(())
            }
            How::ShapeText { capacity, padded } => {
                let bare = if padded { value.trim_ascii_end() } else { value };
                shape_text(key, bare, capacity, room, out);
                // What is longer or shorter now is no shape to be filled up.
                if out.len() == bare.len() {
                    out.extend(std::iter::repeat_n(b' ', value.len() - bare.len()));
                }
                Some(())
            }
            How::ShapeInteger(integer) => integer.read(value, format).map(|number| {
                integer.write(shape_integer(key, number), format, out);
            }),
            How::ShapeNumeric => shape_numeric(key, value, format, room, decimal, out),
            How::ShapeDouble => shape_double(key, value, format, out),
            How::ShapeSingle => shape_single(key, value, format, out),
            How::ShapeMoment(moment) => shape_moment(key, value, moment, format, out),
            How::Label => self.labels.as_deref().and_then(|labels| label(key, value, labels, out)),
        };
        match hidden {
            Some(()) => Some(out),
            None => self.redact(format),
        }
    }

    /// The hidden form of a value that is too long to be read.
    pub(super) fn redact(&self, format: Format) -> Option<&[u8]> {
        if matches!(self.how, How::Null) {
            return None;
        }
        let redacted = self.redacted.as_ref()?;
        Some(match format {
            Format::Text => &redacted.text,
            Format::Binary => &redacted.binary,
        })
    }
}

/// Another label of an enum, or by chance the same: different ones stay different.
fn label(key: &MaskKey, value: &[u8], labels: &[Arc<str>], out: &mut Vec<u8>) -> Option<()> {
    let place = labels.iter().position(|label| label.as_bytes() == value)?;
    let hidden = permute(key, Purpose::Label, place as u64, labels.len() as u64);
    let label = usize::try_from(hidden).ok().and_then(|hidden| labels.get(hidden))?;
    out.extend_from_slice(label.as_bytes());
    Some(())
}

/// What detectors made of a value.
enum Finding {
    Nothing,
    Hidden,
    /// The value as a whole is to be redacted.
    Whole,
}

/// Appends a value with what detectors find hidden.
fn detect(
    detectors: Detectors,
    what: Detected,
    value: &[u8],
    format: Format,
    decimal: &mut Vec<u8>,
    out: &mut Vec<u8>,
    found: &mut Found,
) -> Finding {
    out.extend_from_slice(value);
    decimal.clear();
    let is_number = match (what, format) {
        (Detected::Text | Detected::Mixed, _) => {
            let numbers = what == Detected::Mixed;
            let hidden = detect::hide(detectors, out, numbers, found);
            return if hidden { Finding::Hidden } else { Finding::Nothing };
        }
        (Detected::Integer | Detected::Numeric, Format::Text) => {
            decimal.extend_from_slice(value);
            true
        }
        (Detected::Integer, Format::Binary) => match Integer::Int8.read(value, format) {
            Some(number) => {
                Integer::Int8.write(number, Format::Text, decimal);
                true
            }
            None => false,
        },
        (Detected::Numeric, Format::Binary) => read_numeric(value, decimal).is_some(),
    };
    let digits = decimal.strip_prefix(b"-").unwrap_or(decimal);
    if is_number && detect::is_card_number(detectors, digits, found) {
        Finding::Whole
    } else {
        Finding::Nothing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{super::types::oid, *};

    fn masker(mask: Mask, oid: u32, modifier: i32) -> ColumnMasker {
        let column = ColumnType { oid, modifier, not_null: false };
        ColumnMasker::new(mask.into(), column, &MaskKeys::new(b"key", None))
    }

    fn text(masker: &ColumnMasker, value: &str) -> String {
        let mut scratch = Scratch::default();
        let masked = masker.mask(value.as_bytes(), Format::Text, &mut scratch);
        masked.map_or("NULL".into(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn values_are_hidden_as_the_policy_says() {
        const NONE: i32 = -1;
        let cases = [
            (Mask::Redact, oid::TEXT, NONE, "s3cret", "[masked]"),
            (Mask::Redact, oid::TEXT, NONE, "", "[masked]"),
            (Mask::Redact, oid::VARCHAR, 4 + 3, "abc", "[ma"),
            (Mask::Redact, oid::VARCHAR, 4, "abc", "[masked]"),
            (Mask::Redact, oid::BPCHAR, 4 + 1, "a", "["),
            (Mask::Redact, oid::CHAR, NONE, "a", "["),
            (Mask::Redact, oid::INT4, NONE, "42", "0"),
            (Mask::Redact, oid::BIT, 3, "101", "000"),
            (Mask::Redact, oid::BIT, NONE, "1", "0"),
            (Mask::Redact, oid::BIT, 83_886_080, "1", "NULL"),
            (Mask::Redact, 1009, NONE, "{s3cret}", "{}"),
            (Mask::Redact, 0, NONE, "s3cret", "NULL"),
            (Mask::Redact, 99_999, NONE, "s3cret", "NULL"),
            (Mask::Null, oid::TEXT, NONE, "s3cret", "NULL"),
            (Mask::Partial, oid::TEXT, NONE, "4111-1111 1111-1234", "****-**** ****-1234"),
            (Mask::Partial, oid::TEXT, NONE, "4111111111111234", "************1234"),
            (Mask::Partial, oid::TEXT, NONE, "12345", "*2345"),
            (Mask::Partial, oid::TEXT, NONE, "1234", "****"),
            (Mask::Partial, oid::TEXT, NONE, "1-2-3-4", "*-*-*-*"),
            (Mask::Partial, oid::TEXT, NONE, "", ""),
            (Mask::Partial, oid::TEXT, NONE, "Zoë Müßli", "*** *üßli"),
            (Mask::Partial, oid::BPCHAR, 4 + 10, "abcdef    ", "**cdef    "),
            (Mask::Partial, oid::INT8, NONE, "4111111111111234", "0"),
            (Mask::Format, oid::JSON, NONE, "{}", "\"[masked]\""),
            (Mask::Hash, oid::DATE, NONE, "2020-01-01", "1970-01-01"),
            (Mask::Hash, oid::INT4, NONE, "not a number", "0"),
            (Mask::Hash, oid::UUID, NONE, "not an id", "00000000-0000-0000-0000-000000000000"),
        ];
        for (mask, oid, modifier, value, expected) in cases {
            assert_eq!(
                text(&masker(mask, oid, modifier), value),
                expected,
                "{mask:?} {oid} {value}"
            );
        }
    }

    #[test]
    fn a_column_that_takes_no_null_gets_none() {
        let column = ColumnType { oid: oid::TEXT, modifier: -1, not_null: true };
        let masker = ColumnMasker::new(Mask::Null.into(), column, &MaskKeys::new(b"key", None));
        assert_eq!(text(&masker, "s3cret"), "[masked]");
    }

    #[test]
    fn hashes_look_like_what_was_hashed() {
        let hash = masker(Mask::Hash, oid::TEXT, -1);
        let plain = text(&hash, "s3cret");
        assert_eq!(plain.len(), 32);
        assert!(plain.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(text(&hash, "s3cret"), plain);
        assert_ne!(text(&hash, "S3cret"), plain);
        assert!(text(&hash, "a@example.com").ends_with("@masked.invalid"));
        for no_address in ["a@b", "@example.com", "a@b.c d", "a@b@c.d", "a b@c.d"] {
            assert!(!text(&hash, no_address).contains('@'), "{no_address}");
        }
        let short = masker(Mask::Hash, oid::VARCHAR, 4 + 12);
        assert_eq!(text(&short, "a@example.com").len(), 12);
        assert!(plain.starts_with(&text(&short, "s3cret")));
        // A padded text is the same text.
        let padded = masker(Mask::Hash, oid::BPCHAR, 4 + 40);
        assert_eq!(text(&padded, "s3cret   "), plain);

        let id = text(&masker(Mask::Hash, oid::UUID, -1), "0189D1A0-0000-7000-8000-000000000001");
        assert_eq!(
            id,
            text(&masker(Mask::Hash, oid::UUID, -1), "{0189d1a0000070008000000000000001}")
        );
        assert_eq!((id.len(), id.get(14..15)), (36, Some("4")));

        let column = ColumnType { oid: oid::TEXT, modifier: -1, not_null: false };
        let other =
            ColumnMasker::new(Mask::Hash.into(), column, &MaskKeys::new(b"another key", None));
        assert_ne!(text(&other, "s3cret"), plain);
    }

    #[test]
    fn a_padded_text_keeps_its_shape_and_its_blanks() {
        let shape = masker(Mask::Format, oid::BPCHAR, 4 + 40);
        let hidden = text(&shape, "ab-12     ");
        assert!(hidden.ends_with("     ") && hidden.len() == 10, "{hidden}");
        assert!(text(&shape, "jane@example.com            ").ends_with(".invalid"));
        assert_eq!(text(&shape, "    "), "    ");
    }

    #[test]
    fn a_number_has_one_hash_in_all_integer_types() {
        for mask in [Mask::Hash, Mask::Format] {
            for (number, types) in [
                ("12345", &[oid::INT2, oid::INT4, oid::INT8][..]),
                ("-7", &[oid::INT2, oid::INT4, oid::INT8]),
                ("1234567890", &[oid::INT4, oid::INT8]),
            ] {
                let hidden: std::collections::HashSet<_> = types
                    .iter()
                    .map(|type_oid| text(&masker(mask, *type_oid, -1), number))
                    .collect();
                assert_eq!(hidden.len(), 1, "{mask:?} {number}");
            }
        }
        let whole = text(&masker(Mask::Format, oid::NUMERIC, -1), "12345");
        assert_eq!(whole, text(&masker(Mask::Format, oid::INT8, -1), "12345"));
    }

    #[test]
    fn a_lasting_key_is_used_where_it_is_asked_for() {
        let column = ColumnType { oid: oid::TEXT, modifier: -1, not_null: false };
        let hide = |run: &[u8], lasting, stable| {
            let masking = Masking { mask: Mask::Hash, stable };
            text(&ColumnMasker::new(masking, column, &MaskKeys::new(run, lasting)), "s3cret")
        };
        let lasting = Some(&b"lasting"[..]);
        assert_eq!(
            hide(b"one", lasting, Stability::Always),
            hide(b"two", lasting, Stability::Always)
        );
        assert_ne!(hide(b"one", lasting, Stability::Run), hide(b"two", lasting, Stability::Run));
        // It never happens, and if it did nothing would be shown.
        assert_eq!(hide(b"one", None, Stability::Always), hide(b"one", None, Stability::Run));
    }

    #[test]
    fn unique_numbers_stay_unique() {
        let hash = masker(Mask::Hash, oid::INT2, -1);
        let mut seen = std::collections::HashSet::new();
        for number in 0..=i16::MAX {
            let hidden: i16 = text(&hash, &number.to_string()).parse().unwrap();
            assert!(hidden >= 0);
            assert!(seen.insert(hidden), "{number}");
        }
        assert_eq!(seen.len(), 32_768);
        for (oid, numbers) in [
            (oid::INT4, [0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN)]),
            (oid::INT8, [0, 1, -1, i64::MAX, i64::MIN]),
        ] {
            for number in numbers {
                let hidden: i64 =
                    text(&masker(Mask::Hash, oid, -1), &number.to_string()).parse().unwrap();
                let largest = if oid == oid::INT4 { i64::from(i32::MAX) } else { i64::MAX };
                assert!((0..=largest).contains(&hidden));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_hidden_too() {
        let mut scratch = Scratch::default();
        let partial = masker(Mask::Partial, oid::TEXT, -1);
        assert_eq!(
            partial.mask(b"\xff\xfes3cret", Format::Text, &mut scratch),
            Some(&b"****cret"[..])
        );
        assert_eq!(partial.mask(b"\xff\xfe", Format::Text, &mut scratch), Some(&b"**"[..]));
        let hash = masker(Mask::Hash, oid::TEXT, -1);
        assert_eq!(hash.mask(b"\xff", Format::Binary, &mut scratch).map(<[u8]>::len), Some(32));
        // Of the wrong length for its type.
        let number = masker(Mask::Hash, oid::INT4, -1);
        assert_eq!(number.mask(b"\x01", Format::Binary, &mut scratch), Some(&[0; 4][..]));
        let id = masker(Mask::Hash, oid::UUID, -1);
        assert_eq!(id.mask(b"\x01", Format::Binary, &mut scratch), Some(&[0; 16][..]));
    }

    #[test]
    fn what_is_too_long_is_redacted_whatever_the_mask() {
        let long = vec![b'a'; MAX_VALUE + 1];
        let mut scratch = Scratch::default();
        for (mask, expected) in [
            (Mask::Redact, Some(&b"[masked]"[..])),
            (Mask::Hash, Some(b"[masked]")),
            (Mask::Partial, Some(b"[masked]")),
            (Mask::Null, None),
        ] {
            assert_eq!(
                masker(mask, oid::TEXT, -1).mask(&long, Format::Text, &mut scratch),
                expected
            );
        }
    }
}
