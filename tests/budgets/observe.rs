//! `mode: observe` judges and records, and refuses nothing but what guard itself refuses.

use guard_tests::{EnforceAt, Stage, policies};

use crate::{contains, psql, stage, target};

#[test]
fn what_is_blocked_goes_on_and_everybody_is_told() {
    let policy = policies::READ_ONLY.replacen("rules:", "mode: observe\nrules:", 1);
    let stage = Stage::builder().shop(10).policy(&policy).start().unwrap();
    let run = stage.psql("DELETE FROM orders").unwrap().ok();
    let run = run.says("only OBSERVES").says("1 statement went on that would be refused");
    assert!(!run.stderr.contains("GRD-"), "{}", run.stderr);
    assert_eq!(stage.postgres.sql("shop", "SELECT count(*) FROM orders").unwrap(), "0");

    let report = stage.report().unwrap();
    assert_eq!(report["counts"]["would_refuse"], 1);
    assert_eq!(report["counts"]["refused"], 0);
    assert_eq!(report["would_refuse"]["listed"][0]["code"], "GRD-2102");
    assert_eq!(report["grants"][0]["mode"], "observe");
    let dir = stage.report_dirs().pop().unwrap();
    for (file, words) in [
        ("report.html", "guard only observes here"),
        ("report.md", "guard only observes here: 1 statement was not refused"),
        ("record.jsonl", "\"would_refuse\":{\"code\":\"default-deny\""),
    ] {
        contains(&std::fs::read_to_string(dir.join(file)).unwrap(), &[words]);
    }
}

#[test]
fn masks_hold_while_the_rest_is_observed() {
    let policy = policies::MASKED.replacen("rules:", "mode: observe\nrules:", 1);
    let stage =
        Stage::builder().shop(10).policy(&policy).enforce_at(EnforceAt::Shim).start().unwrap();
    let email = stage.postgres.sql("shop", "SELECT email FROM customers WHERE id = 1").unwrap();
    let run = psql(
        &stage,
        "UPDATE customers SET created_at = created_at WHERE id = 1 RETURNING email;\nSELECT email FROM customers;\n\
         CREATE TABLE copied AS SELECT email FROM customers;\nSELECT lower(email) FROM customers;\nSELECT 'done';",
    );
    let text = run.text();
    contains(&text, &["GRD-2104", "done"]);
    assert!(!text.contains(&email), "{text}");
    assert_eq!(stage.postgres.sql("shop", "SELECT to_regclass('copied')").unwrap(), "");
}

#[test]
fn budgets_are_counted_and_end_nothing() {
    let budgets = "rows_per_statement: 10, rows_per_session: 20, statements_per_minute: 1, time_per_statement: 1s";
    let stage = stage(budgets, "observe");
    let run = psql(
        &stage,
        "SELECT n FROM many;\nINSERT INTO target SELECT n, '' FROM many;\nSELECT pg_sleep(2);\n\
         BEGIN\\; INSERT INTO target VALUES (1, '')\\; COMMIT;\nSELECT 'done';",
    );
    contains(&run.text(), &["5000", "done"]);
    assert!(!run.text().contains("GRD-"), "{}", run.text());
    assert_eq!(target(&stage), "5001");
    let report = stage.report().unwrap();
    assert_eq!(report["budgets"]["listed"][0]["ended"], false, "{report}");
    assert!(report["counts"]["over_budget"].as_u64().unwrap() >= 3, "{report}");
    assert!(report["would_refuse"]["listed"][0]["code"] == "GRD-2303", "{report}");
}
