//! What a COPY masker keeps of a value whose end has not come yet.

use super::value::ColumnMasker;

/// A value of a masked column whose end has not come yet.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Held {
    /// Adds what came of it. Once it is too long it is forgotten, and only that it was too long is known.
    pub(super) fn push(&mut self, part: &[u8], longest: usize) {
        if self.overflow || self.bytes.len() + part.len() > longest {
            self.overflow = true;
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(part);
        }
    }

    /// The whole value, of which `last` is the last part, without copying if it came in one; `None` if it
    /// is too long. [`Held::clear`] follows.
    pub(super) fn complete<'a>(&'a mut self, last: &'a [u8], longest: usize) -> Option<&'a [u8]> {
        if self.bytes.is_empty() && !self.overflow && last.len() <= longest {
            return Some(last);
        }
        self.push(last, longest);
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
