//! Budgets end statements in the server's own way, and what is ended has changed nothing; `mode: observe` says what
//! would have been refused, and refuses nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod attacks;
mod observe;
mod statements;

use guard_tests::{EnforceAt, Finished, Stage, script};

/// A stage under a policy that allows everything and has these budgets, with 5000 rows in `many`.
fn stage(budgets: &str, mode: &str) -> Stage {
    let policy = format!(
        "policy: stage\nmode: {mode}\nbudgets: {{ {budgets} }}\nrules:\n  - name: everything\n    \
         sql: {{ effects: \"*\", certainty: \"*\" }}\n    decide: allow\n"
    );
    let stage = Stage::builder().policy(&policy).enforce_at(EnforceAt::Shim).start().unwrap();
    let seed = "CREATE TABLE many AS SELECT n, repeat('x', 90) AS pad FROM generate_series(1, 5000) n; \
                CREATE TABLE target (n int, pad text)";
    stage.postgres.sql("shop", seed).unwrap();
    stage
}

/// What psql says of a script, its errors among the rows.
fn psql(stage: &Stage, sql: &str) -> Finished {
    let file = stage.dir().join("script.sql");
    std::fs::write(&file, format!("\\set VERBOSITY verbose\n{sql}\n")).unwrap();
    stage.run(&script(&format!("psql -X -A -t -q -f {} 2>&1", file.display()))).unwrap()
}

/// How many rows the table `target` has, as the server says.
fn target(stage: &Stage) -> String {
    stage.postgres.sql("shop", "SELECT count(*) FROM target").unwrap()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}
