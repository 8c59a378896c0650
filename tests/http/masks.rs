//! What a job sees of answers, and an API of requests: fields masked, codings undone. What cannot be looked into fails closed.

use crate::api::{Api, POLICY, TOKEN};

#[test]
fn encoded_answers_are_decoded_and_looked_into() {
    let masks = "masks:\n  - { http: { json: [$..email], paths: [/v1/coded/**] }, with: redact }\n";
    let api = Api::start(&format!("{POLICY}{masks}"));
    let run = api.run(
        "for coding in gzip deflate br zstd gzip,deflate br,gzip; do\n\
         \x20 get \"$GUARD_API_URL/v1/coded/$coding/users\"\n\
         done\n\
         get -I \"$GUARD_API_URL/v1/coded/gzip/users\"\n\
         get -H 'Accept-Encoding: gzip' -H 'X-Own: 1' \"$GUARD_API_URL/v1/zipped\"\n",
    );
    let text = run.ok().text();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 8, "{text}");
    assert_eq!(text.matches("{\"users\":[{\"email\":\"[masked]\"},").count(), 6, "{text}");
    assert_eq!(text.matches("[masked]").count(), 12, "{text}");
    assert_eq!(text.matches("vary: Accept-Encoding").count(), 7, "{text}");
    for gone in ["shop.example", "content-encoding", "content-md5", "etag", "content-length"] {
        assert!(!text.contains(gone), "{gone} in\n{text}");
    }
    // What no mask is about is decoded, too: it could repeat the credential.
    assert!(text.contains("\"x-own\": \"1\"") && !text.contains("t0ken"), "{text}");
    assert!(text.contains(&"*".repeat(TOKEN.len())), "{text}");
}

#[test]
fn what_cannot_be_decoded_is_refused_or_cut_off() {
    let api = Api::start(POLICY);
    let run = api.run(
        "for coding in compress gzip,compress gzip,gzip,gzip; do\n\
         \x20 get \"$GUARD_API_URL/v1/coded/$coding/users\"\n\
         done\n\
         get \"$GUARD_API_URL/v1/coded/gzip/part\"\n\
         for what in gzip/cut deflate/cut br/cut zstd/cut gzip/behind deflate/behind br/behind zstd/behind; do\n\
         \x20 curl -sS \"$GUARD_API_URL/v1/coded/$what\" >/dev/null || echo \"$what $?\"\n\
         done\n\
         curl -sS \"$GUARD_API_URL/v1/coded/gzip,gzip/bomb\" >/dev/null || echo \"bomb $?\"\n\
         get \"$GUARD_API_URL/v1/coded/gzip/users\"\n",
    );
    let text = run.ok().text();
    assert_eq!(text.matches("HTTP/1.1 502").count(), 4, "{text}");
    assert!(
        text.contains("Content-Encoding `gzip,compress`") && text.contains("GRD-2104"),
        "{text}"
    );
    for what in
        ["gzip/cut", "br/cut", "zstd/cut", "gzip/behind", "br/behind", "zstd/behind", "bomb"]
    {
        assert!(text.contains(&format!("\n{what} ")), "{what} in\n{text}");
    }
    // Decoded and not masked, it is another representation with the same meaning.
    assert!(text.contains("etag: W/\"abc\"") && text.contains("ann@shop.example"), "{text}");
    let record = api.record();
    for why in ["cut off inside its encoding", "not decodable", "decompression bomb"] {
        assert!(record.contains(&format!("\"error\":\"{why}\"")), "no {why} in\n{record}");
    }
}

#[test]
fn headers_cookies_and_forms_are_masked() {
    let masks = "masks:\n\
        \x20 - { http: { headers: [x-customer-email], cookies: [sid] }, with: redact }\n\
        \x20 - { http: { form: [email], paths: [/v1/form, /v1/users] }, with: redact }\n";
    let api = Api::start(&format!("{POLICY}{masks}"));
    let run = api.run(
        "get \"$GUARD_API_URL/v1/person\"\n\
         get -I \"$GUARD_API_URL/v1/person\"\n\
         get \"$GUARD_API_URL/v1/form\"\n\
         get \"$GUARD_API_URL/v1/users\"\n",
    );
    let text = run.ok().text();
    assert_eq!(text.matches("x-customer-email: [masked]").count(), 2, "{text}");
    assert_eq!(text.matches("set-cookie: sid=[masked]; Path=/; HttpOnly").count(), 2, "{text}");
    assert_eq!(text.matches("set-cookie: theme=dark; Path=/").count(), 2, "{text}");
    assert!(text.contains("plan=free&%65mail=%5Bmasked%5D"), "{text}");
    assert!(text.contains("`application/json` is not a form"), "{text}");
    assert!(!text.contains("shop.example") && !text.contains("s3ss10n"), "{text}");
    assert!(api.record().contains("\"masked\":2"), "headers count");
}

#[test]
fn requests_are_masked_before_anybody_sees_them() {
    let masks =
        "masks:\n  - { http: { request: { json: [$..email], form: [email] } }, with: redact }\n";
    let asks = "  - name: asked\n    http: { methods: [POST], paths: [/v1/asked] }\n    \
                decide: approve\n    approvers: [dba]\n    within: 5m\n";
    let api = Api::with(&format!("{POLICY}{asks}{masks}"), "send_as: bearer", |it| it.people());
    let run = api.run(
        "at=\"$GUARD_API_URL/v1/orders?dry=1\"\n\
         json() { get -H 'Content-Type: application/json' \"$@\"; }\n\
         json \"$at\" -d '{\"\\u0065mail\": \"ann@shop.example\", \"item\": 7}'\n\
         json \"$at\" -H 'Transfer-Encoding: chunked' -d '{\"email\": \"ann@shop.example\"}'\n\
         get \"$at\" -d 'item=7&%65mail=ann%40shop.example'\n\
         json \"$at\" -d '{\"email\": \"ann@shop.example\"'\n\
         json \"$at\" -H 'Content-Encoding: gzip' -d '{\"email\": \"ann@shop.example\"}'\n\
         get \"$at\" -F email=ann@shop.example\n\
         get -T - \"$GUARD_API_URL/v1/files/a\" </dev/null\n\
         json --max-time 2 \"$GUARD_API_URL/v1/asked\" -d '{\"email\": \"ann@shop.example\"}' || echo gone\n",
    );
    let text = run.ok().text();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 4, "{text}");
    assert_eq!(text.matches("HTTP/1.1 403").count(), 3, "{text}");
    assert_eq!(text.matches("GRD-2104").count(), 6, "title and code of three: {text}");
    assert!(!text.contains("shop.example"), "{text}");
    let bodies = [
        "{\\\"\\\\u0065mail\\\": \\\"[masked]\\\", \\\"item\\\": 7}",
        "item=7&%65mail=%5Bmasked%5D",
    ];
    for body in bodies {
        assert!(text.contains(body), "no {body} in\n{text}");
    }
    assert_eq!(api.seen().len(), 4);
    let record = api.record();
    assert!(record.contains("approval-asked") && !record.contains("shop.example"), "{record}");
}

#[test]
fn values_that_nobody_named_are_found() {
    let masks = "masks:\n  - { http: { json: [$..email], paths: [/v1/users] }, with: hash }\n\
                 detect: { values: \"*\" }\n";
    let api = Api::start(&format!("{POLICY}{masks}"));
    let run = api.run(
        "get \"$GUARD_API_URL/v1/users\"\n\
         get \"$GUARD_API_URL/v1/cards\"\n\
         get \"$GUARD_API_URL/v1/text\"\n\
         get \"$GUARD_API_URL/v1/events\"\n\
         get \"$GUARD_API_URL/v1/form\"\n\
         get \"$GUARD_API_URL/v1/coded/gzip/users\"\n\
         get \"$GUARD_API_URL/v1/coded/identity/part\"\n\
         curl -sS \"$GUARD_API_URL/v1/large\" | wc -c\n",
    );
    let text = run.ok().text();
    assert!(
        !text.contains("shop.example") && !text.contains("4111") && !text.contains("etag"),
        "{text}"
    );
    assert_eq!(text.matches("@masked.invalid").count(), 2, "masked values are left alone: {text}");
    let stars = "*".repeat("ann@shop.example".len());
    for part in [
        format!("{{\"card\":1111111111111111,\"note\":\"to {stars}\",\"id\":17}}"),
        format!("\r\n\r\n{stars}\n"),
        format!("data: {{\"number\": 2, \"email\": \"{stars}\"}}\n"),
        format!("plan=free&%65mail={stars}"),
        format!("{{\"users\":[{{\"email\":\"{stars}\"}},{{\"email\":\"{stars}\"}}]}}"),
        "it is a part of a text in which values are hidden".to_owned(),
    ] {
        assert!(text.contains(&part), "no {part} in\n{text}");
    }
    assert!(text.ends_with("3000000"), "{text}");
    let record = api.record();
    assert!(record.contains("\"detected\":{\"email\":1,\"card\":1}"), "{record}");
}

#[test]
fn answers_are_recorded_as_the_client_got_them() {
    let masks = "masks:\n  - { http: { json: [$..email], paths: [/v1/users, /v1/events, /v1/coded/**] }, with: redact }\n\
                 record: { level: results, rows: 1, bytes: 4KiB }\n";
    let api = Api::start(&format!("{POLICY}{masks}"));
    let run = api.run(
        "get \"$GUARD_API_URL/v1/users\"\n\
         get \"$GUARD_API_URL/v1/events\"\n\
         get \"$GUARD_API_URL/v1/coded/br/users\"\n\
         get \"$GUARD_API_URL/v1/mirror\"\n\
         get -I \"$GUARD_API_URL/v1/users\"\n\
         curl -sS \"$GUARD_API_URL/v1/large\" | wc -c\n",
    );
    assert!(run.ok().text().ends_with("3000000"));
    let record = api.record();
    assert!(!record.contains("shop.example") && !record.contains("t0ken"), "{record}");
    let report = api.stage.report().unwrap();
    let results = &report["results"];
    assert_eq!(results["total"], 5, "{results}");
    let body = |place: usize| {
        let listed = &results["listed"][place];
        assert_eq!(listed["columns"], serde_json::json!(["body"]), "{listed}");
        let parts = listed["rows"].as_array().unwrap().iter();
        parts.map(|part| part[0].as_str().unwrap()).collect::<String>()
    };
    assert!(body(0).contains("\"email\": \"[masked]\""), "{}", body(0));
    assert_eq!(body(1).matches("[masked]").count(), 3, "{}", body(1));
    assert!(body(2).starts_with("{\"users\":[{\"email\":\"[masked]\"}"), "{}", body(2));
    assert_eq!(body(3), format!("Bearer {}", "*".repeat(TOKEN.len())));
    let large = &results["listed"][4];
    assert!(large["truncated"] == true && large["kept"].as_u64() >= Some(1), "{large}");
}
