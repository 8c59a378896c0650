//! Rules that look into bodies (JSON, and what is asked of a GraphQL server), and rules that name operations of an OpenAPI document.

use crate::api::{Api, text};

const POLICY: &str = "\
policy: stage
rules:
  - name: admins
    http: { paths: [/v1/**], body: { $..admin: true } }
    decide: block
  - name: draft
    http: { methods: [POST], paths: [/v1/orders], body: { /draft: true, /tag: 'v*', /force: null } }
    decide: allow
  - name: upload
    http: { methods: [PUT], paths: [/files/**] }
    decide: allow
  - name: viewer
    http: { effects: [read], paths: [/graphql], graphql: { fields: [viewer] } }
    decide: allow
";

#[test]
fn only_bodies_that_every_server_reads_in_the_same_way_are_allowed() {
    let api = Api::start(POLICY);
    let json = "-H 'Content-Type: application/json'";
    let right = r#"{ "draft": true, "tag": "v1" }"#;
    let mut script = String::new();
    for (kind, body) in [
        (json, right),
        (json, r#"{"draft":false,"tag":"v1"}"#),
        (json, r#"{"draft":true,"tag":"v1","force":null}"#),
        (json, r#"{"draft":true,"tag":"v1","Force":1}"#),
        (json, r#"{"draft":true,"tag":"v1","draft":false}"#),
        (json, r#"{"draft":true,"tag":"v1"} {}"#),
        (json, r#"{"draft":true,"tag":"v1","x":[{"Admin":"1"}]}"#),
        ("-H 'Content-Type: text/plain'", right),
        ("-H 'Content-Type: application/json' -H 'Content-Encoding: gzip'", right),
        ("-H 'Content-Type: application/json' -H 'Transfer-Encoding: chunked'", right),
        ("-H 'Content-Type: application/json; charset=utf-16'", right),
        ("", right),
        ("-F draft=true", ""),
    ] {
        let data = if body.is_empty() { String::new() } else { format!("--data-raw '{body}'") };
        script.push_str(&format!("get {kind} {data} \"$GUARD_API_URL/v1/orders\"\n"));
    }
    // A body that no rule looks at streams, however long it is; one that is looked at has a bound.
    script.push_str(
        "head -c 1500000 /dev/zero | get -T - \"$GUARD_API_URL/files/zero\"\n\
         (printf '\"'; head -c 1500000 /dev/zero; printf '\"') | tr '\\0' x \
           | get -H 'Content-Type: application/json' --data-binary @- \"$GUARD_API_URL/v1/orders\"\n",
    );
    let said = api.run(&script).ok().text();
    let statuses: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
    let statuses: Vec<_> = statuses.into_iter().filter(|it| *it != "100").collect();
    let mut expected = ["403"; 15];
    for allowed in [0, 9, 13] {
        expected[allowed] = "200";
    }
    expected[14] = "413";
    assert_eq!(statuses, expected, "{said}");
    assert!(said.contains("by rule `admins`"), "{said}");
    let requests = api.requests();
    let lengths: Vec<_> = requests.iter().map(|it| it["body"].as_u64().unwrap()).collect();
    assert_eq!(lengths, [right.len() as u64, right.len() as u64, 1_500_000]);
    assert!(!api.record().contains("v1\\\""), "a body is in the record");
}

#[test]
fn only_what_a_rule_names_is_asked_of_a_graphql_server() {
    let api = Api::start(POLICY);
    let json = "-H 'Content-Type: application/json' --data-raw";
    let script: String = [
        format!(r#"{json} '{{"query":"{{ me: viewer {{ login }} }}"}}'"#),
        "-H 'Content-Type: application/graphql' --data-raw '{ viewer { login } }'".to_owned(),
        "-G --data-urlencode 'query={ viewer { login } }'".to_owned(),
        format!(r#"{json} '{{"query":"mutation {{ viewer: deleteAll }}"}}'"#),
        format!(r#"{json} '{{"query":"{{ viewer: secrets }}"}}'"#),
        format!(r#"{json} '{{"query":"{{ ...F }} fragment F on Query {{ viewer secrets }}"}}'"#),
        format!(r#"{json} '[{{"query":"{{ viewer }}"}},{{"query":"mutation {{ x }}"}}]'"#),
        format!(
            r#"{json} '{{"query":"query A {{ viewer }} mutation B {{ x }}","operationName":"B"}}'"#
        ),
        format!(r#"{json} '{{"extensions":{{"persistedQuery":{{"sha256Hash":"00"}}}}}}'"#),
        format!(r#"{json} '{{"query":"{{ viewer }}","query":"mutation {{ x }}"}}'"#),
        "--data-urlencode 'query={ viewer }'".to_owned(),
        "-X DELETE".to_owned(),
    ]
    .iter()
    .map(|how| format!("get {how} \"$GUARD_API_URL/graphql\"\n"))
    .collect();
    let said = api.run(&script).ok().text();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 3, "{said}");
    assert_eq!(said.matches("HTTP/1.1 403").count(), 9, "{said}");
    assert!(said.contains("blocked POST mutation deleteAll `/graphql`"), "{said}");
    let seen: Vec<_> = api.requests().iter().map(|it| text(it, "method").to_owned()).collect();
    assert_eq!(seen, ["POST", "POST", "GET"]);
    assert!(api.record().contains("query viewer"));
}

#[test]
fn operations_of_a_document_are_named() {
    const DOCUMENT: &str = r#"{"openapi":"3.0.3","servers":[{"url":"https://api.example/v1"}],"paths":{
        "/users":{"get":{"operationId":"users/list"}},
        "/users/{id}":{"get":{"operationId":"users/get"},"delete":{"operationId":"users/delete"}},
        "/users/me":{"get":{"operationId":"users/me"}}}}"#;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("api.json");
    std::fs::write(&file, DOCUMENT).unwrap();
    let how = format!("send_as: bearer\n    openapi: {{ file: {} }}", file.display());
    let policy = |operations: &str| {
        format!(
            "policy: stage\nrules:\n  - {{ name: read, http: {{ operations: {operations} }}, decide: allow }}\n"
        )
    };
    let api = Api::with(&policy("[users/list, 'users/g*']"), &how, |it| it);
    let said = api
        .run(
            "for path in v1/users v1/users/7 v1/users/me v1/Users v1/users/7/ users v1/users/7/x; do\n\
             get \"$GUARD_API_URL/$path\"\n\
             done\n\
             get -X DELETE \"$GUARD_API_URL/v1/users/7\"\n\
             get -H 'X-HTTP-Method-Override: DELETE' \"$GUARD_API_URL/v1/users/7\"\n",
        )
        .ok()
        .text();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
    assert_eq!(said.matches("HTTP/1.1 403").count(), 7, "{said}");
    assert_eq!(api.seen(), ["GET /v1/users", "GET /v1/users/7"]);
}
