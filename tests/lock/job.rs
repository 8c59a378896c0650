//! A job that a lock is learned of, and what it tries besides.

use std::{
    fs,
    path::{Path, PathBuf},
};

use guard_tests::{Finished, Stage, script};

/// Whatever the lock lets through goes on.
pub(super) const RULES: &str = "policy: stage\nrules:\n  - name: everything\n    sql: { effects: \"*\", certainty: \"*\" }\n    decide: allow\n";

/// What the job does: reads, changes, copies, in a transaction with settings.
pub(super) const JOB: &str = "SET statement_timeout = 60000; BEGIN; SELECT name FROM jobs WHERE id = 1; \
    UPDATE jobs SET name = 'seen-secret' WHERE id = 1; COMMIT; COPY jobs (id) TO STDOUT;";

/// A stage with the job's tables, and a policy without a lock.
pub(super) fn stage() -> Stage {
    let stage = Stage::builder().policy(RULES).start().unwrap();
    let tables = "CREATE TABLE jobs (id int PRIMARY KEY, name text, hidden text); \
        INSERT INTO jobs SELECT n, 'job', 'hidden' FROM generate_series(1, 9) n";
    stage.postgres.sql("shop", tables).unwrap();
    stage
}

/// Runs statements, one message each; what `psql` says of errors is among the rows.
pub(super) fn job(stage: &Stage, sql: &str) -> Finished {
    let file = stage.dir().join("job.sql");
    fs::write(&file, format!("{sql}\n")).unwrap();
    stage.run(&script(&format!("psql -X -A -t -q -f {} 2>&1", file.display()))).unwrap()
}

/// The same, of which nothing is refused and nothing fails.
#[track_caller]
pub(super) fn goes_on(stage: &Stage, sql: &str) -> String {
    let said = job(stage, sql).ok().text();
    assert!(!said.contains("ERROR"), "{sql}: {said}");
    said
}

/// The same, of which the lock refuses something.
#[track_caller]
pub(super) fn refused(stage: &Stage, sql: &str) -> String {
    let said = job(stage, sql).ok().text();
    assert!(
        said.contains("GRD-2107") && said.contains("rule `lock` of policy `stage`"),
        "{sql}: {said}"
    );
    said
}

pub(super) fn lock_file(stage: &Stage) -> PathBuf {
    stage.dir().join("policies/stage.lock.yaml")
}

pub(super) fn newest_record(stage: &Stage) -> String {
    shown(&stage.report_dirs().pop().unwrap().join("record.jsonl"))
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Learns from the newest run, into the policy's own lock.
pub(super) fn learn(stage: &Stage, more: &[&str]) -> Finished {
    let (record, out) = (newest_record(stage), shown(&lock_file(stage)));
    let arguments = [&["lock", "learn", &record, "--out", &out], more].concat();
    stage.tool(&arguments).unwrap().ok()
}

/// Gives the policy these lines besides its rules, at the broker.
pub(super) fn give(stage: &Stage, lines: &str) {
    fs::write(stage.dir().join("policies/stage.yaml"), format!("{RULES}{lines}\n")).unwrap();
    let _reloaded = stage.broker_tool(&["reload"]).unwrap().ok();
}

/// A stage whose job was run, learned, and is kept to what it did.
pub(super) fn locked(lock: &str) -> Stage {
    let stage = stage();
    keep_to(&stage, JOB, lock);
    stage
}

/// Has a job learned, and kept to what it did.
pub(super) fn keep_to(stage: &Stage, sql: &str, lock: &str) {
    goes_on(stage, sql);
    let _learned = learn(stage, &[]);
    give(stage, &format!("lock: {lock}"));
}

pub(super) fn name_of(stage: &Stage, id: u32) -> String {
    stage.postgres.sql("shop", &format!("SELECT name FROM jobs WHERE id = {id}")).unwrap()
}
