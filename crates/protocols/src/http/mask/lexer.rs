//! Tokens of JSON that chunks may cut (RFC 8259).

/// How many bytes are looked at together, which a compiler makes one step of.
const STEP: usize = 16;

/// Whether a string is more than its next character here: at quotes, backslashes, and what must not be there.
const fn is_stop(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Where the first such byte is.
fn stop(text: &[u8]) -> Option<usize> {
    let (steps, _) = text.as_chunks::<STEP>();
    let has_stop =
        |step: &[u8; STEP]| step.iter().fold(false, |found, byte| found | is_stop(*byte));
    let plain = steps.iter().take_while(|step| !has_stop(step)).count() * STEP;
    let rest = text.get(plain..).unwrap_or_default();
    rest.iter().position(|byte| is_stop(*byte)).map(|at| plain + at)
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
