//! The mask `format` for texts: another text of the same shape.
//!
//! Each letter becomes a letter of the same alphabet and case, each digit a digit; what stands between them
//! stays. So two texts that differ in separators or in case only do so afterwards, too, and unique values stay
//! unique. Shapes that carry a check keep it: payment cards and IBANs. An address gets a domain that cannot
//! exist. A text with a character of no alphabet that is known here is hashed.

use super::{
    hash::{hash_text, hash_uuid_text, looks_like_address},
    key::MaskKey,
    permute::{Room, Symbol, permute_symbols},
};
use crate::checks::{CARD_DIGITS, IBAN_LENGTH, luhn, mod_97};

/// Says that a domain does not exist (RFC 2606, section 2).
const NOWHERE: &[u8] = b".invalid";
/// The same, as short as it can be.
const SHORT_NOWHERE: &[u8] = b"@m.invalid";
/// Digits of a hash before [`SHORT_NOWHERE`] that are worth having.
const MIN_DIGITS: usize = 8;

/// Alphabets: the first character, and how many follow each other from there.
const ALPHABETS: [(char, u16); 30] = [
    ('0', 10),
    ('A', 26),
    ('a', 26),
    // Latin-1 without × and ÷, Latin Extended-A and B
    ('À', 23),
    ('Ø', 7),
    ('ß', 24),
    ('ø', 8),
    ('Ā', 128),
    ('ƀ', 208),
    // Greek
    ('Α', 17),
    ('Σ', 7),
    ('ά', 4),
    ('α', 25),
    // Cyrillic
    ('Ѐ', 16),
    ('А', 32),
    ('а', 32),
    ('ѐ', 16),
    // Armenian, Hebrew, Arabic, its digits
    ('Ա', 38),
    ('ա', 38),
    ('א', 27),
    ('ء', 26),
    ('ف', 10),
    ('٠', 10),
    // Devanagari, Thai
    ('अ', 53),
    ('ก', 46),
    // Georgian, Hiragana, Katakana
    ('ა', 33),
    ('ぁ', 86),
    ('ァ', 90),
    // Chinese characters, Hangul
    ('一', 20_992),
    ('가', 11_172),
];

/// Characters beyond ASCII that tell nothing: spaces, dashes, quotes, signs of currencies.
const SEPARATORS: [(char, char); 3] =
    [('\u{a0}', '\u{bf}'), ('\u{2000}', '\u{206f}'), ('\u{20a0}', '\u{20bf}')];

/// Appends a text of the same shape. `capacity` is how many characters it may have.
pub(crate) fn shape_text(
    key: &MaskKey,
    value: &[u8],
    capacity: usize,
    room: &mut Room,
    out: &mut Vec<u8>,
) {
    let Ok(text) = std::str::from_utf8(value) else { return hash_text(key, value, capacity, out) };
    if is_uuid(value) && hash_uuid_text(key, value, out).is_some() {
        if value.iter().any(u8::is_ascii_uppercase) {
            out.make_ascii_uppercase();
        }
        return;
    }
    if looks_like_address(value) {
        return address(key, value, text, capacity, room, out);
    }
    if !read(text, &mut room.symbols) {
        return hash_text(key, value, capacity, out);
    }
    match Checked::of(text, &room.symbols) {
        Some(Checked::Card) => {
            if let [digits @ .., check] = room.symbols.as_mut_slice() {
                permute_symbols(key, digits, &mut room.bytes);
                let sum = luhn(digits_from_the_last(digits), true);
                check.number = (10 - sum % 10) % 10;
            }
        }
        Some(Checked::Iban) => {
            if let [_, _, tens, ones, account @ ..] = room.symbols.as_mut_slice() {
                permute_symbols(key, account, &mut room.bytes);
                (tens.number, ones.number) = (0, 0);
                let check = 98u16.saturating_sub(remainder(text, &room.symbols));
                if let [_, _, tens, ones, ..] = room.symbols.as_mut_slice() {
                    (tens.number, ones.number) = (check / 10, check % 10);
                }
            }
        }
        // Walking on while it reads like one of them keeps these apart from the real ones.
        None => loop {
            permute_symbols(key, &mut room.symbols, &mut room.bytes);
            if Checked::of(text, &room.symbols).is_none() {
                break;
            }
        },
    }
    write(text, &room.symbols, out);
}

/// An address: all of it in its shape, at a domain that does not exist.
fn address(
    key: &MaskKey,
    value: &[u8],
    text: &str,
    capacity: usize,
    room: &mut Room,
    out: &mut Vec<u8>,
) {
    let length = text.chars().count();
    if length + NOWHERE.len() <= capacity && read(text, &mut room.symbols) {
        permute_symbols(key, &mut room.symbols, &mut room.bytes);
        write(text, &room.symbols, out);
        out.extend_from_slice(NOWHERE);
    } else if let Some(digits) = capacity.checked_sub(SHORT_NOWHERE.len())
        && digits >= MIN_DIGITS
    {
        hash_text(key, value, digits.min(16), out);
        out.extend_from_slice(SHORT_NOWHERE);
    } else {
        hash_text(key, value, capacity, out);
    }
}

/// A shape that carries a check, and the check holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    Card,
    Iban,
}

impl Checked {
    /// Whether the symbols, in the shape of a text, are one.
    fn of(text: &str, symbols: &[Symbol]) -> Option<Self> {
        if CARD_DIGITS.contains(&symbols.len())
            && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'))
            && luhn(digits_from_the_last(symbols), false).is_multiple_of(10)
        {
            return Some(Self::Card);
        }
        let shaped = IBAN_LENGTH.contains(&symbols.len())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ')
            && text.bytes().take(2).all(|byte| byte.is_ascii_uppercase())
            && text.bytes().skip(2).take(2).all(|byte| byte.is_ascii_digit());
        if shaped && let [_, _, tens, ones, ..] = symbols {
            // 00, 01 and 99 would pass a division by 97, too, and are in no IBAN.
            let check = tens.number * 10 + ones.number;
            let holds = (2..=98).contains(&check) && remainder(text, symbols) == 1;
            return holds.then_some(Self::Iban);
        }
        None
    }
}

fn digits_from_the_last(symbols: &[Symbol]) -> impl Iterator<Item = u16> {
    symbols.iter().rev().map(|symbol| symbol.number)
}

/// The remainder of an IBAN of which a text has the shape.
fn remainder(text: &str, symbols: &[Symbol]) -> u16 {
    let shape = text.bytes().filter(|byte| *byte != b' ');
    mod_97(shape.zip(symbols).map(|(byte, symbol)| {
        if byte.is_ascii_uppercase() { symbol.number + 10 } else { symbol.number }
    }))
}

/// The symbols of a text; whether each of its characters is in an alphabet or between those that are.
fn read(text: &str, symbols: &mut Vec<Symbol>) -> bool {
    symbols.clear();
    for character in text.chars() {
        match alphabet(character) {
            Some((first, size)) => {
                let number = u32::from(character) - u32::from(first);
                symbols.push(Symbol { number: u16::try_from(number).unwrap_or_default(), size });
            }
            None if is_separator(character) => {}
            None => return false,
        }
    }
    true
}

/// Appends symbols in the shape of a text.
fn write(text: &str, symbols: &[Symbol], out: &mut Vec<u8>) {
    let mut symbols = symbols.iter();
    let mut buffer = [0; 4];
    for character in text.chars() {
        let hidden = match alphabet(character) {
            Some((first, _)) => {
                let number = symbols.next().map_or(0, |symbol| u32::from(symbol.number));
                // No alphabet goes over the gap of the surrogates.
                char::from_u32(u32::from(first) + number).unwrap_or(first)
            }
            None => character,
        };
        out.extend_from_slice(hidden.encode_utf8(&mut buffer).as_bytes());
    }
}

fn alphabet(character: char) -> Option<(char, u16)> {
    match character {
        '0'..='9' => Some(('0', 10)),
        'a'..='z' => Some(('a', 26)),
        'A'..='Z' => Some(('A', 26)),
        _ if character.is_ascii() => None,
        _ => ALPHABETS.into_iter().find(|(first, size)| {
            u32::from(character)
                .checked_sub(u32::from(*first))
                .is_some_and(|number| number < u32::from(*size))
        }),
    }
}

fn is_separator(character: char) -> bool {
    character.is_ascii()
        || matches!(character, '×' | '÷')
        || SEPARATORS.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// RFC 9562, section 4: the text form with its four dashes.
fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;

    fn shape(value: &str, capacity: usize) -> String {
        let mut out = Vec::new();
        let key = MaskKey::new(b"key");
        shape_text(&key, value.as_bytes(), capacity, &mut Room::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn is_card(text: &str) -> bool {
        let mut symbols = Vec::new();
        read(text, &mut symbols) && Checked::of(text, &symbols) == Some(Checked::Card)
    }

    fn is_iban(text: &str) -> bool {
        let mut symbols = Vec::new();
        read(text, &mut symbols) && Checked::of(text, &symbols) == Some(Checked::Iban)
    }

    #[test]
    fn a_text_keeps_its_shape() {
        for value in [
            "s3cret-Value",
            "+49 (30) 1234-5678",
            "123-45-6789",
            "Zoë Müßli",
            "Ωμέγα",
            "Анна Каренина",
            "日本語",
            "한국어",
            "abc   ",
            "",
            "--",
        ] {
            let hidden = shape(value, usize::MAX);
            let pattern = |text: &str| -> Vec<_> {
                text.chars()
                    .map(|c| alphabet(c).map_or((c, 0), |(first, size)| (first, size)))
                    .collect()
            };
            assert_eq!(pattern(&hidden), pattern(value), "{value} {hidden}");
            assert_eq!(shape(value, usize::MAX), hidden);
            assert!(hidden != value || value.len() < 3, "{value}");
        }
        // Case and separators tell as much of equality as before, and no more.
        assert_eq!(shape("JANE-DOE", 99).to_lowercase().replace('-', ""), shape("janedoe", 99));
        assert_ne!(shape("janedoe", 99), shape("janedof", 99));
    }

    #[test]
    fn a_character_that_is_not_known_never_passes() {
        for value in ["Jane 😀", "a\u{301}bc", "\u{10ffff}", "ꙮ"] {
            let hidden = shape(value, 20);
            assert!(hidden.len() == 20 && hidden.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        let mut out = Vec::new();
        shape_text(&MaskKey::new(b"key"), b"Zo\xeb", 9, &mut Room::default(), &mut out);
        assert_eq!(out.len(), 9);
    }

    #[test]
    fn an_address_stays_one_and_reaches_nobody() {
        for value in ["jane.doe@example.com", "j@x.de", "Jörg+x@müller.example"] {
            let hidden = shape(value, 40);
            assert!(hidden.ends_with(".invalid") && looks_like_address(hidden.as_bytes()));
            assert_eq!(hidden.chars().count(), value.chars().count() + NOWHERE.len());
            assert!(!hidden.contains("example.com"));
        }
        let tight = shape("jane.doe@example.com", 20);
        assert!(tight.ends_with("@m.invalid") && tight.len() == 20, "{tight}");
        assert_eq!(shape("jane.doe@example.com", 12).len(), 12);
        assert_ne!(shape("jane@example.com", 40), shape("jane@example.org", 40));
    }

    #[test]
    fn a_card_stays_one_and_is_another() {
        for value in
            ["4111111111111111", "4111-1111 1111-1111", "378282246310005", "6304000000000000000"]
        {
            let hidden = shape(value, usize::MAX);
            assert!(is_card(value) && is_card(&hidden), "{value} {hidden}");
            assert_ne!(hidden, value);
            let separators = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(separators(&hidden), separators(value));
        }
        assert_eq!(
            shape("4111-1111-1111-1111", 99).replace('-', ""),
            shape("4111111111111111", 99)
        );
        // What is no card does not become one, so that the two never meet.
        for number in 4_111_111_111_111_110u64..4_111_111_111_111_160 {
            let value = number.to_string();
            assert_eq!(is_card(&shape(&value, 99)), is_card(&value), "{value}");
        }
    }

    #[test]
    fn an_iban_stays_one_of_its_country() {
        for value in [
            "DE89370400440532013000",
            "GB82 WEST 1234 5698 7654 32",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
        ] {
            let hidden = shape(value, usize::MAX);
            assert!(is_iban(value), "{value}");
            assert!(is_iban(&hidden), "{value} {hidden}");
            assert_eq!(hidden.get(..2), value.get(..2));
            assert_ne!(hidden, value);
        }
        for number in 0..300 {
            let value = format!("DE{:02}3704004405320{number:05}", number % 100);
            assert_eq!(is_iban(&shape(&value, 99)), is_iban(&value), "{value}");
        }
    }

    #[test]
    fn an_id_stays_one() {
        let hidden = shape("0189d1a0-0000-7000-8000-000000000001", 36);
        assert!(is_uuid(hidden.as_bytes()) && hidden.get(14..15) == Some("4"));
        assert_eq!(shape("0189D1A0-0000-7000-8000-000000000001", 36), hidden.to_uppercase());
    }

    #[test]
    fn short_unique_texts_stay_unique() {
        let all: Vec<String> = (0..17_576u32)
            .map(|n| {
                [n / 676, n / 26 % 26, n % 26].map(|n| char::from(b'a' + n as u8)).iter().collect()
            })
            .collect();
        let hidden: HashSet<String> = all.iter().map(|value| shape(value, 3)).collect();
        assert_eq!(hidden.len(), all.len());
        assert!(all.iter().all(|value| hidden.contains(value)), "three letters, and no others");
    }
}
