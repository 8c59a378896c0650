//! The target of a request (RFC 9112, section 3.2) as one path and one query.
//!
//! A server behind guard may decode once more, resolve `..` before or after it, cut parameters off, or fold letters. So
//! a target that two readers could take for different paths is refused, and what is left is written in one way (RFC 3986, section 6): that text
//! is both what rules are matched with and what is sent on.

mod layers;

use std::fmt;

use guard_core::egress::Host;
use percent_encoding::percent_decode;

use self::layers::check_segment;

/// Longest target, in bytes: what most servers take.
const MAX_TARGET: usize = 8 << 10;

/// A target that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum TargetError {
    #[error("the target is longer than {MAX_TARGET} bytes")]
    TooLong,
    #[error("the target holds the byte {0:#04x}, which must be percent-encoded in a URL")]
    Character(u8),
    #[error("the target has a fragment: leave out what begins with `#`")]
    Fragment,
    #[error("the target is neither a path nor a URL: ask as in `GET /path`")]
    Form,
    #[error("the target `*` is about the whole server, which no rule can name: ask for a path")]
    Asterisk,
    #[error(
        "the target is a place to make a tunnel to, and there are no tunnels here: ask for a path"
    )]
    Tunnel,
    #[error("a `%` is not followed by two hex digits: write `%25` for itself")]
    Percent,
    #[error("what is percent-encoded is not UTF-8")]
    NotUtf8,
    #[error("a NUL is encoded in it")]
    Nul,
    #[error("the path has a control character or one that cannot be seen")]
    Control,
    #[error("the path has an encoded slash, which servers read in two ways")]
    EncodedSlash,
    #[error("the path has a backslash, which some servers take for a slash")]
    Backslash,
    #[error("the path has an encoded `.` or `..` as a segment: write it out or leave it out")]
    EncodedDots,
    #[error("the path is encoded twice and means another one when it is decoded twice")]
    Twice,
    #[error("the path has a `;`, behind which some servers cut a segment off")]
    Parameter,
    #[error(
        "a segment of the path begins or ends with a space, or ends with a dot, which some servers cut off"
    )]
    Trimmed,
    #[error("the path has the character `{0}`, which some servers read as an ASCII one")]
    Folded(char),
    #[error("the path has `..` above its root")]
    AboveRoot,
    #[error(
        "the path has both `//` and `.` or `..`, which servers resolve in two ways: write it out"
    )]
    DotsAndDoubleSlash,
    #[error("the query has a `;`, at which some servers split it: write `&`, or `%3B` for itself")]
    QuerySemicolon,
    #[error("the request has no Host header")]
    NoHost,
    #[error("the request has more than one Host header")]
    TwoHosts,
    #[error("the host of the request cannot be read")]
    Host,
    #[error("the target has a user name or password: leave out what stands before `@`")]
    UserInfo,
    #[error("the target is a URL of another scheme than the one that was connected to")]
    Scheme,
    #[error("the target names another host than the Host header")]
    HostsDiffer,
    #[error("the request is for another host than the one behind this address: {0}")]
    OtherHost(Authority),
}

/// The scheme that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Http => b"http://",
            Self::Https => b"https://",
        }
    }
}

/// A host and a port in their one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, the scheme's own where none is written.
    pub port: u16,
}

impl Authority {
    /// Reads `host` or `host:port`.
    pub fn read(text: &[u8], scheme: Scheme) -> Result<Self, TargetError> {
        if text.contains(&b'@') {
            return Err(TargetError::UserInfo);
        }
        let text = std::str::from_utf8(text).map_err(|_| TargetError::Host)?;
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, read_port(port)?),
            Some(_) | None => (text, scheme.port()),
        };
        Ok(Self { host: Host::new(host).map_err(|_| TargetError::Host)?, port })
    }

    /// The one that a request's Host headers name.
    pub(super) fn of(hosts: &[&[u8]], scheme: Scheme) -> Result<Self, TargetError> {
        match hosts {
            [] => Err(TargetError::NoHost),
            [host] => Self::read(host, scheme),
            [_, _, ..] => Err(TargetError::TwoHosts),
        }
    }
}

fn read_port(text: &str) -> Result<u16, TargetError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(TargetError::Host)
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a listener stands for.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// The scheme that clients speak with it.
    pub scheme: Scheme,
    /// The names that clients may call it by.
    pub authorities: &'a [Authority],
}

/// A path and a query in the one form that stands for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    path: String,
    segments: Vec<String>,
    query: Option<String>,
}

impl Target {
    /// Reads the target of a request with its Host headers.
    pub fn read(target: &[u8], hosts: &[&[u8]], served: Served<'_>) -> Result<Self, TargetError> {
        Self::read_of(target, Authority::of(hosts, served.scheme), served)
    }

    /// The same, of a Host header that was read.
    pub(super) fn read_of(
        target: &[u8],
        host: Result<Authority, TargetError>,
        served: Served<'_>,
    ) -> Result<Self, TargetError> {
        check_bytes(target)?;
        let host = host?;
        let rest = match target.first() {
            Some(b'/') => target,
            _ => absolute(target, &host, served.scheme)?,
        };
        if !served.authorities.contains(&host) {
            return Err(TargetError::OtherHost(host));
        }
        let (path, query) = match memchr::memchr(b'?', rest) {
            Some(at) => {
                let (path, query) = rest.split_at(at);
                (path, query.get(1..))
            }
            None => (rest, None),
        };
        let (path, segments) =
            if path.is_empty() { ("/".to_owned(), Vec::new()) } else { read_path(path)? };
        let query = query.map(read_query).transpose()?;
        Ok(Self { path, segments, query })
    }

    /// The target as it is sent on, in origin-form.
    pub fn forwarded(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The path as it is sent on.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query as it is sent on, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Takes out the parameters with such names. Says whether there were any.
    pub(super) fn take_out(&mut self, is_one: impl Fn(&str) -> bool) -> bool {
        let Some(query) = &self.query else { return false };
        let named = |pair: &str| {
            let first = url::form_urlencoded::parse(pair.as_bytes()).next();
            first.is_some_and(|(name, _)| is_one(&name))
        };
        let pairs: Vec<&str> = query.split('&').collect();
        let kept: Vec<&str> = pairs.iter().copied().filter(|pair| !named(pair)).collect();
        if kept.len() == pairs.len() {
            return false;
        }
        self.query = (!kept.is_empty()).then(|| kept.join("&"));
        true
    }

    /// Adds a parameter.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let pair = [name, value].map(|text| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        });
        let mut query = self.query.take().filter(|query| !query.is_empty()).unwrap_or_default();
        if !query.is_empty() {
            query.push('&');
        }
        self.query = Some(query + &pair.join("="));
    }

    /// The decoded segments of the path: none for the root, an empty one at the end for a slash there.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// The decoded parameters of the query, as a form would have them.
    pub fn parameters(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let query = self.query.as_deref().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
    }
}

fn check_bytes(target: &[u8]) -> Result<(), TargetError> {
    if target.len() > MAX_TARGET {
        return Err(TargetError::TooLong);
    }
    for byte in target {
        match byte {
            b'#' => return Err(TargetError::Fragment),
            0x21..=0x7e => {}
            _ => return Err(TargetError::Character(*byte)),
        }
    }
    Ok(())
}

/// The path and query of a target in absolute-form, whose host must be the one of the Host header (RFC 9112, section 3.2.2).
fn absolute<'a>(
    target: &'a [u8],
    host: &Authority,
    scheme: Scheme,
) -> Result<&'a [u8], TargetError> {
    if target == b"*" {
        return Err(TargetError::Asterisk);
    }
    let Some(colon) = memchr::memmem::find(target, b"://") else {
        let place = Authority::read(target, scheme).is_ok_and(|_| target.contains(&b':'));
        return Err(if place { TargetError::Tunnel } else { TargetError::Form });
    };
    let (found, rest) = target.split_at_checked(colon + 3).ok_or(TargetError::Form)?;
    if !found.iter().take(colon).all(u8::is_ascii_alphanumeric) {
        return Err(TargetError::Form);
    }
    if !found.eq_ignore_ascii_case(scheme.prefix()) {
        return Err(TargetError::Scheme);
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'\\'));
    let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
    if Authority::read(authority, scheme)? != *host {
        return Err(TargetError::HostsDiffer);
    }
    if rest.starts_with(b"\\") {
        return Err(TargetError::Backslash);
    }
    Ok(rest)
}

// === the path ===

fn read_path(path: &[u8]) -> Result<(String, Vec<String>), TargetError> {
    let mut kept: Vec<(String, String)> = Vec::new();
    let (mut doubled, mut dots) = (false, false);
    let mut parts = path.split(|byte| *byte == b'/').skip(1).peekable();
    // Whether a slash stands at the end.
    let mut open = false;
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        open = is_last && matches!(part, b"" | b"." | b"..");
        match part {
            b"" => doubled |= !is_last,
            b"." => dots = true,
            b".." => {
                dots = true;
                kept.pop().ok_or(TargetError::AboveRoot)?;
            }
            _ => kept.push(read_segment(part)?),
        }
    }
    if doubled && dots {
        return Err(TargetError::DotsAndDoubleSlash);
    }
    let mut text = String::with_capacity(path.len());
    let mut segments = Vec::with_capacity(kept.len() + 1);
    for (encoded, decoded) in kept {
        text.push('/');
        text.push_str(&encoded);
        segments.push(decoded);
    }
    if open || segments.is_empty() {
        text.push('/');
    }
    if open && !segments.is_empty() {
        segments.push(String::new());
    }
    Ok((text, segments))
}

/// A segment as it is sent on and as it is matched.
fn read_segment(raw: &[u8]) -> Result<(String, String), TargetError> {
    let encoded = normalise(raw, |byte| match byte {
        b'\\' => Err(TargetError::Backslash),
        b';' => Err(TargetError::Parameter),
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
            Ok(Raw::Kept)
        }
        _ => Err(TargetError::Character(byte)),
    })?;
    let decoded: Vec<u8> = percent_decode(raw).collect();
    check_segment(&decoded)?;
    let decoded = String::from_utf8(decoded).map_err(|_| TargetError::NotUtf8)?;
    Ok((encoded, decoded))
}

// === the query ===

fn read_query(raw: &[u8]) -> Result<String, TargetError> {
    let query = normalise(raw, |byte| match byte {
        b';' => Err(TargetError::QuerySemicolon),
        // Not in the grammar, but many clients send them: they have one meaning only.
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => Ok(Raw::Encoded),
        _ => Ok(Raw::Kept),
    })?;
    let decoded: Vec<u8> = percent_decode(query.as_bytes()).collect();
    if decoded.contains(&0) {
        return Err(TargetError::Nul);
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(query),
        Err(_) => Err(TargetError::NotUtf8),
    }
}

// === both ===

/// What becomes of a byte that is not encoded.
enum Raw {
    Kept,
    Encoded,
}

/// Percent-encoding in its normal form (RFC 3986, section 6.2.2): unreserved characters are decoded, hex digits are capitals.
fn normalise(
    raw: &[u8],
    reserved: impl Fn(u8) -> Result<Raw, TargetError>,
) -> Result<String, TargetError> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                return Err(TargetError::Percent);
            };
            let value = u8::try_from(high * 16 + low).map_err(|_| TargetError::Percent)?;
            if is_unreserved(value) {
                text.push(char::from(value));
            } else {
                encode(value, &mut text);
            }
        } else if is_unreserved(byte) {
            text.push(char::from(byte));
        } else {
            match reserved(byte)? {
                Raw::Kept => text.push(char::from(byte)),
                Raw::Encoded => encode(byte, &mut text),
            }
        }
    }
    Ok(text)
}

fn encode(byte: u8, text: &mut String) {
    text.push_str(percent_encoding::percent_encode_byte(byte));
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests;
