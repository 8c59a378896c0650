//! COPY TO STDOUT with some columns rewritten, whatever its format.

use bytes::BytesMut;
use guard_sql::{CopyFormat, CopyOptions};

use super::{
    ColumnMasker, MAX_VALUE, Malformed, copy_binary::BinaryMasker, copy_csv::CsvMasker,
    copy_text::TextMasker,
};

/// Rewrites the data of one COPY: a stream of bytes, whose borders of messages mean nothing.
///
/// What it keeps between two calls is at most one value of a masked column, up to [`MAX_VALUE`]. At the end
/// of a row all of the row is out, so that a message with whole rows stays one.
pub(crate) struct CopyMasker {
    format: FormatMasker,
    masked: u64,
    broken: Option<Malformed>,
}

enum FormatMasker {
    Text(TextMasker),
    Csv(CsvMasker),
    Binary(BinaryMasker),
}

impl CopyMasker {
    /// One entry a column, in order: `None` where it passes as it is.
    ///
    /// The number of columns must be what CopyOutResponse says it is: check that first. Text rows are only
    /// counted up to the last masked column.
    pub(crate) fn new(options: &CopyOptions, columns: Vec<Option<ColumnMasker>>) -> Self {
        let format = match options.format {
            CopyFormat::Text => FormatMasker::Text(TextMasker::new(options, columns)),
            CopyFormat::Csv => FormatMasker::Csv(CsvMasker::new(options, columns)),
            CopyFormat::Binary => FormatMasker::Binary(BinaryMasker::new(columns)),
        };
        Self { format, masked: 0, broken: None }
    }

    /// Takes the content of a CopyData message; appends to `out` what may go to the client of it. On an error
    /// `out` is as it was, and every later call fails as well.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let start = out.len();
        let result = match &mut self.format {
            FormatMasker::Text(masker) => masker.feed(input, out, &mut self.masked),
            FormatMasker::Csv(masker) => masker.feed(input, out, &mut self.masked),
            FormatMasker::Binary(masker) => masker.feed(input, out, &mut self.masked),
        };
        if let Err(error) = result {
            out.truncate(start);
            self.broken = Some(error);
        }
        result
    }

    /// Takes CopyDone: the data must have ended where a row does.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let complete = match &self.format {
            FormatMasker::Text(masker) => masker.is_between_rows(),
            FormatMasker::Csv(masker) => masker.is_between_rows(),
            FormatMasker::Binary(masker) => masker.is_done(),
        };
        if complete { Ok(()) } else { Err(Malformed::copy("it ends in the middle of a row")) }
    }

    /// Values that were masked so far.
    pub(crate) const fn masked(&self) -> u64 {
        self.masked
    }
}

/// A value of a masked column whose end has not come yet.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Held {
    /// Adds what came of it. Once it is too long it is forgotten, and only that it was too long is known.
    pub(super) fn push(&mut self, part: &[u8]) {
        if self.overflow || self.bytes.len() + part.len() > MAX_VALUE {
            self.overflow = true;
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(part);
        }
    }

    /// The whole value, of which `last` is the last part, without copying if it came in one; `None` if it
    /// is too long. [`Held::clear`] follows.
    pub(super) fn complete<'a>(&'a mut self, last: &'a [u8]) -> Option<&'a [u8]> {
        if self.bytes.is_empty() && !self.overflow && last.len() <= MAX_VALUE {
            return Some(last);
        }
        self.push(last);
        if self.overflow { None } else { Some(&self.bytes) }
    }

    /// Makes room for the next value.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.overflow = false;
    }
}

/// One past the last masked column: from there on a row passes as it is.
pub(super) fn tail(columns: &[Option<ColumnMasker>]) -> usize {
    columns.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
}
