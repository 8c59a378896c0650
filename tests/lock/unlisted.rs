//! What becomes of statements and places that the lock does not list.

use std::fs;

use guard_tests::{Stage, script};
use serde_json::Value;

use super::job::{
    JOB, RULES, give, goes_on, job, learn, lock_file, locked, name_of, newest_record, refused,
    shown, stage,
};

#[test]
fn the_same_job_goes_on_and_another_statement_does_not() {
    let stage = locked("block");
    let text = fs::read_to_string(lock_file(&stage)).unwrap();
    assert!(!text.contains("secret") && !text.contains("60000"), "{text}");
    assert!(text.contains("UPDATE jobs SET name = $1 WHERE id = $2"), "{text}");
    assert!(text.contains("- update table public.jobs"), "{text}");
    goes_on(&stage, JOB);
    goes_on(&stage, &JOB.replace("seen-secret", "its other").replace("id = 1", "id = 2"));
    assert_eq!(name_of(&stage, 2), "its other");
    // Case, quotes, blanks and comments are no other statement.
    let same = goes_on(&stage, "select /* all */ NAME\n from \"jobs\" -- x\n where id=5;");
    assert_eq!(same, "job");

    let said = refused(&stage, "DELETE FROM jobs WHERE id = 3;");
    assert!(said.contains("of policy `stage`") && said.contains("guard lock diff"), "{said}");
    assert_eq!(name_of(&stage, 3), "job");
    // What an error is answered with goes on, though no good run ever sent it.
    let recovered = refused(&stage, "BEGIN; SELECT hidden FROM jobs; ROLLBACK; SELECT 1;");
    assert!(recovered.ends_with('1') && !recovered.contains("hidden\n"), "{recovered}");
    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["refused"], 1, "{report}");
}

/// What `guard lock diff` says of the newest run.
fn diff(stage: &Stage, code: i32) -> String {
    let (lock, record) = (shown(&lock_file(stage)), newest_record(stage));
    stage.tool(&["lock", "diff", &lock, &record]).unwrap().code(code).text()
}

#[test]
fn what_is_new_is_reported_and_goes_on() {
    let stage = locked("report");
    let said = goes_on(
        &stage,
        "SELECT hidden FROM jobs WHERE id = 1; UPDATE jobs SET name = 'all' WHERE id = 1;",
    );
    assert!(said.contains("hidden"), "{said}");
    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["unlisted"], 1, "{report}");
    let page = stage.report_dirs().pop().unwrap();
    for file in ["report.html", "report.md"] {
        let text = fs::read_to_string(page.join(file)).unwrap();
        assert!(text.to_lowercase().contains("new since the lock"), "{file}");
    }
    let words = diff(&stage, 1);
    for part in [
        "+ new statement: SELECT hidden FROM jobs WHERE id = $1",
        "does: read table public.jobs",
        "- not done: COPY jobs",
    ] {
        assert!(words.contains(part), "{words}");
    }
    let (lock, record) = (shown(&lock_file(&stage)), newest_record(&stage));
    let json = stage.tool(&["lock", "diff", &lock, &record, "--json"]).unwrap().code(1);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["resources"][0]["resource"], "shop", "{json}");
    assert_eq!(json["same"], false);
    goes_on(&stage, JOB);
    assert_eq!(diff(&stage, 0), "the same as the lock");
    assert_eq!(stage.report().unwrap()["counts"]["unlisted"], 0);
}

#[test]
fn more_or_fewer_rows_than_were_learned_are_reported_and_never_refused() {
    let stage = locked("block");
    let more = "INSERT INTO jobs SELECT n FROM generate_series(10, 18) n";
    stage.postgres.sql("shop", more).unwrap();
    goes_on(&stage, "COPY jobs (id) TO STDOUT;");
    // Twice as many are still taken for the same.
    assert_eq!(stage.report().unwrap()["counts"]["beyond_learned"], 0);
    stage.postgres.sql("shop", "INSERT INTO jobs VALUES (19)").unwrap();
    goes_on(&stage, "COPY jobs (id) TO STDOUT;");
    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["beyond_learned"], 1, "{report}");
    let words = diff(&stage, 1);
    assert!(words.contains("! 19 rows, in the lock 9: COPY jobs (id) TO STDOUT"), "{words}");
    let page = fs::read_to_string(stage.report_dirs().pop().unwrap().join("report.md")).unwrap();
    assert!(page.contains("not the 4 to 18 rows of the lock"), "{page}");
    // A lock that knows both runs takes both.
    let _learned = learn(&stage, &["--merge"]);
    give(&stage, "lock: block");
    goes_on(&stage, "COPY jobs (id) TO STDOUT;");
    assert_eq!(stage.report().unwrap()["counts"]["beyond_learned"], 0);
}

#[test]
fn what_is_new_waits_for_people_and_is_refused_when_nobody_decides() {
    let stage = locked("{ unlisted: approve, approvers: [dba], within: 10s }");
    goes_on(&stage, JOB);
    let new = job(&stage, "DELETE FROM jobs WHERE id = 3;").ok();
    assert!(new.text().contains("GRD-2403"), "{}", new.text());
    let _said = new.says("GRD-2401").says("/approvals/");
    assert_eq!(name_of(&stage, 3), "job");
    let record = stage.sealed_record().unwrap();
    assert!(record.contains("approval-asked") && record.contains("expired"), "{record}");
}

#[test]
fn a_run_with_something_new_is_parked_where_the_lock_says_so() {
    let stage = locked("{ unlisted: approve, approvers: [dba], within: 1h, wait: park }");
    let run = script("psql -X -q -c 'DELETE FROM jobs WHERE id = 3'");
    let _parked = stage.run(&run).unwrap().code(75).says("GRD-2401").says("/approvals/");
    assert_eq!(name_of(&stage, 3), "job");
}

#[test]
fn a_policy_that_observes_refuses_nothing_by_its_lock_and_says_what_it_would() {
    let stage = locked("block");
    let observing = format!("mode: observe\n{RULES}lock: block\n");
    fs::write(stage.dir().join("policies/stage.yaml"), observing).unwrap();
    let _reloaded = stage.broker_tool(&["reload"]).unwrap().ok();
    goes_on(&stage, "DELETE FROM jobs WHERE id = 3;");
    assert_eq!(name_of(&stage, 3), "");
    let report = stage.report().unwrap();
    assert_eq!(
        (&report["counts"]["would_refuse"], &report["counts"]["unlisted"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn fail_closed_a_lock_without_the_resource_lists_nothing_of_it() {
    let stage = stage();
    fs::write(lock_file(&stage), "lock: guard-lock/1\n").unwrap();
    give(&stage, "lock: block");
    refused(&stage, "SELECT name FROM jobs WHERE id = 1;");
    // What touches nothing goes on.
    assert_eq!(goes_on(&stage, "SET statement_timeout = 1000; BEGIN; SELECT 1; COMMIT;"), "1");
}

const GO: &str = "
import sys, urllib.request
for place in sys.argv[1:]:
    try:
        urllib.request.urlopen(f'https://{place}/', timeout=20)
    except OSError as error:
        print(place, error)
";

/// Lets the command go to places, on which nobody listens: that it was asked and allowed is what counts.
fn goes(stage: &Stage, places: &[&str]) -> String {
    let file = stage.dir().join("go.py");
    fs::write(&file, GO).unwrap();
    let text = format!("unset NO_PROXY no_proxy; python3 {} {}", file.display(), places.join(" "));
    let run = stage.run(&script(&text)).unwrap().ok();
    format!("{}\n{}", run.text(), run.stderr)
}

#[test]
fn a_place_that_the_lock_does_not_list_is_refused_though_the_policy_lists_it() {
    const EGRESS: &str = "egress: [{ to: 'localhost:1', networks: [127.0.0.0/8, '::1/128'] }, { to: 'localhost:2', networks: [127.0.0.0/8, '::1/128'] }]";
    let stage = stage();
    give(&stage, EGRESS);
    let said = goes(&stage, &["localhost:1"]);
    assert!(!said.contains("403"), "{said}");
    let _learned = learn(&stage, &[]);
    let text = fs::read_to_string(lock_file(&stage)).unwrap();
    assert!(text.contains("egress:\n- localhost:1\n"), "{text}");
    for (lock, is_refused) in [
        ("report", false),
        ("block", true),
        ("{ unlisted: approve, approvers: [dba], within: 10s }", true),
    ] {
        give(&stage, &format!("{EGRESS}\nlock: {lock}"));
        let said = goes(&stage, &["localhost:1", "localhost:2", "localhost:3"]);
        let of = |place: &str| said.lines().find(|line| line.starts_with(place)).unwrap();
        assert!(!of("localhost:1").contains("403"), "{lock}: {said}");
        assert_eq!(of("localhost:2").contains("403"), is_refused, "{lock}: {said}");
        assert!(of("localhost:3").contains("403"), "{lock}: {said}");
        let why = "`localhost:2` is not in the lock of the policy that lists it";
        assert_eq!(said.contains(why), is_refused, "{lock}: {said}");
        assert!(said.contains("`localhost:3` is in the `egress` of none"), "{lock}: {said}");
    }
}
