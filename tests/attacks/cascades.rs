//! Foreign keys that remove or change rows of tables that the policy protects. Nothing of those changes.

use guard_tests::Stage;

const POLICY: &str = r#"policy: stage
rules:
  - name: kept
    sql: { effects: [insert, update, delete, truncate], tables: [public.kept, public.kept_part, public.whole, public.part] }
    decide: block
  - name: all
    sql: { effects: "*", certainty: [exact, partial] }
    decide: allow
"#;

const SETUP: &str = "
    CREATE TABLE top (id int PRIMARY KEY, note text);
    CREATE TABLE middle (id int PRIMARY KEY, top_id int REFERENCES top ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE kept (id int PRIMARY KEY, middle_id int REFERENCES middle ON DELETE SET NULL);
    CREATE TABLE other (id int PRIMARY KEY, note text);
    CREATE TABLE whole (id int, other_id int REFERENCES other ON DELETE CASCADE ON UPDATE SET DEFAULT)
        PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (10);
    CREATE TABLE ring (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
    CREATE TABLE ring_one PARTITION OF ring FOR VALUES FROM (0) TO (10);
    CREATE TABLE kept_part (ring_id int REFERENCES ring ON DELETE CASCADE);
    CREATE TABLE free (id int PRIMARY KEY);
    CREATE TABLE holds (free_id int REFERENCES free);
    INSERT INTO top SELECT i, 'x' FROM generate_series(1, 9) i;
    INSERT INTO middle SELECT i, i FROM generate_series(1, 9) i;
    INSERT INTO kept SELECT i, i FROM generate_series(1, 9) i;
    INSERT INTO other SELECT i, 'x' FROM generate_series(1, 9) i;
    INSERT INTO whole SELECT i, i FROM generate_series(1, 9) i;
    INSERT INTO ring SELECT i, 'x' FROM generate_series(1, 9) i;
    INSERT INTO kept_part SELECT i FROM generate_series(1, 9) i;
    INSERT INTO free VALUES (1);
    CREATE VIEW shown AS SELECT id, note FROM top;
    CREATE FUNCTION clean() RETURNS int LANGUAGE sql AS 'DELETE FROM public.top; SELECT 1';";

/// What is protected, as one text.
const STATE: &str = "SELECT (SELECT count(middle_id) FROM kept), (SELECT sum(other_id) FROM whole), \
                     (SELECT count(*) FROM kept_part)";

#[test]
fn nothing_follows_a_foreign_key_past_the_policy() {
    let stage = Stage::builder().shop(5).policy(POLICY).start().unwrap();
    stage.postgres.sql("shop", SETUP).unwrap();
    let before = stage.postgres.sql("shop", STATE).unwrap();
    for sql in [
        "DELETE FROM top WHERE id = 1",
        "DELETE FROM middle WHERE id = 1",
        "DELETE FROM shown WHERE id = 1",
        "WITH x AS (DELETE FROM top RETURNING id) SELECT count(*) FROM x",
        "MERGE INTO top USING other ON top.id = other.id WHEN MATCHED THEN DELETE",
        "SELECT clean()",
        "DO $$ BEGIN DELETE FROM top; END $$",
        "DELETE FROM other WHERE id = 1",
        "UPDATE other SET id = 20 WHERE id = 1",
        "INSERT INTO other VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET id = 30",
        "DELETE FROM ring WHERE id = 1",
        "DELETE FROM ring_one WHERE id = 1",
        "TRUNCATE top CASCADE",
        "TRUNCATE middle, other CASCADE",
        "TRUNCATE ring CASCADE",
    ] {
        let run = stage.psql(sql).unwrap();
        assert_ne!(run.code, 0, "{sql}: was not refused\n{}", run.stderr);
        assert!(run.stderr.contains("GRD-2"), "{sql}: not refused by guard\n{}", run.stderr);
        assert_eq!(stage.postgres.sql("shop", STATE).unwrap(), before, "{sql}");
    }
    // What is not referred to may change, and what does not reach the protected tables.
    for sql in [
        "UPDATE other SET note = 'y' WHERE id = 1",
        "UPDATE top SET id = 40 WHERE id = 1",
        "UPDATE ring SET note = 'y' WHERE id = 1",
        "TRUNCATE free CASCADE",
    ] {
        let _done = stage.psql(sql).unwrap().ok();
    }
    assert_eq!(stage.postgres.sql("shop", STATE).unwrap(), before);
}
