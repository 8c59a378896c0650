//! Sessions go on by fresh identity tokens of their own job, and by nothing else.

use axum::http::{Method, StatusCode};
use guard_core::Timestamp;
use serde_json::{Value, json};

use super::stage::{Key, On, Shim, Stage, URL, on_both_stores, token_header};

on_both_stores!(
    a_session_that_is_not_renewed_ends_and_its_record_says_why,
    only_a_fresh_token_of_the_same_job_and_key_renews,
    where_tokens_are_not_for_one_key_heartbeats_keep_a_session_alive,
);

/// What `renew` is unless configured, in seconds.
const RENEW: i64 = 600;

async fn bound(on: On) -> Stage {
    let mut stage = Stage::on(on).await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("bind: none", "bind: key")).unwrap();
    stage.restart().await;
    // A broker listens: nobody's silence is forgiven.
    stage.app.sessions.look(1).await.unwrap();
    stage
}

/// A token for a key, made so many seconds ago.
fn token(stage: &Stage, key: &Key, run: &str, age: i64) -> String {
    let mut claims = stage.claims();
    claims["aud"] = format!("{URL}#{}", key.thumbprint()).into();
    claims["iat"] = (Timestamp::now().as_second() - age).into();
    claims["run_id"] = run.into();
    stage.issuer.sign(&token_header(), &claims)
}

async fn open(stage: &Stage, run: &str, age: i64) -> (Shim, String) {
    let key = Key::new();
    let token = token(stage, &key, run, age);
    let (status, answer) = stage.exchange(&token, &key.proof("POST", "/oauth/token", None)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["session"]["renew_secs"], RENEW);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let shim =
        Shim { id: text(&answer["session"]["id"]), token: text(&answer["access_token"]), key };
    (shim, token)
}

async fn renew(stage: &Stage, shim: &Shim, token: &str) -> (StatusCode, Value) {
    let body = json!({ "identity_token": token });
    stage.as_shim(shim, Method::POST, "/v1/session/renew", &body).await
}

async fn a_session_that_is_not_renewed_ends_and_its_record_says_why(on: On) {
    let stage = bound(on).await;
    let (kept, _) = open(&stage, "1", RENEW - 5).await;
    let (left, _) = open(&stage, "2", RENEW).await;
    let fresh = token(&stage, &kept.key, "1", 0);
    let mut until = String::new();
    // Shown twice it counts once.
    for _ in 0..2 {
        let (status, answer) = renew(&stage, &kept, &fresh).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["until"].as_str().unwrap().clone_into(&mut until);
    }
    stage.app.sessions.look(1).await.unwrap();
    assert_eq!(
        stage.as_shim(&kept, Method::GET, "/v1/session/state", &Value::Null).await.1["ended"],
        Value::Null
    );
    let (status, answer) = renew(&stage, &left, &token(&stage, &left.key, "2", 0)).await;
    assert_eq!(status, StatusCode::GONE, "too late: {answer}");
    if let Some(session) = stage.open(&left).await {
        let _sealed = stage.app.sessions.sealed(&session).await.unwrap();
    }
    let record = stage.text(&left).await;
    assert!(
        record.contains(r#""expired""#) && record.contains("no fresh identity token"),
        "{record}"
    );
    let renewed = r#""event":{"type":"session-renewed""#;
    assert!(!record.contains(renewed), "what came too late is no renewal: {record}");
    let record = stage.text(&kept).await;
    assert_eq!(record.matches(renewed).count(), 1, "{record}");
    assert!(record.contains(&format!(r#""session-renewed","until":"{until}""#)), "{record}");
}

async fn only_a_fresh_token_of_the_same_job_and_key_renews(on: On) {
    let stage = bound(on).await;
    let (shim, first) = open(&stage, "1", RENEW - 60).await;
    let by = Timestamp::now().as_second() + 60;
    let until = |answer: &Value| {
        answer["until"].as_str().unwrap().parse::<Timestamp>().unwrap().as_second()
    };
    // Shown again, a token is as old as it was.
    for _ in 0..2 {
        let (status, answer) = renew(&stage, &shim, &first).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!((by - 5..=by).contains(&until(&answer)), "{answer}");
    }
    let refused = [
        ("another job's", token(&stage, &shim.key, "2", 0), StatusCode::FORBIDDEN),
        ("another key's", token(&stage, &Key::new(), "1", 0), StatusCode::UNAUTHORIZED),
        ("for nobody's key", stage.token(), StatusCode::UNAUTHORIZED),
        ("from the future", token(&stage, &shim.key, "1", -120), StatusCode::UNAUTHORIZED),
        ("none", "x".into(), StatusCode::UNAUTHORIZED),
    ];
    for (what, token, expected) in refused {
        let (status, answer) = renew(&stage, &shim, &token).await;
        assert_eq!(status, expected, "{what}: {answer}");
    }
    // Who has the token of the session and not its key.
    let thief = Shim { id: shim.id.clone(), token: shim.token.clone(), key: Key::new() };
    let stolen = token(&stage, &shim.key, "1", 0);
    assert_eq!(renew(&stage, &thief, &stolen).await.0, StatusCode::UNAUTHORIZED);
    let (status, answer) = renew(&stage, &shim, &first).await;
    assert!(status == StatusCode::OK && until(&answer) <= by, "nothing of that counted: {answer}");
    // A clock that is ahead gains nothing.
    let (status, answer) = renew(&stage, &shim, &token(&stage, &shim.key, "1", -30)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(until(&answer) <= Timestamp::now().as_second() + RENEW, "{answer}");
}

async fn where_tokens_are_not_for_one_key_heartbeats_keep_a_session_alive(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let (status, answer) = renew(&stage, &shim, &stage.token()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    stage.app.sessions.look(1).await.unwrap();
    assert!(stage.open(&shim).await.is_some_and(|session| session.ended().is_none()));
}
