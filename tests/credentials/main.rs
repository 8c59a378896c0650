//! Roles that live as long as their session: real clients through a gateway, and what is left when programs are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use guard_tests::{
    EnforceAt, Stage, policies,
    process::{Process, wait_for},
    script,
};
use serde_json::Value;

const WITHHELD: &str = "\
policy: stage
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
  - name: notes
    sql: { effects: [insert], tables: [public.audit_log] }
    decide: allow
masks:
  - sql: { columns: [public.customers.email] }
    with: redact
    withhold: true
  - sql: { columns: [public.customers.full_name] }
    with: redact
";

fn roles(stage: &Stage) -> u32 {
    let text = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'guard\\_%'";
    stage.postgres.sql("shop", text).unwrap().parse().unwrap()
}

fn leases(stage: &Stage) -> Vec<Value> {
    let said = stage.broker_tool(&["leases", "--json"]).unwrap().ok();
    serde_json::from_str(&said.text()).unwrap()
}

/// A job that has read something and stays.
fn staying(stage: &Stage) -> Process {
    let up = stage.dir().join("up");
    let text = format!(
        "psql -X -q -c 'SELECT count(*) FROM public.orders' && touch {}; exec sleep 600",
        up.display()
    );
    let job = stage.spawn("job", &script(&text)).unwrap();
    wait_for("the job's first statement", || up.exists().then_some(()))
        .unwrap_or_else(|error| panic!("{error}\n{}", job.log()));
    job
}

#[test]
fn a_job_works_with_a_role_of_its_own_and_the_server_is_a_second_lock() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder()
            .shop(10)
            .policy(WITHHELD)
            .session_roles()
            .enforce_at(place)
            .start()
            .unwrap();
        let run = stage
            .psql("SELECT id, full_name, current_user LIKE 'guard%' FROM public.customers WHERE id = 1")
            .unwrap()
            .ok();
        assert!(run.text().starts_with("1|") && run.text().ends_with("|t"), "{}", run.text());
        assert!(!run.text().contains("Customer"), "{}", run.text());
        // The catalog, as clients look at it.
        let _described = stage.psql("\\d public.orders").unwrap().ok();
        let text = "INSERT INTO public.audit_log (actor, action) VALUES ('a', 'b')";
        let _written = stage.psql(text).unwrap().ok();
        // Allowed by the policy, which would mask it; refused by the server.
        let refused = stage.psql("SELECT email FROM public.customers").unwrap().code(1);
        let _refused = refused.says("permission denied for table customers");
        assert_eq!(roles(&stage), 0);
        assert_eq!(leases(&stage).len(), 0);
        let record = stage.sealed_record().unwrap();
        assert!(record.contains("\"username\":\"guard_"), "{record}");
    }
}

#[test]
fn what_is_out_is_listed_and_gone_when_broker_gateway_and_shim_are_killed() {
    let mut stage =
        Stage::builder().shop(1).policy(policies::READ_ONLY).session_roles().start().unwrap();
    let mut job = staying(&stage);
    assert_eq!(roles(&stage), 1);
    let out = leases(&stage);
    assert_eq!(out.len(), 1);
    let text = |name: &str| out[0][name].as_str().unwrap().to_owned();
    assert_eq!((text("state"), text("kind")), ("out".into(), "postgres-role".into()));
    assert_eq!((text("holder"), text("repository")), ("local".into(), "acme/shop".into()));
    let lines = stage.broker_tool(&["leases"]).unwrap().ok().text();
    assert!(lines.contains(&text("username")) && lines.contains("acme/shop"), "{lines}");

    stage.gateway.as_mut().unwrap().kill().unwrap();
    job.kill().unwrap();
    stage.broker.kill().unwrap();
    stage.restart_broker().unwrap();
    wait_for("the role is gone", || (roles(&stage) == 0).then_some(())).unwrap();
    wait_for("the lease is gone", || leases(&stage).is_empty().then_some(())).unwrap();
    let record = stage.sealed_record().unwrap();
    assert!(
        record.contains("lease-released") && record.contains("\"reason\":\"lost\""),
        "{record}"
    );
}

#[test]
fn each_source_is_tried_and_what_is_wrong_is_said() {
    let stage = Stage::builder().shop(1).policy(WITHHELD).session_roles().start().unwrap();
    let tried = stage.broker_tool(&["check", "--connect"]).unwrap().ok();
    let _tried = tried.says("shop under stage: a credential was taken and given back");
    assert_eq!(roles(&stage), 0);
    stage.postgres.sql("shop", "GRANT SELECT ON customers TO PUBLIC").unwrap();
    let tried = stage.broker_tool(&["check", "--connect"]).unwrap().code(1);
    let _tried = tried.says("column `email` of `public.customers` is withheld");
    std::fs::write(stage.dir().join("password"), "wrong").unwrap();
    let tried = stage.broker_tool(&["check", "--connect"]).unwrap().code(1);
    let _tried = tried.says("password authentication failed");
}

#[test]
fn the_broker_writes_no_core() {
    let stage = Stage::builder().start().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", stage.broker.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}
