//! The credential that guard adds, hidden where an answer repeats it.
//!
//! It is looked for as it is, in base64 at each of its three places and in hexadecimal digits; and each character of these may be
//! escaped as JSON, URLs and HTML do. What stands in its place is as long as it was, so that lengths stay right.
//!
//! Nearly all bytes are none of it, and go on uncopied: two searches find where it may begin, by its first characters and by
//! whatever begins an escape, and only there it is compared.

use std::{borrow::Cow, ops::Range};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use guard_core::Secret;
use memchr::memchr3;

use crate::beginnings::{self, BEGINNING, Beginnings};

/// What stands in the place of each byte.
const HIDDEN: u8 = b'*';

/// A part of it that is shorter is found everywhere.
const SHORTEST: usize = BEGINNING;

/// Texts that do not leave.
pub(super) struct Hidden {
    texts: Vec<Vec<u8>>,
    /// Finds where they begin, unescaped.
    begins: Beginnings,
    /// With which bytes one of them begins.
    own: [bool; 256],
    /// With which two bytes one of them begins, a bit a pair.
    pairs: Box<[u64; PAIRS]>,
}

/// Words of a bit for each two bytes.
const PAIRS: usize = (1 << 16) / 64;

/// How long the values of a head usually are, together.
const TEXTS_OF_A_HEAD: usize = 1 << 10;

/// With what an escape begins.
const ESCAPES: [u8; 3] = [b'\\', b'%', b'&'];

enum Match {
    /// So many bytes are the text.
    Whole(usize),
    /// All that is there fits.
    Begun,
    Not,
}

impl Hidden {
    /// The forms of these values.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut texts = Vec::new();
        for value in values {
            let value = value.expose().as_bytes();
            if value.len() >= SHORTEST {
                texts.extend(forms(value).into_iter().filter(|form| form.len() >= SHORTEST));
            }
        }
        texts.sort();
        texts.dedup();
        let begins = Beginnings::new(texts.iter().map(Vec::as_slice));
        let (mut own, mut pairs) = ([false; 256], Box::new([0; PAIRS]));
        for text in &texts {
            let [one, two, ..] = text.as_slice() else { continue };
            if let Some(place) = own.get_mut(usize::from(*one)) {
                *place = true;
            }
            let (place, bit) = pair(*one, *two);
            if let Some(place) = pairs.get_mut(place) {
                *place |= bit;
            }
        }
        Self { texts, begins, own, pairs }
    }

    /// Hides them in the next piece of a text, of which `held` is what was kept back. Gives what may go on, and how many there were.
    pub(super) fn in_piece(&self, held: &mut Vec<u8>, piece: Bytes) -> (Bytes, u64) {
        if self.texts.is_empty() {
            return (piece, 0);
        }
        let bytes = if held.is_empty() {
            piece
        } else {
            held.extend_from_slice(&piece);
            std::mem::take(held).into()
        };
        let found = self.found(&bytes, false);
        held.extend_from_slice(bytes.get(found.until..).unwrap_or_default());
        let mut plain = bytes.slice(..found.until);
        if !found.whole.is_empty() {
            plain = starred(plain.into(), &found.whole).into();
        }
        (plain, found.whole.len() as u64)
    }

    /// Hides them in what was kept back of a text that has come to its end: nothing in it goes on.
    pub(super) fn in_rest(&self, held: Vec<u8>) -> (Vec<u8>, u64) {
        let found = self.found(&held, true).whole;
        let count = found.len() as u64;
        (starred(held, &found), count)
    }

    /// Hides them in a whole text.
    pub(super) fn in_whole<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let whole = if self.texts.is_empty() { Vec::new() } else { self.found(text, true).whole };
        if whole.is_empty() { Cow::Borrowed(text) } else { starred(text.to_vec(), &whole).into() }
    }

    /// Whether one of them may stand in one of these texts, which have no line feeds: all are looked through at once.
    pub(super) fn may_be_in<'a>(&self, texts: impl Iterator<Item = &'a [u8]>) -> bool {
        if self.texts.is_empty() {
            return false;
        }
        let mut all = Vec::with_capacity(TEXTS_OF_A_HEAD);
        for text in texts {
            all.extend_from_slice(text);
            all.push(b'\n');
        }
        !self.found(&all, true).whole.is_empty()
    }

    /// `is_end`: nothing comes behind these bytes.
    fn found(&self, bytes: &[u8], is_end: bool) -> Found {
        let mut whole = Vec::new();
        let mut places = Places::new(self, bytes);
        let mut at = 0;
        while let Some(place) = places.next(at) {
            match self.at(bytes.get(place..).unwrap_or_default(), is_end) {
                Match::Whole(length) => {
                    at = place + length;
                    whole.push(place..at);
                }
                Match::Begun => return Found { whole, until: place },
                Match::Not => at = place + 1,
            }
        }
        Found { whole, until: bytes.len() }
    }

    fn begins(&self, byte: u8) -> bool {
        self.own.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Whether no text stands here, said by the first bytes. Most places where one may begin are none.
    fn is_none(&self, bytes: &[u8]) -> bool {
        match bytes {
            [] | [_] | [b'\\', b'u' | b'x', ..] | [b'%', _] | [b'&', ..] => false,
            [b'\\', escaped, ..] => !self.begins(*escaped) && !self.begins(b'\\'),
            [b'%', high, low, ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low);
                let begins =
                    value.and_then(|it| u8::try_from(it).ok()).is_some_and(|it| self.begins(it));
                !begins && !self.begins(b'%')
            }
            [one, two, ..] => {
                let (place, bit) = pair(*one, *two);
                let is_pair = self.pairs.get(place).is_some_and(|bits| bits & bit != 0);
                !is_pair && !ESCAPES.contains(two)
            }
        }
    }

    /// The longest text that stands at the beginning of these bytes.
    fn at(&self, bytes: &[u8], is_end: bool) -> Match {
        let mut found = Match::Not;
        if self.is_none(bytes) {
            return found;
        }
        for text in &self.texts {
            match (fits(text, bytes, is_end), &found) {
                (Match::Whole(length), Match::Whole(longest)) if length <= *longest => {}
                (Match::Whole(length), _) => found = Match::Whole(length),
                (Match::Begun, Match::Not) => found = Match::Begun,
                (Match::Begun | Match::Not, _) => {}
            }
        }
        found
    }
}

/// What was found in some bytes.
struct Found {
    whole: Vec<Range<usize>>,
    /// Where one may begin that is not all there, or the end.
    until: usize,
}

/// The places at which a text may begin, in order.
struct Places<'a> {
    /// Those at which the beginning of one stands unescaped.
    plain: beginnings::Places<'a>,
    bytes: &'a [u8],
    /// The next at which an escape begins.
    escape: usize,
}

impl<'a> Places<'a> {
    fn new(hidden: &'a Hidden, bytes: &'a [u8]) -> Self {
        Self { plain: hidden.begins.places(bytes), bytes, escape: escape_from(bytes, 0) }
    }

    /// The first one from here on; each place up to the one that is asked for was looked at.
    fn next(&mut self, at: usize) -> Option<usize> {
        if self.escape < at {
            self.escape = escape_from(self.bytes, at);
        }
        // An escape may be the first of its characters, or behind some that are too few to be searched for; so may the end.
        let before = |place: usize| at.max(place.saturating_sub(SHORTEST - 1));
        let place = self.plain.next(at).min(before(self.escape)).min(before(self.bytes.len()));
        (place < self.bytes.len()).then_some(place)
    }
}

fn escape_from(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let [backslash, percent, ampersand] = ESCAPES;
    memchr3(backslash, percent, ampersand, rest).map_or(bytes.len(), |found| at + found)
}

fn starred(mut text: Vec<u8>, places: &[Range<usize>]) -> Vec<u8> {
    for place in places {
        if let Some(part) = text.get_mut(place.clone()) {
            part.fill(HIDDEN);
        }
    }
    text
}

/// Where the bit of two bytes is.
fn pair(one: u8, two: u8) -> (usize, u64) {
    let pair = usize::from(one) << 8 | usize::from(two);
    (pair / 64, 1 << (pair % 64))
}

fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    for place in 0..3_usize {
        let padded = [vec![0; place], value.to_vec()].concat();
        // Of the first and the last characters only some bits are the value's.
        let (before, behind) = (place.div_ceil(3) + place, usize::from(padded.len() % 3 != 0));
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded).into_bytes();
            let end = text.len().saturating_sub(behind);
            forms.extend(text.get(before..end).map(<[u8]>::to_vec));
        }
    }
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.to_uppercase().into_bytes());
    forms.push(hex.into_bytes());
    forms
}

fn fits(text: &[u8], bytes: &[u8], is_end: bool) -> Match {
    if bytes.starts_with(text) {
        return Match::Whole(text.len());
    }
    let cut = if is_end { Match::Not } else { Match::Begun };
    if text.starts_with(bytes) {
        return cut;
    }
    let mut at = 0;
    for expected in text {
        let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else { return cut };
        match character(*expected, rest, is_end) {
            Match::Whole(length) => at += length,
            other @ (Match::Begun | Match::Not) => return other,
        }
    }
    Match::Whole(at)
}

/// One character, as it is or escaped.
fn character(expected: u8, bytes: &[u8], is_end: bool) -> Match {
    let is_itself = bytes.first() == Some(&expected);
    match escaped(expected, bytes) {
        // An escape that is cut off for good is none.
        Match::Begun if !is_end => Match::Begun,
        // What begins an escape may be the character itself.
        Match::Begun | Match::Not if is_itself => Match::Whole(1),
        Match::Begun | Match::Not => Match::Not,
        Match::Whole(length) => Match::Whole(length),
    }
}

fn escaped(expected: u8, bytes: &[u8]) -> Match {
    let hex = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        u32::from_str_radix(text, 16).ok()
    };
    let number = |start: usize, digits: usize| match bytes.get(start..start + digits) {
        None => Match::Begun,
        Some(found) if hex(found) == Some(u32::from(expected)) => Match::Whole(start + digits),
        Some(_) => Match::Not,
    };
    match (bytes.first(), bytes.get(1)) {
        (Some(b'\\' | b'%' | b'&'), None) => Match::Begun,
        (Some(b'\\'), Some(b'u')) => number(2, 4),
        (Some(b'\\'), Some(b'x')) => number(2, 2),
        (Some(b'\\'), Some(found)) if *found == expected => Match::Whole(2),
        (Some(b'%'), Some(_)) => number(1, 2),
        (Some(b'&'), Some(_)) => entity(expected, bytes),
        _ => Match::Not,
    }
}

/// A character reference of HTML.
fn entity(expected: u8, bytes: &[u8]) -> Match {
    const LONGEST: usize = 10;
    let Some(end) = bytes.iter().take(LONGEST).position(|byte| *byte == b';') else {
        return if bytes.len() < LONGEST { Match::Begun } else { Match::Not };
    };
    let name = bytes.get(1..end).and_then(|name| std::str::from_utf8(name).ok());
    let name = name.unwrap_or_default();
    let found = match name {
        "amp" => Some(u32::from(b'&')),
        "lt" => Some(u32::from(b'<')),
        "gt" => Some(u32::from(b'>')),
        "quot" => Some(u32::from(b'"')),
        "apos" => Some(u32::from(b'\'')),
        _ => match name.strip_prefix('#') {
            Some(number) => match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => number.parse().ok(),
            },
            None => None,
        },
    };
    if found == Some(u32::from(expected)) { Match::Whole(end + 1) } else { Match::Not }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "gh_T0k/en+with=all&\"<x";

    fn hidden() -> Hidden {
        Hidden::new([&Secret::new(TOKEN)])
    }

    fn escaped(with: impl Fn(u8) -> String) -> String {
        TOKEN.bytes().map(with).collect()
    }

    /// Each character in a way of its own.
    fn escaped_in(ways: &[u8]) -> String {
        let escaped = |(byte, way): (u8, &u8)| match way {
            0 => format!("\\u{byte:04x}"),
            1 => format!("%{byte:02X}"),
            2 => format!("&#{byte};"),
            _ => char::from(byte).to_string(),
        };
        TOKEN.bytes().zip(ways).map(escaped).collect()
    }

    #[test]
    fn no_form_of_it_leaves_wherever_pieces_end() {
        let of = |prefix: &str| STANDARD.encode(format!("{prefix}{TOKEN}"));
        for text in [
            TOKEN.to_owned(),
            serde_json::to_string(TOKEN).unwrap(),
            escaped(|byte| format!("\\u{byte:04x}")),
            escaped(|byte| format!("\\u{byte:04X}")),
            escaped(|byte| format!("%{byte:02x}")),
            escaped(|byte| format!("&#{byte};")),
            escaped(|byte| format!("&#x{byte:X};")),
            TOKEN.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;"),
            TOKEN.replace('/', "\\/").replace('+', "\\u002B"),
            of(""),
            of("a"),
            of("ab"),
            of("user:"),
            escaped(|byte| format!("{byte:02x}")),
        ] {
            let whole = format!("{{\"a\\b&c\":\"{text}\"}} 100% & more");
            for step in [1, 2, 5, 4096] {
                let (mut out, mut held, mut count) = (Vec::new(), Vec::new(), 0);
                let hidden = hidden();
                for piece in whole.as_bytes().chunks(step) {
                    let (more, found) = hidden.in_piece(&mut held, Bytes::copy_from_slice(piece));
                    out.extend(more);
                    count += found;
                }
                let (rest, found) = hidden.in_rest(held);
                out.extend(rest);
                count += found;
                let out = String::from_utf8(out).unwrap();
                assert_eq!(out.len(), whole.len());
                assert_eq!(count, 1, "{text}: {out}");
                assert!(
                    out.starts_with("{\"a\\b&c\":\"") && out.ends_with(" 100% & more"),
                    "{out}"
                );
                let shown = out.matches(|it: char| it.is_ascii_alphanumeric()).count();
                assert!(shown < 14 + 4, "{text}: {out}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_hidden_of_a_text_is_found_among_others(
            ways in prop::collection::vec(0..7_u8, TOKEN.len()),
            texts in prop::collection::vec("[gh_T%&\\\\xu#;0-9]{0,8}", 0..4),
            (before, behind) in ("[gh_T%&\\\\x]{0,4}", "[gh_T%&\\\\x]{0,4}"),
            left in 0..30_usize,
        ) {
            let text = escaped_in(&ways);
            let whole = format!("{before}{text}{behind}");
            // Also one that is cut off.
            let whole = whole.get(..whole.len().saturating_sub(left)).unwrap_or_default();
            let hidden = hidden();
            let texts: Vec<&str> = texts.iter().map(String::as_str).chain([whole]).collect();
            let one = texts.iter().any(|it| *hidden.in_whole(it.as_bytes()) != *it.as_bytes());
            prop_assert!(!one || hidden.may_be_in(texts.iter().map(|it| it.as_bytes())));
        }

        #[test]
        fn whichever_characters_are_escaped_none_of_it_leaves(
            ways in prop::collection::vec(0..5_u8, TOKEN.len()),
            before in "[gh_T%&\\\\x]{0,6}",
            size in 1_usize..40,
        ) {
            let text = escaped_in(&ways);
            let whole = format!("{before}.{text}.");
            let (mut out, mut held, hidden) = (Vec::new(), Vec::new(), hidden());
            for piece in whole.as_bytes().chunks(size) {
                let (more, _) = hidden.in_piece(&mut held, Bytes::copy_from_slice(piece));
                out.extend(more);
            }
            out.extend(hidden.in_rest(held).0);
            let expected = format!("{before}.{}.", "*".repeat(text.len()));
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in ["", "gh_T0k/en+with=al", "\\u00", "%", "&#", "plain \\\"text\\\" 50%"] {
            assert_eq!(hidden().in_whole(text.as_bytes()), text.as_bytes());
        }
        let odd = Hidden::new([&Secret::new("%\\&odd")]);
        for text in ["%\\&odd", "%25%5c%26odd", "\\u0025\\\\&amp;odd", "%\\\\\\&\\u006fdd"] {
            let hidden = odd.in_whole(text.as_bytes());
            assert_eq!(hidden, "*".repeat(text.len()).as_bytes(), "{text}");
        }
        let none = Hidden::new([&Secret::new("")]);
        assert_eq!(none.in_whole(b"\\%&"), b"\\%&".as_slice());
    }
}
