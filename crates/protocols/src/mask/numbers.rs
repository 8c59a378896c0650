//! The mask `format` for numbers.
//!
//! A number keeps its sign and how many digits it has, so that it fits where it came from; numbers that differ stay
//! different. The same number is hidden the same way whatever type it has.

use std::io::Write as _;

use super::{
    key::MaskKey,
    permute::{Purpose, Room, Symbol, permute, permute_symbols},
};

/// How many numbers of each sign the integers of two, four and eight bytes are, without the negative ones' last.
pub(super) const LIMITS: [u64; 3] = [1 << 15, 1 << 31, 1 << 63];

/// A number of the same sign and as many digits that fits every type that this one fits.
pub(crate) fn shape_integer(key: &MaskKey, number: i64) -> i64 {
    let negative = number < 0;
    let magnitude = number.unsigned_abs();
    let digits = magnitude.checked_ilog10().unwrap_or(0);
    let power = |exponent: u32| 10u64.checked_pow(exponent).unwrap_or(u64::MAX);
    let mut first = if digits == 0 { u64::from(negative) } else { power(digits) };
    let mut end = power(digits + 1);
    for limit in LIMITS {
        let limit = limit + u64::from(negative);
        if magnitude < limit {
            end = end.min(limit);
        } else {
            first = first.max(limit);
        }
    }
    let purpose = if negative { Purpose::NegativeNumber } else { Purpose::Number };
    let hidden = first + permute(key, purpose, magnitude - first, end - first);
    if negative { 0i64.wrapping_sub_unsigned(hidden) } else { hidden.cast_signed() }
}

/// A decimal with as many digits before and behind the point; `None` for what is written in another way.
pub(crate) fn shape_decimal(
    key: &MaskKey,
    value: &[u8],
    room: &mut Room,
    out: &mut Vec<u8>,
) -> Option<()> {
    if let Some(number) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
        let _ = write!(out, "{}", shape_integer(key, number));
        return Some(());
    }
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let mut points = 0;
    room.symbols.clear();
    for (place, byte) in digits.iter().enumerate() {
        match (byte, place) {
            // What is below one stays so: `numeric(2,2)` takes nothing else.
            (b'0', 0) => {}
            // A first digit is none of the others' zeros.
            (b'1'..=b'9', 0) => {
                room.symbols.push(Symbol { number: u16::from(byte - b'1'), size: 9 });
            }
            (b'0'..=b'9', _) => {
                room.symbols.push(Symbol { number: u16::from(byte - b'0'), size: 10 });
            }
            (b'.', 1..) => points += 1,
            _ => return None,
        }
    }
    if points > 1 || digits.is_empty() {
        return None;
    }
    permute_symbols(key, &mut room.symbols, &mut room.bytes);
    if digits.len() < value.len() {
        out.push(b'-');
    }
    let mut symbols = room.symbols.iter();
    for (place, byte) in digits.iter().enumerate() {
        let hidden = match (byte, place) {
            (b'0', 0) | (b'.', _) => Some(*byte),
            (_, 0) => symbols.next().map(|symbol| b'1' + symbol.number as u8),
            _ => symbols.next().map(|symbol| b'0' + symbol.number as u8),
        };
        out.extend(hidden);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_integer_keeps_sign_and_digits_and_stays_unique() {
        let key = MaskKey::new(b"key");
        let hidden: HashSet<i64> =
            (-32_768..=32_767).map(|number| shape_integer(&key, number)).collect();
        assert_eq!(hidden.len(), 65_536);
        assert!(hidden.iter().all(|hidden| i16::try_from(*hidden).is_ok()));
        for number in [
            0,
            7,
            -7,
            42,
            32_767,
            32_768,
            2_147_483_647,
            -2_147_483_648,
            2_147_483_648,
            i64::MAX,
            i64::MIN,
        ] {
            let hidden = shape_integer(&key, number);
            assert_eq!(hidden.to_string().len(), number.to_string().len(), "{number} {hidden}");
            for fits in [i64::from(i16::MAX), i64::from(i32::MAX)] {
                assert_eq!(
                    (-fits - 1..=fits).contains(&number),
                    (-fits - 1..=fits).contains(&hidden)
                );
            }
        }
    }
}
