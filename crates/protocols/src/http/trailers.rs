//! What stands behind a body (RFC 9110, section 6.5): filtered like headers.
//!
//! Some servers put it among the headers. So what a rule looks at, what could be a credential, and what a recipient must know before a body
//! does not go on behind one.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::{
    credential::Shown,
    head::{Field, HeadError, answer_trailers, request_trailers},
};

/// What goes on behind the body of a request: all or nothing. `is_judged`: whether a header is looked at before a body.
pub(super) fn of_request(
    sent: &HeaderMap,
    is_judged: impl Fn(&Field) -> bool,
) -> Result<HeaderMap, HeadError> {
    let kept = request_trailers(fields(sent))?;
    if let Some(field) = kept.iter().find(|field| is_judged(field)) {
        return Err(HeadError::Trailer(field.name.clone()));
    }
    written(kept)
}

/// What goes on behind the body of an answer: without the credential.
pub(super) fn of_answer(sent: &HeaderMap, shown: &Shown) -> Result<HeaderMap, HeadError> {
    let mut kept = answer_trailers(fields(sent))?;
    for field in &mut kept {
        field.value = shown.hidden.in_whole(&field.value).into_owned();
    }
    written(kept)
}

/// How many bytes they are.
pub(super) fn size(map: &HeaderMap) -> u64 {
    map.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

fn fields(map: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn written(fields: Vec<Field>) -> Result<HeaderMap, HeadError> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        match (name, HeaderValue::from_bytes(&field.value)) {
            (Ok(name), Ok(value)) => drop(map.append(name, value)),
            (Ok(_), Err(_)) | (Err(_), _) => return Err(HeadError::Value(field.name)),
        }
    }
    Ok(map)
}
