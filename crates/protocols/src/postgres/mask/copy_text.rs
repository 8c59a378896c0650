//! COPY in text format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format".
//!
//! The server escapes every newline inside a value, so a newline always ends a row.

use bytes::{BufMut as _, BytesMut};
use guard_sql::CopyOptions;
use memchr::{memchr, memchr3};

use super::{
    Malformed,
    held::{Held, tail},
    types::Format,
    value::{ColumnMasker, Scratch},
};
use crate::detect::Found;

pub(super) struct TextMasker {
    columns: Vec<Option<ColumnMasker>>,
    tail: usize,
    delimiter: u8,
    null: Vec<u8>,
    at: At,
    /// The last byte was a backslash whose second half has not come yet.
    escaped: bool,
    held: Held,
    plain: Vec<u8>,
    scratch: Scratch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the line of names, or behind the last masked column: all up to the newline passes.
    Passing,
    /// Before the first byte of a row.
    Row,
    /// In a column at or before the last masked one.
    Column(usize),
}

impl TextMasker {
    pub(super) fn new(options: &CopyOptions, columns: Vec<Option<ColumnMasker>>) -> Self {
        Self {
            tail: tail(&columns),
            columns,
            delimiter: options.delimiter,
            null: options.null.as_bytes().to_vec(),
            at: if options.header { At::Passing } else { At::Row },
            escaped: false,
            held: Held::default(),
            plain: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    pub(super) const fn found(&self) -> Found {
        self.scratch.found()
    }

    pub(super) fn is_between_rows(&self) -> bool {
        self.at == At::Row
    }

    pub(super) fn feed(
        &mut self,
        input: &[u8],
        out: &mut BytesMut,
        masked: &mut u64,
    ) -> Result<(), Malformed> {
        let mut input = input;
        while !input.is_empty() {
            let column = match self.at {
                At::Row if self.tail > 0 => 0,
                At::Column(column) => column,
                At::Row | At::Passing => {
                    let end = memchr(b'\n', input).map(|newline| newline + 1);
                    let (line, rest) = input.split_at(end.unwrap_or(input.len()));
                    out.put_slice(line);
                    self.at = if end.is_some() { At::Row } else { At::Passing };
                    input = rest;
                    continue;
                }
            };
            self.at = At::Column(column);
            let masker = self.columns.get(column).and_then(Option::as_ref);
            let longest = masker.map(ColumnMasker::longest);
            let Some(end) = self.border(input)? else {
                match longest {
                    Some(longest) => self.held.push(input, longest),
                    None => out.put_slice(input),
                }
                return Ok(());
            };
            let (value, rest) = input.split_at(end);
            let Some((&border, rest)) = rest.split_first() else {
                return Err(Malformed::copy("a border is out of reach"));
            };
            if longest.is_some() {
                self.hide(column, value, out, masked)?;
            } else {
                out.put_slice(value);
            }
            out.put_u8(border);
            self.at = self.after(column, border)?;
            input = rest;
        }
        Ok(())
    }

    /// Where the value ends: at a delimiter or newline that is not escaped.
    fn border(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        const ESCAPED_NEWLINE: Malformed = Malformed::copy("a newline is escaped by itself");
        let mut from = 0;
        if self.escaped {
            if input.first() == Some(&b'\n') {
                return Err(ESCAPED_NEWLINE);
            }
            self.escaped = false;
            from = 1;
        }
        loop {
            let rest = input.get(from..).unwrap_or_default();
            let Some(found) = memchr3(self.delimiter, b'\n', b'\\', rest) else { return Ok(None) };
            let at = from + found;
            if input.get(at) != Some(&b'\\') {
                return Ok(Some(at));
            }
            match input.get(at + 1) {
                None => {
                    self.escaped = true;
                    return Ok(None);
                }
                Some(b'\n') => return Err(ESCAPED_NEWLINE),
                Some(_) => from = at + 2,
            }
        }
    }

    /// What comes after a column.
    fn after(&self, column: usize, border: u8) -> Result<At, Malformed> {
        let next = column + 1;
        match (border == b'\n', next == self.columns.len()) {
            (true, true) => Ok(At::Row),
            (true, false) => Err(Malformed::copy("a row has too few columns")),
            (false, true) => Err(Malformed::copy("a row has too many columns")),
            (false, false) if next == self.tail => Ok(At::Passing),
            (false, false) => Ok(At::Column(next)),
        }
    }

    fn hide(
        &mut self,
        column: usize,
        last: &[u8],
        out: &mut BytesMut,
        masked: &mut u64,
    ) -> Result<(), Malformed> {
        let Some(Some(masker)) = self.columns.get(column) else {
            return Err(Malformed::copy("a column is not in the plan"));
        };
        let hidden = match self.held.complete(last, masker.longest()) {
            Some(raw) if raw == self.null && (is_certain(raw) || masker.is_detecting()) => {
                out.put_slice(raw);
                self.held.clear();
                return Ok(());
            }
            // A value that is written like the NULL of the client's choice: what it is must not show,
            // or `NULL '123-45-6789'` tells who has that number.
            Some(raw) if raw == self.null => {
                self.scratch.count();
                masker.redact(Format::Text)
            }
            Some(raw) if memchr(b'\\', raw).is_none() => {
                masker.mask(raw, Format::Text, &mut self.scratch)
            }
            Some(raw) => {
                unescape(raw, &mut self.plain);
                masker.mask(&self.plain, Format::Text, &mut self.scratch)
            }
            None => {
                self.scratch.count();
                masker.redact(Format::Text)
            }
        };
        match hidden {
            Some(value) => escape(value, self.delimiter, out),
            None => out.put_slice(&self.null),
        }
        *masked += self.scratch.take_masked();
        self.held.clear();
        Ok(())
    }
}

/// Whether a NULL can't be mistaken for a value: the server writes a backslash in a value as two. (An
/// empty one can be, which tells no more than that the value is empty.)
fn is_certain(null: &[u8]) -> bool {
    null.is_empty() || null == b"\\N"
}

/// Undoes the escapes that the server writes.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        let (byte, after) = match from {
            [_, b'b', after @ ..] => (0x08, after),
            [_, b'f', after @ ..] => (0x0c, after),
            [_, b'n', after @ ..] => (b'\n', after),
            [_, b'r', after @ ..] => (b'\r', after),
            [_, b't', after @ ..] => (b'\t', after),
            [_, b'v', after @ ..] => (0x0b, after),
            [_, other, after @ ..] => (*other, after),
            [only, after @ ..] => (*only, after),
            [] => break,
        };
        out.push(byte);
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Writes a value as the server does.
fn escape(value: &[u8], delimiter: u8, out: &mut BytesMut) {
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| letter(*byte, delimiter).is_some()) {
        let (plain, from) = rest.split_at(at);
        out.put_slice(plain);
        let Some((special, after)) = from.split_first() else { break };
        out.put_u8(b'\\');
        out.put_u8(letter(*special, delimiter).unwrap_or(*special));
        rest = after;
    }
    out.put_slice(rest);
}

/// What follows the backslash of a byte that needs one.
const fn letter(byte: u8, delimiter: u8) -> Option<u8> {
    match byte {
        _ if byte == delimiter => Some(byte),
        b'\\' => Some(b'\\'),
        0x08 => Some(b'b'),
        0x0c => Some(b'f'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        0x0b => Some(b'v'),
        _ => None,
    }
}
