//! Locks where a job has one session for several commands.

use std::{fs, process::Command};

use guard_tests::{Finished, Stage};

use super::job::{JOB, give, lock_file, locked, name_of, shown, stage};

/// A job's session, which ends with the test.
struct Session<'a> {
    stage: &'a Stage,
    socket: String,
}

impl<'a> Session<'a> {
    fn start(stage: &'a Stage) -> Self {
        let reports = shown(&stage.reports());
        let started: Finished = stage
            .step(&["session", "start", "--broker", &stage.url, "--report", &reports])
            .output()
            .unwrap()
            .into();
        let started = started.ok().text();
        let socket = started.trim().strip_prefix("GUARD_SESSION=").unwrap().to_owned();
        Self { stage, socket }
    }

    fn step(&self, arguments: &[&str]) -> Finished {
        let mut command: Command = self.stage.step(arguments);
        command.env("GUARD_SESSION", &self.socket).env("GUARD_ISOLATION", "env");
        command.output().unwrap().into()
    }

    fn psql(&self, options: &[&str], sql: &str) -> Finished {
        let psql = ["--", "psql", "-X", "-A", "-t", "-q", "-c", sql];
        self.step(&[&["run"], options, &psql].concat())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        drop(self.step(&["session", "stop"]));
    }
}

#[test]
fn each_command_of_a_session_is_kept_to_the_lock() {
    let stage = locked("block");
    let session = Session::start(&stage);
    let listed = "SELECT name FROM jobs WHERE id = 2";
    assert_eq!(session.psql(&["--step", "one"], listed).ok().text(), "job");
    let new = session.psql(&["--step", "two"], "DELETE FROM jobs WHERE id = 3").code(1);
    assert!(new.stderr.contains("GRD-2107"), "{}", new.stderr);
    assert_eq!(name_of(&stage, 3), "job");
    // What one command did another one may not therefore do.
    let _same = session.psql(&[], "SELECT hidden FROM jobs WHERE id = 2").code(1);
    let stopped = session.step(&["session", "stop", "--fail-on", "blocked"]);
    let _said = stopped.code(1).says("2 refused");
    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["refused"], 2, "{report}");
}

#[test]
fn a_session_is_learned_when_it_ends_and_not_by_one_of_its_commands() {
    let stage = stage();
    let file = shown(&lock_file(&stage));
    let session = Session::start(&stage);
    let mark = stage.dir().join("ran");
    let touch = ["run", "--learn", &file, "--", "touch", &shown(&mark)];
    let _said = session.step(&touch).code(125).says("guard session stop --learn");
    assert!(!mark.exists() && !lock_file(&stage).exists());
    let (first, second) =
        ("SELECT name FROM jobs WHERE id = 2", "SELECT id FROM jobs WHERE id < 4");
    let _run = session.psql(&[], first).ok();
    let _run = session.psql(&[], second).ok();
    let stopped = session.step(&["session", "stop", "--learn", &file]).ok();
    let _said = stopped.says("2 different statements stand in `");
    let lock = fs::read_to_string(&file).unwrap();
    assert!(lock.contains("SELECT name FROM jobs WHERE id = $1"), "{lock}");
    give(&stage, "lock: block");
    let session = Session::start(&stage);
    let _run = session.psql(&[], first).ok();
    let _run = session.psql(&[], second).ok();
    let _refused = session.psql(&[], "DELETE FROM jobs").code(1);
}

#[test]
fn a_lock_that_cannot_be_used_keeps_no_session_open_and_is_told() {
    let stage = stage();
    let session = Session::start(&stage);
    let _run = session.psql(&[], JOB).ok();
    let file = stage.dir().join("guard.lock");
    fs::write(&file, "lock: guard-lock/9\n").unwrap();
    let stopped = session.step(&["session", "stop", "--learn", &shown(&file)]);
    let _said = stopped.code(125).says("guard.lock:1:7");
    assert!(stage.sealed_record().unwrap().contains("session-ended"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "lock: guard-lock/9\n");
    // How it ended is known, so the lock can be named again.
    let good = shown(&stage.dir().join("good.lock"));
    let stopped = session.step(&["session", "stop", "--learn", &good]);
    let _said = stopped.ok().says("stand in `");
}
