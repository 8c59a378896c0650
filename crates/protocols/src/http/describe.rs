//! A request without a network: for those who want to know what a policy makes of it.

use std::sync::Arc;

use guard_core::{Operation, http::Api};

use super::{
    content::{self, Kind},
    head::{self, Field, Version},
    matching::{self, Form},
    operation::Operations,
    target::{Authority, Scheme, Served, Target},
};

/// Any host: rules do not look at it.
const HOST: &str = "localhost";

/// A request that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// It is not written as `GET /path`.
    #[error("a request is written as in `GET /path?name=value`")]
    Form,
    /// It would be refused before it is judged.
    #[error("it is refused whatever a policy says: {0}")]
    Unsound(String),
}

/// The operation that a request is, as the gate would be asked about it: `GET /path?name=value`, headers, a body, and the API's document if it
/// has one.
pub fn describe(
    request: &str,
    headers: &[(String, String)],
    body: &str,
    api: Option<&Api>,
) -> Result<Arc<Operation>, NoRequest> {
    let (method, target) = request.trim().split_once(' ').ok_or(NoRequest::Form)?;
    let unsound = |why: String| NoRequest::Unsound(why);
    let headers = headers.iter().map(|(name, value)| Field::read(name, value.as_bytes()));
    let head = head::request(method, Version::Http11, headers)
        .map_err(|error| unsound(error.to_string()))?;
    let host = Authority::read(HOST.as_bytes(), Scheme::Http).map_err(|_| NoRequest::Form)?;
    let served = Served { scheme: Scheme::Http, authorities: &[host] };
    let target = Target::read(target.trim().as_bytes(), &[HOST.as_bytes()], served)
        .map_err(|error| unsound(error.to_string()))?;
    let kind = Kind::of(&head.fields);
    let content_type = head.fields.iter().find(|field| field.name == "content-type");
    let content_type = content_type.map(Field::bytes).unwrap_or_default();
    let form = Form { content_type, body: body.as_bytes() };
    let mut request = matching::request(&head.method, &target, &head.fields, Some(form))
        .map_err(|error| unsound(error.to_string()))?;
    content::look(&mut request, kind, body.as_bytes());
    if let Some(api) = api {
        matching::name(&mut request, api);
    }
    Ok(Operations::default().of(request, &target))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_request_is_what_the_gate_would_be_asked() {
        let headers = [("X-HTTP-Method-Override".to_owned(), "DELETE".to_owned())];
        let operation = describe("POST /a/../b%7e?x=1", &headers, "", None).unwrap();
        assert_eq!(&**operation.text.reveal(), "POST (DELETE) /b~?x=1");
        assert_eq!(operation.effects.len(), 2);
        assert_eq!(describe("GET", &[], "", None), Err(NoRequest::Form));
        for unsound in ["get /a", "GET a", "GET /a%2fb", "CONNECT a:1", "GET /a\r\nX: y"] {
            let found = describe(unsound, &[], "", None);
            assert!(matches!(found, Err(NoRequest::Unsound(_))), "{unsound}: {found:?}");
        }
    }
}
