//! Numbers: how they travel, and the mask `format` for them.
//!
//! A number keeps its sign and how many digits it has, so that it fits the column; numbers that differ stay
//! different. The same number is hidden the same way in all integer types and in `numeric`.

use std::io::Write as _;

use super::{
    Format, MaskKey,
    permute::{Purpose, Symbol, permute, permute_symbols},
    shape::Room,
    types::oid,
};

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Int2,
    Int4,
    Int8,
}

impl Integer {
    pub(super) const fn of(type_oid: u32) -> Option<Self> {
        match type_oid {
            oid::INT2 => Some(Self::Int2),
            oid::INT4 => Some(Self::Int4),
            oid::INT8 => Some(Self::Int8),
            _ => None,
        }
    }

    /// The number that a value is.
    pub(super) fn read(self, value: &[u8], format: Format) -> Option<i64> {
        match (format, self) {
            (Format::Text, _) => std::str::from_utf8(value).ok()?.parse().ok(),
            (Format::Binary, Self::Int2) => Some(i16::from_be_bytes(value.try_into().ok()?).into()),
            (Format::Binary, Self::Int4) => Some(i32::from_be_bytes(value.try_into().ok()?).into()),
            (Format::Binary, Self::Int8) => Some(i64::from_be_bytes(value.try_into().ok()?)),
        }
    }

    /// Appends a number that fits.
    pub(super) fn write(self, number: i64, format: Format, out: &mut Vec<u8>) {
        let bytes = number.to_be_bytes();
        let skipped = match (format, self) {
            (Format::Text, _) => {
                // Writing to a Vec does not fail.
                let _ = write!(out, "{number}");
                return;
            }
            (Format::Binary, Self::Int2) => 6,
            (Format::Binary, Self::Int4) => 4,
            (Format::Binary, Self::Int8) => 0,
        };
        out.extend(bytes.into_iter().skip(skipped));
    }
}

/// How many numbers of each sign the integer types have, without the negative ones' last.
const LIMITS: [u64; 3] = [1 << 15, 1 << 31, 1 << 63];

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

const NEGATIVE: u16 = 0x4000;

/// What `numeric_send` wrote, as `numeric_out` would write it. `None` for what is no number.
pub(super) fn read_numeric(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (words, rest) = value.as_chunks::<2>();
    let (head, groups) = words.split_first_chunk::<4>()?;
    let [count, weight, sign, scale] = *head;
    if !rest.is_empty() || usize::from(u16::from_be_bytes(count)) != groups.len() {
        return None;
    }
    match u16::from_be_bytes(sign) {
        0 => {}
        NEGATIVE => out.push(b'-'),
        _ => return None,
    }
    let weight = i32::from(i16::from_be_bytes(weight));
    let scale = usize::from(u16::from_be_bytes(scale));
    let group = |place: i32| {
        let place = usize::try_from(place).ok();
        place.and_then(|place| groups.get(place)).map_or(0, |group| u16::from_be_bytes(*group))
    };
    if weight < 0 {
        out.push(b'0');
    }
    for place in 0..=weight {
        let digits = group(place);
        let _ = if place == 0 { write!(out, "{digits}") } else { write!(out, "{digits:04}") };
    }
    if scale > 0 {
        out.push(b'.');
        let start = out.len();
        let mut place = weight + 1;
        // Groups before the first one that is there are zeros.
        let mut missing = if weight < 0 { -1 - weight } else { 0 };
        while out.len() < start + scale {
            let digits = if missing > 0 {
                missing -= 1;
                0
            } else {
                let digits = group(place.max(0));
                place = place.max(0) + 1;
                digits
            };
            let _ = write!(out, "{digits:04}");
        }
        out.truncate(start + scale);
    }
    Some(())
}

/// What `numeric_recv` takes for a decimal.
fn write_numeric(decimal: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digits = decimal.strip_prefix(b"-").unwrap_or(decimal);
    let sign = if digits.len() < decimal.len() { NEGATIVE } else { 0 };
    let mut halves = digits.split(|byte| *byte == b'.');
    let (whole, fraction) = (halves.next()?, halves.next().unwrap_or_default());
    let groups = whole.len().div_ceil(4) + fraction.len().div_ceil(4);
    let weight = i16::try_from(whole.len().div_ceil(4)).ok()? - 1;
    for word in [u16::try_from(groups).ok()?, weight.cast_unsigned(), sign] {
        out.extend(word.to_be_bytes());
    }
    out.extend(u16::try_from(fraction.len()).ok()?.to_be_bytes());
    let value = |group: &[u8]| group.iter().fold(0u16, |sum, b| sum * 10 + u16::from(b - b'0'));
    let (first, others) = whole.split_at(whole.len() % 4);
    if !first.is_empty() {
        out.extend(value(first).to_be_bytes());
    }
    for group in others.chunks(4) {
        out.extend(value(group).to_be_bytes());
    }
    for group in fraction.chunks(4) {
        let zeros = (group.len()..4).fold(1, |factor, _| factor * 10);
        out.extend((value(group) * zeros).to_be_bytes());
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
