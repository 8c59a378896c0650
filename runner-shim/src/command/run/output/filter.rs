//! The stream: chunk in, chunk out, with patterns replaced wherever a border cuts them.

use std::io::{self, Write};

use super::patterns::Patterns;

/// What stands in a secret's place.
const HIDDEN: &[u8] = b"***";

/// A filter between two chunks.
pub(super) struct Filter {
    patterns: Patterns,
    /// The end of what came, in which a pattern may have begun.
    held: Vec<u8>,
    hidden: u64,
}

impl Filter {
    pub(super) fn new(patterns: Patterns) -> Self {
        Self { patterns, held: Vec::new(), hidden: 0 }
    }

    /// Looks for others from now on.
    pub(super) fn replace(&mut self, patterns: Patterns) {
        self.patterns = patterns;
    }

    /// Whether something waits for its rest.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many values were replaced.
    pub(super) fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Takes a chunk, and writes all but the beginning of what may be a secret.
    pub(super) fn take(&mut self, chunk: &[u8], to: &mut dyn Write) -> io::Result<()> {
        if self.held.is_empty() {
            let left = self.pass(chunk, self.patterns.unfinished(chunk), to)?;
            self.held.extend_from_slice(chunk.get(left..).unwrap_or_default());
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(chunk);
            let left = self.pass(&text, self.patterns.unfinished(&text), to)?;
            text.drain(..left);
            self.held = text;
        }
        to.flush()
    }

    /// Writes what is held: its rest does not come, or not for now.
    pub(super) fn flush(&mut self, to: &mut dyn Write) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.held);
        self.pass(&text, text.len(), to)?;
        to.flush()
    }

    /// Writes a text up to a place, and further where a pattern reaches over it. Gives how far.
    fn pass(&mut self, text: &[u8], until: usize, to: &mut dyn Write) -> io::Result<usize> {
        let mut at = 0;
        for (start, end) in self.patterns.found(text) {
            if start >= until {
                break;
            }
            to.write_all(text.get(at..start).unwrap_or_default())?;
            to.write_all(HIDDEN)?;
            self.hidden += 1;
            at = end;
        }
        if at < until {
            to.write_all(text.get(at..until).unwrap_or_default())?;
            at = until;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRETS: [&str; 3] = ["abcabcabd", "abcabcabdabc-longer", "token-0123456789"];

    fn filter() -> Filter {
        Filter::new(Patterns::new(SECRETS.into_iter()))
    }

    fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut filter, mut out) = (filter(), Vec::new());
        for chunk in chunks {
            filter.take(chunk, &mut out).unwrap();
        }
        filter.flush(&mut out).unwrap();
        out
    }

    #[test]
    fn a_secret_is_hidden_wherever_a_border_cuts_it() {
        let text = b"first abcabcabcabd, then token-0123456789\nabcabcabdabc-longer\n";
        let whole = filtered(&[text]);
        assert_eq!(whole, b"first abc***, then ***\n***\n");
        for first in 0..text.len() {
            for second in first..text.len() {
                let chunks = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(filtered(&chunks), whole, "{first} {second}");
            }
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(filtered(&bytes), whole);
    }

    #[test]
    fn nothing_is_held_that_cannot_be_a_secret_any_more() {
        let (mut filter, mut out) = (filter(), Vec::new());
        filter.take(b"a line that is whole\n", &mut out).unwrap();
        assert_eq!(out, b"a line that is whole\n");
        assert!(!filter.holds());
        filter.take(b"prompt: abcab", &mut out).unwrap();
        assert_eq!(out, b"a line that is whole\nprompt: ");
        filter.take(b"x", &mut out).unwrap();
        assert_eq!(out, b"a line that is whole\nprompt: abcabx");
    }

    #[test]
    fn what_is_held_comes_out_when_its_rest_does_not() {
        let (mut filter, mut out) = (filter(), Vec::new());
        filter.take(b"abcabcab", &mut out).unwrap();
        assert_eq!(out, b"");
        filter.flush(&mut out).unwrap();
        assert_eq!(out, b"abcabcab");
    }

    #[test]
    fn bytes_that_are_no_text_pass_as_they_are() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let chunks: Vec<&[u8]> = bytes.chunks(777).collect();
        assert_eq!(filtered(&chunks), bytes);
    }

    proptest! {
        #[test]
        fn borders_change_nothing(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("abc".to_owned()),
                    Just("abcabcabd".to_owned()),
                    Just("abcabcabdabc-longer".to_owned()),
                    Just("token-0123456789".to_owned()),
                    "[a-dt\n-]{0,6}",
                ],
                0..20
            ),
            size in 1_usize..30,
        ) {
            let text = parts.concat();
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let out = filtered(&chunks);
            prop_assert_eq!(&out, &filtered(&[text.as_bytes()]));
            for secret in SECRETS {
                prop_assert!(!out.windows(secret.len()).any(|part| part == secret.as_bytes()));
            }
        }
    }
}
