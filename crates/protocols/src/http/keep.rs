//! The body of an answer that the policy records: taken where it goes to the client, behind every mask.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use guard_gate::{Cell, Keeping, Kept};

/// Most bytes of a part.
const PART: usize = 16 << 10;

/// Waits until all that was kept is on its way into the record, and says whether it is.
pub(super) type Recorded = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Has bytes wait for the record.
pub(super) struct Waits {
    pub(super) recorded: Recorded,
    /// What waits.
    pub(super) waiting: Option<(Bytes, BoxFuture<'static, bool>)>,
}

/// Keeps the body of one answer, in parts.
pub(super) struct Keep {
    keeping: Keeping,
    /// What is not a whole part yet.
    held: Vec<u8>,
    full: bool,
}

impl Keep {
    /// Only the policy's limit of bytes counts: where parts begin and end says nothing.
    pub(super) fn new(keeping: Keeping) -> Self {
        let mut keeping = keeping.by_bytes();
        keeping.columns(vec!["body".to_owned()]);
        Self { keeping, held: Vec::new(), full: false }
    }

    /// Takes bytes on their way to the client.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.full {
            let room = PART.saturating_sub(self.held.len()).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.held.extend_from_slice(part);
            bytes = rest;
            if self.held.len() >= PART {
                self.part(whole_characters(&self.held, PART));
            }
        }
    }

    /// Gives what it holds to the record, but for a character that goes on.
    pub(super) fn flush(&mut self) {
        self.take(whole_characters(&self.held, self.held.len()));
        self.keeping.flush();
    }

    /// Records what is left, and says how much there is in all.
    pub(super) fn finish(mut self) -> Kept {
        self.take(self.held.len());
        self.keeping.finish()
    }

    fn take(&mut self, length: usize) {
        if !self.full && length > 0 {
            self.part(length);
        }
    }

    /// Keeps so many bytes of what is held, or as many as there is room for.
    fn part(&mut self, length: usize) {
        let room = self.keeping.room().map_or(0, |room| usize::try_from(room).unwrap_or(length));
        let fitting = if room < length { whole_characters(&self.held, room) } else { length };
        let part: Vec<u8> = self.held.drain(..fitting).collect();
        if !part.is_empty() {
            let bytes = part.len() as u64;
            self.keeping.row(vec![Some(cell(part))], bytes);
        }
        if fitting < length {
            self.keeping.leave_out();
            self.full = true;
            self.held = Vec::new();
        }
    }
}

/// Where the last whole character ends before so many bytes, if they are text.
fn whole_characters(bytes: &[u8], most: usize) -> usize {
    match std::str::from_utf8(bytes.get(..most).unwrap_or(bytes)) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => most.min(bytes.len()),
    }
}

fn cell(value: Vec<u8>) -> Cell {
    match String::from_utf8(value) {
        Ok(text) => Cell::Text(text),
        Err(error) => Cell::Binary { base64: STANDARD.encode(error.as_bytes()) },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::{Arc, Mutex};

    use guard_audit::Event;
    use guard_core::{RecordLevel, Recording};
    use guard_gate::{Durability, RecordUnavailable, Recorder};

    use super::*;

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

    /// What is kept of a body that comes in pieces of a size: its cells, and whether there was more.
    fn kept(body: &[u8], size: usize, most: u64) -> (Vec<Cell>, Kept) {
        let noted = Arc::<Noted>::default();
        let limit = Recording { level: RecordLevel::Results, rows: 1, bytes: most };
        let mut keep = Keep::new(Keeping::new(noted.clone(), 3, limit));
        for piece in body.chunks(size) {
            keep.pass(piece);
            keep.flush();
        }
        let kept = keep.finish();
        let mut cells = Vec::new();
        for event in noted.0.lock().unwrap().iter() {
            let Event::Rows { statement: 3, rows, .. } = event else { continue };
            cells.extend(rows.reveal().iter().flatten().flatten().cloned());
        }
        (cells, kept)
    }

    fn text(cells: &[Cell]) -> String {
        let texts = cells.iter().map(|cell| match cell {
            Cell::Text(text) => text.clone(),
            Cell::Binary { base64 } => format!("<{base64}>"),
        });
        texts.collect()
    }

    #[test]
    fn a_body_is_kept_in_parts_up_to_the_limit() {
        let body = "é€😀z".repeat(5_000);
        for size in [1, 3, 1000, PART, body.len()] {
            let (cells, all) = kept(body.as_bytes(), size, 1 << 20);
            assert_eq!(text(&cells), body, "by {size}");
            assert_eq!(all, Kept { rows: cells.len() as u64, truncated: false });
            let (cells, cut) = kept(body.as_bytes(), size, 100);
            assert_eq!(text(&cells), "é€😀z".repeat(10), "by {size}");
            assert!(cut.truncated);
            let (cells, cut) = kept(body.as_bytes(), size, 101);
            assert_eq!(text(&cells), "é€😀z".repeat(10), "no half of a character: {size}");
            assert!(cut.truncated);
        }
        let (cells, none) = kept(b"", 1, 100);
        assert_eq!((cells.len(), none), (0, Kept::default()));
        let (cells, _) = kept(b"\xff\0", 2, 100);
        assert_eq!(text(&cells), "</wA=>");
    }
}
