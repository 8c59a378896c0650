//! Which rule an operation meets.

use guard_core::{Bounded, DecisionKind, DenialCode, Effect, Object, ObjectKind, ObjectName, Verb};

use super::{
    allowing, blocking, bounded, brief, denial, effect, judge, on_table, operation, partial,
    policy, unparsed,
};

#[test]
fn a_policy_reads_only_if_nothing_it_allows_could_write() {
    for (filter, expected) in [
        ("{ effects: [read, session, transaction, lock, notify, signal] }", true),
        ("{ effects: read, tables: public.users }", true),
        ("{ effects: [read, insert] }", false),
        ("{ effects: [read, config] }", false),
        ("{ effects: [read, call], certainty: [exact, partial] }", false),
        ("{ effects: [read, file] }", false),
        ("{ effects: \"*\" }", false),
        ("{ effects: \"*\", objects: table }", false),
    ] {
        assert_eq!(allowing(filter).reads_only(), expected, "{filter}");
    }
    let beside = "policy: p\nrules:\n  - { name: a, sql: { effects: \"*\", certainty: \"*\" }, decide: block }\n";
    assert!(policy(beside).reads_only());
}

#[test]
fn the_first_matching_rule_decides_and_the_strictest_effect_wins() {
    let policy = policy(
        "policy: p\nrules:
  - { name: audit, sql: { effects: [delete], tables: [public.audit_*] }, decide: allow }
  - { name: reads, sql: { effects: [read, delete], tables: [public.*] }, decide: allow }
  - { name: no-delete, sql: { effects: [delete] }, decide: block }
  - { name: inserts, sql: { effects: [insert], tables: [public.orders] }, decide: allow }
",
    );
    let read = || effect(Verb::Read, ObjectKind::Table, "public.users");
    for (op, expected) in [
        (on_table(Verb::Read, "public.users"), "allow reads"),
        (on_table(Verb::Delete, "public.audit_old"), "allow audit"),
        (on_table(Verb::Delete, "public.users"), "allow reads"),
        (on_table(Verb::Delete, "other.users"), "block no-delete"),
        (on_table(Verb::Read, "other.users"), "block default-deny"),
        (on_table(Verb::Insert, "public.orders"), "allow inserts"),
        (on_table(Verb::Insert, "public.users"), "block default-deny"),
        (
            operation(vec![read(), effect(Verb::Delete, ObjectKind::Table, "other.users")]),
            "block no-delete",
        ),
        (
            operation(vec![read(), effect(Verb::Drop, ObjectKind::Table, "public.users")]),
            "block default-deny",
        ),
    ] {
        assert_eq!(brief(&policy, &op), expected, "{:?}", op.effects);
    }
}

#[test]
fn the_trace_has_a_step_for_each_effect() {
    let policy = allowing("{ effects: [read] }");
    let op = operation(vec![
        effect(Verb::Read, ObjectKind::Table, "public.a"),
        effect(Verb::Delete, ObjectKind::Table, "public.b"),
    ]);
    let trace = judge(&policy, &op).trace;
    let steps: Vec<_> = trace.iter().map(|step| (step.rule.as_str(), step.decision)).collect();
    assert_eq!(steps, [("r", DecisionKind::Allow), ("default-deny", DecisionKind::Block)]);
}

#[test]
fn what_is_not_understood_needs_a_rule_that_says_so() {
    let half = || partial(on_table(Verb::Read, "public.a"));
    for (filter, op, expected) in [
        ("{ effects: \"*\" }", unparsed(), "block default-deny"),
        ("{ effects: \"*\" }", half(), "block default-deny"),
        ("{ effects: \"*\", certainty: [partial] }", unparsed(), "block default-deny"),
        ("{ effects: \"*\", certainty: [exact, partial] }", half(), "allow r"),
        ("{ effects: [read], certainty: [exact, partial] }", half(), "allow r"),
        ("{ effects: \"*\", certainty: [unparsed] }", unparsed(), "allow r"),
        ("{ effects: \"*\", certainty: [unparsed] }", half(), "block default-deny"),
        ("{ effects: \"*\", certainty: \"*\" }", unparsed(), "allow r"),
    ] {
        assert_eq!(brief(&allowing(filter), &op), expected, "{filter}");
    }
    assert_eq!(
        denial(&allowing("{ effects: \"*\" }"), &unparsed()).code,
        DenialCode::NotUnderstood
    );
    assert_eq!(denial(&allowing("{ effects: \"*\" }"), &half()).code, DenialCode::NotUnderstood);
    let blocked = blocking("{ effects: \"*\", certainty: [partial, unparsed] }");
    assert_eq!(brief(&blocked, &unparsed()), "block r");
    assert_eq!(brief(&blocked, &half()), "block r");
    assert_eq!(brief(&blocked, &on_table(Verb::Drop, "public.a")), "allow rest");
}

#[test]
fn an_operation_without_effects_is_a_read_of_nothing() {
    let empty = operation(Vec::new());
    assert_eq!(brief(&allowing("{ effects: [read] }"), &empty), "allow r");
    assert_eq!(brief(&allowing("{ effects: \"*\" }"), &empty), "allow r");
    assert_eq!(brief(&allowing("{ effects: [insert] }"), &empty), "block default-deny");
    assert_eq!(
        brief(&allowing("{ effects: [read], tables: [a.b] }"), &empty),
        "block default-deny"
    );
    assert_eq!(brief(&allowing("{ effects: [read] }"), &partial(empty)), "block default-deny");
}

#[test]
fn a_rule_that_blocks_is_named_before_the_want_of_one() {
    let policy = policy(
        "policy: p\nrules:\n  - { name: no-roles, sql: { effects: [role] }, decide: block, say: no }\n",
    );
    let op = operation(vec![
        effect(Verb::Create, ObjectKind::Role, "r"),
        effect(Verb::Role, ObjectKind::Role, "r"),
    ]);
    assert_eq!(brief(&policy, &op), "block no-roles");
    assert_eq!(denial(&policy, &op).detail.as_deref(), Some("no"));
}

#[test]
fn a_block_holds_for_a_half_understood_operation() {
    let policy = blocking("{ effects: [drop] }");
    assert_eq!(brief(&policy, &partial(on_table(Verb::Drop, "public.a"))), "block r");
}

#[test]
fn names_that_are_not_resolved_count_against_the_asker() {
    let all = |verb, kind| operation(vec![Effect::new(verb, Object::unnamed(kind))]);
    for (op, allowed, blocked) in [
        (on_table(Verb::Read, "public.users"), "allow r", "block r"),
        (on_table(Verb::Read, "users"), "block default-deny", "block r"),
        (on_table(Verb::Read, "orders"), "block default-deny", "allow rest"),
        (on_table(Verb::Read, "other.users"), "block default-deny", "allow rest"),
        (on_table(Verb::Read, "public.users2"), "block default-deny", "allow rest"),
        (all(Verb::Read, ObjectKind::Table), "block default-deny", "block r"),
        (all(Verb::Read, ObjectKind::Other), "block default-deny", "allow rest"),
    ] {
        let filter = "{ effects: [read], tables: [public.users] }";
        assert_eq!(brief(&allowing(filter), &op), allowed, "{:?}", op.effects);
        assert_eq!(brief(&blocking(filter), &op), blocked, "{:?}", op.effects);
    }
    let any = allowing("{ effects: [read], tables: \"*\" }");
    assert_eq!(brief(&any, &on_table(Verb::Read, "users")), "allow r");
    assert_eq!(brief(&any, &all(Verb::Read, ObjectKind::Other)), "allow r");
}

#[test]
fn a_column_is_matched_by_its_table() {
    let column = |name| operation(vec![effect(Verb::Create, ObjectKind::Column, name)]);
    let filter = "{ effects: [create], tables: [public.users] }";
    assert_eq!(brief(&allowing(filter), &column("public.users.note")), "allow r");
    assert_eq!(brief(&allowing(filter), &column("public.orders.note")), "block default-deny");
    assert_eq!(brief(&blocking(filter), &column("public.users.note")), "block r");
    let name = ObjectName::bare("users.note");
    let bare = operation(vec![Effect::new(Verb::Create, Object::named(ObjectKind::Column, name))]);
    assert_eq!(brief(&allowing(filter), &bare), "block default-deny");
    assert_eq!(brief(&blocking(filter), &bare), "block r");
}

#[test]
fn a_dot_in_a_name_helps_nobody() {
    let column = operation(vec![effect(Verb::Create, ObjectKind::Column, "public.users.a.b")]);
    let filter = "{ effects: [create], tables: [public.users] }";
    assert_eq!(brief(&allowing(filter), &column), "block default-deny");
    assert_eq!(brief(&blocking(filter), &column), "block r");
}

#[test]
fn a_table_filter_says_nothing_of_other_things() {
    let filter = "{ effects: \"*\", tables: [\"*.*\"] }";
    for kind in [ObjectKind::Function, ObjectKind::Role, ObjectKind::Setting, ObjectKind::Schema] {
        let op = operation(vec![effect(Verb::Drop, kind, "public.x")]);
        assert_eq!(brief(&allowing(filter), &op), "block default-deny", "{kind}");
        assert_eq!(brief(&blocking(filter), &op), "allow rest", "{kind}");
    }
}

#[test]
fn kinds_functions_and_settings_narrow_a_rule() {
    let index = operation(vec![effect(Verb::Drop, ObjectKind::Index, "public.i")]);
    let table = on_table(Verb::Drop, "public.t");
    let filter = "{ effects: [drop], objects: [index, view] }";
    assert_eq!(brief(&allowing(filter), &index), "allow r");
    assert_eq!(brief(&allowing(filter), &table), "block default-deny");

    let call = |name| operation(vec![effect(Verb::Call, ObjectKind::Function, name)]);
    for (pattern, name, expected) in [
        ("refresh_*", "refresh_stats", "allow r"),
        ("refresh_*", "public.refresh_stats", "allow r"),
        ("public.refresh_*", "public.refresh_stats", "allow r"),
        ("public.refresh_*", "refresh_stats", "block default-deny"),
        ("public.refresh_*", "evil.refresh_stats", "block default-deny"),
    ] {
        let policy = allowing(&format!("{{ effects: [call], functions: [{pattern}] }}"));
        assert_eq!(brief(&policy, &call(name)), expected, "{pattern} {name}");
    }

    let set = |name| operation(vec![effect(Verb::Config, ObjectKind::Setting, name)]);
    let policy = allowing("{ effects: [config], settings: [work_mem] }");
    assert_eq!(brief(&policy, &set("work_mem")), "allow r");
    assert_eq!(brief(&policy, &set("search_path")), "block default-deny");
    let all = operation(vec![Effect::new(Verb::Config, Object::unnamed(ObjectKind::Setting))]);
    assert_eq!(brief(&policy, &all), "block default-deny");
}

#[test]
fn only_bounded_changes_pass_where_that_is_asked() {
    let policy = allowing("{ effects: [update, delete, insert], bounded: true }");
    for (op, expected) in [
        (bounded(Verb::Delete, "public.a", Bounded::Yes), "allow r"),
        (bounded(Verb::Delete, "public.a", Bounded::No), "block default-deny"),
        (bounded(Verb::Update, "public.a", Bounded::No), "block default-deny"),
        (on_table(Verb::Insert, "public.a"), "allow r"),
    ] {
        assert_eq!(brief(&policy, &op), expected, "{:?}", op.effects);
    }
    let policy = blocking("{ effects: [update, delete], bounded: false }");
    assert_eq!(brief(&policy, &bounded(Verb::Delete, "public.a", Bounded::No)), "block r");
    assert_eq!(brief(&policy, &bounded(Verb::Delete, "public.a", Bounded::Yes)), "allow rest");
}

#[test]
fn a_refusal_says_what_by_which_rule_and_what_next() {
    let policy = policy(
        "policy: nightly\nrules:
  - { name: reads, sql: { effects: [read] }, decide: allow }
  - { name: purge, sql: { effects: [delete], bounded: true }, decide: allow }
  - { name: destructive, sql: { effects: [drop] }, decide: block, say: schema changes go through migrations }
",
    );
    for (op, expected) in [
        (
            on_table(Verb::Drop, "public.users"),
            "blocked DROP on `public.users` by rule `destructive` of policy `nightly` (GRD-2101)
schema changes go through migrations
leave it out of the job, or have rule `destructive` of `nightly` changed",
        ),
        (
            bounded(Verb::Delete, "public.users", Bounded::No),
            "blocked unbounded DELETE on `public.users` by rule `default-deny` of policy `nightly` (GRD-2102)
-
bound it with a WHERE that leaves rows out",
        ),
        (
            operation(vec![effect(Verb::Call, ObjectKind::Function, "f")]),
            "blocked CALL on function `f` by rule `default-deny` of policy `nightly` (GRD-2102)
-
leave it out of the job, or have a rule that allows call on function `f` added to `nightly`",
        ),
        (
            unparsed(),
            "blocked a statement that is not understood by rule `default-deny` of policy `nightly` (GRD-2103)
it is not understood: syntax error
write it in a plainer form: one statement, with names and functions that guard knows",
        ),
    ] {
        let denial = denial(&policy, &op);
        let detail = denial.detail.as_deref().unwrap_or("-");
        let hint = denial.hint.as_deref().unwrap_or("-");
        assert_eq!(format!("{denial}\n{detail}\n{hint}"), expected);
    }
}

#[test]
fn a_name_of_any_length_does_not_fill_an_error() {
    let denial =
        denial(&allowing("{ effects: [read] }"), &on_table(Verb::Drop, &"x".repeat(9_000)));
    assert!(denial.what.len() < 200, "{}", denial.what);
}
