//! `guard gateway` as whoever starts it sees it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use axum::{
    Json, Router,
    http::StatusCode,
    routing::{post, put},
};
use serde_json::{Value, json};

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command.env_clear().arg("gateway");
    command
}

#[test]
fn the_key_of_a_gateway_is_printed_without_a_name_or_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let print = || {
        let identity = folder.path().join("gateway.key");
        gateway().arg("--identity").arg(identity).arg("--print-key").output().unwrap()
    };
    let (first, second) = (print(), print());
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout.trim_ascii_end().len(), 43);
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn a_gateway_serves_under_a_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let output = gateway()
        .args(["--broker", "http://127.0.0.1:1", "--identity"])
        .arg(folder.path().join("gateway.key"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--name"));
}

#[test]
fn a_gateway_ends_with_whoever_holds_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing answers there: a gateway tries on.
    let mut running = gateway()
        .args(["--broker", "http://127.0.0.1:1", "--name", "dev", "--listen", "127.0.0.1:0"])
        .arg("--until-stdin-ends")
        .arg("--identity")
        .arg(folder.path().join("gateway.key"))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
}

/// A broker that takes one token, and registers who showed it. Gives its address and what happens there.
fn broker(takes: &'static str) -> (String, mpsc::Receiver<String>) {
    let (shown, seen) = mpsc::channel();
    let (registered, taken) = (shown.clone(), Arc::new(AtomicBool::new(false)));
    let was_taken = taken.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let enrol = async move |Json(ask): Json<Value>| {
        let token = ask["token"].as_str().unwrap().to_owned();
        taken.fetch_or(token == takes, Ordering::SeqCst);
        let right = token == takes;
        shown.send(token).unwrap();
        let refused = json!({ "error": "unauthorized", "message": "no", "decision_id": "d-1" });
        if right {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err((StatusCode::UNAUTHORIZED, Json(refused)))
        }
    };
    let register = async move |_: String| {
        if !was_taken.load(Ordering::SeqCst) {
            return StatusCode::UNAUTHORIZED;
        }
        registered.send("registered".into()).unwrap();
        StatusCode::NO_CONTENT
    };
    let router = Router::new()
        .route("/v1/gateways/enrol", post(enrol))
        .route("/v1/gateways/self", put(register));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            drop(axum::serve(listener, router).await);
        });
    });
    (url, seen)
}

#[test]
fn a_gateway_shows_each_identity_token_of_its_file_once_until_one_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (url, seen) = broker("fresh");
    let file = folder.path().join("token");
    let mut all = Vec::new();
    let mut wait_for = |what: &str| {
        while all.last().is_none_or(|last| last != what) {
            all.push(seen.recv_timeout(Duration::from_secs(60)).unwrap());
        }
    };
    let mut running = gateway()
        .args(["--broker", &url, "--name", "eu-1", "--listen", "127.0.0.1:0"])
        .arg("--until-stdin-ends")
        .arg("--identity")
        .arg(folder.path().join("gateway.key"))
        .arg("--identity-token-file")
        .arg(&file)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The file need not be there yet, and the token in it may be too old.
    std::fs::write(&file, "stale\n").unwrap();
    wait_for("stale");
    let next = folder.path().join("next");
    std::fs::write(&next, "fresh\n").unwrap();
    std::fs::rename(next, &file).unwrap();
    wait_for("registered");
    drop(running.stdin.take());
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(all, ["stale", "fresh", "registered"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!log.contains("stale") && !log.contains("fresh"), "{log}");
}
