//! Rules and masks for requests to HTTP APIs.

use std::sync::Arc;

use guard_core::{
    Detector,
    http::{
        ApiDocument, ApiOperation, Called, GraphqlKind, GraphqlOperation, GraphqlRequest,
        HttpRequest, Json, Method, Readings, RequestBody,
    },
};

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
  - http:
      headers: [X-Customer-Email]
      cookies: '*'
      form: user[email]
      request: { json: [$..ssn], form: [ssn] }
      paths: [/v1/forms/**]
    with: hash
";

/// A request: methods and URL, and a header that is there if there is one.
pub(super) fn request(methods: &[&str], url: &str, header: Option<&str>) -> Operation {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pair = |text: &str| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let request = HttpRequest {
        methods: methods.iter().map(|method| Method::new(method).unwrap()).collect(),
        path: path.split('/').skip(1).map(str::to_owned).collect(),
        query: query.split('&').filter_map(pair).collect(),
        headers: header.map(|name| (name.to_owned(), "1".to_owned())).into_iter().collect(),
        body: RequestBody::Empty,
        called: None,
        graphql: None,
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
        let fields: Vec<_> = ruling.masks.fields.iter().map(ToString::to_string).collect();
        fields.join(" ")
    };
    assert_eq!(fields("/v1/users"), "$..email /users/*/ssn");
    assert_eq!(fields("/v1/login"), "$..email /users/*/ssn /token");
    assert_eq!(fields("/v1/Login/"), "$..email /users/*/ssn /token");
    let all = "$..email /users/*/ssn form user[email] header X-Customer-Email cookie * \
               request $..ssn request form ssn";
    assert_eq!(fields("/v1/forms/1"), all);
    let form = request(&["GET"], "/v1/forms/1", None);
    let form = form.request.unwrap();
    let masks: Vec<_> = policy.request_masks(&form).iter().map(ToString::to_string).collect();
    assert_eq!(masks, ["request $..ssn", "request form ssn"]);
    let detecting = super::policy(&format!("{POLICY}detect: {{ values: [email] }}\n"));
    let request = request(&["GET"], "/v1/users", None);
    assert!(judge(&detecting, &request).masks.detect.has(Detector::Email));
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
        ("rules: [{ name: r, http: { paths: /a, body: {} }, decide: allow }]", "names nothing"),
        (
            "rules: [{ name: r, http: { paths: /a, body: { a: 1 } }, decide: allow }]",
            "no path into JSON",
        ),
        (
            "rules: [{ name: r, http: { paths: /a, body: { /a: { type: text } } }, decide: allow }]",
            "`text` is not known",
        ),
        (
            "rules: [{ name: r, http: { paths: /a, body: { /a: [null] } }, decide: allow }]",
            "expected a text",
        ),
        (
            "rules: [{ name: r, http: { paths: /a, graphql: { operations: read } }, decide: allow }]",
            "`read` is not known",
        ),
        (
            "rules: [{ name: r, http: { paths: /a, effects: read, graphql: { operations: mutation } }, decide: allow }]",
            "no operation of GraphQL",
        ),
        ("rules: [{ name: r, http: { paths: /a, query: {} }, decide: allow }]", "names nothing"),
        (
            "rules: [{ name: r, http: { paths: /a, size: 1 }, decide: allow }]",
            "`size` is not known",
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
            "budgets: { rows_per_session: 5 }\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "have no rows",
        ),
        (
            "client_credentials: keep\nrules: [{ name: r, http: { paths: /a }, decide: allow }]",
            "`keep` is not known",
        ),
        ("masks: [{ http: { json: email }, with: redact }]", "`email` is no path into JSON"),
        ("masks: [{ http: { json: /a }, with: redact, derived: block }]", "`derived` is not known"),
        ("masks: [{ http: {}, with: redact }]", "the mask names no fields"),
        ("masks: [{ http: { paths: [/a] }, with: redact }]", "the mask names no fields"),
        ("masks: [{ http: { request: {} }, with: redact }]", "`request` names nothing"),
        (
            "masks: [{ http: { request: { headers: [a] } }, with: redact }]",
            "`headers` is not known",
        ),
        ("masks: [{ http: { headers: '*' }, with: redact }]", "not all headers can be masked"),
        ("masks: [{ http: { headers: [Content-Type] }, with: redact }]", "how the answer is read"),
        ("masks: [{ http: { headers: [Set-Cookie] }, with: redact }]", "`cookies`"),
        ("masks: [{ http: { headers: ['a b'] }, with: redact }]", "no name that one of `headers`"),
        ("masks: [{ http: { cookies: ['a;b'] }, with: redact }]", "no name that one of `cookies`"),
        ("masks: [{ http: { form: [' a'] }, with: redact }]", "is not a name"),
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

const BODIES: &str = "\
policy: p
rules:
  - name: admins
    http: { paths: [/v1/**], body: { $..admin: true } }
    decide: block
  - name: draft
    http: { methods: [POST], paths: [/v1/orders], body: { /draft: true, /tag: 'v*', /size: { type: [integer, 'null'] }, /force: null } }
    decide: allow
  - name: asked
    http: { paths: [/graphql], graphql: { operations: [mutation], fields: [delete*] } }
    decide: block
  - name: graphql
    http: { effects: [read], paths: [/graphql], graphql: { fields: [viewer, 'repo*'] } }
    decide: allow
";

fn with_body(request: &Operation, body: RequestBody) -> Operation {
    let known = HttpRequest::clone(request.request.as_ref().unwrap());
    Operation { request: Some(Arc::new(HttpRequest { body, ..known })), ..request.clone() }
}

#[test]
fn rules_look_into_bodies() {
    let policy = policy(BODIES);
    let object = |members: &[(&str, Json)]| {
        let member = |(name, value): &(&str, Json)| ((*name).to_owned(), value.clone());
        Json::Object(members.iter().map(member).collect())
    };
    let body = |certain, members: &[(&str, Json)]| {
        RequestBody::Read(Readings { certain, all: vec![object(members)] })
    };
    let whole = [
        ("draft", Json::Bool(true)),
        ("tag", Json::Text("v1".to_owned())),
        ("size", Json::Number(7.into())),
    ];
    let and = |more: (&'static str, Json)| [&whole[..], &[more]].concat();
    let post = request(&["POST"], "/v1/orders", None);
    for (body, expected) in [
        (body(true, &whole), "allow draft"),
        (body(false, &whole), "block default-deny"),
        (body(true, &whole[..2]), "block default-deny"),
        (body(true, &and(("force", Json::Bool(false)))), "block default-deny"),
        (body(true, &and(("more", Json::Null))), "allow draft"),
        (body(true, &and(("Admin", Json::Text("true".to_owned())))), "block admins"),
        (body(true, &and(("x", object(&[("admin", Json::Bool(true))])))), "block admins"),
        (RequestBody::Empty, "block default-deny"),
        (RequestBody::Unread, "block admins"),
        (RequestBody::Read(Readings { certain: false, all: Vec::new() }), "block admins"),
    ] {
        assert_eq!(brief(&policy, &with_body(&post, body.clone())), expected, "{body:?}");
    }
    for (methods, path, looks) in [
        (&["POST"][..], "/v1/orders", true),
        (&["PUT"], "/V1/x", true),
        (&["PUT"], "/v2/x", false),
        (&["POST"], "/graphql/", true),
        (&["DELETE"], "/graphql", true),
    ] {
        let request = request(methods, path, None).request.unwrap();
        assert_eq!(policy.looks_into(&request), looks, "{methods:?} {path}");
    }
}

#[test]
fn rules_look_at_operations_of_graphql() {
    let policy = policy(BODIES);
    let operation = |kind, fields: &[&str]| GraphqlOperation {
        kind,
        fields: fields.iter().map(|it| (*it).to_owned()).collect(),
    };
    let asks = |methods: &[&str], graphql: Option<GraphqlRequest>| {
        let operation = request(methods, "/graphql", None);
        let known = HttpRequest::clone(operation.request.as_ref().unwrap());
        Operation { request: Some(Arc::new(HttpRequest { graphql, ..known })), ..operation }
    };
    let sure = |operations: Vec<GraphqlOperation>| {
        Some(GraphqlRequest { surely: Some(operations.clone()), possibly: Some(operations) })
    };
    let viewer = || operation(GraphqlKind::Query, &["viewer", "repository"]);
    let delete = || operation(GraphqlKind::Mutation, &["deleteIssue"]);
    for (methods, graphql, expected) in [
        (&["POST"][..], sure(vec![viewer()]), "allow graphql"),
        (&["GET"], sure(vec![viewer()]), "allow graphql"),
        (&["POST", "DELETE"], sure(vec![viewer()]), "block default-deny"),
        (&["POST"], sure(vec![operation(GraphqlKind::Subscription, &["viewer"])]), "allow graphql"),
        (&["POST"], sure(vec![viewer(), delete()]), "block asked"),
        (
            &["POST"],
            sure(vec![operation(GraphqlKind::Mutation, &["viewer"])]),
            "block default-deny",
        ),
        (
            &["POST"],
            sure(vec![operation(GraphqlKind::Query, &["viewer", "x"])]),
            "block default-deny",
        ),
        (&["POST"], sure(Vec::new()), "block default-deny"),
        (&["POST"], Some(GraphqlRequest::UNKNOWN), "block asked"),
        (&["POST"], None, "block asked"),
    ] {
        assert_eq!(brief(&policy, &asks(methods, graphql.clone())), expected, "{graphql:?}");
    }
}

#[test]
fn rules_name_operations_of_a_document() {
    let policy = policy(
        "policy: p\nrules:\n  - { name: end, http: { operations: ['*/delete'] }, decide: block }\n  - { name: lists, http: { operations: [issues/list, 'deploy*'], query: { force: null } }, decide: allow }\n",
    );
    let called = |surely: &str, possibly: &[&str]| Called {
        surely: (!surely.is_empty()).then(|| surely.into()),
        possibly: possibly.iter().map(|id| (*id).into()).collect(),
    };
    let asks = |methods: &[&str], called: Option<Vec<Called>>| {
        let operation = request(methods, "/v1/issues", None);
        let known = HttpRequest::clone(operation.request.as_ref().unwrap());
        Operation { request: Some(Arc::new(HttpRequest { called, ..known })), ..operation }
    };
    let list = || called("issues/list", &["issues/list"]);
    for (methods, called, expected) in [
        (&["GET"][..], Some(vec![list()]), "allow lists"),
        (&["POST"], Some(vec![called("deployAll", &["deployAll"])]), "allow lists"),
        (&["GET"], Some(vec![called("", &["issues/list"])]), "block default-deny"),
        (&["GET"], Some(vec![called("issues/get", &["issues/get"])]), "block default-deny"),
        (
            &["GET"],
            Some(vec![called("issues/list", &["issues/list", "issues/delete"])]),
            "block end",
        ),
        (&["GET", "DELETE"], Some(vec![list(), called("", &["issues/delete"])]), "block end"),
        (&["GET", "PUT"], Some(vec![list(), called("", &[])]), "block default-deny"),
        (&["GET"], Some(vec![called("", &[])]), "block default-deny"),
        // Without a document it could be any.
        (&["GET"], None, "block end"),
    ] {
        assert_eq!(brief(&policy, &asks(methods, called.clone())), expected, "{called:?}");
    }
    let document = |ids: &[&str]| ApiDocument {
        operations: ids
            .iter()
            .map(|id| ApiOperation {
                id: (*id).to_owned(),
                method: "GET".to_owned(),
                path: format!("/{id}"),
            })
            .collect(),
    };
    let wrong = policy.misses(None);
    assert_eq!(wrong.len(), 2);
    assert!(wrong[0].0.contains("there is no OpenAPI document"), "{wrong:?}");
    assert_eq!(policy.misses(Some(&document(&["issues/list", "issues/delete", "deploy"]))), []);
    let wrong = policy.misses(Some(&document(&["issue/list", "issues/delete", "deploy"])));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].0.contains("rule `lists` names the operation `issues/list`"), "{wrong:?}");
    assert_eq!(wrong[0].1.as_deref(), Some("the nearest is `issue/list`"));
}
