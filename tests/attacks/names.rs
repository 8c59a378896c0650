//! Names that guard would take for something else than the server does, and ways to move a masked value to another name.

use guard_tests::Stage;

/// Everything may be done; masks and conditions on masked columns hold.
const MASKED: &str = "\
policy: stage
rules:
  - name: everything
    sql: { effects: \"*\" }
    decide: allow
masks:
  - sql: { columns: [public.customers.email, public.cards.pan] }
    with: redact
";

/// What the policy hides, of one customer.
fn secrets(stage: &Stage) -> [String; 2] {
    let one = |sql| stage.postgres.sql("shop", sql).unwrap();
    [one("SELECT email FROM customers WHERE id = 1"), one("SELECT min(pan) FROM cards")]
}

/// None of the texts, each of which is a job of its own, gets to a masked value.
#[track_caller]
fn tell_nothing(stage: &Stage, texts: &[&str]) {
    let secrets = secrets(stage);
    for text in texts {
        let script = format!("psql -X -A -t <<'SQL'\n{text}\nSQL\n");
        let run = stage.run(&guard_tests::script(&script)).unwrap();
        let said = format!("{}{}", run.text(), run.stderr);
        for secret in &secrets {
            let reversed: String = secret.chars().rev().collect();
            assert!(!said.contains(secret) && !said.contains(&reversed), "{text}\n{said}");
        }
    }
}

#[test]
fn a_name_means_what_it_means_to_the_server() {
    let stage = Stage::builder().shop(5).policy(MASKED).start().unwrap();
    tell_nothing(
        &stage,
        &[
            // A column of the query around comes before a row of this one.
            "SELECT (SELECT x FROM orders x LIMIT 1) FROM (SELECT email AS x FROM customers) q;",
            "SELECT (SELECT max(p::text) FROM generate_series(1, 2) AS p(n)) FROM (SELECT email AS p FROM customers) q;",
            // ON does not see what else is in the FROM list, but what is around the query.
            "SELECT (SELECT max(v.x) FROM (SELECT 'x' AS s) q, (orders a JOIN LATERAL (SELECT 1) b ON set_config('x.y', s, false) <> '') , \
             LATERAL (SELECT current_setting('x.y', true)) v(x)) FROM (SELECT email AS s FROM customers WHERE id = 1) o;",
            "SELECT (SELECT count(*) FROM (SELECT 'x' AS s) q, (orders a JOIN orders b ON pg_notify('c', s) IS NULL AND a.id = b.id)) \
             FROM (SELECT email AS s FROM customers WHERE id = 1) o;",
            // A name that is hidden by a join's own is that of a row around the query.
            "SELECT (SELECT u.x FROM (orders u JOIN orders o ON u.id = o.id AND u.id = 1) j) FROM (SELECT email AS x FROM customers) u;",
        ],
    );
}

#[test]
fn what_is_told_to_another_connection_is_judged_by_the_servers_names() {
    let stage = Stage::builder().shop(5).policy(MASKED).start().unwrap();
    let run = stage
        .psql(
            "SELECT (SELECT count(*) FROM (SELECT 'x' AS s) q, (orders a JOIN orders b ON pg_notify('c', s) IS NULL AND a.id = b.id)) \
             FROM (SELECT email AS s FROM customers WHERE id = 1) o",
        )
        .unwrap()
        .code(1);
    let _said = run.says("GRD-2104");
}

#[test]
fn a_masked_value_gets_no_other_name() {
    let stage = Stage::builder().shop(5).policy(MASKED).start().unwrap();
    let prepare = "CREATE VIEW contacts AS SELECT id, email AS contact FROM customers; \
        CREATE VIEW above AS SELECT * FROM contacts; CREATE MATERIALIZED VIEW kept AS SELECT * FROM above; \
        CREATE EXTENSION hstore; CREATE SCHEMA elsewhere; ALTER EXTENSION hstore ADD TABLE cards; \
        ALTER TABLE customers DROP CONSTRAINT customers_email_key; ALTER TABLE customers ALTER email SET STORAGE EXTERNAL; \
        UPDATE customers SET email = email || repeat('x', 4000) WHERE id = 2; \
        UPDATE customers SET email = (SELECT email FROM customers WHERE id = 1) || repeat(' ', 4000) WHERE id = 3";
    stage.postgres.sql("shop", prepare).unwrap();
    let storage = stage
        .postgres
        .sql("shop", "SELECT replace(reltoastrelid::regclass::text, 'pg_toast.', '') FROM pg_class WHERE oid = 'customers'::regclass")
        .unwrap();
    let behind = format!(
        "SET search_path = public, pg_toast;\nSELECT convert_from(chunk_data, 'UTF8') FROM {storage};\n\
         SELECT encode(chunk_data, 'escape') FROM {storage};"
    );
    tell_nothing(
        &stage,
        &[
            "ALTER TABLE customers ADD COLUMN other text GENERATED ALWAYS AS (email) STORED;\nSELECT other FROM customers;",
            "ALTER TABLE customers ADD COLUMN other2 text GENERATED ALWAYS AS (reverse(email)) STORED;\nSELECT other2 FROM customers;",
            "ALTER EXTENSION hstore SET SCHEMA elsewhere;\nSELECT pan FROM elsewhere.cards;",
            "SELECT contact FROM kept;\nCREATE OR REPLACE VIEW contacts AS SELECT id, full_name AS contact FROM customers;\n\
             ALTER TABLE orders ALTER note SET DEFAULT 'x';\nSELECT contact FROM kept;",
            &behind,
        ],
    );
}

#[test]
fn functions_in_statistics_count() {
    let policy = "policy: stage\nrules:\n  - name: most\n    sql: { effects: [read, create, maintain, session] }\n    decide: allow\n";
    let stage = Stage::builder().shop(5).policy(policy).start().unwrap();
    stage
        .postgres
        .sql(
            "shop",
            "CREATE FUNCTION purge() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM orders; RETURN 1; END'",
        )
        .unwrap();
    let before = stage.postgres.sql("shop", "SELECT count(*) FROM orders").unwrap();
    let run = stage.psql("CREATE STATISTICS s ON (purge()), id FROM customers").unwrap().code(1);
    let _said = run.says("GRD-2");
    let _analyzed = stage.psql("ANALYZE customers").unwrap();
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM orders").unwrap(), before);
}

#[test]
fn a_view_that_only_this_connection_sees_hides_no_write() {
    let policy = "policy: stage\nrules:\n  - name: keep\n    sql: { effects: [insert, update, delete], tables: [public.orders] }\n    \
                  decide: block\n  - name: rest\n    sql: { effects: \"*\" }\n    decide: allow\n";
    let stage = Stage::builder().shop(5).policy(policy).start().unwrap();
    let state = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM orders t";
    let before = stage.postgres.sql("shop", state).unwrap();
    for text in [
        "CREATE TEMP VIEW mine AS SELECT * FROM orders;\nDELETE FROM mine WHERE id = 1;",
        "CREATE TEMP VIEW mine AS SELECT * FROM orders;\nDELETE FROM pg_temp.mine WHERE id = 1;",
        "CREATE TEMP VIEW mine AS SELECT * FROM orders;\nALTER VIEW mine RENAME TO yours;\nUPDATE yours SET note = 'x' WHERE id = 1;",
        "BEGIN;\nCREATE VIEW public.mine AS SELECT * FROM orders;\nDELETE FROM public.mine WHERE id = 1;\nCOMMIT;",
        "CREATE TEMP VIEW mine AS SELECT * FROM orders \\; DELETE FROM mine WHERE id = 1;",
        "CREATE TEMP TABLE t (id int);\nCREATE VIEW mine AS SELECT * FROM orders WHERE EXISTS (SELECT FROM t) IS NOT NULL;\n\
         DELETE FROM mine WHERE id = 1;",
        "PREPARE p AS DELETE FROM mine WHERE id = 1;\nCREATE TEMP VIEW mine AS SELECT * FROM orders;\n\
         PREPARE q AS DELETE FROM mine WHERE id = 1;\nEXECUTE q;",
    ] {
        let script = format!("psql -X -A -t <<'SQL'\n{text}\nSQL\n");
        let run = stage.run(&guard_tests::script(&script)).unwrap();
        assert!(run.stderr.contains("GRD-2"), "{text}: not refused\n{}", run.stderr);
        assert_eq!(stage.postgres.sql("shop", state).unwrap(), before, "{text}");
    }
    // What it sees is of use all the same.
    let text = "CREATE TEMP TABLE t (id int);\nCREATE TEMP VIEW v AS SELECT id FROM orders;\n\
                INSERT INTO t SELECT id FROM v WHERE id = 1;\nSELECT id FROM t;";
    let script = format!("psql -X -A -t -q <<'SQL'\n{text}\nSQL\n");
    assert_eq!(stage.run(&guard_tests::script(&script)).unwrap().ok().text(), "1");
}
