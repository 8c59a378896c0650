//! What stands behind a head and behind a body: 100-continue, trailers, and what is still on its way when a request is refused.

use std::process::Command;

use crate::api::{Api, POLICY, TOKEN};

/// Besides what is allowed: a header that a rule looks at.
const MODE: &str = "rules:
  - name: mode
    http: { paths: [/v1/**], headers: { x-mode: danger } }
    decide: block
";

fn put(headers: &str, body: &str) -> String {
    format!(
        "PUT /v1/files/a HTTP/1.1\r\nConnection: close\r\nHost: {{host}}\r\n{headers}\r\n{body}"
    )
}

#[test]
fn trailers_go_both_ways_filtered_like_headers() {
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\nTrailer: X-Sum, Authorization\r\n";
    let api = Api::start(&POLICY.replacen("rules:\n", MODE, 1));
    let get = |te: &str| {
        format!("GET /v1/trailers HTTP/1.1\r\nConnection: close{te}\r\nHost: {{host}}\r\n\r\n")
    };
    let right = put(CHUNKED, "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n");
    let messages = [get(", te\r\nTE: trailers"), get(""), right];
    let said = api.raw(&messages);
    let (_, trailers) = said[0].rsplit_once("\r\n0\r\n").unwrap();
    let hidden = "*".repeat(TOKEN.len());
    let mut trailers: Vec<&str> = trailers.lines().filter(|line| !line.is_empty()).collect();
    trailers.sort_unstable();
    assert_eq!(
        trailers,
        ["content-digest: 8", "x-checksum: 7", &format!("x-own: Bearer {hidden}")],
        "{}",
        said[0]
    );
    assert!(said[1].ends_with("\r\n0\r\n\r\n") && said[2].starts_with("HTTP/1.1 200"), "{said:?}");
    assert_eq!(api.requests()[2]["trailers"].to_string(), "[\"x-sum: 7\"]");

    // What a server would take for a header, if it puts trailers among them.
    let mut wrong: Vec<String> = [
        "Authorization: Bearer mine",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: evil.example",
        "X-HTTP-Method-Override: DELETE",
        "X-Mode: danger",
        "x_mode: danger",
        "Cookie: a=b",
    ]
    .map(|line| put(CHUNKED, &format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n")))
    .into();
    // A form is read whole, and looked at without what stands behind it.
    let form = format!("{CHUNKED}Content-Type: application/x-www-form-urlencoded\r\n");
    wrong.push(put(&form, "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"));
    for (said, message) in api.raw(&wrong).iter().zip(&wrong) {
        assert!(said.starts_with("HTTP/1.1 400"), "{message}\n{said}");
    }
    for request in &api.requests()[3..] {
        assert_eq!(request["trailers"].to_string(), "[]", "{request}");
    }
}

/// Sends a head that expects to be told to go on, and prints what comes before the body and behind it.
const CONTINUE: &str = "
import os, socket, sys, urllib.parse
at = urllib.parse.urlsplit(os.environ['GUARD_API_URL'])
for path in ['/v1/files/a', '/v1/secrets/a']:
    s = socket.create_connection((at.hostname, at.port), 60)
    s.sendall(f'PUT {path} HTTP/1.1\\r\\nHost: {at.netloc}\\r\\nConnection: close\\r\\nContent-Length: 5\\r\\nExpect: 100-continue\\r\\n\\r\\n'.encode())
    said = s.recv(65536).decode()
    print(said.split('\\r\\n')[0])
    if ' 100 ' in said:
        s.sendall(b'hello')
        print(s.recv(65536).decode().split('\\r\\n')[0])
";

#[test]
fn a_client_is_told_to_go_on_when_its_request_may() {
    let api = Api::start(POLICY);
    let mut command = Command::new("python3");
    command.args(["-c", CONTINUE]);
    let said = api.stage.run(&command).unwrap().ok().text();
    assert_eq!(said, "HTTP/1.1 100 Continue\nHTTP/1.1 200 OK\nHTTP/1.1 403 Forbidden");
    assert_eq!(api.seen(), ["PUT /v1/files/a"]);
    assert_eq!(api.requests()[0]["body"], 5);
    assert!(!api.requests()[0]["headers"].to_string().contains("expect"));
}

#[test]
fn a_client_that_is_refused_while_it_sends_reads_why() {
    let api = Api::start(POLICY);
    let body = "x".repeat(8_000_000);
    let length = format!("Content-Length: {}\r\n", body.len());
    let messages = [
        put(&length, &body).replace("/v1/files/a", "/v1/secrets/a"),
        put(&format!("{length}X: {}\r\n", "y".repeat(20_000)), &body),
        put(&length, &body).replace("PUT", "GET"),
    ];
    let said = api.raw(&messages);
    assert!(said[0].contains("secrets stay where they are"), "{}", said[0]);
    assert!(said[1].starts_with("HTTP/1.1 400") && said[2].starts_with("HTTP/1.1 400"), "{said:?}");
}
