//! What masks hide, and what they block because they could not hide it.

use guard_core::{
    Certainty, Decision, DenialCode, Detector, Effect, Mask, Masking, Object, ObjectKind,
    Operation, Outputs, Stability, Verb,
};

use super::{
    Policy, brief, column, denial, effect, judge, on_table, operation, output, partial, policy,
    unparsed,
};

const EVERYTHING: &str = "policy: p
rules:
  - { name: all, sql: { effects: \"*\", certainty: \"*\" }, decide: allow }
masks:
  - sql: { columns: [public.users.email, public.users.ssn] }
    with: redact
  - sql: { columns: [public.users.ssn, public.cards.*] }
    with: partial
  - sql: { columns: [public.cards.pin] }
    with: null
    derived: redact
  - sql: { columns: [public.users.name] }
    with: hash
    derived: redact
";

fn masking() -> Policy {
    policy(EVERYTHING)
}

fn select(outputs: &[&[&str]]) -> Operation {
    let mut op = on_table(Verb::Read, "public.users");
    op.outputs = Outputs::Columns(outputs.iter().map(|sources| output(sources)).collect());
    op
}

fn unknown(op: Operation) -> Operation {
    Operation { outputs: Outputs::Unknown("a function returns rows".into()), ..op }
}

#[test]
fn a_key_outlives_the_session_only_where_every_mask_says_so() {
    let policy = policy(
        "policy: p
rules:
  - { name: all, sql: { effects: \"*\" }, decide: allow }
masks:
  - { sql: { columns: [public.users.email, public.users.name] }, with: format, stable: always }
  - { sql: { columns: [public.users.name, public.users.id] }, with: hash }
detect: { values: [email, card] }
",
    );
    let always = Masking { mask: Mask::Format, stable: Stability::Always };
    for (outputs, expected) in [
        (vec!["public.users.email"], always),
        (vec!["public.users.name"], Mask::Hash.into()),
        (vec!["public.users.email", "public.users.id"], Mask::Hash.into()),
    ] {
        let ruling = judge(&policy, &select(&[&outputs]));
        assert_eq!(ruling.masks.outputs, [Some(expected)]);
        assert!(ruling.masks.detect.has(Detector::Card) && !ruling.masks.detect.has(Detector::Jwt));
    }
}

#[test]
fn the_servers_words_are_hidden_where_it_reads_masked_values() {
    let on = |verb, kind| operation(vec![Effect::new(verb, Object { kind, name: None })]);
    for (op, reach) in [
        (on_table(Verb::Read, "public.users"), true),
        (on_table(Verb::Read, "public.other"), false),
        (on(Verb::Create, ObjectKind::Index), true),
        (on(Verb::Maintain, ObjectKind::Index), true),
        (on(Verb::Maintain, ObjectKind::Schema), true),
        (on(Verb::Maintain, ObjectKind::Database), true),
        (on(Verb::Maintain, ObjectKind::Table), true),
        (on(Verb::Create, ObjectKind::Schema), false),
    ] {
        assert_eq!(judge(&masking(), &op).masks.reach, reach, "{:?}", op.effects);
    }
}

#[test]
fn detectors_block_nothing() {
    let policy = policy(
        "policy: p
rules:
  - { name: all, sql: { effects: \"*\", certainty: \"*\" }, decide: allow }
detect: { values: \"*\" }
",
    );
    for op in [
        unparsed(),
        partial(on_table(Verb::Read, "public.users")),
        on_table(Verb::Call, "public.f"),
    ] {
        let ruling = judge(&policy, &op);
        assert_eq!(ruling.decision, Decision::Allow);
        assert!(!ruling.masks.is_empty() && !ruling.masks.rewrites());
    }
    assert!(!policy.has_masks());
}

#[test]
fn an_output_column_gets_the_strictest_mask_of_its_sources() {
    let (redact, hash) = (Some(Mask::Redact), Some(Mask::Hash));
    for (outputs, expected) in [
        (vec![&["public.users.email"][..], &["public.users.id"][..]], vec![redact, None]),
        (vec![&["public.users.id"][..]], vec![]),
        (vec![&["public.users.name"][..]], vec![hash]),
        (vec![&["public.users.name", "public.users.email"][..]], vec![redact]),
        (vec![&["public.users.ssn"][..]], vec![redact]),
        (vec![&["public.cards.holder"][..]], vec![Some(Mask::Partial)]),
        (vec![&["~public.users.name"][..]], vec![redact]),
        (vec![&["users.email"][..]], vec![]),
        (vec![&["other.users.email"][..]], vec![]),
        (vec![&[][..], &["public.users.email"][..]], vec![None, redact]),
    ] {
        let op = select(&outputs);
        let ruling = judge(&masking(), &op);
        assert_eq!(ruling.decision, Decision::Allow, "{outputs:?}");
        assert_eq!(ruling.masks.masks(), expected, "{outputs:?}");
        assert!(ruling.masks.reach);
    }
}

#[test]
fn a_computed_value_is_blocked_unless_the_mask_says_otherwise() {
    for source in
        ["~public.users.email", "~public.users.ssn", "~public.cards.pan", "~public.cards.pin"]
    {
        let op = select(&[&[source]]);
        assert_eq!(brief(&masking(), &op), "block masks", "{source}");
        assert_eq!(denial(&masking(), &op).code, DenialCode::Mask);
    }
}

#[test]
fn a_masked_value_goes_nowhere_but_to_the_client() {
    let mut op = on_table(Verb::Insert, "public.copies");
    op.stores = vec![column("public.users.id"), column("public.users.email")];
    assert_eq!(brief(&masking(), &op), "block masks");
    op.stores = vec![column("public.users.id")];
    assert_eq!(brief(&masking(), &op), "allow all");
    op.stores = vec![column("pg_catalog.pg_stats.most_common_vals")];
    assert_eq!(brief(&masking(), &op), "block masks");
}

#[test]
fn what_is_not_understood_is_blocked_even_where_a_rule_allows_it() {
    assert_eq!(brief(&masking(), &unparsed()), "block masks");
    assert_eq!(brief(&masking(), &partial(on_table(Verb::Read, "public.other"))), "block masks");
}

#[test]
fn rows_of_unknown_origin_pass_only_if_no_masked_value_can_be_in_them() {
    let every_table = Effect::new(Verb::Read, Object::unnamed(ObjectKind::Table));
    for (op, expected) in [
        (on_table(Verb::Read, "public.other"), "allow all"),
        (on_table(Verb::Read, "public.users"), "block masks"),
        (operation(vec![every_table]), "block masks"),
        (on_table(Verb::Read, "pg_catalog.pg_class"), "allow all"),
        (
            operation(vec![effect(Verb::Read, ObjectKind::View, "pg_catalog.pg_stats")]),
            "block masks",
        ),
        (on_table(Verb::Read, "pg_catalog.pg_statistic"), "block masks"),
    ] {
        let op = unknown(op);
        assert_eq!(brief(&masking(), &op), expected, "{:?}", op.effects);
    }
}

#[test]
fn ways_that_guard_cannot_follow_are_blocked() {
    let on = |verb, kind, name| operation(vec![effect(verb, kind, name)]);
    for op in [
        on(Verb::Call, ObjectKind::Function, "f"),
        on(Verb::Code, ObjectKind::Other, "do"),
        on(Verb::Program, ObjectKind::Other, "sh"),
        on(Verb::File, ObjectKind::Other, "x"),
        on(Verb::Network, ObjectKind::Other, "x"),
        on(Verb::Replication, ObjectKind::Other, "x"),
        on(Verb::Create, ObjectKind::Trigger, "public.t"),
        on(Verb::Alter, ObjectKind::Table, "public.users"),
        on(Verb::Alter, ObjectKind::Column, "public.users.email"),
        on(Verb::Alter, ObjectKind::Schema, "public"),
        on(Verb::Read, ObjectKind::Table, "pg_toast.pg_toast_16400"),
    ] {
        assert_eq!(brief(&masking(), &op), "block masks", "{:?}", op.effects);
    }
    for op in [
        on(Verb::Alter, ObjectKind::Table, "public.orders"),
        on(Verb::Alter, ObjectKind::Schema, "other"),
        on(Verb::Create, ObjectKind::Column, "public.users.note"),
        on(Verb::Insert, ObjectKind::Table, "public.users"),
    ] {
        assert_eq!(brief(&masking(), &op), "allow all", "{:?}", op.effects);
    }
}

#[test]
fn reach_says_whether_the_servers_own_texts_could_carry_a_value() {
    for (op, expected) in [
        (on_table(Verb::Update, "public.users"), true),
        (operation(vec![effect(Verb::Create, ObjectKind::Column, "public.users.x")]), true),
        (on_table(Verb::Update, "public.orders"), false),
        (on_table(Verb::Update, "users"), false),
    ] {
        assert_eq!(judge(&masking(), &op).masks.reach, expected, "{:?}", op.effects);
    }
}

#[test]
fn the_server_is_asked_for_masked_columns_by_name() {
    let masks = judge(&masking(), &on_table(Verb::Read, "public.orders")).masks;
    for (schema, table, column, expected) in [
        ("public", "users", "email", Some(Mask::Redact)),
        ("public", "users", "ssn", Some(Mask::Redact)),
        ("public", "cards", "anything", Some(Mask::Partial)),
        ("public", "cards", "pin", Some(Mask::Null)),
        ("public", "users", "id", None),
        ("other", "users", "email", None),
    ] {
        let found = masks.mask_for(schema, table, column).map(|masking| masking.mask);
        assert_eq!(found, expected, "{schema}.{table}.{column}");
    }
}

#[test]
fn a_blocked_operation_stays_blocked_by_its_rule() {
    let policy = policy(&EVERYTHING.replace("\"*\", certainty: \"*\"", "[insert]"));
    assert_eq!(brief(&policy, &select(&[&["~public.users.email"]])), "block default-deny");
}

#[test]
fn a_policy_without_masks_looks_at_no_lineage() {
    let policy = policy(EVERYTHING.split("masks:").next().unwrap());
    let mut op = unknown(select(&[]));
    op.certainty = Certainty::Partial("x".into());
    op.stores = vec![column("public.users.email")];
    let ruling = judge(&policy, &op);
    assert_eq!(ruling.decision, Decision::Allow);
    assert!(!ruling.masks.reach && ruling.masks.columns.is_empty());
}

#[test]
fn values_that_are_known_are_not_masked_beside_those_that_are_not() {
    let policy = policy(
        "policy: p
rules:
  - { name: all, sql: { effects: \"*\" }, decide: allow }
masks:
  - { sql: { columns: [public.users.hash, public.orders.hash] }, with: hash }
  - { sql: { columns: [public.users.shape] }, with: format, derived: redact }
  - { sql: { columns: [public.users.part] }, with: partial }
",
    );
    for (sources, expected) in [
        (&["+public.users.hash"][..], None),
        (&["|public.users.hash", "|public.users.id"], None),
        (&["|public.users.hash", "|public.orders.hash"], Some(Mask::Hash)),
        (&["public.users.hash", "~public.users.id"], Some(Mask::Hash)),
        (&["+public.users.shape"], Some(Mask::Redact)),
        (&["|public.users.shape", "|public.users.id"], Some(Mask::Redact)),
        (&["+public.users.part"], Some(Mask::Partial)),
    ] {
        let op = select(&[sources]);
        match expected {
            Some(mask) => {
                assert_eq!(judge(&policy, &op).masks.masks(), [Some(mask)], "{sources:?}");
            }
            None => assert_eq!(brief(&policy, &op), "block masks", "{sources:?}"),
        }
    }
}
