//! COPY in CSV format: <https://www.postgresql.org/docs/current/sql-copy.html>, "CSV Format".
//!
//! The server quotes a value as a whole or not at all, and quotes every one that has a delimiter, a quote or a
//! line end in it or that reads like NULL. Anything else is not the server's.

use bytes::{BufMut as _, BytesMut};
use guard_sql::CopyOptions;
use memchr::{memchr2, memchr3};

use super::{
    Malformed,
    held::Held,
    types::Format,
    value::{ColumnMasker, Scratch},
};
use crate::detect::Found;

pub(super) struct CsvMasker {
    columns: Vec<Option<ColumnMasker>>,
    dialect: Dialect,
    header: bool,
    column: usize,
    value: Value,
    held: Held,
    plain: Vec<u8>,
    scratch: Scratch,
}

struct Dialect {
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: Vec<u8>,
}

/// Where in a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Before its first byte.
    Start,
    /// It has no quotes.
    Bare,
    /// Between the quotes.
    Quoted,
    /// Behind an escape between the quotes.
    Escaped,
    /// Behind the closing quote, or between two quotes that mean one.
    Closed,
}

impl CsvMasker {
    pub(super) fn new(options: &CopyOptions, columns: Vec<Option<ColumnMasker>>) -> Self {
        let dialect = Dialect {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            null: options.null.as_bytes().to_vec(),
        };
        Self {
            columns,
            dialect,
            header: options.header,
            column: 0,
            value: Value::Start,
            held: Held::default(),
            plain: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    pub(super) const fn found(&self) -> Found {
        self.scratch.found()
    }

    pub(super) fn is_between_rows(&self) -> bool {
        self.column == 0 && self.value == Value::Start
    }

    pub(super) fn feed(
        &mut self,
        input: &[u8],
        out: &mut BytesMut,
        masked: &mut u64,
    ) -> Result<(), Malformed> {
        let mut input = input;
        while !input.is_empty() {
            let masker = self.columns.get(self.column).and_then(Option::as_ref);
            let longest = masker.filter(|_| !self.header).map(ColumnMasker::longest);
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
                self.hide(value, out, masked)?;
            } else {
                out.put_slice(value);
            }
            out.put_u8(border);
            self.value = Value::Start;
            self.after(border)?;
            input = rest;
        }
        Ok(())
    }

    /// Where the value ends: at a delimiter or newline outside quotes.
    fn border(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        let Dialect { delimiter, quote, escape, .. } = self.dialect;
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let rest = input.get(at..).unwrap_or_default();
            match self.value {
                Value::Start if byte == quote => {
                    self.value = Value::Quoted;
                    at += 1;
                }
                Value::Start => self.value = Value::Bare,
                Value::Bare => {
                    let Some(found) = memchr3(delimiter, b'\n', quote, rest) else { break };
                    if rest.get(found) == Some(&quote) {
                        return Err(Malformed::copy(
                            "a quote stands inside a value without quotes",
                        ));
                    }
                    return Ok(Some(at + found));
                }
                Value::Quoted => {
                    let Some(found) = memchr2(quote, escape, rest) else { break };
                    let escapes = escape != quote && rest.get(found) == Some(&escape);
                    self.value = if escapes { Value::Escaped } else { Value::Closed };
                    at += found + 1;
                }
                Value::Escaped if byte == quote || byte == escape => {
                    self.value = Value::Quoted;
                    at += 1;
                }
                Value::Escaped => {
                    return Err(Malformed::copy("an escape escapes nothing"));
                }
                Value::Closed if byte == quote && escape == quote => {
                    self.value = Value::Quoted;
                    at += 1;
                }
                Value::Closed if byte == delimiter || byte == b'\n' => return Ok(Some(at)),
                Value::Closed => {
                    return Err(Malformed::copy("there is something behind a closing quote"));
                }
            }
        }
        Ok(None)
    }

    fn after(&mut self, border: u8) -> Result<(), Malformed> {
        self.column += 1;
        // A table without columns has empty lines.
        let last = self.column == self.columns.len().max(1);
        match (border == b'\n', last) {
            (true, true) => {
                self.column = 0;
                self.header = false;
                Ok(())
            }
            (true, false) => Err(Malformed::copy("a row has too few columns")),
            (false, true) => Err(Malformed::copy("a row has too many columns")),
            (false, false) => Ok(()),
        }
    }

    fn hide(&mut self, last: &[u8], out: &mut BytesMut, masked: &mut u64) -> Result<(), Malformed> {
        let Some(Some(masker)) = self.columns.get(self.column) else {
            return Err(Malformed::copy("a column is not in the plan"));
        };
        let dialect = &self.dialect;
        let quoted = self.value == Value::Closed;
        let hidden = match self.held.complete(last, masker.longest()) {
            Some(raw) if !quoted && raw == dialect.null => {
                out.put_slice(raw);
                self.held.clear();
                return Ok(());
            }
            Some(raw) if quoted => {
                dialect.unquote(raw, &mut self.plain);
                masker.mask(&self.plain, Format::Text, &mut self.scratch)
            }
            Some(raw) => masker.mask(raw, Format::Text, &mut self.scratch),
            None => {
                self.scratch.count();
                masker.redact(Format::Text)
            }
        };
        match hidden {
            Some(value) => dialect.write(value, out),
            None => out.put_slice(&dialect.null),
        }
        *masked += self.scratch.take_masked();
        self.held.clear();
        Ok(())
    }
}

// === impl Dialect ===

impl Dialect {
    /// What stands between the quotes, without escapes.
    fn unquote(&self, raw: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        let mut bytes = inner.iter();
        while let Some(&byte) = bytes.next() {
            let value = if byte == self.escape { bytes.next().copied() } else { Some(byte) };
            out.extend(value);
        }
    }

    /// Writes a value as the server does. Whether the hidden value had quotes does not show.
    fn write(&self, value: &[u8], out: &mut BytesMut) {
        let special = |byte: &u8| {
            *byte == self.delimiter || *byte == self.quote || matches!(byte, b'\n' | b'\r')
        };
        if value != self.null && value != b"\\." && !value.is_empty() && !value.iter().any(special)
        {
            out.put_slice(value);
            return;
        }
        out.put_u8(self.quote);
        for &byte in value {
            if byte == self.quote || byte == self.escape {
                out.put_u8(self.escape);
            }
            out.put_u8(byte);
        }
        out.put_u8(self.quote);
    }
}
