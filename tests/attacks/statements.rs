//! Statements that hide what they do. Under a policy that only reads, the database stays as it was.

use guard_tests::{EnforceAt, Stage, policies};

/// What must be the same afterwards.
const STATE: &str = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), \
    (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM customers t), \
    (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace), \
    (SELECT count(*) FROM pg_roles), (SELECT count(*) FROM pg_proc), \
    (SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'), \
    (SELECT count(*) FROM pg_largeobject_metadata), (SELECT last_value FROM customers_id_seq)";

const HIDDEN: [&str; 58] = [
    "DROP TABLE orders",
    "drop/**/table/**/orders",
    "/* harmless */ DROP TABLE orders",
    "-- harmless\nDROP TABLE orders",
    "/* /* nested */ */ DELETE FROM orders",
    "SELECT 1; DROP TABLE orders",
    "SELECT 1;;;DROP TABLE orders;",
    "BEGIN; SELECT 1; DELETE FROM orders; COMMIT",
    "WITH gone AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM gone",
    "WITH a AS (SELECT 1), b AS (UPDATE customers SET full_name = 'x' RETURNING 1) SELECT * FROM a",
    "WITH a AS (INSERT INTO orders (customer_id, total, status, placed_at) VALUES (1, 1, '', now()) RETURNING id) TABLE a",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "EXPLAIN (ANALYZE, COSTS off) UPDATE customers SET full_name = ''",
    "SELECT * INTO copied FROM orders",
    "CREATE TABLE copied AS SELECT * FROM orders",
    "CREATE VIEW copied AS SELECT * FROM orders",
    "PREPARE p AS DELETE FROM orders; EXECUTE p",
    "PREPARE p AS SELECT 1; DEALLOCATE p; PREPARE p AS DELETE FROM orders; EXECUTE p",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "DO LANGUAGE plpgsql 'BEGIN EXECUTE ''DROP TABLE orders''; END'",
    "COPY orders FROM PROGRAM 'echo 1'",
    "COPY orders TO PROGRAM 'cat > /tmp/guard-stolen'",
    "COPY orders TO '/tmp/guard-stolen'",
    "COPY (DELETE FROM orders RETURNING *) TO STDOUT",
    "COPY (WITH x AS (DELETE FROM orders RETURNING 1) SELECT * FROM x) TO STDOUT",
    "TRUNCATE orders",
    "ALTER TABLE orders DROP COLUMN note",
    "ALTER TABLE orders RENAME TO gone",
    "ALTER TABLE orders DISABLE TRIGGER ALL",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'",
    "CREATE EXTENSION dblink",
    "CREATE ROLE intruder SUPERUSER",
    "ALTER ROLE postgres PASSWORD 'mine'",
    "GRANT ALL ON orders TO public",
    "SET ROLE pg_write_server_files",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "SELECT setval('customers_id_seq', 1)",
    "SELECT nextval('customers_id_seq')",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT pg_reload_conf()",
    "SELECT set_config('session_replication_role', 'replica', false)",
    "SELECT query_to_xml('DELETE FROM orders RETURNING 1', true, true, '')",
    "SELECT * FROM cursor_to_xml('x', 1, true, true, '')",
    "SELECT ts_stat('DELETE FROM orders RETURNING 1')",
    "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
    "SELECT * FROM orders FOR UPDATE; DELETE FROM orders",
    "MERGE INTO orders o USING customers c ON true WHEN MATCHED THEN DELETE",
    "REFRESH MATERIALIZED VIEW nothing",
    "REASSIGN OWNED BY postgres TO postgres",
    "IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public",
    "SELECT $a$;$a$; DROP TABLE orders",
    "SELECT E'\\';DROP TABLE orders;--'; DROP TABLE orders",
];

#[test]
fn what_hides_is_found() {
    let stage = Stage::builder().shop(20).policy(policies::READ_ONLY).start().unwrap();
    let before = stage.postgres.sql("shop", STATE).unwrap();
    for sql in HIDDEN {
        let run = stage.psql(sql).unwrap();
        assert_ne!(run.code, 0, "{sql}: was not refused\n{}", run.stderr);
        assert!(run.stderr.contains("GRD-2"), "{sql}: not refused by guard\n{}", run.stderr);
        assert_eq!(stage.postgres.sql("shop", STATE).unwrap(), before, "{sql}");
    }
    assert!(!std::path::Path::new("/tmp/guard-stolen").exists());
}

#[test]
fn a_refusal_leaves_the_connection_and_the_transaction_as_an_error_does() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder()
            .shop(20)
            .enforce_at(place)
            .policy(
                "policy: stage\nrules:\n  - name: most\n    sql: { effects: [read, insert, session, transaction] }\n    \
                 decide: allow\n",
            )
            .start()
            .unwrap();
        let before = stage.postgres.sql("shop", STATE).unwrap();
        let insert = "INSERT INTO audit_log (actor, action) VALUES ('a', 'b')";
        let text = format!(
            "psql -X -A -t <<'SQL'\n\\echo start\nDROP TABLE orders;\nSELECT 'usable';\nBEGIN;\n{insert};\n\
             DROP TABLE orders;\nSELECT 'not reached';\nCOMMIT;\nSELECT count(*) FROM audit_log;\nSQL\n"
        );
        let run = stage.run(&guard_tests::script(&text)).unwrap().ok();
        let output = run.text();
        assert!(output.contains("usable"), "{output}");
        assert!(!output.contains("not reached"), "{output}");
        // A commit of a failed transaction is a rollback.
        assert!(output.contains("ROLLBACK"), "{output}");
        assert!(output.ends_with('2'), "half of the transaction was committed: {output}");
        assert_eq!(stage.postgres.sql("shop", STATE).unwrap(), before);
        let _said = run.says("current transaction is aborted");
    }
}

#[test]
fn parameters_of_the_start_up_cannot_switch_the_lexer() {
    let stage = Stage::builder().shop(5).policy(policies::READ_ONLY).start().unwrap();
    for options in [
        "-c standard_conforming_strings=off",
        "-c session_replication_role=replica",
        "-c search_path=evil,public",
        "-c role=pg_monitor",
    ] {
        let text = format!(
            "PGOPTIONS='{options}' psql -X -A -t -c \"SHOW standard_conforming_strings; SHOW session_replication_role; SHOW role; SHOW client_encoding\""
        );
        let run = stage.run(&guard_tests::script(&text)).unwrap();
        let text = run.text();
        assert!(run.code != 0 || text == "on\norigin\nnone\nUTF8", "{options}: {text}");
    }
}

#[test]
fn an_encoding_that_guard_does_not_read_hides_no_statement() {
    let stage = Stage::builder().shop(5).policy(policies::READ_ONLY).start().unwrap();
    let before = stage.postgres.sql("shop", STATE).unwrap();
    for (encoding, text) in [
        ("SJIS", r"SELECT \047\203\134\047; DROP TABLE orders; --\047"),
        ("BIG5", r"SELECT \047\243\134\047; DROP TABLE orders; --\047"),
        ("GB18030", r"SELECT \047\201\060\201\060\047; DROP TABLE orders; --\047"),
        ("LATIN2", r"DROP TABLE orders /* \351 */"),
        ("LATIN1", r"DROP TABLE orders /* \351 */"),
        ("SJIS", "DROP TABLE orders"),
    ] {
        let script = format!(
            "export PGOPTIONS='-c client_encoding={encoding}'; psql -X -A -t -c 'SELECT 1' -c \"$(printf \"{text}\")\""
        );
        let run = stage.run(&guard_tests::script(&script)).unwrap();
        // What guard reads without doubt is answered.
        assert_eq!(run.text(), "1", "{encoding}: {}", run.stderr);
        assert!(run.stderr.contains("GRD-2"), "{encoding}: not refused\n{}", run.stderr);
        assert_eq!(stage.postgres.sql("shop", STATE).unwrap(), before, "{encoding}");
    }
}
