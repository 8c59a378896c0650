//! How a client's bytes become text.
//!
//! A guard that reads other characters than the server reads other statements: in SJIS, BIG5, GBK and GB18030 the
//! second byte of a character can be a backslash or a quote. So guard knows the encodings that it can read
//! exactly as the server does, and a connection that changes to another one is closed.

use std::borrow::Cow;

/// An encoding that guard reads as the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8; also SQL_ASCII, in which the server does not look at bytes and guard wants them to be UTF-8.
    Utf8,
    /// Each byte is the character of that number.
    Latin1,
}

impl Encoding {
    /// By the server's name for it, as in ParameterStatus.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"UTF8" | b"SQL_ASCII" => Some(Self::Utf8),
            b"LATIN1" => Some(Self::Latin1),
            _ => None,
        }
    }

    /// The text, or nothing where it is none.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Latin1 => match std::str::from_utf8(bytes) {
                Ok(text) if text.is_ascii() => Some(Cow::Borrowed(text)),
                Ok(_) | Err(_) => Some(bytes.iter().copied().map(char::from).collect()),
            },
        }
    }
}
