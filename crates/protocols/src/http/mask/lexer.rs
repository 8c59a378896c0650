//! Tokens of JSON that chunks may cut (RFC 8259).

/// Whether a string is more than its next character here: at quotes, backslashes, and what must not be there.
const fn is_stop(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Where the first such byte is.
fn stop(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let stops = stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return Some(place * 8 + stops.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| is_stop(*byte)).map(|at| words.len() * 8 + at)
}

/// The upper bits of such bytes among eight, the first of which is right; those above it may have one too many.
const fn stops(word: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    /// A byte that is smaller borrows, and had no upper bit of its own.
    const fn below(word: u64, least: u64) -> u64 {
        word.wrapping_sub(EACH * least) & !word
    }
    let quote = below(word ^ (EACH * b'"' as u64), 1);
    let backslash = below(word ^ (EACH * b'\\' as u64), 1);
    (below(word, 0x20) | quote | backslash) & (EACH * 0x80)
}

/// Where in a string one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InString {
    /// Between characters.
    Plain,
    /// Behind a backslash.
    Escape,
    /// So many hex digits are missing.
    Hex(u8),
}

/// Goes on in a string, behind its first quote. How many bytes of the chunk belong to it, with its last quote, or none if
/// the chunk ends before.
pub(super) fn string(
    state: &mut InString,
    chunk: &[u8],
) -> Result<Option<usize>, (usize, &'static str)> {
    let mut at = 0;
    loop {
        match *state {
            InString::Plain => {
                let rest = chunk.get(at..).unwrap_or_default();
                let Some(skip) = stop(rest) else { return Ok(None) };
                at += skip + 1;
                match rest.get(skip) {
                    Some(b'"') => return Ok(Some(at)),
                    Some(b'\\') => *state = InString::Escape,
                    _ => return Err((at - 1, "a string has a control character")),
                }
            }
            InString::Escape => {
                let Some(byte) = chunk.get(at) else { return Ok(None) };
                *state = match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => InString::Plain,
                    b'u' => InString::Hex(4),
                    _ => return Err((at, "a string has an escape that is none")),
                };
                at += 1;
            }
            InString::Hex(missing) => {
                let Some(byte) = chunk.get(at) else { return Ok(None) };
                if !byte.is_ascii_hexdigit() {
                    return Err((at, "a string has an escape that is none"));
                }
                *state = if missing == 1 { InString::Plain } else { InString::Hex(missing - 1) };
                at += 1;
            }
        }
    }
}

/// Where in a number one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InNumber {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl InNumber {
    /// A number's first byte.
    pub(super) const fn first(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Whole),
            _ => None,
        }
    }

    /// The next one; `None` if it does not belong to the number.
    pub(super) const fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }

    /// Whether it may end here.
    pub(super) const fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }
}

/// A word that is a value, by its first byte: the others.
pub(super) const fn word(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b't' => Some(b"rue"),
        b'f' => Some(b"alse"),
        b'n' => Some(b"ull"),
        _ => None,
    }
}

/// White space between tokens.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_first_byte_that_is_more_than_a_character_is_found_wherever_it_is() {
        for stop_byte in 0..=255_u8 {
            for behind in [b'a', 0xff, b'!', b'#', b'[', b']', 0x20, 0x7f, 0x80, 0x1f, b'"'] {
                for at in 0..20 {
                    let mut text = [b'a'; 21];
                    *text.get_mut(at).unwrap() = stop_byte;
                    text.get_mut(at + 1..).unwrap().fill(behind);
                    let expected = text.iter().position(|byte| is_stop(*byte));
                    assert_eq!(stop(&text), expected, "{stop_byte} {behind} {at}");
                }
            }
        }
    }
}
