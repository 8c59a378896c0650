//! The stream: chunk in, chunk out, with patterns replaced wherever a border cuts them.

use std::{
    io::{self, Write},
    sync::Arc,
};

use super::{looks, patterns::Patterns, values::Values};

/// What stands in a secret's place.
const HIDDEN: &[u8] = b"***";

/// A filter between two chunks.
pub(super) struct Filter {
    patterns: Arc<Patterns>,
    values: Values,
    /// The end of what came, in which a secret may have begun.
    held: Vec<u8>,
    /// The byte in front of what is held or comes next.
    before: u8,
    /// The rest of a token that was too long to be waited for is left out.
    in_token: bool,
    hidden: u64,
    /// What is written next: kept for its room.
    out: Vec<u8>,
}

impl Filter {
    pub(super) fn new(patterns: Arc<Patterns>, values: Values) -> Self {
        Self {
            patterns,
            values,
            held: Vec::new(),
            before: 0,
            in_token: false,
            hidden: 0,
            out: Vec::new(),
        }
    }

    /// Looks for others from now on.
    pub(super) fn replace(&mut self, patterns: Arc<Patterns>) {
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
        let chunk = self.behind_token(chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        if self.held.is_empty() {
            let left = self.pass(chunk, self.unfinished(chunk), to)?;
            self.held.extend_from_slice(chunk.get(left..).unwrap_or_default());
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(chunk);
            let left = self.pass(&text, self.unfinished(&text), to)?;
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

    /// A chunk without the rest of the token that the last one ended with.
    fn behind_token<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        if !self.in_token {
            return chunk;
        }
        let rest = chunk.iter().take_while(|byte| looks::is_of_token(**byte)).count();
        self.in_token = rest == chunk.len();
        chunk.get(rest..).unwrap_or_default()
    }

    fn unfinished(&self, text: &[u8]) -> usize {
        let secret = self.patterns.unfinished(text).min(looks::unfinished(text, self.before));
        secret.min(self.values.unfinished(text))
    }

    /// Writes a text up to a place, and further where a secret reaches over it. Gives how far.
    fn pass(&mut self, text: &[u8], until: usize, to: &mut dyn Write) -> io::Result<usize> {
        let mut at = 0;
        let mut looks = looks::found(text, self.before);
        // It was waited for, or is too long for that: its rest may come.
        let ends_in_token = looks.last().is_some_and(|(start, end)| {
            *end == text.len() && text.get(*start).is_some_and(u8::is_ascii_alphabetic)
        });
        looks.extend(self.values.found(text));
        self.out.clear();
        for (start, end) in merged(self.patterns.found(text), looks) {
            if start >= until {
                break;
            }
            self.out.extend_from_slice(text.get(at..start).unwrap_or_default());
            self.out.extend_from_slice(HIDDEN);
            self.hidden += 1;
            at = end;
        }
        let rest = text.get(at..until).unwrap_or_default();
        // Many pieces are written at once; a text without any goes on uncopied.
        if self.out.is_empty() {
            to.write_all(rest)?;
        } else {
            self.out.extend_from_slice(rest);
            to.write_all(&self.out)?;
        }
        self.in_token = ends_in_token && at == text.len();
        at = at.max(until);
        if let Some(last) = at.checked_sub(1).and_then(|last| text.get(last)) {
            self.before = *last;
        }
        Ok(at)
    }
}

/// All places of two orders, in order; those that overlap are one.
fn merged(
    known: impl Iterator<Item = (usize, usize)>,
    mut places: Vec<(usize, usize)>,
) -> Vec<(usize, usize)> {
    if places.is_empty() {
        return known.collect();
    }
    places.extend(known);
    places.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(places.len());
    for (start, end) in places {
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            Some(_) | None => merged.push((start, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use guard_core::Detector;
    use proptest::prelude::*;

    use super::*;

    const SECRETS: [&str; 3] = ["abcabcabd", "abcabcabdabc-longer", "token-0123456789"];

    fn filter() -> Filter {
        // Thousands are made.
        static PATTERNS: LazyLock<Arc<Patterns>> =
            LazyLock::new(|| Arc::new(Patterns::new(SECRETS.into_iter())));
        Filter::new(PATTERNS.clone(), Values::new(&[]))
    }

    fn filter_of_values() -> Filter {
        Filter::new(Arc::new(Patterns::new(SECRETS.into_iter())), Values::new(&Detector::ALL))
    }

    fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
        through(filter(), chunks)
    }

    fn through(mut filter: Filter, chunks: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
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

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    const PEM: &str =
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn secrets_that_nobody_told_of_are_hidden_wherever_a_border_cuts_them() {
        let key = format!("ghp_{}", "A1b2".repeat(9));
        let certificate = "MIIE".repeat(16);
        let text = format!(
            "Bearer {JWT}, AKIAIOSFODNN7EXAMPLE;\n{key}\nx=AKIASHORT eyJ eyJhb -----BEGIN CERTIFICATE-----\n{certificate}\n{PEM}\n{JWT}"
        );
        let expected = format!(
            "Bearer ***, ***;\n***\nx=AKIASHORT eyJ eyJhb -----BEGIN CERTIFICATE-----\n{certificate}\n***\n***"
        );
        let bytes = text.as_bytes();
        assert_eq!(String::from_utf8(filtered(&[bytes])).unwrap(), expected);
        for size in 1..bytes.len() {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(String::from_utf8(filtered(&chunks)).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn a_token_of_any_length_is_hidden_whole_and_what_follows_is_not() {
        let text = format!("a {JWT}{}, b\n", "x".repeat(100_000));
        for size in [1_000, 16_384, 70_000, text.len()] {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(String::from_utf8(filtered(&chunks)).unwrap(), "a ***, b\n", "{size}");
        }
    }

    #[test]
    fn words_that_only_begin_like_a_secret_are_not_held_longer_than_they_have_to_be() {
        let (mut filter, mut out) = (filter(), Vec::new());
        for (chunk, shown) in [
            ("they ", "they "),
            ("e", ""),
            ("yes", "eyes"),
            (" eyJa", " "),
            ("bc ", "eyJabc "),
            ("Key=AKIA", "Key="),
            ("\n", "AKIA\n"),
            ("-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n"),
            ("notAKIA", "notAKIA"),
        ] {
            filter.take(chunk.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), shown, "{chunk}");
        }
    }

    #[test]
    fn values_that_a_policy_has_detectors_for_are_hidden_wherever_a_border_cuts_them() {
        let text = "mail jane.doe@example.com, card 4111 1111 1111 1111; 4111-1111-1111-1112\n\
            to GB82 WEST 1234 5698 7654 32 now, ssn 123-45-6789. token-0123456789 jörg@müller.de\n\
            {\"n\":378282246310005,\"mail\":\"a@b.cc\"} took 3 s, 12 OF 17 done 5555555555554444";
        let expected = "mail ***, card ***; 4111-1111-1111-1112\nto *** now, ssn ***. *** ***\n\
            {\"n\":***,\"mail\":\"***\"} took 3 s, 12 OF 17 done ***";
        assert_eq!(
            String::from_utf8(filtered(&[text.as_bytes()])).unwrap().matches("***").count(),
            1
        );
        for size in 1..=text.len() {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let out = through(filter_of_values(), &chunks);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn of_words_that_may_become_a_value_only_the_last_is_held() {
        let (mut filter, mut out) = (filter_of_values(), Vec::new());
        for (chunk, shown) in [
            ("a whole line\n", "a whole line\n"),
            ("Password: ", "Password: "),
            ("write to jane", "write to "),
            ("@example", ""),
            (".com\n", "***\n"),
            ("in 3 ", "in "),
            ("seconds\n", "3 seconds\n"),
            ("0a1b@masked.invalid\n", "0a1b@masked.invalid\n"),
        ] {
            filter.take(chunk.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), shown, "{chunk}");
        }
        let word = "x".repeat(100_000);
        filter.take(word.as_bytes(), &mut out).unwrap();
        assert!(out.len() > 99_000, "{}", out.len());
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
