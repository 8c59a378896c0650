//! Statements that wait for people: nothing of them is at the server before somebody said yes, and no way leads round that.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use guard_core::{ApprovalState, ShownParameter, TlsMode};
use postgres_protocol::message::frontend;

use super::stage::Stage;

const POLICY: &str = "policy: asks
rules:
  - { name: deletes, sql: { effects: [delete] }, decide: approve, approvers: [dba], within: 5m }
  - { name: secrets, sql: { effects: [read], tables: [public.secrets] }, decide: approve, approvers: [dba], within: 5m }
  - name: rest
    sql: { effects: [read, insert, create, transaction, session, call], certainty: [exact, partial] }
    decide: allow
";

const SEED: &str = "CREATE TABLE users (id int); INSERT INTO users SELECT generate_series(1, 10);
CREATE TABLE secrets (id int); INSERT INTO secrets VALUES (1);
CREATE FUNCTION wipe() RETURNS void LANGUAGE sql AS 'DELETE FROM public.users';
CREATE VIEW shown AS SELECT id FROM secrets;";

async fn stage() -> Stage {
    Stage::new(POLICY, TlsMode::Disable, SEED).await
}

fn query(text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::query(text, &mut out).unwrap();
    out
}

/// Parse, Bind with text parameters, Execute, Sync.
fn extended(text: &str, values: &[&str]) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::parse("", text, [], &mut out).unwrap();
    let bound = frontend::bind(
        "",
        "",
        [],
        values.iter().copied(),
        |value: &str, out: &mut BytesMut| {
            out.extend_from_slice(value.as_bytes());
            Ok(postgres_protocol::IsNull::No)
        },
        [],
        &mut out,
    );
    assert!(bound.is_ok());
    frontend::execute("", 0, &mut out).unwrap();
    frontend::sync(&mut out);
    out
}

fn users(stage: &Stage) -> String {
    stage.postgres.sql("shop", "SELECT count(*) FROM users").unwrap().trim().to_owned()
}

/// How many statements that delete the server has in hand.
fn at_the_server(stage: &Stage) -> String {
    let text = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE '%delete from users%' AND pid <> pg_backend_pid()";
    stage.postgres.sql("shop", text).unwrap().trim().to_owned()
}

#[tokio::test]
async fn nothing_is_sent_before_a_yes_and_the_client_is_told_where_to_ask() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&query("DELETE FROM users WHERE id = 1")).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    assert_eq!(raw.receive().await.unwrap(), "N");
    assert_eq!((users(&stage), at_the_server(&stage)), ("10".into(), "0".into()));
    stage.people.decide(ApprovalState::Granted);
    assert_eq!(raw.until_ready().await, "C:DELETE 1 ZI");
    assert_eq!(users(&stage), "9");
    // Once: the same again asks again, and a no is a refusal.
    raw.send(&query("DELETE FROM users WHERE id = 1")).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    stage.people.decide(ApprovalState::Refused);
    assert_eq!(raw.until_ready().await, "N E:42501 ZI");
    // The connection goes on.
    raw.send(&query("SELECT count(*) FROM users")).await;
    assert_eq!(raw.until_ready().await, "T D:9 C:SELECT 1 ZI");
}

#[tokio::test]
async fn what_was_asked_is_the_exact_statement_with_its_parameters() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&extended("DELETE FROM users WHERE id = $1::int", &["7"])).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    let first = stage.people.asked.borrow()[0].1.subject.clone();
    assert_eq!(first.text, "DELETE FROM users WHERE id = $1::int");
    assert_eq!(first.parameters, [ShownParameter::Text("7".into())]);
    stage.people.decide(ApprovalState::Granted);
    // The notice comes between any two messages of the server.
    assert_eq!(raw.until_ready().await.replace("N ", ""), "1 2 C:DELETE 1 ZI");
    raw.send(&extended("DELETE FROM users WHERE id = $1::int", &["8"])).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    let second = stage.people.asked.borrow()[1].1.subject.clone();
    assert_eq!(first.text_digest, second.text_digest);
    assert_ne!(first.details_digest, second.details_digest, "another parameter is another request");
    stage.people.decide(ApprovalState::Expired);
    assert_eq!(raw.until_ready().await.replace("N ", ""), "1 2 E:42501 ZI");
    assert_eq!(users(&stage), "9");
}

#[tokio::test]
async fn no_way_of_writing_it_gets_round_the_question() {
    let stage = stage().await;
    for way in [
        "DELETE FROM users",
        "SELECT 1; DELETE FROM users",
        "BEGIN; DELETE FROM users; COMMIT",
        "EXPLAIN ANALYZE DELETE FROM users",
        "PREPARE d AS DELETE FROM users; EXECUTE d",
        "WITH gone AS (DELETE FROM users RETURNING id) SELECT * FROM gone",
        "WITH gone AS (DELETE FROM users RETURNING id) INSERT INTO users SELECT id FROM gone",
        "COPY (DELETE FROM users RETURNING id) TO STDOUT",
        "SELECT wipe()",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM secrets",
        "COPY secrets TO STDOUT",
        "SELECT * FROM shown",
        "CREATE TABLE copied AS SELECT * FROM secrets",
        "TABLE secrets",
    ] {
        let before = stage.people.asked.borrow().len();
        let mut raw = stage.raw().await;
        raw.send(&query(way)).await;
        let mut asked = stage.people.asked.subscribe();
        let asking = asked.wait_for(|asked| asked.len() > before);
        let asking = tokio::time::timeout(std::time::Duration::from_secs(10), asking).await;
        // What is asked is locked while it is looked at: not longer than here.
        let asking = asking.is_ok_and(|asked| asked.is_ok());
        assert!(asking, "{way} was not asked about");
        assert_eq!(users(&stage), "10", "{way}");
        stage.people.decide(ApprovalState::Refused);
        let said = raw.until_ready().await;
        assert!(said.contains("E:42501") && !said.contains("C:"), "{way}: {said}");
        assert_eq!(users(&stage), "10", "{way}");
    }
}

#[tokio::test]
async fn who_decides_on_an_execute_sees_what_was_prepared() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&query("PREPARE d AS DELETE FROM users WHERE id = 1")).await;
    raw.until_ready().await;
    raw.send(&query("EXECUTE d")).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    let text = stage.people.texts().pop().unwrap();
    assert!(
        text.starts_with("EXECUTE d") && text.contains("DELETE FROM users WHERE id = 1"),
        "{text}"
    );
    let first = stage.people.asked.borrow()[0].1.subject.text_digest;
    stage.people.decide(ApprovalState::Refused);
    raw.until_ready().await;
    // The same words for something else are something else.
    raw.send(&query("DEALLOCATE d")).await;
    raw.until_ready().await;
    raw.send(&query("PREPARE d AS DELETE FROM users WHERE id > 1")).await;
    raw.until_ready().await;
    raw.send(&query("EXECUTE d")).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    assert_ne!(stage.people.asked.borrow()[1].1.subject.text_digest, first);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_question_back() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&query("DELETE FROM users")).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    let _ = raw.closed().await;
    stage.people.until(1, ApprovalState::Cancelled).await;
    // One that says goodbye and stays, too.
    let mut raw = stage.raw().await;
    let mut bytes = query("DELETE FROM users");
    frontend::terminate(&mut bytes);
    raw.send(&bytes).await;
    stage.people.until(2, ApprovalState::Cancelled).await;
    assert_eq!(users(&stage), "10");
}

#[tokio::test]
async fn the_end_of_the_session_is_the_end_of_the_wait() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&query("DELETE FROM users")).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    stage.end.send_replace(Some(guard_core::EndReason::Revoked));
    let said = raw.until_ready().await;
    assert!(said.contains("E:57P01"), "{said}");
    stage.people.until(1, ApprovalState::Cancelled).await;
    assert_eq!(users(&stage), "10");
}

#[tokio::test]
async fn a_cancel_request_takes_the_statement_back_and_nothing_else() {
    let stage = stage().await;
    let mut client = stage.client("psql");
    client.args(["-X", "-A", "-t", "-c", "DELETE FROM users", "-c", "SELECT 'still here'"]);
    client.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = client.spawn().unwrap();
    stage.people.until(1, ApprovalState::Waiting).await;
    // As Ctrl-C does.
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    stage.people.until(1, ApprovalState::Cancelled).await;
    let output =
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("took it back") || said.contains("GRD-2405"), "{said}");
    assert_eq!(users(&stage), "10");
}

#[tokio::test]
async fn what_is_parked_is_refused_at_once_and_goes_through_when_it_is_granted() {
    let stage = stage().await;
    stage.people.parks.store(true, Ordering::Relaxed);
    let said = stage.psql("DELETE FROM users WHERE id = 3").await;
    assert!(
        said.contains("GRD-2401") && said.contains("https://guard.example/approvals/1"),
        "{said}"
    );
    assert_eq!(users(&stage), "10");
    stage.people.decide(ApprovalState::Granted);
    assert!(stage.psql("DELETE FROM users WHERE id = 4").await.contains("GRD-2401"));
    assert_eq!(stage.psql("DELETE FROM users WHERE id = 3").await, "DELETE 1");
    assert!(stage.psql("DELETE FROM users WHERE id = 3").await.contains("GRD-2401"));
    assert_eq!(users(&stage), "9");
}

#[tokio::test]
async fn every_statement_of_a_message_is_asked_for_and_one_no_refuses_all() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    raw.send(&query("DELETE FROM users WHERE id = 1; DELETE FROM users WHERE id = 2")).await;
    stage.people.until(2, ApprovalState::Waiting).await;
    stage.people.asked.send_modify(|asked| asked[0].2 = ApprovalState::Granted);
    stage.people.asked.send_modify(|asked| asked[1].2 = ApprovalState::Refused);
    let said = raw.until_ready().await;
    assert!(said.ends_with("E:42501 ZI"), "{said}");
    stage.people.until(1, ApprovalState::Cancelled).await;
    assert_eq!(users(&stage), "10");
}

#[tokio::test]
async fn answers_to_what_came_before_are_not_held_back() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let mut bytes = BytesMut::new();
    frontend::parse("", "SELECT 1", [], &mut bytes).unwrap();
    let _ = frontend::bind(
        "",
        "",
        [],
        [""; 0],
        |_, _| Ok(postgres_protocol::IsNull::No),
        [],
        &mut bytes,
    );
    frontend::execute("", 0, &mut bytes).unwrap();
    bytes.extend_from_slice(&extended("DELETE FROM users WHERE id = $1::int", &["1"]));
    raw.send(&bytes).await;
    stage.people.until(1, ApprovalState::Waiting).await;
    let mut said = Vec::new();
    while said.last().map(String::as_str) != Some("2") || said.len() < 5 {
        let next = raw.receive().await.unwrap();
        if next != "N" {
            said.push(next);
        }
    }
    assert_eq!(said, ["1", "2", "D:1", "C:SELECT 1", "1", "2"]);
    stage.people.decide(ApprovalState::Granted);
    let rest = raw.until_ready().await;
    assert!(rest.ends_with("C:DELETE 1 ZI"), "{rest}");
}
