//! What detectors find in texts, hidden while they come in.
//!
//! In JSON, NDJSON and events, strings are looked at as they are meant, without their escapes, and what stands between them as it is written,
//! where digits may be a number's. Nothing is refused for not being JSON: detectors block nothing. Other texts are looked at line by line, and
//! private keys in one. What is held is the string, line or key that is not over yet, up to [`WINDOW`]: of a longer one the first three
//! quarters go on, and the rest is looked at again with what follows, so that whatever is shorter than [`TAIL`] is found.

use guard_core::{Detector, Detectors};
use memchr::{memchr, memchr3, memmem, memrchr};

use crate::detect::{Found, hide};

/// Most that is held.
pub(super) const WINDOW: usize = 64 << 10;

/// How much of it is held on to, when it is full.
const TAIL: usize = WINDOW / 4;

/// Whatever is shorter is nothing that a detector knows: `a@b.cc`.
const SHORTEST: usize = 6;

/// Hides in one text what detectors find.
pub struct Looker {
    detectors: Detectors,
    at: At,
    held: Vec<u8>,
    /// Whether the last byte of a string was a backslash that something belongs to.
    escaped: bool,
    found: Found,
}

/// Where in a text one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a text without strings of its own.
    Line,
    /// Between strings.
    Between,
    InString,
}

impl Looker {
    /// For a text in which strings are written as in JSON.
    pub fn json(detectors: Detectors) -> Self {
        Self::new(detectors, At::Between)
    }

    /// For any other text.
    pub fn text(detectors: Detectors) -> Self {
        Self::new(detectors, At::Line)
    }

    fn new(detectors: Detectors, at: At) -> Self {
        let detectors = with_keys_of_accounts(detectors);
        Self { detectors, at, held: Vec::new(), escaped: false, found: Found::default() }
    }

    /// Takes the next bytes, and appends what may go on.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let length = match self.at {
                At::Line => self.line(rest, out),
                At::Between => self.between(rest, out),
                At::InString => self.string(rest, out),
            };
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    /// Appends what is not looked at: it is hidden already.
    pub fn push_hidden(&mut self, hidden: &[u8], out: &mut Vec<u8>) {
        self.flush(out);
        out.extend_from_slice(hidden);
    }

    /// Says that there is no more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
    }

    /// How often each detector found something.
    pub fn found(&self) -> impl Iterator<Item = (Detector, u64)> {
        Detector::ALL.into_iter().zip(self.found).filter(|(_, count)| *count > 0)
    }

    // === texts ===

    fn line(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let length = self.hold(rest);
        if self.held.len() >= WINDOW {
            self.overflow(out);
        } else if length == rest.len() {
            let end = memrchr(b'\n', &self.held).map_or(0, |at| at + 1);
            let lines = self.held.get(..end).unwrap_or_default();
            let end = self.open_key(lines).unwrap_or(end);
            self.release(end, false, out);
        }
        length
    }

    /// Where a private key begins whose end has not come.
    fn open_key(&self, text: &[u8]) -> Option<usize> {
        if !self.detectors.has(Detector::PrivateKey) {
            return None;
        }
        let at = memmem::rfind(text, b"-----BEGIN ")?;
        memmem::find(text.get(at..)?, b"-----END ").is_none().then_some(at)
    }

    // === what strings stand in ===

    fn between(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let quote = memchr(b'"', rest);
        let part = rest.get(..quote.unwrap_or(rest.len())).unwrap_or_default();
        if quote.is_some() && self.held.is_empty() && part.len() < SHORTEST {
            out.extend_from_slice(part);
        } else {
            let length = self.hold(part);
            if self.held.len() >= WINDOW {
                self.overflow(out);
            }
            if length < part.len() {
                return length;
            }
            let borders =
                |byte: &u8| matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}' | b'\n');
            let end = match quote {
                Some(_) => self.held.len(),
                None => self.held.iter().rposition(borders).map_or(0, |at| at + 1),
            };
            self.release(end, true, out);
        }
        if quote.is_none() {
            return part.len();
        }
        out.push(b'"');
        self.at = At::InString;
        part.len() + 1
    }

    fn string(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        if self.escaped {
            // Of `\u` the digits are like any others here.
            self.escaped = false;
            self.held.extend(rest.first());
            self.overflow_if_full(out);
            return 1;
        }
        let end = memchr3(b'"', b'\\', b'\n', rest);
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let length = self.hold(part);
        self.overflow_if_full(out);
        if length < part.len() {
            return length;
        }
        match rest.get(length) {
            Some(b'\\') => {
                self.held.push(b'\\');
                self.escaped = true;
                length + 1
            }
            Some(b'"') => {
                self.flush(out);
                out.push(b'"');
                self.at = At::Between;
                length + 1
            }
            // No string goes on in another line: this one was none.
            Some(_) => {
                self.flush(out);
                self.at = At::Between;
                length
            }
            None => length,
        }
    }

    // === what is held ===

    /// Holds what there is room for: how many bytes.
    fn hold(&mut self, part: &[u8]) -> usize {
        let room = WINDOW.saturating_sub(self.held.len());
        let part = part.get(..room).unwrap_or(part);
        self.held.extend_from_slice(part);
        part.len()
    }

    fn overflow_if_full(&mut self, out: &mut Vec<u8>) {
        if self.held.len() >= WINDOW {
            self.overflow(out);
        }
    }

    /// Lets the beginning go on of what is longer than is held.
    fn overflow(&mut self, out: &mut Vec<u8>) {
        // What a backslash belongs to is yet to come.
        let odd = self.escaped.then(|| self.held.pop()).flatten();
        self.look(true);
        self.held.extend(odd);
        let most = self.held.len().saturating_sub(TAIL);
        let cut = match self.at {
            At::Line | At::Between => most,
            At::InString => between_escapes(&self.held, most),
        };
        out.extend(self.held.drain(..cut));
    }

    /// Hides what is found in what is held. Where it goes on, what is found at its very end is left, as it may go on, too.
    fn look(&mut self, goes_on: bool) {
        let Self { detectors, at, held, found, .. } = self;
        if held.len() < SHORTEST {
            return;
        }
        let numbers = *at == At::Between;
        let is_escaped = *at == At::InString && memchr(b'\\', held).is_some();
        let mut text = if is_escaped { unescaped(held) } else { std::mem::take(held) };
        let mut counted = *found;
        let original = goes_on.then(|| text.clone());
        let mut any = hide(*detectors, &mut text, numbers, &mut counted);
        if let Some(original) = original.filter(|_| any) {
            let changed = |(now, was): &(&u8, &u8)| now != was && was.is_ascii();
            let tail = text.iter().rev().zip(original.iter().rev()).take(TAIL / 2);
            let changed = tail.take_while(changed).count();
            if changed > 0 && changed < TAIL / 2 {
                text = original;
                counted = *found;
                let certain = text.len() - changed;
                if let Some(certain) = text.get_mut(..certain) {
                    any = hide(*detectors, certain, numbers, &mut counted);
                }
            }
        }
        *found = counted;
        match (is_escaped, any) {
            (true, true) => *held = escaped(&text),
            (true, false) => {}
            (false, _) => *held = text,
        }
    }

    /// Looks at so many of the bytes that are held, and lets them go on.
    fn release(&mut self, length: usize, numbers: bool, out: &mut Vec<u8>) {
        let Some(part) = self.held.get_mut(..length) else { return };
        hide(self.detectors, part, numbers, &mut self.found);
        out.extend(self.held.drain(..length));
    }

    /// Lets all go on.
    fn flush(&mut self, out: &mut Vec<u8>) {
        self.look(false);
        out.append(&mut self.held);
    }
}

/// With private keys where keys of clouds are looked for: one of a service account is one, and what says so may have gone on before it.
pub(super) fn with_keys_of_accounts(detectors: Detectors) -> Detectors {
    let all = Detector::ALL.into_iter();
    let keys = detectors.has(Detector::CloudKey);
    all.filter(|it| detectors.has(*it) || keys && *it == Detector::PrivateKey).collect()
}

/// The last place up to here that is within no escape.
fn between_escapes(text: &[u8], most: usize) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..most).unwrap_or_default();
        let Some(next) = memchr(b'\\', rest) else { return most };
        let start = at + next;
        let (_, length) = escape(text.get(start..).unwrap_or_default());
        if start + length > most {
            return start;
        }
        at = start + length;
    }
}

/// A string as it is meant. What is no escape stays as it is.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (character, length) = escape(from);
        match character {
            Some(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => out.extend_from_slice(from.get(..length).unwrap_or_default()),
        }
        rest = from.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// What stands at the beginning of these bytes, which is a backslash: a character, and how long its escape is.
fn escape(text: &[u8]) -> (Option<char>, usize) {
    let character = match text.get(1) {
        Some(b'u') => {
            let Some(first) = unit(text) else { return (None, 2.min(text.len())) };
            let second = text.get(6..).and_then(unit);
            let pair = second.map(|second| char::decode_utf16([first, second]).next());
            return match (char::from_u32(u32::from(first)), pair) {
                (Some(character), _) => (Some(character), 6),
                (None, Some(Some(Ok(character)))) => (Some(character), 12),
                (None, _) => (Some(char::REPLACEMENT_CHARACTER), 6),
            };
        }
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(_) | None => return (None, 2.min(text.len())),
    };
    (Some(character), 2)
}

/// The unit of UTF-16 that `\uXXXX` stands for.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u16::from_str_radix(digits, 16).ok()
}

/// The same text as a string of JSON has it.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
#[path = "look/tests.rs"]
mod tests;
