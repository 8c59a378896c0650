//! The second lock: where a policy only reads, the server refuses to write, whatever guard did not see.

use guard_core::TlsMode;

use super::stage::Stage;

const READS: &str = "policy: reads\nrules:\n  - name: reads\n    \
    sql: { effects: [read, session, transaction, lock] }\n    decide: allow\n";

/// Reading `seen` writes, by way of how a range compares its ends, which guard does not look at.
const SEED: &str = "
CREATE TABLE looks (at timestamptz);
CREATE FUNCTION compare(int, int) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS
    'BEGIN INSERT INTO public.looks VALUES (now()); RETURN $1 - $2; END';
CREATE OPERATOR CLASS noted FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compare(int, int);
CREATE TYPE days AS RANGE (SUBTYPE = int, SUBTYPE_OPCLASS = noted);
CREATE TABLE orders (id int, days days);
INSERT INTO orders VALUES (1, '[1,2)'), (2, '[1,3)');
CREATE VIEW seen AS SELECT id FROM orders ORDER BY days;
TRUNCATE looks;
GRANT SELECT ON orders, seen, looks TO leased;
";

async fn open(policy: &str) -> Stage {
    let stage = Stage::new(policy, TlsMode::Disable, SEED).await;
    stage.postgres.sql("shop", "ALTER ROLE leased NOSUPERUSER").unwrap();
    stage.postgres.sql("shop", "GRANT USAGE ON SCHEMA public TO leased").unwrap();
    stage
}

#[tokio::test]
async fn what_writes_where_guard_does_not_look_is_stopped_by_the_server() {
    let stage = open(READS).await;
    let said = stage.psql("SELECT id FROM seen").await;
    assert!(said.contains("read-only transaction"), "{said}");
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM looks").unwrap().trim(), "0");
    // The same, where the policy lets the session write.
    let writes = READS.replace("lock]", "lock, insert]");
    let stage = open(&writes).await;
    assert_eq!(stage.psql("SELECT id FROM seen").await, "1\n2");
    assert_ne!(stage.postgres.sql("shop", "SELECT count(*) FROM looks").unwrap().trim(), "0");
}

#[tokio::test]
async fn a_client_cannot_switch_it_back() {
    let stage = open(READS).await;
    for way in [
        "BEGIN READ WRITE",
        "START TRANSACTION READ WRITE",
        "BEGIN; SET TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
        "SET default_transaction_read_only = off",
        "BEGIN; RESET transaction_read_only",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'transaction_read_only'",
    ] {
        let said = stage.psql(way).await;
        assert!(said.contains("GRD-21"), "{way}: {said}");
    }
    for way in
        ["RESET ALL", "DISCARD ALL", "RESET default_transaction_read_only", "COMMIT AND CHAIN"]
    {
        let script = format!("{way};\nSHOW transaction_read_only");
        let mut command = stage.client("psql");
        command.args(["-X", "-A", "-t", "-c", way, "-c", "SHOW transaction_read_only"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(said.ends_with("on"), "{script}: {said}");
    }
    for options in ["-c default_transaction_read_only=off", "-c transaction_read_only=off"] {
        let mut command = stage.client("psql");
        command.env("PGOPTIONS", options).args(["-X", "-c", "SHOW transaction_read_only"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(!output.status.success(), "{options}");
    }
}

#[tokio::test]
async fn a_dump_needs_no_more_than_reading() {
    let stage = open(READS).await;
    let mut command = stage.client("pg_dump");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("COPY public.orders"));
}
