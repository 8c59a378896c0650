//! Where a body ends (RFC 9112, section 6.3), where there is only one answer to that.

use guard_core::http::Method;

use super::{Field, HeadError, Version};

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk, or where frames say so.
    Chunked,
    /// With the connection: answers only.
    UntilClose,
}

/// Most digits of a length: what fits 63 bits whatever the digits are.
const MAX_DIGITS: usize = 18;

pub(super) fn request_body(
    method: &Method,
    version: Version,
    all: &[Field],
) -> Result<Body, HeadError> {
    let body = match (declared(version, all)?, version) {
        (Some(Body::Length(1..)), Version::Http2 { ended: true }) => return Err(HeadError::Length),
        (Some(Body::Length(0)), _) => Body::None,
        (Some(body), _) => body,
        (None, Version::Http2 { ended: false }) => Body::Chunked,
        (None, Version::Http10 | Version::Http11 | Version::Http2 { ended: true }) => Body::None,
    };
    match (method.as_str(), body) {
        // A server that does not expect a body may take it for the next request.
        ("GET" | "HEAD" | "OPTIONS" | "TRACE" | "CONNECT", Body::Length(_) | Body::Chunked) => {
            Err(HeadError::UnexpectedBody(method.clone()))
        }
        // Some servers wait for a length where a body is usual.
        ("POST" | "PUT" | "PATCH", Body::None) => Ok(Body::Length(0)),
        _ => Ok(body),
    }
}

pub(super) fn answer_body(
    to: &Method,
    status: u16,
    version: Version,
    all: &[Field],
) -> Result<Body, HeadError> {
    let declared = declared(version, all)?;
    Ok(match (to.as_str(), status) {
        ("HEAD", _) | (_, 100..=199 | 204 | 304) => Body::None,
        _ => declared.unwrap_or(match version {
            Version::Http2 { ended: true } => Body::None,
            Version::Http10 | Version::Http11 | Version::Http2 { ended: false } => Body::UntilClose,
        }),
    })
}

fn declared(version: Version, all: &[Field]) -> Result<Option<Body>, HeadError> {
    let value = |name: &str| all.iter().find(|field| field.name == name).map(Field::bytes);
    match (value("content-length"), value("transfer-encoding")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(HeadError::TwoLengths),
        (Some(length), None) => read_length(length).map(Body::Length).map(Some),
        (None, Some(coding)) => {
            if version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked") {
                Ok(Some(Body::Chunked))
            } else {
                Err(HeadError::Coding)
            }
        }
    }
}

/// Digits and nothing else: no sign, no list, no other base.
fn read_length(value: &[u8]) -> Result<u64, HeadError> {
    if !(1..=MAX_DIGITS).contains(&value.len()) {
        return Err(HeadError::Length);
    }
    value.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => Ok(sum * 10 + u64::from(byte - b'0')),
        _ => Err(HeadError::Length),
    })
}
