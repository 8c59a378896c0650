//! `guard policy` as a person and a pipeline see it: what it prints, and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const POLICY: &str = "policy: small
rules:
  - { name: no-drop, sql: { effects: [drop] }, decide: block, say: schema changes go through migrations }
  - { name: reads, sql: { effects: [read, session] }, decide: allow }
  - { name: purge, sql: { effects: [delete], bounded: true }, decide: allow }
masks:
  - { sql: { columns: [public.users.email] }, with: hash }
";

const CASES: &str = "tables:
  public.users: [id, email]
cases:
  - { sql: \"SELECT * FROM users\", expect: allow, rule: reads, masks: [none, hash] }
  - { sql: \"DROP TABLE users\", expect: block, rule: no-drop }
";

/// What `guard policy` in a folder with these files answers: its exit code, its output, its errors.
fn guard(files: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    guard_in(folder.path(), arguments)
}

fn guard_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_guard"))
        .env_clear()
        .current_dir(folder)
        .arg("policy")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn small() -> Vec<(&'static str, &'static str)> {
    vec![("policies/small.yaml", POLICY), ("policies/small.cases.yaml", CASES)]
}

#[test]
fn check_tells_what_is_right_and_what_is_not() {
    let (code, out, _) = guard(&small(), &["check", "policies"]);
    assert_eq!(
        out,
        "policies/small.cases.yaml: ok 2 cases
policies/small.yaml: ok policy `small`, 3 rules, with masks
"
    );
    assert_eq!(code, 0);

    let mut files = small();
    files.push((
        "policies/bad.yaml",
        "policy: bad\nrules:\n  - { name: r, sql: { effects: [reed] } }\n",
    ));
    let (code, out, _) = guard(&files, &["check", "policies"]);
    assert!(out.contains("policies/bad.yaml:3:5: `decide` is missing\n"), "{out}");
    assert!(
        out.contains("policies/bad.yaml:3:33: `reed` is not known here\n  help: one of"),
        "{out}"
    );
    assert!(out.ends_with("2 problems\n"), "{out}");
    assert_eq!(code, 1);

    let (code, out, _) = guard(&files, &["check", "policies", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json.pointer("/problems/0/line").unwrap(), 3);
    assert_eq!(json.pointer("/files/1/policy").unwrap(), "small");
    assert_eq!(code, 1);
}

#[test]
fn what_cannot_be_read_is_another_exit_code() {
    for (arguments, expected) in [
        (&["check", "nowhere"][..], "cannot read `nowhere`"),
        (&["check", "empty"][..], "found no policy in `empty`"),
        (&["test"][..], "cannot read `policies`"),
        (&["test", "empty"][..], "found no cases in `empty`"),
        (&["explain", "--policy", "nowhere", "SELECT 1"][..], "cannot read `nowhere`"),
        (&["explain", "--policy", "bad.yaml", "SELECT 1"][..], "bad.yaml:1:1: `rules` is missing"),
        (&["explain", "--policy", "small.yaml", " "][..], "holds no statement"),
        (&["check"][..], "required"),
    ] {
        let files = [("empty/x.txt", ""), ("bad.yaml", "policy: p\n"), ("small.yaml", POLICY)];
        let (code, out, error) = guard(&files, arguments);
        assert!(error.contains(expected), "{arguments:?}\n{error}");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
    }
}

#[test]
fn the_packs_hold_their_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let examples = ["nightly-backup", "approved-cleanup", "release"];
    let [a, b, c] = examples.map(|name| format!("examples/{name}/policies"));
    let arguments = ["test", "policies", &a, &b, &c];
    let (code, out, error) = guard_in(&root, &arguments);
    assert!(out.ends_with(" cases, 0 not as expected\n"), "{out}{error}");
    assert_eq!(code, 0);
}

#[test]
fn a_case_that_does_not_hold_is_told_with_the_reason() {
    let cases = "tables:
  public.users: [id, email]
cases:
  - { sql: \"SELECT email FROM users\", expect: allow, masks: [none] }
  - { sql: \"SELECT 1; DROP TABLE users\", expect: allow }
  - { sql: \"DELETE FROM users\", expect: block, rule: no-drop }
  - { sql: \"  \", expect: allow }
";
    let files = [("p.yaml", POLICY), ("p.cases.yaml", cases), ("q.yaml", POLICY)];
    let (code, out, _) = guard(&files, &["test", "."]);
    assert_eq!(
        out,
        "./p.cases.yaml:4:5: SELECT email FROM users
  expected allow with masks [none], found allow with masks [hash]
  read `public.users`: allow by `reads`
./p.cases.yaml:5:5: SELECT 1; DROP TABLE users
  expected allow, found block by rule `no-drop`
  drop `public.users`: block by `no-drop`
./p.cases.yaml:6:5: DELETE FROM users
  expected block by rule `no-drop`, found block by rule `default-deny`
  delete `public.users` (unbounded): block by `default-deny`
./p.cases.yaml:7:5:   
  expected allow, found no statement at all
./q.yaml: no cases
4 cases, 4 not as expected
"
    );
    assert_eq!(code, 1);

    let (code, out, _) = guard(&files, &["test", "p.yaml", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json.pointer("/failed").unwrap(), 4);
    assert_eq!(json.pointer("/files/0/failures/1/found").unwrap(), "block by rule `no-drop`");
    assert_eq!(code, 1);
}

#[test]
fn explain_shows_effects_lineage_and_decision() {
    let explain = |sql: &str| {
        let (code, out, error) =
            guard(&small(), &["explain", "--policy", "policies/small.yaml", sql]);
        assert_eq!(code, 0, "{error}");
        out
    };
    assert_eq!(
        explain("SELECT id, email AS id FROM users; DROP TABLE users"),
        "SELECT id, email AS id FROM users
  understood  exact
  effect      read `public.users` → allow by rule `reads`
  result      1: public.users.id
  result      2: public.users.email → hash
  decision    allow by rule `reads`

DROP TABLE users
  understood  exact
  effect      drop `public.users` → block by rule `no-drop`
  decision    block blocked DROP on `public.users` by rule `no-drop` of policy `small` (GRD-2101)
  detail      schema changes go through migrations
  hint        leave it out of the job, or have rule `no-drop` of `small` changed
"
    );
    let unbounded = explain("DELETE FROM users");
    assert!(
        unbounded.contains("hint        bound it with a WHERE that leaves rows out"),
        "{unbounded}"
    );
    let computed = explain("SELECT lower(email) FROM users");
    assert!(computed.contains("(GRD-2104)"), "{computed}");
    let broken = explain("SELEC 1");
    assert!(broken.contains("understood  unparsed"), "{broken}");
}

#[test]
fn explain_gives_json_for_programs() {
    let arguments =
        ["explain", "--policy", "policies/small.yaml", "--json", "SELECT email FROM users"];
    let (code, out, _) = guard(&small(), &arguments);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json.pointer("/statements/0/decision").unwrap(), "allow");
    assert_eq!(json.pointer("/statements/0/masks/0").unwrap(), "hash");
    assert_eq!(json.pointer("/statements/0/trace/0/rule").unwrap(), "reads");
    assert_eq!(code, 0);
}

#[test]
fn a_statement_cannot_write_to_the_terminal() {
    let (_, out, _) = guard(
        &small(),
        &["explain", "--policy", "policies/small.yaml", "SELECT '\x1b[2J\x07' FROM users"],
    );
    assert!(!out.contains('\x1b') && !out.contains('\x07'), "{out:?}");
}

#[test]
fn a_case_can_say_what_the_planner_would_expect() {
    let policy = "policy: p
rules:
  - { name: purge, sql: { effects: [delete], rows: 1000 }, decide: allow }
";
    let cases = "tables:
  public.old: [id]
cases:
  - { sql: DELETE FROM old, rows: 1000, expect: allow, rule: purge }
  - { sql: DELETE FROM old, rows: 1001, expect: block, rule: default-deny }
  - { sql: DELETE FROM old, expect: block, rule: default-deny }
  - { sql: DELETE FROM old, rows: 12, expect: block }
";
    let files = [("p.yaml", policy), ("p.cases.yaml", cases)];
    let (code, out, _) = guard(&files, &["test", "p.yaml"]);
    assert!(
        out.contains("p.cases.yaml:7:5: DELETE FROM old\n  expected block, found allow"),
        "{out}"
    );
    assert!(out.ends_with("4 cases, 1 not as expected\n"), "{out}");
    assert_eq!(code, 1);

    let explain = |rows: &[&str]| {
        let mut arguments = vec!["explain", "--policy", "p.yaml", "DELETE FROM old"];
        arguments.extend(rows);
        guard(&files, &arguments).1
    };
    assert!(explain(&["--rows", "7"]).contains("decision    allow by rule `purge`"));
    for rows in [&["--rows", "7000"][..], &[]] {
        let out = explain(rows);
        assert!(out.contains("expects at most 1000 rows"), "{out}");
    }
}

#[test]
fn a_lock_is_read_beside_its_policy_and_cases_are_about_the_rules() {
    let locked = format!("{POLICY}lock: {{ file: small.lock.yaml, unlisted: block }}\n");
    let cases = format!(
        "{CASES}  - {{ sql: \"SELECT id FROM users\", locked: true, expect: block, rule: lock }}\n"
    );
    let mut files = vec![
        ("policies/small.yaml", locked.as_str()),
        ("policies/small.cases.yaml", cases.as_str()),
    ];
    let (code, out, _) = guard(&files, &["check", "policies/small.yaml"]);
    assert!(out.contains("the lock `small.lock.yaml` cannot be had"), "{out}");
    assert_eq!(code, 1);
    files.push(("policies/small.lock.yaml", "lock: guard-lock/1\n"));
    let (code, out, _) = guard(&files, &["check", "policies"]);
    assert!(out.contains("small.lock.yaml: ok lock, 0 statements"), "{out}");
    assert!(out.contains("policy `small`, 3 rules, with masks, with a lock"), "{out}");
    assert_eq!(code, 0);
    let (code, out, _) = guard(&files, &["test", "policies"]);
    assert_eq!((code, out.as_str()), (0, "3 cases, 0 not as expected\n"));
    let explain = ["explain", "--policy", "policies/small.yaml", "SELECT id FROM users"];
    let (code, out, _) = guard(&files, &explain);
    assert!(
        out.contains("it is not in the lock of the policy") && out.contains("GRD-2107"),
        "{out}"
    );
    assert_eq!(code, 0);
}
