//! The mask `format` for numbers.
//!
//! A number keeps its sign and how many digits it has, so that it fits the column; numbers that differ stay
//! different. The same number is hidden the same way in all integer types and in `numeric`.

use std::io::Write as _;

use super::{
    key::MaskKey,
    numbers::{LIMITS, read_numeric, write_numeric},
    permute::{Purpose, Room, Symbol, permute, permute_symbols},
    types::Format,
};

/// A number of the same sign and as many digits that fits every type that this one fits.
pub(super) fn shape_integer(key: &MaskKey, number: i64) -> i64 {
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

/// A `numeric` with as many digits before and behind the point.
pub(super) fn shape_numeric(
    key: &MaskKey,
    value: &[u8],
    format: Format,
    room: &mut Room,
    out: &mut Vec<u8>,
) -> Option<()> {
    match format {
        Format::Text => shape_decimal(key, value, room, out),
        Format::Binary => {
            let mut decimal = std::mem::take(&mut room.decimal);
            decimal.clear();
            let done = read_numeric(value, &mut decimal).and_then(|()| {
                let start = out.len();
                shape_decimal(key, &decimal, room, out)?;
                decimal.clear();
                decimal.extend(out.drain(start..));
                write_numeric(&decimal, out)
            });
            room.decimal = decimal;
            done
        }
    }
}

fn shape_decimal(key: &MaskKey, value: &[u8], room: &mut Room, out: &mut Vec<u8>) -> Option<()> {
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

/// A `float8` of the same sign and power of two. Zero stays zero; what is no number has no such form.
pub(super) fn shape_double(
    key: &MaskKey,
    value: &[u8],
    format: Format,
    out: &mut Vec<u8>,
) -> Option<()> {
    const BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let number: f64 = match format {
        Format::Text => std::str::from_utf8(value).ok()?.parse().ok()?,
        Format::Binary => f64::from_be_bytes(value.try_into().ok()?),
    };
    let hidden = if number == 0.0 {
        number
    } else {
        let (bits, low) = (number.to_bits(), (1 << BITS) - 1);
        let mantissa = permute(key, Purpose::Mantissa, bits & low, 1 << BITS);
        f64::from_bits(bits & !low | mantissa)
    };
    if !number.is_finite() {
        return None;
    }
    match format {
        Format::Text => drop(write!(out, "{hidden:e}")),
        Format::Binary => out.extend(hidden.to_be_bytes()),
    }
    Some(())
}

/// The same for a `float4`.
pub(super) fn shape_single(
    key: &MaskKey,
    value: &[u8],
    format: Format,
    out: &mut Vec<u8>,
) -> Option<()> {
    const BITS: u32 = f32::MANTISSA_DIGITS - 1;
    let number: f32 = match format {
        Format::Text => std::str::from_utf8(value).ok()?.parse().ok()?,
        Format::Binary => f32::from_be_bytes(value.try_into().ok()?),
    };
    let hidden = if number == 0.0 {
        number
    } else {
        let (bits, low) = (number.to_bits(), (1 << BITS) - 1);
        let mantissa = permute(key, Purpose::Mantissa, u64::from(bits & low), 1 << BITS);
        f32::from_bits(bits & !low | u32::try_from(mantissa).unwrap_or_default())
    };
    if !number.is_finite() {
        return None;
    }
    match format {
        Format::Text => drop(write!(out, "{hidden:e}")),
        Format::Binary => out.extend(hidden.to_be_bytes()),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

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

    #[test]
    fn a_numeric_keeps_its_digits_in_both_formats() {
        let key = MaskKey::new(b"key");
        for value in [
            "123.45",
            "-0.01",
            "0.000000012",
            "12345678901234567890.123",
            "1.5",
            "-99999",
            "0",
            "100000000.0001",
            "7",
            "0.1234567890123",
            "40000",
        ] {
            let (mut room, mut text) = (Room::default(), Vec::new());
            shape_numeric(&key, value.as_bytes(), Format::Text, &mut room, &mut text).unwrap();
            let shape =
                |text: &[u8]| -> Vec<bool> { text.iter().map(u8::is_ascii_digit).collect() };
            assert_eq!(shape(&text), shape(value.as_bytes()));

            let mut raw = Vec::new();
            write_numeric(value.as_bytes(), &mut raw).unwrap();
            let mut back = Vec::new();
            read_numeric(&raw, &mut back).unwrap();
            assert_eq!(String::from_utf8(back).unwrap(), value);
            let mut binary = Vec::new();
            shape_numeric(&key, &raw, Format::Binary, &mut room, &mut binary).unwrap();
            let mut back = Vec::new();
            read_numeric(&binary, &mut back).unwrap();
            assert_eq!(back, text, "{value}");
        }
        for value in ["NaN", "Infinity", "", "-", "1.2.3", "1e5"] {
            let mut out = Vec::new();
            let done =
                shape_numeric(&key, value.as_bytes(), Format::Text, &mut Room::default(), &mut out);
            assert_eq!((done, out.len()), (None, 0), "{value}");
        }
        let lying = [0, 1, 0, 0, 0, 0, 0, 0];
        let done =
            shape_numeric(&key, &lying, Format::Binary, &mut Room::default(), &mut Vec::new());
        assert_eq!(done, None);
    }

    #[test]
    fn a_float_keeps_its_power_in_both_formats() {
        let key = MaskKey::new(b"key");
        for number in [1.5f64, -1.5e300, 42.0, 0.0, 1e-310] {
            let (mut text, mut binary) = (Vec::new(), Vec::new());
            shape_double(&key, number.to_string().as_bytes(), Format::Text, &mut text).unwrap();
            shape_double(&key, &number.to_be_bytes(), Format::Binary, &mut binary).unwrap();
            let hidden: f64 = String::from_utf8(text).unwrap().parse().unwrap();
            assert_eq!(hidden.to_be_bytes().as_slice(), binary);
            assert_eq!(hidden.to_bits() >> 52, number.to_bits() >> 52);
            assert_eq!(hidden == number, number == 0.0);
        }
        assert_eq!(shape_double(&key, b"NaN", Format::Text, &mut Vec::new()), None);
        assert_eq!(shape_single(&key, b"Infinity", Format::Text, &mut Vec::new()), None);
    }
}
