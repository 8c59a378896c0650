//! Heads that two readers take for the same, and those that they could not.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const START: &str = "POST /a HTTP/1.1\r\nHost: api.example\r\n";

fn read(rest: &str) -> Result<RequestHead, HeadError> {
    read_bytes(format!("{START}{rest}\r\n").as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Result<RequestHead, HeadError> {
    read_request(bytes).map(|read| read.unwrap().head)
}

fn names(head: &RequestHead) -> String {
    head.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_goes_on_is_for_the_server() {
    for (rest, kept, body) in [
        ("", "", Body::Length(0)),
        ("Accept: */*\r\nX-Own: 1\r\nx-own: 2\r\n", "accept x-own x-own", Body::Length(0)),
        ("Content-Length: 5\r\n", "", Body::Length(5)),
        ("Content-Length: 000\r\n", "", Body::Length(0)),
        ("Transfer-Encoding: Chunked\r\n", "", Body::Chunked),
        ("Transfer-Encoding: \t chunked \t\r\n", "", Body::Chunked),
        ("Connection: close, X-Own\r\nX-Own: 1\r\nAccept: a\r\n", "accept", Body::Length(0)),
        (
            "Connection: keep-alive,,\r\nKeep-Alive: timeout=5\r\nTE: gzip;q=0.5, Trailers\r\n",
            "te",
            Body::Length(0),
        ),
        ("Transfer-Encoding: chunked\r\nTrailer: X-Sum, host\r\n", "trailer", Body::Chunked),
        ("Transfer-Encoding: chunked\r\nTrailer: cookie,\r\n", "", Body::Chunked),
        ("Proxy-Authorization: Basic eA==\r\nProxy-Connection: close\r\n", "", Body::Length(0)),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
            "",
            Body::Length(0),
        ),
        ("X-Original-URL: /b\r\nX-Rewrite-URL: /b\r\nX-Forwarded-Host: b\r\n", "", Body::Length(0)),
        ("Forwarded: host=b\r\nX-Real-IP: ::1\r\nX-Forwarded-Prefix: /b\r\n", "", Body::Length(0)),
        ("Expect: 100-continue\r\nTrailer: x\r\n", "", Body::Length(0)),
        ("api_key: 1\r\nX!#$%&'*+.^`|~: 1\r\n", "api_key x!#$%&'*+.^`|~", Body::Length(0)),
        ("X-Http-Method-Override: GET\r\n", "x-http-method-override", Body::Length(0)),
        ("X: a\tb\r\n", "x", Body::Length(0)),
        ("X:\r\n", "x", Body::Length(0)),
    ] {
        let head = read(rest).unwrap_or_else(|error| panic!("{rest:?}: {error}"));
        assert_eq!(names(&head), kept, "{rest:?}");
        assert_eq!(head.body, body, "{rest:?}");
        assert_eq!(head.hosts, [b"api.example"], "{rest:?}");
    }
}

#[test]
fn a_head_that_could_mean_another_is_refused() {
    use HeadError as E;
    let odd = || E::Unreadable("a header has no name, or an odd one");
    let value = || E::Unreadable("a header has an odd value");
    let text = str::to_owned;
    let cases: &[(&str, HeadError)] = &[
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", E::TwoLengths),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", E::TwoLengths),
        ("Content-Length: 4\r\nContent-Length: 4\r\n", E::Length),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", E::Length),
        ("Content-Length: 4, 4\r\n", E::Length),
        ("Content-Length: +4\r\n", E::Length),
        ("Content-Length: -4\r\n", E::Length),
        ("Content-Length: 0x4\r\n", E::Length),
        ("Content-Length: 4 4\r\n", E::Length),
        ("Content-Length: \r\n", E::Length),
        ("Content-Length: 4.0\r\n", E::Length),
        ("Content-Length: 99999999999999999999\r\n", E::Length),
        ("Content_Length: 4\r\n", E::Underscore(text("content_length"))),
        ("Transfer_Encoding: chunked\r\n", E::Underscore(text("transfer_encoding"))),
        ("X_Forwarded_For: a\r\n", E::Underscore(text("x_forwarded_for"))),
        ("X-HTTP_Method_Override: GET\r\n", E::Underscore(text("x-http_method_override"))),
        ("Transfer-Encoding: xchunked\r\n", E::Coding),
        ("Transfer-Encoding: chunked, chunked\r\n", E::Coding),
        ("Transfer-Encoding: gzip, chunked\r\n", E::Coding),
        ("Transfer-Encoding: identity\r\n", E::Coding),
        ("Transfer-Encoding: \"chunked\"\r\n", E::Coding),
        ("Transfer-Encoding: chunked;x\r\n", E::Coding),
        ("Transfer-Encoding:\r\n", E::Coding),
        ("Transfer-encoding: cow\r\nTransfer-Encoding: chunked\r\n", E::Coding),
        ("Transfer-Encoding:\u{b}chunked\r\n", value()),
        ("Transfer-Encoding: chunked\u{c}\r\n", value()),
        ("Transfer-Encoding:\r\n chunked\r\n", E::Folded),
        ("X: y\r\n\tz\r\n", E::Folded),
        (" X: y\r\n", E::Folded),
        ("X: y\nTransfer-Encoding: chunked\r\n", E::LineEnd),
        ("X: y\rTransfer-Encoding: chunked\r\n", E::LineEnd),
        ("X: y\r\r\n", E::LineEnd),
        ("Transfer-Encoding : chunked\r\n", odd()),
        ("Transfer-Encoding\t: chunked\r\n", odd()),
        ("Transfer-Encoding\u{b}: chunked\r\n", odd()),
        ("\u{b}Transfer-Encoding: chunked\r\n", odd()),
        (": chunked\r\n", odd()),
        ("X\r\n", odd()),
        ("X(y): z\r\n", odd()),
        ("X: y\0z\r\n", value()),
        ("X: \u{7f}\r\n", value()),
        ("Connection: Host\r\n", E::Connection(text("host"))),
        ("Connection: close, authorization\r\n", E::Connection(text("authorization"))),
        ("Connection: content_length\r\n", E::Connection(text("content_length"))),
        ("Connection: X-Method-Override\r\n", E::Connection(text("x-method-override"))),
        ("Connection: a b\r\n", E::Connection(text("a b"))),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\n", E::WebSocket),
        ("Upgrade: h2c, websocket\r\n", E::WebSocket),
        ("Upgrade: TLS/1.0\r\n", E::Upgrade(text("TLS/1.0"))),
        ("Expect: 200-ok\r\n", E::Expect(text("200-ok"))),
        ("Content-Type: a/b\r\nContent-Type: c/d\r\n", E::Twice(text("content-type"))),
        ("Authorization: a\r\nauthorization: b\r\n", E::Twice(text("authorization"))),
    ];
    for (rest, expected) in cases {
        assert_eq!(read(rest).unwrap_err(), *expected, "{rest:?}");
    }
}

#[test]
fn a_request_line_has_one_reading() {
    for (line, fits) in [
        ("GET /a HTTP/1.1\r\n", true),
        ("GET /a HTTP/1.0\r\n", true),
        ("get /a HTTP/1.1\r\n", false),
        ("GET /a HTTP/2.0\r\n", false),
        ("GET /a HTTP/1.2\r\n", false),
        ("GET /a http/1.1\r\n", false),
        ("GET /a\r\n", false),
        ("GET  /a HTTP/1.1\r\n", false),
        ("GET /a  HTTP/1.1\r\n", false),
        ("GET /a b HTTP/1.1\r\n", false),
        ("GET\t/a HTTP/1.1\r\n", false),
        (" GET /a HTTP/1.1\r\n", false),
        ("\r\nGET /a HTTP/1.1\r\n", false),
        ("\nGET /a HTTP/1.1\r\n", false),
        ("GET /a HTTP/1.1\n", false),
        ("G@T /a HTTP/1.1\r\n", false),
    ] {
        let text = format!("{line}Host: a\r\n\r\n");
        let read = read_request(text.as_bytes());
        assert_eq!(read.is_ok(), fits, "{line:?} {read:?}");
    }
}

#[test]
fn a_body_comes_with_methods_that_have_one() {
    let get =
        |rest: &str| read_bytes(format!("GET /a HTTP/1.1\r\nHost: a\r\n{rest}\r\n").as_bytes());
    let unexpected = || HeadError::UnexpectedBody(Method::new("GET").unwrap());
    assert_eq!(get("").unwrap().body, Body::None);
    assert_eq!(get("Content-Length: 0\r\n").unwrap().body, Body::None);
    assert_eq!(get("Content-Length: 1\r\n").unwrap_err(), unexpected());
    assert_eq!(get("Transfer-Encoding: chunked\r\n").unwrap_err(), unexpected());
    let old = b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(read_bytes(old).unwrap_err(), HeadError::Coding);
}

#[test]
fn a_head_is_read_when_it_is_there_and_no_longer_than_it_may_be() {
    let text = format!("{START}\r\nGET /next");
    let read_all = read_request(text.as_bytes()).unwrap().unwrap();
    assert_eq!((read_all.taken, &*read_all.target), (START.len() + 2, &b"/a"[..]));
    for length in 0..START.len() + 2 {
        assert_eq!(read_request(&text.as_bytes()[..length]), Ok(None), "{length}");
    }
    let many = |count: usize| read(&"X: y\r\n".repeat(count));
    assert!(many(MAX_FIELDS - 1).is_ok());
    assert_eq!(many(MAX_FIELDS).unwrap_err(), HeadError::TooMany);
    let long = format!("X: {}\r\n", "y".repeat(MAX_FIELD));
    assert_eq!(read(&long).unwrap_err(), HeadError::FieldTooLong("X".to_owned()));
    let endless = format!("{START}X: {}", "y".repeat(MAX_HEAD));
    assert_eq!(read_request(endless.as_bytes()).unwrap_err(), HeadError::TooLong);
}

#[test]
fn an_answer_ends_where_its_client_thinks() {
    let head = |to: &str, status, headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(name, value)| Field::read(name, value.as_bytes()));
        answer(&Method::new(to).unwrap(), status, Version::Http11, headers)
    };
    for (to, status, headers, body) in [
        ("GET", 200, &[][..], Body::UntilClose),
        ("GET", 200, &[("Content-Length", "7")], Body::Length(7)),
        ("GET", 200, &[("Transfer-Encoding", "chunked")], Body::Chunked),
        ("HEAD", 200, &[("Content-Length", "7")], Body::None),
        ("GET", 204, &[], Body::None),
        ("GET", 304, &[("Content-Length", "7")], Body::None),
        ("GET", 103, &[], Body::None),
    ] {
        assert_eq!(head(to, status, headers).unwrap().body, body, "{to} {status} {headers:?}");
    }
    let twice = [("Content-Length", "7"), ("content-length", "7")];
    assert_eq!(head("GET", 200, &twice).unwrap_err(), HeadError::Length);
    let both = [("Content-Length", "7"), ("Transfer-Encoding", "chunked")];
    assert_eq!(head("GET", 200, &both).unwrap_err(), HeadError::TwoLengths);
    assert_eq!(head("GET", 101, &[]).unwrap_err(), HeadError::Switch);
    let split = [("X", "a\r\nSet-Cookie: b")];
    assert_eq!(head("GET", 200, &split).unwrap_err(), HeadError::Value("x".to_owned()));
    let kept = head(
        "GET",
        200,
        &[
            ("Alt-Svc", "h3=\":443\""),
            ("Keep-Alive", "1"),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
            ("X", "é"),
        ],
    );
    let kept = kept.unwrap();
    let kept: Vec<&str> = kept.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(kept, ["set-cookie", "set-cookie", "x"]);
}

#[test]
fn a_websocket_is_asked_for_in_one_way() {
    const RIGHT: &str = "Host: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let get = |rest: &str| read_bytes(format!("GET /a HTTP/1.1\r\n{rest}\r\n").as_bytes());
    let head = get(&format!("{RIGHT}Sec-WebSocket-Extensions: x\r\n")).unwrap();
    assert!(head.is_upgrade());
    assert_eq!(names(&head), "sec-websocket-version sec-websocket-key upgrade");
    for (from, to) in [
        ("WebSocket\r\n", "websocket, websocket\r\n"),
        ("keep-alive, Upgrade", "keep-alive"),
        ("13", "8"),
        ("dGhl", ""),
        ("Sec-WebSocket-Key", "X"),
        ("Host: a", "Host: a\r\nContent-Length: 1"),
    ] {
        assert!(get(&RIGHT.replace(from, to)).is_err(), "{from} {to}");
    }
    assert_eq!(read(RIGHT).unwrap_err(), HeadError::WebSocket);
    let old = format!("GET /a HTTP/1.0\r\n{RIGHT}\r\n");
    assert_eq!(read_bytes(old.as_bytes()).unwrap_err(), HeadError::WebSocket);
}

#[test]
fn http_2_has_no_headers_of_a_connection_and_frames_say_where_a_body_ends() {
    let head = |method: &str, ended: bool, headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(name, value)| Field::read(name, value.as_bytes()));
        request(method, Version::Http2 { ended }, headers)
    };
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
        let error = head("PUT", false, &[(name, "chunked")]).unwrap_err();
        assert_eq!(error, HeadError::OfConnection(name.to_owned()));
    }
    assert!(head("PUT", false, &[("te", "chunked")]).is_err());
    assert_eq!(names(&head("PUT", false, &[("te", "trailers")]).unwrap()), "te");
    for (method, ended, headers, body) in [
        ("PUT", false, &[][..], Ok(Body::Chunked)),
        ("PUT", false, &[("content-length", "5")], Ok(Body::Length(5))),
        ("PUT", true, &[], Ok(Body::Length(0))),
        ("PUT", true, &[("content-length", "5")], Err(HeadError::Length)),
        ("GET", true, &[], Ok(Body::None)),
        ("GET", false, &[], Err(HeadError::UnexpectedBody(Method::new("GET").unwrap()))),
    ] {
        assert_eq!(head(method, ended, headers).map(|it| it.body), body, "{method} {ended}");
    }
    let body = |ended| answer(&Method::new("GET").unwrap(), 200, Version::Http2 { ended }, []);
    assert_eq!(body(true).unwrap().body, Body::None);
    assert_eq!(body(false).unwrap().body, Body::UntilClose);
}

#[test]
fn what_must_be_known_before_a_body_does_not_stand_behind_it() {
    let check = |name: &str| {
        let trailers = || [Field::read(name, b"v")];
        let kept = answer_trailers(trailers()).unwrap_or_default().len() == 1;
        assert_eq!(request_trailers(trailers()).is_ok(), kept, "{name}");
        kept
    };
    for name in ["grpc-status", "x-checksum", "Content-Digest", "server-timing", "etag"] {
        assert!(check(name), "{name}");
    }
    for name in [
        "content-length",
        "Transfer-Encoding",
        "host",
        "authorization",
        "cookie",
        "set-cookie",
        "content-type",
        "content_type",
        "if-match",
        "range",
        "trailer",
        "te",
        "x-http-method-override",
        "x_http_method_override",
        "x-forwarded-for",
        "www-authenticate",
        "location",
        "sec-websocket-key",
        "",
        "a b",
        ":path",
    ] {
        assert!(!check(name), "{name}");
    }
}

#[test]
fn what_guard_inserts_replaces_and_cannot_split() {
    let field = |name: &str| Field::read(name, b"theirs").unwrap();
    let mut fields =
        vec![field("authorization"), field("accept"), field("x_token"), field("x-token")];
    insert(&mut fields, "Authorization", b"Bearer own").unwrap();
    insert(&mut fields, "X-Token", b"own").unwrap();
    let found: Vec<_> = fields.iter().map(|it| (it.name.as_str(), it.bytes())).collect();
    assert_eq!(
        found,
        [("accept", &b"theirs"[..]), ("authorization", b"Bearer own"), ("x-token", b"own")]
    );
    for value in ["", "a\r\nX: y", "a\nb", "a\rb", "a\0b", "a\tb", " a", "a ", "é", "\u{7f}"] {
        let before = fields.clone();
        assert!(insert(&mut fields, "X-Token", value.as_bytes()).is_err(), "{value:?}");
        assert_eq!(fields, before);
    }
    for name in ["", "a b", "a:", "a\r\n", "é", "x_forwarded_for"] {
        assert!(insert(&mut fields, name, b"v").is_err(), "{name:?}");
    }
    let odd = insert(&mut fields, "\u{1b}[31m", b"v").unwrap_err();
    assert!(!odd.to_string().contains('\u{1b}'));
}
