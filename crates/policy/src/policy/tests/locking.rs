//! Locks: what is read, and what becomes of what is not listed.

use guard_core::{
    Digest, Locked, ResourceName, RowRange, RuleId, control::PolicySource, lock::effect_words,
};

use super::*;
use crate::{LockFile, LockText};

const RULES: &str = "policy: p\nrules:\n  - { name: no-drop, sql: { effects: [drop] }, decide: block }\n  \
    - { name: rest, sql: { effects: \"*\", certainty: \"*\" }, decide: allow }\n";

fn listed() -> Operation {
    on_table(Verb::Delete, "public.orders")
}

/// A lock that lists one operation for the resource of the tests.
fn lock_of(op: &Operation) -> String {
    let effects: Vec<_> =
        effect_words(&op.effects).into_iter().map(|words| format!("{words:?}")).collect();
    format!(
        "lock: guard-lock/1\nrows_tolerance: 3\nresources:\n  orders:\n    tables: [public.orders]\n    statements:\n      \
         - text: DELETE FROM orders\n        effects: [{}]\n        rows: {{ least: 3, most: 9 }}\n        \
         fingerprint: {}\n        details: {}\negress: [a.example:443]\n",
        effects.join(", "),
        op.fingerprint,
        op.details(),
    )
}

fn with_lock(unlisted: &str, lock: &str) -> Result<Policy, String> {
    let text = format!("{RULES}lock: {{ file: p.lock.yaml, {unlisted} }}\n");
    let source = |name: &str| match name {
        "p.lock.yaml" => Ok(LockText { file: name.to_owned(), text: lock.to_owned() }),
        _ => Err("there is none".to_owned()),
    };
    Policy::parse_with_lock("p.yaml", &text, &source, None).map_err(|problems| problems.to_string())
}

fn locked(unlisted: &str) -> Policy {
    with_lock(unlisted, &lock_of(&listed())).unwrap()
}

#[test]
fn what_is_listed_goes_on_and_what_is_not_is_up_to_the_lock() {
    let other = on_table(Verb::Update, "public.orders");
    let asks = "unlisted: approve, approvers: [dba], within: 10m";
    for (unlisted, becomes) in [
        ("unlisted: block", "block lock"),
        ("unlisted: report", "allow rest"),
        (asks, "approve lock"),
    ] {
        let policy = locked(unlisted);
        assert_eq!(brief(&policy, &listed()), "allow rest");
        let rows = RowRange { least: 1, most: 27 };
        assert_eq!(judge(&policy, &listed()).lock, Some(Locked::Listed(Some(rows))));
        let mut new = other.clone();
        new.fingerprint = Digest::of("new");
        for unlisted in [&new, &other, &partial(listed()), &unparsed()] {
            assert_eq!(brief(&policy, unlisted), becomes, "{unlisted:?}");
            assert_eq!(judge(&policy, unlisted).lock, Some(Locked::Unlisted));
        }
        // What the rules block stays blocked by them.
        assert_eq!(brief(&policy, &on_table(Verb::Drop, "public.orders")), "block no-drop");
        // Housekeeping is none of its business.
        let begin =
            operation(vec![Effect::new(Verb::Transaction, Object::unnamed(ObjectKind::Other))]);
        assert_eq!(brief(&policy, &begin), "allow rest");
        assert_eq!(judge(&policy, &begin).lock, None);
        assert_eq!(brief(&policy.without_lock(), &new), "allow rest");
    }
    assert_eq!(denial(&locked("unlisted: block"), &other).code.number(), "GRD-2107");
    let terms = locked(asks).approval_terms(&RuleId::lock()).cloned().unwrap();
    assert_eq!((terms.rule, terms.within_secs), (RuleId::lock(), 600));
    assert!(locked(asks).asks_people() && !locked("unlisted: block").asks_people());
}

#[test]
fn a_request_is_listed_by_its_line_and_fail_closed_by_nothing_else() {
    let rules = "policy: p\nrules: [{ name: all, http: { paths: /** }, decide: allow }]\n";
    let lock = "lock: guard-lock/1\nresources:\n  orders:\n    requests: ['GET /a/*?page', 'POST query viewer /g']\n";
    let source = |name: &str| Ok(LockText { file: name.to_owned(), text: lock.to_owned() });
    let policy =
        Policy::parse_with_lock("p.yaml", &format!("{rules}lock: block\n"), &source, None).unwrap();
    let asks = |method: &str, text: &str| {
        let path = text.split_once(" /").unwrap().1.split('?').next().unwrap();
        let operation = http::request(&[method], &format!("/{path}"), None);
        Operation { text: guard_core::Sensitive::new(text.into()), ..operation }
    };
    for (method, text, expected) in [
        ("GET", "GET /a/b?page=2", "allow all"),
        ("GET", "GET /a/b", "block lock"),
        ("GET", "GET /a/b?page=2&all=1", "block lock"),
        ("GET", "GET /a/b/c?page=2", "block lock"),
        ("POST", "POST query viewer /g", "allow all"),
        ("POST", "POST mutation purge /g", "block lock"),
        ("POST", "POST /g", "block lock"),
    ] {
        assert_eq!(brief(&policy, &asks(method, text)), expected, "{text}");
    }
    // What some server could take for something else is in no lock, whatever its line says.
    let unsure = asks("POST", "POST query viewer /g");
    let mut request = guard_core::http::HttpRequest::clone(unsure.request.as_ref().unwrap());
    request.graphql = Some(guard_core::http::GraphqlRequest::UNKNOWN);
    let unsure = Operation { request: Some(std::sync::Arc::new(request)), ..unsure };
    assert_eq!(brief(&policy, &unsure), "block lock");
    for (requests, problem) in [
        ("[]", "the list is empty"),
        ("['GET a']", "is no request of a lock"),
        ("['GET /a?b=1']", "is no request of a lock"),
        ("['GET /a*']", "it stands for one whole segment"),
        ("['GET /a', 'GET /a']", "the same request stands above, too"),
    ] {
        let lock =
            format!("lock: guard-lock/1\nresources: {{ orders: {{ requests: {requests} }} }}\n");
        let found = LockFile::parse("l", &lock, None).unwrap_err().to_string();
        assert!(found.contains(problem), "{requests}: {found}");
    }
    let found = LockFile::parse("l", "lock: guard-lock/1\nresources: { orders: {} }\n", None);
    assert!(found.unwrap_err().to_string().contains("expected `statements`, or `requests`"));
}

#[test]
fn the_same_fingerprint_with_other_effects_or_other_columns_is_not_listed() {
    let policy = locked("unlisted: block");
    let mut shadowed = listed();
    shadowed.effects = vec![effect(Verb::Delete, ObjectKind::Table, "orders")];
    let mut more = listed();
    more.effects.push(effect(Verb::Call, ObjectKind::Function, "public.f"));
    let mut stored = listed();
    stored.stores.push(column("public.orders.total"));
    let mut lifting = listed();
    lifting.lifts_read_only = true;
    let unbounded = bounded(Verb::Delete, "public.orders", Bounded::No);
    for op in [shadowed, more, stored, lifting, unbounded] {
        let denial = denial(&policy, &op);
        assert_eq!(denial.rule, RuleId::lock());
        assert!(denial.detail.unwrap().contains("other effects or on other columns"), "{op:?}");
    }
    // Elsewhere nothing was learned.
    let mut view = session();
    view.resource = ResourceName::new("other").unwrap();
    let ruling = policy.judge(&view, &listed(), Timestamp::UNIX_EPOCH);
    assert_eq!(ruling.rule, RuleId::lock());
}

#[test]
fn one_word_says_what_becomes_of_the_rest_and_the_lock_is_called_like_its_policy() {
    let lock = lock_of(&listed());
    let source = |name: &str| match name {
        "p.lock.yaml" => Ok(LockText { file: name.to_owned(), text: lock.clone() }),
        _ => Err("there is none".to_owned()),
    };
    let read = |said: &str| {
        Policy::parse_with_lock("p.yaml", &format!("{RULES}lock: {said}\n"), &source, None)
    };
    let other = on_table(Verb::Update, "public.orders");
    for (said, becomes) in [
        ("block", "block lock"),
        ("report", "allow rest"),
        ("{ unlisted: block }", "block lock"),
        ("{ unlisted: approve, approvers: [dba], within: 10m }", "approve lock"),
    ] {
        let policy = read(said).unwrap();
        assert_eq!(policy.lock_name(), Some("p.lock.yaml"));
        assert_eq!(brief(&policy, &other), becomes, "{said}");
    }
    for (said, problem) in [
        ("approve", "does not say who is asked"),
        ("allow", "`allow` is not known here"),
        ("p.lock.yaml", "`p.lock.yaml` is not known here"),
        ("true", "is not known here"),
        ("[block]", "expected"),
    ] {
        let found = read(said).unwrap_err().to_string();
        assert!(found.contains(problem), "{said}: {found}");
    }
}

#[test]
fn what_literals_say_is_in_no_lock() {
    let policy = locked("unlisted: block");
    for effect in [
        effect(Verb::Code, ObjectKind::Function, "pg_catalog.query_to_xml"),
        effect(Verb::File, ObjectKind::Function, "pg_catalog.pg_read_file"),
        effect(Verb::Network, ObjectKind::Function, "public.dblink"),
        effect(Verb::Config, ObjectKind::Setting, "session_replication_role"),
    ] {
        let mut op = listed();
        op.effects.push(effect);
        assert!(!op.can_be_locked());
        let listing_it = with_lock("unlisted: block", &lock_of(&op)).unwrap();
        let detail = denial(&listing_it, &op).detail.unwrap();
        assert!(detail.contains("in its literals or parameters"), "{detail}");
    }
    let mut foreign = listed();
    foreign.effects.push(effect(Verb::Network, ObjectKind::Table, "public.orders"));
    assert!(foreign.can_be_locked());
    assert_eq!(denial(&policy, &foreign).rule, RuleId::lock());
}

#[test]
fn a_lock_observes_with_its_policy() {
    let text = format!("mode: observe\n{RULES}lock: {{ file: p.lock.yaml, unlisted: block }}\n");
    let lock = lock_of(&listed());
    let source =
        |name: &str| Ok::<_, String>(LockText { file: name.to_owned(), text: lock.clone() });
    let policy = Policy::parse_with_lock("p.yaml", &text, &source, None).unwrap();
    let ruling = judge(&policy, &on_table(Verb::Insert, "public.orders"));
    assert!(ruling.observed && ruling.rule == RuleId::lock());
}

#[test]
fn a_digest_names_policy_and_lock_together() {
    let first = locked("unlisted: block");
    let mut other = listed();
    other.lifts_read_only = true;
    let second = with_lock("unlisted: block", &lock_of(&other)).unwrap();
    assert_ne!(first.digest(), second.digest());
    assert_eq!(policy(RULES).digest(), Digest::of(RULES));
    let yaml = format!("{RULES}lock: {{ file: p.lock.yaml, unlisted: block }}\n");
    let source =
        PolicySource::new(first.name().clone(), yaml.clone(), first.lock_text().map(str::to_owned));
    assert_eq!(source.digest, first.digest());
    assert_eq!(Policy::from_source(&source).unwrap().digest(), first.digest());
    // Without its lock it is no policy.
    let bare = PolicySource::new(first.name().clone(), yaml, None);
    assert!(Policy::from_source(&bare).is_err());
}

#[test]
fn places_that_are_not_in_the_lock_are_not_let_out() {
    let host = |name: &str| guard_core::egress::Host::new(name).unwrap();
    let places = "egress: ['a.example:443', 'b.example:443']\n";
    for (unlisted, b) in [("block", false), ("report", true)] {
        let text = format!("{RULES}{places}lock: {{ file: p.lock.yaml, unlisted: {unlisted} }}\n");
        let lock = lock_of(&listed());
        let source =
            |name: &str| Ok::<_, String>(LockText { file: name.to_owned(), text: lock.clone() });
        let policy = Policy::parse_with_lock("p.yaml", &text, &source, None).unwrap();
        assert!(policy.egress(&host("a.example"), 443).is_some());
        assert_eq!(policy.egress(&host("b.example"), 443).is_some(), b, "{unlisted}");
        assert_eq!(policy.locks_out(&host("b.example"), 443), !b);
        assert!(!policy.locks_out(&host("c.example"), 443));
    }
}

#[test]
fn what_a_reviewer_could_not_rely_on_does_not_load() {
    let good = lock_of(&listed());
    let (_, behind) = good.split_once("      - text").unwrap();
    let statement = format!("      - text{}", behind.split("egress").next().unwrap());
    for (lock, problem) in [
        (good.replace("guard-lock/1", "guard-lock/2"), "is not known here"),
        (good.replace("rows_tolerance: 3", "rows_tolerance: 0"), "expected 1 to 1000 times"),
        (good.replace("least: 3", "least: 10"), "`least` is more than `most`"),
        (good.replace("tables: [public.orders]", "tables: [public.users]"), "not those of"),
        (good.replace("    tables: [public.orders]\n", ""), "not those of"),
        (good.replace(&statement, &format!("{statement}{statement}")), "stands above, too"),
        (good.replace("        details", "        detail"), "`detail` is not known here"),
        (good.replace("orders:\n    tables", "Or ders:\n    tables"), "p.lock.yaml:4:3"),
        (good.replace("a.example:443]", "a.example:443, a.example:443]"), "stands above, too"),
        (format!("{good}x: 1\n"), "`x` is not known here"),
        (String::new(), "p.lock.yaml:1:1"),
    ] {
        assert_ne!(lock, good);
        let found = with_lock("unlisted: block", &lock).unwrap_err();
        assert!(found.contains(problem), "{problem}: {found}");
    }
    let nothing_is_right = |_: &str| Some([Digest::ZERO; 2]);
    let found = LockFile::parse("l", &good, Some(nothing_is_right)).unwrap_err().to_string();
    assert!(found.contains("l:10:22: the fingerprint is not the text's"), "{found}");
    for (keys, problem) in [
        ("unlisted: allow", "`allow` is not known here"),
        ("unlisted: block, approvers: [dba]", "says something of rules that ask people only"),
        ("unlisted: approve", "`approvers` is missing"),
        ("unlisted: block, x: 1", "`x` is not known here"),
    ] {
        let found = with_lock(keys, &good).unwrap_err();
        assert!(found.contains(problem), "{found}");
    }
    for name in ["../p.lock.yaml", "p.yaml", ".lock.yaml", "other.lock.yaml", "/etc/p.lock.yaml"] {
        let text = format!("{RULES}lock: {{ file: {name}, unlisted: block }}\n");
        let source = |_: &str| Err("there is none".to_owned());
        let found = Policy::parse_with_lock("p.yaml", &text, &source, None).unwrap_err();
        assert!(found.to_string().contains("lock"), "{name}: {found}");
    }
    assert!(Policy::parse("p.yaml", &RULES.replace("no-drop", "lock")).is_err());
}
