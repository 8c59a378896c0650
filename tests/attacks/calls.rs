//! Functions that delete, called from everywhere. Under a policy that allows calls but no deleting, nothing is deleted.

use guard_tests::Stage;

const POLICY: &str = "policy: stage\nrules:\n  - name: most\n    sql: { effects: [read, insert, update, create, alter, call, code, \
                      session, transaction, lock] }\n    decide: allow\n";

/// What the database has before the job comes.
const SETUP: &str = "
    CREATE TABLE kept AS SELECT generate_series(1, 100) AS id;
    CREATE TABLE t (id int); CREATE TABLE fresh (id int); CREATE TABLE hot (id int); CREATE TABLE ruled (id int);
    INSERT INTO t VALUES (1), (2);
    CREATE FUNCTION purge() RETURNS int LANGUAGE sql AS 'DELETE FROM public.kept; SELECT 1';
    CREATE FUNCTION purge_it(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.kept; RETURN $1; END';
    CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'DEL' || 'ETE FROM public.kept'; RETURN 1; END $$;
    CREATE FUNCTION outer_one() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
        $$ DECLARE r record := (SELECT public.purge()); BEGIN RETURN 1; END $$;
    CREATE FUNCTION atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC DELETE FROM kept; SELECT 1; END;
    CREATE FUNCTION with_default(a int DEFAULT purge()) RETURNS int LANGUAGE sql AS 'SELECT a';
    CREATE FUNCTION trimmed() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN DELETE FROM public.kept; RETURN NEW; END';
    CREATE FUNCTION is_fine(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.kept; RETURN true; END';
    CREATE FUNCTION as_box(text) RETURNS box LANGUAGE sql AS 'DELETE FROM public.kept; SELECT ''(1,1),(0,0)''::box';
    CREATE PROCEDURE proc() LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.kept; END';
    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = add_up);
    CREATE AGGREGATE gathered(int) (SFUNC = add_up, STYPE = int);
    CREATE CAST (text AS box) WITH FUNCTION as_box(text);
    CREATE DOMAIN checked AS int CHECK (is_fine(VALUE));
    CREATE TABLE defaulted (id int, x int DEFAULT purge());
    CREATE TABLE of_domain (x checked);
    CREATE TABLE constrained (x int CHECK (is_fine(x)));
    CREATE VIEW shown AS SELECT purge() AS x;
    CREATE VIEW behind AS SELECT id FROM t;
    CREATE TRIGGER on_view INSTEAD OF UPDATE ON behind FOR EACH ROW EXECUTE FUNCTION trimmed();
    CREATE TRIGGER on_hot AFTER INSERT ON hot FOR EACH ROW EXECUTE FUNCTION trimmed();
    CREATE TABLE parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE TRIGGER on_part AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION trimmed();
    CREATE RULE swap AS ON INSERT TO ruled DO INSTEAD DELETE FROM kept;
    CREATE TYPE pair AS (a int, b int);
    CREATE FUNCTION pair_cmp(pair, pair) RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.kept; RETURN 0; END';
    CREATE FUNCTION pair_less(pair, pair) RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.kept; RETURN true; END';
    CREATE OPERATOR <<< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_less);
    CREATE OPERATOR CLASS pair_ops DEFAULT FOR TYPE pair USING btree AS OPERATOR 1 <<<, FUNCTION 1 pair_cmp(pair, pair);
    CREATE TABLE pairs (p pair);
    INSERT INTO pairs VALUES ('(1,2)'), ('(2,1)');
    CREATE OPERATOR CLASS odd_ops FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 add_up(int, int);
    CREATE TABLE indexed (id int);
    CREATE INDEX ON indexed (id odd_ops);
    CREATE FUNCTION quiet(int) RETURNS int LANGUAGE plpgsql AS 'DECLARE x int := $1; BEGIN x := x + 1; RETURN x; END';";

/// What the operator and the aggregate call.
const FIRST: &str = "CREATE FUNCTION add_up(int, int) RETURNS int LANGUAGE plpgsql AS \
                     'BEGIN DELETE FROM public.kept; RETURN 1; END'";

const DELETING: [&str; 39] = [
    "SELECT purge()",
    "SELECT purge_it(1)",
    "SELECT hidden()",
    "SELECT outer_one()",
    "SELECT atomic()",
    "SELECT with_default()",
    "SELECT * FROM purge()",
    "SELECT 1 FROM t WHERE purge_it(id) = 1",
    "SELECT 1 FROM t LIMIT purge()",
    "SELECT gathered(id) FROM t",
    "SELECT 1 === 2",
    "SELECT '(1,1),(0,0)'::text::box",
    "SELECT 1::checked",
    "SELECT * FROM shown",
    "COPY (SELECT purge()) TO STDOUT",
    "COPY shown TO STDOUT",
    "VALUES (purge())",
    "CALL proc()",
    "DO $$ BEGIN PERFORM purge(); END $$",
    "DO $$ BEGIN DELETE FROM kept; END $$",
    "DO $$ BEGIN EXECUTE 'DEL' || 'ETE FROM kept'; END $$",
    "INSERT INTO fresh VALUES (purge())",
    "INSERT INTO fresh VALUES (1) RETURNING purge()",
    "INSERT INTO defaulted (id) VALUES (1)",
    "INSERT INTO of_domain VALUES (1)",
    "INSERT INTO constrained VALUES (1)",
    "INSERT INTO hot VALUES (1)",
    "INSERT INTO part VALUES (1)",
    "INSERT INTO parted VALUES (1)",
    "INSERT INTO ruled VALUES (1)",
    "UPDATE behind SET id = 2 WHERE id = 1",
    "UPDATE t SET id = purge() WHERE id = 1",
    "PREPARE p AS SELECT purge(); EXECUTE p",
    "BEGIN; DECLARE c CURSOR FOR SELECT purge(); FETCH ALL FROM c; COMMIT",
    "CREATE OR REPLACE FUNCTION quiet(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM kept; RETURN 1; END'; \
     SELECT quiet(1)",
    "CREATE TABLE made AS SELECT purge()",
    "SELECT p FROM pairs ORDER BY p",
    "INSERT INTO indexed VALUES (1), (2)",
    "CREATE OPERATOR CLASS by_box FOR TYPE int USING hash AS FUNCTION 1 purge_it(int)",
];

fn stage() -> Stage {
    let stage = Stage::builder().shop(5).policy(POLICY).start().unwrap();
    stage.postgres.sql("shop", FIRST).unwrap();
    stage.postgres.sql("shop", SETUP).unwrap();
    stage
}

#[test]
fn nothing_hides_behind_a_call() {
    let stage = stage();
    let count = "SELECT count(*) FROM kept";
    for sql in DELETING {
        let run = stage.psql(sql).unwrap();
        assert_ne!(run.code, 0, "{sql}: was not refused\n{}", run.stderr);
        assert!(run.stderr.contains("GRD-2"), "{sql}: not refused by guard\n{}", run.stderr);
        assert_eq!(stage.postgres.sql("shop", count).unwrap(), "100", "{sql}");
    }
    // The same calls of what deletes nothing go through.
    for sql in [
        "SELECT quiet(1)",
        "DO $$ BEGIN PERFORM quiet(1); END $$",
        "INSERT INTO fresh VALUES (quiet(quiet(1)))",
    ] {
        let _done = stage.psql(sql).unwrap().ok();
    }
}

#[test]
fn a_function_that_is_replaced_is_read_again() {
    let stage = stage();
    let text = "psql -X -A -t <<'SQL'\nSELECT quiet(1);\nBEGIN;\nCREATE OR REPLACE FUNCTION quiet(int) RETURNS int LANGUAGE plpgsql AS \
                'BEGIN DELETE FROM kept; RETURN 1; END';\nSELECT quiet(1);\nCOMMIT;\nSELECT quiet(1);\n\
                CREATE OR REPLACE FUNCTION quiet(int) RETURNS int LANGUAGE plpgsql AS \
                'BEGIN DELETE FROM kept; RETURN 1; END';\nSELECT quiet(1);\nSQL\n";
    let run = stage.run(&guard_tests::script(text)).unwrap();
    assert!(run.stderr.contains("GRD-2"), "{}", run.stderr);
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM kept").unwrap(), "100");
}

/// A function of the server's own that is not on guard's list is not known, and so refused: none is forgotten.
#[test]
fn every_function_of_the_server_has_a_class() {
    let stage = Stage::builder().shop(1).policy(POLICY).start().unwrap();
    let names = "SELECT DISTINCT proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                 WHERE p.oid < 16384 AND n.nspname IN ('pg_catalog', 'information_schema')";
    let list = include_str!("../../crates/sql/src/data/functions.txt");
    let known: std::collections::HashSet<&str> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a name and a class").0)
        .collect();
    let all = stage.postgres.sql("shop", names).unwrap();
    let unknown: Vec<&str> = all.lines().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "without a class: {unknown:?}");
}
