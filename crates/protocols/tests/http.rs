//! Attacks on an API behind guard, as a client sends them, through everything that looks at a request before it is judged; and answers in
//! the forms that servers give.
//!
//! The rule of each: `GET /api/v1/projects/**` and `POST /api/v1/deployments`, nothing else; `email` and `ssn` are masked.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use guard_core::{
    Mask, Masking,
    http::{JsonPath, MethodSet, RequestPattern},
};
use guard_protocols::http::{
    head::read_request,
    mask::{EventsMasker, JsonMasker, JsonMasks, Kind, LinesMasker},
    matching::{Form, request},
    target::{Authority, Scheme, Served, Target},
};

const HOST: &str = "127.0.0.1:58999";

fn rules() -> [RequestPattern; 2] {
    [("GET", "/api/v1/projects/**"), ("POST", "/api/v1/deployments")].map(|(method, path)| {
        RequestPattern {
            methods: MethodSet::new([method]).unwrap(),
            paths: vec![path.parse().unwrap()],
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            graphql: None,
            operations: None,
        }
    })
}

/// What goes on of the first request in some bytes, and what is left of them; or why nothing does.
fn passes(bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
    let raw = read_request(bytes).map_err(|error| error.to_string())?.ok_or("more")?;
    let host = Authority::read(HOST.as_bytes(), Scheme::Http).unwrap();
    let hosts: Vec<&[u8]> = raw.head.hosts.iter().map(Vec::as_slice).collect();
    let served = Served { scheme: Scheme::Http, authorities: &[host] };
    let target = Target::read(&raw.target, &hosts, served).map_err(|error| error.to_string())?;
    let (_, rest) = bytes.split_at(raw.taken);
    let content_type = raw.head.fields.iter().find(|field| field.name == "content-type");
    let form = content_type.map(|field| Form { content_type: field.bytes(), body: rest });
    let asked = request(&raw.head.method, &target, &raw.head.fields, form)
        .map_err(|error| error.to_string())?;
    let rules = rules();
    for method in &asked.methods {
        if !rules.iter().any(|rule| rule.matches(method, &asked)) {
            return Err(format!("no rule lets {method} {} pass", target.path()));
        }
    }
    let names: Vec<&str> = raw.head.fields.iter().map(|field| field.name.as_str()).collect();
    Ok((format!("{} {} [{}]", raw.head.method, target.forwarded(), names.join(" ")), rest.to_vec()))
}

fn sent(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n").into_bytes()
}

#[test]
fn attacks_by_path_stay_outside() {
    for path in [
        "/api/v1/admin/secret",
        "/api/v1/projects/../admin/secret",
        "/api/v1/projects/%2e%2e/admin/secret",
        "/api/v1/projects/.%2e/admin/secret",
        "/api/v1/projects/..%2fadmin/secret",
        "/api/v1/projects%2f..%2fadmin/secret",
        "/api/v1/projects/%252e%252e/admin/secret",
        "/api/v1/projects/%252e%252e%252fadmin/secret",
        "/api/v1//admin/secret",
        "//api/v1/admin/secret",
        "/api/v1/projects//../admin/secret",
        "/api/v1/projects/..;/admin/secret",
        "/api/v1/projects/..;x=y/admin/secret",
        "/api/v1/projects;/../admin/secret",
        "/api/v1/projects/..\\admin\\secret",
        "/api/v1/projects/..%5cadmin%5csecret",
        "/api/V1/Admin/secret",
        "/API/V1/PROJECTS/x",
        "/api/v1/projects/%c0%ae%c0%ae/admin/secret",
        "/api/v1/projects/%e0%80%ae%e0%80%ae/admin/secret",
        "/api/v1/projects/%ef%bc%8e%ef%bc%8e/admin/secret",
        "/api/v1/projects/%u002e%u002e/admin/secret",
        "/api/v1/projects/..%00/admin/secret",
        "/api/v1/admin/secret%00/api/v1/projects",
        "/api/v1/projects/..\t/admin/secret",
        "/api/v1/projects/..%09/admin/secret",
        "/api/v1/projects/..%20/admin/secret",
        "/api/v1/projects/.../admin/secret",
        "/api/v1/admin%20/secret",
        "/api/v1/admin./secret",
        "/api/v1/admin/secret#/api/v1/projects/",
        "/api/v1/admin/secret?/api/v1/projects/",
        "/api/v1/projectsx",
        "http://127.0.0.1:1/steal",
        "http://127.0.0.1:58999@evil.example/api/v1/projects/x",
        "http://evil.example/api/v1/projects/x",
        "https://127.0.0.1:58999/api/v1/projects/x",
        "http://127.0.0.1:58999/api/v1/admin/secret",
        "http://169.254.169.254/latest/meta-data/",
        "api/v1/projects/x",
        "*",
    ] {
        let found = passes(&sent(&format!("GET {path}"), ""));
        assert!(found.is_err(), "{path}: {found:?}");
    }
}

#[test]
fn attacks_by_host_and_method_stay_outside() {
    let raw = |text: &str| passes(text.as_bytes());
    for text in [
        "GET /api/v1/projects/x HTTP/1.1\r\n\r\n",
        "GET /api/v1/projects/echo HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
        "GET /api/v1/projects/echo HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /api/v1/projects/x HTTP/1.1\r\nHost: 127.0.0.1:58999\r\nHost: evil.example\r\n\r\n",
        "GET /api/v1/projects/x HTTP/1.1\r\nHost: 127.0.0.1:58999\r\nhost: 127.0.0.1:58999\r\n\r\n",
        "GET /api/v1/projects/x HTTP/1.1\r\nHost : 127.0.0.1:58999\r\n\r\n",
        "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:58999\r\n\r\n",
    ] {
        assert!(raw(text).is_err(), "{text:?}");
    }
    for (line, headers) in [
        ("DELETE /api/v1/projects/7", ""),
        ("TRACE /api/v1/projects/7", ""),
        ("get /api/v1/projects/7", ""),
        ("POST /api/v1/projects/7", ""),
        ("GET /api/v1/projects/7", "X-HTTP-Method-Override: DELETE\r\n"),
        ("GET /api/v1/projects/7", "X_HTTP_Method_Override: DELETE\r\n"),
        ("POST /api/v1/deployments", "X-HTTP-Method: DELETE\r\n"),
        ("POST /api/v1/deployments", "X-Method-Override: delete\r\n"),
        ("POST /api/v1/deployments?_method=DELETE", ""),
        ("POST /api/v1/deployments?a;_method=DELETE", ""),
        ("POST /api/v1/deployments?_method=PUT", "X-HTTP-Method: DELETE\r\n"),
    ] {
        let found = passes(&sent(line, headers));
        assert!(found.is_err(), "{line} {headers:?}: {found:?}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n";
    let mut bytes = sent("POST /api/v1/deployments", form);
    bytes.extend_from_slice(b"_method=DELETE");
    assert!(passes(&bytes).is_err());
}

#[test]
fn attacks_by_two_lengths_stay_outside() {
    const SECOND: &str = "0\r\n\r\nGET /api/v1/admin/secret HTTP/1.1\r\nX: y\r\n\r\n";
    for headers in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 40\r\n",
        "Content-Length: 4\r\nContent-length: 4\r\n",
        "Content-Length: 40\r\nTransfer-Encoding: xchunked\r\n",
        "Content-Length: 40\r\nTransfer-Encoding:\u{b}chunked\r\n",
        "Content-Length: 40\r\nTransfer-Encoding : chunked\r\n",
        "Content-Length: 40\r\nTransfer-encoding: cow\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 40\r\nX: y\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 40\r\nX: y\rTransfer-Encoding: chunked\r\n",
        "Content-Length: 40\r\nTransfer-Encoding:\r\n chunked\r\n",
        "Content-Length: 40\r\nTransfer_Encoding: chunked\r\n",
        "Content-Length: 40\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: +40\r\n",
        "Content-Length: 4_0\r\n",
        "Connection: Content-Length\r\nContent-Length: 40\r\n",
        "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut bytes = sent("POST /api/v1/deployments", headers);
        bytes.extend_from_slice(SECOND.as_bytes());
        let found = passes(&bytes);
        assert!(found.is_err(), "{headers:?}: {found:?}");
    }
    let get = sent("GET /api/v1/projects/x", "Content-Length: 40\r\n");
    assert!(passes(&get).is_err(), "a body of GET is the next request to some");
    let switched = sent("GET /api/v1/projects/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert!(passes(&switched).is_err());
}

#[test]
fn each_request_of_a_connection_is_looked_at() {
    let mut bytes = sent("GET /api/v1/projects/x", "");
    bytes.extend(sent("GET /api/v1/admin/secret", ""));
    let (first, rest) = passes(&bytes).unwrap();
    assert_eq!(first, "GET /api/v1/projects/x []");
    assert!(passes(&rest).is_err());
}

#[test]
fn what_leads_a_server_astray_does_not_go_on() {
    let headers = "X-Original-URL: /api/v1/admin/secret\r\nX-Rewrite-URL: /api/v1/admin/secret\r\n\
                   X-Forwarded-Host: 127.0.0.1:1\r\nForwarded: host=b\r\nAccept: */*\r\n\
                   Connection: close, X-Own\r\nX-Own: 1\r\n";
    let (sent, _) = passes(&sent("GET /api/v1/projects/x", headers)).unwrap();
    assert_eq!(sent, "GET /api/v1/projects/x [accept]");
}

#[test]
fn honest_requests_pass() {
    for (line, headers, expected) in [
        ("GET /api/v1/projects/7", "Connection: close\r\n", "GET /api/v1/projects/7 []"),
        ("GET /api/v1/projects", "", "GET /api/v1/projects []"),
        (
            "GET /api/v1/projects/caf%C3%A9%20bar?q=a%2Fb",
            "",
            "GET /api/v1/projects/caf%C3%A9%20bar?q=a%2Fb []",
        ),
        (
            "POST /api/v1/deployments",
            "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n",
            "POST /api/v1/deployments [content-type]",
        ),
        (
            "POST /api/v1/deployments?x=1",
            "Content-Length: 0\r\n",
            "POST /api/v1/deployments?x=1 []",
        ),
        ("GET http://127.0.0.1:58999/api/v1/projects/x", "", "GET /api/v1/projects/x []"),
        ("GET /api/v1//projects/./x", "", ""),
        ("GET /api/v1//projects/x", "", "GET /api/v1/projects/x []"),
    ] {
        let found = passes(&sent(line, headers)).map(|(sent, _)| sent);
        assert_eq!(found.unwrap_or_default(), expected, "{line}");
    }
}

/// What a client gets of an answer; `None` if nothing.
fn answered(content_type: &str, body: &[u8]) -> Option<String> {
    let paths: Vec<(JsonPath, Masking)> = ["$..email", "$..ssn"]
        .iter()
        .map(|path| (path.parse().unwrap(), Mask::Redact.into()))
        .collect();
    let masks = Arc::new(JsonMasks::new(paths.iter().map(|(path, mask)| (path, *mask))));
    let json = JsonMasker::new(masks, &[0; 32], None);
    let mut out = Vec::new();
    let done = match Kind::of(content_type.as_bytes())? {
        Kind::Json => {
            let mut masker = json;
            masker.push(body, &mut out).and_then(|()| masker.finish(&mut out))
        }
        Kind::Lines => {
            let mut masker = LinesMasker::new(json);
            masker.push(body, &mut out).and_then(|()| masker.finish(&mut out))
        }
        Kind::Events => {
            let mut masker = EventsMasker::new(json);
            masker.push(body, &mut out).and_then(|()| masker.finish())
        }
        // Only JSON has masks here.
        Kind::Form => return None,
    };
    // A fault ends the answer; what went on before it stays.
    let _ = done;
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn no_form_of_an_answer_shows_a_masked_value() {
    const EMAIL: &str = "u1.secret@mail.example";
    const SSN: &str = "123-45-6789";
    let escaped =
        |text: &str| -> String { text.bytes().map(|byte| format!("\\u{byte:04x}")).collect() };
    let row = format!("{{\"id\":1,\"email\":\"{EMAIL}\",\"ssn\":\"{SSN}\"}}");
    let utf16: Vec<u8> = row.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf7 = row.replace('"', "+ACI-");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("application/json", format!("{{\"users\":[{row},{row}]}}").into()),
        ("application/json", format!("\u{feff}{row}").into()),
        (
            "application/json",
            format!("{{\"\\u0065mail\":\"{}\",\"s\\u0073n\":\"{SSN}\"}}", escaped(EMAIL)).into(),
        ),
        ("application/json", format!("{{\"email\":\"x\",\"email\":\"{EMAIL}\"}}").into()),
        (
            "application/json",
            format!("{{\"Email\":\"{EMAIL}\",\"EMAIL\":\"{EMAIL}\",\"\u{17f}sn\":\"{SSN}\"}}")
                .into(),
        ),
        ("application/json", format!("{{\"a\":{{\"b\":[{{\"c\":{row}}}]}}}}").into()),
        (
            "application/json",
            format!("{{\"email\":{{\"{EMAIL}\":1}},\"ssn\":[[\"{SSN}\"]]}}").into(),
        ),
        ("application/json", format!("{row}{row}").into()),
        ("application/json", format!("cb({row})").into()),
        ("application/json", format!("/*{{*/{row}").into()),
        ("application/json", format!("{{'email':'{EMAIL}'}}").into()),
        ("application/json", format!("{{email:\"{EMAIL}\"}}").into()),
        ("application/json", format!("{{}}<!-- {EMAIL} -->").into()),
        ("application/json", utf16.clone()),
        ("application/json", utf7.into()),
        ("application/json; charset=utf-16", utf16),
        ("application/x-ndjson", format!("{row}\n{row}").into()),
        ("application/x-ndjson", format!("{row} {EMAIL}\n").into()),
        ("text/event-stream", format!("data: {row}\n\ndata: {row}\r\r").into()),
        ("text/event-stream", format!("data: {{\"email\":\ndata: \"{EMAIL}\"}}\n\n").into()),
        ("text/event-stream", format!("{row}\n\n").into()),
        ("text/csv", format!("id,email,ssn\n1,{EMAIL},{SSN}").into()),
        ("application/xml", format!("<email>{EMAIL}</email>").into()),
        ("multipart/mixed; boundary=B", format!("--B\r\n\r\n{row}\r\n--B--").into()),
        ("application/javascript", format!("cb({row})").into()),
        ("", row.clone().into()),
    ];
    for (content_type, body) in cases {
        let shown = answered(content_type, &body).unwrap_or_default();
        let bare: String = shown.chars().filter(|character| *character != '\0').collect();
        for secret in [EMAIL, SSN, &escaped(EMAIL)] {
            assert!(!bare.contains(secret), "{content_type} {}: {shown}", body.escape_ascii());
        }
    }
    let shown = answered("application/json", format!("[{row}]").as_bytes()).unwrap();
    assert_eq!(shown, "[{\"id\":1,\"email\":\"[masked]\",\"ssn\":\"[masked]\"}]");
}
