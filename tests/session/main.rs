//! One run from its identity token to its report.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use guard_tests::{EnforceAt, Stage, policies, script};

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
        let _verified = verified.ok();
    }
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
