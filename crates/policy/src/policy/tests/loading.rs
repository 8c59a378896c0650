//! What loads, and what is said of what does not.

use crate::{Policy, fuzz_policy};

fn problems_of(text: &str) -> String {
    Policy::parse("p.yaml", text).expect_err(text).to_string()
}

fn rule(sql: &str) -> String {
    format!("policy: p\nrules:\n  - {{ name: r, sql: {sql}, decide: allow }}\n")
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let text = "policy: Nightly
rules:
  - name: default-deny
    sql: { effects: [read, reed], tables: [users], bounded: maybe }
    decide: approve
    approvers: [dba]
  - sql: { effects: [] }
    decide: alow
masks:
  - sql: { columns: [public.users] }
    with: hide
color: red
";
    assert_eq!(
        problems_of(text),
        "p.yaml:1:9: `Nightly` is not a name: use 1 to 63 of a-z, 0-9, `-` and `_`, starting with a letter
p.yaml:3:11: `default-deny` is a name of guard's own
  help: choose another: reports name rules, and this one would look like guard's
p.yaml:3:5: `within` is missing
p.yaml:4:28: `reed` is not known here
  help: one of `read`, `insert`, `update`, `delete`, `truncate`, `create`, `alter`, `drop`, `grant`, `role`, `call`, `code`, `program`, `file`, `network`, `signal`, `config`, `session`, `transaction`, `lock`, `notify`, `maintain`, `replication`
p.yaml:4:61: expected `true` or `false`
p.yaml:4:44: `users` has 1 parts, but `schema.table` is expected
p.yaml:7:5: `name` is missing
p.yaml:8:13: `alow` is not known here
  help: one of `allow`, `approve`, `block`
p.yaml:7:21: the list is empty, which would mean nothing at all
  help: write what it should hold, `\"*\"` for all where that is possible, or leave it out
p.yaml:11:11: `hide` is not known here
  help: one of `redact`, `null`, `hash`, `partial`, `format`
p.yaml:10:22: `public.users` has 2 parts, but `schema.table.column` is expected
p.yaml:12:1: `color` is not known here
  help: known are `policy`, `mode`, `budgets`, `record`, `rules`, `masks`, `detect`, `egress`, `lock`, `client_credentials`"
    );
}

#[test]
fn what_people_are_asked_is_read_with_every_problem() {
    let asks = |rest: &str| {
        format!(
            "policy: p\nrules:\n  - {{ name: r, sql: {{ effects: [delete] }}, decide: {rest} }}\n"
        )
    };
    for (text, expected) in [
        (asks("approve, within: 15m"), "`approvers` is missing"),
        (asks("approve, approvers: [dba]"), "`within` is missing"),
        (asks("approve, approvers: [], within: 15m"), "the list is empty"),
        (asks("approve, approvers: \"*\", within: 15m"), "`*` is none"),
        (asks("approve, approvers: [\" dba\"], within: 15m"), "without space around"),
        (asks("approve, approvers: { count: 2 }, within: 15m"), "`from` is missing"),
        (asks("approve, approvers: { from: dba, count: 0 }, within: 15m"), "1 to 10 people"),
        (asks("approve, approvers: { from: dba, of: 2 }, within: 15m"), "`of` is not known here"),
        (asks("approve, approvers: dba, within: 1s"), "between 10 seconds and 7 days"),
        (asks("approve, approvers: dba, within: 15m, wait: never"), "one of `hold`, `park`"),
        (asks("approve, approvers: dba, within: 15m, reason_required: 1"), "`true` or `false`"),
        (asks("block, approvers: dba"), "`approvers` says something of rules that ask people only"),
        (asks("allow, within: 15m"), "`within` says something of rules that ask people only"),
    ] {
        let problems = problems_of(&text);
        assert!(problems.contains(expected), "{text}\n{problems}");
    }
    for text in [
        asks("approve, approvers: dba, within: 15m"),
        asks("approve, approvers: [dba, Ops Team], within: 168h, wait: park"),
        asks("approve, approvers: { from: [dba], count: 2 }, within: 1h, reason_required: true"),
    ] {
        Policy::parse("p.yaml", &text).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    }
}

#[test]
fn what_could_mean_something_else_does_not_load() {
    for (text, expected) in [
        (rule("{ effects: [] }"), "the list is empty"),
        (rule("{ effects: }"), "expected a text"),
        (rule("{ tables: [a.b] }"), "`effects` is missing"),
        (rule("{ effects: [\"*\", read] }"), "`*` stands for all and so stands alone"),
        (rule("{ effects: [read], tables: [public.Users] }"), "folded to lower case"),
        (rule("{ effects: [read], tables: [\"public.*.x\"] }"), "3 parts"),
        (rule("{ effects: [read], tables: [a.b], settings: [c] }"), "names of another kind"),
        (rule("{ effects: [read], bounded: true }"), "`update` and `delete` only"),
        (rule("{ effects: [read], certainty: [unparsed] }"), "a rule of its own"),
        (rule("{ effects: [read], certainty: \"*\" }"), "a rule of its own"),
        (rule("{ effects: \"*\", objects: [table], certainty: [unparsed] }"), "a rule of its own"),
        (rule("{ effects: \"*\", table: [a.b] }"), "`table` is not known here"),
        ("policy: p\nrules: []\n".into(), "the list is empty"),
        ("policy: p\n".into(), "`rules` is missing"),
        ("rules:\n  - { name: r, sql: { effects: [read] }, decide: allow }\n".into(), "`policy` is"),
        (format!("{}masks: []\n", rule("{ effects: [read] }")), "the list is empty"),
        (
            format!("{}  - {{ name: r, sql: {{ effects: [read] }}, decide: block }}\n", rule("{ effects: [read] }")),
            "a rule `r` stands above, too",
        ),
        (
            "policy: p\nrules:\n  - { name: r, sql: { effects: [read] }, decide: allow, say: \"a\\nb\" }\n".into(),
            "one line",
        ),
        (
            format!("{}masks:\n  - {{ sql: {{ columns: \"*\" }}, with: redact }}\n", rule("{ effects: [read] }")),
            "`schema.table.column` is expected",
        ),
        (
            format!("{}masks:\n  - {{ sql: {{ columns: a.b.c }}, with: redact, stable: always }}\n", rule("{ effects: [read] }")),
            "`hash` and `format` only",
        ),
        (
            format!("{}detect: {{ values: [mail] }}\n", rule("{ effects: [read] }")),
            "`mail` is not known here",
        ),
        (
            format!("{}detect: {{ values: email, with: hash }}\n", rule("{ effects: [read] }")),
            "`hash` is not known here",
        ),
        (format!("{}detect: {{ with: redact }}\n", rule("{ effects: [read] }")), "`values` is missing"),
    ] {
        let problems = problems_of(&text);
        assert!(problems.contains(expected), "{text}\n{problems}");
    }
}

#[test]
fn words_may_stand_where_lists_do() {
    let text = "policy: p\nrules:\n  - { name: r, sql: { effects: read, tables: public.a, objects: table, certainty: exact }, decide: allow }\nmasks:\n  - { sql: { columns: public.a.b }, with: null }\n";
    let policy = Policy::parse("p.yaml", text).unwrap();
    assert_eq!(policy.rules().count(), 1);
    assert!(policy.has_masks());
}

#[test]
fn a_policy_says_whether_it_needs_a_key_that_outlives_sessions() {
    for (mask, needs) in [
        ("with: hash", false),
        ("with: format, stable: run", false),
        ("with: format, stable: always", true),
    ] {
        let text = format!(
            "{}masks:\n  - {{ sql: {{ columns: a.b.c }}, {mask} }}\n",
            rule("{ effects: [read] }")
        );
        assert_eq!(Policy::parse("p.yaml", &text).unwrap().needs_lasting_key(), needs, "{mask}");
    }
}

#[test]
fn a_policy_is_named_by_the_digest_of_its_text() {
    let (one, two) = (rule("{ effects: [read] }"), rule("{ effects: [read, lock] }"));
    let digest = |text: &str| Policy::parse("p.yaml", text).unwrap().digest();
    assert_eq!(digest(&one), digest(&one));
    assert_ne!(digest(&one), digest(&two));
}

#[test]
fn arbitrary_bytes_do_not_break_the_reader() {
    let whole = rule("{ effects: [read], tables: [public.a] }");
    for end in 0..whole.len() {
        fuzz_policy(whole.as_bytes().get(..end).unwrap());
    }
    for data in [&b"\xff\xfe"[..], b"policy: !!x p", b"- - - -", b"{{{{{{", b"policy: &a *a"] {
        fuzz_policy(data);
    }
}

#[test]
fn budgets_load_with_their_units() {
    let policy = rule("{ effects: [read] }")
        + "mode: observe
budgets:
  rows_per_statement: 100000
  bytes_per_statement: 50MB
  rows_per_session: 5000000
  bytes_per_session: 2GiB
  changes_per_statement: 40
  changes_per_transaction: 200
  changes_per_session: 10000
  statements_per_minute: 600
  time_per_statement: 30s
";
    let policy = Policy::parse("p.yaml", &policy).expect("it loads");
    assert_eq!(policy.mode(), guard_core::Mode::Observe);
    let expected = guard_core::Budgets {
        rows_per_statement: Some(100_000),
        bytes_per_statement: Some(50_000_000),
        rows_per_session: Some(5_000_000),
        bytes_per_session: Some(2 << 30),
        changes_per_statement: Some(40),
        changes_per_transaction: Some(200),
        changes_per_session: Some(10_000),
        statements_per_minute: Some(600),
        time_per_statement: Some(std::time::Duration::from_secs(30)),
    };
    assert_eq!(*policy.budgets(), expected);
}

#[test]
fn budgets_that_bound_nothing_or_nothing_sensible_do_not_load() {
    let budgets = |text: &str| problems_of(&(rule("{ effects: [read] }") + text));
    assert_eq!(
        budgets(
            "mode: watch
budgets:
  rows_per_statement: -1
  bytes_per_statement: 50 MB
  rows_per_session: 0
  bytes_per_session: 99999999999TB
  statements_per_minute: 1k
  time_per_statement: 30
  rows: 1
"
        ),
        "p.yaml:4:7: `watch` is not known here
  help: one of `enforce`, `observe`
p.yaml:6:23: expected a whole number, found `-1`
p.yaml:7:24: expected an amount of bytes like `50MB`, found `50 MB`
  help: a whole number and one of `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`, without a blank
p.yaml:8:21: `rows_per_session` is 0, with which nothing could be done
  help: write a rule that blocks what should not be done at all
p.yaml:9:22: expected an amount of bytes like `50MB`, found `99999999999TB`
  help: a whole number and one of `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`, without a blank
p.yaml:10:26: expected a whole number, found `1k`
p.yaml:11:23: expected a length of time like `45m`, found `30`
p.yaml:12:3: `rows` is not known here
  help: known are `rows_per_statement`, `bytes_per_statement`, `rows_per_session`, `bytes_per_session`, `changes_per_statement`, `changes_per_transaction`, `changes_per_session`, `statements_per_minute`, `time_per_statement`"
    );
    for (text, expected) in [
        ("budgets: {}\n", "no budget stands here"),
        ("budgets: []\n", "expected"),
        ("budgets: { rows_per_statement: 3, rows_per_session: 2 }\n", "is more than"),
        (
            "budgets: { changes_per_statement: 3, changes_per_session: 2 }\n",
            "`changes_per_statement` is more than `changes_per_session`",
        ),
        (
            "budgets: { changes_per_transaction: 3, changes_per_session: 2 }\n",
            "`changes_per_transaction` is more than `changes_per_session`",
        ),
        ("budgets: { bytes_per_statement: 3kB, bytes_per_session: 2kB }\n", "is more than"),
    ] {
        assert!(budgets(text).contains(expected), "{text}: {}", budgets(text));
    }
}
