//! One value in, one hidden value of the same type out.

use std::sync::Arc;

use guard_core::{Detectors, Mask, Masking, Stability};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{
    MAX_DETECTED, MAX_VALUE,
    detect::{self, Found},
    hash::{hash_integer_value, hash_text, hash_uuid},
    moments::{Moment, shape_moment},
    numbers::{Integer, read_numeric, shape_double, shape_integer, shape_numeric, shape_single},
    permute::{Purpose, permute},
    shape::{Room, shape_text},
    types::{self, Redacted, UserType, oid},
};

/// How values of a column travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the type's output function writes it.
    Text,
    /// As the type's send function writes it.
    Binary,
}

impl Format {
    /// A format code of Bind and RowDescription.
    pub(crate) const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }
}

/// What is known of a column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnType {
    /// The type's object id; of a domain its base type's, of a text type of an extension (`citext`) 25.
    /// What is not known to guard, 0 among it, can only become NULL.
    pub(crate) oid: u32,
    /// The type modifier, -1 for none.
    pub(crate) modifier: i32,
    /// Whether NULL cannot be stored: the mask `null` redacts then, so that a dump can be restored.
    pub(crate) not_null: bool,
}

impl ColumnType {
    /// Whether its values are texts.
    pub(crate) fn is_text(self) -> bool {
        types::text_capacity(self.oid, self.modifier).is_some()
    }
}

/// The key of the masks `hash` and `format`.
///
/// Whoever can have values of their own choice hashed can find out a value by trying; the key keeps everybody
/// else from it, and hashes of two sessions apart.
#[derive(Clone)]
pub(crate) struct MaskKey(Hmac<Sha256>);

impl MaskKey {
    /// Prepares a key, as [`crate::Resource::mask_key`] gives it.
    pub(crate) fn new(key: &[u8]) -> Self {
        // SHA-256 first, so that a key of any length fits the block.
        let digest: [u8; 32] = <Sha256 as sha2::Digest>::digest(key).into();
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(digest) {
            *to = from;
        }
        Self(<Hmac<Sha256> as hmac::Mac>::new(&block.into()))
    }

    pub(super) fn hash(&self, domain: u8, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(&[domain]);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

/// The keys of a session.
#[derive(Clone)]
pub(crate) struct MaskKeys {
    run: MaskKey,
    lasting: Option<MaskKey>,
}

impl MaskKeys {
    /// Prepares the session's key and the lasting one, if the resource has one.
    pub(crate) fn new(run: &[u8], lasting: Option<&[u8]>) -> Self {
        Self { run: MaskKey::new(run), lasting: lasting.map(MaskKey::new) }
    }

    /// The key for a mask. A session whose policy asks for a lasting key that is not there is not opened;
    /// should one be, its values are hidden with the session's.
    fn of(&self, stable: Stability) -> &MaskKey {
        match stable {
            Stability::Run => &self.run,
            Stability::Always => self.lasting.as_ref().unwrap_or(&self.run),
        }
    }
}

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

#[derive(Debug, Clone, Copy)]
enum How {
    Null,
    Redact,
    HashText { capacity: usize, padded: bool },
    HashInteger(Integer),
    Uuid,
    Partial,
    ShapeText { capacity: usize, padded: bool },
    ShapeInteger(Integer),
    ShapeNumeric,
    ShapeDouble,
    ShapeSingle,
    ShapeMoment(Moment),
    Label,
    Detect { detectors: Detectors, what: Detected },
}

/// In what kind of values something is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detected {
    Text,
    /// It may have numbers in it that are no texts.
    Mixed,
    Integer,
    Numeric,
}

impl Detected {
    /// What to look for in a column; `None` if there is nothing that could be found.
    const fn of(column: ColumnType) -> Option<Self> {
        match column.oid {
            oid::TEXT | oid::UNKNOWN | oid::CSTRING | oid::VARCHAR | oid::BPCHAR | oid::NAME => {
                Some(Self::Text)
            }
            oid::INT8 => Some(Self::Integer),
            oid::NUMERIC => Some(Self::Numeric),
            oid::BOOL
            | oid::BYTEA
            | oid::CHAR
            | oid::INT2
            | oid::INT4
            | oid::OID
            | oid::XID
            | oid::CID
            | oid::XID8
            | oid::XML
            | oid::POINT
            | oid::CIDR
            | oid::INET
            | oid::FLOAT4
            | oid::FLOAT8
            | oid::MACADDR
            | oid::MACADDR8
            | oid::MONEY
            | oid::DATE
            | oid::TIME
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::TIMETZ
            | oid::INTERVAL
            | oid::BIT
            | oid::VARBIT
            | oid::UUID
            | oid::PG_LSN => None,
            _ => Some(Self::Mixed),
        }
    }
}

impl How {
    /// How a mask hides values of a column. One that has no sense for the type redacts.
    fn of(mask: Mask, column: ColumnType) -> Self {
        let text = types::text_capacity(column.oid, column.modifier);
        match (mask, text) {
            (Mask::Null, _) if column.not_null => Self::Redact,
            (Mask::Null, _) => Self::Null,
            (Mask::Redact, _) | (Mask::Partial, None) => Self::Redact,
            (Mask::Partial, Some(_)) => Self::Partial,
            (Mask::Hash, Some(capacity)) => {
                Self::HashText { capacity, padded: column.oid == oid::BPCHAR }
            }
            (Mask::Format, Some(capacity)) => {
                Self::ShapeText { capacity, padded: column.oid == oid::BPCHAR }
            }
            (Mask::Hash, None) => match (Integer::of(column.oid), column.oid) {
                (Some(integer), _) => Self::HashInteger(integer),
                (None, oid::UUID) => Self::Uuid,
                (None, _) => Self::Redact,
            },
            (Mask::Format, None) => match (Integer::of(column.oid), column.oid) {
                (Some(integer), _) => Self::ShapeInteger(integer),
                (None, oid::UUID) => Self::Uuid,
                (None, oid::NUMERIC) => Self::ShapeNumeric,
                (None, oid::FLOAT8) => Self::ShapeDouble,
                (None, oid::FLOAT4) => Self::ShapeSingle,
                (None, oid::DATE) => Self::ShapeMoment(Moment::Date),
                (None, oid::TIME) => Self::ShapeMoment(Moment::Time),
                (None, oid::TIMESTAMP) => Self::ShapeMoment(Moment::Timestamp),
                (None, oid::TIMESTAMPTZ) => Self::ShapeMoment(Moment::TimestampTz),
                (None, _) => Self::Redact,
            },
        }
    }
}

/// Room in which a value is hidden, used again for the next one.
#[derive(Default)]
pub(crate) struct Scratch {
    out: Vec<u8>,
    room: Room,
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
            key: keys.run.clone(),
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
    pub(super) fn mask<'a>(
        &'a self,
        value: &[u8],
        format: Format,
        scratch: &'a mut Scratch,
    ) -> Option<&'a [u8]> {
        let Self { how, key, .. } = self;
        let Scratch { out, room, masked, found } = scratch;
        out.clear();
        if let How::Detect { detectors, what } = *how {
            return match detect(detectors, what, value, format, room, out, found) {
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
            How::HashInteger(integer) => hash_integer_value(key, value, integer, format, out),
            How::Uuid => hash_uuid(key, value, format, out),
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
            How::ShapeNumeric => shape_numeric(key, value, format, room, out),
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
    room: &mut Room,
    out: &mut Vec<u8>,
    found: &mut Found,
) -> Finding {
    out.extend_from_slice(value);
    let decimal = &mut room.decimal;
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

/// How many characters at the end stay readable.
const READABLE: usize = 4;

/// Stars for all but the last four characters; separators of groups stay, so that a card number still looks
/// like one. A value of four characters or fewer is all stars. A text that is not UTF-8 is taken
/// byte by byte.
fn partial(value: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_ascii() => {
            let separates = |character: &char| matches!(character, '-' | ' ');
            let mut hidden = hidden(text.chars().filter(|c| !separates(c)).count());
            let mut buffer = [0; 4];
            for character in text.chars() {
                if separates(&character) || hidden == 0 {
                    out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                } else {
                    hidden -= 1;
                    out.push(b'*');
                }
            }
        }
        Ok(_) | Err(_) => {
            let separates = |byte: u8| matches!(byte, b'-' | b' ');
            let mut hidden = hidden(value.iter().filter(|byte| !separates(**byte)).count());
            out.extend(value.iter().map(|byte| {
                if separates(*byte) || hidden == 0 {
                    return *byte;
                }
                hidden -= 1;
                b'*'
            }));
        }
    }
}

/// How many of so many characters become stars.
const fn hidden(count: usize) -> usize {
    if count > READABLE { count - READABLE } else { count }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

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
