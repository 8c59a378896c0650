//! A request as rules look at it: its methods, its decoded path, its parameters and headers.
//!
//! Some frameworks let a request ask for another method than the one that was sent: by a header, or by a parameter `_method`
//! in the query or in a form. Whether the server behind guard does is not known, so such a request is both.

use std::borrow::Cow;

use guard_core::http::{Api, HttpRequest, InvalidMethod, Method, RequestBody};

use super::{
    head::{Field, canonical},
    target::Target,
};

/// Headers that ask for another method, in their canonical form.
pub(super) const OVERRIDES: [&str; 3] =
    ["x-http-method", "x-http-method-override", "x-method-override"];

/// The parameter that does, in its canonical form.
const PARAMETER: &str = "_method";

/// Methods that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// A method is none.
    #[error(transparent)]
    Method(#[from] InvalidMethod),
    /// Two places ask for different methods.
    #[error("the request asks for `{0}` and for `{1}` instead of its method: ask for one")]
    Contradiction(Method, Method),
    /// The method makes a tunnel, or shows what guard added.
    #[error("`{0}` is not possible through guard")]
    Impossible(Method),
    /// A form in parts asks for another method, which is not read.
    #[error(
        "a form in parts has a field `_method`: send the method itself, or a header `X-HTTP-Method-Override`"
    )]
    Multipart,
    /// A header's value is no text.
    #[error("the header `{0}` is not UTF-8")]
    NotText(String),
}

/// A body that may ask for another method.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// The header Content-Type.
    pub content_type: &'a [u8],
    /// The whole body.
    pub body: &'a [u8],
}

/// Whether a body of this type must be read before a request can be judged, since it may ask for another method.
pub fn may_override(content_type: &[u8]) -> bool {
    is_type(content_type, b"application/x-www-form-urlencoded") || is_multipart(content_type)
}

/// Puts a request together for whoever judges it.
pub fn request(
    method: &Method,
    target: &Target,
    headers: &[Field],
    form: Option<Form<'_>>,
) -> Result<HttpRequest, MatchError> {
    let query: Vec<(String, String)> = target.parameters().collect();
    let headers = headers.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut asked = Vec::new();
    for (name, value) in &headers {
        if OVERRIDES.contains(&name.as_str()) {
            asked.push(read_override(value)?);
        }
    }
    for (name, value) in &query {
        if is_parameter(name) {
            asked.push(read_override(value)?);
        }
    }
    if let Some(form) = form {
        asked.extend(in_form(form)?);
    }
    let mut methods = vec![method.clone()];
    if let Some(first) = asked.first() {
        if let Some(other) = asked.iter().find(|other| *other != first) {
            return Err(MatchError::Contradiction(first.clone(), other.clone()));
        }
        if first != method {
            methods.push(first.clone());
        }
    }
    if let Some(method) =
        methods.iter().find(|it| matches!(it.as_str(), "CONNECT" | "TRACE" | "TRACK"))
    {
        return Err(MatchError::Impossible(method.clone()));
    }
    let (path, body) = (target.segments().to_vec(), RequestBody::Empty);
    Ok(HttpRequest { methods, path, query, headers, body, called: None, graphql: None })
}

/// Puts to a request which operations of the API's document it is.
pub(super) fn name(request: &mut HttpRequest, api: &Api) {
    let called = request.methods.iter().map(|method| api.called(method, &request.path));
    request.called = Some(called.collect());
}

fn text(field: &Field) -> Result<(String, String), MatchError> {
    let name = canonical(field.name.as_str()).into_owned();
    match std::str::from_utf8(field.bytes()) {
        Ok(value) => Ok((name, value.to_owned())),
        Err(_) => Err(MatchError::NotText(name)),
    }
}

/// Frameworks that take a method from somewhere else put it into capital letters first.
fn read_override(value: &str) -> Result<Method, InvalidMethod> {
    Method::new(&value.trim().to_ascii_uppercase())
}

/// Whether a framework could take a parameter's name for `_method`: some make `_` of dots and spaces, and cut off what
/// stands in brackets.
fn is_parameter(name: &str) -> bool {
    plain_parameter(name) == PARAMETER
}

/// The name that a framework could take a parameter's for.
pub(super) fn plain_parameter(name: &str) -> String {
    let name = name.split(['[', '\0']).next().unwrap_or_default();
    let plain =
        |character: char| if matches!(character, '.' | ' ' | '-') { '_' } else { character };
    name.trim().chars().map(plain).flat_map(char::to_lowercase).collect()
}

fn in_form(form: Form<'_>) -> Result<Vec<Method>, MatchError> {
    if is_multipart(form.content_type) {
        return if names_parameter(form.body) {
            Err(MatchError::Multipart)
        } else {
            Ok(Vec::new())
        };
    }
    if !is_type(form.content_type, b"application/x-www-form-urlencoded") {
        return Ok(Vec::new());
    }
    let mut asked = Vec::new();
    // Some frameworks split at `;`, too.
    let body: Cow<'_, [u8]> = if form.body.contains(&b';') {
        form.body.iter().map(|byte| if *byte == b';' { b'&' } else { *byte }).collect()
    } else {
        form.body.into()
    };
    for (name, value) in url::form_urlencoded::parse(&body) {
        if is_parameter(&name) {
            asked.push(read_override(&value)?);
        }
    }
    Ok(asked)
}

/// Whether anything in a form in parts looks like the name of such a field, wherever its parts begin and end.
fn names_parameter(body: &[u8]) -> bool {
    memchr::memchr_iter(b'=', body).any(|at| {
        let (before, rest) = body.split_at(at);
        let before = before.trim_ascii_end();
        let before = before.strip_suffix(b"*").unwrap_or(before).trim_ascii_end();
        if !before.last_chunk::<4>().is_some_and(|word| word.eq_ignore_ascii_case(b"name")) {
            return false;
        }
        let rest = rest.get(..128).unwrap_or(rest);
        let text = String::from_utf8_lossy(rest);
        let value = text.trim_start_matches(['=', ' ', '\t', '\r', '\n', '"', '\'']);
        let value = value.rsplit_once("''").map_or(value, |(_, value)| value);
        let name = value.split(['"', '\'', ';', '\r', '\n', ' ']).next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        is_parameter(&name)
    })
}

fn is_type(content_type: &[u8], expected: &[u8]) -> bool {
    let bare = content_type.split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
    bare.trim_ascii().eq_ignore_ascii_case(expected)
}

fn is_multipart(content_type: &[u8]) -> bool {
    let start = content_type.trim_ascii_start();
    start.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::target::{Authority, Scheme, Served};
    use super::*;

    fn target(text: &str) -> Target {
        let host = Authority::read(b"api.example", Scheme::Http).unwrap();
        let served = Served { scheme: Scheme::Http, authorities: &[host] };
        Target::read(text.as_bytes(), &[b"api.example"], served).unwrap()
    }

    fn methods(
        sent: &str,
        text: &str,
        headers: &[(&str, &str)],
        form: Option<(&str, &str)>,
    ) -> Result<String, MatchError> {
        // Some are none that a head may have.
        let field = |(name, value): &(&str, &str)| Field {
            name: name.parse().unwrap(),
            value: value.parse().unwrap(),
        };
        let fields: Vec<Field> = headers.iter().map(field).collect();
        let form = form.map(|(content_type, body)| Form {
            content_type: content_type.as_bytes(),
            body: body.as_bytes(),
        });
        let found = request(&Method::new(sent).unwrap(), &target(text), &fields, form)?;
        Ok(found.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_request_is_whatever_it_asks_for() {
        const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
        type Case<'a> =
            (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<(&'a str, &'a str)>, &'a str);
        let cases: &[Case<'_>] = &[
            ("GET", "/a", &[], None, "GET"),
            ("POST", "/a", &[("X-HTTP-Method-Override", "DELETE")], None, "POST DELETE"),
            ("POST", "/a", &[("x-http-method", " delete ")], None, "POST DELETE"),
            ("POST", "/a", &[("X_Method_Override", "PUT")], None, "POST PUT"),
            ("GET", "/a", &[("X-Method-Override", "GET")], None, "GET"),
            ("POST", "/a?_method=DELETE", &[], None, "POST DELETE"),
            ("POST", "/a?%5fmethod=DELETE", &[], None, "POST DELETE"),
            ("POST", "/a?.method=DELETE", &[], None, "POST DELETE"),
            ("POST", "/a?+_method=DELETE", &[], None, "POST DELETE"),
            ("POST", "/a?_METHOD=DELETE", &[], None, "POST DELETE"),
            ("POST", "/a?_method[]=DELETE", &[], None, "POST DELETE"),
            ("POST", "/a?method=DELETE", &[], None, "POST"),
            ("POST", "/a", &[], Some((FORM, "x=1&_method=DELETE")), "POST DELETE"),
            ("POST", "/a", &[], Some((FORM, "x=1;_method=DELETE")), "POST DELETE"),
            ("POST", "/a", &[], Some((FORM, "x=_method")), "POST"),
            ("POST", "/a", &[], Some(("application/json", "_method=DELETE")), "POST"),
            (
                "POST",
                "/a?_method=PATCH",
                &[("X-HTTP-Method", "PATCH"), ("X-Method-Override", "patch")],
                Some((FORM, "_method=PATCH")),
                "POST PATCH",
            ),
        ];
        for (sent, text, headers, form, expected) in cases {
            let found = methods(sent, text, headers, *form);
            assert_eq!(found.as_deref(), Ok(*expected), "{text} {headers:?} {form:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let contradicts = |text, headers: &[(&str, &str)], form| {
            matches!(methods("POST", text, headers, form), Err(MatchError::Contradiction(..)))
        };
        assert!(contradicts("/a?_method=PUT", &[("X-HTTP-Method", "DELETE")], None));
        assert!(contradicts("/a?_method=PUT&_method=DELETE", &[], None));
        assert!(contradicts("/a", &[("X-HTTP-Method", "PUT"), ("X-Method-Override", "GET")], None));
        let form = ("APPLICATION/x-www-form-urlencoded", "_method=GET");
        assert!(contradicts("/a?_method=PUT", &[], Some(form)));
        let unreadable = methods("POST", "/a?_method=", &[], None);
        assert!(matches!(unreadable, Err(MatchError::Method(_))));
        for impossible in ["TRACE", "CONNECT", "TRACK"] {
            let found = methods("POST", "/a", &[("X-HTTP-Method", impossible)], None);
            assert!(matches!(found, Err(MatchError::Impossible(_))), "{impossible}");
            assert!(matches!(methods(impossible, "/a", &[], None), Err(MatchError::Impossible(_))));
        }
    }

    #[test]
    fn a_form_in_parts_cannot_ask_for_another_method() {
        const PARTS: &str = "Multipart/form-data; boundary=B";
        let form = |disposition: &str| {
            let body = format!(
                "--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\nDELETE\r\n--B--\r\n"
            );
            methods("POST", "/a", &[], Some((PARTS, &body)))
        };
        for asks in [
            "name=\"_method\"",
            "name=_method",
            "NAME=\"_method\"",
            "name = '_method'",
            "name=\"_METHOD\"; x=y",
            "name*=utf-8''_method",
            "name=\"%5Fmethod\"",
            "filename=x; name=\"_method\"",
        ] {
            assert_eq!(form(asks), Err(MatchError::Multipart), "{asks}");
        }
        assert!(form("name=\"file\"; filename=\"_a\"").is_ok());
        assert!(
            may_override(PARTS.as_bytes()) && may_override(b"application/x-www-form-urlencoded")
        );
        assert!(!may_override(b"application/json"));
    }

    #[test]
    fn what_rules_see_is_decoded_and_has_one_spelling() {
        let fields = [Field::read("X_Some-Name", b"v").unwrap()];
        let found =
            request(&Method::new("GET").unwrap(), &target("/caf%C3%A9/?a=%20"), &fields, None);
        let found = found.unwrap();
        assert_eq!(found.path, ["café", ""]);
        assert_eq!(found.query, [("a".to_owned(), " ".to_owned())]);
        assert_eq!(found.headers, [("x-some-name".to_owned(), "v".to_owned())]);
        let odd = [Field::read("a", &[0xff]).unwrap()];
        let found = request(&Method::new("GET").unwrap(), &target("/"), &odd, None);
        assert_eq!(found, Err(MatchError::NotText("a".to_owned())));
    }
}
