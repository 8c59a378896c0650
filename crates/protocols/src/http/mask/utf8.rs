//! Whether a stream is UTF-8, chunk by chunk.

/// What of a character came in so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    count: usize,
}

impl Utf8 {
    /// Takes a chunk; how many bytes of it are right, if not all.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<(), usize> {
        let mut skipped = 0;
        while self.count > 0 {
            let Some(byte) = chunk.get(skipped) else { return Ok(()) };
            if let Some(place) = self.begun.get_mut(self.count) {
                *place = *byte;
            }
            let begun = self.begun.get(..=self.count).unwrap_or_default();
            match std::str::from_utf8(begun) {
                Ok(_) => self.count = 0,
                Err(error) if error.error_len().is_some() => return Err(skipped),
                Err(_) => self.count += 1,
            }
            skipped += 1;
        }
        let rest = chunk.get(skipped..).unwrap_or_default();
        let Err(error) = std::str::from_utf8(rest) else { return Ok(()) };
        let end = error.valid_up_to();
        if error.error_len().is_some() {
            return Err(skipped + end);
        }
        let left = rest.get(end..).unwrap_or_default();
        for (to, from) in self.begun.iter_mut().zip(left) {
            *to = *from;
        }
        self.count = left.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_of_chunks_change_nothing() {
        let texts: [&[u8]; 8] = [
            "aé€😀z".as_bytes(),
            b"\xc0\xaf",
            b"a\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe2\x82z",
            b"\x80",
            b"\xc3\xc3\xa9",
            b"\xf0\x9f\x98\x80\xff",
        ];
        for text in texts {
            let expected = std::str::from_utf8(text).is_ok();
            for size in 1..=text.len() {
                let mut utf8 = Utf8::default();
                let fine = text.chunks(size).all(|chunk| utf8.take(chunk).is_ok());
                assert_eq!(fine, expected, "{text:?} by {size}");
            }
        }
    }
}
