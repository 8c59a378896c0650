//! The head of a request as bytes, for where nobody has read it before.

use super::{Field, HeadError, MAX_FIELDS, MAX_HEAD, RequestHead, Version, request};

/// A request's head, and how long it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// The target as it was sent.
    pub target: Vec<u8>,
    /// The rest of the head.
    pub head: RequestHead,
    /// How many bytes of the input it took.
    pub taken: usize,
}

/// Reads the head of a request, strictly; `None` if it is not there as a whole.
pub fn read_request(bytes: &[u8]) -> Result<Option<RawRequest>, HeadError> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    let head = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    check_lines(head)?;
    if head.len() > MAX_HEAD {
        return Err(HeadError::TooLong);
    }
    let Some(taken) = end else { return Ok(None) };
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut found = httparse::Request::new(&mut headers);
    match found.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == taken => {}
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => {
            return Err(HeadError::Unreadable("it does not end where it should"));
        }
        Err(error) => return Err(unreadable(error)),
    }
    let version = match found.version {
        Some(0) => Version::Http10,
        Some(1) => Version::Http11,
        Some(_) | None => return Err(HeadError::Version),
    };
    let (Some(method), Some(target)) = (found.method, found.path) else {
        return Err(HeadError::Unreadable("it has no request line"));
    };
    let fields = found.headers.iter().map(|header| Field::read(header.name, header.value));
    let head = request(method, version, fields)?;
    Ok(Some(RawRequest { target: target.as_bytes().to_vec(), head, taken }))
}

/// Lines end with CRLF and nothing else, and each is a header of its own.
fn check_lines(head: &[u8]) -> Result<(), HeadError> {
    if head.starts_with(b"\r") {
        return Err(HeadError::Unreadable("it begins with an empty line"));
    }
    for at in memchr::memchr2_iter(b'\r', b'\n', head) {
        let before = at.checked_sub(1).and_then(|at| head.get(at)).copied();
        let (byte, after) = (head.get(at).copied(), head.get(at + 1).copied());
        match (before, byte, after) {
            (_, Some(b'\r'), Some(b'\n') | None) => {}
            (Some(b'\r'), Some(b'\n'), Some(b' ' | b'\t')) => return Err(HeadError::Folded),
            (Some(b'\r'), Some(b'\n'), _) => {}
            _ => return Err(HeadError::LineEnd),
        }
    }
    Ok(())
}

fn unreadable(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Unreadable("a header has no name, or an odd one"),
        httparse::Error::HeaderValue => HeadError::Unreadable("a header has an odd value"),
        httparse::Error::NewLine => HeadError::LineEnd,
        httparse::Error::Status => HeadError::Unreadable("its status is none"),
        httparse::Error::Token => HeadError::Unreadable("its request line has an odd character"),
        httparse::Error::TooManyHeaders => HeadError::TooMany,
        httparse::Error::Version => HeadError::Version,
    }
}
