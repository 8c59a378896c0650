//! Rules that bound how many rows the planner expects, before a real one.

use guard_audit::Event;
use guard_core::TlsMode;
use tokio_postgres::types::Type;

use super::{
    attacks::Script,
    stage::{PASSWORD, Raw, Stage},
};

const POLICY: &str = "
policy: test
rules:
  - name: few
    sql: { effects: [read, insert, update, delete], rows: 100 }
    decide: allow
  - name: rest
    sql: { effects: [session, config, transaction, create, alter, drop, lock] }
    decide: allow
";
const SEED: &str = "CREATE TABLE many AS SELECT n AS id, n % 10 AS kind, n % 10 AS same FROM generate_series(1, 10000) n; \
    CREATE TABLE little AS SELECT n AS id FROM generate_series(1, 20) n; \
    CREATE SCHEMA app; CREATE TABLE app.things AS TABLE little; CREATE TABLE things AS TABLE many; \
    ANALYZE";

async fn stage() -> Stage {
    Stage::new(POLICY, TlsMode::Disable, SEED).await
}

async fn ask(raw: &mut Raw, text: &str) -> String {
    raw.send(&Script::default().query(text).0).await;
    raw.until_ready().await
}

fn count(stage: &Stage, table: &str) -> String {
    stage.postgres.sql("shop", &format!("SELECT count(*) FROM {table}")).unwrap()
}

/// Of each DELETE, UPDATE, INSERT and so on: whether it went on, and the estimate.
fn recorded(stage: &Stage) -> Vec<(bool, Option<u64>)> {
    let events = stage.events.lock().unwrap();
    let of = |event: &Event| match event {
        Event::Statement { estimated_rows, .. } => Some((true, *estimated_rows)),
        Event::Refused { estimated_rows, .. } => Some((false, *estimated_rows)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[tokio::test]
async fn what_the_planner_expects_decides() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let refused = "E:42501 ZI";
    for (text, expected) in [
        ("DELETE FROM many WHERE id <= 5000", refused),
        ("DELETE FROM many WHERE id <= 50", "C:DELETE 50 ZI"),
        ("DELETE FROM many WHERE id <= 5001", refused),
        ("DELETE FROM many", refused),
        ("UPDATE many SET kind = 3 WHERE id < 80", "C:UPDATE 29 ZI"),
        ("UPDATE many SET kind = 3 WHERE id > 80", refused),
        (
            "DELETE FROM many WHERE id < 60 RETURNING id > 55",
            "T D:f D:f D:f D:f D:f D:t D:t D:t D:t C:DELETE 9 ZI",
        ),
        ("INSERT INTO little SELECT id FROM many", refused),
        ("INSERT INTO little SELECT id FROM little", "C:INSERT 0 20 ZI"),
        ("INSERT INTO little VALUES (1), (2)", "C:INSERT 0 2 ZI"),
        ("WITH gone AS (DELETE FROM many RETURNING 1) SELECT 1", refused),
        (
            "WITH gone AS (DELETE FROM many WHERE id < 70 RETURNING 1) SELECT count(*) FROM gone",
            "T D:10 C:SELECT 1 ZI",
        ),
        (
            "MERGE INTO many USING little ON many.id = little.id WHEN MATCHED THEN DELETE",
            "C:MERGE 0 ZI",
        ),
        (
            "MERGE INTO little USING many ON many.id = little.id WHEN NOT MATCHED THEN INSERT VALUES (1)",
            refused,
        ),
        ("SELECT 1", "T D:1 C:SELECT 1 ZI"),
        ("SELECT count(*) FROM many", "T D:9931 C:SELECT 1 ZI"),
        ("SELECT id FROM many", refused),
        ("SELECT id FROM many WHERE id = 100", "T D:100 C:SELECT 1 ZI"),
        ("SELECT id FROM many ORDER BY id LIMIT 1", "T D:70 C:SELECT 1 ZI"),
        ("COPY many TO STDOUT", refused),
        ("COPY (SELECT id FROM many) TO STDOUT", refused),
        ("COPY (SELECT id FROM many WHERE id = 100) TO STDOUT", "? ? ? C:COPY 1 ZI"),
        ("CREATE TABLE copied AS SELECT id FROM many", refused),
        ("CREATE TABLE copied AS SELECT id FROM little", "C:SELECT 42 ZI"),
        ("SELECT id INTO again FROM many", refused),
        ("SELECT id INTO again FROM little", "C:SELECT 42 ZI"),
        ("CREATE TABLE empty AS SELECT id FROM many WITH NO DATA", refused),
        ("SELECT nothing FROM many", refused),
        ("SELECT id FROM nothing", refused),
    ] {
        assert_eq!(ask(&mut raw, text).await, expected, "{text}");
    }
    assert_eq!(
        ask(&mut raw, "BEGIN; DELETE FROM many WHERE id = 71; COMMIT").await,
        "C:BEGIN C:DELETE 1 C:COMMIT ZI"
    );
    assert_eq!(ask(&mut raw, "BEGIN; DELETE FROM many; COMMIT").await, refused);
    // A refusal fails the transaction, as any error does.
    assert_eq!(ask(&mut raw, "BEGIN").await, "C:BEGIN ZT");
    assert_eq!(ask(&mut raw, "DELETE FROM many").await, "E:42501 ZE");
    assert_eq!(ask(&mut raw, "ROLLBACK").await, "C:ROLLBACK ZI");
    assert_eq!(count(&stage, "many"), "9930");
}

#[tokio::test]
async fn the_record_says_what_the_planner_expected() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    for text in
        ["DELETE FROM little", "DELETE FROM little", "DELETE FROM many", "BEGIN", "ROLLBACK"]
    {
        ask(&mut raw, text).await;
    }
    let found = recorded(&stage);
    assert_eq!(found[0], (true, Some(20)));
    // Nothing is kept: the table is empty now, as far as the planner sees.
    assert!(found[1].0 && found[1].1.is_some(), "{found:?}");
    assert_eq!(found[2..], [(false, Some(10_000)), (true, None), (true, None)]);
    let said = stage.psql("DELETE FROM many").await;
    assert!(
        said.contains("the server's planner expects 10000 rows")
            && said.contains("at most 100 rows"),
        "{said}"
    );
    let said = stage.psql("EXECUTE nothing").await;
    assert!(said.contains("GRD-21"), "{said}");
}

#[tokio::test]
async fn parameters_count_with_their_values() {
    let stage = stage().await;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(stage.port).user("x").password(PASSWORD).dbname("shop");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let text = "DELETE FROM many WHERE id < $1";
    let untyped = client.prepare(text).await.unwrap();
    let typed = client.prepare_typed(text, &[Type::INT8]).await.unwrap();
    let words = client.prepare_typed("DELETE FROM many WHERE id < $1::text::int", &[Type::TEXT]);
    let words = words.await.unwrap();
    for (few, all) in [(10, 9_000), (20, 8_000)] {
        assert!(client.execute(&untyped, &[&all]).await.is_err(), "{all}");
        client.execute(&untyped, &[&few]).await.unwrap();
        let (few, all) = (i64::from(few) + 5, i64::from(all));
        assert!(client.execute(&typed, &[&all]).await.is_err(), "{all}");
        assert_eq!(client.execute(&typed, &[&few]).await.unwrap(), 5);
        let (few, all) = (few.to_string(), all.to_string());
        assert!(client.execute(&words, &[&all]).await.is_err(), "{all}");
        client.execute(&words, &[&few]).await.unwrap();
    }
    assert_eq!(count(&stage, "many"), "9976");
}

#[tokio::test]
async fn cursors_are_about_what_they_can_return() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    ask(&mut raw, "BEGIN").await;
    assert_eq!(
        ask(&mut raw, "DECLARE c CURSOR FOR SELECT id FROM little").await,
        "C:DECLARE CURSOR ZT"
    );
    assert_eq!(ask(&mut raw, "FETCH 1 FROM c").await, "T D:1 C:FETCH 1 ZT");
    assert_eq!(ask(&mut raw, "MOVE 1 FROM c").await, "C:MOVE 1 ZT");
    let portal = Script::default().parse("", "SELECT id FROM little").bind("p", "", 0);
    raw.send(&portal.execute_some("p", 1).sync().0).await;
    assert_eq!(raw.until_ready().await, "1 2 D:1 s ZT");
    assert_eq!(ask(&mut raw, "DECLARE d CURSOR FOR SELECT id FROM many").await, "E:42501 ZE");
    ask(&mut raw, "ROLLBACK").await;
    // Prepared by SQL, its arguments would be computed by asking.
    ask(&mut raw, "PREPARE q AS DELETE FROM little").await;
    assert_eq!(ask(&mut raw, "EXECUTE q").await, "E:42501 ZI");
    let script = Script::default().bind("", "q", 0).execute("").sync();
    raw.send(&script.0).await;
    assert_eq!(raw.until_ready().await, "2 E:42501 ZI");
    assert_eq!(count(&stage, "little"), "20");
}

#[tokio::test]
async fn where_the_planner_would_read_something_else_there_is_no_estimate() {
    let stage = stage().await;
    let delete = "DELETE FROM things";
    for before in [
        // The planner would look at the small one.
        "SET search_path = app",
        "SELECT set_config('search_path', 'app', false)",
        "BEGIN; CREATE TABLE fresh (a int)",
        "BEGIN; ALTER TABLE things ADD b int",
        "CREATE TEMPORARY TABLE things (a int)",
        "SET row_security = off",
        "SET enable_partition_pruning = off",
        "SET my.own = '1'",
        "CREATE TYPE colour AS ENUM ('red')",
    ] {
        // To start with, it is about the large one, and the small one passes.
        let mut raw = stage.raw().await;
        assert_eq!(ask(&mut raw, delete).await, "E:42501 ZI");
        assert_eq!(
            ask(&mut raw, "BEGIN; DELETE FROM app.things; ROLLBACK").await,
            "C:BEGIN C:DELETE 20 C:ROLLBACK ZI"
        );
        let said = ask(&mut raw, before).await;
        assert!(!said.contains("E:"), "{before}: {said}");
        for text in [delete, "DELETE FROM app.things"] {
            let said = ask(&mut raw, text).await;
            assert!(said.starts_with("E:42501"), "{before}: {text}: {said}");
            if said.ends_with("ZE") {
                ask(&mut raw, "ROLLBACK").await;
                ask(&mut raw, before).await;
            }
        }
        drop(raw);
        let _ = stage.postgres.sql("shop", "DROP TYPE IF EXISTS colour");
    }
    let mut raw = stage.raw().await;
    let both = "SET search_path = app; DELETE FROM things";
    assert_eq!(ask(&mut raw, both).await, "E:42501 ZI");
    let before = Script::default().parse("", "SET TimeZone = 'UTC'").bind("", "", 0).execute("");
    let batch = before.parse("", "DELETE FROM little").bind("", "", 0).execute("").sync();
    raw.send(&batch.0).await;
    assert_eq!(raw.until_ready().await, "1 2 C:SET 1 2 E:42501 ZI");
    assert_eq!(
        (count(&stage, "things"), count(&stage, "app.things")),
        ("10000".into(), "20".into())
    );
}

#[tokio::test]
async fn what_the_server_reports_or_does_not_matter_is_no_difference() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    for text in [
        "SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'SQL, DMY'",
        "SET statement_timeout = '1min'",
        "SET extra_float_digits = 3",
        "SET client_encoding = 'UTF8'",
        "RESET TimeZone",
        "SHOW search_path",
        "DISCARD ALL",
    ] {
        assert!(!ask(&mut raw, text).await.contains("E:"), "{text}");
        assert_eq!(ask(&mut raw, "UPDATE little SET id = 1").await, "C:UPDATE 20 ZI", "{text}");
    }
    // Literals are read as the client's are: the first of February, not the second of January.
    stage.postgres.sql("shop", "CREATE TABLE days AS SELECT '2026-01-15'::date + n % 2 AS day FROM generate_series(1, 1000) n; ANALYZE days").unwrap();
    let text = "SELECT FROM days WHERE day > '01/02/2026'";
    ask(&mut raw, "SET DateStyle = 'ISO, MDY'").await;
    assert_eq!(ask(&mut raw, text).await, "E:42501 ZI");
    ask(&mut raw, "SET DateStyle = 'ISO, DMY'").await;
    assert_eq!(ask(&mut raw, text).await, "T C:SELECT 0 ZI");
    // And so are those of a connection that begins otherwise.
    let (mut raw, _) = stage
        .raw_with(&[("user", "x"), ("database", "shop"), ("options", "-c search_path=app")])
        .await;
    assert_eq!(ask(&mut raw, "DELETE FROM things").await, "C:DELETE 20 ZI");
}

/// Planning computes functions that are not VOLATILE.
#[tokio::test]
async fn asking_runs_nothing_that_the_policy_does_not_allow_and_writes_nothing() {
    let functions = "CREATE TABLE seen (a int); CREATE SEQUENCE told; \
        CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (1); RETURN 1; END'; \
        CREATE FUNCTION lies() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN writes(); END'; \
        CREATE FUNCTION waits() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1000); RETURN 1; END'";
    let with_call = POLICY.replace("[session,", "[call, session,");
    for (policy, asked) in [(POLICY, false), (&with_call, true)] {
        let stage = Stage::new(policy, TlsMode::Disable, &format!("{SEED}; {functions}")).await;
        let mut raw = stage.raw().await;
        for function in ["lies", "waits"] {
            let text = format!("DELETE FROM little WHERE id = {function}()");
            assert_eq!(ask(&mut raw, &text).await, "E:42501 ZI", "{function}");
        }
        assert_eq!((count(&stage, "seen"), count(&stage, "little")), ("0".into(), "20".into()));
        let planner =
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'ROLLBACK' AND usename = 'leased'";
        assert_eq!(stage.postgres.sql("shop", planner).unwrap() == "1", asked);
    }
}

#[tokio::test]
async fn a_lock_of_the_clients_own_is_not_waited_for() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "BEGIN; LOCK TABLE little").await, "C:BEGIN C:LOCK TABLE ZT");
    assert_eq!(ask(&mut raw, "DELETE FROM little").await, "E:42501 ZE");
    assert_eq!(ask(&mut raw, "ROLLBACK").await, "C:ROLLBACK ZI");
    assert_eq!(ask(&mut raw, "DELETE FROM little").await, "C:DELETE 20 ZI");
}

#[tokio::test]
async fn a_planner_whose_connection_is_gone_is_asked_again() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    let text = "UPDATE little SET id = 1";
    assert_eq!(ask(&mut raw, text).await, "C:UPDATE 20 ZI");
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
        WHERE application_name = 'guard' AND usename = 'leased' AND query = 'ROLLBACK'";
    assert_eq!(stage.postgres.sql("shop", end).unwrap(), "1");
    assert_eq!(ask(&mut raw, text).await, "C:UPDATE 20 ZI");
}

#[tokio::test]
async fn an_estimate_that_is_too_low_does_not_get_past_a_budget() {
    let budget = format!("{POLICY}budgets: {{ rows_per_statement: 100 }}\n");
    for (condition, rows) in [
        // Two columns that say the same are taken for independent: 1000 rows, and 100 expected.
        ("kind = 3 AND same = 3", 1000),
        // Always true, and taken for one in 200.
        ("id % 1 = 0", 10_000),
        // True on the client's connection only.
        (
            "id < CASE current_setting('application_name') WHEN 'guard' THEN 5 ELSE 50000 END",
            10_000,
        ),
    ] {
        let text = format!("DELETE FROM many WHERE {condition}");
        for (policy, expected) in
            [(POLICY, format!("C:DELETE {rows} ZI")), (&budget, "E:53400 ZI".into())]
        {
            let policy = policy.replace("rows: 100 }", "rows: 150 }");
            let stage = Stage::new(&policy, TlsMode::Disable, SEED).await;
            let mut raw = stage.raw().await;
            assert_eq!(ask(&mut raw, &text).await, expected, "{condition}");
        }
    }
}

/// Of a table that was never analysed the planner knows how long its file is.
#[tokio::test]
async fn a_table_without_statistics_is_guessed_at() {
    let seed = "CREATE TABLE fresh AS SELECT n AS id FROM generate_series(1, 100000) n";
    let stage = Stage::new(POLICY, TlsMode::Disable, seed).await;
    let known = "SELECT reltuples FROM pg_class WHERE relname = 'fresh'";
    assert_eq!(stage.postgres.sql("shop", known).unwrap(), "-1");
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "DELETE FROM fresh").await, "E:42501 ZI");
    let found = recorded(&stage);
    assert!(matches!(found[..], [(false, Some(50_000..))]), "{found:?}");
}

#[tokio::test]
async fn an_observing_policy_lets_it_go_on_and_says_so() {
    let policy = format!("{POLICY}mode: observe\n");
    let stage = Stage::new(&policy, TlsMode::Disable, SEED).await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "DELETE FROM many").await, "C:DELETE 10000 ZI");
    assert_eq!(ask(&mut raw, "DELETE FROM little").await, "C:DELETE 20 ZI");
    let events = stage.events.lock().unwrap();
    let found = events.iter().filter_map(|event| match event {
        Event::Statement { would_refuse, estimated_rows, .. } => {
            Some((would_refuse.is_some(), *estimated_rows))
        }
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), [(true, Some(10_000)), (false, Some(20))]);
}
