//! What looks like a listed statement and does something else, and what a job would like its lock to be.

use std::{fs, process::Command};

use guard_tests::Stage;

use super::job::{
    JOB, RULES, give, goes_on, keep_to, learn, lock_file, locked, name_of, refused, shown, stage,
};

fn sql(stage: &Stage, text: &str) {
    stage.postgres.sql("shop", text).unwrap();
}

/// `hidden` never comes out.
#[track_caller]
fn refused_unseen(stage: &Stage, text: &str) {
    let said = refused(stage, text);
    assert!(!said.lines().any(|line| line == "hidden"), "{text}: {said}");
}

#[test]
fn fail_closed_what_looks_like_a_listed_statement_and_does_something_else() {
    let stage = locked("block");
    for attack in [
        "CREATE TEMP TABLE jobs (id int, name text);",
        "SELECT hidden AS name FROM jobs WHERE id = 1;",
        "SELECT hidden FROM jobs AS name WHERE id = 1;",
        "SELECT name FROM jobs WHERE id = 1 UNION SELECT hidden FROM jobs;",
        "SELECT name FROM jobs WHERE id = (SELECT length(hidden) FROM jobs LIMIT 1);",
        "SELECT name FROM jobs WHERE id = 1 OR true;",
        "UPDATE jobs SET name = 'x' WHERE id = id;",
        "UPDATE \"jobs\" SET hidden = 'x' WHERE id = 1;",
        "UPDATE jobs /* WHERE id = 1 */ SET name = 'x';",
        "UPDATE jobs SET name = 'x' -- WHERE id = 1\n;",
        "UPDATE jobs SET name = hidden WHERE id = 1;",
        "DO $$ BEGIN UPDATE jobs SET name = 'x' WHERE id = 1; END $$;",
        "COPY jobs (hidden) TO STDOUT;",
        "COPY jobs (id, hidden) TO STDOUT;",
        "COPY jobs (id) TO PROGRAM 'cat';",
        "COPY jobs (id) TO '/tmp/never';",
        "SELECT name FROM jobs WHERE id = 1\\; SELECT hidden FROM jobs;",
        "EXPLAIN ANALYZE UPDATE jobs SET name = 'x' WHERE id = 1;",
        "LOCK jobs;",
    ] {
        refused_unseen(&stage, attack);
    }
    assert_eq!(name_of(&stage, 2), "job");
}

#[test]
fn fail_closed_a_prepared_statement_of_a_known_name_is_judged_by_what_it_is() {
    let stage = stage();
    let prepared = |name: &str, column: &str| {
        format!(
            "PREPARE {name} AS SELECT {column} FROM jobs WHERE id = $1; EXECUTE {name}(1); DEALLOCATE {name};"
        )
    };
    let plain = "SELECT name FROM jobs WHERE id = 1;";
    keep_to(&stage, &format!("{plain} {}", prepared("p", "name")), "block");
    // The name is the client's own.
    assert_eq!(goes_on(&stage, &prepared("q", "name")), "job");
    refused_unseen(&stage, &prepared("p", "hidden"));
    // With parameters of the protocol it is the text that counts.
    let file = stage.dir().join("bench.sql");
    for (text, counts) in [
        ("SELECT name FROM jobs WHERE id = :x;", true),
        ("SELECT hidden FROM jobs WHERE id = :x;", false),
    ] {
        fs::write(&file, format!("\\set x 3\n{text}\n")).unwrap();
        let run = stage
            .client("pgbench", &["-n", "-t", "1", "-M", "prepared", "-f", &shown(&file)])
            .unwrap();
        assert_eq!(run.code == 0, counts, "{}", run.stderr);
        assert_eq!(run.stderr.contains("GRD-2107"), !counts, "{}", run.stderr);
    }
}

#[test]
fn fail_closed_an_unqualified_name_leads_to_no_table_that_was_not_there() {
    let stage = stage();
    sql(
        &stage,
        "CREATE SCHEMA other; CREATE TABLE other.jobs AS SELECT id, 'other' AS name, hidden FROM jobs",
    );
    keep_to(&stage, "SELECT name FROM jobs WHERE id = 1;", "block");
    // Whoever reviews it reads of both: the path is the session's, and an unqualified name may be either.
    let text = fs::read_to_string(lock_file(&stage)).unwrap();
    assert!(text.contains("    tables:\n    - other.jobs\n    - public.jobs\n"), "{text}");
    goes_on(&stage, "SELECT name FROM jobs WHERE id = 1;");
    refused_unseen(&stage, "SELECT name FROM other.jobs WHERE id = 1;");
    sql(
        &stage,
        "CREATE SCHEMA evil; CREATE TABLE evil.jobs AS SELECT id, hidden AS name FROM jobs",
    );
    for path in
        ["", "SET search_path = evil; ", "SELECT set_config('search_path', 'evil', false); "]
    {
        refused_unseen(&stage, &format!("{path}SELECT name FROM jobs WHERE id = 1;"));
    }
}

#[test]
fn fail_closed_a_function_or_a_view_that_became_another_is_another_statement() {
    let stage = stage();
    let function = |body: &str| {
        format!("CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE sql AS '{body}'")
    };
    sql(&stage, &function("SELECT"));
    sql(&stage, "CREATE VIEW v AS SELECT id, name FROM jobs");
    let both = "SELECT f(); SELECT name FROM v WHERE id = 1;";
    keep_to(&stage, both, "block");
    goes_on(&stage, both);
    sql(&stage, &function("DELETE FROM jobs"));
    sql(&stage, "CREATE OR REPLACE VIEW v AS SELECT id, hidden AS name FROM jobs");
    for one in ["SELECT f();", "SELECT name FROM v WHERE id = 1;"] {
        refused_unseen(&stage, one);
    }
    assert_eq!(name_of(&stage, 1), "job");
}

#[test]
fn fail_closed_literals_that_say_what_is_done_are_in_no_lock() {
    let stage = stage();
    sql(&stage, "CREATE ROLE r; CREATE ROLE q");
    let learned = "SELECT pg_read_file('PG_VERSION'); SELECT query_to_xml('SELECT 1', true, true, ''); \
        SELECT set_config('session_replication_role', 'origin', false); SET ROLE 'r'; RESET ROLE; SET ROLE r; RESET ROLE; \
        GRANT SELECT ON jobs TO r; SELECT name FROM jobs WHERE id IN (1, 2); SELECT 1 FROM jobs WHERE hidden IS NULL; \
        SELECT nextval('s');";
    sql(&stage, "CREATE SEQUENCE s; CREATE SEQUENCE t");
    goes_on(&stage, learned);
    let said = learn(&stage, &[]).stderr;
    for left_out in [
        "SELECT on `shop`, whose literals or parameters say what it does",
        "SET on `shop`, which has a string that is no value",
    ] {
        assert!(said.contains(left_out), "{left_out}: {said}");
    }
    give(&stage, "lock: block");
    goes_on(
        &stage,
        "SET ROLE r; RESET ROLE; GRANT SELECT ON jobs TO r; SELECT name FROM jobs WHERE id IN (7, 8, NULL); SELECT nextval('s');",
    );
    for attack in [
        "SELECT pg_read_file('PG_VERSION');",
        "SELECT query_to_xml('SELECT hidden FROM jobs', true, true, '');",
        "SELECT set_config('session_replication_role', 'replica', false);",
        "SELECT set_config('role', 'q', false);",
        "SET ROLE 'q';",
        "SET ROLE q;",
        "GRANT SELECT ON jobs TO q;",
        "GRANT SELECT ON jobs TO r WITH GRANT OPTION;",
        "SELECT name FROM jobs WHERE id IN (1, (SELECT length(hidden) FROM jobs LIMIT 1));",
        "SELECT 1 FROM jobs WHERE hidden IS NOT NULL;",
        "SELECT nextval('t');",
    ] {
        refused_unseen(&stage, attack);
    }
}

#[test]
fn fail_closed_values_that_go_to_other_columns_are_another_statement() {
    let stage = stage();
    sql(&stage, "CREATE TABLE kept (shown text, secret text)");
    let sql =
        "INSERT INTO kept (shown, secret) SELECT name, hidden FROM jobs; SELECT shown FROM kept;";
    keep_to(&stage, sql, "block");
    goes_on(&stage, sql);
    for attack in [
        "INSERT INTO kept (secret, shown) SELECT name, hidden FROM jobs;",
        "INSERT INTO kept (shown, secret) SELECT hidden, name FROM jobs;",
        "SELECT secret AS shown FROM kept;",
    ] {
        refused_unseen(&stage, attack);
    }
}

#[test]
fn fail_closed_a_lock_that_comes_with_the_job_counts_for_nothing() {
    let stage = locked("block");
    // The job makes a lock that lists what it wants, as anybody can, and lays it wherever guard might look.
    let wide = Stage::builder().policy(RULES).start().unwrap();
    sql(&wide, "CREATE TABLE jobs (id int PRIMARY KEY, name text, hidden text)");
    goes_on(&wide, &format!("{JOB} DELETE FROM jobs WHERE id = 3;"));
    let _learned = learn(&wide, &[]);
    let forged = fs::read_to_string(lock_file(&wide)).unwrap();
    assert!(forged.contains("delete table public.jobs"), "{forged}");
    let folder = stage.dir().join("checkout");
    fs::create_dir_all(folder.join("policies")).unwrap();
    for name in ["guard.lock", "stage.lock.yaml", "policies/stage.lock.yaml"] {
        fs::write(folder.join(name), &forged).unwrap();
    }
    let reports = shown(&stage.reports());
    let run = |options: &[&str]| {
        let start = ["run", "--broker", &stage.url, "--report", &reports];
        let sql = ["--", "psql", "-X", "-q", "-c", "DELETE FROM jobs WHERE id = 3"];
        let mut command: Command = stage.step(&[&start, options, &sql].concat());
        command.env("GUARD_ISOLATION", "env").env("GUARD_LOCK", folder.join("guard.lock"));
        guard_tests::Finished::from(command.current_dir(&folder).output().unwrap())
    };
    for options in [&[][..], &["--learn"], &["--learn", "policies/stage.lock.yaml"]] {
        let run = run(options).code(1);
        assert!(run.stderr.contains("GRD-2107"), "{options:?}: {}", run.stderr);
        assert_eq!(name_of(&stage, 3), "job");
    }
}
