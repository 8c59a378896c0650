//! One JSON text a line (NDJSON, JSON Lines).

use std::ops::Range;

use super::{JsonMasker, Malformed};

/// Rewrites a stream of lines, each a JSON text or empty.
pub struct LinesMasker(JsonMasker);

impl LinesMasker {
    /// With a masker for the lines' texts.
    pub fn new(masker: JsonMasker) -> Self {
        Self(masker)
    }

    /// Takes the next bytes, and appends what may go on. Once it failed it fails for good.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut rest = chunk;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at_checked(at + 1).unwrap_or((rest, b""));
            // The end of the line is white space behind a text, and an error within one that is not at its end.
            self.0.push(line, out)?;
            if !self.0.is_fresh() {
                self.0.finish(out)?;
            }
            self.0.restart();
            rest = after;
        }
        self.0.push(rest, out)
    }

    /// Says that there is no more. The last line may have no end.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.0.is_fresh() { Ok(()) } else { self.0.finish(out) }
    }

    /// Where hidden values are in what was appended since this was asked the last time.
    pub(in super::super) fn take_hidden(&mut self) -> Vec<Range<usize>> {
        self.0.take_hidden()
    }

    /// How many values were hidden.
    pub const fn masked(&self) -> u64 {
        self.0.masked()
    }
}
