//! The lock's file at the broker: what is not read, and that it and its policy are one.

use std::{fs, process::Command};

use guard_tests::{Finished, Stage};

use super::job::{JOB, give, goes_on, job, lock_file, locked, refused, shown};

/// The broker keeps what it had, and `guard policy check` says why.
#[track_caller]
fn is_not_read(stage: &Stage, text: impl AsRef<[u8]>, why: &str) {
    fs::write(lock_file(stage), text).unwrap();
    let policy = shown(&stage.dir().join("policies/stage.yaml"));
    let checked = stage.tool(&["policy", "check", &policy]).unwrap();
    let said = format!("{}{}", checked.text(), checked.stderr);
    assert!(checked.code != 0 && said.contains(why), "{why}: {said}");
    assert!(said.contains("stage.lock.yaml"), "{said}");
    for arguments in [&["check"][..], &["reload"]] {
        let broker = stage.broker_tool(arguments).unwrap();
        assert_ne!(broker.code, 0, "{broker:?}");
    }
    refused(stage, "DELETE FROM jobs WHERE id = 3;");
}

#[test]
fn fail_closed_a_lock_that_a_reviewer_could_not_rely_on_changes_nothing() {
    let stage = locked("block");
    let good = fs::read_to_string(lock_file(&stage)).unwrap();
    let twice = good.replace("rows_tolerance: 2", "rows_tolerance: 2\nrows_tolerance: 3");
    let second = format!("{good}---\nlock: guard-lock/1\n");
    let anchor = good.replace("rows_tolerance: 2", "rows_tolerance: &a 2");
    let of_delete = "DELETE FROM jobs WHERE id = $1";
    for (text, why) in [
        (good.replace("SELECT name FROM jobs", "SELECT hidden FROM jobs"), "is not the text's"),
        // Effects that are wider than the text are seen by whoever reads it, and tables tell of them.
        (good.replace("- public.jobs", "- public.jbos"), "not those of the statements"),
        (good.replace("UPDATE jobs SET name = $1 WHERE id = $2", of_delete), "is not the text's"),
        (
            good.replace("UPDATE jobs SET name", "UPDATE jobs /* only */ SET nam"),
            "is not the text's",
        ),
        (good.replace("rows_tolerance: 2", "rows_tolerance: 0"), "expected 1 to"),
        (good.replace("guard-lock/1", "guard-lock/2"), "`guard-lock/2` is not known here"),
        (format!("{good}extra: 1\n"), "`extra` is not known here"),
        (twice, "rows_tolerance"),
        (second, ""),
        (anchor, ""),
        (good.clone().split_off(good.len() / 2), ""),
        (String::new(), ""),
        (format!("{good}#{}\n", "x".repeat(1 << 20)), "bytes"),
    ] {
        assert_ne!(text, good);
        is_not_read(&stage, text, why);
    }
    is_not_read(&stage, b"lock: guard-lock/1\n# \xff\n", "");
    fs::remove_file(lock_file(&stage)).unwrap();
    assert_ne!(stage.broker_tool(&["check"]).unwrap().code, 0);
    refused(&stage, "DELETE FROM jobs WHERE id = 3;");
    // What was right is taken up again.
    fs::write(lock_file(&stage), &good).unwrap();
    let _reloaded = stage.broker_tool(&["reload"]).unwrap().ok();
    goes_on(&stage, JOB);
}

#[test]
fn a_lock_that_changed_is_another_policy_for_the_next_run() {
    let stage = locked("block");
    goes_on(&stage, JOB);
    let digest = |stage: &Stage| {
        let record = stage.sealed_record().unwrap();
        let opened: serde_json::Value =
            serde_json::from_str(record.lines().next().unwrap()).unwrap();
        let found = opened.pointer("/event/grants/0/policy_digest").cloned();
        found.unwrap_or_else(|| panic!("{opened}"))
    };
    let before = digest(&stage);
    let text = fs::read_to_string(lock_file(&stage)).unwrap();
    fs::write(lock_file(&stage), "lock: guard-lock/1\n").unwrap();
    give(&stage, "lock: block");
    let said = job(&stage, JOB).ok().text();
    assert!(said.contains("GRD-2107"), "{said}");
    assert_ne!(digest(&stage), before);
    fs::write(lock_file(&stage), text).unwrap();
    give(&stage, "lock: block");
    goes_on(&stage, JOB);
    assert_eq!(digest(&stage), before);
}

#[test]
fn fail_closed_a_lock_that_was_changed_in_the_brokers_store_ends_at_the_gateway() {
    let mut stage = locked("block");
    let reports = shown(&stage.reports());
    let start = ["session", "start", "--broker", &stage.url, "--report", &reports];
    let started = Finished::from(stage.step(&start).output().unwrap()).ok().text();
    let socket = started.trim().strip_prefix("GUARD_SESSION=").unwrap().to_owned();
    stage.broker.stop().unwrap();
    // Whoever can write to the store widens the lock, and forgets that its digest stands in the record.
    let change = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
        n = c.execute(\"UPDATE policies SET lock_text = lock_text || '# wider' WHERE lock_text <> ''\").rowcount; c.commit(); print(n)";
    let database = stage.dir().join("guard.db");
    let changed = Command::new("python3").args(["-c", change]).arg(database).output().unwrap();
    let changed = Finished::from(changed).ok().text();
    assert_ne!(changed, "0");
    stage.restart_broker().unwrap();
    let run = ["run", "--", "psql", "-X", "-A", "-t", "-c", "SELECT name FROM jobs WHERE id = 1"];
    let mut run = stage.step(&run);
    let run = run.env("GUARD_SESSION", &socket).env("GUARD_ISOLATION", "env").output().unwrap();
    let run = Finished::from(run);
    assert!(run.code != 0 && !run.text().contains("job"), "{run:?}");
    let mut stop = stage.step(&["session", "stop"]);
    let _stopped = stop.env("GUARD_SESSION", &socket).output().unwrap();
}
