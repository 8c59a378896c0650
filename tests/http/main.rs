//! HTTP APIs behind guard: curl and Python through broker, gateway and shim to a real server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod api;
mod attacks;
mod behind;
mod bodies;
mod clients;
mod credentials;
mod lent;
mod locks;
mod masks;
mod named;
mod replay;
mod servers;
mod sockets;
mod terraform;
mod two;
mod waiting;

use api::{Api, POLICY, TOKEN};
use guard_tests::EnforceAt;

#[test]
fn what_a_policy_allows_goes_through_with_the_credential_and_nothing_else_does() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let api = Api::with(POLICY, "send_as: bearer", |stage| stage.enforce_at(place));
        let run = api.run(
            "env\n\
             get \"$GUARD_API_URL/v1/echo?x=1\"\n\
             get -X POST \"$GUARD_API_URL/v1/orders?dry=1\" -d '{\"item\": 7}'\n\
             get --unix-socket \"$GUARD_API_SOCKET\" http://localhost/v1/missing\n\
             get -X DELETE \"$GUARD_API_URL/v1/orders/7\"\n\
             get \"$GUARD_API_URL/v1/secrets/key\"\n\
             get -X POST \"$GUARD_API_URL/v1/orders?dry=1&force=1\" -d x\n\
             get -I \"$GUARD_API_URL/v1/large\"\n",
        );
        let text = run.ok().text();
        for part in [
            "\"target\": \"/v1/echo?x=1\"",
            "\"body\": \"{\\\"item\\\": 7}\"",
            "HTTP/1.1 404",
            "blocked DELETE `/v1/orders/7` by rule `default-deny` of policy `stage` (GRD-2102)",
            "secrets stay where they are",
            "application/problem+json",
            "content-length: 3000000",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert_eq!(text.matches("HTTP/1.1 403").count(), 3, "{text}");
        assert!(!text.contains(TOKEN) && !text.contains("t0ken"), "{text}");
        assert_eq!(
            api.seen(),
            ["GET /v1/echo?x=1", "POST /v1/orders?dry=1", "GET /v1/missing", "HEAD /v1/large"]
        );
        let bearer = format!("Bearer {TOKEN}");
        for request in api.requests() {
            let headers = request["headers"].as_array().unwrap();
            let own = headers.iter().filter(|it| it[0] == "authorization");
            assert_eq!(own.map(|it| it[1].as_str().unwrap()).collect::<Vec<_>>(), [&bearer]);
        }
        let record = api.record();
        for part in ["\"GET /v1/echo?x=1\"", "\"status\":200", "\"status\":404", "\"path\""] {
            assert!(record.contains(part), "no `{part}` in\n{record}");
        }
        assert!(!record.contains("t0ken"), "{record}");
    }
}

#[test]
fn fields_of_answers_are_masked_and_what_cannot_be_masked_is_refused() {
    let masks = "masks:\n  - { http: { json: [$..email] }, with: redact }\n";
    let api = Api::start(&format!("{POLICY}{masks}"));
    let run = api.run(
        "get -H 'Range: bytes=1-9' --compressed \"$GUARD_API_URL/v1/users\"\n\
         get \"$GUARD_API_URL/v1/events\"\n\
         get \"$GUARD_API_URL/v1/text\"\n",
    );
    let text = run.ok().text();
    assert!(!text.contains("shop.example") && !text.contains("etag"), "{text}");
    assert_eq!(text.matches("[masked]").count(), 5, "{text}");
    assert!(text.contains("\"plan\": \"free\"") && text.contains("\"number\": 2"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 502").count(), 1, "{text}");
    assert!(text.contains("Content-Type `text/plain` is not JSON"), "{text}");
    let record = api.record();
    assert!(record.contains("\"masked\":2") && record.contains("\"masked\":3"), "{record}");
}

#[test]
fn large_bodies_stream_both_ways() {
    let api = Api::start(POLICY);
    let run = api.run(
        "head -c 5000000 /dev/zero | curl -sS -T - \"$GUARD_API_URL/v1/files/zero\" >/dev/null\n\
         file=$(mktemp)\n\
         head -c 5000000 /dev/zero >\"$file\"\n\
         curl -sS -T \"$file\" \"$GUARD_API_URL/v1/files/zero\" >/dev/null\n\
         rm \"$file\"\n\
         curl -sS \"$GUARD_API_URL/v1/large\" | wc -c\n",
    );
    assert_eq!(run.ok().text(), "3000000");
    let sizes: Vec<_> = api.requests().iter().map(|it| it["body"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [5_000_000, 5_000_000, 0]);
}

#[test]
fn python_speaks_with_it_over_one_connection() {
    let api = Api::start(POLICY);
    let mut command = std::process::Command::new("python3");
    command.args([
        "-c",
        "import http.client, json, os, urllib.parse\n\
         at = urllib.parse.urlsplit(os.environ['GUARD_API_URL'])\n\
         c = http.client.HTTPConnection(at.hostname, at.port, timeout=60)\n\
         for number in range(20):\n\
         \x20   c.request('GET', f'/v1/echo?n={number % 3}')\n\
         \x20   answer = c.getresponse()\n\
         \x20   assert answer.status == 200, answer.read()\n\
         \x20   assert json.loads(answer.read())['target'] == f'/v1/echo?n={number % 3}'\n\
         print('all')\n",
    ]);
    assert_eq!(api.stage.run(&command).unwrap().ok().text(), "all");
    let record = api.record();
    assert_eq!(record.matches("\"type\":\"operation\"").count(), 3, "{record}");
    assert_eq!(record.matches("\"type\":\"statement\"").count(), 20, "{record}");
    assert_eq!(record.matches("\"type\":\"connected\"").count(), 1, "{record}");
}

#[test]
fn budgets_end_what_is_over_them() {
    let budgets = "budgets: { bytes_per_statement: 1MB, statements_per_minute: 4 }\n";
    let api = Api::start(&format!("{POLICY}{budgets}"));
    let run = api.run(
        "curl -sS -o /dev/null \"$GUARD_API_URL/v1/large\" && exit 9\n\
         head -c 2000000 /dev/zero | curl -sS -T - \"$GUARD_API_URL/v1/files/zero\" || true\n\
         for n in 1 2 3 4; do get \"$GUARD_API_URL/v1/echo\"; done\n",
    );
    let run = run.ok();
    let text = run.text();
    // A client that is still sending when it is cut off reads why.
    assert!(text.contains("GRD-2301"), "{text}\n{}", run.stderr);
    assert!(text.contains("HTTP/1.1 429") && text.contains("GRD-2303"), "{text}");
    let record = api.record();
    assert!(record.contains("\"budget\":\"bytes_per_statement\""), "{record}");
}
