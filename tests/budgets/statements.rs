//! One statement, one session, one minute.

use std::time::{Duration, Instant};

use guard_tests::driver;

use crate::{contains, psql, stage, target};

#[test]
fn a_result_ends_at_its_last_row_and_the_connection_goes_on() {
    let stage = stage("rows_per_statement: 1000", "enforce");
    let run = psql(
        &stage,
        "SELECT n FROM many ORDER BY n LIMIT 1000;\n\\echo all-of-1000\n\
         SELECT n + 10000 FROM many ORDER BY n;\n\\echo over\n\
         COPY (SELECT n + 20000 FROM many ORDER BY n) TO STDOUT;\n\\echo copied\n\
         SELECT 'usable';\n\
         BEGIN;\nINSERT INTO target VALUES (1, '');\nSELECT n FROM many;\nSELECT 'not reached';\nCOMMIT;\n\
         SELECT 'again';",
    );
    let text = run.text();
    contains(
        &text,
        &[
            "\n1000\nall-of-1000\n",
            "ERROR:  53400: ended the statement at a budget (GRD-2301)",
            "`rows_per_statement of 1000 rows` are used up, on connection 0",
            "have the budget raised in the policy",
            "\n21000\n",
            "usable",
            "25P02",
            "again",
        ],
    );
    // What was sent stays sent, and not one row more.
    assert!(!text.contains("\n21001\n"), "{text}");
    assert!(!text.contains("not reached"), "{text}");
    assert_eq!(target(&stage), "0");
    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["over_budget"], 3, "{report}");
    assert_eq!(report["budgets"]["listed"][0]["budget"], "rows_per_statement");
    assert_eq!(report["budgets"]["listed"][0]["ended"], true);
    let _run = run.says("");
}

#[test]
fn changed_rows_over_a_budget_are_not_committed() {
    let stage = stage("rows_per_statement: 1000", "enforce");
    let run = psql(
        &stage,
        "INSERT INTO target SELECT n, '' FROM many LIMIT 1000;\n\\echo fits\n\
         INSERT INTO target SELECT n, '' FROM many;\n\
         INSERT INTO target SELECT n, '' FROM many RETURNING n;\n\
         CREATE TABLE copied AS SELECT * FROM many;\n\
         INSERT INTO target VALUES (-1, ''); INSERT INTO target SELECT n, '' FROM many\\;INSERT INTO target VALUES (-2, '');\n\
         BEGIN;\nUPDATE many SET pad = '';\nCOMMIT;\n\
         PREPARE p AS DELETE FROM many;\nEXECUTE p;\n\
         DELETE FROM target WHERE n = 1;\n\
         INSERT INTO target VALUES (0, 'last');\nSELECT 'done';",
    );
    let text = run.text();
    contains(&text, &["fits", "done"]);
    assert_eq!(text.matches("GRD-2301").count(), 6, "{text}");
    // A thousand, one of its own, none of the others, one less, one more.
    assert_eq!(target(&stage), "1001");
    let state =
        "SELECT count(*), count(*) FILTER (WHERE pad = ''), to_regclass('copied') FROM many";
    assert_eq!(stage.postgres.sql("shop", state).unwrap(), "5000|0|");
}

#[test]
fn an_error_at_the_commit_is_the_statements_own() {
    let stage = stage("rows_per_statement: 1000", "enforce");
    let tables = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent \
                  DEFERRABLE INITIALLY DEFERRED)";
    stage.postgres.sql("shop", tables).unwrap();
    let run = psql(
        &stage,
        "INSERT INTO child VALUES (1);\nINSERT INTO parent VALUES (1);\nINSERT INTO child VALUES (1);\n\
         SELECT 'children', count(*) FROM child;\nVACUUM many;\nSELECT 1/0;\nINSERT INTO parent VALUES (1);\n\
         SELECT 'done';",
    );
    let text = run.text();
    contains(&text, &["23503", "children|1", "22012", "23505", "done"]);
    assert!(
        !text.contains("GRD-") && !text.contains("25P02") && !text.contains("WARNING"),
        "{text}"
    );
}

#[test]
fn a_session_that_has_used_up_its_budget_gets_nothing_more_on_any_connection() {
    let stage = stage("rows_per_session: 3000", "enforce");
    let run = psql(
        &stage,
        "SELECT n FROM many LIMIT 2000;\nBEGIN;\nCOPY (SELECT n + 10000 FROM many ORDER BY n) TO STDOUT;\nROLLBACK;\n\
         SELECT 'nothing more';\n\\c\nSELECT 'nor here';",
    );
    let text = run.text();
    contains(&text, &["GRD-2302", "\n11000\n", "rows_per_session of 3000 rows"]);
    for hidden in ["11001", "\nnothing more", "\nnor here", "25P02"] {
        assert!(!text.contains(hidden), "{hidden} in\n{text}");
    }
}

#[test]
fn a_statement_ends_when_its_time_is_over_whatever_it_waits_for() {
    let stage = stage("time_per_statement: 1s", "enforce");
    let began = Instant::now();
    let run = psql(
        &stage,
        "SELECT pg_sleep(60);\nSELECT 'usable';\nBEGIN;\nSELECT pg_sleep(60);\nSELECT 1;\nROLLBACK;\n\
         SELECT count(*) FROM generate_series(1, 10000000000);\nSELECT 1, pg_sleep(0.2);\nSELECT 'done';",
    );
    let text = run.text();
    contains(
        &text,
        &["ERROR:  57014: ended the statement at a budget (GRD-2305)", "usable", "done"],
    );
    assert_eq!(text.matches("GRD-2305").count(), 3, "{text}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[test]
fn bytes_are_counted_both_ways() {
    let stage = stage("bytes_per_statement: 100kB", "enforce");
    let rows = stage.dir().join("rows");
    std::fs::write(&rows, format!("1\t{}\n", "y".repeat(90)).repeat(5000)).unwrap();
    let run = psql(
        &stage,
        &format!(
            "SELECT pad FROM many LIMIT 900;\n\\echo fits\nSELECT pad FROM many;\n\
             SELECT repeat('z', 200000);\nCOPY many TO STDOUT;\n\\copy target FROM '{0}'\n\
             BEGIN;\n\\copy target FROM '{0}'\nCOMMIT;\nSELECT 'done';",
            rows.display()
        ),
    );
    let text = run.text();
    contains(&text, &["fits", "done"]);
    assert_eq!(text.matches("GRD-2301").count(), 5, "{text}");
    assert!(!text.contains("zzz"), "{text}");
    assert_eq!(target(&stage), "0");
}

#[test]
fn no_minute_has_more_statements_than_its_budget() {
    let stage = stage("statements_per_minute: 20", "enforce");
    let run = psql(&stage, &"SELECT 'went';\n".repeat(40));
    let text = run.text();
    assert_eq!(text.matches("went\n").count(), 20, "{text}");
    assert_eq!(text.matches("GRD-2303").count(), 20, "{text}");
}

#[test]
fn psycopg_meets_budgets_in_the_extended_protocol() {
    let stage = stage("rows_per_statement: 100", "enforce");
    let run = stage.run(&driver("with_budgets.py", "all").unwrap()).unwrap().ok();
    assert!(run.text().ends_with("done"), "{}", run.text());
    assert_eq!(target(&stage), "3");
}
