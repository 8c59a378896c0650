//! What a request does: by its method, but where it calls something.

use guard_core::{
    Verb,
    http::{HttpRequest, Method},
};

/// What a request does that is taken to be by this method.
pub(super) fn verb(method: &Method, request: &HttpRequest) -> Verb {
    let calls = match method.as_str() {
        "GET" => value(request, "upgrade").is_some(),
        "POST" => is_grpc(request),
        _ => false,
    };
    if calls { Verb::Call } else { method.verb() }
}

/// Whether it calls a method of gRPC: its path is `/package.Service/Method`, and nobody could take its body for something else.
pub(super) fn is_grpc(request: &HttpRequest) -> bool {
    let [service, method] = request.path.as_slice() else { return false };
    let is_word = |text: &str, more: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_' || more.contains(it))
    };
    is_word(service, ".")
        && is_word(method, "")
        && value(request, "content-type").is_some_and(is_grpc_type)
}

/// Whether a body of this type is messages of gRPC (`application/grpc`, `application/grpc+proto`, …).
pub(super) fn is_grpc_type(value: &str) -> bool {
    let value = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    value == "application/grpc" || value.starts_with("application/grpc+")
}

fn value<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use guard_core::http::RequestBody;

    use super::*;

    fn of(method: &str, path: &[&str], headers: &[(&str, &str)]) -> Verb {
        let method = Method::new(method).unwrap();
        let own = |text: &&str| (*text).to_owned();
        let headers = headers.iter().map(|(name, value)| (own(name), own(value))).collect();
        let path = path.iter().map(own).collect();
        let (methods, query, body) = (vec![], vec![], RequestBody::Empty);
        verb(
            &method,
            &HttpRequest { methods, path, query, headers, body, graphql: None, called: None },
        )
    }

    #[test]
    fn what_calls_is_no_creating_and_what_only_says_so_is() {
        let grpc = ("content-type", "application/grpc");
        for (expected, method, path, headers) in [
            (Verb::Call, "POST", ["shop.v1.Orders", "Get"], grpc),
            (
                Verb::Call,
                "POST",
                ["Orders", "Get"],
                ("content-type", "application/grpc+proto; a=b"),
            ),
            (Verb::Create, "POST", ["shop.Orders", "Get"], ("content-type", "application/json")),
            (
                Verb::Create,
                "POST",
                ["shop.Orders", "Get"],
                ("content-type", "application/grpc-web"),
            ),
            (Verb::Create, "POST", ["orders", "7"], grpc),
            (Verb::Create, "POST", ["orders", ""], grpc),
            (Verb::Create, "POST", ["v1/orders", "get"], grpc),
            (Verb::Update, "PUT", ["shop.Orders", "Get"], grpc),
            (Verb::Call, "GET", ["v1", "live"], ("upgrade", "websocket")),
            (Verb::Read, "GET", ["v1", "live"], ("accept", "*/*")),
            (Verb::Create, "POST", ["v1", "live"], ("upgrade", "websocket")),
        ] {
            assert_eq!(of(method, &path, &[headers]), expected, "{method} {path:?} {headers:?}");
        }
        assert_eq!(of("POST", &["a.B"], &[grpc]), Verb::Create);
        assert_eq!(of("POST", &["a.B", "C", "D"], &[grpc]), Verb::Create);
    }
}
