//! Which conditions may look at masked columns.

use guard_core::{DenialCode, Effect, Object, ObjectKind, Operation, Test, Tested, Verb};

use super::{Policy, brief, column, denial, effect, on_table, operation, policy};

const POLICY: &str = "policy: p
rules:
  - { name: all, sql: { effects: \"*\" }, decide: allow }
masks:
  - { sql: { columns: public.users.email }, with: redact, predicates: equality }
  - { sql: { columns: public.users.ssn }, with: redact, predicates: block }
  - { sql: { columns: [public.users.name, public.users.both] }, with: hash }
  - { sql: { columns: public.users.both }, with: hash, predicates: block }
";

fn masking() -> Policy {
    policy(POLICY)
}

fn testing(name: Option<&str>, how: Test) -> Operation {
    let mut op = on_table(Verb::Read, "public.users");
    op.tested = vec![Tested { column: name.map(column), how }];
    op
}

#[test]
fn a_condition_looks_only_at_what_the_mask_allows() {
    for (column, how, expected) in [
        ("public.users.email", Test::Equality, "allow all"),
        ("public.users.email", Test::Other, "block masks"),
        ("public.users.ssn", Test::Equality, "block masks"),
        ("public.users.ssn", Test::Other, "block masks"),
        ("public.users.name", Test::Other, "allow all"),
        ("public.users.both", Test::Equality, "block masks"),
        ("public.users.id", Test::Other, "allow all"),
        ("public.orders.email", Test::Other, "allow all"),
    ] {
        assert_eq!(brief(&masking(), &testing(Some(column), how)), expected, "{column} {how:?}");
    }
}

#[test]
fn a_refused_condition_says_which_column_and_what_may_be_asked() {
    let refused = denial(&masking(), &testing(Some("public.users.email"), Test::Other));
    assert_eq!(refused.code, DenialCode::Mask);
    assert!(refused.detail.as_ref().is_some_and(|why| why.contains("`public.users.email`")));
    assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("`IN`")));
}

#[test]
fn a_condition_on_values_of_unknown_origin_is_blocked_where_they_could_be_masked() {
    assert_eq!(brief(&masking(), &testing(None, Test::Other)), "block masks");
    let every_table = Effect::new(Verb::Read, Object::unnamed(ObjectKind::Table));
    let stats = effect(Verb::Read, ObjectKind::View, "pg_catalog.pg_stats");
    for (effect, expected) in [
        (every_table, "block masks"),
        (stats, "block masks"),
        (effect(Verb::Read, ObjectKind::Table, "public.orders"), "allow all"),
    ] {
        let mut op = operation(vec![effect]);
        op.tested = vec![Tested { column: None, how: Test::Other }];
        assert_eq!(brief(&masking(), &op), expected, "{:?}", op.effects);
    }
    let lenient =
        policy(&POLICY.replace(", predicates: equality", "").replace(", predicates: block", ""));
    assert_eq!(brief(&lenient, &testing(None, Test::Other)), "allow all");
}
