//! Numbers that carry a check: those of payment cards, and IBANs.

use std::ops::RangeInclusive;

/// Digits of the number of a payment card.
pub(crate) const CARD_DIGITS: RangeInclusive<usize> = 13..=19;
/// Characters of an IBAN.
pub(crate) const IBAN_LENGTH: RangeInclusive<usize> = 15..=34;

/// ISO/IEC 7812-1, annex B: the sum over digits from the last to the first, every other one doubled.
pub(crate) fn luhn(digits: impl Iterator<Item = u16>, first_doubled: bool) -> u16 {
    let weigh = |(place, digit): (usize, u16)| {
        if (place % 2 == 0) == first_doubled { digit * 2 / 10 + digit * 2 % 10 } else { digit }
    };
    digits.enumerate().map(weigh).sum()
}

/// ISO/IEC 7064, MOD 97-10: the remainder of an IBAN, its first four characters moved to the end, letters as
/// 10 to 35.
pub(crate) fn mod_97(characters: impl Iterator<Item = u16> + Clone) -> u16 {
    let rotated = characters.clone().skip(4).chain(characters.take(4));
    let remainder = rotated.fold(0u32, |sum, value| {
        let weight = if value < 10 { 10 } else { 100 };
        (sum * weight + u32::from(value)) % 97
    });
    u16::try_from(remainder).unwrap_or_default()
}
