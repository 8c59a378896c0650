//! How a client's bytes become text.
//!
//! A guard that reads other characters than the server reads other statements: in SJIS, BIG5, GBK and GB18030 the
//! second byte of a character can be a backslash or a quote, and with `standard_conforming_strings` off a
//! backslash hides the quote behind it. So guard knows which texts mean the same whatever the settings are, which
//! it reads exactly as the server does, and leaves the others unread: they are `Unparsed`.

use std::borrow::Cow;

/// How the server reads the client's texts, as it last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    encoding: Encoding,
    /// A backslash in quotes is a character like any other.
    conforming: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// UTF-8; also SQL_ASCII, in which the server does not look at bytes and guard wants them to be UTF-8.
    Utf8,
    /// Each byte is the character of that number.
    Latin1,
    /// Another one. All of the server's client encodings have ASCII in them.
    Other,
}

/// Why a text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("it is not valid UTF-8")]
    NotUtf8,
    #[error("it has characters that are not ASCII, in a client_encoding that guard does not read")]
    OtherEncoding,
    #[error("it has a backslash, and standard_conforming_strings is off")]
    Backslash,
}

impl Default for Reading {
    fn default() -> Self {
        Self { encoding: Encoding::Utf8, conforming: true }
    }
}

impl Reading {
    /// Whether a backslash in a plain string is a character like any other.
    pub(super) const fn is_conforming(self) -> bool {
        self.conforming
    }

    /// Takes note of a setting that the server reports in a ParameterStatus.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => self.conforming = value == b"on",
            b"client_encoding" => {
                self.encoding = match value {
                    b"UTF8" | b"SQL_ASCII" => Encoding::Utf8,
                    b"LATIN1" => Encoding::Latin1,
                    _ => Encoding::Other,
                };
            }
            _ => {}
        }
    }

    /// Whether values of results are in an encoding that masks know.
    pub(super) fn can_mask(self) -> bool {
        match self.encoding {
            Encoding::Utf8 | Encoding::Latin1 => true,
            Encoding::Other => false,
        }
    }

    /// The text of a statement.
    pub(super) fn statement(self, bytes: &[u8]) -> Result<Cow<'_, str>, Unread> {
        if !self.conforming && bytes.contains(&b'\\') {
            return Err(Unread::Backslash);
        }
        self.name(bytes)
    }

    /// The text of a name: no quotes and no escapes are in it.
    pub(super) fn name(self, bytes: &[u8]) -> Result<Cow<'_, str>, Unread> {
        match (self.encoding, std::str::from_utf8(bytes)) {
            (Encoding::Utf8, text) => text.map(Cow::Borrowed).map_err(|_| Unread::NotUtf8),
            (Encoding::Latin1 | Encoding::Other, Ok(text)) if text.is_ascii() => {
                Ok(Cow::Borrowed(text))
            }
            (Encoding::Latin1, _) => Ok(bytes.iter().copied().map(char::from).collect()),
            (Encoding::Other, _) => Err(Unread::OtherEncoding),
        }
    }
}

/// Whether a text means the same with any encoding and with `standard_conforming_strings` on or off.
pub(super) fn is_plain(text: &[u8]) -> bool {
    text.is_ascii() && !text.contains(&b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(settings: &[(&str, &str)]) -> Reading {
        let mut reading = Reading::default();
        for (name, value) in settings {
            reading.note(name.as_bytes(), value.as_bytes());
        }
        reading
    }

    #[test]
    fn a_backslash_is_read_only_while_it_is_a_character_like_any_other() {
        let text = br"SELECT '\'; DROP TABLE t; --'";
        assert!(reading(&[]).statement(text).is_ok());
        let off = reading(&[("standard_conforming_strings", "off")]);
        assert_eq!(off.statement(text), Err(Unread::Backslash));
        assert!(off.statement(b"SELECT 'x'").is_ok());
        let on = reading(&[
            ("standard_conforming_strings", "off"),
            ("standard_conforming_strings", "on"),
        ]);
        assert!(on.statement(text).is_ok());
    }

    #[test]
    fn an_encoding_that_guard_does_not_read_leaves_ascii_readable() {
        for name in
            ["SJIS", "BIG5", "GBK", "GB18030", "UHC", "JOHAB", "EUC_JP", "LATIN2", "WIN1252"]
        {
            let other = reading(&[("client_encoding", name)]);
            assert!(other.statement(b"SELECT 1").is_ok(), "{name}");
            // The second byte of this character of SJIS is a backslash.
            assert_eq!(other.statement(b"SELECT '\x83\x5c'"), Err(Unread::OtherEncoding), "{name}");
            assert_eq!(
                other.statement("SELECT 'é'".as_bytes()),
                Err(Unread::OtherEncoding),
                "{name}"
            );
            assert!(!other.can_mask(), "{name}");
        }
    }

    #[test]
    fn latin1_is_read_byte_by_byte_and_utf8_is_checked() {
        let latin1 = reading(&[("client_encoding", "LATIN1")]);
        assert_eq!(latin1.statement(b"caf\xe9").unwrap_or_default(), "café");
        assert_eq!(latin1.statement("é".as_bytes()).unwrap_or_default(), "Ã©");
        assert_eq!(reading(&[]).statement(b"caf\xe9"), Err(Unread::NotUtf8));
    }
}
