//! One run from its identity token to its report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use guard_tests::{
    EnforceAt, Stage, policies,
    process::{exit_code, wait_for},
    script,
};
use serde_json::Value;

#[test]
fn a_run_reads_and_its_report_says_so() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder()
            .shop(100)
            .policy(policies::READ_ONLY)
            .enforce_at(place)
            .start()
            .unwrap();
        let run = stage.psql("SELECT count(*) FROM public.customers").unwrap().ok();
        assert_eq!(run.text(), "100");
        let _run = run.says("acme/shop").says("stage");

        let report = stage.report().unwrap();
        let text = report.to_string();
        assert!(text.contains("22259804324"), "the run is not in the report: {text}");
        let record = stage.sealed_record().unwrap();
        assert!(record.contains("customers"), "{record}");

        let file = stage.report_dirs().pop().unwrap().join("record.jsonl");
        let file = file.display().to_string();
        let key = stage.key().unwrap();
        let verified = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap();
        assert!(verified.ok().text().contains("log:   leaf 1 of 2 in `"));

        // A checkpoint that is kept, and the next one, which has all of it; with a bundle that is verified against it.
        let kept = stage.dir().join("kept.txt").display().to_string();
        let keep = ["audit", "checkpoint", "--broker", &stage.url, "--key", &key, "--out", &kept];
        assert!(stage.tool(&keep).unwrap().ok().text().contains("2 leaves"));
        let _run = stage.psql("SELECT 1").unwrap().ok();
        assert!(stage.tool(&keep).unwrap().ok().text().contains("among them all 2"));
        let against = [
            "audit",
            "verify",
            &file,
            "--key",
            &key,
            "--checkpoint",
            &kept,
            "--broker",
            &stage.url,
        ];
        let verified = stage.tool(&against).unwrap().ok();
        assert!(verified.text().contains("holds all of this tree"), "{}", verified.text());
    }
}

#[test]
fn the_sealing_key_is_replaced_while_the_broker_runs_and_the_first_key_verifies_on() {
    let stage = Stage::builder().shop(10).start().unwrap();
    let first = stage.key().unwrap();
    let _run = stage.psql("SELECT 1").unwrap().ok();
    let rotated = stage.broker_tool(&["key", "rotate"]).unwrap().ok();
    assert!(rotated.text().contains("is replaced by"), "{}", rotated.text());
    let second = stage.key().unwrap();
    assert_ne!(first, second);
    // The broker takes it up within seconds.
    let sealed_by_second = || {
        let _run = stage.psql("SELECT 2").ok()?.ok();
        let report = stage.report_dirs().pop()?;
        let file = report.join("record.jsonl").display().to_string();
        let verify = ["audit", "verify", &file, "--key", &first, "--json"];
        let answer = stage.tool(&verify).ok()?.ok().text();
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        let keys = answer["log"]["keys"].as_array()?.clone();
        (keys.len() == 2 && answer["key_id"] == keys[1]).then_some((report, file))
    };
    let (report, file) = wait_for("record sealed by the new key", sealed_by_second).unwrap();
    // Without the proof, its own key has to be given.
    std::fs::remove_file(report.join("record.proof")).unwrap();
    let _broken = stage.tool(&["audit", "verify", &file, "--key", &first]).unwrap().code(1);
    let _whole = stage.tool(&["audit", "verify", &file, "--key", &second]).unwrap().ok();
}

#[test]
fn a_record_is_deleted_where_that_is_allowed_and_not_while_it_is_held() {
    let stage = Stage::builder().shop(10).start().unwrap();
    let _run = stage.psql("SELECT 1").unwrap().ok();
    let record = stage.records().pop().unwrap();
    let session =
        record.file_name().unwrap().to_string_lossy().split('.').next().unwrap().to_owned();
    let delete = ["records", "delete", &session, "--reason", "a test"];
    let refused = stage.broker_tool(&delete).unwrap().code(1);
    let _refused = refused.says("delete_by_hand");
    let config = stage.dir().join("guard.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "retention: { delete_by_hand: true }\n").unwrap();
    let hold = ["records", "hold", "--repo", "acme/shop", "--reason", "case 17"];
    let held = stage.broker_tool(&hold).unwrap().ok().text();
    let refused = stage.broker_tool(&delete).unwrap().code(1);
    let _refused = refused.says("case 17");
    assert!(stage.broker_tool(&["records", "list"]).unwrap().ok().text().contains("acme/shop"));
    let hold = held.split(' ').next().unwrap();
    let _released = stage.broker_tool(&["records", "release", hold]).unwrap().ok();
    let deleted = stage.broker_tool(&delete).unwrap().ok().text();
    assert!(deleted.contains("deleted under retention on"), "{deleted}");
    assert!(stage.records().is_empty() && !record.exists());
    // Its place in the log stays, and the copy of the run is whole.
    let file = stage.report_dirs().pop().unwrap().join("record.jsonl").display().to_string();
    let key = stage.key().unwrap();
    let _whole = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap().ok();
}

#[test]
fn a_refused_statement_is_named_everywhere() {
    let stage = Stage::builder().shop(10).policy(policies::READ_ONLY).start().unwrap();
    let run = stage.psql("DROP TABLE public.orders").unwrap().code(1);
    let run = run.says("public.orders").says("default-deny").says("policy `stage`");
    // Once by psql as the server's error, once by guard as it happened.
    assert!(
        run.stderr.lines().any(|l| l.starts_with("guard: ") && l.contains("GRD-2102")),
        "{}",
        run.stderr
    );
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM orders").unwrap(), "20");
    let markdown = stage.report_dirs().pop().unwrap().join("report.md");
    assert!(std::fs::read_to_string(markdown).unwrap().contains("DROP TABLE"));
}

#[test]
fn the_childs_exit_code_and_its_signal_pass_through() {
    let stage = Stage::builder().start().unwrap();
    for (text, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
    {
        let run = stage.run(&script(text)).unwrap();
        assert_eq!(run.code, code, "{text}: {}", run.stderr);
    }
    let run = stage.run(&std::process::Command::new("/nowhere/at-all")).unwrap();
    assert_eq!(run.code, 127, "{}", run.stderr);
    // There, but not a program.
    let run = stage.run(&std::process::Command::new(stage.dir().join("guard.yaml"))).unwrap();
    assert_eq!(run.code, 126, "{}", run.stderr);
}

#[test]
fn the_child_finds_its_database_and_no_secret_of_the_platform() {
    let stage = Stage::builder().start().unwrap();
    let run = stage.run(&script("env; psql -X -A -t -c 'select 41 + 1'; psql -X -A -t \"$DATABASE_URL\" -c 'select 43'; psql -X -A -t \"$GUARD_SHOP_URL\" -c 'select 44'")).unwrap().ok();
    let text = run.text();
    for name in [
        "PGHOST=",
        "PGPORT=",
        "PGUSER=",
        "PGPASSWORD=",
        "PGDATABASE=shop",
        "PGSSLMODE=",
        "DATABASE_URL=",
        "GUARD_SHOP_URL=",
    ] {
        assert!(text.lines().any(|l| l.starts_with(name)), "{name} is not in\n{text}");
    }
    for name in ["ACTIONS_ID_TOKEN", "GUARD_ID_TOKEN"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }
    assert!(!text.contains(guard_tests::postgres::PASSWORD), "the credential is in\n{text}");
    for answer in ["42", "43", "44"] {
        assert!(text.lines().any(|l| l == answer), "no {answer} in\n{text}");
    }
}

#[test]
fn a_session_ends_with_its_grant() {
    let stage = Stage::builder().limit("1m").lost_after("3s").start().unwrap();
    let run = stage.psql("SELECT 1").unwrap().ok();
    assert_eq!(run.text(), "1");
    let record = stage.sealed_record().unwrap();
    assert!(record.contains("finished"), "{record}");
}

#[test]
fn a_session_goes_on_by_fresh_tokens_and_ends_when_the_platform_gives_no_more() {
    let one_job = Stage::builder().claim("check_run_id", "90000001");
    let stage = one_job.lost_after("3s").renew("4s").start().unwrap();
    let go_on = "while psql -X -A -t -c 'SELECT pg_sleep(0.2)' >/dev/null; do :; done";
    let mut run = stage.spawn("long", &script(go_on)).unwrap();
    // The first, and one each two seconds: the session is older than any of them could keep it.
    run.wait_until("four tokens", || stage.issuer.made() >= 4).unwrap();
    assert!(!run.log().contains("the session is over"), "{}", run.log());
    stage.issuer.end_job();
    let _code = run.wait(Duration::from_secs(60)).unwrap();
    let log = run.log();
    for part in ["could not be renewed", "the session's time is over"] {
        assert!(log.contains(part), "no `{part}` in\n{log}");
    }
    let record = stage.sealed_record().unwrap();
    assert!(record.contains("no fresh identity token"), "{record}");
}

#[test]
fn a_run_is_the_same_with_a_store_that_brokers_share() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder()
            .shared_store()
            .policy(policies::READ_ONLY)
            .enforce_at(place)
            .start()
            .unwrap();
        let run = stage.psql("SELECT 41 + 1").unwrap().ok();
        assert_eq!(run.text(), "42");
        let run = stage.psql("DROP TABLE public.orders").unwrap().code(1);
        let _run = run.says("GRD-2102");
        let report = stage.report_dirs().pop().unwrap();
        let file = report.join("record.jsonl").display().to_string();
        let key = stage.key().unwrap();
        let _verified = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap().ok();
        // It is in the recordings a moment later, byte for byte.
        let name = format!("{}.jsonl.zst", report.file_name().unwrap().display());
        let filed = || stage.records().into_iter().find(|path| path.ends_with(&name));
        let filed = wait_for("record in the recordings", filed).unwrap();
        let text = guard_tests::record_text(&filed).unwrap();
        assert_eq!(text, std::fs::read_to_string(file).unwrap());
        let filed = filed.display().to_string();
        let _verified = stage.tool(&["audit", "verify", &filed, "--key", &key]).unwrap().ok();
    }
}

#[test]
fn a_session_that_is_ended_by_hand_is_cut_off_within_a_second() {
    for shared in [false, true] {
        let builder = Stage::builder();
        let stage = if shared { builder.shared_store() } else { builder }.start().unwrap();
        let mut run = stage.spawn("sleep", &script("psql -X -c 'SELECT pg_sleep(600)'")).unwrap();
        let sleeping = || {
            let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'
                         AND state = 'active'";
            stage.postgres.sql("shop", count).unwrap() != "0"
        };
        wait_for("statement under way", || sleeping().then_some(())).unwrap();
        let list = stage.broker_tool(&["sessions", "list", "--json"]).unwrap().ok();
        let list: Value = serde_json::from_str(&list.text()).unwrap();
        let id = list[0]["id"].as_str().unwrap();
        assert_eq!((list.as_array().unwrap().len(), &list[0]["state"]), (1, &"live".into()));

        let end = ["sessions", "end", id, "--reason", "incident 42"];
        let _ended = stage.broker_tool(&end).unwrap().ok();
        let ended = Instant::now();
        wait_for("end of the statement", || (!sleeping()).then_some(())).unwrap();
        // A second by the promise; a machine that builds meanwhile gets another one.
        assert!(ended.elapsed() < Duration::from_secs(2), "{:?}", ended.elapsed());
        let code = exit_code(run.wait(Duration::from_secs(60)).unwrap());
        assert_ne!(code, 0, "{}", run.log());
        let record = stage.sealed_record().unwrap();
        assert!(record.contains("\"revoked\"") && record.contains("incident 42"), "{record}");
        let show = stage.broker_tool(&["sessions", "show", id]).unwrap().ok();
        assert!(show.text().contains("incident 42"), "{}", show.text());
        let none = "0192f0c0-7b1e-7000-8000-000000000000";
        let _none = stage.broker_tool(&["sessions", "show", none]).unwrap().code(1);
    }
}

#[test]
fn trust_rules_are_explained_on_the_command_line() {
    let stage = Stage::builder().start().unwrap();
    let file = stage.dir().join("token");
    let explain = |change: fn(&mut serde_json::Map<String, Value>), more: &[&str]| {
        let token = stage.issuer.token_with(&stage.url, |_, claims| change(claims)).unwrap();
        std::fs::write(&file, token).unwrap();
        let file = file.display().to_string();
        let arguments: Vec<_> = ["trust", "explain", "--token", &file]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        stage.broker_tool(&arguments).unwrap()
    };
    let admitted = explain(|_| {}, &[]).code(0).text();
    assert!(admitted.contains("signature: right"), "{admitted}");
    assert!(admitted.contains("rule `nightly`: MATCHES"), "{admitted}");
    // It is not for a session's key.
    assert!(admitted.contains("audience: the broker would refuse it"), "{admitted}");
    let other =
        explain(|claims| drop(claims.insert("ref".into(), "refs/heads/x".into())), &["--json"]);
    let said: Value = serde_json::from_str(&other.code(1).text()).unwrap();
    assert_eq!(said["rules"][0]["gate"], "ref");
    assert_eq!(said["rules"][0]["outcome"], "refuses");
    let none = stage.broker_tool(&["trust", "explain", "--claims", "/nonexistent"]).unwrap();
    let _none = none.code(1).says("/nonexistent");
    let check = stage.broker_tool(&["check"]).unwrap().ok();
    let _check = check.says("nothing is wrong").says("note: ").says("any workflow of the ref");
}
