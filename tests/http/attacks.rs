//! What a job could try to get more out of an API than its policy says. Everything fails closed.

use serde_json::Value;

use crate::api::{Api, POLICY, TOKEN};

#[test]
fn a_reflected_credential_is_hidden_in_body_headers_and_redirects() {
    for how in ["send_as: bearer", "send_as: { header: X-Api-Key }"] {
        let api = Api::with(POLICY, how, |it| it);
        let run = api.run(
            "get \"$GUARD_API_URL/v1/mirror\"\n\
             get -H 'Accept-Encoding: gzip' \"$GUARD_API_URL/v1/zipped\"\n\
             get \"$GUARD_API_URL/v1/echo\"\n",
        );
        let text = run.ok().text();
        for secret in [TOKEN, "t0ken", "YXBpX3Qwa2Vu"] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
        let hidden = "*".repeat(TOKEN.len());
        assert!(text.contains(&format!("?token={}{hidden}", prefix(how))), "{text}");
        // Encoded, too.
        assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
        assert_eq!(api.seen().len(), 3);
    }
}

fn prefix(how: &str) -> &'static str {
    if how.contains("bearer") { "Bearer " } else { "" }
}

#[test]
fn a_credential_of_the_clients_own_fails_closed_or_is_removed() {
    let api = Api::with(POLICY, "send_as: { header: X-Api-Key }", |it| it);
    let run = api.run(
        "get -H 'Authorization: Bearer mine' \"$GUARD_API_URL/v1/echo\"\n\
         get -H 'x-api-key: mine' \"$GUARD_API_URL/v1/echo\"\n\
         get -H 'X_Api_Key: mine' \"$GUARD_API_URL/v1/echo\"\n\
         get -u me:mine \"$GUARD_API_URL/v1/echo\"\n",
    );
    let text = run.ok().text();
    assert_eq!(text.matches("HTTP/1.1 403").count(), 4, "{text}");
    assert!(text.contains("client_credentials: remove") && !text.contains("mine\""), "{text}");
    assert_eq!(api.seen(), [""; 0]);

    let policy = format!("{POLICY}client_credentials: remove\n");
    let api = Api::with(&policy, "send_as: { header: X-Api-Key }", |it| it);
    let run = api.run(
        "get -H 'Authorization: Bearer mine' -H 'X-Api-Key: mine' \"$GUARD_API_URL/v1/echo\"\n",
    );
    let text = run.ok().text();
    assert!(text.contains("HTTP/1.1 200") && !text.contains("mine"), "{text}");
    let headers = &api.requests()[0]["headers"];
    assert!(!headers.to_string().contains("mine"), "{headers}");
    assert!(headers.to_string().contains(TOKEN), "{headers}");
}

#[test]
fn a_redirect_stays_with_the_client_and_fails_closed_elsewhere() {
    let api = Api::start(POLICY);
    let run = api.run(
        "get \"$GUARD_API_URL/v1/redirect\" -H 'X-To: http://127.0.0.1:9/steal'\n\
         get -L \"$GUARD_API_URL/v1/redirect\" -H 'X-To: /v1/secrets/key'\n",
    );
    let text = run.ok().text();
    assert!(text.contains("location: http://127.0.0.1:9/steal"), "{text}");
    assert!(text.contains("by rule `secrets`") && !text.contains("t0ken"), "{text}");
    assert_eq!(api.seen(), ["GET /v1/redirect", "GET /v1/redirect"]);
}

#[test]
fn ambiguous_requests_fail_closed() {
    const AFTER: &str = "0\r\n\r\nGET /v1/secrets/key HTTP/1.1\r\nHost: {host}\r\n\r\n";
    let api = Api::start(POLICY);
    let put = |headers: &str, body: &str| {
        format!("PUT /v1/files/a HTTP/1.1\r\nHost: {{host}}\r\n{headers}\r\n{body}")
    };
    let heads: Vec<String> = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 60\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\r\n folded\r\n",
        "Content-Length: +5\r\n",
    ]
    .map(|headers| put(headers, AFTER))
    .into();
    for (said, head) in api.raw(&heads).iter().zip(&heads) {
        assert!(said.starts_with("HTTP/1.1 400"), "{head}\n{said}");
        assert!(said.contains("GRD-2106"), "{head}\n{said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{head}\n{said}");
    }
    let record = api.record();
    assert_eq!(record.matches("\"type\":\"refused\"").count(), heads.len(), "{record}");
    // Chunks that two readers could end at different places end the connection.
    let bodies: Vec<String> = ["5;a=b\r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "0\r\nX: y\n\r\n"]
        .map(|body| put("Transfer-Encoding: chunked\r\n", body))
        .into();
    for (said, body) in api.raw(&bodies).iter().zip(&bodies) {
        assert!(!said.contains("HTTP/1.1 200"), "{body}\n{said}");
    }
    let seen = api.seen();
    assert!(!seen.iter().any(|it| it.contains("secrets")), "{seen:?}");
}

#[test]
fn paths_and_hosts_that_mean_something_else_fail_closed() {
    let api = Api::start(POLICY);
    let lines = [
        "GET /v1/%2e%2e/admin",
        "GET /v1/../../admin",
        "GET /v1/x%2f..%2fsecrets/key",
        "GET /v1/%252e%252e/secrets",
        "GET /v1/secrets;x/key",
        "GET /v1\\secrets\\key",
        "GET /v1//../secrets/key",
        "GET http://evil.example/v1/echo",
        "GET http://169.254.169.254/latest/meta-data/",
        "GET https://{host}/v1/echo",
        "GET *",
        "CONNECT evil.example:443",
        "TRACE /v1/echo",
        "GET /V1/SECRETS/key",
        "GET /v1/Secrets/key",
        "GET /v1/echo#/v1/secrets",
        "get /v1/echo",
    ];
    let mut messages: Vec<String> = lines
        .map(|line| format!("{line} HTTP/1.1\r\nConnection: close\r\nHost: {{host}}\r\n\r\n"))
        .into();
    messages.extend(
        [
            "GET /v1/echo HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n\r\n",
            "GET /v1/echo HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET /v1/echo HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\nHost: evil.example\r\n\r\n",
        ]
        .map(str::to_owned),
    );
    for (said, message) in api.raw(&messages).iter().zip(&messages) {
        let refused = said.starts_with("HTTP/1.1 400") || said.starts_with("HTTP/1.1 403");
        assert!(refused, "{message}\n{said}");
    }
    assert_eq!(api.seen(), [""; 0]);
}

#[test]
fn what_a_server_may_take_for_another_method_or_host_fails_closed() {
    let api = Api::start(POLICY);
    let run = api.run(
        "get -H 'X-HTTP-Method-Override: DELETE' \"$GUARD_API_URL/v1/echo\"\n\
         get \"$GUARD_API_URL/v1/echo?_method=DELETE\"\n\
         get -d '_method=DELETE' \"$GUARD_API_URL/v1/orders?dry=1\"\n\
         get -H 'X-Original-URL: /v1/secrets/key' -H 'X-Forwarded-Host: evil' -H 'Forwarded: host=evil' \
             -H 'Proxy-Authorization: Basic eA==' -H 'Connection: close' \"$GUARD_API_URL/v1/echo\"\n",
    );
    let text = run.ok().text();
    assert_eq!(text.matches("HTTP/1.1 403").count(), 3, "{text}");
    let [request] = api.requests().try_into().unwrap();
    let names: Vec<_> = request["headers"].as_array().unwrap().iter().map(|it| &it[0]).collect();
    assert_eq!(
        names,
        ["host", "user-agent", "accept", "accept-encoding", "authorization"]
            .map(Value::from)
            .iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn heads_without_measure_fail_closed() {
    let api = Api::start(POLICY);
    let many = "X-Y: z\r\n".repeat(200);
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    let endless = format!("X: {}\r\n", "y".repeat(70_000));
    let messages = [many, long, endless].map(|headers| {
        format!("GET /v1/echo HTTP/1.1\r\nConnection: close\r\nHost: {{host}}\r\n{headers}\r\n")
    });
    for said in api.raw(&messages) {
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    }
    assert_eq!(api.seen(), [""; 0]);
}

#[test]
fn answers_that_could_be_split_fail_closed() {
    let api = Api::start(POLICY);
    let run = api.run(
        "get \"$GUARD_API_URL/v1/split\"\n\
         get \"$GUARD_API_URL/v1/two-lengths\"\n",
    );
    let text = run.ok().text();
    assert!(!text.to_lowercase().contains("\nset-cookie"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 502").count(), 2, "{text}");
}
