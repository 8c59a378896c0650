//! Texts of the server that are no rows and can carry values all the same.
//!
//! `UPDATE users SET name = NULL` names no masked column, and the error's detail is the whole row. So where
//! masked columns are in reach a message keeps its code and loses its words, unless they are of a kind that
//! cannot hold a value of a row.

use bytes::{BufMut as _, BytesMut};

use super::{Malformed, sqlstates::SQLSTATES};

/// Codes whose words are the server's own, with names of existing objects at most. Raised by a function,
/// they come with a context and are hidden.
const FIXED_WORDS: [&str; 33] = [
    // protocol, statements and cursors by the client's own names
    "08P01", "26000", "34000", "3B001",
    // division by zero, more than one row from a subquery
    "22012", "21000", // constraints: the values are in the detail
    "23000", "23001", "23502", "23503", "23505", "23514", "23P01",
    // state of the transaction, conflicts, deadlocks
    "25001", "25006", "25P01", "25P02", "25P03", "25P04", "40001", "40003", "40P01",
    // resources and limits
    "53100", "53200", "53300", "54001",
    // locks, cancelled statements, the server's end
    "55006", "55P03", "57014", "57P01", "57P02", "57P03", "57P05",
];

/// What may be said of a message.
#[derive(Default)]
struct Message<'a> {
    fields: Vec<(u8, &'a [u8])>,
}

/// Appends an ErrorResponse or NoticeResponse (`tag`) to `out` as a whole message, without what might be a
/// value of a masked column.
///
/// <https://www.postgresql.org/docs/current/protocol-error-fields.html>
pub(crate) fn hide_message(tag: u8, body: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
    let message = Message::parse(body)?;
    let harmless = message.has_harmless_words();
    let code = message.code(tag);
    let start = out.len();
    out.put_slice(&[tag, 0, 0, 0, 0]);
    for (kind, value) in &message.fields {
        let value = match kind {
            // severity, and where in the client's own text
            b'S' | b'V' | b'P' => value,
            b'C' => code,
            b'M' if !harmless => {
                let words = b"the server's message is hidden because masked columns are in reach (SQLSTATE ";
                out.put_u8(b'M');
                out.put_slice(words);
                out.put_slice(code);
                out.put_slice(b")\0");
                continue;
            }
            // hint, names of objects, where in the server's source
            b'M' | b'H' | b's' | b't' | b'c' | b'd' | b'n' | b'F' | b'L' | b'R' if harmless => {
                value
            }
            // Detail and context are never harmless; what is not known is not either.
            _ => continue,
        };
        out.put_u8(*kind);
        out.put_slice(value);
        out.put_u8(0);
    }
    out.put_u8(0);
    let length =
        u32::try_from(out.len() - start - 1).map_err(|_| Malformed::message("it is too long"))?;
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// Appends a NotificationResponse to `out` as a whole message, without its payload.
pub(crate) fn hide_notification(body: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
    const BROKEN: Malformed = Malformed::message("a notification is broken");
    let Some((_, texts)) = body.split_first_chunk::<4>() else { return Err(BROKEN) };
    let channel = texts.iter().position(|byte| *byte == 0).ok_or(BROKEN)?;
    let kept = body.get(..4 + channel + 1).ok_or(BROKEN)?;
    let length = u32::try_from(4 + kept.len() + 1).map_err(|_| BROKEN)?;
    out.put_u8(b'A');
    out.put_u32(length);
    out.put_slice(kept);
    out.put_u8(0);
    Ok(())
}

/// Whether a ParameterStatus may pass where masked columns are in reach: a setting that takes no text
/// of a client's choice. `application_name`, `search_path` and `TimeZone` take any.
pub(crate) fn parameter_passes(name: &[u8]) -> bool {
    const PASSING: [&str; 12] = [
        "client_encoding",
        "DateStyle",
        "default_transaction_read_only",
        "in_hot_standby",
        "integer_datetimes",
        "IntervalStyle",
        "is_superuser",
        "scram_iterations",
        "server_encoding",
        "server_version",
        "session_authorization",
        "standard_conforming_strings",
    ];
    PASSING.iter().any(|known| known.as_bytes() == name)
}

// === impl Message ===

impl<'a> Message<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Vec::new();
        let mut rest = body;
        loop {
            match rest {
                [0] => return Ok(Self { fields }),
                [] | [0, ..] => return Err(Malformed::message("it does not end where it should")),
                [kind, after @ ..] => {
                    let Some(end) = memchr::memchr(0, after) else {
                        return Err(Malformed::message("a field does not end"));
                    };
                    let (value, after) = after.split_at(end);
                    fields.push((*kind, value));
                    rest = after.get(1..).unwrap_or_default();
                }
            }
        }
    }

    fn field(&self, kind: u8) -> Option<&'a [u8]> {
        self.fields.iter().find(|(known, _)| *known == kind).map(|(_, value)| *value)
    }

    /// The SQLSTATE, if it is one of the server's: a function may raise any five characters.
    fn code(&self, tag: u8) -> &'a [u8] {
        match self.field(b'C') {
            Some(code) if SQLSTATES.iter().any(|known| known.as_bytes() == code) => code,
            Some(_) | None if tag == b'E' => b"XX000",
            Some(_) | None => b"01000",
        }
    }

    fn has_harmless_words(&self) -> bool {
        // A context, an inner query or a place in one: raised inside of a function, by text that was
        // put together from values, or while a value was read.
        if [b'W', b'q', b'p'].into_iter().any(|kind| self.field(kind).is_some()) {
            return false;
        }
        // A position: raised while the client's own text was analysed, before any row was read.
        if self.field(b'P').is_some() {
            return true;
        }
        let code = self.field(b'C').unwrap_or_default();
        FIXED_WORDS.iter().any(|known| known.as_bytes() == code)
            // `permission denied for table users`; elsewhere this code may name a file.
            || (code == b"42501" && self.field(b'F') == Some(b"aclchk.c"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn body(fields: &str) -> Vec<u8> {
        let mut body: Vec<u8> =
            fields.split('|').flat_map(|f| [f.as_bytes(), b"\0"].concat()).collect();
        body.push(0);
        body
    }

    /// The message's fields with `|` between them.
    fn hidden(tag: u8, fields: &str) -> String {
        let mut out = BytesMut::from(&b"before"[..]);
        hide_message(tag, &body(fields), &mut out).unwrap();
        let message = &out[6..];
        assert_eq!(message[0], tag);
        let length = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, message.len() - 1);
        let text = String::from_utf8(message[5..].to_vec()).unwrap();
        text.strip_suffix("\0\0").unwrap().replace('\0', "|")
    }

    const HIDDEN: &str =
        "the server's message is hidden because masked columns are in reach (SQLSTATE";

    #[test]
    fn words_that_may_hold_values_are_hidden() {
        let cases = [
            // the whole row in the detail
            (
                "SERROR|VERROR|C23502|Mnull value in column \"name\"|DFailing row contains (s3cret)|spublic|tusers|cname|FexecMain.c|L1|RExecConstraints",
                "SERROR|VERROR|C23502|Mnull value in column \"name\"|spublic|tusers|cname|FexecMain.c|L1|RExecConstraints".to_owned(),
            ),
            // a cast that tells
            (
                "SERROR|VERROR|C22P02|Minvalid input syntax for type integer: \"s3cret\"|Fnumutils.c|L1|Rx",
                format!("SERROR|VERROR|C22P02|M{HIDDEN} 22P02)"),
            ),
            // the client's own constant
            (
                "SERROR|VERROR|C22P02|Minvalid input syntax for type integer: \"abc\"|P8|Fnumutils.c",
                "SERROR|VERROR|C22P02|Minvalid input syntax for type integer: \"abc\"|P8|Fnumutils.c".to_owned(),
            ),
            // text put together from values and run inside of a function
            (
                "SERROR|VERROR|C42601|Msyntax error at or near \"s3cret\"|p8|qselec s3cret|WSQL statement",
                format!("SERROR|VERROR|C42601|M{HIDDEN} 42601)"),
            ),
            // ssn::regclass
            (
                "SERROR|VERROR|C42P01|Mrelation \"s3cret\" does not exist|Fnamespace.c",
                format!("SERROR|VERROR|C42P01|M{HIDDEN} 42P01)"),
            ),
            // RAISE with everything that it can set
            (
                "SERROR|VERROR|C57014|Ms3cret|Ds3cret|Hs3cret|ss3cret|ts3cret|cs3cret|ds3cret|ns3cret|WPL/pgSQL function f()",
                format!("SERROR|VERROR|C57014|M{HIDDEN} 57014)"),
            ),
            (
                "SERROR|VERROR|C12345|Mx|WPL/pgSQL function f()",
                format!("SERROR|VERROR|CXX000|M{HIDDEN} XX000)"),
            ),
            (
                "SERROR|VERROR|C42501|Mpermission denied for table users|Faclchk.c",
                "SERROR|VERROR|C42501|Mpermission denied for table users|Faclchk.c".to_owned(),
            ),
            (
                "SERROR|VERROR|C42501|Mcould not open file \"s3cret\": Permission denied|Ffd.c",
                format!("SERROR|VERROR|C42501|M{HIDDEN} 42501)"),
            ),
            ("SERROR|VERROR|C57014|Mcanceling statement due to user request|Xs3cret", "SERROR|VERROR|C57014|Mcanceling statement due to user request".to_owned()),
        ];
        for (fields, expected) in cases {
            let hidden = hidden(b'E', fields);
            assert_eq!(hidden, expected);
            assert!(!hidden.contains("s3cret"));
        }
        let notice = hidden(b'N', "SNOTICE|VNOTICE|C78901|Ms3cret|WPL/pgSQL function f()");
        assert_eq!(notice, format!("SNOTICE|VNOTICE|C01000|M{HIDDEN} 01000)"));
    }

    #[test]
    fn broken_messages_are_malformed() {
        for body in [&b""[..], b"S", b"SERROR", b"SERROR\0", b"\0\0", b"SERROR\0\0x"] {
            assert!(hide_message(b'E', body, &mut BytesMut::new()).is_err(), "{body:?}");
        }
        for body in [&b""[..], b"\0\0\0\x01", b"\0\0\0\x01channel"] {
            assert!(hide_notification(body, &mut BytesMut::new()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_notification_loses_its_payload() {
        let mut out = BytesMut::new();
        hide_notification(b"\0\0\0\x07jobs\0s3cret\0", &mut out).unwrap();
        assert_eq!(&out[..], b"A\0\0\0\x0e\0\0\0\x07jobs\0\0");
    }

    #[test]
    fn settings_that_take_any_text_do_not_pass() {
        for name in ["application_name", "search_path", "TimeZone", "datestyle", "x", ""] {
            assert!(!parameter_passes(name.as_bytes()), "{name}");
        }
        assert!(parameter_passes(b"standard_conforming_strings"));
    }
}
