//! Rules that bound how many rows the server's planner expects.

use guard_core::{Bounded, Decision, Effect, Object, ObjectKind, ObjectName, Timestamp, Verb};

use super::{operation, policy, session};
use crate::Policy;

const POLICY: &str = "policy: p
rules:
  - { name: few, sql: { effects: [delete], tables: [public.*], rows: 10 }, decide: allow }
  - { name: never, sql: { effects: [delete], tables: [public.audit] }, decide: block, say: audited }
  - { name: more, sql: { effects: [delete], bounded: true, rows: 1000 }, decide: allow }
  - { name: reads, sql: { effects: [read] }, decide: allow }
";

fn effect(verb: Verb, table: &str) -> Effect {
    let object = Object::named(ObjectKind::Table, ObjectName::qualified("public", table));
    Effect { verb, object, bounded: Bounded::Yes }
}

fn brief(policy: &Policy, effects: Vec<Effect>, rows: Option<u64>) -> String {
    let now = Timestamp::from_second(1_000).unwrap();
    let ruling = policy.judge_estimated(&session(), &operation(effects), rows, now);
    format!("{} {}", ruling.decision.kind(), ruling.rule)
}

#[test]
fn a_rule_matches_up_to_its_bound_and_never_without_an_estimate() {
    let policy = policy(POLICY);
    for (table, rows, expected) in [
        ("orders", Some(0), "allow few"),
        ("orders", Some(10), "allow few"),
        ("orders", Some(11), "allow more"),
        ("orders", Some(1000), "allow more"),
        ("orders", Some(1001), "block default-deny"),
        ("orders", Some(u64::MAX), "block default-deny"),
        ("orders", None, "block default-deny"),
        ("audit", Some(10), "allow few"),
        ("audit", Some(11), "block never"),
        ("audit", None, "block never"),
    ] {
        let found = brief(&policy, vec![effect(Verb::Delete, table)], rows);
        assert_eq!(found, expected, "{table} {rows:?}");
    }
    let both = vec![effect(Verb::Read, "users"), effect(Verb::Delete, "orders")];
    assert_eq!(brief(&policy, both.clone(), Some(10)), "allow reads");
    assert_eq!(brief(&policy, both, None), "block default-deny");
    assert_eq!(brief(&policy, vec![effect(Verb::Read, "users")], None), "allow reads");
}

/// The gate keeps rulings by this number.
#[test]
fn rulings_are_equal_where_estimates_are_over_as_many_bounds() {
    let policy = policy(POLICY);
    assert!(policy.bounds_rows());
    let over = |rows| policy.bounds_under(rows);
    assert_eq!(
        [Some(0), Some(10), Some(11), Some(1000), Some(1001), None].map(over),
        [0, 0, 1, 1, 2, 2]
    );
    let without = super::policy(
        "policy: p\nrules:\n  - { name: r, sql: { effects: [read] }, decide: allow }\n",
    );
    assert!(!without.bounds_rows());
    for table in ["orders", "audit"] {
        for (one, other) in [(0, 10), (11, 1000), (1001, u64::MAX)] {
            let one = brief(&policy, vec![effect(Verb::Delete, table)], Some(one));
            assert_eq!(one, brief(&policy, vec![effect(Verb::Delete, table)], Some(other)));
        }
    }
}

#[test]
fn what_is_not_understood_is_within_no_bound() {
    let policy = policy(
        "policy: p\nrules:\n  - { name: r, sql: { effects: \"*\", rows: 5, certainty: [exact, partial] }, decide: allow }\n",
    );
    let text = std::sync::Arc::from("whatever");
    let unparsed = guard_core::Operation::unparsed(guard_core::Protocol::Postgres, "?", text, "no");
    let now = Timestamp::from_second(1_000).unwrap();
    let ruling = policy.judge_estimated(&session(), &unparsed, Some(0), now);
    assert!(matches!(ruling.decision, Decision::Block(_)));
}

#[test]
fn a_refusal_says_how_many_would_pass() {
    let policy = policy(POLICY);
    let now = Timestamp::from_second(1_000).unwrap();
    for (table, expected) in [
        (
            "orders",
            Some(
                "rule `few` allows it while the server's planner expects at most 10 rows: do it in smaller parts",
            ),
        ),
        (
            "audit",
            Some(
                "rule `few` allows it while the server's planner expects at most 10 rows: do it in smaller parts",
            ),
        ),
    ] {
        let op = operation(vec![effect(Verb::Delete, table)]);
        let ruling = policy.judge_estimated(&session(), &op, Some(5_000), now);
        let Decision::Block(denial) = ruling.decision else { panic!("allowed") };
        assert_eq!(denial.hint.as_deref(), expected);
    }
}

#[test]
fn what_could_mean_something_else_does_not_load() {
    let rule = |sql: &str, decide: &str| {
        let text = format!("policy: p\nrules:\n  - {{ name: r, sql: {sql}, decide: {decide} }}\n");
        Policy::parse("p.yaml", &text).map(drop).map_err(|problems| problems.to_string())
    };
    for (sql, decide, expected) in [
        ("{ effects: [delete], rows: 10 }", "block", "`rows` says of what is allowed"),
        ("{ effects: [drop], rows: 10 }", "allow", "`rows` says something of `read`"),
        ("{ effects: [delete], rows: 0 }", "allow", "`rows` is 0"),
        ("{ effects: [delete], rows: -1 }", "allow", "expected a whole number"),
        ("{ effects: [delete], rows: 1e3 }", "allow", "expected a whole number"),
        ("{ effects: [delete], rows: [10] }", "allow", "expected a text"),
        (
            "{ effects: \"*\", rows: 10, certainty: \"*\" }",
            "allow",
            "give `unparsed` a rule of its own",
        ),
    ] {
        let problems = rule(sql, decide).expect_err(sql);
        assert!(problems.contains(expected), "{sql}: {problems}");
    }
    rule("{ effects: \"*\", rows: 10 }", "allow").expect("a rule for everything");
    rule("{ effects: [drop, delete], rows: 10 }", "allow").expect("one of them is enough");
}
