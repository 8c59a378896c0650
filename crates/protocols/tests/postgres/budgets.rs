//! Budgets against clients that send what they like.

use std::time::{Duration, Instant};

use guard_core::TlsMode;

use super::{
    attacks::Script,
    stage::{Raw, Stage},
};

async fn stage(budgets: &str) -> Stage {
    let policy = format!(
        "policy: p\nbudgets: {{ {budgets} }}\nrules:\n  - name: all\n    \
         sql: {{ effects: \"*\", certainty: \"*\" }}\n    decide: allow\n"
    );
    let seed =
        "CREATE TABLE many AS SELECT n FROM generate_series(1, 50) n; CREATE TABLE target (n int)";
    Stage::new(&policy, TlsMode::Disable, seed).await
}

async fn ask(raw: &mut Raw, text: &str) -> String {
    raw.send(&Script::default().query(text).0).await;
    raw.until_ready().await
}

fn target(stage: &Stage) -> String {
    stage.postgres.sql("shop", "SELECT count(*) FROM target").unwrap()
}

#[tokio::test]
async fn slices_of_a_portal_are_one_statement() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    let script = Script::default()
        .parse("", "SELECT n FROM many ORDER BY n")
        .bind("p", "", 0)
        .execute_some("p", 2)
        .execute_some("p", 2)
        .execute_some("p", 2)
        .execute_some("p", 2)
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 2 D:1 D:2 s D:3 D:4 s D:5 E:53400 ZI");
    assert_eq!(ask(&mut raw, "SELECT 1").await, "T D:1 C:SELECT 1 ZI");
}

#[tokio::test]
async fn a_change_whose_rows_would_be_counted_too_late_is_refused() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    let change = "INSERT INTO target SELECT n FROM many RETURNING n";
    let script = Script::default().parse("", change).bind("", "", 0).execute_some("", 1).sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 2 E:42501 ZI");
    // A driver that wants no rows asks for one.
    let script = Script::default()
        .parse("", "INSERT INTO target SELECT 1")
        .bind("", "", 0)
        .execute_some("", 1)
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 2 C:INSERT 0 1 ZI");
    assert_eq!(target(&stage), "1");
}

#[tokio::test]
async fn a_pipeline_stops_at_the_statement_that_is_over_and_undoes_its_batch() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    let one = |script: Script, text: &str| script.parse("", text).bind("", "", 0).execute("");
    let mut script = one(Script::default(), "INSERT INTO target VALUES (1)").sync();
    script = one(script, "INSERT INTO target VALUES (2)");
    script = one(script, "INSERT INTO target SELECT n FROM many");
    script = one(script, "INSERT INTO target VALUES (3)").sync();
    script = one(script, "INSERT INTO target VALUES (4)").sync();
    raw.send(&script.query("SELECT count(*) FROM target").0).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(raw.until_ready().await);
    }
    let expected = [
        "1 2 C:INSERT 0 1 ZI",
        "1 2 C:INSERT 0 1 1 2 E:53400 ZI",
        "1 2 C:INSERT 0 1 ZI",
        "T D:2 C:SELECT 1 ZI",
    ];
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn a_message_of_several_statements_is_undone_with_the_one_that_is_over() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    for (text, answer) in [
        ("INSERT INTO target VALUES (1); SELECT 2", "C:INSERT 0 1 T D:2 C:SELECT 1 ZI"),
        (
            "INSERT INTO target VALUES (1); INSERT INTO target SELECT n FROM many; SELECT 2",
            "C:INSERT 0 1 E:53400 ZI",
        ),
        ("INSERT INTO target VALUES (1); SELECT 1/0", "C:INSERT 0 1 E:22012 ZI"),
        ("BEGIN; INSERT INTO target SELECT n FROM many", "C:BEGIN E:53400 ZE"),
        ("COMMIT", "C:ROLLBACK ZI"),
        ("INSERT INTO target SELECT n FROM many; COMMIT", "E:42501 ZI"),
        ("SELECT 1", "T D:1 C:SELECT 1 ZI"),
    ] {
        assert_eq!(ask(&mut raw, text).await, answer, "{text}");
    }
    assert_eq!(target(&stage), "1");
}

#[tokio::test]
async fn what_nobody_understands_and_calls_by_number_are_not_counted_and_refused() {
    let stage = stage("bytes_per_session: 1MB").await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "SET standard_conforming_strings = off").await, "C:SET ? ZI");
    assert_eq!(ask(&mut raw, r"SELECT 'a\'; SELECT b'; SELECT 2").await, "E:42501 ZI");
}

#[tokio::test]
async fn what_runs_out_of_time_is_cancelled_and_nothing_after_it_is() {
    let stage = stage("time_per_statement: 1s").await;
    let mut raw = stage.raw().await;
    let began = Instant::now();
    let script = Script::default()
        .parse("", "SELECT pg_sleep(30)")
        .bind("", "", 0)
        .execute("")
        .sync()
        .parse("", "SELECT pg_sleep(0.3)")
        .bind("", "", 0)
        .execute("")
        .sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "1 2 E:57014 ZI");
    assert_eq!(raw.until_ready().await, "1 2 D: C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "SELECT pg_sleep(30); SELECT 1").await, "T E:57014 ZI");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(ask(&mut raw, "COPY target FROM STDIN; SELECT 1").await, "G E:57014 ZI");
}

#[tokio::test]
async fn a_goodbye_does_not_undo_what_was_sent_before_it() {
    for budgets in ["statements_per_minute: 100", "rows_per_statement: 5"] {
        let stage = stage(budgets).await;
        let mut raw = stage.raw().await;
        let one = "INSERT INTO target SELECT 1 FROM pg_sleep(0.3)";
        let script =
            Script::default().query(one).query(one).parse("", one).bind("", "", 0).execute("");
        let mut bytes = script.sync().0;
        postgres_protocol::message::frontend::terminate(&mut bytes);
        raw.send(&bytes).await;
        while raw.receive().await.is_some() {}
        assert_eq!(target(&stage), "3", "{budgets}");
    }
}
