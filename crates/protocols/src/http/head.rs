//! Which headers of a request and of an answer go on, and where the body ends.
//!
//! Two readers of the same bytes that disagree on where a message ends or what a header says are what request smuggling lives
//! on. So whatever RFC 9112 lets a recipient repair is refused here, and what goes on is written anew from what was understood.

mod framing;
mod lists;
mod raw;

use guard_core::http::{InvalidMethod, Method};

pub use self::{
    framing::Body,
    raw::{RawRequest, read_request},
};
use self::{
    framing::{answer_body, request_body},
    lists::{ESSENTIAL, HOP_BY_HOP, Kept, LEADS_ASTRAY, LEADS_AWAY, SINGLE, is_forwarding, listed},
};

/// Most headers of a message, as many servers have it.
pub const MAX_FIELDS: usize = 100;

/// Longest header with its name, in bytes.
pub const MAX_FIELD: usize = 16 << 10;

/// Longest head of a message, in bytes.
pub const MAX_HEAD: usize = 64 << 10;

/// A head that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum HeadError {
    #[error("the message has more than {MAX_FIELDS} headers")]
    TooMany,
    #[error("the head of the message is longer than {MAX_HEAD} bytes")]
    TooLong,
    #[error("the header `{0}` is longer than {MAX_FIELD} bytes")]
    FieldTooLong(String),
    #[error("a line of the head ends with LF alone, or has a CR inside")]
    LineEnd,
    #[error("a header goes on in a second line, which is obsolete and read in two ways")]
    Folded,
    #[error("the head cannot be read: {0}")]
    Unreadable(&'static str),
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    #[error(transparent)]
    Method(#[from] InvalidMethod),
    #[error("`{0}` is not the name of a header")]
    Name(String),
    #[error("the header `{0}` has a control character in its value")]
    Value(String),
    #[error("the header `{0}` is written with `_`, which some servers take for the one with `-`")]
    Underscore(String),
    #[error("the header `{0}` is there more than once")]
    Twice(String),
    #[error("the header Connection names `{0}`, which must not be left out")]
    Connection(String),
    #[error("the header Upgrade asks for `{0}`: only HTTP/1.1 is spoken here")]
    Upgrade(String),
    #[error("the header Expect asks for `{0}`: only `100-continue` is known")]
    Expect(String),
    #[error("there are both Content-Length and Transfer-Encoding")]
    TwoLengths,
    #[error("Content-Length is not one number")]
    Length,
    #[error("Transfer-Encoding is something else than `chunked`, once")]
    Coding,
    #[error("`{0}` comes with a body, which some servers take for the next request")]
    UnexpectedBody(Method),
    #[error("the answer switches protocols, which nobody asked for")]
    Switch,
}

/// A header: the name in lower case, the value without white space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
}

/// A request whose head is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The values of Host, which do not go on as they are.
    pub hosts: Vec<Vec<u8>>,
    /// What goes on, but for Host and what says where the body ends.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub body: Body,
}

/// An answer whose head is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    /// What goes on, but for what says where the body ends.
    pub fields: Vec<Field>,
    /// Where the body ends.
    pub body: Body,
}

/// The version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0, which has no Transfer-Encoding.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Looks at the head of a request: what of it goes on.
pub fn request<'a>(
    method: &str,
    version: Version,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<RequestHead, HeadError> {
    let method = Method::new(method)?;
    let all = fields(headers)?;
    let body = request_body(&method, version, &all)?;
    let dropped = connection(&all)?;
    check_upgrade(&all)?;
    check_expect(&all)?;
    let mut hosts = Vec::new();
    let mut kept = Vec::new();
    for field in all {
        let name = field.name.as_str();
        if name == "host" {
            hosts.push(field.value);
        } else if !(HOP_BY_HOP.contains(&name)
            || LEADS_ASTRAY.contains(&name)
            || is_forwarding(name)
            || matches!(name, "content-length" | "expect")
            || dropped.contains(&field.name))
        {
            kept.push(field);
        }
    }
    Ok(RequestHead { method, hosts, fields: kept, body })
}

/// Looks at the head of an answer to a request by a method: what of it goes on.
pub fn answer<'a>(
    to: &Method,
    status: u16,
    version: Version,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<AnswerHead, HeadError> {
    if status == 101 {
        return Err(HeadError::Switch);
    }
    let mut all = fields(headers)?;
    let body = answer_body(to, status, version, &all)?;
    let dropped = connection(&all)?;
    all.retain(|field| {
        let name = field.name.as_str();
        !(HOP_BY_HOP.contains(&name)
            || LEADS_AWAY.contains(&name)
            || name == "content-length"
            || dropped.contains(&field.name))
    });
    Ok(AnswerHead { fields: all, body })
}

/// Puts a header of guard's own in the place of whatever could be taken for it.
pub fn insert(fields: &mut Vec<Field>, name: &str, value: &[u8]) -> Result<(), HeadError> {
    let field = field(name, value)?;
    let is_plain = value.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    if !is_plain || field.value.len() != value.len() || value.is_empty() {
        return Err(HeadError::Value(field.name));
    }
    let own = canonical(&field.name);
    fields.retain(|other| canonical(&other.name) != own);
    fields.push(field);
    Ok(())
}

/// The name that a server could take a header's for: CGI knows neither case nor `-`.
pub(crate) fn canonical(name: &str) -> String {
    name.chars()
        .map(|letter| if letter == '_' { '-' } else { letter.to_ascii_lowercase() })
        .collect()
}

/// A name as it can be shown.
fn shown(name: &[u8]) -> String {
    name.iter().take(64).copied().flat_map(std::ascii::escape_default).map(char::from).collect()
}

fn fields<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<Field>, HeadError> {
    let mut all: Vec<Field> = Vec::new();
    let mut size = 0;
    for (name, value) in headers {
        if all.len() == MAX_FIELDS {
            return Err(HeadError::TooMany);
        }
        size += name.len() + value.len() + 4;
        if size > MAX_HEAD {
            return Err(HeadError::TooLong);
        }
        let field = field(name, value)?;
        if SINGLE.contains(&field.name.as_str()) && all.iter().any(|it| it.name == field.name) {
            return Err(match field.name.as_str() {
                "content-length" => HeadError::Length,
                "transfer-encoding" => HeadError::Coding,
                _ => HeadError::Twice(field.name),
            });
        }
        all.push(field);
    }
    Ok(all)
}

fn field(name: &str, value: &[u8]) -> Result<Field, HeadError> {
    if name.len() + value.len() > MAX_FIELD {
        return Err(HeadError::FieldTooLong(shown(name.as_bytes())));
    }
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeadError::Name(shown(name.as_bytes())));
    }
    let lower = name.to_ascii_lowercase();
    if lower.contains('_') && listed(&canonical(&lower)) == Kept::Meaningful {
        return Err(HeadError::Underscore(lower));
    }
    let value = trim(value);
    // Tabs are white space inside a value; everything else below is a control character (RFC 9110, section 5.5).
    if value.iter().any(|byte| matches!(byte, 0..=8 | 10..=0x1f | 0x7f)) {
        return Err(HeadError::Value(lower));
    }
    Ok(Field { name: lower, value: value.to_vec() })
}

/// Only space and tab are white space around a value; what else looks like it is a part of it.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A character of a token (RFC 9110, section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// The values of a header that may be there several times, as one list.
fn elements<'a>(all: &'a [Field], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    all.iter()
        .filter(move |field| field.name == name)
        .flat_map(|field| field.value.split(|byte| *byte == b','))
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// The headers that Connection names. Who names one that others rely on wants it to get lost on the way.
fn connection(all: &[Field]) -> Result<Vec<String>, HeadError> {
    let mut named = Vec::new();
    for element in elements(all, "connection") {
        let name = std::str::from_utf8(element).unwrap_or_default().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HeadError::Connection(shown(element)));
        }
        if ESSENTIAL.contains(&canonical(&name).as_str()) {
            return Err(HeadError::Connection(name));
        }
        named.push(name);
    }
    Ok(named)
}

/// A client that offers HTTP/2 can do without; whoever asks for anything else could not go on as it wants.
fn check_upgrade(all: &[Field]) -> Result<(), HeadError> {
    match elements(all, "upgrade").find(|element| !element.eq_ignore_ascii_case(b"h2c")) {
        Some(other) => Err(HeadError::Upgrade(shown(other))),
        None => Ok(()),
    }
}

fn check_expect(all: &[Field]) -> Result<(), HeadError> {
    match elements(all, "expect").find(|element| !element.eq_ignore_ascii_case(b"100-continue")) {
        Some(other) => Err(HeadError::Expect(shown(other))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
