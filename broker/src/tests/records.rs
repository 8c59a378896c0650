//! Records: order, ownership, ends, and what is left after a crash.

use std::{fs::OpenOptions, io::Write as _};

use axum::http::{Method, StatusCode};
use guard_audit::PublicKey;
use guard_core::EndReason;
use serde_json::{Value, json};

use super::stage::{On, Shim, Stage, on_both_stores};

on_both_stores!(
    events_are_taken_once_and_in_order,
    nobody_writes_for_another,
    an_enforcement_point_tells_of_what_it_enforces_and_of_nothing_else,
    an_ended_session_is_sealed_and_closed,
    a_lost_session_gives_its_leases_back_and_is_sealed,
    a_refusal_reaches_the_shim_once,
);

fn events(numbers: std::ops::Range<u64>) -> Vec<Value> {
    let event = |number| json!({ "type": "disconnected", "connection": number, "reason": null });
    numbers.map(event).collect()
}

fn batch(shim: &Shim, writer: &str, first: u64, events: &[Value]) -> Value {
    json!({ "session": shim.id, "writer": writer, "first": first, "events": events })
}

async fn append(stage: &Stage, shim: &Shim, batch: &Value) -> (StatusCode, Value) {
    stage.as_shim(shim, Method::POST, "/v1/record", batch).await
}

async fn end(stage: &Stage, shim: &Shim) -> (StatusCode, Value) {
    stage.as_shim(shim, Method::POST, "/v1/session/end", &json!({ "exit_code": 3 })).await
}

async fn lines(stage: &Stage, shim: &Shim) -> usize {
    stage.text(shim).await.lines().count()
}

async fn verify(stage: &Stage, shim: &Shim) {
    let key: PublicKey = stage.app.sessions.public_key();
    let record = stage.text(shim).await;
    guard_audit::verify(record.as_bytes(), &[key]).expect("a whole record");
}

async fn events_are_taken_once_and_in_order(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let steps = [
        ("first", 0, 0..3, StatusCode::OK, json!(3)),
        ("again", 0, 0..3, StatusCode::OK, json!(3)),
        ("overlapping", 1, 1..5, StatusCode::OK, json!(5)),
        ("gap", 7, 7..8, StatusCode::CONFLICT, Value::Null),
        ("nothing", 5, 5..5, StatusCode::OK, json!(5)),
        ("next", 5, 5..6, StatusCode::OK, json!(6)),
    ];
    for (name, first, numbers, expected, next) in steps {
        let batch = batch(&shim, "shim-near-1", first, &events(numbers));
        let (status, answer) = append(&stage, &shim, &batch).await;
        assert_eq!((status, &answer["next"]), (expected, &next), "{name}: {answer}");
    }
    assert_eq!(lines(&stage, &shim).await, 1 + 6);
}

async fn nobody_writes_for_another(on: On) {
    let stage = Stage::on(on).await;
    let (shim, other) = (stage.session().await, stage.session().await);
    for writer in ["broker", "broker-1", "eu-1-orders", "shim", "", "shim-\n", "shim-\u{e9}"] {
        let (status, _) = append(&stage, &shim, &batch(&shim, writer, 0, &events(0..1))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{writer:?}");
    }
    let (status, _) = append(&stage, &shim, &batch(&other, "shim-1", 0, &events(0..1))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let foreign = batch(&shim, "eu-1-1", 0, &events(0..1));
    let (status, _) = stage.as_gateway(Method::POST, "/v1/record", &foreign).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let ended = json!({ "type": "session-ended", "reason": "finished", "exit_code": 0 });
    let (status, _) = append(&stage, &shim, &batch(&shim, "shim-1", 0, &[ended])).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(lines(&stage, &shim).await, 1);
}

async fn an_enforcement_point_tells_of_what_it_enforces_and_of_nothing_else(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    stage.tunnel(&shim).await;
    let connected = |resource: &str, at: &str| {
        json!({
            "type": "connected", "connection": 0, "resource": resource, "enforced_at": at,
            "point": "p", "client": "c", "database": "d",
        })
    };
    let (ok, no) = (StatusCode::OK, StatusCode::FORBIDDEN);
    let cases = [
        ("shim", "near", "shim", ok),
        ("shim", "near", "gateway", no),
        ("shim", "orders", "gateway", no),
        ("shim", "orders", "shim", no),
        ("shim", "nowhere", "shim", no),
        ("eu-1", "orders", "gateway", ok),
        ("eu-1", "orders", "shim", no),
        ("eu-1", "near", "gateway", no),
    ];
    for (number, (who, resource, at, expected)) in cases.into_iter().enumerate() {
        let events = [connected(resource, at)];
        let batch = batch(&shim, &format!("{who}-{number}"), 0, &events);
        let (status, answer) = match who {
            "shim" => append(&stage, &shim, &batch).await,
            _ => stage.as_gateway(Method::POST, "/v1/record", &batch).await,
        };
        assert_eq!(status, expected, "{who} {resource} {at}: {answer}");
    }
}

async fn an_ended_session_is_sealed_and_closed(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    append(&stage, &shim, &batch(&shim, "shim-1", 0, &events(0..2))).await;
    let (status, answer) = end(&stage, &shim).await;
    assert_eq!((status, &answer["entries"]), (StatusCode::OK, &json!(4)), "{answer}");
    // The answer may have been lost: asking again gives the same.
    assert_eq!(end(&stage, &shim).await, (status, answer));
    verify(&stage, &shim).await;
    let (status, _) = append(&stage, &shim, &batch(&shim, "shim-1", 2, &events(2..3))).await;
    assert_eq!(status, StatusCode::GONE);
    let lease = json!({ "session": shim.id, "resource": "near" });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &lease).await;
    assert_eq!(status, StatusCode::GONE);
    let (status, state) =
        stage.as_shim(&shim, Method::GET, "/v1/session/state", &Value::Null).await;
    assert_eq!((status, &state["ended"]), (StatusCode::OK, &json!("finished")));
    let (status, _) = stage.as_shim(&shim, Method::GET, "/v1/session/record", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
}

async fn a_lost_session_gives_its_leases_back_and_is_sealed(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let lease = json!({ "session": shim.id, "resource": "near" });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &lease).await;
    assert_eq!(status, StatusCode::OK);
    let session = stage.open(&shim).await.unwrap();
    stage.app.sessions.end(&session, EndReason::Lost, None).await.unwrap();
    stage.app.sessions.sealed(&session).await.unwrap();
    let record = stage.text(&shim).await;
    let released = record.find("lease-released").unwrap();
    assert!(released < record.find("\"reason\":\"lost\"").unwrap());
    verify(&stage, &shim).await;
}

async fn a_refusal_reaches_the_shim_once(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let denial = json!({
        "code": "rule", "what": "blocked DROP", "rule": "r", "policy": "reads",
        "detail": null, "hint": null,
    });
    let refused = json!({
        "type": "refused", "statement": 0, "connection": 0, "operation": 0, "denial": denial,
    });
    let batch = batch(&shim, "shim-1", 0, &[refused]);
    append(&stage, &shim, &batch).await;
    append(&stage, &shim, &batch).await;
    let path = "/v1/session/state?after=0&wait=5";
    let (_, state) = stage.as_shim(&shim, Method::GET, path, &Value::Null).await;
    assert_eq!(state["notices"].as_array().unwrap().len(), 1);
    assert_eq!(state["next"], 1);
}

#[tokio::test]
async fn a_broker_that_starts_again_goes_on_where_it_was() {
    let mut stage = Stage::new().await;
    let shim = stage.session().await;
    append(&stage, &shim, &batch(&shim, "shim-1", 0, &events(0..3))).await;
    // What was being written when it was killed was never acknowledged.
    let mut file = OpenOptions::new().append(true).open(stage.record(&shim)).unwrap();
    file.write_all(b"{\"seq\":4,\"at\":\"20").unwrap();
    stage.restart().await;
    let (status, answer) = append(&stage, &shim, &batch(&shim, "shim-1", 3, &events(3..4))).await;
    // The proof may fall into the second of the start; then it is refused and made again.
    assert_eq!((status, &answer["next"]), (StatusCode::OK, &json!(4)), "{answer}");
    assert_eq!(end(&stage, &shim).await.0, StatusCode::OK);
    verify(&stage, &shim).await;
}

#[tokio::test]
async fn a_record_that_was_cut_or_changed_meanwhile_is_not_gone_on_with() {
    for damage in ["cut", "changed"] {
        let mut stage = Stage::new().await;
        let shim = stage.session().await;
        append(&stage, &shim, &batch(&shim, "shim-1", 0, &events(0..3))).await;
        let session = stage.open(&shim).await.unwrap();
        stage.app.sessions.note_reached(&session).await;
        let text = std::fs::read_to_string(stage.record(&shim)).unwrap();
        let text = match damage {
            "cut" => text.lines().take(2).map(|line| format!("{line}\n")).collect(),
            _ => text.replacen("\"connection\":1", "\"connection\":9", 1),
        };
        std::fs::write(stage.record(&shim), &text).unwrap();
        stage.restart().await;
        assert!(stage.open(&shim).await.is_none(), "{damage}");
        assert_eq!(std::fs::read_to_string(stage.record(&shim)).unwrap(), text, "{damage}");
    }
}

#[tokio::test]
async fn a_session_without_a_record_gives_its_leases_back_and_rests() {
    let mut stage = Stage::new().await;
    let shim = stage.session().await;
    let lease = json!({ "session": shim.id, "resource": "near" });
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &lease).await;
    assert_eq!(status, StatusCode::OK);
    let session = stage.open(&shim).await.unwrap();
    stage.app.sessions.note_reached(&session).await;
    let text = std::fs::read_to_string(stage.record(&shim)).unwrap();
    std::fs::write(stage.record(&shim), "").unwrap();
    stage.restart().await;
    let (sessions, id) = (stage.app.sessions.clone(), shim.id.parse().unwrap());
    let zero = std::time::Duration::ZERO;
    sessions.store.end_session(id, EndReason::Lost, None, zero).await.unwrap();
    let state = async || sessions.store.overview_of(id).await.unwrap().unwrap();
    while state().await.state != "unsealed" {
        sessions.look(1).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(state().await.leases.is_empty());
    // It is left alone now.
    assert_eq!(sessions.store.claim_ended(zero, 10).await.unwrap(), []);
    // Until a person has put the record right and a broker starts.
    std::fs::write(stage.record(&shim), text).unwrap();
    stage.restart().await;
    let sessions = stage.app.sessions.clone();
    while sessions.store.overview_of(id).await.unwrap().unwrap().state != "sealed" {
        sessions.look(1).await.unwrap();
        tokio::task::yield_now().await;
    }
}
