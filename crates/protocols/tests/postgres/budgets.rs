//! Budgets against clients that send what they like.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
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

#[tokio::test]
async fn a_batch_is_one_transaction_up_to_its_sync() {
    let stage = stage("changes_per_transaction: 5").await;
    let highest = || stage.postgres.sql("shop", "SELECT max(n) FROM target").unwrap();
    let mut raw = stage.raw().await;
    let batch = |sql: [&str; 3]| {
        let add = |script: Script, sql: &&str| script.parse("", sql).bind("", "", 0).execute("");
        sql.iter().fold(Script::default(), add).sync()
    };
    stage.postgres.sql("shop", "INSERT INTO target VALUES (1), (1), (1)").unwrap();
    let three = "UPDATE target SET n = n + 1";
    raw.send(&batch([three, "SELECT n FROM many LIMIT 1", three]).0).await;
    let answer = raw.until_ready().await;
    assert_eq!(answer, "1 2 C:UPDATE 3 1 2 D:1 C:SELECT 1 1 2 E:53400 ZI");
    assert_eq!(highest(), "1");
    // Between them the transaction ends, and another begins.
    for between in ["COMMIT", "ROLLBACK"] {
        raw.send(&batch(["BEGIN", three, between]).0).await;
        assert!(raw.until_ready().await.ends_with(&format!("C:{between} ZI")));
    }
    assert_eq!(ask(&mut raw, three).await, "C:UPDATE 3 ZI");
    assert_eq!(ask(&mut raw, &format!("{three}; {three}")).await, "C:UPDATE 3 E:53400 ZI");
    assert_eq!(highest(), "3");
    // Going back to a savepoint does not begin a transaction.
    ask(&mut raw, "BEGIN; SAVEPOINT s").await;
    assert_eq!(ask(&mut raw, three).await, "C:UPDATE 3 ZT");
    assert_eq!(ask(&mut raw, "ROLLBACK TO s").await, "C:ROLLBACK ZT");
    assert_eq!(ask(&mut raw, three).await, "E:53400 ZE");
    assert_eq!(ask(&mut raw, "ROLLBACK").await, "C:ROLLBACK ZI");
}

#[tokio::test]
async fn masked_copies_are_counted() {
    let policy = "policy: p\nbudgets: { BUDGET }\nrules:\n  - name: all\n    \
                  sql: { effects: \"*\", certainty: [exact, partial] }\n    decide: allow\n\
                  masks:\n  - sql: { columns: [public.people.email] }\n    with: redact\n";
    let seed = "CREATE TABLE people AS SELECT n, 'a@example.org'::text AS email FROM generate_series(1, 50) n";
    for (budget, answer) in [
        ("rows_per_statement: 5", "? ? ? ? ? ? E:53400 ZI"),
        ("rows_per_session: 3", "? ? ? ? E:53400 ZI"),
        ("bytes_per_statement: 40B", "? ? ? E:53400 ZI"),
    ] {
        let stage = Stage::new(&policy.replace("BUDGET", budget), TlsMode::Disable, seed).await;
        let mut raw = stage.raw().await;
        assert_eq!(ask(&mut raw, "COPY people TO STDOUT").await, answer, "{budget}");
    }
    // The line of names is no row.
    let five = policy.replace("BUDGET", "rows_per_statement: 5");
    let stage = Stage::new(&five, TlsMode::Disable, seed).await;
    let mut raw = stage.raw().await;
    let names = "COPY people TO STDOUT WITH (FORMAT csv, HEADER)";
    assert_eq!(ask(&mut raw, names).await, "? ? ? ? ? ? ? E:53400 ZI");
}

#[tokio::test]
async fn no_savepoint_keeps_what_is_over_a_budget() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    let many = "INSERT INTO target SELECT n FROM many";
    for before in ["BEGIN; ", "BEGIN; SAVEPOINT r; "] {
        ask(&mut raw, &format!("{before}{many}; SAVEPOINT s")).await;
        ask(&mut raw, "ROLLBACK TO SAVEPOINT s").await;
        ask(&mut raw, "COMMIT").await;
        assert_eq!(target(&stage), "0", "{before}");
    }
    let some = "BEGIN; SAVEPOINT s; INSERT INTO target VALUES (1); RELEASE s";
    assert_eq!(ask(&mut raw, some).await, "C:BEGIN C:SAVEPOINT C:INSERT 0 1 C:RELEASE ZT");
    assert_eq!(ask(&mut raw, "COMMIT").await, "C:COMMIT ZI");
}

#[tokio::test]
async fn a_transaction_whose_beginning_is_not_answered_yet_is_not_committed() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    let begin = Script::default().parse("", "BEGIN").bind("", "", 0).execute("");
    raw.send(&begin.query("INSERT INTO target VALUES (1)").0).await;
    assert_eq!(raw.until_ready().await, "1 2 C:BEGIN E:42501 ZE");
    assert_eq!(ask(&mut raw, "ROLLBACK").await, "C:ROLLBACK ZI");
    assert_eq!(target(&stage), "0");
    let one = Script::default().parse("", "SELECT 1").bind("", "", 0).execute("").sync();
    raw.send(&one.0).await;
    assert_eq!(raw.until_ready().await, "1 2 D:1 C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "INSERT INTO target VALUES (1)").await, "C:INSERT 0 1 ZI");

    // Nor is one whose end is not answered yet believed to go on.
    assert_eq!(ask(&mut raw, "BEGIN").await, "C:BEGIN ZT");
    let commit = Script::default().parse("", "COMMIT").bind("", "", 0).execute("");
    raw.send(&commit.query("INSERT INTO target SELECT n FROM many").0).await;
    assert_eq!(raw.until_ready().await, "1 2 C:COMMIT E:42501 ZI");
    assert_eq!(target(&stage), "1");
}

#[tokio::test]
async fn a_change_behind_a_portal_is_not_fetched_by_name() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    let change = "INSERT INTO target SELECT n FROM many RETURNING n";
    for fetch in ["MOVE 1 FROM p", "FETCH 1 FROM p"] {
        let script = Script::default().parse("", change).bind("p", "", 0).query(fetch);
        raw.send(&script.0).await;
        assert_eq!(raw.until_ready().await, "1 2 E:42501 ZI", "{fetch}");
        ask(&mut raw, "BEGIN").await;
        let script = Script::default().parse("", change).bind("p", "", 0).sync().query(fetch);
        raw.send(&script.0).await;
        assert_eq!(raw.until_ready().await, "1 2 ZT");
        assert_eq!(raw.until_ready().await, "E:42501 ZE", "{fetch}");
        ask(&mut raw, "COMMIT").await;
    }
    assert_eq!(target(&stage), "0");
}

#[tokio::test]
async fn a_table_that_an_explanation_makes_is_not_filled_uncounted() {
    let stage = stage("rows_per_statement: 5").await;
    let mut raw = stage.raw().await;
    for text in [
        "EXPLAIN ANALYZE CREATE TABLE made AS SELECT * FROM many",
        "EXPLAIN (ANALYZE) SELECT * INTO made FROM many",
        "EXPLAIN ANALYZE CREATE MATERIALIZED VIEW made AS SELECT * FROM many",
    ] {
        assert_eq!(ask(&mut raw, text).await, "E:42501 ZI", "{text}");
    }
    assert!(
        ask(&mut raw, "EXPLAIN CREATE TABLE made AS SELECT * FROM many").await.starts_with("T D:")
    );
}

#[tokio::test]
async fn a_call_by_number_does_not_escape_the_clock() {
    let stage = stage("time_per_statement: 1s").await;
    let mut raw = stage.raw().await;
    let mut call = BytesMut::new();
    call.put_u8(b'F');
    call.put_i32(4 + 4 + 2 + 2 + 2 + 4 + 8 + 2);
    // pg_sleep, with one binary argument.
    call.put_i32(2626);
    call.put_i16(1);
    call.put_i16(1);
    call.put_i16(1);
    call.put_i32(8);
    call.put_f64(20.0);
    call.put_i16(1);
    raw.send(&call).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), raw.until_ready()).await;
    assert_eq!(answer.as_deref(), Ok("E:42501 ZI"));
}

#[tokio::test]
async fn words_of_the_server_are_bytes_too() {
    let stage = stage("bytes_per_statement: 100kB").await;
    let mut raw = stage.raw().await;
    let notices =
        "DO $$ BEGIN FOR n IN 1..500 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $$";
    let said = ask(&mut raw, notices).await;
    assert!(said.ends_with("E:53400 ZI") && said.matches('N').count() < 100, "{said}");
    let error = "SELECT repeat('x', 200000)::int";
    assert_eq!(ask(&mut raw, error).await, "E:53400 ZI");
    ask(&mut raw, "LISTEN c").await;
    assert_eq!(ask(&mut raw, "SELECT 1/0").await, "E:22012 ZI");
}

#[tokio::test]
async fn notifications_are_bytes_of_the_session() {
    let stage = stage("bytes_per_session: 100kB").await;
    let mut raw = stage.raw().await;
    ask(&mut raw, "LISTEN c").await;
    let told =
        ask(&mut raw, "SELECT count(pg_notify('c', repeat('x', 7000) || n)) FROM many").await;
    let told = [told, ask(&mut raw, "SELECT 1").await].join(" ");
    assert!(told.matches("A:").count() < 15 && told.ends_with("E:53400 ZI"), "{}", told.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_no_statement_beyond_its_time() {
    let stage = stage("time_per_statement: 1s").await;
    let mut raw = stage.raw().await;
    let endless = "SELECT repeat('x', 1000) FROM generate_series(1, 2000000000)";
    raw.send(&Script::default().query(endless).0).await;
    let over = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'leased' AND state = 'idle' \
                AND query LIKE '%generate_series%'";
    let began = Instant::now();
    while stage.postgres.sql("shop", over).unwrap() == "0" {
        assert!(began.elapsed() < Duration::from_secs(20), "it runs on");
        tokio::task::yield_now().await;
    }
    assert!(raw.until_ready().await.ends_with("E:57014 ZI"));
}
