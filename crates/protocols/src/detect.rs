//! Values that are known by their looks, wherever they stand in a text: each byte of them becomes a star.
//!
//! A star takes the place of a character, so the length stays, and with it JSON, arrays and rows around
//! it. Where a number may be meant (JSON, types that guard does not know) digits become ones instead.
//! Every search has a bound, or takes what it went over: the time is linear in the length of the value.

use guard_core::{Detector, Detectors};
use memchr::{memchr_iter, memmem};

use crate::checks::{CARD_DIGITS, IBAN_LENGTH, luhn, mod_97};

/// How often each detector found something, in the order of [`Detector::ALL`].
pub(crate) type Found = [u64; Detector::ALL.len()];

/// RFC 5321, section 4.5.3.1: bytes before and behind the `@` of an address.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;

/// Hides what the detectors find; says whether there was anything. `numbers`: digits may be a number's.
pub(crate) fn hide(
    detectors: Detectors,
    value: &mut [u8],
    numbers: bool,
    found: &mut Found,
) -> bool {
    let mut any = false;
    if detectors.has(Detector::Email) {
        any |= hide_addresses(value, found);
    }
    let keys_of_accounts =
        detectors.has(Detector::CloudKey) && memmem::find(value, b"service_account").is_some();
    let search = Search::new(detectors, detectors.has(Detector::PrivateKey) || keys_of_accounts);
    let mut at = 0;
    while let Some((detector, start, end)) = search.next(value, at) {
        let digits = numbers && matches!(detector, Detector::Card | Detector::Ssn);
        if let Some(part) = value.get_mut(start..end) {
            if digits {
                part.iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'1');
            } else {
                part.fill(b'*');
            }
        }
        count(found, detector);
        any = true;
        at = end;
    }
    any
}

/// Where the detectors find something in a text, in order but for addresses, which come first. Keys of a cloud's accounts are not told from
/// other private keys.
pub fn places(detectors: Detectors, text: &[u8]) -> Vec<(usize, usize)> {
    let mut places = if detectors.has(Detector::Email) { addresses(text) } else { Vec::new() };
    let search = Search::new(detectors, detectors.has(Detector::PrivateKey));
    let mut at = 0;
    while let Some((_, start, end)) = search.next(text, at) {
        places.push((start, end));
        at = end;
    }
    places
}

/// Where a secret ends that begins at `start` and is one by its looks: a private key, a key of a cloud or a code host, a JSON web
/// token. What stands before it is not looked at.
pub fn secret_at(value: &[u8], start: usize) -> Option<usize> {
    let secrets = [Detector::PrivateKey, Detector::CloudKey, Detector::Jwt];
    let search = Search::new(secrets.into_iter().collect(), true);
    search.at(value, start).map(|(_, end)| end)
}

/// Whether a decimal is the number of a card.
pub(crate) fn is_card_number(detectors: Detectors, decimal: &[u8], found: &mut Found) -> bool {
    let is_one = detectors.has(Detector::Card)
        && CARD_DIGITS.contains(&decimal.len())
        && decimal.iter().all(u8::is_ascii_digit)
        && is_card(decimal);
    if is_one {
        count(found, Detector::Card);
    }
    is_one
}

fn count(found: &mut Found, detector: Detector) {
    if let Some(count) = found.get_mut(detector as usize) {
        *count += 1;
    }
}

/// In JSON a backslash makes one of these letters another character: that stays.
fn skip_escape(value: &[u8], start: usize) -> usize {
    let before = value.get(..start).unwrap_or_default();
    let slashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    if slashes % 2 == 0 {
        return start;
    }
    match value.get(start..).unwrap_or_default() {
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()) => {
            start + 5
        }
        [b'b' | b'f' | b'n' | b'r' | b't', ..] => start + 1,
        _ => start,
    }
}

/// Part of a word: what stands before or behind a number or a key would make it another one.
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn before(value: &[u8], at: usize) -> u8 {
    at.checked_sub(1).and_then(|at| value.get(at)).copied().unwrap_or(0)
}

/// How many bytes from a place on are of a kind.
fn run(value: &[u8], from: usize, kind: impl Fn(u8) -> bool) -> usize {
    value.get(from..).unwrap_or_default().iter().take_while(|byte| kind(**byte)).count()
}

// === addresses ===

fn hide_addresses(value: &mut [u8], found: &mut Found) -> bool {
    // Hiding one changes where no other is.
    let places = addresses(value);
    for (start, end) in &places {
        if let Some(part) = value.get_mut(*start..*end) {
            fill(part);
        }
        count(found, Detector::Email);
    }
    !places.is_empty()
}

fn addresses(value: &[u8]) -> Vec<(usize, usize)> {
    let mut done = 0;
    let whole = memchr_iter(b'@', value).filter_map(|at| {
        let place = address(value, at, done)?;
        done = place.1;
        Some(place)
    });
    whole.collect()
}

/// The address around an `@`, not before `done`.
fn address(value: &[u8], at: usize, done: usize) -> Option<(usize, usize)> {
    let is_local = |byte: &u8| is_word(*byte) || matches!(byte, b'.' | b'%' | b'+' | b'-' | 0x80..);
    let left = value.get(done.max(at.saturating_sub(MAX_LOCAL))..at)?;
    let mut start = at - left.iter().rev().take_while(|byte| is_local(byte)).count();
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | 0x80..);
    let length = run(value.get(..value.len().min(at + 1 + MAX_DOMAIN))?, at + 1, is_domain);
    let mut domain = value.get(at + 1..at + 1 + length)?;
    while let Some((b'.' | b'-', rest)) = domain.split_last() {
        domain = rest;
    }
    // Of a text that is not UTF-8 the bytes beyond ASCII are left.
    if std::str::from_utf8(value.get(start..at)?).is_err() {
        start = at - left.iter().rev().take_while(|b| is_local(b) && b.is_ascii()).count();
    }
    if std::str::from_utf8(domain).is_err() {
        domain = domain.get(..run(domain, 0, |byte| byte.is_ascii()))?;
    }
    start = skip_escape(value, start);
    let top = domain.rsplit(|byte| *byte == b'.').next()?;
    let named = top.len() >= 2 && top.len() < domain.len() && !top.iter().any(u8::is_ascii_digit);
    (named && start < at && domain.first() != Some(&b'.')).then(|| (start, at + 1 + domain.len()))
}

/// A star for each character, of as many bytes.
fn fill(part: &mut [u8]) {
    let mut at = 0;
    while let Some(first) = part.get(at) {
        let star: &[u8] = match first {
            0xc0..0xe0 => "×".as_bytes(),
            0xe0..0xf0 => "＊".as_bytes(),
            0xf0.. => "🞷".as_bytes(),
            _ => b"*",
        };
        match part.get_mut(at..at + star.len()) {
            Some(place) => place.copy_from_slice(star),
            // Cut off: it was no UTF-8.
            None => part.iter_mut().skip(at).for_each(|byte| *byte = b'*'),
        }
        at += star.len();
    }
}

// === everything that starts with a word ===

struct Search {
    detectors: Detectors,
    private_keys: bool,
    /// How what is looked for may begin.
    kinds: u8,
}

// How values begin, a bit each.
const NUMBER: u8 = 1;
const CAPITAL: u8 = 1 << 1;
const KEY: u8 = 1 << 2;
const TOKEN: u8 = 1 << 3;
const DASH: u8 = 1 << 4;
/// Not how a value begins, but what a backslash makes another character of.
const ESCAPED: u8 = 1 << 5;

/// What a byte can be the beginning of.
const fn kinds(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => NUMBER,
        b'A' | b'S' => CAPITAL | KEY,
        b'B'..=b'Z' => CAPITAL,
        b'e' => TOKEN,
        b'g' | b'x' => KEY,
        b'-' => DASH,
        b'b' | b'f' | b'n' | b'r' | b't' | b'u' => ESCAPED,
        _ => 0,
    }
}

impl Search {
    fn new(detectors: Detectors, private_keys: bool) -> Self {
        let kinds = [
            (detectors.has(Detector::Card) || detectors.has(Detector::Ssn), NUMBER),
            (detectors.has(Detector::Iban), CAPITAL),
            (detectors.has(Detector::CloudKey), KEY),
            (detectors.has(Detector::Jwt), TOKEN),
            (private_keys, DASH),
        ];
        let kinds = kinds.iter().filter(|(has, _)| *has).fold(0, |kinds, (_, kind)| kinds | kind);
        Self { detectors, private_keys, kinds }
    }

    /// What is found first from a place on: where it starts and ends.
    fn next(&self, value: &[u8], from: usize) -> Option<(Detector, usize, usize)> {
        let mut at = from;
        loop {
            let start = skip_escape(value, self.candidate(value, at)?);
            if let Some((detector, end)) = self.at(value, start) {
                return Some((detector, start, end));
            }
            at = start + 1;
        }
    }

    /// The next place where something could start.
    fn candidate(&self, value: &[u8], from: usize) -> Option<usize> {
        let mut last = before(value, from);
        let mut starts = |byte: &u8| {
            let (kinds, before) = (kinds(*byte), std::mem::replace(&mut last, *byte));
            let alone = if *byte == b'-' { before != b'-' } else { !is_word(before) };
            // One behind a backslash may be an escape, and a value behind it.
            alone && (kinds & self.kinds != 0 || before == b'\\' && kinds & ESCAPED != 0)
        };
        value.get(from..)?.iter().position(&mut starts).map(|place| from + place)
    }

    /// What starts there, and where it ends.
    fn at(&self, value: &[u8], start: usize) -> Option<(Detector, usize)> {
        let has = |detector| self.detectors.has(detector);
        match value.get(start)? {
            b'0'..=b'9' => {
                if has(Detector::Card)
                    && let Some(end) = card(value, start)
                {
                    return Some((Detector::Card, end));
                }
                let end = has(Detector::Ssn).then(|| social_security(value, start)).flatten()?;
                Some((Detector::Ssn, end))
            }
            b'-' => {
                let end = self.private_keys.then(|| private_key(value, start)).flatten()?;
                Some((Detector::PrivateKey, end))
            }
            b'e' => {
                let end = has(Detector::Jwt).then(|| token(value, start)).flatten()?;
                Some((Detector::Jwt, end))
            }
            _ => {
                if has(Detector::CloudKey)
                    && let Some(end) = cloud_key(value, start)
                {
                    return Some((Detector::CloudKey, end));
                }
                let end = has(Detector::Iban).then(|| iban(value, start)).flatten()?;
                Some((Detector::Iban, end))
            }
        }
    }
}

/// The longest number of a card: groups of digits, a blank or dash between two of them.
fn card(value: &[u8], start: usize) -> Option<usize> {
    if before(value, start) == b'.' {
        return None;
    }
    let mut digits = [0u8; 19];
    let (mut count, mut at, mut end) = (0, start, None);
    loop {
        let group = run(value, at, |byte| byte.is_ascii_digit());
        if group == 0 {
            return end;
        }
        // More than fit: the numbers that were found before it stand.
        let Some(place) = digits.get_mut(count..count + group) else { return end };
        place.copy_from_slice(value.get(at..at + group)?);
        count += group;
        at += group;
        let next = value.get(at).copied().unwrap_or(0);
        if is_word(next) {
            return end;
        }
        if CARD_DIGITS.contains(&count) && digits.get(..count).is_some_and(is_card) {
            end = Some(at);
        }
        if !matches!(next, b' ' | b'-') {
            return end;
        }
        at += 1;
    }
}

/// First digits and lengths of the large issuers, and the check digit (ISO/IEC 7812-1).
fn is_card(digits: &[u8]) -> bool {
    let first = digits.iter().take(4).fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let issued = match (first, digits.len()) {
        // Visa; Mastercard; American Express
        (4000..=4999, 13 | 16 | 19) | (5100..=5599 | 2221..=2720, 16) => true,
        (3400..=3499 | 3700..=3799, 15) => true,
        // Diners Club; JCB; Discover, UnionPay; Maestro
        (3000..=3059 | 3600..=3699 | 3800..=3999, 14..=19) | (3528..=3589, 16..=19) => true,
        (6011 | 6200..=6299 | 6440..=6599 | 8100..=8199, 16..=19) => true,
        (5000..=5099 | 5600..=5899 | 6300..=6399 | 6700..=6799, 13..=19) => true,
        _ => false,
    };
    let values = digits.iter().rev().map(|digit| u16::from(digit - b'0'));
    issued && luhn(values, false).is_multiple_of(10)
}

/// `AAA-GG-SSSS`, of areas that were given out (20 CFR 422.103 and the administration's own words).
fn social_security(value: &[u8], start: usize) -> Option<usize> {
    let text = value.get(start..start + 11)?;
    let dashes = text.iter().enumerate().all(|(place, byte)| match place {
        3 | 6 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let (area, rest) = text.split_at_checked(3)?;
    let given = !matches!(area, b"000" | b"666" | [b'9', ..])
        && rest.get(1..3) != Some(b"00")
        && rest.get(4..) != Some(b"0000");
    let behind = value.get(start + 11).copied().unwrap_or(0);
    let alone = before(value, start) != b'-' && !is_word(behind) && behind != b'-';
    (dashes && given && alone).then_some(start + 11)
}

/// The longest IBAN: as one word, or in groups of four (ISO 13616-1).
fn iban(value: &[u8], start: usize) -> Option<usize> {
    let [a, b, c, d, ..] = value.get(start..)? else { return None };
    let shaped = a.is_ascii_uppercase()
        && b.is_ascii_uppercase()
        && c.is_ascii_digit()
        && d.is_ascii_digit();
    if !shaped {
        return None;
    }
    let mut characters = [0u8; 34];
    let (mut count, mut at, mut end) = (0, start, None);
    loop {
        let group = run(value, at, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let Some(place) = characters.get_mut(count..count + group) else { return end };
        place.copy_from_slice(value.get(at..at + group)?);
        count += group;
        at += group;
        let next = value.get(at).copied().unwrap_or(0);
        if group == 0 || is_word(next) {
            return end;
        }
        if IBAN_LENGTH.contains(&count) && characters.get(..count).is_some_and(is_iban) {
            end = Some(at);
        }
        if next != b' ' || group != 4 {
            return end;
        }
        at += 1;
    }
}

fn is_iban(characters: &[u8]) -> bool {
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => u16::from(byte - b'0'),
        _ => u16::from(byte.saturating_sub(b'A')) + 10,
    };
    mod_97(characters.iter().map(value)) == 1
}

/// From `-----BEGIN … PRIVATE KEY` to its end, or as far as it looks like one (RFC 7468).
fn private_key(value: &[u8], start: usize) -> Option<usize> {
    let label = value.get(start..)?.strip_prefix(b"-----BEGIN ")?;
    let label = label.get(..label.len().min(64)).unwrap_or_default();
    memmem::find(label, b"PRIVATE KEY")?;
    let body = start + b"-----BEGIN ".len();
    let fits = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'+' | b'/'
                    | b'='
                    | b'\\'
                    | b' '
                    | b'\r'
                    | b'\n'
                    | b'\t'
                    | b':'
                    | b','
                    | b'-'
                    | b'.'
            )
    };
    let most = body + run(value, body, fits);
    let text = value.get(body..most)?;
    let end = memmem::find(text, b"-----END ").and_then(|at| {
        let behind = text.get(at + b"-----END ".len()..)?;
        Some(at + b"-----END ".len() + memmem::find(behind, b"-----")? + 5)
    });
    let mut end = end.map_or(most, |end| body + end);
    // The backslash of what comes next is not part of it.
    while before(value, end) == b'\\' {
        end -= 1;
    }
    Some(end)
}

/// Keys that say by their first characters whose they are.
fn cloud_key(value: &[u8], start: usize) -> Option<usize> {
    let rest = value.get(start..)?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let (prefix, least, exact, kind): (&[u8], usize, bool, &dyn Fn(u8) -> bool) = match rest {
        // Amazon: access keys of users and of sessions
        [b'A', b'K' | b'S', b'I', b'A', ..] => (b"AKIA", 16, true, &letter),
        // Google
        [b'A', b'I', b'z', b'a', ..] => (b"AIza", 35, false, &url),
        // GitHub
        [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r', b'_', ..] => (b"ghp_", 36, false, &is_word),
        [b'g', b'i', b't', b'h', b'u', b'b', b'_', b'p', b'a', b't', b'_', ..] => {
            (b"github_pat_", 22, false, &is_word)
        }
        // Slack
        [b'x', b'o', b'x', b'a'..=b'z', b'-', ..] => (b"xoxb-", 10, false, &url),
        // Azure: connection strings
        [b'A', b'c', b'c', b'o', b'u', b'n', b't', b'K', b'e', b'y', b'=', ..] => {
            (b"AccountKey=", 40, false, &base64)
        }
        [
            b'S',
            b'h',
            b'a',
            b'r',
            b'e',
            b'd',
            b'A',
            b'c',
            b'c',
            b'e',
            b's',
            b's',
            b'K',
            b'e',
            b'y',
            b'=',
            ..,
        ] => (b"SharedAccessKey=", 40, false, &base64),
        _ => return None,
    };
    let length = run(value, start + prefix.len(), kind);
    let long_enough = if exact { length == least } else { length >= least };
    long_enough.then_some(start + prefix.len() + length)
}

/// RFC 7519: two JSON objects and a signature, each in base64url.
fn token(value: &[u8], start: usize) -> Option<usize> {
    const START: &[u8] = b"eyJ";
    let part = |from: usize| run(value, from, |byte| is_word(byte) || byte == b'-');
    if before(value, start) == b'-' || !value.get(start..)?.starts_with(START) {
        return None;
    }
    let header = start + part(start);
    if header < start + 10 || !value.get(header + 1..)?.starts_with(START) {
        return None;
    }
    let payload = header + 1 + part(header + 1);
    let dots = (value.get(header)?, value.get(payload)?);
    (dots == (&b'.', &b'.')).then(|| payload + 1 + part(payload + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn all() -> Detectors {
        Detector::ALL.into_iter().collect()
    }

    fn hidden(value: &str, numbers: bool) -> (String, Found) {
        let mut bytes = value.as_bytes().to_vec();
        let mut found = Found::default();
        let any = hide(all(), &mut bytes, numbers, &mut found);
        assert_eq!(any, found.iter().any(|count| *count > 0));
        (String::from_utf8(bytes).unwrap(), found)
    }

    #[test]
    fn each_detector_finds_its_own_and_the_rest_stays() {
        let key = "A".repeat(36);
        let azure = "b".repeat(86);
        let cases: Vec<(Detector, String, String)> = vec![
            (
                Detector::Email,
                "ask jane.doe+x@example.co.uk.".into(),
                format!("ask {}.", "*".repeat(24)),
            ),
            (Detector::Email, "<jörg@müller.de>".into(), "<*×****×*******>".into()),
            (Detector::Card, "pan 4111 1111 1111 1111!".into(), format!("pan {}!", "*".repeat(19))),
            (
                Detector::Card,
                "on 2020-01-01 378282246310005".into(),
                format!("on 2020-01-01 {}", "*".repeat(15)),
            ),
            (Detector::Card, "5555-5555-5555-4444 2020".into(), format!("{} 2020", "*".repeat(19))),
            (
                Detector::Iban,
                "to DE89370400440532013000.".into(),
                format!("to {}.", "*".repeat(22)),
            ),
            (
                Detector::Iban,
                "to GB82 WEST 1234 5698 7654 32 now".into(),
                format!("to {} now", "*".repeat(27)),
            ),
            (Detector::Ssn, "ssn 123-45-6789".into(), format!("ssn {}", "*".repeat(11))),
            (Detector::CloudKey, "AKIAIOSFODNN7EXAMPLE".into(), "*".repeat(20)),
            (Detector::CloudKey, format!("token=ghp_{key};"), format!("token={};", "*".repeat(40))),
            (
                Detector::CloudKey,
                format!("x;AccountKey={azure}==;y"),
                format!("x;{};y", "*".repeat(99)),
            ),
            (Detector::CloudKey, "xoxb-1234567890-abc".into(), "*".repeat(19)),
            (
                Detector::Jwt,
                "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl x".into(),
                format!("Bearer {} x", "*".repeat(49)),
            ),
            (
                Detector::PrivateKey,
                "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b".into(),
                format!("a {} b", "*".repeat(66)),
            ),
        ];
        for (detector, value, expected) in cases {
            let (text, found) = hidden(&value, false);
            assert_eq!(text, expected);
            assert_eq!(found.iter().sum::<u64>(), 1, "{value}");
            assert_eq!(found.get(detector as usize), Some(&1), "{value}");
            let mut bytes = value.clone().into_bytes();
            let others = Detector::ALL.into_iter().filter(|other| *other != detector).collect();
            assert!(!hide(others, &mut bytes, false, &mut Found::default()), "{value}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for value in [
            "a@b",
            "@example.com",
            "x@1.2.3.4",
            "4111111111111112",
            "1234567890123456",
            "000-12-3456",
            "666-12-3456",
            "912-12-3456",
            "123-45-67890",
            "DE88370400440532013000",
            "AKIASHORT",
            "eyJhbGciOiJIUzI1NiJ9",
            "-----BEGIN CERTIFICATE-----",
            "0.4111111111111111",
            "x4111111111111111",
        ] {
            assert_eq!(hidden(value, false).0, value);
        }
    }

    #[test]
    fn json_stays_json() {
        for value in [
            r#"{"mail": "\njane@example.com", "n": 4111111111111111, "k": "\u0041jane@example.com"}"#,
            r#"{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}"#,
            r#"["-----BEGIN PRIVATE KEY-----\nMIIE\"", "\t4111111111111111", 378282246310005]"#,
        ] {
            let (text, found) = hidden(value, true);
            assert!(found.iter().any(|count| *count > 0));
            assert!(!text.contains("MIIE") && !text.contains("example") && !text.contains("4111"));
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_value_behind_an_escape_is_found_whatever_else_is_looked_for() {
        for (detector, value) in [
            (Detector::Email, "jane@example.com"),
            (Detector::Card, "4111111111111111"),
            (Detector::Iban, "DE89370400440532013000"),
            (Detector::Ssn, "123-45-6789"),
            (Detector::CloudKey, "AKIAIOSFODNN7EXAMPLE"),
            (Detector::Jwt, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
        ] {
            for escape in ["\\n", "\\t", "\\u0020"] {
                let mut text = format!("{escape}{value}").into_bytes();
                let only = [detector].into_iter().collect();
                assert!(hide(only, &mut text, true, &mut Found::default()), "{escape}{value}");
                let text = String::from_utf8(text).unwrap();
                assert!(text.starts_with(escape) && !text.contains(value), "{text}");
            }
        }
    }

    #[test]
    fn the_time_is_linear_in_the_length() {
        for part in [
            "@",
            "a@",
            "eyJ-",
            "eyJaaaaaaaa.",
            "-----BEGIN PRIVATE KEY",
            "4111 ",
            "AB12 ",
            "1-",
            "ghp_",
        ] {
            let mut value = part.repeat((1 << 17) / part.len()).into_bytes();
            let started = std::time::Instant::now();
            hide(all(), &mut value, false, &mut Found::default());
            assert!(started.elapsed().as_secs() < 10, "{part}");
        }
    }

    proptest! {
        #[test]
        fn nothing_changes_length_or_encoding(value in "[a-z@.0-9 \\-\"\\\\{}é日A-Z]{0,80}", numbers: bool) {
            let (text, _) = hidden(&value, numbers);
            prop_assert_eq!(text.chars().count(), value.chars().count());
            prop_assert_eq!(text.len(), value.len());
        }

        #[test]
        fn any_bytes_are_taken(mut value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let before = value.len();
            hide(all(), &mut value, true, &mut Found::default());
            prop_assert_eq!(value.len(), before);
        }
    }
}
