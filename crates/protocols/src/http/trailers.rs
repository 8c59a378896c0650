//! What stands behind a body (RFC 9110, section 6.5): filtered like headers.
//!
//! Some servers put it among the headers. So what a rule looks at, what could be a credential, and what a recipient must know before a body
//! does not go on behind one.

use std::borrow::Cow;

use hyper::{HeaderMap, header::HeaderValue};

use super::{
    credential::Shown,
    head::{Field, HeadError, answer_trailers, request_trailers},
};

/// What goes on behind the body of a request: all or nothing. `is_judged`: whether a header is looked at before a body.
pub(super) fn of_request(
    sent: &HeaderMap,
    is_judged: impl Fn(&Field) -> bool,
) -> Result<HeaderMap, HeadError> {
    let kept = request_trailers(sent.iter().map(Field::of))?;
    if let Some(field) = kept.iter().find(|field| is_judged(field)) {
        return Err(HeadError::Trailer(field.name.to_string()));
    }
    Ok(written(kept))
}

/// What goes on behind the body of an answer: without the credential.
pub(super) fn of_answer(sent: &HeaderMap, shown: &Shown) -> Result<HeaderMap, HeadError> {
    let mut kept = answer_trailers(sent.iter().map(Field::of))?;
    for field in &mut kept {
        if let Cow::Owned(hidden) = shown.hidden.in_whole(field.bytes()) {
            let hidden = HeaderValue::try_from(hidden);
            field.value = hidden.map_err(|_| HeadError::Value(field.name.to_string()))?;
        }
    }
    Ok(written(kept))
}

/// How many bytes they are.
pub(super) fn size(map: &HeaderMap) -> u64 {
    map.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

fn written(fields: Vec<Field>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for Field { name, value } in fields {
        map.append(name, value);
    }
    map
}
