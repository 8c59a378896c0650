//! Definitions that change behind guard's back: what it knows of the catalog is never too old to judge by.

use guard_core::TlsMode;

use super::{
    attacks::{Script, stage},
    stage::{Raw, Stage},
};

async fn ask(raw: &mut Raw, text: &str) -> String {
    raw.send(&Script::default().query(text).0).await;
    raw.until_ready().await
}

/// Has guard look at the catalog again: it does so for any name that it does not know.
async fn look_again(raw: &mut Raw) {
    assert_eq!(ask(raw, "SELECT FROM nothing_of_that_name").await, "E:42P01 ZI");
}

fn others(stage: &Stage, text: &str) {
    stage.postgres.sql("shop", text).unwrap();
}

#[tokio::test]
async fn what_others_made_a_moment_ago_is_known_when_it_is_named() {
    let stage = stage().await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "SELECT email FROM users").await, "T D:[masked] C:SELECT 1 ZI");
    others(&stage, "CREATE VIEW fresh AS SELECT id, email AS e FROM users");
    assert_eq!(ask(&mut raw, "SELECT e FROM fresh").await, "T D:[masked] C:SELECT 1 ZI");
    others(&stage, "CREATE SCHEMA s; CREATE VIEW s.fresh2 AS SELECT e FROM fresh");
    assert_eq!(ask(&mut raw, "SELECT e FROM s.fresh2").await, "T D:[masked] C:SELECT 1 ZI");
    others(
        &stage,
        "CREATE FUNCTION wipe(users) RETURNS int LANGUAGE sql AS 'DELETE FROM keep; SELECT 1'",
    );
    for text in ["SELECT u.wipe FROM users u", "SELECT (u).wipe FROM users u"] {
        assert_eq!(ask(&mut raw, text).await, "E:42501 ZI", "{text}");
    }
    others(
        &stage,
        "CREATE FUNCTION act(int, int) RETURNS int LANGUAGE sql AS 'DELETE FROM keep; SELECT 1'; \
            CREATE OPERATOR @#@ (FUNCTION = act, LEFTARG = int, RIGHTARG = int)",
    );
    assert_eq!(ask(&mut raw, "SELECT 1 @#@ 2").await, "E:42501 ZI");
    others(
        &stage,
        "CREATE VIEW w AS SELECT 1 AS a; \
            CREATE RULE r AS ON INSERT TO w DO INSTEAD DELETE FROM keep",
    );
    assert_eq!(ask(&mut raw, "INSERT INTO w VALUES (1)").await, "E:42501 ZI");
}

#[tokio::test]
async fn a_prepared_statement_is_judged_by_what_it_would_be_planned_as_now() {
    let stage = stage().await;
    others(&stage, "CREATE VIEW v AS SELECT id::text AS email FROM users");
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "PREPARE p AS SELECT email FROM v").await, "C:PREPARE ZI");
    assert_eq!(ask(&mut raw, "EXECUTE p").await, "T D:1 C:SELECT 1 ZI");
    others(&stage, "CREATE OR REPLACE VIEW v AS SELECT email FROM users");
    look_again(&mut raw).await;
    assert_eq!(ask(&mut raw, "EXECUTE p").await, "T D:[masked] C:SELECT 1 ZI");
    // PREPARE and Parse share one name space.
    raw.send(&Script::default().bind("", "p", 0).execute("").sync().0).await;
    assert_eq!(raw.until_ready().await, "2 D:[masked] C:SELECT 1 ZI");
}

#[tokio::test]
async fn a_cursor_stays_what_it_was_declared_as() {
    let stage = stage().await;
    others(&stage, "CREATE VIEW v AS SELECT email FROM users");
    let mut raw = stage.raw().await;
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT email FROM v";
    assert_eq!(ask(&mut raw, declare).await, "C:DECLARE CURSOR ZI");
    others(&stage, "DROP VIEW v; CREATE VIEW v AS SELECT id::text AS email FROM users");
    look_again(&mut raw).await;
    assert_eq!(ask(&mut raw, "SELECT email FROM v").await, "T D:1 C:SELECT 1 ZI");
    assert_eq!(ask(&mut raw, "FETCH ALL c").await, "T D:[masked] C:FETCH 1 ZI");
}

#[tokio::test]
async fn an_index_that_others_made_runs_its_operators_from_then_on() {
    let policy = "policy: p\nrules:\n  - name: adds\n    sql: { effects: [read, insert] }\n    decide: allow\n";
    let seed = "CREATE TABLE keep (n int); CREATE TABLE odd (n int); \
        CREATE FUNCTION compare (int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM keep; RETURN 0; END'; \
        CREATE OPERATOR CLASS odd_ops FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, \
            OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compare (int, int)";
    let stage = Stage::new(policy, TlsMode::Disable, seed).await;
    let mut raw = stage.raw().await;
    assert_eq!(ask(&mut raw, "INSERT INTO odd VALUES (1)").await, "C:INSERT 0 1 ZI");
    others(&stage, "CREATE INDEX ON odd (n odd_ops)");
    look_again(&mut raw).await;
    assert_eq!(ask(&mut raw, "INSERT INTO odd VALUES (2)").await, "E:42501 ZI");
}

#[tokio::test]
async fn a_composite_type_that_others_widened_shows_nothing_new() {
    let policy = "policy: p\nrules:\n  - name: reads\n    sql: { effects: [read] }\n    decide: allow\n\
        masks:\n  - sql: { columns: [public.people.contact] }\n    with: redact\n";
    let seed = "CREATE TYPE contact AS (name text); CREATE TABLE people (contact contact); \
        INSERT INTO people VALUES (ROW('somebody'))";
    let stage = Stage::new(policy, TlsMode::Disable, seed).await;
    let mut raw = stage.raw().await;
    let before = ask(&mut raw, "SELECT contact FROM people").await;
    assert!(before.ends_with("C:SELECT 1 ZI") && !before.contains("somebody"), "{before}");
    others(
        &stage,
        "ALTER TYPE contact ADD ATTRIBUTE mail text; UPDATE people SET contact.mail = 'secret'",
    );
    look_again(&mut raw).await;
    let after = ask(&mut raw, "SELECT contact FROM people").await;
    assert!(after.ends_with("C:SELECT 1 ZI"), "{after}");
    assert!(!after.contains("somebody") && !after.contains("secret"), "{after}");
}
