//! Approvals: what counts, for what, how often, and who may say so. Attacks first.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use guard_core::{ApprovalState, Digest, Identity, PersonRef};
use serde_json::{Value, json};

use super::stage::{On, Shim, Stage, on_both_stores, send_to, unique};
use crate::{
    app::App,
    sessions::approvals::{Decider, NotDecided},
};

on_both_stores!(
    a_yes_counts_once_and_a_second_use_is_refused,
    a_yes_used_at_two_brokers_at_once_counts_once,
    a_yes_is_for_one_statement_its_parameters_its_resource_its_rules_and_its_run,
    whoever_started_the_run_is_in_no_group_or_spoke_before_does_not_count,
    two_people_are_two_people,
    a_no_is_final_and_holds_for_the_same_question,
    nothing_counts_after_its_time,
    a_request_that_was_taken_back_cannot_be_granted_and_a_grant_not_used,
    the_end_of_a_session_takes_back_what_it_holds_and_leaves_what_is_parked,
    a_later_run_of_the_same_job_goes_through_once,
    an_enforcement_point_cannot_say_who_decides,
    a_session_that_asks_too_much_is_refused,
    asking_twice_is_asking_once,
    a_request_in_which_text_and_digest_differ_is_refused,
    who_waits_is_woken_by_another_brokers_decision,
);

pub(super) const POLICY: &str = "policy: reads
rules:
  - { name: one, sql: { effects: [delete] }, decide: approve, approvers: [dba], within: 15m }
  - { name: two, sql: { effects: [update] }, decide: approve, approvers: { from: [dba, lead], count: 2 }, within: 15m, reason_required: true }
  - { name: later, sql: { effects: [truncate] }, decide: approve, approvers: dba, within: 15m, wait: park }
  - { name: all, sql: { effects: [read] }, decide: allow }
";

/// Somebody of these groups.
pub(super) struct Somebody {
    subject: &'static str,
    groups: BTreeSet<String>,
    started: bool,
}

pub(super) fn somebody(subject: &'static str, groups: &[&str]) -> Somebody {
    let groups = groups.iter().map(ToString::to_string).collect();
    Somebody { subject, groups, started: false }
}

impl Decider for Somebody {
    fn decides(&self) -> bool {
        true
    }

    fn person(&self) -> PersonRef {
        PersonRef {
            issuer: "https://people.example".into(),
            subject: self.subject.into(),
            name: self.subject.to_uppercase(),
        }
    }

    fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }

    fn started(&self, _: &Identity) -> bool {
        self.started
    }
}

pub(super) async fn stage(on: On) -> Stage {
    let mut stage = Stage::on(on).await;
    std::fs::write(stage.folder.path().join("policies/p.yaml"), POLICY).unwrap();
    stage.restart().await;
    stage
}

/// What is asked, with the statement's text and the rules.
pub(super) fn question(shim: &Shim, text: &str, rules: &[&str]) -> Value {
    json!({
        "id": uuid::Uuid::now_v7(), "session": shim.id, "resource": "near",
        "policy": Digest::of(POLICY), "rules": rules, "writer": format!("shim-{}", unique()),
        "operation": 0, "what": "held DELETE on `public.users`",
        "subject": {
            "label": "DELETE", "text": text, "text_bytes": text.len(), "text_digest": Digest::of(text),
            "effects": [], "certainty": { "level": "exact" },
        },
    })
}

/// What is used, as the question asked.
pub(super) fn using(question: &Value) -> Value {
    json!({
        "session": question["session"], "resource": question["resource"], "policy": question["policy"],
        "rules": question["rules"], "text_digest": question["subject"]["text_digest"],
        "details_digest": Digest::ZERO,
    })
}

pub(super) async fn ask(stage: &Stage, shim: &Shim, question: &Value) -> Value {
    let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/approvals", question).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

pub(super) async fn spend(
    stage: &Stage,
    shim: &Shim,
    id: &Value,
    ask: &Value,
) -> (StatusCode, Value) {
    let path = format!("/v1/approvals/{}/use", id.as_str().unwrap());
    stage.as_shim(shim, Method::POST, &path, ask).await
}

async fn state(stage: &Stage, shim: &Shim, id: &Value, wait: u64) -> Value {
    let path =
        format!("/v1/approvals/{}/state?session={}&wait={wait}", id.as_str().unwrap(), shim.id);
    let (status, answer) = stage.as_shim(shim, Method::GET, &path, &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["state"].clone()
}

pub(super) async fn decide(
    app: &Arc<App>,
    who: &Somebody,
    id: &Value,
    grant: bool,
    reason: &str,
) -> Result<ApprovalState, NotDecided> {
    let id = id.as_str().unwrap().parse().unwrap();
    app.sessions.decide(who, id, grant, reason).await.map(|row| row.state)
}

async fn granted(stage: &Stage, shim: &Shim, question: &Value) -> Value {
    let id = ask(stage, shim, question).await["id"].clone();
    let state = decide(&stage.app, &somebody("ann", &["dba"]), &id, true, "").await.unwrap();
    assert_eq!(state, ApprovalState::Granted);
    id
}

/// Makes its time over.
async fn run_out(stage: &Stage, id: &Value) {
    stage.app.sessions.store.end_time_of_approval_for_test(id.as_str().unwrap()).await;
}

async fn a_yes_counts_once_and_a_second_use_is_refused(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let question = question(&shim, "DELETE FROM users", &["one"]);
    let asked = ask(&stage, &shim, &question).await;
    let id = asked["id"].clone();
    assert_eq!(asked["state"], "waiting");
    let page = format!("http://127.0.0.1:8440/approvals/{}", id.as_str().unwrap());
    assert_eq!(asked["address"].as_str().unwrap(), page);
    // Not before somebody said yes.
    assert_eq!(spend(&stage, &shim, &id, &using(&question)).await.1["state"], "waiting");
    decide(&stage.app, &somebody("ann", &["dba"]), &id, true, "fine").await.unwrap();
    let (status, answer) = spend(&stage, &shim, &id, &using(&question)).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("used")));
    assert_eq!(answer["by"][0]["subject"], "ann");
    let (status, answer) = spend(&stage, &shim, &id, &using(&question)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let record = stage.text(&shim).await;
    for event in ["approval-asked", "approval-decided", "approval-used"] {
        assert_eq!(record.matches(event).count(), 1, "{event}\n{record}");
    }
    assert!(record.contains(r#""name":"ANN""#) && record.contains("fine"), "{record}");
}

async fn a_yes_used_at_two_brokers_at_once_counts_once(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let question = question(&shim, "DELETE FROM users", &["one"]);
    let id = granted(&stage, &shim, &question).await;
    let other = match on {
        On::Postgres => stage.replica().await,
        // Files of records are one broker's.
        On::Sqlite => stage.app.clone(),
    };
    let path = format!("/v1/approvals/{}/use", id.as_str().unwrap());
    let request = || {
        let proof = shim.key.proof("POST", &path, Some(&shim.token));
        Request::post(&path)
            .header("authorization", format!("DPoP {}", shim.token))
            .header("dpop", proof)
            .body(Body::from(using(&question).to_string()))
            .unwrap()
    };
    let uses = (0..8).map(|n| {
        let app = if n % 2 == 0 { stage.app.clone() } else { other.clone() };
        let request = request();
        async move { send_to(&app, request).await }
    });
    let answers = futures_util::future::join_all(uses).await;
    let used = answers.iter().filter(|(status, _)| status.is_success()).count();
    assert_eq!(used, 1, "{answers:?}");
    assert_eq!(stage.text(&shim).await.matches("approval-used").count(), 1);
}

async fn a_yes_is_for_one_statement_its_parameters_its_resource_its_rules_and_its_run(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let question = question(&shim, "DELETE FROM users WHERE id = $1", &["one"]);
    let id = granted(&stage, &shim, &question).await;
    for (name, value) in [
        ("text_digest", json!(Digest::of("DELETE FROM users"))),
        ("details_digest", json!(Digest::of("2"))),
        ("rules", json!(["one", "two"])),
        ("rules", json!(["two"])),
    ] {
        let mut other = using(&question);
        other[name] = value;
        let (status, answer) = spend(&stage, &shim, &id, &other).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {answer}");
    }
    let mut other = using(&question);
    other["policy"] = json!(Digest::of("another policy"));
    assert_eq!(spend(&stage, &shim, &id, &other).await.0, StatusCode::CONFLICT);
    other = using(&question);
    other["resource"] = "orders".into();
    assert_eq!(spend(&stage, &shim, &id, &other).await.0, StatusCode::FORBIDDEN);
    // Another session of the same job, and another's body with this session's proof.
    let second = stage.session().await;
    other = using(&question);
    other["session"] = second.id.clone().into();
    assert_eq!(spend(&stage, &second, &id, &other).await.0, StatusCode::NOT_FOUND);
    assert_eq!(spend(&stage, &shim, &id, &other).await.0, StatusCode::FORBIDDEN);
    // None of this used it up.
    assert_eq!(spend(&stage, &shim, &id, &using(&question)).await.1["state"], "used");
}

async fn whoever_started_the_run_is_in_no_group_or_spoke_before_does_not_count(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let id =
        ask(&stage, &shim, &question(&shim, "UPDATE a SET b = 1", &["two"])).await["id"].clone();
    let app = &stage.app;
    let own = Somebody { started: true, ..somebody("eve", &["dba"]) };
    for grant in [true, false] {
        let said = decide(app, &own, &id, grant, "mine").await;
        assert!(matches!(said, Err(NotDecided::Own)), "{said:?}");
        let said = decide(app, &somebody("bob", &["sales"]), &id, grant, "let it").await;
        assert!(matches!(said, Err(NotDecided::NotAsked(_))), "{said:?}");
        let said = decide(app, &somebody("bob", &[]), &id, grant, "let it").await;
        assert!(matches!(said, Err(NotDecided::NotAsked(_))), "{said:?}");
    }
    let said = decide(app, &somebody("ann", &["dba"]), &id, true, "  ").await;
    assert!(matches!(said, Err(NotDecided::ReasonNeeded)), "{said:?}");
    let said = decide(app, &somebody("ann", &["dba"]), &id, true, &"x".repeat(1001)).await;
    assert!(matches!(said, Err(NotDecided::ReasonTooLong)), "{said:?}");
    assert_eq!(
        decide(app, &somebody("ann", &["dba"]), &id, true, "fine").await.unwrap(),
        ApprovalState::Waiting
    );
    for grant in [true, false] {
        // By another group, too.
        let said = decide(app, &somebody("ann", &["lead"]), &id, grant, "again").await;
        assert!(matches!(said, Err(NotDecided::Again)), "{said:?}");
    }
    assert_eq!(state(&stage, &shim, &id, 0).await, "waiting");
}

async fn two_people_are_two_people(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    // Both rules ask: one yes of `dba` and two of `dba` or `lead`.
    let id = ask(&stage, &shim, &question(&shim, "x", &["one", "two"])).await["id"].clone();
    let app = &stage.app;
    let said = decide(app, &somebody("lea", &["lead"]), &id, true, "ok").await.unwrap();
    assert_eq!(said, ApprovalState::Waiting);
    let said = decide(app, &somebody("lou", &["lead"]), &id, true, "ok").await.unwrap();
    assert_eq!(said, ApprovalState::Waiting, "two leads are no dba");
    let said = decide(app, &somebody("ann", &["dba"]), &id, true, "ok").await.unwrap();
    assert_eq!(said, ApprovalState::Granted);
    let late = decide(app, &somebody("bob", &["dba"]), &id, false, "no").await;
    assert!(matches!(late, Err(NotDecided::Settled(ApprovalState::Granted))), "{late:?}");
}

async fn a_no_is_final_and_holds_for_the_same_question(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    for rule in ["one", "later"] {
        let mut question = question(&shim, "DELETE FROM users", &[rule]);
        let id = ask(&stage, &shim, &question).await["id"].clone();
        let said = decide(&stage.app, &somebody("ann", &["dba"]), &id, false, "not today").await;
        assert_eq!(said.unwrap(), ApprovalState::Refused);
        let yes = decide(&stage.app, &somebody("bob", &["dba"]), &id, true, "").await;
        assert!(matches!(yes, Err(NotDecided::Settled(ApprovalState::Refused))), "{yes:?}");
        assert_eq!(spend(&stage, &shim, &id, &using(&question)).await.1["state"], "refused");
        question["id"] = json!(uuid::Uuid::now_v7());
        let again = ask(&stage, &shim, &question).await;
        assert_eq!((&again["state"], &again["id"]), (&json!("refused"), &id));
        assert_eq!(again["reason"], "not today");
    }
}

async fn nothing_counts_after_its_time(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let late = question(&shim, "DELETE FROM a", &["one"]);
    let unused = question(&shim, "DELETE FROM b", &["one"]);
    let id = ask(&stage, &shim, &late).await["id"].clone();
    let unused_id = granted(&stage, &shim, &unused).await;
    run_out(&stage, &id).await;
    run_out(&stage, &unused_id).await;
    // Before any broker has noticed, and afterwards.
    for _ in 0..2 {
        let yes = decide(&stage.app, &somebody("ann", &["dba"]), &id, true, "").await;
        assert!(matches!(yes, Err(NotDecided::Settled(ApprovalState::Expired))), "{yes:?}");
        assert_eq!(state(&stage, &shim, &id, 0).await, "expired");
        assert_eq!(spend(&stage, &shim, &unused_id, &using(&unused)).await.1["state"], "expired");
        stage.app.sessions.look(1).await.unwrap();
    }
    let record = stage.text(&shim).await;
    assert_eq!(record.matches(r#""state":"expired""#).count(), 2, "{record}");
    // It may be asked again.
    assert_eq!(
        ask(&stage, &shim, &question(&shim, "DELETE FROM a", &["one"])).await["state"],
        "waiting"
    );
}

async fn a_request_that_was_taken_back_cannot_be_granted_and_a_grant_not_used(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    for first in [true, false] {
        let text = format!("DELETE FROM users WHERE {first}");
        let question = question(&shim, &text, &["one"]);
        let id = ask(&stage, &shim, &question).await["id"].clone();
        if first {
            decide(&stage.app, &somebody("ann", &["dba"]), &id, true, "").await.unwrap();
        }
        let path = format!("/v1/approvals/{}/cancel", id.as_str().unwrap());
        let (_, answer) =
            stage.as_shim(&shim, Method::POST, &path, &json!({ "session": shim.id })).await;
        assert_eq!(answer["state"], "cancelled");
        let yes = decide(&stage.app, &somebody("bob", &["dba"]), &id, true, "").await;
        assert!(matches!(yes, Err(NotDecided::Settled(ApprovalState::Cancelled))), "{yes:?}");
        assert_eq!(spend(&stage, &shim, &id, &using(&question)).await.1["state"], "cancelled");
    }
    // Both at the same time: one of them is first, and what is taken back is not used.
    for n in 0..10 {
        let question = question(&shim, &format!("DELETE {n}"), &["one"]);
        let id = ask(&stage, &shim, &question).await["id"].clone();
        let path = format!("/v1/approvals/{}/cancel", id.as_str().unwrap());
        let cancelling = json!({ "session": shim.id });
        let ann = somebody("ann", &["dba"]);
        let (said, (_, cancelled)) = tokio::join!(
            decide(&stage.app, &ann, &id, true, ""),
            stage.as_shim(&shim, Method::POST, &path, &cancelling)
        );
        assert_eq!(cancelled["state"], "cancelled", "{said:?}");
        assert_eq!(spend(&stage, &shim, &id, &using(&question)).await.1["state"], "cancelled");
    }
}

async fn the_end_of_a_session_takes_back_what_it_holds_and_leaves_what_is_parked(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let held = ask(&stage, &shim, &question(&shim, "a", &["one"])).await["id"].clone();
    let parked = ask(&stage, &shim, &question(&shim, "b", &["later"])).await["id"].clone();
    let end = json!({ "exit_code": 75 });
    let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let ann = somebody("ann", &["dba"]);
    let said = decide(&stage.app, &ann, &held, true, "").await;
    assert!(matches!(said, Err(NotDecided::Settled(ApprovalState::Cancelled))), "{said:?}");
    assert_eq!(decide(&stage.app, &ann, &parked, true, "").await.unwrap(), ApprovalState::Granted);
    let record = stage.text(&shim).await;
    assert_eq!(record.matches(r#""state":"cancelled""#).count(), 1, "{record}");
}

async fn a_later_run_of_the_same_job_goes_through_once(on: On) {
    let stage = stage(on).await;
    let first = stage.session().await;
    let asked = question(&first, "TRUNCATE a", &["later"]);
    let id = ask(&stage, &first, &asked).await["id"].clone();
    let end = json!({ "exit_code": 75 });
    stage.as_shim(&first, Method::POST, "/v1/session/end", &end).await;
    let second = stage.session().await;
    let again = question(&second, "TRUNCATE a", &["later"]);
    let waits = ask(&stage, &second, &again).await;
    assert_eq!((&waits["id"], &waits["state"]), (&id, &json!("waiting")));
    decide(&stage.app, &somebody("ann", &["dba"]), &id, true, "").await.unwrap();
    assert_eq!(ask(&stage, &second, &again).await["state"], "granted");
    // Another statement of the same job asks for itself, and another resource cannot have it.
    let other = question(&second, "TRUNCATE b", &["later"]);
    assert_ne!(ask(&stage, &second, &other).await["id"], id);
    assert_eq!(spend(&stage, &second, &id, &using(&other)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(spend(&stage, &second, &id, &using(&again)).await.1["state"], "used");
    let record = stage.text(&second).await;
    assert!(record.contains("approval-used") && record.contains(&first.id), "{record}");
    let third = stage.session().await;
    let once_more = ask(&stage, &third, &question(&third, "TRUNCATE a", &["later"])).await;
    assert_eq!(once_more["state"], "waiting");
    assert_ne!(once_more["id"], id, "it counted once");
}

async fn an_enforcement_point_cannot_say_who_decides(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let mut lie = question(&shim, "DELETE FROM users", &["one"]);
    lie["terms"] = json!([{ "rule": "one", "from": ["everybody"], "count": 0, "within_secs": 9, "wait": "park", "reason_required": false }]);
    lie["approvers"] = json!(["everybody"]);
    let id = ask(&stage, &shim, &lie).await["id"].clone();
    let said = decide(&stage.app, &somebody("eve", &["everybody"]), &id, true, "").await;
    assert!(matches!(said, Err(NotDecided::NotAsked(_))), "{said:?}");
    for rules in [json!([]), json!(["all"]), json!(["nobody"]), json!(["one", "one"])] {
        let mut other = question(&shim, "x", &[]);
        other["rules"] = rules;
        let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/approvals", &other).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    }
    // A job cannot ask for what a gateway enforces, nor under a gateway's name.
    let mut other = question(&shim, "x", &["one"]);
    other["resource"] = "orders".into();
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/approvals", &other).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let mut other = question(&shim, "x", &["one"]);
    other["writer"] = "eu-1-near-1".into();
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/approvals", &other).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

async fn a_session_that_asks_too_much_is_refused(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    for n in 0..16 {
        ask(&stage, &shim, &question(&shim, &format!("DELETE {n}"), &["one"])).await;
    }
    let more = question(&shim, "DELETE more", &["one"]);
    let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/approvals", &more).await;
    assert_eq!((status, &answer["error"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too-many")));
}

async fn asking_twice_is_asking_once(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let asked = question(&shim, "DELETE FROM users", &["one"]);
    let first = ask(&stage, &shim, &asked).await;
    assert_eq!(ask(&stage, &shim, &asked).await["id"], first["id"]);
    assert_eq!(stage.text(&shim).await.matches("approval-asked").count(), 1);
    // The id of another request is not a way to its answer.
    let mut other = question(&shim, "DELETE FROM other", &["one"]);
    other["id"] = asked["id"].clone();
    let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/approvals", &other).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
}

async fn a_request_in_which_text_and_digest_differ_is_refused(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    for (name, value) in [
        ("text", json!("DELETE FROM users WHERE id = 1")),
        ("text_digest", json!(Digest::of("something else"))),
        ("text_bytes", json!(3)),
        ("text", json!("x".repeat(70_000))),
        ("parameters", json!([{ "form": "null" }])),
        ("label", json!("x".repeat(300))),
    ] {
        let mut lie = question(&shim, "DELETE FROM users", &["one"]);
        lie["subject"][name] = value;
        let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/approvals", &lie).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{name}: {answer}");
    }
}

async fn who_waits_is_woken_by_another_brokers_decision(on: On) {
    let stage = stage(on).await;
    let shim = stage.session().await;
    let other = match on {
        On::Postgres => stage.replica().await,
        On::Sqlite => stage.app.clone(),
    };
    let id = ask(&stage, &shim, &question(&shim, "DELETE", &["one"])).await["id"].clone();
    let started = std::time::Instant::now();
    let ann = somebody("ann", &["dba"]);
    let (state, said) =
        tokio::join!(state(&stage, &shim, &id, 20), decide(&other, &ann, &id, true, ""));
    said.unwrap();
    assert_eq!(state, "granted");
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
