//! What came of a request stands in the record once, also when a broker stops right behind its word in the store.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use guard_core::{PersonRef, Timestamp};
use serde_json::{Value, json};

use super::{
    approvals::{ask, decide, question, somebody, spend, stage, using},
    log::end,
    stage::{On, Shim, Stage, on_both_stores},
};
use crate::store::{Store, Vote};

on_both_stores!(
    a_decision_whose_broker_stopped_is_recorded_once_by_whoever_looks,
    a_decision_that_was_recorded_and_not_noted_is_not_recorded_again,
    a_yes_stands_in_the_record_before_its_use_and_before_the_seal,
    what_nobody_decided_is_told_in_its_own_words,
);

/// The word of somebody, stored as by a broker that stops before it does anything else.
async fn says(store: &Store, id: &Value, granted: bool) {
    let vote = Vote {
        person: PersonRef {
            issuer: "https://people.example".into(),
            subject: "ann".into(),
            name: "ANN".into(),
        },
        groups: BTreeSet::from(["dba".to_owned()]),
        granted,
        reason: "as agreed".into(),
        at: Timestamp::now(),
    };
    let id = id.as_str().unwrap().parse().unwrap();
    if granted {
        store.vote_yes(id, &vote).await.unwrap();
        assert!(store.grant_approval(id).await.unwrap());
    } else {
        store.vote_no(id, &vote).await.unwrap();
    }
}

async fn asked(stage: &Stage, shim: &Shim, text: &str) -> (Value, Value) {
    let question = question(shim, text, &["one"]);
    let id = ask(stage, shim, &question).await["id"].clone();
    (id, question)
}

/// The decisions that a record tells of, in order.
async fn decisions(stage: &Stage, shim: &Shim) -> Vec<Value> {
    let text = stage.text(shim).await;
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["event"].clone()).filter(|e| e["type"] == "approval-decided").collect()
}

async fn a_decision_whose_broker_stopped_is_recorded_once_by_whoever_looks(on: On) {
    let mut stage = stage(on).await;
    let shim = stage.session().await;
    let stopped = stage.replica_store().await;
    for granted in [true, false] {
        let (id, _) = asked(&stage, &shim, &format!("DELETE FROM t WHERE yes = {granted}")).await;
        says(&stopped, &id, granted).await;
    }
    assert!(decisions(&stage, &shim).await.is_empty());
    match on {
        On::Sqlite => stage.app.sessions.look(1).await.unwrap(),
        On::Postgres => {
            let others = [stage.replica().await, stage.replica().await];
            let (one, two) = tokio::join!(others[0].sessions.look(1), others[1].sessions.look(1));
            one.unwrap();
            two.unwrap();
        }
    }
    let told = decisions(&stage, &shim).await;
    let states: Vec<_> = told.iter().map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["granted", "refused"]);
    assert!(told.iter().all(|event| event["by"][0]["name"] == "ANN"), "{told:?}");
    assert!(told.iter().all(|event| event["reasons"] == json!(["as agreed"])), "{told:?}");
    stage.app.sessions.look(1).await.unwrap();
    stage.restart().await;
    stage.app.sessions.look(1).await.unwrap();
    assert_eq!(decisions(&stage, &shim).await, told);
}

async fn a_decision_that_was_recorded_and_not_noted_is_not_recorded_again(on: On) {
    let mut stage = stage(on).await;
    let shim = stage.session().await;
    let (id, _) = asked(&stage, &shim, "DELETE FROM t").await;
    decide(&stage.app, &somebody("ann", &["dba"]), &id, true, "fine").await.unwrap();
    let told = decisions(&stage, &shim).await;
    assert_eq!(told.len(), 1);
    // As by a broker that stopped between the two, whether it is this one or another that goes on.
    for _ in 0..2 {
        stage.app.sessions.store.change_for_test("UPDATE approvals SET noted = 0").await;
        stage.app.sessions.look(1).await.unwrap();
        assert_eq!(decisions(&stage, &shim).await, told);
        assert!(stage.app.sessions.store.unnoted_approvals(None).await.unwrap().is_empty());
        stage.restart().await;
    }
}

async fn a_yes_stands_in_the_record_before_its_use_and_before_the_seal(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let stopped = stage.replica_store().await;
    let (used, question) = asked(&stage, &shim, "DELETE FROM t WHERE id = 1").await;
    let (unused, _) = asked(&stage, &shim, "DELETE FROM t WHERE id = 2").await;
    says(&stopped, &used, true).await;
    says(&stopped, &unused, false).await;
    let (status, answer) = spend(&stage, &shim, &used, &using(&question)).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("used")));
    end(&stage, &shim).await;
    let text = stage.text(&shim).await;
    let place = |text_of: &str| text.find(text_of).unwrap_or_else(|| panic!("{text_of}\n{text}"));
    assert!(place("\"approval-decided\"") < place("\"approval-used\""), "{text}");
    assert_eq!(text.matches("\"approval-decided\"").count(), 2, "{text}");
    guard_audit::verify(text.as_bytes(), &[stage.app.sessions.public_key()]).unwrap();
}

async fn what_nobody_decided_is_told_in_its_own_words(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let stopped = stage.replica_store().await;
    let (late, _) = asked(&stage, &shim, "DELETE FROM t WHERE id = 1").await;
    let (gone, _) = asked(&stage, &shim, "DELETE FROM t WHERE id = 2").await;
    stopped.end_time_of_approval_for_test(late.as_str().unwrap()).await;
    assert_eq!(stopped.expire_approvals(None).await.unwrap().len(), 1);
    let (id, session) = (gone.as_str().unwrap().parse().unwrap(), shim.id.parse().unwrap());
    assert!(stopped.cancel_approval(id, session).await.unwrap());
    stage.app.sessions.look(1).await.unwrap();
    let told = decisions(&stage, &shim).await;
    let said = |event: &Value| (event["state"].clone(), event["reasons"].clone());
    let said: BTreeSet<String> = told.iter().map(|event| format!("{:?}", said(event))).collect();
    assert_eq!(said.len(), 2, "{told:?}");
    assert!(told.iter().all(|event| event["by"].as_array().is_none_or(Vec::is_empty)), "{told:?}");
}
