//! What can be wrong on a bad day: a clear message, the right exit code, and closed, not open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{fs, path::Path, process::Command};

use guard_tests::{
    Finished, Programs, Stage, policies,
    process::{free_port, is_root},
    script,
};

/// Exit code of guard's own failures.
const OWN: i32 = 125;

#[test]
fn an_unreachable_broker() {
    let stage = Stage::builder().start().unwrap();
    let nowhere = format!("http://127.0.0.1:{}", free_port().unwrap());
    let mut guard = Command::new(Programs::built().unwrap().guard);
    guard.args(["run", "--broker", &nowhere, "--", "touch"]).arg(stage.dir().join("ran"));
    let run = Finished::from(guard.envs(stage.issuer.variables()).output().unwrap());
    let _run = run.code(OWN).says(&nowhere);
    assert!(!stage.dir().join("ran").exists(), "the command ran");
}

#[test]
fn an_unknown_resource() {
    let stage = Stage::builder().start().unwrap();
    let mut guard = Command::new(Programs::built().unwrap().guard);
    guard.args(["run", "--broker", &stage.url, "--resource", "nowhere", "--", "true"]);
    let run = Finished::from(guard.envs(stage.issuer.variables()).output().unwrap());
    let _run = run.code(OWN).says("guard: ");
}

#[test]
fn no_identity_at_all() {
    let stage = Stage::builder().start().unwrap();
    let mut guard = Command::new(Programs::built().unwrap().guard);
    guard
        .args(["run", "--broker", &stage.url, "--", "true"])
        .env_clear()
        .env("GITHUB_ACTIONS", "true")
        .env("HOME", stage.dir())
        .env("PATH", "/usr/bin:/bin");
    let _run = Finished::from(guard.output().unwrap()).code(OWN).says("id-token: write");
    let mut guard = Command::new(Programs::built().unwrap().guard);
    guard
        .args(["run", "--broker", &stage.url, "--token-file", "/nowhere/token", "--", "true"])
        .env_clear();
    let _run = Finished::from(guard.output().unwrap()).code(OWN).says("/nowhere/token");
}

#[test]
fn an_identity_without_a_grant() {
    let stage = Stage::builder().claim("ref", "refs/heads/evil").start().unwrap();
    let run = stage.run(&script("touch \"$HOME/ran\"")).unwrap();
    let _run = run.code(OWN).says("refused");
    assert_eq!(stage.records().len(), 0);
}

#[test]
fn a_session_whose_time_is_over() {
    let stage = Stage::builder().limit("1m").policy(policies::READ_ONLY).start().unwrap();
    // A statement that would go on for longer than the session may.
    let run = stage.psql("SELECT pg_sleep(600)").unwrap();
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("session"), "{}", run.stderr);
    let record = stage.sealed_record().unwrap();
    assert!(record.contains("the session's time is over"), "{record}");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    assert_eq!(stage.postgres.sql("shop", left).unwrap(), "0", "the statement is still running");
}

#[test]
fn a_broken_configuration_is_reported_whole() {
    let stage = Stage::builder().start().unwrap();
    let config = stage.dir().join("guard.yaml");
    let good = fs::read_to_string(&config).unwrap();
    let check = |text: &str, policy: &str| -> Finished {
        let dir = stage.dir().join("broken");
        drop(fs::remove_dir_all(&dir));
        for (from, to) in [("trust", "trust"), ("policies", "policies")] {
            fs::create_dir_all(dir.join(to)).unwrap();
            fs::copy(stage.dir().join(from).join("stage.yaml"), dir.join(to).join("stage.yaml"))
                .unwrap();
        }
        for file in ["ca.pem", "password"] {
            fs::copy(stage.dir().join(file), dir.join(file)).unwrap();
        }
        if !policy.is_empty() {
            fs::write(dir.join("policies/stage.yaml"), policy).unwrap();
        }
        fs::write(dir.join("guard.yaml"), text).unwrap();
        let programs = Programs::built().unwrap();
        let output = Command::new(programs.broker)
            .args(["check", "--config"])
            .arg(dir.join("guard.yaml"))
            .output()
            .unwrap();
        output.into()
    };
    assert_eq!(check(&good, "").code, 0, "the good one passes");
    let broken = good
        .replace("kind: postgres", "kind: postgress")
        .replace("platform: github", "platform: gitbub")
        .replace("listen: 127.0.0.1", "lissten: 127.0.0.1");
    let run = check(&broken, "policy: stage\nrules: []\n");
    assert_ne!(run.code, 0);
    let said = format!("{}{}", run.text(), run.stderr);
    for part in ["postgress", "gitbub", "lissten", "listen", "list is empty"] {
        assert!(said.contains(part), "`{part}` is not named: {said}");
    }
    assert!(said.contains("guard.yaml:1:1"), "no place: {said}");
    for text in ["", "{", "- a", "listen: &x 1\nurl: *x\n", "\t", "listen: [", "a: b: c"] {
        let run = check(text, "");
        assert_ne!(run.code, 0, "`{text}` passes");
        assert!(!format!("{}{}", run.text(), run.stderr).contains("panicked"), "`{text}`");
    }
}

#[test]
fn a_literal_password_is_refused() {
    let stage = Stage::builder().start().unwrap();
    let config = stage.dir().join("literal.yaml");
    let text = fs::read_to_string(stage.dir().join("guard.yaml")).unwrap();
    fs::write(&config, text.replace("{ file: password }", "hunter2")).unwrap();
    let programs = Programs::built().unwrap();
    let output =
        Command::new(programs.broker).args(["check", "--config"]).arg(&config).output().unwrap();
    let run = Finished::from(output);
    assert_ne!(run.code, 0);
    assert!(!format!("{}{}", run.text(), run.stderr).contains("hunter2"), "it is repeated");
}

/// A file system of one megabyte, for as long as it lives.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(done.success());
        Self(at.to_path_buf())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_under_the_record_closes() {
    if !is_root() {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let small = Small::mount(&at.path().join("small"));
    let stage = Stage::builder().shop(10).recordings(&small.0).start().unwrap();
    // Statements of which each needs a place of its own in the record, until there is none.
    let lines: Vec<String> = (0..4000)
        .map(|n| {
            format!(
                "UPDATE orders SET note = '{}' WHERE id = 1; -- {n}",
                format!("{n:08}").repeat(40)
            )
        })
        .collect();
    let file = stage.dir().join("many.sql");
    fs::write(&file, lines.join("\n")).unwrap();
    let file = file.display().to_string();
    let run = stage.client("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &file]).unwrap();
    assert_ne!(run.code, 0, "{}", run.stderr);
    let note = stage.postgres.sql("shop", "SELECT note FROM orders WHERE id = 1").unwrap();
    assert!(!note.starts_with("00003999"), "statements went on without a record");
    // The last statement that was executed is in the record: it came before the act.
    let records = stage.records();
    let record = fs::read_to_string(records.last().unwrap()).unwrap();
    assert!(record.contains(&note), "`{note}` was executed and is not in the record");
    drop(stage);
    drop(small);
}
