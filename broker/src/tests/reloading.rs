//! Policies, trust rules and resources that change while sessions live.

use std::process::Command;

use axum::http::{Method, StatusCode};
use guard_tests::{
    Programs, http,
    process::{Process, free_port},
};
use serde_json::json;

use super::{
    platforms::THUMBPRINT,
    stage::{On, Shim, Stage, URL, on_both_stores},
};
use crate::{config, reload::Reload, sessions::end_older_policies};

on_both_stores!(
    a_session_keeps_the_policy_that_it_was_given,
    what_is_no_longer_given_ends_and_the_record_says_why,
    a_broken_file_changes_nothing,
    what_needs_a_restart_is_refused_whole,
    a_push_ends_the_sessions_with_an_older_text,
    a_lock_is_a_part_of_its_policy,
    a_session_that_begins_while_its_grant_is_taken_away_is_over,
);

const STRICTER: &str = "policy: reads\nrules:\n  \
     - { name: none, sql: { effects: [read] }, decide: block, say: closed }\n";

fn reload(stage: &Stage) -> Reload {
    let path = stage.folder.path().join("guard.yaml");
    Reload::new(stage.app.sessions.clone(), None, Some(path))
}

fn write(stage: &Stage, name: &str, text: &str) {
    std::fs::write(stage.folder.path().join(name), text).unwrap();
}

fn replace(stage: &Stage, name: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(stage.folder.path().join(name)).unwrap();
    assert!(text.contains(from), "{text}");
    write(stage, name, &text.replace(from, to));
}

/// Looks until a change is taken up: once to see it, once to see that it stays.
async fn look(reload: &mut Reload) {
    reload.look().await;
    reload.look().await;
}

async fn policy(stage: &Stage, shim: &Shim) -> Result<String, StatusCode> {
    let ask = json!({ "resource": "near" });
    let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/session/enforce", &ask).await;
    if status != StatusCode::OK {
        return Err(status);
    }
    Ok(answer["policy"]["yaml"].as_str().unwrap().to_owned())
}

/// The last entry of its record, after it was taken to its end.
async fn end_of(stage: &Stage, shim: &Shim) -> String {
    let session = stage.open(shim).await.unwrap();
    stage.app.sessions.look(1).await.unwrap();
    stage.app.sessions.sealed(&session).await.unwrap();
    stage.text(shim).await
}

async fn a_session_keeps_the_policy_that_it_was_given(on: On) {
    let stage = Stage::on(on).await;
    let mut reload = reload(&stage);
    let before = stage.session().await;
    write(&stage, "policies/p.yaml", STRICTER);
    // A change that may be half of one waits.
    reload.look().await;
    assert_ne!(policy(&stage, &stage.session().await).await.unwrap(), STRICTER);
    reload.look().await;
    assert_eq!(policy(&stage, &stage.session().await).await.unwrap(), STRICTER);
    assert!(policy(&stage, &before).await.unwrap().contains("decide: allow"));
}

async fn what_is_no_longer_given_ends_and_the_record_says_why(on: On) {
    let cases = [
        ("trust/t.yaml", "456789", "456780", "no trust rule gives it"),
        (
            "trust/t.yaml",
            "resource: near, policy: reads",
            "resource: near, policy: other",
            "`near` by policy `reads`",
        ),
        (
            "trust/t.yaml",
            "    - { resource: near, policy: reads, for: 45m }\n",
            "",
            "no trust rule gives it",
        ),
    ];
    let stage = Stage::on(on).await;
    write(&stage, "policies/other.yaml", &STRICTER.replace("policy: reads", "policy: other"));
    let mut reload = reload(&stage);
    for (file, from, to, why) in cases {
        let before = std::fs::read_to_string(stage.folder.path().join(file)).unwrap();
        let shim = stage.session().await;
        replace(&stage, file, from, to);
        look(&mut reload).await;
        assert_eq!(policy(&stage, &shim).await, Err(StatusCode::GONE), "{to}");
        let record = end_of(&stage, &shim).await;
        assert!(record.contains("\"revoked\"") && record.contains(why), "{record}");
        write(&stage, file, &before);
        look(&mut reload).await;
    }
}

async fn a_broken_file_changes_nothing(on: On) {
    let stage = Stage::on(on).await;
    let mut reload = reload(&stage);
    let shim = stage.session().await;
    write(&stage, "policies/p.yaml", STRICTER);
    write(&stage, "policies/q.yaml", "policy: [\n");
    look(&mut reload).await;
    // Nothing of it is in use, not even what was right.
    assert!(policy(&stage, &stage.session().await).await.unwrap().contains("decide: allow"));
    assert!(policy(&stage, &shim).await.is_ok());
    let said = stage.app.sessions.store.brokers().await.unwrap();
    assert!(said[0].problem.as_ref().unwrap().contains("q.yaml"), "{said:?}");
    // Mended by a file that the configuration before did not have.
    std::fs::remove_file(stage.folder.path().join("policies/q.yaml")).unwrap();
    look(&mut reload).await;
    assert_eq!(policy(&stage, &stage.session().await).await.unwrap(), STRICTER);
    assert!(stage.app.sessions.store.brokers().await.unwrap()[0].problem.is_none());
    // A folder that is gone, with every policy in it, is a mistake and no wish.
    std::fs::remove_dir_all(stage.folder.path().join("trust")).unwrap();
    look(&mut reload).await;
    assert!(policy(&stage, &shim).await.is_ok());
}

async fn what_needs_a_restart_is_refused_whole(on: On) {
    let stage = Stage::on(on).await;
    let mut reload = reload(&stage);
    write(&stage, "policies/p.yaml", STRICTER);
    replace(&stage, "guard.yaml", "listen: 127.0.0.1:8440", "listen: 127.0.0.1:8441");
    look(&mut reload).await;
    let said = stage.app.sessions.store.brokers().await.unwrap();
    assert_eq!(
        said[0].problem.as_deref(),
        Some("`listen` can be changed by a restart only"),
        "{said:?}"
    );
    assert!(policy(&stage, &stage.session().await).await.unwrap().contains("decide: allow"));
}

async fn a_push_ends_the_sessions_with_an_older_text(on: On) {
    let stage = Stage::on(on).await;
    let mut reload = reload(&stage);
    let before = stage.session().await;
    write(&stage, "policies/p.yaml", STRICTER);
    look(&mut reload).await;
    let after = stage.session().await;
    let config = config::load(&stage.folder.path().join("guard.yaml")).unwrap();
    let store = stage.replica_store().await;
    assert_eq!(end_older_policies(&store, &config).await.unwrap(), 1);
    assert_eq!(policy(&stage, &before).await, Err(StatusCode::GONE));
    assert!(policy(&stage, &after).await.is_ok());
    assert!(end_of(&stage, &before).await.contains("another text of policy `reads` was pushed"));
}

async fn a_lock_is_a_part_of_its_policy(on: On) {
    const LOCK: &str = "lock: guard-lock/1\n";
    let stage = Stage::on(on).await;
    let mut reload = reload(&stage);
    let named = "lock: { file: reads.lock.yaml, unlisted: block }\n";
    write(&stage, "policies/p.yaml", &format!("{STRICTER}{named}"));
    // Without its file it does not load.
    look(&mut reload).await;
    let said = stage.app.sessions.store.brokers().await.unwrap();
    assert!(said[0].problem.as_ref().unwrap().contains("reads.lock.yaml"), "{said:?}");
    write(&stage, "policies/reads.lock.yaml", LOCK);
    look(&mut reload).await;
    let shim = stage.session().await;
    let ask = json!({ "resource": "near" });
    let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/session/enforce", &ask).await;
    assert_eq!((status, answer["policy"]["lock"].as_str()), (StatusCode::OK, Some(LOCK)));
    // A broken one changes nothing, another one is another policy.
    write(&stage, "policies/reads.lock.yaml", "lock: guard-lock/2\n");
    look(&mut reload).await;
    let said = stage.app.sessions.store.brokers().await.unwrap();
    assert!(said[0].problem.as_ref().unwrap().contains("reads.lock.yaml:1:7"), "{said:?}");
    assert!(policy(&stage, &shim).await.is_ok());
    write(&stage, "policies/reads.lock.yaml", &format!("{LOCK}rows_tolerance: 3\n"));
    look(&mut reload).await;
    let config = config::load(&stage.folder.path().join("guard.yaml")).unwrap();
    let store = stage.replica_store().await;
    assert_eq!(end_older_policies(&store, &config).await.unwrap(), 1);
    assert_eq!(policy(&stage, &shim).await, Err(StatusCode::GONE));
}

async fn a_session_that_begins_while_its_grant_is_taken_away_is_over(on: On) {
    let stage = Stage::on(on).await;
    let old = stage.app.sessions.config();
    replace(&stage, "trust/t.yaml", "456789", "456780");
    look(&mut reload(&stage)).await;
    let mut again = reload(&stage);
    again.again().await;
    // An exchange that began with the configuration before.
    let token = stage.token();
    let run =
        stage.app.issuers.verify(&token, THUMBPRINT, guard_core::Timestamp::now()).await.unwrap();
    let ask = guard_policy::Request { resources: Vec::new() };
    let admission = old.trust.admit(&run.identity, &ask, guard_core::Timestamp::now()).unwrap();
    let opened = stage.app.sessions.open(&old, run, admission, "thumbprint".into()).await.unwrap();
    let state = stage.app.sessions.store.state(opened.info.id).await.unwrap().unwrap();
    assert_eq!(state.ended.unwrap().0, guard_core::EndReason::Revoked);
}

#[test]
fn the_programs_take_changes_up_while_they_run() {
    let stage = tokio::runtime::Runtime::new().unwrap().block_on(Stage::new());
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let metrics = format!("127.0.0.1:{}", free_port().unwrap());
    let both = format!("listen: {listen}\nmetrics: {metrics}");
    replace(&stage, "guard.yaml", "listen: 127.0.0.1:8440", &both);
    let broker = Programs::built().unwrap().broker;
    let config = stage.folder.path().join("guard.yaml");
    let mut command = Command::new(&broker);
    command.arg("serve").arg("--config").arg(&config);
    let log = stage.folder.path().join("broker.log");
    let mut running = Process::start("guard-broker", &mut command, &log).unwrap();
    let ready = format!("http://{metrics}/readyz");
    let answers = || http::get(&ready, &[]).is_ok_and(|answer| answer.status == 200);
    running.wait_until("ready broker", answers).unwrap();
    let reload = |arguments: &[&str]| {
        let mut command = Command::new(&broker);
        let output = command.arg("reload").args(arguments).arg("--config").arg(&config).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let metric = |name: &str| {
        let answer = http::get(&format!("http://{metrics}/metrics"), &[]).unwrap();
        answer.body.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    assert!(reload(&[]).1.contains("runs by these files"));
    write(&stage, "policies/p.yaml", STRICTER);
    let (code, said) = reload(&["--push"]);
    assert_eq!((code, said.lines().last()), (Some(0), Some("ended 0 sessions")), "{said}");
    // What needs a restart is refused, also after SIGHUP, and the broker goes on.
    replace(&stage, "guard.yaml", URL, "http://127.0.0.1:8441");
    let (code, said) = reload(&["--push"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`url`, `audience` can be changed by a restart only"), "{said}");
    let hangup = Command::new("kill").args(["-HUP", &running.pid().to_string()]).status();
    assert!(hangup.unwrap().success());
    let refused = "guard_reloads_total{what=\"configuration\",outcome=\"refused\"}";
    running.wait_until("second refusal", || metric(refused) == Some(2_u64)).unwrap();
    assert_eq!(metric("guard_configuration_current"), Some(0));
    assert!(answers());
}
