//! Webhooks: signed, brought again until they are taken, and with nothing in them that was not asked for.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Redirect, Response},
    routing::post,
};
use guard_core::Digest;
use serde_json::{Value, json};

use super::stage::{On, Stage, on_both_stores, unique};
use crate::sessions::webhooks::{SIGNATURE, signature};

on_both_stores!(
    a_receiver_is_told_once_with_a_signature_that_nobody_else_can_make,
    what_is_not_taken_is_brought_again_and_no_redirect_is_followed,
);

const SECRET: &str = "between the broker and the receiver";

const POLICY: &str = "policy: reads
rules:
  - { name: one, sql: { effects: [delete] }, decide: approve, approvers: [dba], within: 15m }
";

/// What came in, and what is answered next.
#[derive(Default)]
struct Receiver {
    got: Mutex<Vec<(String, HeaderMap, String)>>,
    answers: Mutex<Vec<u16>>,
}

async fn take(
    State((receiver, path)): State<(Arc<Receiver>, &'static str)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    receiver.got.lock().unwrap().push((path.to_owned(), headers, body));
    match receiver.answers.lock().unwrap().pop() {
        Some(302) => Redirect::temporary("/elsewhere").into_response(),
        Some(status) => StatusCode::from_u16(status).unwrap().into_response(),
        None => StatusCode::OK.into_response(),
    }
}

async fn receiver() -> (Arc<Receiver>, u16) {
    let receiver = Arc::new(Receiver::default());
    let mut router = Router::new();
    for path in ["/json", "/slack", "/elsewhere"] {
        let route = post(take).with_state((receiver.clone(), path));
        router = router.route(path, route);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (receiver, port)
}

async fn stage(on: On, port: u16) -> Stage {
    let mut stage = Stage::on(on).await;
    let folder = stage.folder.path();
    std::fs::write(folder.join("policies/p.yaml"), POLICY).unwrap();
    std::fs::write(folder.join("hook-secret"), SECRET).unwrap();
    std::fs::write(folder.join("slack-url"), format!("http://127.0.0.1:{port}/slack\n")).unwrap();
    let text = std::fs::read_to_string(folder.join("guard.yaml")).unwrap();
    let hooks = format!(
        "webhooks:\n  - {{ name: own, url: \"http://127.0.0.1:{port}/json\", secret: {{ file: hook-secret }} }}\n  \
         - {{ name: chat, url: {{ file: slack-url }}, form: slack, events: [asked] }}\n"
    );
    std::fs::write(folder.join("guard.yaml"), text + &hooks).unwrap();
    stage.restart().await;
    stage
}

async fn ask(stage: &Stage) -> String {
    let shim = stage.session().await;
    let text = "DELETE FROM users WHERE mail = 'ann@example.com'";
    let question = json!({
        "id": uuid::Uuid::now_v7(), "session": shim.id, "resource": "near",
        "policy": Digest::of(POLICY), "rules": ["one"], "writer": format!("shim-{}", unique()),
        "operation": 0, "what": "held DELETE on `public.<!channel>`",
        "subject": {
            "label": "DELETE", "text": text, "text_bytes": text.len(), "text_digest": Digest::of(text),
            "details_digest": Digest::ZERO, "effects": [], "certainty": { "level": "exact" },
        },
    });
    let (status, answer) =
        stage.as_shim(&shim, axum::http::Method::POST, "/v1/approvals", &question).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

/// Looks until so many bodies are there.
async fn until(
    stage: &Stage,
    receiver: &Receiver,
    count: usize,
) -> Vec<(String, HeaderMap, String)> {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    let waiting = async {
        loop {
            stage.app.sessions.look(1).await.unwrap();
            let got = receiver.got.lock().unwrap().clone();
            if got.len() >= count {
                return got;
            }
            pause.tick().await;
        }
    };
    let got = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    got.unwrap_or_else(|_| panic!("{:?}", receiver.got.lock().unwrap()))
}

/// As a receiver verifies.
fn verifies(secret: &str, header: &str, body: &str) -> bool {
    let (at, tag) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).unwrap();
    let tag: Vec<u8> = (0..tag.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(tag.get(place..place + 2).unwrap(), 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, format!("{at}.{body}").as_bytes(), &tag).is_ok()
}

async fn a_receiver_is_told_once_with_a_signature_that_nobody_else_can_make(on: On) {
    let (receiver, port) = receiver().await;
    let stage = stage(on, port).await;
    let id = ask(&stage).await;
    let got = until(&stage, &receiver, 2).await;
    let (_, headers, body) = got.iter().find(|(path, _, _)| path == "/json").unwrap();
    let header = headers[SIGNATURE].to_str().unwrap();
    assert!(verifies(SECRET, header, body));
    for (secret, header, body) in [
        ("another", header.to_owned(), body.clone()),
        (SECRET, header.to_owned(), body.replace("waiting", "granted")),
        (SECRET, header.replacen("t=", "t=1", 1), body.clone()),
        (SECRET, signature("forged", 1, body), body.clone()),
    ] {
        assert!(!verifies(secret, &header, &body), "{header}");
    }
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&told["event"], &told["approval"]["id"]), (&json!("approval.asked"), &json!(id)));
    let (_, headers, slack) = got.iter().find(|(path, _, _)| path == "/slack").unwrap();
    assert!(headers.get(SIGNATURE).is_none());
    assert!(slack.contains(&format!("http://127.0.0.1:8440/approvals/{id}")), "{slack}");
    for body in [body, slack] {
        assert!(!body.contains("ann@example.com") && !body.contains(SECRET), "{body}");
    }
    assert!(!slack.contains("<!channel>") && slack.contains("&lt;!channel&gt;"), "{slack}");
    // Told of once: what comes after more looks is its end, and nothing else.
    for _ in 0..3 {
        stage.app.sessions.look(1).await.unwrap();
    }
    stage.app.sessions.store.end_time_of_approval_for_test(&id).await;
    let got = until(&stage, &receiver, 3).await;
    let ends: Vec<_> = got.iter().map(|(_, _, body)| body.contains("approval.expired")).collect();
    assert_eq!(ends, [false, false, true], "{got:?}");
}

async fn what_is_not_taken_is_brought_again_and_no_redirect_is_followed(on: On) {
    let (receiver, port) = receiver().await;
    let stage = stage(on, port).await;
    // The last is answered first.
    *receiver.answers.lock().unwrap() = vec![302, 500, 500, 302];
    ask(&stage).await;
    let got = until(&stage, &receiver, 6).await;
    assert!(got.iter().all(|(path, _, _)| path != "/elsewhere"), "a redirect was followed");
    for path in ["/json", "/slack"] {
        let of_path: Vec<_> = got.iter().filter(|(found, _, _)| found == path).collect();
        let ids: Vec<_> =
            of_path.iter().map(|(_, headers, _)| &headers["x-guard-delivery"]).collect();
        assert!(
            of_path.len() > 1 && ids.windows(2).all(|pair| pair[0] == pair[1]),
            "{path}: {ids:?}"
        );
    }
}
