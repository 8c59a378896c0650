//! What a body could be taken for: JSON, a form, an operation of GraphQL.
//!
//! Certain is a body of which its type says what it is, that is that to the last byte, and that no two readers take for
//! different values. Of everything else rules are told all that guard can read in it, and where it can read nothing,
//! that it could be anything.

mod form;
mod graphql;
mod json;

use guard_core::http::{HttpRequest, Json, Readings, RequestBody};

use super::head::Field;

/// The headers that say what a body is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kind<'a> {
    content_type: &'a [u8],
    /// Whether it is packed in some way.
    encoded: bool,
}

/// What a header Content-Type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Json,
    Form,
    Graphql,
    /// Nothing that guard reads, or nothing for certain.
    Other,
}

impl<'a> Kind<'a> {
    pub(super) fn of(headers: &'a [Field]) -> Self {
        let named = |name: &str| headers.iter().find(|field| field.name == name);
        let encoded = named("content-encoding").is_some_and(|field| {
            !field.value.is_empty() && !field.bytes().eq_ignore_ascii_case(b"identity")
        });
        let content_type = named("content-type").map(Field::bytes);
        Self { content_type: content_type.unwrap_or_default(), encoded }
    }

    fn said(self) -> Said {
        let Ok(text) = std::str::from_utf8(self.content_type) else { return Said::Other };
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        // A boundary is nothing to these types; another charset makes other text of the same bytes.
        let plain = parts.all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim_matches('"');
            let utf8 = value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8");
            (parameter.is_empty() || !name.trim().eq_ignore_ascii_case("charset") || utf8)
                && !parameter.contains(',')
        });
        let is_json = essence == "application/json"
            || (essence.starts_with("application/")
                && essence.ends_with("+json")
                && essence.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
        match essence.as_str() {
            _ if !plain || self.encoded => Said::Other,
            _ if is_json => Said::Json,
            "application/x-www-form-urlencoded" => Said::Form,
            "application/graphql" => Said::Graphql,
            _ => Said::Other,
        }
    }
}

/// Puts what a body holds to a request.
pub(super) fn look(request: &mut HttpRequest, kind: Kind<'_>, body: &[u8]) {
    request.body = read(kind, body);
    request.graphql = Some(graphql::read(&request.query, kind, body, &request.body));
}

/// What a body could be taken for.
fn read(kind: Kind<'_>, body: &[u8]) -> RequestBody {
    if body.is_empty() {
        return RequestBody::Empty;
    }
    if kind.encoded {
        return RequestBody::Read(anything());
    }
    let said = kind.said();
    let json = json::read(body);
    let form = form::read(body);
    let readings = match (said, json, form) {
        (Said::Json, Some(json), _) => Readings { certain: json.certain, all: vec![json.value] },
        (Said::Json, None, _) => anything(),
        // A server that looks at the body alone would find JSON.
        (Said::Form, Some(json), Some(form)) if json.is_nested() => {
            Readings { certain: false, all: [vec![json.value], form.values].concat() }
        }
        (Said::Form, _, Some(form)) => Readings { certain: form.certain, all: form.values },
        (Said::Form, _, None) => anything(),
        (Said::Graphql | Said::Other, Some(json), Some(form)) => {
            Readings { certain: false, all: [vec![json.value], form.values].concat() }
        }
        (Said::Graphql | Said::Other, Some(json), None) => {
            Readings { certain: false, all: vec![json.value] }
        }
        // Whatever it is: in parts, XML, text of another charset, packed.
        (Said::Graphql | Said::Other, None, _) => anything(),
    };
    RequestBody::Read(readings)
}

/// Bytes as a type of content, a line's end and a body: what is certain is JSON or a form to whoever reads it strictly.
///
/// # Panics
/// If it is neither.
pub fn fuzz_body(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (content_type, body) = data.split_at(at);
    let body = body.get(1..).unwrap_or_default();
    let kind = Kind { content_type, encoded: false };
    let read = read(kind, body);
    let _ = graphql::read(&[], kind, body, &read);
    if read.certain().is_some() {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        assert!(is_json || kind.said() == Said::Form, "what is certain is nothing");
    }
}

const fn anything() -> Readings {
    Readings { certain: false, all: Vec::new() }
}

/// A text of JSON, as whoever reads it most freely would.
struct Found {
    value: Json,
    /// Whether all readers share it.
    certain: bool,
}

impl Found {
    /// Whether it is more than one value, which a form could be, too.
    const fn is_nested(&self) -> bool {
        match self.value {
            Json::Array(_) | Json::Object(_) => true,
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Field(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use guard_core::http::{BodyCondition, BodyValue};

    use super::*;

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";

    fn kind(content_type: &str) -> [Field; 1] {
        [Field::read("content-type", content_type.as_bytes()).unwrap()]
    }

    /// Whether a rule for `/draft: true` would let a body through, and whether one that blocks it would stop it.
    fn draft(content_type: &str, body: &[u8]) -> (bool, bool) {
        let body = read(Kind::of(&kind(content_type)), body);
        let draft = BodyCondition::one_of("/draft".parse().unwrap(), [BodyValue::Bool(true)]);
        let draft = draft.unwrap();
        (draft.holds(&body), draft.may_hold(&body))
    }

    #[test]
    fn only_what_every_server_reads_in_the_same_way_is_allowed() {
        let utf16: Vec<u8> =
            r#"{"draft":true}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let deep =
            [&b"{\"draft\":true,\"x\":"[..], &b"[".repeat(300), &b"]".repeat(300), b"}"].concat();
        let many = [&b"{\"draft\":true,\"x\":[0"[..], &b",0".repeat(70_000), b"]}"].concat();
        for (content_type, body, allowed) in [
            (JSON, &br#"{"draft":true}"#[..], true),
            ("application/json; charset=utf-8", br#"{"draft":true}"#, true),
            ("Application/JSON;charset=\"UTF-8\"", br#"{"draft":true}"#, true),
            ("application/vnd.api+json", b" {\"draft\" : true}\r\n", true),
            (JSON, br#"{"\u0064raft":true}"#, true),
            ("application/json; charset=utf-7", br#"{"draft":true}"#, false),
            ("application/json, text/plain", br#"{"draft":true}"#, false),
            ("application/json; charset=utf-8, text/plain", br#"{"draft":true}"#, false),
            ("text/plain", br#"{"draft":true}"#, false),
            ("", br#"{"draft":true}"#, false),
            ("application/octet-stream", br#"{"draft":true}"#, false),
            ("multipart/form-data; boundary=x", br#"{"draft":true}"#, false),
            (FORM, br#"{"draft":true}"#, false),
            (JSON, br#"{"draft":true,"draft":true}"#, false),
            (JSON, br#"{"draft":false,"draft":true}"#, false),
            (JSON, br#"{"draft":true,"x":{"a":1,"A":2}}"#, false),
            (JSON, br#"{"draft":true,"\u0064raft":false}"#, false),
            (JSON, b"\xef\xbb\xbf{\"draft\":true}", false),
            (JSON, br#"{"draft":true} {"draft":false}"#, false),
            (JSON, br#"{"draft":true}x"#, false),
            (JSON, b"{\"draft\":true}\0", false),
            (JSON, br#"{"draft":true,}"#, false),
            (JSON, br#"/**/{"draft":true}"#, false),
            (JSON, br#"{'draft':true}"#, false),
            (JSON, br#"{draft:true}"#, false),
            (JSON, br#"{"draft":true,"n":NaN}"#, false),
            (JSON, b"{\"draft\":true,\"x\":\"\xff\"}", false),
            (JSON, br#"{"draft":true,"x":"\ud800"}"#, false),
            (JSON, &utf16, false),
            (JSON, &deep, false),
            (JSON, &many, false),
            (JSON, b"draft=true", false),
            (FORM, b"draft=true", true),
            (FORM, b"draft=true&title=x", true),
            (FORM, b"draft=true&draft=true", false),
            (FORM, b"draft=true&Draft=false", false),
            (FORM, b"draft=true;draft=false", false),
            (FORM, b"draft[]=true", false),
            (FORM, b"%64raft=true", true),
            (FORM, b"draft=true&x=%ff", false),
            ("text/plain", b"draft=true", false),
            ("<xml><draft>true</draft></xml>", b"<draft>true</draft>", false),
        ] {
            let shown = String::from_utf8_lossy(body.get(..60).unwrap_or(body));
            assert_eq!(draft(content_type, body), (allowed, true), "{content_type} {shown}");
        }
        for (content_type, body) in
            [(JSON, &br#"{"draft":false}"#[..]), (FORM, b"draft=false"), (JSON, b"")]
        {
            assert_eq!(draft(content_type, body), (false, false));
        }
    }

    #[test]
    fn what_is_packed_could_be_anything() {
        let mut headers = kind(JSON).to_vec();
        for (encoding, allowed) in [("gzip", false), ("identity", true), ("br, identity", false)] {
            let field = Field::read("content-encoding", encoding.as_bytes()).unwrap();
            headers.truncate(1);
            headers.push(field);
            let body = read(Kind::of(&headers), br#"{"admin":false}"#);
            let absent = BodyCondition::absent("/draft".parse().unwrap());
            assert_eq!(absent.holds(&body), allowed, "{encoding}");
            assert!(absent.may_hold(&body));
        }
    }

    #[test]
    fn fields_of_forms_are_found_where_servers_put_them() {
        let yes = BodyValue::Bool(true);
        let admin = BodyCondition::one_of("/user/admin".parse().unwrap(), [yes]).unwrap();
        for (body, may) in [
            ("user=true", false),
            ("user[name]=true", false),
            ("user[admin]=true", true),
            ("user.admin=1", true),
            ("user[Admin]=true", true),
            ("user%5Badmin%5D=true", true),
            ("user[admin][]=true", true),
            (" user[admin=true", true),
        ] {
            let found = read(Kind::of(&kind(FORM)), body.as_bytes());
            assert_eq!(admin.may_hold(&found), may, "{body}");
            assert!(!admin.holds(&found), "{body}");
        }
    }
}
