//! COPY in binary format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

use bytes::{BufMut as _, BytesMut};

use super::{
    Malformed,
    held::Held,
    types::Format,
    value::{ColumnMasker, Scratch},
};
use crate::detect::Found;

/// Signature, flags, length of the extension. The server sets no flag and has no extension; another one is
/// refused, because what it means is not known.
const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

pub(super) struct BinaryMasker {
    columns: Vec<Option<ColumnMasker>>,
    at: At,
    /// The first bytes of a word whose last ones have not come yet.
    word: Vec<u8>,
    held: Held,
    scratch: Scratch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    /// Before the number of columns of a row, or the end.
    Row,
    /// Before the length of a value.
    Length {
        column: usize,
    },
    /// In a value.
    Value {
        column: usize,
        remaining: usize,
    },
    Done,
}

impl BinaryMasker {
    pub(super) fn new(columns: Vec<Option<ColumnMasker>>) -> Self {
        Self {
            columns,
            at: At::Header,
            word: Vec::new(),
            held: Held::default(),
            scratch: Scratch::default(),
        }
    }

    pub(super) const fn found(&self) -> Found {
        self.scratch.found()
    }

    pub(super) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    pub(super) fn feed(
        &mut self,
        input: &[u8],
        out: &mut BytesMut,
        masked: &mut u64,
    ) -> Result<(), Malformed> {
        let mut input = input;
        while !input.is_empty() {
            match self.at {
                At::Header => {
                    let Some(header) = self.word(&mut input) else { break };
                    if header != HEADER {
                        return Err(Malformed::copy("it does not start like PGCOPY"));
                    }
                    out.put_slice(&header);
                    self.at = At::Row;
                }
                At::Row => {
                    let Some(count) = self.word(&mut input) else { break };
                    self.at = match i16::from_be_bytes(count) {
                        -1 => At::Done,
                        count if usize::try_from(count) == Ok(self.columns.len()) => self.next(0),
                        _ => return Err(Malformed::copy("a row has another number of columns")),
                    };
                    out.put_slice(&count);
                }
                At::Length { column } => {
                    let Some(length) = self.word(&mut input) else { break };
                    let hidden = self.is_hidden(column);
                    match i32::from_be_bytes(length) {
                        -1 => {
                            out.put_slice(&length);
                            self.at = self.next(column + 1);
                            continue;
                        }
                        length => {
                            let remaining = usize::try_from(length)
                                .map_err(|_| Malformed::copy("a value has a negative length"))?;
                            self.at = At::Value { column, remaining };
                        }
                    }
                    if !hidden {
                        out.put_slice(&length);
                    }
                    // An empty value ends here: no byte of it will come.
                    self.value(&mut input, out, masked)?;
                }
                At::Value { .. } => self.value(&mut input, out, masked)?,
                At::Done => return Err(Malformed::copy("there is something behind its end")),
            }
        }
        Ok(())
    }

    /// Takes what there is of a value.
    fn value(
        &mut self,
        input: &mut &[u8],
        out: &mut BytesMut,
        masked: &mut u64,
    ) -> Result<(), Malformed> {
        let At::Value { column, remaining } = self.at else { return Ok(()) };
        let (part, rest) = input.split_at(remaining.min(input.len()));
        *input = rest;
        let remaining = remaining - part.len();
        let Some(masker) = self.columns.get(column).and_then(Option::as_ref) else {
            out.put_slice(part);
            self.at = if remaining == 0 {
                self.next(column + 1)
            } else {
                At::Value { column, remaining }
            };
            return Ok(());
        };
        if remaining > 0 {
            self.held.push(part, masker.longest());
            self.at = At::Value { column, remaining };
            return Ok(());
        }
        let hidden = match self.held.complete(part, masker.longest()) {
            Some(value) => masker.mask(value, Format::Binary, &mut self.scratch),
            None => {
                self.scratch.count();
                masker.redact(Format::Binary)
            }
        };
        match hidden {
            Some(value) => {
                let length = i32::try_from(value.len())
                    .map_err(|_| Malformed::copy("a value is too long"))?;
                out.put_i32(length);
                out.put_slice(value);
            }
            None => out.put_i32(-1),
        }
        *masked += self.scratch.take_masked();
        self.held.clear();
        self.at = self.next(column + 1);
        Ok(())
    }

    fn is_hidden(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(Option::is_some)
    }

    fn next(&self, column: usize) -> At {
        if column == self.columns.len() { At::Row } else { At::Length { column } }
    }

    /// The next `N` bytes, if they are all here.
    fn word<const N: usize>(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        if self.word.is_empty()
            && let Some((word, rest)) = input.split_first_chunk::<N>()
        {
            *input = rest;
            return Some(*word);
        }
        let (part, rest) = input.split_at((N - self.word.len()).min(input.len()));
        self.word.extend_from_slice(part);
        *input = rest;
        let word = self.word.as_slice().try_into().ok()?;
        self.word.clear();
        Some(word)
    }
}
