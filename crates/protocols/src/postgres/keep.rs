//! The rows of an answer that the policy records: taken where they go to the client, behind every mask.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use guard_gate::{Cell, Keeping, Kept, Row};

use super::{
    frame::{Broken, Fields, HEADER, Header},
    mask::Format,
};

/// Keeps the rows of one answer.
pub(super) struct Keep {
    keeping: Keeping,
    formats: Vec<Format>,
    /// Data of a COPY is binary.
    binary: bool,
    /// A message that is not all there yet; no longer than there is room for.
    partial: BytesMut,
    full: bool,
}

impl Keep {
    pub(super) fn new(keeping: Keeping) -> Self {
        let partial = BytesMut::new();
        Self { keeping, formats: Vec::new(), binary: false, partial, full: false }
    }

    /// Says what the rows that follow are.
    pub(super) fn described(&mut self, formats: Vec<Format>, names: Vec<String>) {
        self.formats = formats;
        self.keeping.columns(names);
    }

    /// Says how the data of a COPY is written.
    pub(super) const fn copies(&mut self, binary: bool) {
        self.binary = binary;
    }

    /// Takes DataRow or CopyData messages on their way to the client, wherever they are cut.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() && !self.full {
            let header = match Header::peek(&self.partial)? {
                Some(header) => header,
                None => {
                    bytes = self.fill(bytes, HEADER);
                    let Some(header) = Header::peek(&self.partial)? else { return Ok(()) };
                    header
                }
            };
            let room = self.keeping.room().and_then(|room| usize::try_from(room).ok());
            if room.is_none_or(|room| header.body > room) {
                self.keeping.leave_out();
                self.full = true;
                self.partial = BytesMut::new();
                return Ok(());
            }
            bytes = self.fill(bytes, header.whole());
            if self.partial.len() < header.whole() {
                return Ok(());
            }
            let message = self.partial.split();
            let body = message.get(HEADER..).unwrap_or_default();
            let row = match header.tag {
                b'D' => self.row(body)?,
                _ => vec![Some(cell(body, self.binary))],
            };
            self.keeping.row(row, header.body as u64);
        }
        Ok(())
    }

    /// Has as much of a message as this, if it is there; gives what is behind it.
    fn fill<'a>(&mut self, bytes: &'a [u8], length: usize) -> &'a [u8] {
        let missing = length.saturating_sub(self.partial.len());
        let (part, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.partial.extend_from_slice(part);
        rest
    }

    fn row(&self, body: &[u8]) -> Result<Row, Broken> {
        let mut fields = Fields::new(body);
        let count = fields.count()?;
        let mut row = Vec::with_capacity(count);
        for place in 0..count {
            let value = match usize::try_from(fields.int32()?) {
                Ok(length) => Some(fields.bytes(length)?),
                Err(_) => None,
            };
            let binary = match self.formats.get(place) {
                Some(Format::Binary) => true,
                Some(Format::Text) | None => false,
            };
            row.push(value.map(|value| cell(value, binary)));
        }
        fields.end()?;
        Ok(row)
    }

    /// Gives what it holds to the record.
    pub(super) fn flush(&mut self) {
        self.keeping.flush();
    }

    /// Records what is left, and says how much there is in all.
    pub(super) fn finish(self) -> Kept {
        self.keeping.finish()
    }
}

fn cell(value: &[u8], binary: bool) -> Cell {
    match std::str::from_utf8(value) {
        Ok(text) if !binary => Cell::Text(text.to_owned()),
        Ok(_) | Err(_) => Cell::Binary { base64: STANDARD.encode(value) },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::postgres::frame::put;
    use bytes::BufMut as _;
    use guard_audit::Event;
    use guard_gate::{Durability, RecordUnavailable, Recorder};
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Noted(Mutex<Vec<Event>>);

    impl Recorder for Noted {
        fn append(
            &self,
            _: Vec<Event>,
            _: Durability,
        ) -> futures_util::future::BoxFuture<'_, Result<(), RecordUnavailable>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn note(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn message(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out, b'D', |out| {
            out.put_u16(u16::try_from(values.len()).unwrap());
            for value in values {
                out.put_i32(value.map_or(-1, |value| i32::try_from(value.len()).unwrap()));
                out.put_slice(value.unwrap_or_default());
            }
        });
        out.to_vec()
    }

    fn kept(limit: guard_core::Recording, pieces: &[&[u8]]) -> (Kept, Vec<Row>) {
        let noted = Arc::new(Noted::default());
        let mut keep = Keep::new(Keeping::new(noted.clone(), 3, limit));
        keep.described(vec![Format::Text, Format::Binary], vec!["a".into(), "b".into()]);
        for piece in pieces {
            keep.pass(piece).unwrap();
        }
        let kept = keep.finish();
        let mut rows = Vec::new();
        for event in noted.0.lock().unwrap().drain(..) {
            let Event::Rows { statement: 3, rows: more, .. } = event else { continue };
            rows.extend(more.into_inner());
        }
        (kept, rows)
    }

    #[test]
    fn rows_are_kept_wherever_they_are_cut_and_no_more_than_the_limit() {
        let all = [
            message(&[Some(b"x"), Some(b"y")]),
            message(&[None, None]),
            message(&[Some(b"\xff"), None]),
        ];
        let all = all.concat();
        let text = |text: &str| Some(Cell::Text(text.into()));
        let binary = |base64: &str| Some(Cell::Binary { base64: base64.into() });
        let rows = [vec![text("x"), binary("eQ==")], vec![None, None], vec![binary("/w=="), None]];
        let limit = |rows, bytes| guard_core::Recording {
            level: guard_core::RecordLevel::Results,
            rows,
            bytes,
        };
        for (limit, count) in
            [(limit(9, 999), 3), (limit(2, 999), 2), (limit(9, 12), 1), (limit(9, 3), 0)]
        {
            let expected = rows.get(..count).unwrap();
            for cut in 0..all.len() {
                let (before, after) = all.split_at(cut);
                let (kept, found) = kept(limit, &[before, after]);
                assert_eq!(found, expected, "cut at {cut}");
                let truncated = count < 3;
                assert_eq!(kept, Kept { rows: count as u64, truncated }, "cut at {cut}");
            }
            let bytes: Vec<_> = all.chunks(1).collect();
            assert_eq!(kept(limit, &bytes).1, expected);
        }
    }
}
