//! Numbers: how they travel.

use std::io::Write as _;

use super::types::{Format, oid};

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
pub(super) fn write_numeric(decimal: &[u8], out: &mut Vec<u8>) -> Option<()> {
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
