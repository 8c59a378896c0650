//! The list of runs: rows that are written with sessions and completed from their records.

use axum::http::{Method, StatusCode};
use guard_core::{SessionId, Timestamp};
use serde_json::{Value, json};

use super::stage::{On, Shim, Stage, on_both_stores};
use crate::store::{Decided, RunFilter, RunRow, RunState, Standing};

on_both_stores!(
    a_run_is_listed_from_its_start_and_completed_by_its_record,
    runs_are_found_by_what_they_are_and_did,
    a_page_follows_another_without_a_gap,
    what_one_broker_began_another_completes,
    records_from_before_the_list_are_read,
    rules_are_counted_once_whichever_broker_reads_a_record,
);

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn id(shim: &Shim) -> SessionId {
    shim.id.parse().unwrap()
}

/// What a shim reports of two statements: a read, masked or not, and a change that was refused or not.
pub(super) fn events(masked: u64, refused: bool) -> Vec<Value> {
    let operation = |number: u64, text: &str, verb: &str| {
        json!({ "type": "operation", "operation": number, "resource": "near", "label": "SQL", "text": text,
            "fingerprint": DIGEST, "effects": [{ "verb": verb, "object": { "kind": "table", "name": { "schema": "public", "name": "users" } },
            "bounded": "yes" }], "certainty": { "level": "exact" }, "decision": "allow", "rule": "all", "trace": [], "masks": [] })
    };
    let mut all = vec![
        json!({ "type": "connected", "connection": 0, "resource": "near", "enforced_at": "shim", "point": "shim",
            "client": "psql", "database": "orders" }),
        operation(0, "SELECT email FROM users WHERE id = 7", "read"),
        json!({ "type": "statement", "statement": 0, "connection": 0, "operation": 0, "phase": "execute" }),
        json!({ "type": "finished", "statement": 0, "rows": 3, "bytes": 40, "masked": masked, "micros": 9 }),
    ];
    if refused {
        all.push(operation(1, "DELETE FROM users", "delete"));
        all.push(json!({ "type": "refused", "statement": 1, "connection": 0, "operation": 1,
            "denial": { "code": "rule", "what": "blocked DELETE on `public.users`", "rule": "all", "policy": "reads",
                "detail": null, "hint": null } }));
    }
    all
}

pub(super) async fn report(stage: &Stage, shim: &Shim, events: &[Value]) {
    let batch =
        json!({ "session": shim.id, "writer": "shim-near-1", "first": 0, "events": events });
    let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/record", &batch).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

pub(super) async fn end(stage: &Stage, shim: &Shim, code: i32) {
    let body = json!({ "exit_code": code });
    let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/session/end", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

async fn run(stage: &Stage, shim: &Shim) -> RunRow {
    stage.app.sessions.store.run(id(shim)).await.unwrap().expect("a run")
}

/// Waits until whoever looks after sessions has read the record.
pub(super) async fn completed(stage: &Stage, shim: &Shim) -> RunRow {
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(20));
    let waiting = async {
        loop {
            let found = run(stage, shim).await;
            if found.state == RunState::Done {
                return found;
            }
            stage.app.sessions.complete_runs().await.unwrap();
            pause.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.expect("in time")
}

async fn a_run_is_listed_from_its_start_and_completed_by_its_record(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let live = run(&stage, &shim).await;
    assert_eq!(live.state, RunState::Live);
    assert_eq!((live.repository.as_str(), live.trust_rule.as_str()), ("acme/shop", "nightly"));
    let grant = |resource: &str| (resource.to_owned(), "reads".to_owned());
    assert_eq!(live.grants, [grant("near"), grant("orders")]);
    assert!(live.started_at.duration_since(Timestamp::now()).as_secs().abs() < 60);

    report(&stage, &shim, &events(2, true)).await;
    end(&stage, &shim, 3).await;
    let done = completed(&stage, &shim).await;
    assert_eq!((done.reason.as_deref(), done.exit_code), (Some("finished"), Some(3)));
    assert_eq!(done.whole.as_deref(), Some("verified"));
    let counts = done.counts;
    assert_eq!((counts.statements, counts.refused, counts.masked, counts.rows), (1, 1, 2, 3));
    assert!(done.ended_at.is_some());
}

async fn runs_are_found_by_what_they_are_and_did(on: On) {
    let stage = Stage::on(on).await;
    let (clean, masked, blocked) =
        (stage.session().await, stage.session().await, stage.session().await);
    report(&stage, &clean, &events(0, false)).await;
    report(&stage, &masked, &events(1, false)).await;
    report(&stage, &blocked, &events(0, true)).await;
    for shim in [&clean, &masked, &blocked] {
        end(&stage, shim, 0).await;
        completed(&stage, shim).await;
    }
    let live = stage.session().await;
    let all = [&live, &blocked, &masked, &clean].map(id);
    let minute =
        |minutes: i64| Timestamp::from_second(Timestamp::now().as_second() + minutes * 60).ok();
    let text = |text: &str| Some(text.to_owned());
    let any = RunFilter::default;
    let cases: Vec<(&str, RunFilter, Vec<SessionId>)> = vec![
        ("all", any(), all.to_vec()),
        ("blocked", RunFilter { decided: Some(Decided::Blocked), ..any() }, vec![id(&blocked)]),
        ("masked", RunFilter { decided: Some(Decided::Masked), ..any() }, vec![id(&masked)]),
        ("clean", RunFilter { decided: Some(Decided::Clean), ..any() }, vec![id(&clean)]),
        ("approved", RunFilter { decided: Some(Decided::Approved), ..any() }, vec![]),
        ("would block", RunFilter { decided: Some(Decided::WouldBlock), ..any() }, vec![]),
        ("budget", RunFilter { decided: Some(Decided::OverBudget), ..any() }, vec![]),
        ("live", RunFilter { standing: Some(Standing::Live), ..any() }, vec![id(&live)]),
        ("over", RunFilter { standing: Some(Standing::Over), ..any() }, all[1..].to_vec()),
        ("repository", RunFilter { repository: text("ACME/"), ..any() }, all.to_vec()),
        ("no pattern", RunFilter { repository: text("a%p"), ..any() }, vec![]),
        ("no wildcard", RunFilter { repository: text("acme_shop"), ..any() }, vec![]),
        ("resource", RunFilter { resource: text("orders"), ..any() }, all.to_vec()),
        ("another", RunFilter { resource: text("order"), ..any() }, vec![]),
        ("policy", RunFilter { policy: text("reads"), ..any() }, all.to_vec()),
        ("rule", RunFilter { trust_rule: text("nightly"), ..any() }, all.to_vec()),
        ("no rule", RunFilter { trust_rule: text("' OR 1=1 --"), ..any() }, vec![]),
        ("actor", RunFilter { actor: text("nobody"), ..any() }, vec![]),
        ("since", RunFilter { since: minute(-5), until: minute(5), ..any() }, all.to_vec()),
        ("later", RunFilter { since: minute(5), ..any() }, vec![]),
        ("earlier", RunFilter { until: minute(-5), ..any() }, vec![]),
    ];
    for (name, filter, expected) in cases {
        let store = &stage.app.sessions.store;
        let found = store.find_runs(&filter, None, 50).await.unwrap();
        let ids: Vec<_> = found.runs.iter().map(|run| run.id).collect();
        assert_eq!(ids, expected, "{name}");
        assert_eq!(
            store.count_runs(&filter).await.unwrap(),
            (expected.len() as u64, false),
            "{name}"
        );
    }
    // The last run that was green, of which only `clean` and `masked` are.
    let newest = run(&stage, &live).await;
    let green = stage.app.sessions.store.green_before(&newest).await.unwrap();
    assert_eq!(green, Some(id(&masked)));
    let oldest = run(&stage, &clean).await;
    assert_eq!(stage.app.sessions.store.green_before(&oldest).await.unwrap(), None);
}

async fn a_page_follows_another_without_a_gap(on: On) {
    let stage = Stage::on(on).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.insert(0, id(&stage.session().await));
    }
    let store = &stage.app.sessions.store;
    let (mut seen, mut behind) = (Vec::new(), None);
    loop {
        let page = store.find_runs(&RunFilter::default(), behind, 2).await.unwrap();
        assert!(page.runs.len() <= 2);
        seen.extend(page.runs.iter().map(|run| run.id));
        behind = page.next;
        if behind.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
}

async fn what_one_broker_began_another_completes(on: On) {
    let mut stage = Stage::on(on).await;
    let shim = stage.session().await;
    report(&stage, &shim, &events(0, true)).await;
    end(&stage, &shim, 0).await;
    stage.restart().await;
    assert_eq!(completed(&stage, &shim).await.counts.refused, 1);
    // Once more changes nothing.
    stage.app.sessions.store.reopen_run(id(&shim)).await.unwrap();
    assert_eq!(completed(&stage, &shim).await.counts.refused, 1);
}

async fn records_from_before_the_list_are_read(on: On) {
    let stage = Stage::on(on).await;
    let (old, live) = (stage.session().await, stage.session().await);
    report(&stage, &old, &events(0, true)).await;
    end(&stage, &old, 0).await;
    completed(&stage, &old).await;
    let step = match on {
        On::Sqlite => include_str!("../../migrations/sqlite/0007_runs.sql"),
        On::Postgres => include_str!("../../migrations/postgres/0006_runs.sql"),
    };
    let before = "DROP TABLE runs; DROP INDEX grants_by_resource; DROP INDEX grants_by_policy;";
    stage.app.sessions.store.change_for_test(before).await;
    stage.app.sessions.store.change_for_test(step).await;
    let done = completed(&stage, &old).await;
    assert_eq!((done.counts.refused, done.repository.as_str()), (1, "acme/shop"));
    let live = run(&stage, &live).await;
    assert_eq!((live.state, live.git_ref.as_str()), (RunState::Live, "refs/heads/main"));
}

/// The rules of `reads` that met something, each with its statements and runs; `None`: all that were counted.
async fn counted(stage: &Stage) -> Vec<(Option<String>, u64, u64)> {
    let policy = guard_core::PolicyName::new("reads").unwrap();
    let mut found: Vec<_> = stage
        .app
        .sessions
        .store
        .matched_rules(&policy)
        .await
        .unwrap()
        .into_iter()
        .map(|one| (one.rule.map(|rule| rule.to_string()), one.statements, one.runs))
        .collect();
    found.sort();
    found
}

async fn rules_are_counted_once_whichever_broker_reads_a_record(on: On) {
    let mut stage = Stage::on(on).await;
    assert_eq!(counted(&stage).await, []);
    let (first, second, idle) =
        (stage.session().await, stage.session().await, stage.session().await);
    report(&stage, &first, &events(0, true)).await;
    // What decided it, and what an effect of it met besides.
    let mut met = events(0, false);
    met[1]["trace"] = json!([
        { "effect": null, "rule": "other", "decision": "allow", "why": "it may" },
        { "effect": null, "rule": "all", "decision": "allow", "why": "it may" },
    ]);
    report(&stage, &second, &met).await;
    for shim in [&first, &second, &idle] {
        end(&stage, shim, 0).await;
        completed(&stage, shim).await;
    }
    let rule = |name: &str| Some(name.to_owned());
    let expected = [(None, 0_u64, 3_u64), (rule("all"), 3, 2), (rule("other"), 1, 1)];
    assert_eq!(counted(&stage).await, expected);
    // Read again, also by another broker, nothing is counted twice.
    stage.app.sessions.store.reopen_run(id(&first)).await.unwrap();
    stage.restart().await;
    completed(&stage, &first).await;
    assert_eq!(counted(&stage).await, expected);
}
