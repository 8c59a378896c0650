//! HTTP/2: what clients get by it, and what they could try with it.

use guard_tests::{EnforceAt, finish, python_script, script};

use crate::api::{Api, POLICY, TOKEN};

/// Besides what is allowed: a header that a rule looks at.
const MODE: &str = "rules:
  - name: mode
    http: { paths: [/v1/**], headers: { x-mode: danger } }
    decide: block
";

fn with_mode() -> String {
    POLICY.replacen("rules:\n", MODE, 1)
}

/// Runs cases of `two.py` under guard, and gives their lines.
fn cases(api: &Api, names: &[&str]) -> Vec<String> {
    let mut command = python_script("http/two.py").unwrap();
    command.args(names);
    let said = api.stage.run(&command).unwrap().ok();
    said.text().lines().map(str::to_owned).collect()
}

#[test]
fn what_a_policy_allows_goes_through_by_streams_that_do_not_wait_for_each_other() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let api = Api::with(POLICY, "send_as: bearer", |stage| stage.enforce_at(place));
        let run = api.run(
            "two() { curl -sS -i --max-time 60 --http2-prior-knowledge \"$@\"; echo; }\n\
             two \"$GUARD_API_URL/v1/echo?x=1\"\n\
             two --unix-socket \"$GUARD_API_SOCKET\" -d '{\"item\": 7}' \"http://localhost/v1/orders?dry=1\"\n\
             two -X DELETE \"$GUARD_API_URL/v1/orders/7\"\n\
             two -I \"$GUARD_API_URL/v1/large\"\n\
             head -c 5000000 /dev/zero | two -T - \"$GUARD_API_URL/v1/files/zero\"\n\
             two \"$GUARD_API_URL/v1/large\" | wc -c\n",
        );
        let text = run.ok().text();
        for part in [
            "HTTP/2 200",
            "\"target\": \"/v1/echo?x=1\"",
            "\"body\": \"{\\\"item\\\": 7}\"",
            "blocked DELETE `/v1/orders/7` by rule `default-deny` of policy `stage` (GRD-2102)",
            "content-length: 3000000",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert!(text.contains("HTTP/2 403") && !text.contains("HTTP/1.1"), "{text}");
        let length: u64 = text.lines().last().unwrap().trim().parse().unwrap();
        assert!(length > 3_000_000, "{text}");
        let requests = api.requests();
        let sizes: Vec<_> = requests.iter().map(|it| it["body"].as_u64().unwrap()).collect();
        assert_eq!(sizes.iter().filter(|size| **size == 5_000_000).count(), 1, "{sizes:?}");
        let bearer = format!("Bearer {TOKEN}");
        assert!(requests.iter().all(|it| it["headers"].to_string().contains(&bearer)));
    }
}

#[test]
fn requests_that_mean_another_one_in_http_1_fail_closed() {
    let api = Api::start(&with_mode());
    let said = cases(&api, &["smuggled"]);
    assert!(said.len() > 45, "{said:?}");
    for line in &said {
        let answered: Vec<&str> = line.split(" | ").collect();
        // Pseudo-headers are no headers: as trailers they are left out.
        let left_out = answered[0] == "pseudo as trailer" && answered[1] == "200";
        assert!(left_out || matches!(answered[1], "" | "400" | "403" | "closed"), "{line}");
    }
    // What was understood is in the record with its refusal; the rest no reader of HTTP/2 takes for a request.
    let refused = said.iter().filter(|line| line.contains("| 40")).count();
    let record = api.record();
    assert_eq!(record.matches("\"type\":\"refused\"").count(), refused, "{said:?}\n{record}");
    let seen = api.seen();
    assert!(seen.iter().all(|it| it == "PUT /v1/files/a"), "{seen:?}");
    let requests = api.requests();
    assert!(
        requests.iter().all(|it| it["trailers"].as_array().is_some_and(Vec::is_empty)),
        "{requests:?}"
    );
    for request in &requests {
        assert!(!request["headers"].to_string().contains("content_length"), "{request}");
    }
}

#[test]
fn a_client_cannot_hold_up_others_or_fill_memory() {
    let api = Api::start(POLICY);
    let names =
        ["cookies", "parallel", "stalled", "heads", "streams", "resets", "continuations", "pings"];
    let said = cases(&api, &names);
    assert!(said[0].contains("\"cookie\": \"a=1; b=2\""), "{said:?}");
    assert_eq!(said[1], "['200', b'held'] ['200', b'released']");
    assert_eq!(said[2..], ["200 True", "431 200", "refused", "closed", "closed", "200"]);
}

#[test]
fn clients_agree_on_http_2_where_guard_opens_tls_for_them() {
    let api = Api::with_tls(POLICY, |stage| stage);
    let mut command = script(
        "curl -sS -i \"$API/v1/echo?by=two\"; echo\n\
         curl -sS -i --http1.1 \"$API/v1/echo?by=one\"",
    );
    command.env("API", &api.url);
    for name in ["SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy"] {
        command.env_remove(name);
    }
    let mut guard = api.stage.guard(&command);
    let text = finish(guard.env("GUARD_ISOLATION", "landlock")).unwrap().ok().text();
    assert!(text.contains("HTTP/2 200") && text.contains("HTTP/1.1 200"), "{text}");
    assert_eq!(api.seen(), ["GET /v1/echo?by=two", "GET /v1/echo?by=one"]);
}

/// Calls of one service, but not all.
const CALLS: &str = "\
policy: stage
rules:
  - name: never
    http: { paths: [/shop.v1.Orders/Delete] }
    decide: block
  - name: calls
    http: { effects: [call], paths: [/shop.v1.Orders/*] }
    decide: allow
";

#[test]
fn calls_of_grpc_stream_both_ways_and_are_judged_by_their_path() {
    let starts: [fn() -> Api; 3] = [
        || Api::with_calls(CALLS, |stage| stage.enforce_at(EnforceAt::Gateway)),
        || Api::with_calls(CALLS, |stage| stage.enforce_at(EnforceAt::Shim)),
        || Api::with_plain_calls(CALLS, |stage| stage.enforce_at(EnforceAt::Shim)),
    ];
    for start in starts {
        let api = start();
        let mut client = python_script("http/calls.py").unwrap();
        let program = client.get_program().to_owned();
        let file = client.get_args().next().unwrap().to_owned();
        client = script("exec \"$0\" \"$1\" call \"${GUARD_API_URL#http://}\"");
        client.arg(program).arg(file);
        let text = api.stage.run(&client).unwrap().ok().text();
        let hidden = "*".repeat(TOKEN.len());
        let expected = [
            "got seven 7",
            "order 0, order 1, order 2",
            "1+2+3",
            "heard 0, heard 1, heard 2",
            "50",
            &format!("NOT_FOUND nobody is Bearer {hidden} Bearer {hidden}"),
        ];
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..6], expected, "{text}");
        assert!(lines[6].starts_with("PERMISSION_DENIED blocked"), "{text}");
        assert!(!text.contains("t0ken"), "{text}");
        let said = api.said();
        assert!(said.contains(&format!("/shop.v1.Orders/Get Bearer {TOKEN}")), "{said}");
        assert!(!said.contains("Delete"), "{said}");
        let record = api.record();
        assert_eq!(record.matches("\"status\":200").count(), 55, "{record}");
    }
}
