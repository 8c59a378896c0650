//! Rules and masks for requests to HTTP APIs.

use std::sync::Arc;

use guard_core::http::{HttpRequest, Method};

use super::*;

const POLICY: &str = "\
policy: p
rules:
  - name: secrets
    http: { paths: [/v1/secrets/**] }
    decide: block
  - name: releases
    http: { methods: [POST], paths: ['/repos/{owner}/{repo}/releases'] }
    decide: approve
    approvers: [release]
    within: 15m
  - name: read
    http: { effects: [read], paths: [/v1/**], headers: { X-Admin: null } }
    decide: allow
  - name: order
    http: { methods: [POST], paths: [/v1/orders], query: { dry: ['1', 'true'], force: null } }
    decide: allow
  - name: sql
    sql: { effects: '*', certainty: '*' }
    decide: allow
masks:
  - { http: { json: [$..email, /users/*/ssn] }, with: redact }
  - { http: { json: /token, paths: [/v1/login] }, with: 'null' }
";

/// A request: methods and URL, and a header that is there if there is one.
fn request(methods: &[&str], url: &str, header: Option<&str>) -> Operation {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pair = |text: &str| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let request = HttpRequest {
        methods: methods.iter().map(|method| Method::new(method).unwrap()).collect(),
        path: path.split('/').skip(1).map(str::to_owned).collect(),
        query: query.split('&').filter_map(pair).collect(),
        headers: header.map(|name| (name.to_owned(), "1".to_owned())).into_iter().collect(),
    };
    let effects = request.methods.iter().map(|method| {
        Effect::new(method.verb(), Object::named(ObjectKind::Path, ObjectName::bare(path)))
    });
    Operation {
        protocol: Protocol::Http,
        label: methods.join(" ").as_str().into(),
        request: Some(Arc::new(request.clone())),
        ..operation(effects.collect())
    }
}

#[test]
fn a_request_meets_the_first_rule_that_is_about_it() {
    let policy = policy(POLICY);
    for (methods, url, header, expected) in [
        (&["GET"][..], "/v1/users", None, "allow read"),
        (&["HEAD"], "/v1", None, "allow read"),
        (&["GET"], "/v1/users", Some("x-admin"), "block default-deny"),
        (&["GET"], "/v1/users", Some("x_admin"), "block default-deny"),
        (&["GET"], "/V1/users", None, "block default-deny"),
        (&["GET"], "/v1/secrets/a", None, "block secrets"),
        (&["GET"], "/v1/Secrets/a", None, "block secrets"),
        (&["POST"], "/v1/orders?dry=1", None, "allow order"),
        (&["POST"], "/v1/orders?dry=1&dry=2", None, "block default-deny"),
        (&["POST"], "/v1/orders?dry=1&force=0", None, "block default-deny"),
        (&["POST"], "/v1/orders", None, "block default-deny"),
        (&["POST", "DELETE"], "/v1/orders?dry=1", None, "block default-deny"),
        (&["DELETE"], "/v1/users", None, "block default-deny"),
        (&["POST"], "/repos/o/r/releases", None, "approve releases"),
        // It could be what the rule is about; a yes alone does not let it pass.
        (&["POST"], "/repos/o/r/releases/", None, "block default-deny"),
    ] {
        assert_eq!(brief(&policy, &request(methods, url, header)), expected, "{methods:?} {url}");
    }
}

#[test]
fn rules_for_sql_say_nothing_of_requests_and_the_other_way_round() {
    let policy = policy(POLICY);
    assert_eq!(brief(&policy, &on_table(Verb::Drop, "public.users")), "allow sql");
    assert_eq!(brief(&policy, &unparsed()), "allow sql");
    let unread = Operation::unparsed(Protocol::Http, "request", "x".into(), "two lengths");
    assert_eq!(brief(&policy, &unread), "block default-deny");
    let bare = Operation { protocol: Protocol::Http, ..operation(Vec::new()) };
    assert_eq!(brief(&policy, &bare), "block default-deny");
    let all =
        super::policy("policy: p\nrules:\n  - { name: r, http: { paths: '*' }, decide: allow }\n");
    assert_eq!(brief(&all, &request(&["PURGE"], "/", None)), "allow r");
    assert_eq!(brief(&all, &on_table(Verb::Read, "public.users")), "block default-deny");
    let unread = Operation::unparsed(Protocol::Http, "request", "x".into(), "two lengths");
    assert_eq!(brief(&all, &unread), "block default-deny");
}

#[test]
fn a_refusal_names_method_and_path() {
    let denial = denial(&policy(POLICY), &request(&["DELETE"], "/v1/users", None));
    assert_eq!(denial.what, "blocked DELETE `/v1/users`");
    let hint = denial.hint.unwrap();
    assert!(hint.contains("delete on path `/v1/users`"), "{hint}");
}

#[test]
fn fields_are_hidden_of_answers_that_could_have_them() {
    let policy = policy(POLICY);
    let fields = |url: &str| {
        let ruling = judge(&policy, &request(&["GET"], url, None));
        let fields: Vec<_> = ruling.masks.fields.iter().map(|it| it.path.to_string()).collect();
        fields.join(" ")
    };
    assert_eq!(fields("/v1/users"), "$..email /users/*/ssn");
    assert_eq!(fields("/v1/login"), "$..email /users/*/ssn /token");
    assert_eq!(fields("/v1/Login/"), "$..email /users/*/ssn /token");
    let masks = judge(&policy, &on_table(Verb::Read, "public.users")).masks;
    assert!(masks.is_empty() && policy.hides_values());
}

#[test]
fn what_nobody_would_do_does_not_load() {
    for (rest, problem) in [
        (
            "rules: [{ name: r, http: { methods: [get], paths: /a }, decide: allow }]",
            "`get` is not a method",
        ),
        ("rules: [{ name: r, http: { methods: [GET] }, decide: allow }]", "`paths` is missing"),
        ("rules: [{ name: r, http: { paths: a }, decide: allow }]", "`a`"),
        ("rules: [{ name: r, http: { paths: [/a, '*'] }, decide: allow }]", "stands alone"),
        ("rules: [{ name: r, http: { paths: /a, query: {} }, decide: allow }]", "names nothing"),
        (
            "rules: [{ name: r, http: { paths: /a, body: x }, decide: allow }]",
            "`body` is not known",
        ),
        (
            "rules: [{ name: r, http: { paths: /a, effects: drop }, decide: allow }]",
            "`drop` is not known",
        ),
        (
            "rules: [{ name: r, http: { paths: /a }, sql: { effects: read }, decide: allow }]",
            "both `sql` and `http`",
        ),
        (
            "rules: [{ name: r, http: { paths: /a }, decide: allow, record: results }]",
            "no answers are recorded",
        ),
        (
            "record: bytes\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "no answers are recorded",
        ),
        (
            "detect: { values: '*' }\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "`detect` does not look",
        ),
        (
            "lock: report\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "a lock lists statements",
        ),
        (
            "budgets: { rows_per_session: 5 }\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "have no rows",
        ),
        (
            "client_credentials: keep\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "`keep` is not known",
        ),
        ("masks: [{ http: { json: email }, with: redact }]", "`email` is no path into JSON"),
        ("masks: [{ http: { json: /a }, with: redact, derived: block }]", "`derived` is not known"),
        (
            "masks: [{ http: { json: /a }, sql: { columns: a.b.c }, with: redact }]",
            "both `sql` and `http`",
        ),
    ] {
        let text = format!("policy: p\n{rest}\n");
        let problems = Policy::parse("p.yaml", &text).unwrap_err().to_string();
        assert!(problems.contains(problem), "{rest}\n{problems}");
    }
}
