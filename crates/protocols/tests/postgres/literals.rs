//! Statements that differ in literals only: understood once, and none of them taken for what it is not.

use guard_audit::Event;
use guard_core::TlsMode;

use super::{
    attacks::Script,
    stage::{Raw, Stage},
};

const POLICY: &str = "
policy: test
rules:
  - name: some
    sql: { effects: [read, insert, session, transaction] }
    decide: allow
  - name: few
    sql: { effects: [delete, update], bounded: true }
    decide: allow
masks:
  - sql: { columns: [public.users.email] }
    with: redact
";
const SEED: &str = "CREATE TABLE users (id int PRIMARY KEY, name text, email text); \
    INSERT INTO users VALUES (1, 'ann', 's3cret'), (2, 'bob', 's3cret'), (3, 'cid', 's3cret')";

async fn stage() -> Stage {
    Stage::new(POLICY, TlsMode::Disable, SEED).await
}

async fn ask(raw: &mut Raw, text: &str) -> String {
    raw.send(&Script::default().query(text).0).await;
    raw.until_ready().await
}

#[tokio::test]
async fn each_statement_is_in_the_record_with_what_was_sent() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    // The first text loads the catalog, and is read itself.
    assert!(ask(&mut raw, "SELECT 1").await.ends_with("ZI"));
    let texts = ["SELECT name FROM users WHERE id = 1", "SELECT name FROM users WHERE id = 2;"];
    for text in texts {
        assert!(ask(&mut raw, text).await.ends_with("ZI"));
    }
    let events = stage.events.lock().unwrap();
    let mut operations = 0;
    let mut own = Vec::new();
    for event in events.iter() {
        match event {
            Event::Operation { text, .. } if text.reveal().contains("users") => {
                operations += 1;
                assert_eq!(&**text.reveal(), "SELECT name FROM users WHERE id = $1");
            }
            Event::Statement { text: Some(text), .. } => own.push(text.reveal().to_string()),
            _ => {}
        }
    }
    assert_eq!((operations, own.as_slice()), (1, &texts.map(str::to_owned)[..]));
}

#[tokio::test]
async fn masks_hold_for_every_literal() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    for id in 1..4 {
        let answer = ask(&mut raw, &format!("SELECT email FROM users WHERE id = {id}")).await;
        assert!(answer.contains("D") && !answer.contains("s3cret"), "{answer}");
    }
}

#[tokio::test]
async fn a_literal_that_limits_nothing_is_not_taken_for_one_that_does() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    for _ in 0..2 {
        let answer = ask(&mut raw, "DELETE FROM users WHERE id > 7").await;
        assert!(answer.starts_with('C'), "{answer}");
        let answer = ask(&mut raw, "DELETE FROM users WHERE id > -1").await;
        assert!(answer.starts_with("E:"), "{answer}");
        let text = "WITH d AS (DELETE FROM users WHERE id > -1 RETURNING 1) SELECT 1 WHERE 1 < 5";
        let answer = ask(&mut raw, text).await;
        assert!(answer.starts_with("E:"), "{answer}");
    }
    let left = stage.postgres.sql("shop", "SELECT count(*) FROM users").unwrap();
    assert_eq!(left.trim(), "3");
}

#[tokio::test]
async fn a_literal_that_names_a_setting_is_looked_at() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let text = |name: &str| {
        format!("SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = '{name}'")
    };
    for _ in 0..2 {
        let answer = ask(&mut raw, &text("standard_conforming_strings")).await;
        assert!(answer.starts_with("E:"), "{answer}");
    }
}

#[tokio::test]
async fn what_was_made_under_a_name_is_seen_whatever_the_literal() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let text = |id: u8| format!("SELECT x FROM shown WHERE id = {id}");
    assert_eq!(ask(&mut raw, &text(1)).await, "E:42P01 ZI");
    stage.postgres.sql("shop", "CREATE VIEW shown AS SELECT id, email AS x FROM users").unwrap();
    let answer = ask(&mut raw, &text(2)).await;
    assert!(answer.contains("D") && !answer.contains("s3cret"), "{answer}");
}
