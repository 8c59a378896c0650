//! Where a chunked body ends (RFC 9112, section 7.1), read as strictly as the head before it: no extensions, trailers that are headers
//! without folds, and CRLF at the end of each line.

use super::super::head::{MAX_TRAILERS, is_line};

/// Most digits of a chunk's size: what fits 60 bits.
const MAX_DIGITS: u32 = 15;

/// What a body in chunks is read to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a size, behind so many digits.
    Size(u64, u32),
    /// Behind the CR of a size's line.
    SizeEnd(u64),
    /// So many bytes of data are left.
    Data(u64),
    /// Behind the data, before CR.
    DataEnd,
    /// Before its LF.
    DataLine,
    /// Behind the last chunk, in a line that is empty or a trailer.
    Last,
    /// Before its LF.
    LastLine,
    Over,
}

/// Follows the chunks of one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// The line behind the last chunk, as far as it is there.
    line: Vec<u8>,
    /// How long all such lines are.
    trailers: usize,
}

/// The body is not in chunks as they are written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the body is not in chunks as RFC 9112 has them, without extensions, or its trailers are not sound"
)]
pub(super) struct BadChunk;

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { at: At::Size(0, 0), line: Vec::new(), trailers: 0 }
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// How many of these bytes belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken).copied() {
            let (at, more) = match (self.at, byte) {
                (At::Over, _) => break,
                (At::Data(left), _) => {
                    let there = bytes.len() - taken;
                    let now = usize::try_from(left).map_or(there, |left| left.min(there));
                    let left = left - now as u64;
                    (if left == 0 { At::DataEnd } else { At::Data(left) }, now)
                }
                (At::Size(size, 1..), b'\r') => (At::SizeEnd(size), 1),
                (At::Size(size, digits @ ..MAX_DIGITS), _) => {
                    let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
                    (At::Size(size * 16 + u64::from(digit), digits + 1), 1)
                }
                (At::SizeEnd(0), b'\n') => (At::Last, 1),
                (At::SizeEnd(size), b'\n') => (At::Data(size), 1),
                (At::DataEnd, b'\r') => (At::DataLine, 1),
                (At::DataLine, b'\n') => (At::Size(0, 0), 1),
                (At::Last, b'\r') if self.line.is_empty() || is_line(&self.line) => {
                    (At::LastLine, 1)
                }
                (At::Last, b'\t' | b' '..) => {
                    self.trailers += 1;
                    if self.trailers > MAX_TRAILERS {
                        return Err(BadChunk);
                    }
                    self.line.push(byte);
                    (At::Last, 1)
                }
                (At::LastLine, b'\n') if self.line.is_empty() => (At::Over, 1),
                (At::LastLine, b'\n') => {
                    self.line.clear();
                    (At::Last, 1)
                }
                (
                    At::Size(..)
                    | At::SizeEnd(_)
                    | At::DataEnd
                    | At::DataLine
                    | At::Last
                    | At::LastLine,
                    _,
                ) => return Err(BadChunk),
            };
            self.at = at;
            taken += more;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<(usize, bool), BadChunk> {
        let mut chunks = Chunks::new();
        let mut taken = 0;
        for part in bytes.chunks(step) {
            let now = chunks.take(part)?;
            taken += now;
            if now < part.len() {
                break;
            }
        }
        Ok((taken, chunks.is_over()))
    }

    #[test]
    fn a_body_ends_with_its_last_chunk_however_it_is_cut() {
        for (bytes, expected) in [
            (&b"5\r\nhello\r\n0\r\n\r\nGET /"[..], (15, true)),
            (b"0\r\n\r\n", (5, true)),
            (b"00\r\n\r\n", (6, true)),
            (b"A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", (26, true)),
            (b"a\r\n01234", (8, false)),
            (b"0\r\nX: y\r\n\r\nGET /", (11, true)),
            (b"0\r\nX:\r\nY-Z: a b\r\n\r\n", (19, true)),
            (b"0\r\nX:\ty\r\n\r\n", (11, true)),
            (b"0\r\nX: y\r\n", (9, false)),
        ] {
            for step in [1, 2, 3, 7, 64] {
                assert_eq!(read(bytes, step), Ok(expected), "{} {step}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_read_in_two_ways_is_no_chunk() {
        for bytes in [
            &b"\r\n"[..],
            b"5;a=b\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"5\nhello\n",
            b"5\r\nhello\n",
            b"5\r\nhelloX\r\n",
            b"5\r\rhello",
            b"0\r\nX: y\n\r\n",
            b"0\r\nX: y\r\n z\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n: y\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
            b"0\r\nX: a\rb\r\n\r\n",
            b"0\r\nX: a\0b\r\n\r\n",
            b"0\r\nTransfer_Encoding: y\r\n\r\n",
            b"0\n\n",
            b"0\r\n\n",
            b"1234567890123456\r\n",
        ] {
            for step in [1, 2, 64] {
                assert_eq!(read(bytes, step), Err(BadChunk), "{} {step}", bytes.escape_ascii());
            }
        }
    }
}
