//! Tokens that must not become a session, and sessions that must not be used by who found their token.

use guard_tests::{
    Stage,
    http::{self, Answer, form},
    issuer::base64url,
};
use serde_json::{Map, Value, json};

use super::proof::{Key, openssl};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

fn exchange(stage: &Stage, token: &str, key: &Key) -> Answer {
    let url = format!("{}/oauth/token", stage.url);
    exchange_with(stage, token, &key.proof("POST", &url, None))
}

fn exchange_with(stage: &Stage, token: &str, proof: &str) -> Answer {
    let url = format!("{}/oauth/token", stage.url);
    let body = form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ID_TOKEN),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("dpop", proof)];
    http::send("POST", &url, &headers, &body).unwrap()
}

#[track_caller]
fn refused(stage: &Stage, what: &str, answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert!(!answer.body.contains("access_token"), "{what}: {answer:?}");
    assert_eq!(stage.records().len(), 0, "{what} opened a session");
}

/// One way to change a token before it is signed.
type Change = fn(&mut Value, &mut Map<String, Value>);

#[test]
fn a_token_that_is_not_for_us_gets_nothing() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let changes: [(&str, Change); 21] = [
        ("another audience", |_, c| drop(c.insert("aud".into(), json!("https://other.example")))),
        ("a longer audience", |_, c| {
            let aud = format!("{}/", c["aud"].as_str().unwrap());
            c.insert("aud".into(), json!(aud));
        }),
        ("two audiences", |_, c| {
            let aud = json!([c["aud"], "https://other.example"]);
            c.insert("aud".into(), aud);
        }),
        ("no key in the audience", |_, c| {
            let aud = c["aud"].as_str().unwrap().split('#').next().unwrap().to_owned();
            c.insert("aud".into(), json!(aud));
        }),
        ("another key in the audience", |_, c| {
            let aud = c["aud"].as_str().unwrap().split('#').next().unwrap().to_owned();
            c.insert(
                "aud".into(),
                json!(format!("{aud}#0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")),
            );
        }),
        ("more behind the key", |_, c| {
            let aud = format!("{}#x", c["aud"].as_str().unwrap());
            c.insert("aud".into(), json!(aud));
        }),
        ("a broker's address that only begins alike", |_, c| {
            let aud = c["aud"].as_str().unwrap().replace('#', ".evil.example#");
            c.insert("aud".into(), json!(aud));
        }),
        ("no audience", |_, c| drop(c.remove("aud"))),
        ("expired", |_, c| {
            let then = c["exp"].as_u64().unwrap() - 3600;
            c.insert("exp".into(), json!(then));
        }),
        ("no end", |_, c| drop(c.remove("exp"))),
        ("not yet", |_, c| {
            let then = c["iat"].as_u64().unwrap() + 3600;
            c.insert("nbf".into(), json!(then));
        }),
        ("from the future", |_, c| {
            let then = c["iat"].as_u64().unwrap() + 3600;
            c.insert("iat".into(), json!(then));
            c.insert("exp".into(), json!(then + 300));
        }),
        ("no jti", |_, c| drop(c.remove("jti"))),
        ("another issuer", |_, c| drop(c.insert("iss".into(), json!("https://evil.example")))),
        ("the issuer with a slash", |_, c| {
            let iss = format!("{}/", c["iss"].as_str().unwrap());
            c.insert("iss".into(), json!(iss));
        }),
        ("another repository", |_, c| drop(c.insert("repository_id".into(), json!("1")))),
        ("another branch", |_, c| drop(c.insert("ref".into(), json!("refs/heads/evil")))),
        ("a pull request", |_, c| {
            drop(c.insert("event_name".into(), json!("pull_request_target")));
        }),
        ("an unknown key", |h, _| h["kid"] = json!("mine")),
        ("a key in its header", |h, _| {
            h["jwk"] = json!({ "kty": "oct", "k": "AAAA" });
            h["kid"] = json!("mine");
        }),
        ("an unknown extension", |h, _| h["crit"] = json!(["b64"])),
    ];
    for (what, change) in changes {
        let token = stage.issuer.token_with(&key.audience(&stage.url), change).unwrap();
        refused(&stage, what, &exchange(&stage, &token, &key));
    }
}

#[test]
fn a_forged_signature_gets_nothing() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let real = stage.issuer.token(&key.audience(&stage.url)).unwrap();
    let payload = real.split('.').nth(1).unwrap();
    let header = |value: Value| base64url(value.to_string().as_bytes());

    for algorithm in ["none", "None", "NONE", ""] {
        let unsigned = header(json!({ "alg": algorithm, "typ": "JWT", "kid": "stage" }));
        refused(&stage, "alg none", &exchange(&stage, &format!("{unsigned}.{payload}."), &key));
    }

    let confused =
        format!("{}.{payload}", header(json!({ "alg": "HS256", "typ": "JWT", "kid": "stage" })));
    let public = stage.issuer.public_pem().unwrap();
    let hex: String = public.iter().map(|byte| format!("{byte:02x}")).collect();
    let macopt = format!("hexkey:{hex}");
    let arguments = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &macopt, "-binary"];
    let mac = openssl(&arguments, confused.as_bytes());
    let token = format!("{confused}.{}", base64url(&mac));
    refused(&stage, "HS256 with the public key", &exchange(&stage, &token, &key));

    let (signed, signature) = real.rsplit_once('.').unwrap();
    for (what, token) in [
        ("no signature", format!("{signed}.")),
        ("a cut signature", format!("{signed}.{}", signature.split_at(300).0)),
        ("a signature of nothing", format!("{signed}.{}", base64url(&[0; 256]))),
        ("no token", String::new()),
        ("garbage", "a.b.c".into()),
        ("a huge token", "a".repeat(200_000)),
    ] {
        refused(&stage, what, &exchange(&stage, &token, &key));
    }
    // The real one still works: none of the above has used it up.
    assert_eq!(exchange(&stage, &real, &key).status, 200);
}

#[test]
fn an_identity_token_is_used_once() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let token = stage.issuer.token(&key.audience(&stage.url)).unwrap();
    assert_eq!(exchange(&stage, &token, &key).status, 200);
    let again = exchange(&stage, &token, &Key::make(stage.dir(), "other"));
    assert!((400..500).contains(&again.status), "{again:?}");
    assert_eq!(stage.records().len(), 1);
}

#[test]
fn an_identity_token_that_was_stolen_before_its_exchange_is_useless_without_its_key() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let token = stage.issuer.token(&key.audience(&stage.url)).unwrap();
    // Any step of the job can read it; only the shim has the key.
    let thief = Key::make(stage.dir(), "thief");
    refused(&stage, "a stolen token", &exchange(&stage, &token, &thief));
    assert_eq!(exchange(&stage, &token, &key).status, 200, "the thief did not use it up");
}

#[test]
fn an_exchange_needs_a_proof_for_itself() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let url = format!("{}/oauth/token", stage.url);
    for (what, proof) in [
        ("no proof", String::new()),
        ("another method", key.proof("GET", &url, None)),
        ("another address", key.proof("POST", "https://other.example/oauth/token", None)),
        ("garbage", "a.b.c".to_owned()),
    ] {
        let token = stage.issuer.token(&key.audience(&stage.url)).unwrap();
        refused(&stage, what, &exchange_with(&stage, &token, &proof));
    }
}

#[test]
fn a_stolen_access_token_is_useless_without_its_key() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let token = stage.issuer.token(&key.audience(&stage.url)).unwrap();
    let answer = exchange(&stage, &token, &key).json();
    let access = answer["access_token"].as_str().unwrap();

    let url = format!("{}/v1/session/state", stage.url);
    let ask = |scheme: &str, proof: &str| {
        let authorization = format!("{scheme} {access}");
        http::get(&url, &[("authorization", &authorization), ("dpop", proof)]).unwrap().status
    };
    let proof = key.proof("GET", &url, Some(access));
    assert_eq!(ask("DPoP", &proof), 200, "its holder may");
    assert_eq!(ask("DPoP", &proof), 401, "a proof is used once");
    let thief = Key::make(stage.dir(), "thief");
    assert_eq!(ask("DPoP", &thief.proof("GET", &url, Some(access))), 401, "another key");
    assert_eq!(ask("DPoP", ""), 401, "no proof");
    assert_eq!(ask("Bearer", ""), 401, "as a bearer");
    let other = format!("{}/v1/session/end", stage.url);
    assert_eq!(ask("DPoP", &key.proof("GET", &other, Some(access))), 401, "for another address");
    assert_eq!(ask("DPoP", &key.proof("POST", &url, Some(access))), 401, "for another method");
    assert_eq!(ask("DPoP", &key.proof("GET", &url, Some("other"))), 401, "for another token");
    assert_eq!(ask("DPoP", &key.proof("GET", &url, None)), 401, "for no token");
}

#[test]
fn no_token_leads_the_broker_anywhere() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}", elsewhere.local_addr().unwrap());
    for name in ["iss", "jku", "x5u", "jwks_uri"] {
        let token = stage.issuer.token_with(&key.audience(&stage.url), |header, claims| {
            header[name] = json!(url);
            if name == "iss" {
                claims.insert("iss".into(), json!(url));
            } else {
                header["kid"] = json!("of-another");
            }
        });
        refused(&stage, name, &exchange(&stage, &token.unwrap(), &key));
    }
    let asked = elsewhere.accept().map(|(_, from)| from).unwrap_err();
    assert_eq!(asked.kind(), std::io::ErrorKind::WouldBlock, "the broker was led elsewhere");
}

#[test]
fn all_refused_tokens_are_answered_alike_and_the_log_says_why() {
    let stage = Stage::builder().start().unwrap();
    let key = Key::make(stage.dir(), "key");
    let changes: [(&str, Change); 6] = [
        ("its issuer is not configured", |_, c| {
            drop(c.insert("iss".into(), json!("https://evil.example")));
        }),
        ("its audience is not this broker", |_, c| drop(c.insert("aud".into(), json!("x")))),
        ("it has expired", |_, c| drop(c.insert("exp".into(), json!(1_700_000_000)))),
        ("its `kid` is no key of its issuer", |h, _| h["kid"] = json!("mine")),
        ("its claim `repository_id` is missing", |_, c| drop(c.remove("repository_id"))),
        ("its claim `jti` is missing", |_, c| drop(c.remove("jti"))),
    ];
    let mut told = std::collections::BTreeSet::new();
    for (why, change) in changes {
        let token = stage.issuer.token_with(&key.audience(&stage.url), change).unwrap();
        let mut answer = exchange(&stage, &token, &key).json();
        let number = answer["decision_id"].take();
        told.insert(answer.to_string());
        let number = number.as_str().unwrap();
        let log = stage.broker.log();
        let line = log.lines().find(|line| line.contains(number)).unwrap();
        assert!(line.contains(why), "{why}: {line}");
    }
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn strangers_are_told_nothing() {
    let stage = Stage::builder().start().unwrap();
    for path in [
        "/v1/session/state",
        "/v1/session/record",
        "/v1/sessions/0192f0c0-0000-7000-8000-000000000000/state",
    ] {
        let answer = http::get(&format!("{}{path}", stage.url), &[]).unwrap();
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
    }
    let key = Key::make(stage.dir(), "key");
    let token = stage
        .issuer
        .token_with(&key.audience(&stage.url), |_, claims| {
            drop(claims.insert("ref".into(), json!("refs/heads/x")));
        })
        .unwrap();
    let body = exchange(&stage, &token, &key).body;
    for secret in ["nightly", "456789", "refs/heads/main", "shop", "policy"] {
        assert!(!body.contains(secret), "`{secret}` is told: {body}");
    }
}
