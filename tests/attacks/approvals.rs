//! What waits for people does not get through without them.

use guard_tests::Stage;

const COUNT: &str = "SELECT count(*) FROM orders";

fn policy(rest: &str) -> String {
    format!(
        "policy: stage\nrules:\n  - {{ name: deletes, sql: {{ effects: [delete] }}, decide: approve, approvers: [dba], {rest} }}\n  \
         - {{ name: reads, sql: {{ effects: [read, session, transaction] }}, decide: allow }}\n"
    )
}

#[test]
fn a_statement_that_nobody_decided_on_is_refused_when_its_time_is_over() {
    let stage = Stage::builder().policy(&policy("within: 10s")).shop(20).start().unwrap();
    let before = stage.postgres.sql("shop", COUNT).unwrap();
    let refused = stage.psql("DELETE FROM orders").unwrap();
    let said = refused.stderr;
    assert!(said.contains("GRD-2401") && said.contains("/approvals/"), "{said}");
    assert!(said.contains("GRD-2403"), "{said}");
    assert_eq!(stage.postgres.sql("shop", COUNT).unwrap(), before);
    let record = stage.sealed_record().unwrap();
    assert!(record.contains("approval-asked") && record.contains("expired"), "{record}");
}

#[test]
fn a_run_that_is_parked_ends_with_its_own_exit_code_and_the_address() {
    let stage =
        Stage::builder().policy(&policy("within: 1h, wait: park")).shop(20).start().unwrap();
    let before = stage.postgres.sql("shop", COUNT).unwrap();
    let first = stage.psql("DELETE FROM orders").unwrap().code(75);
    let said = first.stderr;
    assert!(said.contains("GRD-2401") && said.contains("/approvals/"), "{said}");
    assert_eq!(stage.postgres.sql("shop", COUNT).unwrap(), before);
    // A second run of the job asks nobody anew: it gets the same address.
    let address = |said: &str| {
        let (_, id) = said.split_once("/approvals/").unwrap();
        id.chars().take(36).collect::<String>()
    };
    let second = stage.psql("DELETE FROM orders").unwrap().code(75).stderr;
    assert_eq!(address(&said), address(&second));
}
