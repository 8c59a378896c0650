//! The mask `hash`: a keyed hash of the same kind as what was hashed.

use super::{
    key::MaskKey,
    numbers::LIMITS,
    permute::{Purpose, permute},
};

/// What was hashed, so that a text and an id of the same bytes are not the same.
const TEXT: u8 = b't';
const UUID: u8 = b'u';

/// How addresses end that masks make.
pub const MASKED_ADDRESS: &[u8] = b"@masked.invalid";

/// 32 hex digits, or an address at a domain that cannot exist if an address was hashed.
pub(crate) fn hash_text(key: &MaskKey, value: &[u8], capacity: usize, out: &mut Vec<u8>) {
    let hash = key.hash(TEXT, value);
    let address = looks_like_address(value) && capacity >= 16 + MASKED_ADDRESS.len();
    let digits = if address { 16 } else { capacity.min(32) };
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    out.extend(nibbles.take(digits).map(hex_digit));
    if address {
        out.extend_from_slice(MASKED_ADDRESS);
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

pub(super) fn looks_like_address(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'@');
    let (Some(local), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let solid = |part: &[u8]| !part.is_empty() && !part.iter().any(u8::is_ascii_whitespace);
    solid(local) && solid(domain) && domain.contains(&b'.')
}

/// A number that is not negative and fits every integer type that the value fits, so that one in an int4 column and the
/// same one in an int8 column have the same hash. Numbers that are not negative keep being different from each other, so that unique keys stay unique.
pub(crate) fn hash_integer(key: &MaskKey, number: i64) -> i64 {
    let (purpose, magnitude) = if number < 0 {
        (Purpose::NegativeHash, !number.cast_unsigned().cast_signed())
    } else {
        (Purpose::Hash, number)
    };
    let magnitude = magnitude.cast_unsigned();
    let mut first = 0;
    for limit in LIMITS {
        if magnitude < limit {
            let hidden = first + permute(key, purpose, magnitude - first, limit - first);
            return hidden.cast_signed();
        }
        first = limit;
    }
    // Not reached: no magnitude is larger than the last limit.
    0
}

/// An id of version 4.
pub(crate) fn hash_uuid(key: &MaskKey, id: [u8; 16]) -> [u8; 16] {
    let mut hidden = [0; 16];
    for (to, from) in hidden.iter_mut().zip(key.hash(UUID, &id)) {
        *to = from;
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut hidden;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    hidden
}

/// The same for one that is written in hex digits, whatever stands between them; `None` if it is none.
pub(crate) fn hash_uuid_text(key: &MaskKey, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut id = 0u128;
    let mut digits = 0;
    for byte in value {
        let Some(digit) = char::from(*byte).to_digit(16) else { continue };
        id = id << 4 | u128::from(digit);
        digits += 1;
    }
    if digits != 32 {
        return None;
    }
    for (index, byte) in hash_uuid(key, id.to_be_bytes()).into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    Some(())
}
