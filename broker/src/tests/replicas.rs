//! Several brokers on one store: any of them answers anything, and what must happen once happens once.

use std::{io::Read as _, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use guard_audit::Plain;
use guard_core::{EndReason, control::ID_TOKEN_TYPE, control::TOKEN_EXCHANGE};
use serde_json::{Value, json};

use super::stage::{
    Key, On, Shim, Stage, URL, on_both_stores, proof_claims, send_to, token_header,
};
use crate::app::App;

on_both_stores!(
    a_job_has_one_live_session_and_its_record_tells_of_the_attempt,
    a_run_whose_job_is_not_known_may_have_several_sessions,
    a_session_that_is_ended_by_hand_is_over_at_once_and_sealed_by_the_broker,
    an_exchange_whose_answer_was_lost_is_answered_again_for_its_key_only,
    silence_counts_only_while_a_broker_listens,
    a_session_that_nobody_takes_to_its_end_is_taken_by_the_next_that_looks,
);

/// How many tokens are shown at two brokers at the same instant.
fn races() -> usize {
    std::env::var("GUARD_TEST_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

fn exchange_request(token: &str, proof: &str) -> Request<Body> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", TOKEN_EXCHANGE)
        .append_pair("subject_token", token)
        .append_pair("subject_token_type", ID_TOKEN_TYPE)
        .finish();
    let request = Request::post("/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("dpop", proof)
        .body(Body::from(form));
    request.unwrap()
}

/// A request of a shim with a proof that the caller made.
fn shim_request(
    shim: &Shim,
    proof: &str,
    method: &Method,
    path: &str,
    body: &Value,
) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("DPoP {}", shim.token))
        .header("dpop", proof)
        .body(Body::from(body.to_string()));
    request.unwrap()
}

async fn as_shim(
    app: &Arc<App>,
    shim: &Shim,
    method: Method,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let bare = path.split('?').next().unwrap();
    let proof = shim.key.proof(method.as_str(), bare, Some(&shim.token));
    send_to(app, shim_request(shim, &proof, &method, path, body)).await
}

/// Waits for what another task brings about.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what)
}

fn job_token(stage: &Stage, job: &str) -> String {
    let mut claims = stage.claims();
    claims["check_run_id"] = job.into();
    stage.issuer.sign(&token_header(), &claims)
}

async fn session_of_job(stage: &Stage, job: &str) -> Result<Shim, Value> {
    let key = Key::new();
    let proof = key.proof("POST", "/oauth/token", None);
    let (status, answer) = stage.exchange(&job_token(stage, job), &proof).await;
    if status != StatusCode::OK {
        return Err(answer);
    }
    Ok(Shim {
        id: answer["session"]["id"].as_str().unwrap().into(),
        token: answer["access_token"].as_str().unwrap().into(),
        key,
    })
}

#[tokio::test]
async fn a_token_is_taken_once_however_many_brokers_see_it_at_the_same_instant() {
    let stage = Stage::on(On::Postgres).await;
    let other = stage.replica().await;
    for _ in 0..races() {
        let token = stage.token();
        let [one, two] = [(); 2]
            .map(|()| exchange_request(&token, &Key::new().proof("POST", "/oauth/token", None)));
        let (one, two) = tokio::join!(send_to(&stage.app, one), send_to(&other, two));
        let taken = [one.0, two.0].iter().filter(|status| **status == StatusCode::OK).count();
        assert_eq!(taken, 1, "{one:?} {two:?}");
    }
}

#[tokio::test]
async fn a_job_gets_one_session_however_many_brokers_are_asked_at_the_same_instant() {
    let stage = Stage::on(On::Postgres).await;
    let other = stage.replica().await;
    for race in 0..races() / 5 {
        let [one, two] = [(); 2].map(|()| {
            let proof = Key::new().proof("POST", "/oauth/token", None);
            exchange_request(&job_token(&stage, &race.to_string()), &proof)
        });
        let (one, two) = tokio::join!(send_to(&stage.app, one), send_to(&other, two));
        let taken = [one.0, two.0].iter().filter(|status| **status == StatusCode::OK).count();
        assert_eq!(taken, 1, "{one:?} {two:?}");
    }
}

#[tokio::test]
async fn a_proof_that_was_used_at_one_broker_is_used_at_all() {
    let stage = Stage::on(On::Postgres).await;
    let other = stage.replica().await;
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, _) = stage.exchange(&stage.token(), &proof).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) = send_to(&other, exchange_request(&stage.token(), &proof)).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_dpop_proof")));

    let shim = stage.session().await;
    let near = json!({ "session": shim.id, "resource": "near" });
    let cases = [
        (Method::POST, "/v1/leases", near.clone()),
        (Method::POST, "/v1/session/enforce", near),
        (Method::POST, "/v1/session/end", json!({ "exit_code": 0 })),
        (Method::GET, "/v1/session/record", Value::Null),
    ];
    for (method, path, body) in cases {
        let proof = shim.key.proof(method.as_str(), path, Some(&shim.token));
        let request = || shim_request(&shim, &proof, &method, path, &body);
        let (status, answer) = send_to(&stage.app, request()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        let (status, _) = send_to(&other, request()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }

    let shim = stage.session().await;
    stage.tunnel(&shim).await;
    let uri = "https://gw:8443/v1/tunnel/orders";
    let mut claims = proof_claims("POST", "", Some(&shim.token));
    claims["htu"] = uri.into();
    let proof = shim.key.sign(&shim.key.proof_header(), &claims);
    let ask = json!({
        "access_token": shim.token, "proof": proof, "method": "POST", "uri": uri,
        "resource": "orders",
    });
    for (app, expected) in [(&stage.app, StatusCode::OK), (&other, StatusCode::FORBIDDEN)] {
        let request = Request::post("/v1/sessions/authorize")
            .header("authorization", format!("Bearer {}", stage.gateway.assertion("eu-1")))
            .body(Body::from(ask.to_string()));
        assert_eq!(send_to(app, request.unwrap()).await.0, expected);
    }
}

#[tokio::test]
async fn any_broker_goes_on_with_what_another_began() {
    let stage = Stage::on(On::Postgres).await;
    let brokers = [stage.app.clone(), stage.replica().await, stage.replica().await];
    let shim = stage.session().await;
    // Two streams, each event by another broker than the one before, and both at once.
    let stream = async |writer: &str, start: usize| {
        for number in 0..20_usize {
            let event = json!({ "type": "disconnected", "connection": number, "reason": null });
            let batch = json!({
                "session": shim.id, "writer": writer, "first": number, "events": [event],
            });
            let app = &brokers[(start + number) % 3];
            let (status, answer) = as_shim(app, &shim, Method::POST, "/v1/record", &batch).await;
            assert_eq!((status, &answer["next"]), (StatusCode::OK, &json!(number + 1)), "{answer}");
        }
    };
    tokio::join!(stream("shim-1", 0), stream("shim-2", 1));
    // What is known is passed over, and a gap is one, whoever is asked.
    for app in &brokers {
        for (first, expected) in [(19, StatusCode::OK), (25, StatusCode::CONFLICT)] {
            let event = json!({ "type": "disconnected", "connection": 19, "reason": null });
            let batch = json!({
                "session": shim.id, "writer": "shim-1", "first": first, "events": [event],
            });
            let (status, _) = as_shim(app, &shim, Method::POST, "/v1/record", &batch).await;
            assert_eq!(status, expected);
        }
    }
    // A lease of one is given back at another, a refusal appended at one is told by another.
    let near = json!({ "session": shim.id, "resource": "near" });
    let (status, lease) = as_shim(&brokers[1], &shim, Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::OK);
    let denial = json!({
        "code": "rule", "what": "blocked DROP", "rule": "r", "policy": "reads",
        "detail": null, "hint": null,
    });
    let refused = json!({
        "type": "refused", "statement": 0, "connection": 0, "operation": 0, "denial": denial,
    });
    let batch = json!({ "session": shim.id, "writer": "shim-3", "first": 0, "events": [refused] });
    let path = "/v1/session/state?after=0&wait=20";
    let caretaker = tokio::spawn(brokers[2].sessions.clone().look_after());
    let (state, _) = tokio::join!(
        as_shim(&brokers[2], &shim, Method::GET, path, &Value::Null),
        as_shim(&brokers[0], &shim, Method::POST, "/v1/record", &batch),
    );
    assert_eq!((&state.1["notices"][0]["resource"], &state.1["next"]), (&json!("near"), &json!(1)));
    caretaker.abort();
    let release = format!("/v1/leases/{}/release", lease["id"].as_str().unwrap());
    let (status, _) = as_shim(&brokers[2], &shim, Method::POST, &release, &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    // Two brokers are told of the end; both answer with the same seal, and a third has the record.
    let end = json!({ "exit_code": 0 });
    let (one, two) = tokio::join!(
        as_shim(&brokers[0], &shim, Method::POST, "/v1/session/end", &end),
        as_shim(&brokers[1], &shim, Method::POST, "/v1/session/end", &end),
    );
    assert_eq!((one.0, two.0), (StatusCode::OK, StatusCode::OK), "{one:?} {two:?}");
    assert_eq!(one.1, two.1);
    assert_eq!(one.1["entries"], 1 + 40 + 2 + 1 + 1);
    let (status, _) =
        as_shim(&brokers[2], &shim, Method::GET, "/v1/session/record", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let text = stage.text(&shim).await;
    guard_audit::verify(text.as_bytes(), &[stage.app.sessions.public_key()]).unwrap();
}

#[tokio::test]
async fn an_end_reaches_who_waits_at_another_broker_within_a_second() {
    let stage = Stage::on(On::Postgres).await;
    let other = stage.replica().await;
    let caretaker = tokio::spawn(other.sessions.clone().look_after());
    let shim = stage.session().await;
    // Known at the other broker, and its listener is there when it has heard of a lease given back.
    let path = "/v1/session/state?after=0&wait=20";
    let (((status, state), heard), ended) = tokio::join!(
        async {
            let answer = as_shim(&other, &shim, Method::GET, path, &Value::Null).await;
            (answer, std::time::Instant::now())
        },
        async {
            // The poll is under way when the other broker knows the session.
            let id = shim.id.parse().unwrap();
            until("a known session", async || other.sessions.knows(id).then_some(())).await;
            assert!(stage.app.sessions.store.revoke(id, "incident 42").await.unwrap());
            std::time::Instant::now()
        },
    );
    assert_eq!((status, &state["ended"]), (StatusCode::OK, &json!("revoked")));
    assert!(heard.duration_since(ended) < Duration::from_secs(1));
    let text = until("a seal", async || {
        let text = stage.text(&shim).await;
        text.contains("\"signature\"").then_some(text)
    })
    .await;
    assert!(text.contains("\"note\":\"incident 42\""), "{text}");
    caretaker.abort();
}

async fn a_session_that_is_ended_by_hand_is_over_at_once_and_sealed_by_the_broker(on: On) {
    let stage = Stage::on(on).await;
    let caretaker = tokio::spawn(stage.app.sessions.clone().look_after());
    let shim = stage.session().await;
    // As `guard-broker sessions end` does, from another process.
    let beside = stage.replica_store().await;
    assert!(beside.revoke(shim.id.parse().unwrap(), "incident 42").await.unwrap());
    assert!(!beside.revoke(shim.id.parse().unwrap(), "again").await.unwrap());
    let path = "/v1/session/state?after=0&wait=20";
    let (_, state) = stage.as_shim(&shim, Method::GET, path, &Value::Null).await;
    assert_eq!(state["ended"], "revoked");
    let near = json!({ "session": shim.id, "resource": "near" });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::GONE);
    let text = until("a seal", async || {
        let text = stage.text(&shim).await;
        text.contains("\"signature\"").then_some(text)
    })
    .await;
    assert!(text.contains("\"reason\":\"revoked\"") && text.contains("incident 42"), "{text}");
    let shown = beside.overview_of(shim.id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (shown.reason.as_deref(), shown.note.as_deref()),
        (Some("revoked"), Some("incident 42"))
    );
    assert_eq!(beside.overview(true, 10).await.unwrap().len(), 1);
    caretaker.abort();
}

async fn a_job_has_one_live_session_and_its_record_tells_of_the_attempt(on: On) {
    let stage = Stage::on(on).await;
    let shim = session_of_job(&stage, "77").await.unwrap();
    let refused = session_of_job(&stage, "77").await.map(|shim| shim.id).unwrap_err();
    assert_eq!(refused["error"], "access_denied");
    assert!(!refused.to_string().contains(&shim.id), "a stranger learns nothing: {refused}");
    assert!(stage.text(&shim).await.contains("\"type\":\"attempt-refused\""));
    // Another job of the same run is another job.
    session_of_job(&stage, "78").await.map(|shim| shim.id).unwrap();
    let end = json!({ "exit_code": 0 });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK);
    session_of_job(&stage, "77").await.map(|shim| shim.id).unwrap();
}

async fn an_exchange_whose_answer_was_lost_is_answered_again_for_its_key_only(on: On) {
    let stage = Stage::on(on).await;
    let (key, token) = (Key::new(), job_token(&stage, "77"));
    let proof = |key: &Key| key.proof("POST", "/oauth/token", None);
    let (_, first) = stage.exchange(&token, &proof(&key)).await;
    let (status, again) = stage.exchange(&token, &proof(&key)).await;
    assert_eq!((status, &again["session"]["id"]), (StatusCode::OK, &first["session"]["id"]));
    assert_ne!(again["access_token"], first["access_token"]);
    let shim = Shim {
        id: again["session"]["id"].as_str().unwrap().into(),
        token: again["access_token"].as_str().unwrap().into(),
        key,
    };
    let (status, _) = stage.as_shim(&shim, Method::GET, "/v1/session/state", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    // Whoever has the token and not the key gets nothing, and the record tells of it.
    let (status, answer) = stage.exchange(&token, &proof(&Key::new())).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert!(stage.text(&shim).await.contains("\"type\":\"attempt-refused\""));
    let end = json!({ "exit_code": 0 });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = stage.as_shim(&shim, Method::GET, "/v1/session/record", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    // With the session over the token is only used.
    let (status, _) = stage.exchange(&token, &proof(&shim.key)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

async fn a_run_whose_job_is_not_known_may_have_several_sessions(on: On) {
    let stage = Stage::on(on).await;
    stage.session().await;
    stage.session().await;
}

async fn silence_counts_only_while_a_broker_listens(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let store = &stage.app.sessions.store;
    let none = Duration::ZERO;
    // Nobody listened since the store was made: the silence is forgiven, whoever looks first.
    store.set_heard_for_test(0).await;
    store.end_overdue(Duration::from_secs(3600)).await.unwrap();
    assert!(stage.open(&shim).await.unwrap().ended().is_none());
    until("a silence", async || {
        store.end_overdue(none).await.unwrap();
        let session = stage.open(&shim).await.unwrap();
        stage.app.sessions.refresh(&session).await.unwrap();
        (session.ended() == Some(EndReason::Lost)).then_some(())
    })
    .await;
}

async fn a_session_that_nobody_takes_to_its_end_is_taken_by_the_next_that_looks(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let near = json!({ "session": shim.id, "resource": "near" });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::OK);
    // A broker that says that it takes the session to its end, and dies.
    let dead = stage.replica_store().await;
    let id = shim.id.parse().unwrap();
    let claim = Duration::from_millis(300);
    assert!(dead.end_session(id, EndReason::Finished, Some(0), claim).await.unwrap());
    let caretaker = tokio::spawn(stage.app.sessions.clone().look_after());
    let text = until("a seal", async || {
        let text = stage.text(&shim).await;
        text.contains("\"signature\"").then_some(text)
    })
    .await;
    assert!(text.contains("lease-released"), "{text}");
    guard_audit::verify(text.as_bytes(), &[stage.app.sessions.public_key()]).unwrap();
    caretaker.abort();
}

#[tokio::test]
async fn a_record_goes_to_the_recordings_and_is_there_byte_for_byte() {
    let stage = Stage::on(On::Postgres).await;
    let shim = stage.session().await;
    let end = json!({ "exit_code": 0 });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK);
    let id = shim.id.parse().unwrap();
    let store = &stage.app.sessions.store;
    until("a filed record", async || store.state(id).await.unwrap().filter(|state| state.filed))
        .await;
    let mut file = Vec::new();
    let at_rest = std::fs::read(stage.record(&shim).with_extension("jsonl.zst")).unwrap();
    Plain::of(&at_rest[..]).unwrap().read_to_end(&mut file).unwrap();
    let parts = store.parts(id, 0).await.unwrap();
    let parts: Vec<u8> = parts.into_iter().flat_map(|part| part.lines).collect();
    assert_eq!(file, parts);
    guard_audit::verify(&file[..], &[stage.app.sessions.public_key()]).unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_broker_is_left_alone() {
    let stage = Stage::on(On::Postgres).await;
    let server = stage.postgres.as_ref().unwrap();
    server.sql("guard", "INSERT INTO guard_store VALUES (99)").unwrap();
    let config = crate::config::load(&stage.folder.path().join("guard.yaml")).unwrap();
    let error = crate::serve::open_store(&config).await.unwrap_err();
    assert!(format!("{error:#}").contains("use the newer broker"), "{error:#}");
    assert!(!format!("{error:#}").contains(guard_tests::postgres::PASSWORD));
}

#[tokio::test]
async fn brokers_that_start_at_the_same_time_make_the_tables_once() {
    let stage = Stage::on(On::Postgres).await;
    let server = stage.postgres.as_ref().unwrap();
    server.sql("guard", "DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
    let starts = (0..6).map(|_| stage.replica());
    let brokers = futures_util::future::join_all(starts).await;
    assert_eq!(server.sql("guard", "SELECT count(*) FROM guard_store").unwrap(), "1");
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, _) = send_to(&brokers[5], exchange_request(&stage.token(), &proof)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(URL, brokers[0].sessions.config().url);
}
