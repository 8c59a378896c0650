//! Which headers of a request and of an answer go on, and where the body ends.
//!
//! Two readers of the same bytes that disagree on where a message ends or what a header says are what request smuggling lives
//! on. So whatever RFC 9112 lets a recipient repair is refused here, and what goes on is written anew from what was understood.

mod framing;
mod lists;
mod raw;

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::http::{InvalidMethod, Method};
use hyper::header::{HeaderName, HeaderValue, TE, TRAILER, UPGRADE};

pub use self::{
    framing::Body,
    raw::{RawRequest, read_request},
};
use self::{
    framing::{answer_body, request_body},
    lists::{
        ESSENTIAL, HOP_BY_HOP, Kept, LEADS_ASTRAY, LEADS_AWAY, OF_CONNECTION, SINGLE,
        is_forwarding, listed, may_trail,
    },
};

/// Most headers of a message, as many servers have it.
pub const MAX_FIELDS: usize = 100;

/// Longest header with its name, in bytes.
pub const MAX_FIELD: usize = 16 << 10;

/// Longest head of a message, in bytes.
pub const MAX_HEAD: usize = 64 << 10;

/// Longest trailers of a message, in bytes: what hyper reads.
pub const MAX_TRAILERS: usize = 8 << 10;

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
    #[error("only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here")]
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
    #[error("the header Upgrade asks for `{0}`: there are WebSockets here, and nothing else")]
    Upgrade(String),
    #[error("it asks for a WebSocket in another way than RFC 6455 has it")]
    WebSocket,
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
    #[error("the header `{0}` is about one connection, which HTTP/2 has no headers for")]
    OfConnection(String),
    #[error("the scheme is neither `http` nor `https`")]
    Scheme,
    #[error("`:authority` and the header Host name different hosts")]
    Authority,
    #[error("`{0}` must not stand behind a body: send it as a header")]
    Trailer(String),
}

/// A header: the name in lower case, the value without white space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: HeaderName,
    /// The value.
    pub value: HeaderValue,
}

impl Field {
    /// Reads one that nobody has read before.
    pub fn read(name: &str, value: &[u8]) -> Result<Self, HeadError> {
        if name.len() + value.len() > MAX_FIELD {
            return Err(HeadError::FieldTooLong(shown(name.as_bytes())));
        }
        let known = HeaderName::from_bytes(name.as_bytes());
        let name = known.map_err(|_| HeadError::Name(shown(name.as_bytes())))?;
        check_name(&name)?;
        let value = trim(value);
        check_value(&name, value)?;
        match HeaderValue::from_bytes(value) {
            Ok(value) => Ok(Self { name, value }),
            Err(_) => Err(HeadError::Value(name.to_string())),
        }
    }

    /// One that hyper has read. It may be more lenient, but what it has is not copied.
    pub fn of((name, value): (&HeaderName, &HeaderValue)) -> Result<Self, HeadError> {
        if name.as_str().len() + value.len() > MAX_FIELD {
            return Err(HeadError::FieldTooLong(shown(name.as_str().as_bytes())));
        }
        check_name(name)?;
        let trimmed = trim(value.as_bytes());
        if trimmed.len() != value.len() {
            return Self::read(name.as_str(), trimmed);
        }
        check_value(name, trimmed)?;
        Ok(Self { name: name.clone(), value: value.clone() })
    }

    /// The value's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.value.as_bytes()
    }
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

impl RequestHead {
    /// Whether another protocol is asked for.
    pub fn is_upgrade(&self) -> bool {
        self.fields.iter().any(|field| field.name == "upgrade")
    }
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
    /// HTTP/2, where frames say whether anything follows the head.
    Http2 {
        /// Nothing does.
        ended: bool,
    },
}

/// Looks at the head of a request: what of it goes on.
pub fn request(
    method: &str,
    version: Version,
    headers: impl IntoIterator<Item = Result<Field, HeadError>>,
) -> Result<RequestHead, HeadError> {
    let method = Method::new(method)?;
    let all = fields(headers)?;
    check_version(version, &all)?;
    let body = request_body(&method, version, &all)?;
    let dropped = connection(&all)?;
    let upgrade = upgrade(&method, version, body, &all)?;
    check_expect(&all)?;
    let te = elements(&all, "te").any(|element| element.eq_ignore_ascii_case(b"trailers"));
    let te = te.then(|| Field { name: TE, value: HeaderValue::from_static("trailers") });
    let trailer = announced(&all, body);
    let mut hosts = Vec::new();
    // Guard adds a few.
    let mut kept = Vec::with_capacity(all.len() + 2);
    for field in all {
        let name = field.name.as_str();
        if name == "host" {
            hosts.push(field.bytes().to_vec());
        } else if !(HOP_BY_HOP.contains(&name)
            || LEADS_ASTRAY.contains(&name)
            || is_forwarding(name)
            || matches!(name, "content-length" | "expect" | "sec-websocket-extensions")
            || is_among(&dropped, &field.name))
        {
            kept.push(field);
        }
    }
    kept.extend(te);
    kept.extend(trailer);
    kept.extend(upgrade);
    Ok(RequestHead { method, hosts, fields: kept, body })
}

/// Looks at the head of an answer to a request by a method: what of it goes on.
pub fn answer(
    to: &Method,
    status: u16,
    version: Version,
    headers: impl IntoIterator<Item = Result<Field, HeadError>>,
) -> Result<AnswerHead, HeadError> {
    if status == 101 {
        return Err(HeadError::Switch);
    }
    let mut all = fields(headers)?;
    check_version(version, &all)?;
    let body = answer_body(to, status, version, &all)?;
    let dropped = connection(&all)?;
    let trailer = announced(&all, body);
    all.retain(|field| {
        let name = field.name.as_str();
        !(HOP_BY_HOP.contains(&name)
            || LEADS_AWAY.contains(&name)
            || name == "content-length"
            || is_among(&dropped, &field.name))
    });
    all.extend(trailer);
    Ok(AnswerHead { fields: all, body })
}

/// Looks at what stands behind the body of a request: all of it goes on, or the request does not.
pub fn request_trailers(
    headers: impl IntoIterator<Item = Result<Field, HeadError>>,
) -> Result<Vec<Field>, HeadError> {
    let all = fields(headers)?;
    match all.iter().find(|field| !may_trail(field.name.as_str())) {
        Some(field) => Err(HeadError::Trailer(field.name.to_string())),
        None => Ok(all),
    }
}

/// Looks at what stands behind the body of an answer: what of it goes on.
pub fn answer_trailers(
    headers: impl IntoIterator<Item = Result<Field, HeadError>>,
) -> Result<Vec<Field>, HeadError> {
    let mut all = fields(headers)?;
    all.retain(|field| may_trail(field.name.as_str()));
    Ok(all)
}

/// Puts a header of guard's own, which is nobody else's to know, in the place of whatever could be taken for it.
pub fn insert(fields: &mut Vec<Field>, name: &str, value: &[u8]) -> Result<(), HeadError> {
    let mut field = Field::read(name, value)?;
    let is_plain = value.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    if !is_plain || field.value.len() != value.len() || value.is_empty() {
        return Err(HeadError::Value(field.name.to_string()));
    }
    // HTTP/2 does not keep it in its tables then (RFC 7541, section 7.1.3).
    field.value.set_sensitive(true);
    let own = canonical(field.name.as_str());
    fields.retain(|other| canonical(other.name.as_str()) != own);
    fields.push(field);
    Ok(())
}

/// The name that a server could take a header's for: CGI knows neither case nor `-`.
pub(crate) fn canonical(name: &str) -> Cow<'_, str> {
    if !name.bytes().any(|byte| byte == b'_' || byte.is_ascii_uppercase()) {
        return name.into();
    }
    name.to_ascii_lowercase().replace('_', "-").into()
}

/// A name as it can be shown.
fn shown(name: &[u8]) -> String {
    name.iter().take(64).copied().flat_map(std::ascii::escape_default).map(char::from).collect()
}

fn fields(
    headers: impl IntoIterator<Item = Result<Field, HeadError>>,
) -> Result<Vec<Field>, HeadError> {
    let headers = headers.into_iter();
    let mut all: Vec<Field> = Vec::with_capacity(headers.size_hint().0.min(MAX_FIELDS));
    let mut size = 0;
    for field in headers {
        let field = field?;
        if all.len() == MAX_FIELDS {
            return Err(HeadError::TooMany);
        }
        size += field.name.as_str().len() + field.value.len() + 4;
        if size > MAX_HEAD {
            return Err(HeadError::TooLong);
        }
        if SINGLE.contains(&field.name.as_str()) && all.iter().any(|it| it.name == field.name) {
            return Err(match field.name.as_str() {
                "content-length" => HeadError::Length,
                "transfer-encoding" => HeadError::Coding,
                _ => HeadError::Twice(field.name.to_string()),
            });
        }
        all.push(field);
    }
    Ok(all)
}

/// A name that a server could take for one by which guard acts is that one, or refused.
fn check_name(name: &HeaderName) -> Result<(), HeadError> {
    let name = name.as_str();
    if !name.bytes().all(is_token) {
        return Err(HeadError::Name(shown(name.as_bytes())));
    }
    if name.contains('_') && listed(&canonical(name)) == Kept::Meaningful {
        return Err(HeadError::Underscore(name.to_owned()));
    }
    Ok(())
}

/// Tabs are white space inside a value; everything else below is a control character (RFC 9110, section 5.5).
fn check_value(name: &HeaderName, value: &[u8]) -> Result<(), HeadError> {
    if value.iter().any(|byte| matches!(byte, 0..=8 | 10..=0x1f | 0x7f)) {
        return Err(HeadError::Value(name.to_string()));
    }
    Ok(())
}

fn is_among(names: &[String], name: &HeaderName) -> bool {
    names.iter().any(|it| name == it.as_str())
}

/// Whether a line is one header.
pub(crate) fn is_line(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let (name, value) = line.split_at(colon);
    std::str::from_utf8(name)
        .is_ok_and(|name| Field::read(name, value.get(1..).unwrap_or_default()).is_ok())
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
        .flat_map(|field| field.bytes().split(|byte| *byte == b','))
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
        if ESSENTIAL.contains(&&*canonical(&name)) {
            return Err(HeadError::Connection(name));
        }
        named.push(name);
    }
    Ok(named)
}

/// HTTP/2 has other words for what these say, and a server that gets them in HTTP/1.1 would act by them (RFC 9113, section 8.2.2).
fn check_version(version: Version, all: &[Field]) -> Result<(), HeadError> {
    match version {
        Version::Http10 | Version::Http11 => return Ok(()),
        Version::Http2 { .. } => {}
    }
    let is_of_connection = |field: &&Field| {
        OF_CONNECTION.contains(&field.name.as_str())
            || (field.name == TE && !field.bytes().eq_ignore_ascii_case(b"trailers"))
    };
    match all.iter().find(is_of_connection) {
        Some(field) => Err(HeadError::OfConnection(field.name.to_string())),
        None => Ok(()),
    }
}

/// The header Trailer with those names that may stand behind a body, where that is possible.
fn announced(all: &[Field], body: Body) -> Option<Field> {
    match body {
        Body::None | Body::Length(_) => return None,
        Body::Chunked | Body::UntilClose => {}
    }
    let names = elements(all, "trailer").filter_map(|element| std::str::from_utf8(element).ok());
    let names: Vec<String> =
        names.map(str::to_ascii_lowercase).filter(|it| may_trail(it)).collect();
    let value = HeaderValue::try_from(names.join(", ")).ok()?;
    (!names.is_empty()).then_some(Field { name: TRAILER, value })
}

/// The header Upgrade, if it asks for a WebSocket in the one way that there is (RFC 6455, section 4.1). A client that offers HTTP/2 can do
/// without; whoever asks for anything else could not go on as it wants.
fn upgrade(
    method: &Method,
    version: Version,
    body: Body,
    all: &[Field],
) -> Result<Option<Field>, HeadError> {
    let mut asked = Vec::new();
    for element in elements(all, "upgrade") {
        match element.to_ascii_lowercase().as_slice() {
            b"h2c" => {}
            b"websocket" => asked.push(element),
            _ => return Err(HeadError::Upgrade(shown(element))),
        }
    }
    if asked.is_empty() {
        return Ok(None);
    }
    let only = |name: &str| {
        let mut values = all.iter().filter(|field| field.name == name);
        values.next().filter(|_| values.next().is_none()).map(Field::bytes)
    };
    let is_named = elements(all, "connection").any(|it| it.eq_ignore_ascii_case(b"upgrade"));
    let key = only("sec-websocket-key").and_then(|key| STANDARD.decode(key).ok());
    let is_right = method.as_str() == "GET"
        && version == Version::Http11
        && body == Body::None
        && elements(all, "upgrade").count() == 1
        && is_named
        && key.is_some_and(|key| key.len() == 16)
        && only("sec-websocket-version") == Some(b"13");
    if !is_right {
        return Err(HeadError::WebSocket);
    }
    Ok(Some(Field { name: UPGRADE, value: HeaderValue::from_static("websocket") }))
}

fn check_expect(all: &[Field]) -> Result<(), HeadError> {
    match elements(all, "expect").find(|element| !element.eq_ignore_ascii_case(b"100-continue")) {
        Some(other) => Err(HeadError::Expect(shown(other))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
