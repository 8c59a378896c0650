//! WebSockets: judged where they are asked for, and what could be smuggled by asking.

use guard_tests::{Finished, process::wait_for, python_script};

use crate::api::{Api, POLICY, TOKEN};

/// What may be called.
const LIVE: &str = "  - name: live
    http: { effects: [call], paths: [/v1/live] }
    decide: allow
";

fn policy() -> String {
    format!("{POLICY}{LIVE}")
}

fn run(api: &Api, what: &str) -> Finished {
    let mut command = python_script("http/sockets.py").unwrap();
    api.stage.run(command.arg(what)).unwrap().ok()
}

#[test]
fn a_websocket_is_judged_and_recorded_and_its_frames_hide_the_credential() {
    let api = Api::with_sockets(&policy());
    let text = run(&api, "talk").text();
    let hidden = "*".repeat(TOKEN.len());
    let talk = format!("you are Bearer {hidden} | still Bearer {hidden}\nhello\nTrue\n");
    let (twice, refused) = text.split_at(2 * talk.len());
    assert_eq!(twice, talk.repeat(2), "{text}");
    assert!(refused.contains("403"), "{text}");
    // No extension was asked for, so that frames can be read.
    let expected: Vec<String> =
        [1, 2].map(|number| format!("/v1/live?x={number} Bearer {TOKEN} None")).into();
    assert_eq!(api.said().lines().skip(1).collect::<Vec<_>>(), expected);
    let record = api.record();
    assert_eq!(record.matches("\"status\":101").count(), 2, "{record}");
    assert!(record.contains("\"masked\":2") && record.contains("\"bytes\":60"), "{record}");
}

#[test]
fn budgets_and_the_end_of_the_session_end_a_websocket() {
    let budgets = "budgets: { bytes_per_statement: 1MB }\n";
    let api = Api::with_sockets(&format!("{}{budgets}", policy()));
    assert_eq!(run(&api, "much").text(), "closed 1008");
    assert!(api.record().contains("\"budget\":\"bytes_per_statement\""));

    let mut command = python_script("http/sockets.py").unwrap();
    let job = api.stage.spawn("job", command.arg("stay")).unwrap();
    wait_for("a message", || job.log().contains("still").then_some(())).unwrap();
    let list = api.stage.broker_tool(&["sessions", "list", "--json"]).unwrap().ok();
    let list: serde_json::Value = serde_json::from_str(&list.text()).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    let _ended =
        api.stage.broker_tool(&["sessions", "end", id, "--reason", "a test"]).unwrap().ok();
    wait_for("its end", || job.log().contains("closed 1001").then_some(())).unwrap();
}

/// A handshake, and what is to be smuggled behind it.
fn handshake(line: &str, headers: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: {{host}}\r\n{headers}\r\n\
         GET /v1/secrets/key HTTP/1.1\r\nConnection: close\r\nHost: {{host}}\r\n\r\n"
    )
}

#[test]
fn an_upgrade_that_is_none_opens_no_tunnel() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const ASKED: &str =
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    let api = Api::start(&policy());
    let right = format!("{ASKED}{KEY}");
    let mut messages = Vec::new();
    // Servers that answer something else, and clients that go on as if there was a tunnel.
    let answers = ["plain", "accept", "token", "extensions", "protocol", "silent", "frames"];
    messages.extend(answers.map(|how| handshake(&format!("GET /v1/live?how={how}"), &right)));
    let servers = messages.len();
    let wrong = [
        format!("{ASKED}Sec-WebSocket-Key: short\r\n"),
        ASKED.to_owned(),
        format!("{right}{KEY}"),
        right.replace("13", "12"),
        right.replace("Connection: Upgrade", "Connection: close"),
        right.replace("websocket", "websocket, h2c"),
        right.replace("websocket", "foo"),
        format!("{right}Upgrade: tls/1.0\r\n"),
        format!("{right}Content-Length: 5\r\n"),
        format!("{right}Transfer-Encoding: chunked\r\n"),
    ];
    messages.extend(wrong.iter().map(|headers| handshake("GET /v1/live", headers)));
    messages.push(handshake("POST /v1/live", &right));
    // Offers that nobody takes up.
    let offer =
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n";
    messages.push(handshake("GET /v1/echo?h2c", offer));
    let said = api.raw(&messages);
    for (said, message) in said.iter().zip(&messages) {
        assert!(
            !said.contains("HTTP/1.1 101") || message.contains("how=frames"),
            "{message}\n{said}"
        );
        assert!(!said.contains("secrets/key\""), "{message}\n{said}");
    }
    assert!(
        said[0].starts_with("HTTP/1.1 200") && said[0].contains("connection: close"),
        "{}",
        said[0]
    );
    for said in &said[1..6] {
        assert!(said.starts_with("HTTP/1.1 502"), "{said}");
    }
    // A tunnel, in which a request is no frame.
    assert!(said[6].starts_with("HTTP/1.1 101"), "{}", said[6]);
    for said in &said[servers..messages.len() - 1] {
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    }
    let seen = api.seen();
    assert!(!seen.iter().any(|it| it.contains("secrets")), "{seen:?}");
    assert_eq!(seen.len(), servers + 1, "{seen:?}");
    for request in api.requests() {
        let headers = request["headers"].to_string();
        assert_eq!(headers.contains("upgrade"), headers.contains("sec-websocket-key"), "{headers}");
    }
}

#[test]
fn a_websocket_where_fields_are_masked_fails_closed() {
    for masks in [
        "masks:\n  - { http: { json: [$..email] }, with: redact }\n",
        "masks:\n  - { http: { request: { json: [$..email] } }, with: redact }\n",
        "detect: { values: \"*\" }\n",
    ] {
        let api = Api::with_sockets(&format!("{}{masks}", policy()));
        let mut command = python_script("http/sockets.py").unwrap();
        let run = api.stage.run(command.arg("stay")).unwrap();
        assert!(run.code != 0 && run.stderr.contains("502"), "{masks}: {}", run.stderr);
        assert_eq!(api.said().lines().count(), 1, "{masks}");
    }
}
