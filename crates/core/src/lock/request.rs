//! Requests to HTTP APIs as a lock lists them: what is asked, a path, and the names of the parameters.
//!
//! `GET /repos/acme/shop/issues/*?page&per_page`. What such a line says is all that is compared, so that whoever reads it knows what
//! it lets through. Values of parameters, headers and bodies are free, as literals of statements are.

use std::{collections::BTreeSet, fmt, str::FromStr};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::{
    Effect, Verb,
    http::{InvalidPath, PathPattern},
};

/// Longest line, in bytes.
const MAX_LINE: usize = 4096;
/// Stands behind the method of what calls: opens a WebSocket, calls a method of gRPC, or has a method that RFC 9110 and RFC 5789 do not have.
const CALLS: &str = "(call)";
/// What a path has of its own must not be read as a pattern.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// What ends a name in a query, besides.
const IN_NAME: &AsciiSet = &IN_PATH.add(b'&').add(b'+').add(b'=');

/// A line that no request could be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// It has another form.
    #[error("`{0}` is no request of a lock: write `GET /path/*?names&of&parameters`")]
    Form(String),
    /// Its path is none.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// It is too long.
    #[error("a request of more than {MAX_LINE} bytes is too long for a lock")]
    TooLong,
    /// A parameter is named twice.
    #[error("the parameter `{0}` is named twice")]
    Twice(String),
}

/// A request that was sent, as far as a lock looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    asks: String,
    /// Decoded; as [`PathPattern::matches`] takes them.
    path: Vec<String>,
    parameters: BTreeSet<String>,
}

/// Requests that a lock lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRequest {
    asks: String,
    path: PathPattern,
    parameters: BTreeSet<String>,
}

impl RequestSeen {
    /// Reads what is recorded of a request: its text, `GET /path?query`, and its effects. `None` if that does not say all of what it
    /// asks.
    pub fn of(text: &str, effects: &[Effect]) -> Option<Self> {
        let (asks, target) = split(text)?;
        // Cut off where it was too long to be shown.
        if !asks.is_ascii() {
            return None;
        }
        let calls = effects.iter().any(|effect| effect.verb == Verb::Call);
        let asks = if calls { format!("{asks} {CALLS}") } else { asks.to_owned() };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let bare = path.strip_prefix('/')?;
        let decoded = |part: &str| Some(percent_decode_str(part).decode_utf8().ok()?.into_owned());
        let path = if bare.is_empty() {
            Vec::new()
        } else {
            bare.split('/').map(decoded).collect::<Option<_>>()?
        };
        let parameters = url::form_urlencoded::parse(query.as_bytes());
        let parameters = parameters.map(|(name, _)| name.into_owned()).collect();
        Some(Self { asks, path, parameters })
    }

    /// The line that lists it, with `*` for each segment that looks like a value: a number, a day, a UUID, a digest.
    pub fn to_locked(&self) -> Result<LockedRequest, InvalidRequest> {
        let mut line = self.asks.clone();
        line.push_str(if self.path.is_empty() { " /" } else { " " });
        for segment in &self.path {
            line.push('/');
            if is_value(segment) {
                line.push('*');
            } else {
                line.extend(utf8_percent_encode(segment, IN_PATH));
            }
        }
        push_names(&mut line, &self.parameters);
        line.parse()
    }
}

impl LockedRequest {
    /// Whether it lists a request.
    pub fn lists(&self, seen: &RequestSeen) -> bool {
        self.asks == seen.asks
            && self.parameters == seen.parameters
            && self.path.matches(&seen.path)
    }

    /// Whether it lists all that another line does.
    pub fn covers(&self, other: &Self) -> bool {
        self.asks == other.asks
            && self.parameters == other.parameters
            && self.path.covers(&other.path)
    }
}

impl fmt::Display for LockedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = String::new();
        push_names(&mut names, &self.parameters);
        write!(f, "{} {}{names}", self.asks, self.path)
    }
}

impl FromStr for LockedRequest {
    type Err = InvalidRequest;

    fn from_str(line: &str) -> Result<Self, InvalidRequest> {
        if line.len() > MAX_LINE {
            return Err(InvalidRequest::TooLong);
        }
        let form = || InvalidRequest::Form(line.to_owned());
        let (asks, target) = split(line).ok_or_else(form)?;
        let method = asks.split(' ').next().unwrap_or_default();
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_graphic());
        if !asks.split(' ').all(is_word) || method.bytes().any(|it| it.is_ascii_lowercase()) {
            return Err(form());
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut parameters = BTreeSet::new();
        for name in query.into_iter().flat_map(|query| query.split('&')) {
            if name.is_empty()
                || !name.bytes().all(|it| it.is_ascii_graphic())
                || name.contains('=')
            {
                return Err(form());
            }
            let name = percent_decode_str(name).decode_utf8().map_err(|_| form())?.into_owned();
            if !parameters.insert(name.clone()) {
                return Err(InvalidRequest::Twice(name));
            }
        }
        Ok(Self { asks: asks.to_owned(), path: path.parse()?, parameters })
    }
}

/// What is asked, and the target.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = text.find(" /")?;
    let (asks, target) = text.split_at_checked(at)?;
    Some((asks, target.strip_prefix(' ')?))
}

fn push_names(line: &mut String, names: &BTreeSet<String>) {
    for (place, name) in names.iter().enumerate() {
        line.push(if place == 0 { '?' } else { '&' });
        line.extend(utf8_percent_encode(name, IN_NAME));
    }
}

/// Whether a segment is likely another one the next time.
fn is_value(segment: &str) -> bool {
    const SHORTEST_DIGEST: usize = 7;
    let has_digit = segment.bytes().any(|byte| byte.is_ascii_digit());
    let is_number = |byte: u8| {
        byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b'T' | b'Z')
    };
    let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    has_digit
        && (segment.bytes().all(is_number)
            || segment.len() >= SHORTEST_DIGEST && segment.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{Object, ObjectKind, ObjectName};

    fn seen(text: &str) -> RequestSeen {
        RequestSeen::of(text, &[]).unwrap()
    }

    fn locked(line: &str) -> LockedRequest {
        line.parse().unwrap()
    }

    #[test]
    fn a_request_is_listed_by_what_it_asks_where_and_with_which_parameters() {
        for (text, line) in [
            ("GET /", "GET /"),
            ("GET /a", "GET /a"),
            ("GET /a/", "GET /a/"),
            ("GET /a?", "GET /a"),
            ("GET /a?page=1&q=x&page=2", "GET /a?page&q"),
            ("GET /a?q=secret", "GET /a?q"),
            ("POST (DELETE) /a", "POST (DELETE) /a"),
            (
                "POST query viewer, mutation createIssue /graphql",
                "POST query viewer, mutation createIssue /graphql",
            ),
            ("GET /issues/123/comments", "GET /issues/*/comments"),
            ("GET /backups/2026-11-29T03:00:00Z/x", "GET /backups/*/x"),
            ("PUT /p/1.2.3", "PUT /p/*"),
            ("GET /c/66d0254", "GET /c/*"),
            ("GET /c/0b8b4b1e-3f0c-4f9e-9a43-1d8f5e6a7b80", "GET /c/*"),
            ("GET /v1/decade/facade1/-", "GET /v1/decade/*/-"),
            ("GET /100%25/%2A/*/%7Bx%7D/a%20b", "GET /100%25/%2A/%2A/%7Bx%7D/a%20b"),
            ("GET /caf%C3%A9?caf%C3%A9=1&a%26b=2", "GET /caf%C3%A9?a%26b&caf%C3%A9"),
        ] {
            let request = seen(text);
            let made = request.to_locked().unwrap();
            assert_eq!(made.to_string(), line, "{text}");
            assert!(made.lists(&request), "{text}");
            assert_eq!(locked(line), made);
            assert!(made.covers(&made));
        }
    }

    #[test]
    fn fail_closed_what_differs_in_anything_else_is_not_listed() {
        for (line, text) in [
            ("GET /a", "POST /a"),
            ("GET /a", "GET /A"),
            ("GET /a", "GET /a/"),
            ("GET /a", "GET /a/b"),
            ("GET /a", "GET /a?force=true"),
            ("GET /a?page", "GET /a"),
            ("GET /a?page", "GET /a?page=1&force"),
            ("POST /a", "POST (DELETE) /a"),
            ("POST (DELETE) /a", "POST /a"),
            ("POST query viewer /g", "POST mutation delete /g"),
            ("POST query viewer /g", "POST /g"),
            ("GET /a/*", "GET /a/"),
            ("GET /a/*", "GET /a/b/c"),
            ("GET /a/%2A", "GET /a/b"),
        ] {
            assert!(!locked(line).lists(&seen(text)), "{line} {text}");
        }
        let socket =
            Effect::new(Verb::Call, Object::named(ObjectKind::Path, ObjectName::bare("/a")));
        let socket = RequestSeen::of("GET /a", &[socket]).unwrap();
        assert!(!locked("GET /a").lists(&socket));
        assert_eq!(socket.to_locked().unwrap().to_string(), "GET (call) /a");
        assert!(locked("GET (call) /a").lists(&socket));
        // What is cut off could be anything.
        assert_eq!(RequestSeen::of("POST query a… /graphql", &[]), None);
        assert_eq!(RequestSeen::of("request", &[]), None);
    }

    #[test]
    fn a_pattern_covers_what_it_lists_and_no_more() {
        assert!(locked("GET /a/*").covers(&locked("GET /a/b")));
        assert!(locked("GET /a/**").covers(&locked("GET /a/*/c")));
        assert!(!locked("GET /a/b").covers(&locked("GET /a/*")));
        assert!(!locked("GET /a/*").covers(&locked("GET /a/**")));
        assert!(locked("GET /a/{id}").lists(&seen("GET /a/7")));
    }

    #[test]
    fn a_line_that_is_no_request_is_refused() {
        for line in [
            "",
            "GET",
            "GET a",
            "/a",
            " /a",
            "get /a",
            "GET  /a",
            "GET /a?",
            "GET /a?a=b",
            "GET /a?a&a",
            "GET /a?a b",
            "GET /a//b",
            "GET /a/../b",
            "GET /a*",
            "GET\u{e9} /a",
            "GET /%zz",
        ] {
            assert!(line.parse::<LockedRequest>().is_err(), "{line}");
        }
    }
}
