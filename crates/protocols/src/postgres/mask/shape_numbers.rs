//! The mask `format` for numbers that are no integers.

use std::io::Write as _;

use super::{
    numbers::{read_numeric, write_numeric},
    types::Format,
};
use crate::mask::{MaskKey, Purpose, Room, permute, shape_decimal};

/// A `numeric` with as many digits before and behind the point. `decimal` is room for work.
pub(super) fn shape_numeric(
    key: &MaskKey,
    value: &[u8],
    format: Format,
    room: &mut Room,
    decimal: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Option<()> {
    match format {
        Format::Text => shape_decimal(key, value, room, out),
        Format::Binary => {
            decimal.clear();
            read_numeric(value, decimal)?;
            let start = out.len();
            shape_decimal(key, decimal, room, out)?;
            decimal.clear();
            decimal.extend(out.drain(start..));
            write_numeric(decimal, out)
        }
    }
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

    use super::*;

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
            shape_numeric(
                &key,
                value.as_bytes(),
                Format::Text,
                &mut room,
                &mut Vec::new(),
                &mut text,
            )
            .unwrap();
            let shape =
                |text: &[u8]| -> Vec<bool> { text.iter().map(u8::is_ascii_digit).collect() };
            assert_eq!(shape(&text), shape(value.as_bytes()));

            let mut raw = Vec::new();
            write_numeric(value.as_bytes(), &mut raw).unwrap();
            let mut back = Vec::new();
            read_numeric(&raw, &mut back).unwrap();
            assert_eq!(String::from_utf8(back).unwrap(), value);
            let mut binary = Vec::new();
            shape_numeric(&key, &raw, Format::Binary, &mut room, &mut Vec::new(), &mut binary)
                .unwrap();
            let mut back = Vec::new();
            read_numeric(&binary, &mut back).unwrap();
            assert_eq!(back, text, "{value}");
        }
        for value in ["NaN", "Infinity", "", "-", "1.2.3", "1e5"] {
            let mut out = Vec::new();
            let done = shape_numeric(
                &key,
                value.as_bytes(),
                Format::Text,
                &mut Room::default(),
                &mut Vec::new(),
                &mut out,
            );
            assert_eq!((done, out.len()), (None, 0), "{value}");
        }
        let lying = [0, 1, 0, 0, 0, 0, 0, 0];
        let done = shape_numeric(
            &key,
            &lying,
            Format::Binary,
            &mut Room::default(),
            &mut Vec::new(),
            &mut Vec::new(),
        );
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
