//! What a collector gets to see of an exchange, a lease and the end of a session, and what it does not.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use guard_core::control::{ID_TOKEN_TYPE, TOKEN_EXCHANGE};
use serde_json::json;

use super::stage::{Key, Shim, Stage};
use crate::telemetry::Telemetry;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Takes spans at one path, and keeps the bodies.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let keep = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            take(&stream, &keep);
        }
    });
    (endpoint, taken)
}

fn take(mut stream: &TcpStream, keep: &Mutex<Vec<u8>>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    keep.lock().unwrap().extend(body);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sees_the_steps_of_a_session_under_its_callers_trace_and_no_secret_or_claim() {
    let stage = Stage::new().await;
    let (endpoint, taken) = collector();
    let telemetry = Telemetry::start(Some(&endpoint)).unwrap();
    let (key, token) = (Key::new(), stage.token());
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", TOKEN_EXCHANGE)
        .append_pair("subject_token", &token)
        .append_pair("subject_token_type", ID_TOKEN_TYPE)
        .finish();
    let request = Request::post("/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("dpop", key.proof("POST", "/oauth/token", None))
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .body(Body::from(form));
    let (status, answer) = stage.send(request.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let shim =
        Shim { id: text(&answer["session"]["id"]), token: text(&answer["access_token"]), key };
    let near = json!({ "session": shim.id, "resource": "near" });
    let (status, lease) = stage.as_shim(&shim, Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::OK, "{lease}");
    let end = json!({ "exit_code": 0 });
    let (status, ended) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK, "{ended}");
    telemetry.flush().await;

    let spans = taken.lock().unwrap().clone();
    for step in [
        "guard-broker",
        "POST /oauth/token",
        "exchange",
        "verify identity token",
        "open session",
        "POST /v1/leases",
        "lease",
        "POST /v1/session/end",
        &shim.id,
    ] {
        assert!(holds(&spans, step.as_bytes()), "no {step}");
    }
    // The caller's trace: its request, and the steps in it.
    let trace = u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes();
    assert!(spans.windows(16).filter(|window| *window == trace).count() >= 4);
    let password = lease["password"].as_str().unwrap();
    for secret in [&token, &shim.token, password, "acme/shop", "456789", "refs/heads/main"] {
        assert!(!holds(&spans, secret.as_bytes()), "{secret}");
    }
    telemetry.stop().await;
}
