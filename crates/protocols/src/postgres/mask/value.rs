//! One value in, one hidden value of the same type out.

use std::fmt::Write as _;

use guard_core::Mask;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{
    MAX_VALUE,
    types::{self, Redacted, oid},
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

/// The key of the `hash` mask.
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

    fn hash(&self, domain: u8, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(&[domain]);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

/// Hides the values of one column.
#[derive(Clone)]
pub(crate) struct ColumnMasker {
    how: How,
    redacted: Option<Redacted>,
}

#[derive(Clone)]
enum How {
    Null,
    Redact,
    HashText { key: MaskKey, capacity: usize, padded: bool },
    HashInteger { key: MaskKey, bytes: u32 },
    HashUuid { key: MaskKey },
    Partial,
}

/// What was hashed, so that a text and a number of the same bytes are not the same.
const TEXT: u8 = b't';
const UUID: u8 = b'u';
const INTEGER: u8 = b'i';

impl ColumnMasker {
    /// A masker for a column. A mask that has no sense for the type redacts.
    pub(crate) fn new(mask: Mask, column: ColumnType, key: &MaskKey) -> Self {
        let text = types::text_capacity(column.oid, column.modifier);
        let key = || key.clone();
        let how = match mask {
            Mask::Null if column.not_null => How::Redact,
            Mask::Null => How::Null,
            Mask::Redact => How::Redact,
            Mask::Partial if text.is_some() => How::Partial,
            Mask::Partial => How::Redact,
            Mask::Hash => match (column.oid, text) {
                (type_oid, Some(capacity)) => {
                    How::HashText { key: key(), capacity, padded: type_oid == oid::BPCHAR }
                }
                (oid::INT2, None) => How::HashInteger { key: key(), bytes: 2 },
                (oid::INT4, None) => How::HashInteger { key: key(), bytes: 4 },
                (oid::INT8, None) => How::HashInteger { key: key(), bytes: 8 },
                (oid::UUID, None) => How::HashUuid { key: key() },
                (_, None) => How::Redact,
            },
        };
        Self { how, redacted: types::redacted(column.oid, column.modifier) }
    }

    /// The hidden form of a value that is not NULL; `None` is NULL. `scratch` is room for it.
    pub(super) fn mask<'a>(
        &'a self,
        value: &[u8],
        format: Format,
        scratch: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        scratch.clear();
        if value.len() > MAX_VALUE {
            return self.redact(format);
        }
        let computed = match &self.how {
            How::Null => return None,
            How::Redact => None,
            How::HashText { key, capacity, padded } => {
                let end = if *padded { value.trim_ascii_end().len() } else { value.len() };
                hash_text(key, value.get(..end).unwrap_or(value), *capacity, scratch);
                Some(())
            }
            How::HashInteger { key, bytes } => hash_integer(key, value, *bytes, format, scratch),
            How::HashUuid { key } => hash_uuid(key, value, format, scratch),
            How::Partial => {
                partial(value, scratch);
                Some(())
            }
        };
        match computed {
            Some(()) => Some(scratch),
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

/// 32 hex digits, or an address at a domain that cannot exist if an address was hashed.
fn hash_text(key: &MaskKey, value: &[u8], capacity: usize, out: &mut Vec<u8>) {
    const DOMAIN: &[u8] = b"@masked.invalid";
    let hash = key.hash(TEXT, value);
    let address = looks_like_address(value) && capacity >= 16 + DOMAIN.len();
    let digits = if address { 16 } else { capacity.min(32) };
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    out.extend(nibbles.take(digits).map(hex_digit));
    if address {
        out.extend_from_slice(DOMAIN);
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn looks_like_address(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'@');
    let (Some(local), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let solid = |part: &[u8]| !part.is_empty() && !part.iter().any(u8::is_ascii_whitespace);
    solid(local) && solid(domain) && domain.contains(&b'.')
}

/// A number that is not negative and fits the type. Numbers that are not negative keep being different
/// from each other, so that unique keys stay unique.
fn hash_integer(
    key: &MaskKey,
    value: &[u8],
    bytes: u32,
    format: Format,
    out: &mut Vec<u8>,
) -> Option<()> {
    let number: i64 = match (format, bytes) {
        (Format::Text, _) => std::str::from_utf8(value).ok()?.parse().ok()?,
        (Format::Binary, 2) => i16::from_be_bytes(value.try_into().ok()?).into(),
        (Format::Binary, 4) => i32::from_be_bytes(value.try_into().ok()?).into(),
        (Format::Binary, _) => i64::from_be_bytes(value.try_into().ok()?),
    };
    let bits = bytes * 8;
    let word = number.cast_unsigned() & (u64::MAX >> (64 - bits));
    // Walking the permutation until the sign bit is clear makes it one of the numbers that are not
    // negative: two steps on average.
    let mut hidden = permute(key, word, bits);
    while hidden >> (bits - 1) != 0 {
        hidden = permute(key, hidden, bits);
    }
    match format {
        Format::Text => out.extend_from_slice(hidden.to_string().as_bytes()),
        Format::Binary => {
            out.extend(
                hidden.to_be_bytes().into_iter().skip(8usize.saturating_sub(bytes as usize)),
            );
        }
    }
    Some(())
}

/// A keyed permutation of words of 16, 32 or 64 bits: a Feistel network of four rounds (Luby and Rackoff).
fn permute(key: &MaskKey, word: u64, bits: u32) -> u64 {
    let half = bits / 2;
    let low = u64::MAX >> (64 - half);
    let (mut left, mut right) = (word >> half, word & low);
    for round in 0..4u8 {
        let mut input = [0; 10];
        for (to, from) in
            input.iter_mut().zip(right.to_be_bytes().into_iter().chain([round, half as u8]))
        {
            *to = from;
        }
        let [a, b, c, d, ..] = key.hash(INTEGER, &input);
        let mixed = left ^ (u64::from(u32::from_be_bytes([a, b, c, d])) & low);
        (left, right) = (right, mixed);
    }
    (left << half) | right
}

/// An id of version 4.
fn hash_uuid(key: &MaskKey, value: &[u8], format: Format, out: &mut Vec<u8>) -> Option<()> {
    let id: [u8; 16] = match format {
        Format::Binary => value.try_into().ok()?,
        Format::Text => {
            let digits: String =
                std::str::from_utf8(value).ok()?.chars().filter(char::is_ascii_hexdigit).collect();
            if digits.len() != 32 {
                return None;
            }
            u128::from_str_radix(&digits, 16).ok()?.to_be_bytes()
        }
    };
    let mut hidden = [0; 16];
    for (to, from) in hidden.iter_mut().zip(key.hash(UUID, &id)) {
        *to = from;
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut hidden;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    match format {
        Format::Binary => out.extend_from_slice(&hidden),
        Format::Text => {
            let mut text = String::with_capacity(36);
            for (index, byte) in hidden.into_iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                // Writing to a String does not fail.
                let _ = write!(text, "{byte:02x}");
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    Some(())
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
        ColumnMasker::new(mask, column, &MaskKey::new(b"key"))
    }

    fn text(masker: &ColumnMasker, value: &str) -> String {
        let mut scratch = Vec::new();
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
        let masker = ColumnMasker::new(Mask::Null, column, &MaskKey::new(b"key"));
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
        let other = ColumnMasker::new(Mask::Hash, column, &MaskKey::new(b"another key"));
        assert_ne!(text(&other, "s3cret"), plain);
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
        let mut scratch = Vec::new();
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
        let mut scratch = Vec::new();
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
