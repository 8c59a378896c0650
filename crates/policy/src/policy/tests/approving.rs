//! Rules that ask people: when they are met, and what is asked.

use guard_core::{ApprovalWait, Bounded, Decision, DecisionKind, ObjectKind, Verb};

use super::{bounded, effect, judge, on_table, operation, partial, policy, unparsed};

const POLICY: &str = "policy: p
rules:
  - { name: never, sql: { effects: [delete], tables: [public.ledger] }, decide: block }
  - name: ask-dba
    sql: { effects: [delete], tables: [public.*] }
    decide: approve
    approvers: [dba]
    within: 15m
  - name: ask-two
    sql: { effects: [update], tables: [public.*] }
    decide: approve
    approvers: { from: [lead, dba], count: 2 }
    within: 5m
    wait: park
    reason_required: true
    say: two of you
  - { name: reads, sql: { effects: [read] }, decide: allow }
";

fn asked(policy: &crate::Policy, op: &guard_core::Operation) -> guard_core::ApprovalSpec {
    match judge(policy, op).decision {
        Decision::Approve(spec) => (*spec).clone(),
        Decision::Allow => panic!("allowed {:?}", op.effects),
        Decision::Block(denial) => panic!("{denial}"),
    }
}

#[test]
fn the_strictest_decision_counts() {
    let policy = policy(POLICY);
    let table = |verb, name| effect(verb, ObjectKind::Table, name);
    for (effects, expected) in [
        (vec![table(Verb::Read, "public.a")], DecisionKind::Allow),
        (
            vec![table(Verb::Read, "public.a"), table(Verb::Delete, "public.a")],
            DecisionKind::Approve,
        ),
        (vec![table(Verb::Delete, "public.a"), table(Verb::Drop, "public.a")], DecisionKind::Block),
        (
            vec![table(Verb::Delete, "public.a"), table(Verb::Delete, "public.ledger")],
            DecisionKind::Block,
        ),
    ] {
        let ruling = judge(&policy, &operation(effects));
        assert_eq!(ruling.decision.kind(), expected, "{:?}", ruling.trace);
    }
}

#[test]
fn every_rule_that_asks_is_in_the_request_once() {
    let policy = policy(POLICY);
    let op = operation(vec![
        effect(Verb::Update, ObjectKind::Table, "public.a"),
        effect(Verb::Delete, ObjectKind::Table, "public.a"),
        effect(Verb::Delete, ObjectKind::Table, "public.b"),
    ]);
    let spec = asked(&policy, &op);
    let rules: Vec<_> = spec.rules().map(ToString::to_string).collect();
    assert_eq!(rules, ["ask-dba", "ask-two"]);
    assert_eq!(spec.wait(), ApprovalWait::Park);
    assert_eq!(guard_core::shortest_within(&spec.terms).as_secs(), 300);
    assert_eq!(
        spec.ask.to_string(),
        "held UPDATE on `public.a` by rule `ask-two` of policy `p` (GRD-2401)"
    );
    assert_eq!(spec.ask.detail.as_deref(), Some("two of you"));
    assert_eq!(
        spec.ask.hint.as_deref(),
        Some("somebody of `dba`, and 2 people of `dba` or `lead` must approve it")
    );
}

#[test]
fn what_is_only_possibly_meant_is_asked_for_and_the_next_rules_decide_too() {
    let asks = |next: &str| {
        policy(&format!(
            "policy: p\nrules:\n  - {{ name: ask, sql: {{ effects: [delete], tables: [public.users] }}, decide: approve, approvers: dba, within: 5m }}\n{next}"
        ))
    };
    let allows = "  - { name: all, sql: { effects: [delete], certainty: [exact, partial] }, decide: allow }\n";
    let unresolved = || on_table(Verb::Delete, "users");
    // It could be the table that the rule is about: so nobody gets round the question by a name that is not resolved.
    assert_eq!(judge(&asks(allows), &unresolved()).decision.kind(), DecisionKind::Approve);
    // It could be another: so a yes for `public.users` does not let through what nothing allows.
    assert_eq!(judge(&asks(""), &unresolved()).decision.kind(), DecisionKind::Block);
    let certain = || on_table(Verb::Delete, "public.users");
    assert_eq!(judge(&asks(""), &certain()).decision.kind(), DecisionKind::Approve);
    // What is understood in part is asked for, and allowed by a rule that says so.
    assert_eq!(judge(&asks(allows), &partial(certain())).decision.kind(), DecisionKind::Approve);
    assert_eq!(judge(&asks(""), &partial(certain())).decision.kind(), DecisionKind::Block);
    assert_eq!(judge(&asks(allows), &unparsed()).decision.kind(), DecisionKind::Block);
}

#[test]
fn people_can_be_asked_about_what_is_not_understood_where_a_rule_says_so() {
    let text = "policy: p\nrules:\n  - { name: ask, sql: { effects: \"*\", certainty: \"*\" }, decide: approve, approvers: dba, within: 5m }\n";
    assert_eq!(judge(&policy(text), &unparsed()).decision.kind(), DecisionKind::Approve);
    let text = text.replace(", certainty: \"*\"", "");
    assert_eq!(judge(&policy(&text), &unparsed()).decision.kind(), DecisionKind::Block);
}

#[test]
fn a_policy_that_only_observes_asks_nobody() {
    let observes = policy(&POLICY.replace("policy: p", "policy: p\nmode: observe"));
    let ruling = judge(&observes, &bounded(Verb::Delete, "public.a", Bounded::Yes));
    assert_eq!(ruling.decision.kind(), DecisionKind::Approve);
    assert!(ruling.observed);
}

#[test]
fn a_policy_that_asks_is_not_one_that_only_reads_and_needs_the_same_of_the_server() {
    let policy = policy(POLICY);
    assert!(policy.asks_people() && !policy.reads_only());
    let table = |name| guard_core::ObjectName::qualified("public", name);
    let needs = policy.privileges();
    assert!(needs.may(Verb::Delete, ObjectKind::Table, &table("a")));
    assert!(!needs.may(Verb::Delete, ObjectKind::Table, &table("ledger")));
}
