//! Where commands may go besides their resources: what the policies list, and the record has it first.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    log::end,
    stage::{On, Shim, Stage, on_both_stores, unique},
};

on_both_stores!(
    what_a_policy_lists_is_allowed_and_everything_else_refused_and_both_recorded,
    what_came_of_an_attempt_is_recorded_and_cut_to_size,
    nothing_is_allowed_when_the_session_is_over,
);

const POLICY: &str = "policy: reads
rules:
  - { name: all, sql: { effects: [read] }, decide: allow }
egress: [ registry.example.com:443, { to: git.example.com:22, tls: false } ]
";

async fn stage(on: On) -> Stage {
    let mut stage = Stage::on(on).await;
    std::fs::write(stage.folder.path().join("policies/p.yaml"), POLICY).unwrap();
    stage.restart().await;
    stage
}

async fn ask(stage: &Stage, shim: &Shim, host: &str, port: u16) -> (StatusCode, Value) {
    let body = json!({ "id": unique(), "host": host, "port": port });
    stage.as_shim(shim, Method::POST, "/v1/session/egress", &body).await
}

/// Entries of a record that have this type.
async fn events(stage: &Stage, shim: &Shim, kind: &str) -> Vec<Value> {
    let text = stage.text(shim).await;
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["event"].clone()).filter(|event| event["type"] == kind).collect()
}

async fn what_a_policy_lists_is_allowed_and_everything_else_refused_and_both_recorded(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let allowed = ask(&stage, &shim, "Registry.Example.com.", 443).await;
    assert_eq!(allowed, (StatusCode::OK, json!({ "allowed": { "tls": true } })));
    let allowed = ask(&stage, &shim, "git.example.com", 22).await;
    assert_eq!(allowed, (StatusCode::OK, json!({ "allowed": { "tls": false } })));
    let long = "x".repeat(5_000);
    for (host, port) in [
        ("registry.example.com", 80),
        ("evil.example", 443),
        ("registry.example.com.evil.example", 443),
        ("127.1", 443),
        ("registry.example.com\u{0}", 443),
        ("", 443),
        (&long, 443),
    ] {
        let (status, answer) = ask(&stage, &shim, host, port).await;
        assert!(status == StatusCode::OK && answer["refused"].is_string(), "{host}: {answer}");
    }
    let of_step = json!({ "id": unique(), "host": "evil.example", "port": 443, "step": 7 });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/session/egress", &of_step).await;
    assert_eq!(status, StatusCode::OK);
    let asked = events(&stage, &shim, "egress-asked").await;
    assert_eq!(asked.len(), 10);
    assert_eq!((&asked[8]["step"], &asked[9]["step"]), (&Value::Null, &json!(7)));
    assert_eq!((&asked[0]["policy"], &asked[0]["refused"]), (&json!("reads"), &Value::Null));
    assert!(asked[2]["refused"].is_string() && asked[2]["policy"].is_null());
    assert!(asked.iter().all(|event| event["host"].as_str().unwrap().len() <= 300));
}

async fn what_came_of_an_attempt_is_recorded_and_cut_to_size(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let path = format!("/v1/session/egress/{}", unique());
    let outcome =
        json!({ "address": "192.0.2.1", "refused": "y".repeat(5_000), "sent": 3, "received": 4 });
    let (status, _) = stage.as_shim(&shim, Method::POST, &path, &outcome).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let ended = events(&stage, &shim, "egress-ended").await;
    assert_eq!((&ended[0]["address"], &ended[0]["sent"]), (&json!("192.0.2.1"), &json!(3)));
    assert_eq!(ended[0]["refused"].as_str().unwrap().len(), 300);
    for wrong in [
        json!({}),
        json!({ "address": "x", "sent": 0, "received": 0 }),
        json!({ "sent": -1, "received": 0 }),
    ] {
        let (status, _) = stage.as_shim(&shim, Method::POST, &path, &wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

async fn nothing_is_allowed_when_the_session_is_over(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    end(&stage, &shim).await;
    let (status, answer) = ask(&stage, &shim, "registry.example.com", 443).await;
    assert_eq!((status, &answer["error"]), (StatusCode::GONE, &json!("session-over")));
}
