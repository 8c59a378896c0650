//! `guard run --learn` and `guard lock`.

use std::{fs, os::unix::fs::symlink, path::Path};

use guard_tests::{Finished, Stage};

use super::job::{goes_on, learn, lock_file, shown, stage};

/// `guard run --learn FILE -- sh -c TEXT`.
fn learning(stage: &Stage, file: &Path, text: &str) -> Finished {
    let (file, reports) = (shown(file), shown(&stage.reports()));
    let mut command = stage.step(&[
        "run", "--broker", &stage.url, "--report", &reports, "--learn", &file, "--", "sh", "-euc",
        text,
    ]);
    command.env("GUARD_ISOLATION", "env").output().unwrap().into()
}

fn psql(sql: &str) -> String {
    format!("psql -X -A -t -q -c \"{sql}\"")
}

#[test]
fn a_run_learns_and_a_second_one_unites() {
    let stage = stage();
    let file = stage.dir().join("guard.lock");
    let learn = |sql: &str| -> String {
        let _run = learning(&stage, &file, &psql(sql)).ok().says("1 statement stands in `");
        fs::read_to_string(&file).unwrap()
    };
    let first = learn("SELECT id FROM jobs WHERE id < 3");
    assert!(first.starts_with("# Made by `guard lock learn` or `guard run --learn`"), "{first}");
    assert!(first.contains("least: 2") && first.contains("most: 2"), "{first}");
    let second = learn("SELECT id FROM jobs WHERE id < 6");
    assert!(second.contains("least: 2") && second.contains("most: 5"), "{second}");
    assert_eq!(learn("SELECT id FROM jobs WHERE id < 6"), second);
    // And from the records, in whichever order.
    let dirs = stage.report_dirs();
    let records: Vec<String> = dirs.iter().map(|dir| shown(&dir.join("record.jsonl"))).collect();
    let out = shown(&stage.dir().join("again.lock.yaml"));
    for order in [vec![0, 1, 2], vec![2, 1, 0]] {
        let mut arguments = vec!["lock", "learn"];
        arguments.extend(order.iter().map(|place: &usize| records[*place].as_str()));
        arguments.extend(["--out", out.as_str()]);
        let _learned = stage.tool(&arguments).unwrap().ok();
        assert_eq!(fs::read_to_string(&out).unwrap(), second);
    }
    let same = stage.tool(&["lock", "diff", &out, &shown(&file)]).unwrap().ok();
    assert_eq!(same.text(), "the same as the lock");
    let _unusable = stage.tool(&["lock", "diff", "nothing.yaml", &out]).unwrap().code(2);
}

#[test]
fn the_file_is_called_guard_lock_where_nothing_is_said() {
    let stage = stage();
    let reports = shown(&stage.reports());
    let mut command =
        stage.step(&["run", "--broker", &stage.url, "--report", &reports, "--learn", "--"]);
    command.args(["sh", "-c", &psql("SELECT id FROM jobs WHERE id < 3")]);
    let run: Finished =
        command.env("GUARD_ISOLATION", "env").current_dir(stage.dir()).output().unwrap().into();
    let _run = run.ok().says("stands in `guard.lock`");
    assert!(stage.dir().join("guard.lock").is_file());
}

#[test]
fn what_was_refused_or_failed_is_not_learned_as_done() {
    let stage = stage();
    let file = stage.dir().join("guard.lock");
    let text =
        format!("{}; {} || true", psql("SELECT id FROM jobs"), psql("SELECT nothing FROM nowhere"));
    let _run = learning(&stage, &file, &text).ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("secret"), "{text}");
    // Statements that the server refused have no rows.
    assert_eq!(text.matches("least").count(), 1, "{text}");
}

#[test]
fn fail_closed_nothing_is_run_for_a_lock_that_cannot_be_used() {
    let stage = stage();
    let (file, mark) = (stage.dir().join("guard.lock"), stage.dir().join("ran"));
    let text = format!("touch {}", shown(&mark));
    for broken in ["lock: guard-lock/9\n", "x", "lock: guard-lock/1\nlock: guard-lock/1\n"] {
        fs::write(&file, broken).unwrap();
        let _run = learning(&stage, &file, &text).code(125).says("guard.lock:");
        assert_eq!(fs::read_to_string(&file).unwrap(), broken);
    }
    // What a link leads to may be what the job should not read, and would be told of.
    fs::remove_file(&file).unwrap();
    let secret = stage.dir().join("secret");
    fs::write(&secret, "password: hunter2\n").unwrap();
    symlink(&secret, &file).unwrap();
    let run = learning(&stage, &file, &text).code(125);
    assert!(
        run.stderr.contains("no ordinary file") && !run.stderr.contains("hunter2"),
        "{}",
        run.stderr
    );
    assert!(!mark.exists());
}

#[test]
fn a_link_that_the_command_leaves_is_replaced_and_not_followed() {
    let stage = stage();
    let (file, other) = (stage.dir().join("guard.lock"), stage.dir().join("other"));
    fs::write(&other, "precious\n").unwrap();
    let text = format!("ln -s {} {}; {}", shown(&other), shown(&file), psql("SELECT id FROM jobs"));
    let _run = learning(&stage, &file, &text).ok();
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious\n");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
}

#[test]
fn a_record_without_texts_is_not_learned_from() {
    let stage = stage();
    let policy = stage.dir().join("policies/stage.yaml");
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, format!("{text}record: {{ literals: fingerprint }}\n")).unwrap();
    let _reloaded = stage.broker_tool(&["reload"]).unwrap().ok();
    goes_on(&stage, "SELECT name FROM jobs WHERE id = 1;");
    let said = learn(&stage, &[]).stderr;
    assert!(said.contains("of which the record has no text to read"), "{said}");
    let lock = fs::read_to_string(lock_file(&stage)).unwrap();
    assert!(!lock.contains("resources"), "{lock}");
}

#[test]
fn records_that_are_none_are_said_to_be_none() {
    let stage = stage();
    let (none, out) = (shown(&stage.dir().join("none.jsonl")), shown(&stage.dir().join("out")));
    for text in ["", "{}\n", "not a record\n"] {
        fs::write(&none, text).unwrap();
        let said = stage.tool(&["lock", "learn", &none, "--out", &out]).unwrap().code(2);
        assert!(said.stderr.contains("none.jsonl"), "{}", said.stderr);
        assert!(!Path::new(&out).exists());
    }
}
