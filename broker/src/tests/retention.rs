//! Records that are deleted when nothing keeps them, and never while something does.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use guard_audit::tlog::{self, Leaf};
use guard_core::Timestamp;
use serde_json::Value;

use super::{
    log::{end, leaves, proof},
    stage::{On, Shim, Stage, on_both_stores},
};
use crate::store::{Buried, Hold};

on_both_stores!(
    what_is_due_is_deleted_and_the_log_stays_verifiable,
    what_is_held_is_never_deleted,
    a_deletion_that_broke_off_is_taken_to_its_end_and_told_once,
    what_is_not_sealed_or_not_in_the_log_is_not_deleted,
);

async fn stage(on: On, retention: &str) -> Stage {
    let mut stage = Stage::on(on).await;
    let path = stage.folder.path().join("guard.yaml");
    let config = std::fs::read_to_string(&path).unwrap() + "retention: " + retention + "\n";
    std::fs::write(path, config).unwrap();
    stage.restart().await;
    stage
}

/// A session that ended so many days ago, with its record at rest and in the log.
async fn ended(stage: &Stage, days: i64) -> Shim {
    let shim = stage.session().await;
    end(stage, &shim).await;
    let sessions = &stage.app.sessions;
    sessions.log.add_pending().await.unwrap();
    sessions.records().file(shim.id.parse().unwrap()).await.unwrap();
    let at = Timestamp::now().as_millisecond() - days * 86_400_000;
    let text = format!("UPDATE sessions SET ended_at = {at} WHERE id = '{}'", shim.id);
    sessions.store.change_for_test(Box::leak(text.into_boxed_str())).await;
    shim
}

async fn record(stage: &Stage, shim: &Shim) -> (StatusCode, Value) {
    stage.as_shim(shim, Method::GET, "/v1/session/record", &Value::Null).await
}

/// Waits until there are so many files: a broker that wrote the same record at the same time takes its own away.
async fn files(stage: &Stage, wanted: usize) {
    let folder = stage.folder.path().join("recordings");
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let reached = async {
        while std::fs::read_dir(&folder).map_or(0, Iterator::count) != wanted {
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("other files are left");
}

async fn what_is_due_is_deleted_and_the_log_stays_verifiable(on: On) {
    let stage = stage(
        on,
        "{ records: 30d, rules: [ { trust_rule: other, keep: 1d }, { repository: acme/shop, resource: nowhere, keep: 1d } ] }",
    )
    .await;
    let (old, young) = (ended(&stage, 31).await, ended(&stage, 29).await);
    let (text, before) = (stage.text(&old).await, proof(&stage.app, &old).await);
    let sessions = &stage.app.sessions;
    sessions.delete_due().await.unwrap();
    let (status, answer) = record(&stage, &old).await;
    assert_eq!((status, &answer["error"]), (StatusCode::GONE, &"deleted".into()));
    let today = Timestamp::now().strftime("%Y-%m-%d").to_string();
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains(&format!("deleted under retention on {today}")), "{message}");
    assert_eq!(record(&stage, &young).await.0, StatusCode::OK);
    assert!(
        sessions
            .store
            .parts(old.id.parse().unwrap(), 0)
            .await
            .map_or(true, |parts| parts.is_empty())
    );
    files(&stage, 1).await;
    // A copy that somebody kept is verified as before, also against the newest tree, which tells of the deletion.
    let after = proof(&stage.app, &old).await;
    let key = sessions.public_key();
    for proof in [&before, &after] {
        tlog::verify_bundle(text.as_bytes(), proof, &[key], None).unwrap();
    }
    let told = leaves(&stage.app).await;
    let told = told.iter().filter(
        |leaf| matches!(leaf, Leaf::Deleted { session, .. } if session.to_string() == old.id),
    );
    assert_eq!(told.count(), 1);
    // Nothing is left to do.
    let size = leaves(&stage.app).await.len();
    sessions.delete_due().await.unwrap();
    assert_eq!(leaves(&stage.app).await.len(), size);
}

async fn what_is_held_is_never_deleted(on: On) {
    let stage = stage(on, "{ records: 1d }").await;
    let sessions = &stage.app.sessions;
    let shim = ended(&stage, 100).await;
    let id = shim.id.parse().unwrap();
    let hold = |kind: &str, value: &str| Hold {
        id: kind.into(),
        kind: kind.into(),
        value: value.into(),
        reason: "case 17".into(),
        since: Timestamp::now(),
    };
    for hold in
        [hold("session", &shim.id), hold("repository", "acme/shop"), hold("unheard-of", "x")]
    {
        sessions.store.hold(&hold).await.unwrap();
        sessions.delete_due().await.unwrap();
        assert_eq!(record(&stage, &shim).await.0, StatusCode::OK, "{hold:?}");
        let by_hand = crate::sessions::Sessions::delete_with(
            &sessions.store,
            &sessions.log,
            sessions.records(),
            id,
            "by hand",
        );
        assert!(matches!(by_hand.await, Ok(Buried::Held(_))), "{hold:?}");
        assert!(sessions.store.release_hold(&hold.id).await.unwrap());
    }
    sessions.store.hold(&hold("repository", "acme/other")).await.unwrap();
    sessions.delete_due().await.unwrap();
    assert_eq!(record(&stage, &shim).await.0, StatusCode::GONE);
}

async fn a_deletion_that_broke_off_is_taken_to_its_end_and_told_once(on: On) {
    let mut stage = stage(on, "{ records: 1000y }").await;
    let shim = ended(&stage, 1).await;
    let id = shim.id.parse().unwrap();
    // Decided, told, and then the broker dies; and the next one, behind the file.
    assert_eq!(stage.app.sessions.store.bury(id, "a test").await.unwrap(), Buried::Yes);
    let tombstone = stage.app.sessions.store.tombstone(id).await.unwrap().unwrap();
    let leaf = Leaf::Deleted { session: id, at: tombstone.deleted_at, reason: "a test".into() };
    stage.app.sessions.log.add_once(&leaf).await.unwrap();
    stage.restart().await;
    // What a broker was writing when it died goes as well.
    std::fs::write(stage.folder.path().join(format!("recordings/.{id}.new")), "begun").unwrap();
    stage.app.sessions.records().delete(id).await.unwrap();
    stage.restart().await;
    stage.app.sessions.delete_due().await.unwrap();
    assert_eq!(record(&stage, &shim).await.0, StatusCode::GONE);
    files(&stage, 0).await;
    // A broker that still wanted to bring it to the recordings does not bring it back.
    stage.app.sessions.records().file(id).await.unwrap();
    files(&stage, 0).await;
    let told = leaves(&stage.app).await;
    assert_eq!(told.iter().filter(|found| **found == leaf).count(), 1);
}

async fn what_is_not_sealed_or_not_in_the_log_is_not_deleted(on: On) {
    let stage = stage(on, "{ records: 1d }").await;
    let store = &stage.app.sessions.store;
    let live = stage.session().await;
    assert_eq!(store.bury(live.id.parse().unwrap(), "x").await.unwrap(), Buried::NotYet);
    let shim = ended(&stage, 10).await;
    let text = format!("UPDATE sessions SET logged = 0 WHERE id = '{}'", shim.id);
    store.change_for_test(Box::leak(text.into_boxed_str())).await;
    assert_eq!(store.bury(shim.id.parse().unwrap(), "x").await.unwrap(), Buried::NotYet);
    let nobody = "0192a1b2-0000-7000-8000-000000000001".parse().unwrap();
    assert_eq!(store.bury(nobody, "x").await.unwrap(), Buried::NotYet);
}

#[test]
fn a_retention_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.yaml");
    for (retention, problem) in [
        ("{ records: 0d }", "expected a number of days"),
        ("{ records: 400 }", "expected a number of days"),
        ("{ records: 45m }", "expected a number of days"),
        ("{ records: 9999999999y }", "expected a number of days"),
        ("{ rules: [ { keep: 7y } ] }", "about every record"),
        ("{ rules: [ { trust_rule: x } ] }", "keep"),
        ("{ forever: true }", "forever"),
    ] {
        std::fs::write(&path, format!("retention: {retention}\n")).unwrap();
        let problems = crate::config::load(&path).unwrap_err().to_string();
        assert!(problems.contains(problem), "{retention}: {problems}");
    }
}
