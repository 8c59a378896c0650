//! Tables of policy and operation to ruling, and of what does not load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod approving;
mod http;
mod judging;
mod loading;
mod locking;
mod masking;
mod predicates;
mod rows;

use guard_core::{
    Bounded, Certainty, ColumnName, Decision, Denial, Digest, Effect, Flow, Identity, Object,
    ObjectKind, ObjectName, Operation, Output, Outputs, Protocol, ResourceName, Ruling, Sensitive,
    SessionId, SessionView, Source, Timestamp, Verb,
};

use super::Policy;

fn session() -> SessionView {
    SessionView {
        id: SessionId::from_uuid("00000000-0000-0000-0000-000000000000".parse().unwrap()),
        identity: Identity::example(),
        resource: ResourceName::new("orders").unwrap(),
        until: Timestamp::from_second(2_000).unwrap(),
    }
}

fn policy(text: &str) -> Policy {
    Policy::parse("p.yaml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// A policy of one rule that allows, with this filter.
fn allowing(filter: &str) -> Policy {
    policy(&format!("policy: p\nrules:\n  - {{ name: r, sql: {filter}, decide: allow }}\n"))
}

/// A policy that blocks by this filter and allows the rest.
fn blocking(filter: &str) -> Policy {
    policy(&format!(
        "policy: p\nrules:\n  - {{ name: r, sql: {filter}, decide: block }}\n  - {{ name: rest, sql: {{ effects: \"*\", certainty: \"*\" }}, decide: allow }}\n"
    ))
}

fn judge(policy: &Policy, op: &Operation) -> Ruling {
    policy.judge(&session(), op, Timestamp::from_second(1_000).unwrap())
}

/// The decision and the rule: `allow r`.
fn brief(policy: &Policy, op: &Operation) -> String {
    let ruling = judge(policy, op);
    format!("{} {}", ruling.decision.kind(), ruling.rule)
}

fn denial(policy: &Policy, op: &Operation) -> Denial {
    match judge(policy, op).decision {
        Decision::Block(denial) => denial,
        Decision::Allow => panic!("allowed {:?}", op.effects),
        Decision::Approve(spec) => panic!("asks people: {}", spec.ask),
    }
}

fn operation(effects: Vec<Effect>) -> Operation {
    Operation {
        protocol: Protocol::Postgres,
        label: "TEST".into(),
        effects,
        certainty: Certainty::Exact,
        outputs: Outputs::None,
        stores: Vec::new(),
        tested: Vec::new(),
        lifts_read_only: false,
        request: None,
        text: Sensitive::new("…".into()),
        fingerprint: Digest::of("…"),
    }
}

/// An effect on a thing whose name is written `schema.name` or `name`.
fn effect(verb: Verb, kind: ObjectKind, name: &str) -> Effect {
    Effect::new(verb, Object::named(kind, object_name(name)))
}

fn object_name(name: &str) -> ObjectName {
    match name.split_once('.') {
        Some((schema, name)) => ObjectName::qualified(schema, name),
        None => ObjectName::bare(name),
    }
}

fn on_table(verb: Verb, name: &str) -> Operation {
    operation(vec![effect(verb, ObjectKind::Table, name)])
}

fn bounded(verb: Verb, name: &str, bounded: Bounded) -> Operation {
    let mut op = on_table(verb, name);
    op.effects.iter_mut().for_each(|effect| effect.bounded = bounded);
    op
}

fn partial(mut op: Operation) -> Operation {
    op.certainty = Certainty::Partial("a function is not known".into());
    op
}

fn unparsed() -> Operation {
    Operation::unparsed(Protocol::Postgres, "?", "x".into(), "syntax error")
}

/// An output column from these columns, written `schema.table.column`, with `~` before it where it is computed, `|`
/// where it may be another's value, `+` where it may be a given one.
fn output(sources: &[&str]) -> Output {
    let source = |text: &&str| {
        let flow = match text.as_bytes().first() {
            Some(b'~') => Flow::Derived,
            Some(b'|') => Flow::Either,
            Some(b'+') => Flow::Given,
            Some(_) | None => Flow::Plain,
        };
        Source { column: column(text.trim_start_matches(['~', '|', '+'])), flow }
    };
    Output { sources: sources.iter().map(source).collect() }
}

fn column(text: &str) -> ColumnName {
    let (table, column) = text.rsplit_once('.').unwrap();
    ColumnName { table: object_name(table), column: column.into() }
}
