//! Who is a gateway, by a configured key or by a token, and which of them a session is sent to. Attacks first.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use guard_core::Digest;
use serde_json::{Value, json};

use super::stage::{GATEWAY, Key, On, Stage, URL, on_both_stores, token_header};
use crate::{config::Labels, reload::Reload};

on_both_stores!(
    a_token_lets_one_key_in_once,
    a_token_that_is_too_old_or_for_another_name_lets_nobody_in,
    a_new_token_leaves_the_old_key_until_it_is_used,
    who_is_removed_is_out_within_a_second,
    a_configured_name_cannot_be_taken_by_a_token,
    a_resource_is_served_by_gateways_with_its_labels_only,
    a_drained_gateway_gets_no_new_sessions_and_keeps_its_old_ones,
    an_identity_token_lets_its_own_gateways_key_in_once,
    a_changed_identity_locks_out_who_came_by_the_old_one,
);

async fn as_gateway(
    stage: &Stage,
    key: &Key,
    name: &str,
    (method, path): (Method, &str),
    body: &Value,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", key.assertion(name)))
        .body(Body::from(body.to_string()));
    stage.send(request.unwrap()).await
}

async fn enrol(stage: &Stage, key: &Key, name: &str, token: &str) -> StatusCode {
    let body = json!({ "token": token });
    as_gateway(stage, key, name, (Method::POST, "/v1/gateways/enrol"), &body).await.0
}

async fn register(stage: &Stage, key: &Key, name: &str) -> StatusCode {
    let here = json!({
        "address": format!("{name}:8443"), "certificate": Digest::of(name), "version": "1",
    });
    as_gateway(stage, key, name, (Method::PUT, "/v1/gateways/self"), &here).await.0
}

async fn offer(stage: &Stage, name: &str, token: &str, labels: &[&str], lasts: Duration) {
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    let labels = Labels::parse(&labels).unwrap();
    let store = stage.replica_store().await;
    store.offer_enrolment(name, &labels, Digest::of(token), lasts).await.unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

async fn a_token_lets_one_key_in_once(on: On) {
    let stage = Stage::on(on).await;
    let (own, thief) = (Key::new(), Key::new());
    assert_eq!(register(&stage, &own, "us-1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(enrol(&stage, &own, "us-1", "token").await, StatusCode::FORBIDDEN);
    offer(&stage, "us-1", "token", &[], HOUR).await;
    // An invitation is no key.
    assert_eq!(register(&stage, &own, "us-1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(enrol(&stage, &own, "us-1", "other").await, StatusCode::FORBIDDEN);
    assert_eq!(enrol(&stage, &own, "us-1", "").await, StatusCode::FORBIDDEN);
    assert_eq!(enrol(&stage, &own, "us-1", "token").await, StatusCode::NO_CONTENT);
    assert_eq!(register(&stage, &own, "us-1").await, StatusCode::NO_CONTENT);
    // Asked again because the answer was lost.
    assert_eq!(enrol(&stage, &own, "us-1", "token").await, StatusCode::NO_CONTENT);
    // Whoever finds the token later finds nothing.
    assert_eq!(enrol(&stage, &thief, "us-1", "token").await, StatusCode::FORBIDDEN);
    assert_eq!(register(&stage, &thief, "us-1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(register(&stage, &own, "us-1").await, StatusCode::NO_CONTENT);
    // Nor does the store tell it.
    let found = stage.app.sessions.store.enrolled("us-1").await.unwrap().unwrap();
    assert_eq!(found.key, Some(own.thumbprint()));
}

async fn a_token_that_is_too_old_or_for_another_name_lets_nobody_in(on: On) {
    let stage = Stage::on(on).await;
    let key = Key::new();
    offer(&stage, "us-1", "old", &[], Duration::ZERO).await;
    assert_eq!(enrol(&stage, &key, "us-1", "old").await, StatusCode::FORBIDDEN);
    offer(&stage, "us-1", "token", &[], HOUR).await;
    assert_eq!(enrol(&stage, &key, "us-2", "token").await, StatusCode::FORBIDDEN);
    for name in ["", "us 1", "us-1\n", "../us-1", &"u".repeat(300)] {
        assert_eq!(enrol(&stage, &key, name, "token").await, StatusCode::UNAUTHORIZED, "{name:?}");
    }
    // A key that is not shown to be held comes in by no token.
    let body = Body::from(json!({ "token": "token" }).to_string());
    let bare = Request::post("/v1/gateways/enrol").body(body).unwrap();
    assert_eq!(stage.send(bare).await.0, StatusCode::UNAUTHORIZED);
    let (header, payload) = {
        let assertion = Key::new().assertion("us-1");
        let mut parts = assertion.split('.').map(str::to_owned);
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let other = key.assertion("us-1");
    let forged = format!("{header}.{payload}.{}", other.rsplit_once('.').unwrap().1);
    let request = Request::post("/v1/gateways/enrol")
        .header("authorization", format!("Bearer {forged}"))
        .body(Body::from(json!({ "token": "token" }).to_string()));
    assert_eq!(stage.send(request.unwrap()).await.0, StatusCode::UNAUTHORIZED);
}

async fn a_new_token_leaves_the_old_key_until_it_is_used(on: On) {
    let stage = Stage::on(on).await;
    let (old, new) = (Key::new(), Key::new());
    offer(&stage, "us-1", "one", &[], HOUR).await;
    assert_eq!(enrol(&stage, &old, "us-1", "one").await, StatusCode::NO_CONTENT);
    offer(&stage, "us-1", "two", &[], HOUR).await;
    assert_eq!(register(&stage, &old, "us-1").await, StatusCode::NO_CONTENT);
    assert_eq!(enrol(&stage, &new, "us-1", "two").await, StatusCode::NO_CONTENT);
    assert_eq!(register(&stage, &new, "us-1").await, StatusCode::NO_CONTENT);
    until(&stage, async |stage| register(stage, &old, "us-1").await == StatusCode::UNAUTHORIZED)
        .await;
    assert_eq!(enrol(&stage, &old, "us-1", "one").await, StatusCode::FORBIDDEN);
}

async fn who_is_removed_is_out_within_a_second(on: On) {
    let stage = Stage::on(on).await;
    let key = Key::new();
    offer(&stage, "us-1", "token", &[], HOUR).await;
    enrol(&stage, &key, "us-1", "token").await;
    assert_eq!(register(&stage, &key, "us-1").await, StatusCode::NO_CONTENT);
    assert!(stage.replica_store().await.remove_gateway("us-1").await.unwrap());
    until(&stage, async |stage| register(stage, &key, "us-1").await == StatusCode::UNAUTHORIZED)
        .await;
    assert_eq!(enrol(&stage, &key, "us-1", "token").await, StatusCode::FORBIDDEN);
}

async fn a_configured_name_cannot_be_taken_by_a_token(on: On) {
    let stage = Stage::on(on).await;
    let key = Key::new();
    // As by hand in the store.
    offer(&stage, GATEWAY, "token", &[], HOUR).await;
    assert_eq!(enrol(&stage, &key, GATEWAY, "token").await, StatusCode::FORBIDDEN);
    stage.app.sessions.store.enrol(GATEWAY, Digest::of("token"), &key.thumbprint()).await.unwrap();
    assert_eq!(register(&stage, &key, GATEWAY).await, StatusCode::UNAUTHORIZED);
    assert_eq!(register(&stage, &stage.gateway, GATEWAY).await, StatusCode::NO_CONTENT);
}

/// Where a new session is sent to for `orders`.
async fn sent_to(stage: &Stage) -> Option<String> {
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (_, answer) = stage.exchange(&stage.token(), &proof).await;
    let grants = answer["session"]["grants"].as_array().unwrap();
    let orders = grants.iter().find(|grant| grant["resource"] == "orders").unwrap();
    orders["gateway"]["name"].as_str().map(str::to_owned)
}

async fn until(stage: &Stage, mut holds: impl AsyncFnMut(&Stage) -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    let waiting = async {
        while !holds(stage).await {
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time");
}

async fn a_resource_is_served_by_gateways_with_its_labels_only(on: On) {
    let stage = Stage::on(on).await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text =
        text.replace("{ name: orders,", "{ name: orders, gateway: { region: us, net: prod },");
    std::fs::write(&path, text).unwrap();
    Reload::new(stage.app.sessions.clone(), None, Some(path)).again().await;
    let keys = [Key::new(), Key::new(), Key::new()];
    for (key, name, labels) in [
        (&keys[0], "us-1", &["region=us", "net=prod", "rack=7"][..]),
        (&keys[1], "us-2", &["region=us", "net=prod"][..]),
        (&keys[2], "us-test", &["region=us", "net=test"][..]),
    ] {
        offer(&stage, name, name, labels, HOUR).await;
        enrol(&stage, key, name, name).await;
        assert_eq!(register(&stage, key, name).await, StatusCode::NO_CONTENT);
    }
    register(&stage, &stage.gateway, GATEWAY).await;
    let mut seen = BTreeSet::new();
    until(&stage, async |stage| {
        seen.extend(sent_to(stage).await);
        seen.len() == 2
    })
    .await;
    assert_eq!(seen, BTreeSet::from(["us-1".to_owned(), "us-2".to_owned()]));

    // One without the labels gets nothing, not even for a shim that comes to it.
    let shim = stage.session().await;
    let certificate = Digest::of("certificate");
    let here = json!({ "address": "gw:8443", "certificate": certificate, "version": "1" });
    stage.as_gateway(Method::PUT, "/v1/gateways/self", &here).await;
    let (status, answer) = stage.authorize(&shim, "https://gw:8443/v1/tunnel/orders").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("labels"), "{answer}");
}

async fn a_drained_gateway_gets_no_new_sessions_and_keeps_its_old_ones(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    stage.tunnel(&shim).await;
    until(&stage, async |stage| sent_to(stage).await.as_deref() == Some(GATEWAY)).await;
    let store = stage.replica_store().await;
    store.drain_gateway(GATEWAY, true).await.unwrap();
    until(&stage, async |stage| sent_to(stage).await.is_none()).await;
    // It registers on, and old sessions come with new tunnels.
    stage.tunnel(&shim).await;
    assert!(sent_to(&stage).await.is_none());
    let found = store.gateways(true).await.unwrap();
    assert!(found[0].draining && found[0].sessions == 1, "{found:?}");
    store.drain_gateway(GATEWAY, false).await.unwrap();
    until(&stage, async |stage| sent_to(stage).await.is_some()).await;
}

/// A configuration in which the stage's issuer says who `us-1` is.
async fn identified(stage: &mut Stage, bind: &str, claims: &str) {
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("bind: none", &format!("bind: {bind}"));
    let gateway = format!(
        "gateways:\n  - {{ name: us-1, identity: {{ issuer: github, claims: {{ {claims} }} }} }}\n"
    );
    let text = text.replacen("gateways:\n", &gateway, 1);
    assert!(text.contains("us-1"), "{text}");
    std::fs::write(&path, text).unwrap();
    stage.restart().await;
}

/// Of a workflow that runs gateways.
const OPS: &str = "repository_id: \"77\", ref: refs/heads/main";

fn identity(stage: &Stage, key: &Key) -> Value {
    let mut claims = stage.claims();
    claims["repository_id"] = "77".into();
    claims["aud"] = format!("{URL}#{}", key.thumbprint()).into();
    claims
}

async fn an_identity_token_lets_its_own_gateways_key_in_once(on: On) {
    let mut stage = Stage::on(on).await;
    identified(&mut stage, "key", OPS).await;
    let stage = stage;
    let (own, thief) = (Key::new(), Key::new());
    let sign = |claims: &Value| stage.issuer.sign(&token_header(), claims);
    let good = identity(&stage, &own);
    let with = |name: &str, value: Value| {
        let mut claims = identity(&stage, &own);
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = identity(&stage, &own);
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let now = guard_core::Timestamp::now().as_second();
    assert_eq!(register(&stage, &own, "us-1").await, StatusCode::UNAUTHORIZED);
    for (what, token) in [
        ("no token at all", "token".to_owned()),
        ("signed by somebody else", Key::new().sign(&token_header(), &good)),
        ("of an issuer that is not configured", sign(&with("iss", "https://evil.example".into()))),
        ("for another audience", sign(&with("aud", "https://aws.example".into()))),
        ("for the broker and no key", sign(&with("aud", URL.into()))),
        ("for the key of another", sign(&identity(&stage, &thief))),
        ("for two audiences", sign(&with("aud", json!([good["aud"], "https://aws.example"])))),
        ("of another repository", sign(&with("repository_id", "78".into()))),
        ("of another ref", sign(&with("ref", "refs/heads/evil".into()))),
        ("without the claim", sign(&without("repository_id"))),
        ("without `jti`", sign(&without("jti"))),
        ("that has expired", sign(&with("exp", (now - 120).into()))),
        ("without an end", sign(&without("exp"))),
        ("of a stranger's event", sign(&with("event_name", "pull_request_target".into()))),
    ] {
        assert_eq!(enrol(&stage, &own, "us-1", &token).await, StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(register(&stage, &own, "us-1").await, StatusCode::UNAUTHORIZED, "{what}");
    }
    // A token of the broker's own is none of an identity.
    offer(&stage, "us-1", "offered", &[], HOUR).await;
    assert_eq!(enrol(&stage, &own, "us-1", "offered").await, StatusCode::UNAUTHORIZED);
    // Nor is an identity one of another gateway's, or of one that is known by its key.
    let token = sign(&good);
    assert_eq!(enrol(&stage, &own, "us-2", &token).await, StatusCode::FORBIDDEN);
    assert_eq!(enrol(&stage, &own, GATEWAY, &token).await, StatusCode::FORBIDDEN);

    assert_eq!(enrol(&stage, &own, "us-1", &token).await, StatusCode::NO_CONTENT);
    assert_eq!(register(&stage, &own, "us-1").await, StatusCode::NO_CONTENT);
    // Asked again because the answer was lost.
    assert_eq!(enrol(&stage, &own, "us-1", &token).await, StatusCode::NO_CONTENT);
    assert_eq!(enrol(&stage, &thief, "us-1", &token).await, StatusCode::UNAUTHORIZED);
    // Another text of the same `jti`.
    let again = sign(&with("jti", good["jti"].clone()));
    assert_ne!(again, token);
    assert_eq!(enrol(&stage, &own, "us-1", &again).await, StatusCode::UNAUTHORIZED);
    // What let a gateway in opens no session, and what opened a session lets no gateway in.
    let proof = own.proof("POST", "/oauth/token", None);
    assert_ne!(stage.exchange(&token, &proof).await.0, StatusCode::OK);
    // The gateway comes back with another key.
    let new = Key::new();
    let token = sign(&identity(&stage, &new));
    assert_eq!(enrol(&stage, &new, "us-1", &token).await, StatusCode::NO_CONTENT);
    assert_eq!(register(&stage, &new, "us-1").await, StatusCode::NO_CONTENT);
    until(&stage, async |stage| register(stage, &own, "us-1").await == StatusCode::UNAUTHORIZED)
        .await;
}

async fn a_changed_identity_locks_out_who_came_by_the_old_one(on: On) {
    let mut stage = Stage::on(on).await;
    // Where tokens are not for a key, whoever has one and a key of his own comes in, once.
    identified(&mut stage, "none", OPS).await;
    let key = Key::new();
    let mut claims = identity(&stage, &key);
    claims["aud"] = URL.into();
    let token = stage.issuer.sign(&token_header(), &claims);
    assert_eq!(enrol(&stage, &key, "us-1", &token).await, StatusCode::NO_CONTENT);
    assert_eq!(enrol(&stage, &Key::new(), "us-1", &token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(register(&stage, &key, "us-1").await, StatusCode::NO_CONTENT);
    let path = stage.folder.path().join("guard.yaml");
    let known = std::fs::read_to_string(&path).unwrap();
    let reordered = known.replace(OPS, "ref: refs/heads/main, repository_id: \"77\"");
    assert_ne!(known, reordered);
    for (text, expected) in [
        (reordered, StatusCode::NO_CONTENT),
        (known.replace("\"77\"", "\"78\""), StatusCode::UNAUTHORIZED),
        (known.clone(), StatusCode::NO_CONTENT),
        // Without its line it is a gateway like any other, and came by no token of the broker's.
        (
            known.lines().filter(|line| !line.contains("us-1")).collect::<Vec<_>>().join("\n"),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        stage.restart().await;
        assert_eq!(register(&stage, &key, "us-1").await, expected);
    }
}

#[tokio::test]
async fn a_gateways_identity_that_others_could_have_does_not_load() {
    let stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    for (gateway, problem) in [
        (
            "identity: { issuer: github, claims: { repository: acme/ops } }",
            "not bound to a repository",
        ),
        (
            "identity: { issuer: github, claims: { repository_id: \"77\" } }",
            "whoever can push a branch",
        ),
        ("identity: { issuer: github, claims: { reposito: x } }", "no claim of github"),
        ("identity: { issuer: github, claims: {} }", "let every run in"),
        ("identity: { issuer: other, claims: { sub: x } }", "no issuer `other`"),
        ("identity: { issuer: github }", "claims"),
        ("labels: {}", "expected either `key` or `identity`"),
    ] {
        let gateway = format!("gateways:\n  - {{ name: us-1, {gateway} }}\n");
        std::fs::write(&path, text.replacen("gateways:\n", &gateway, 1)).unwrap();
        let problems = crate::config::load(&path).unwrap_err().to_string();
        assert!(problems.contains(problem) && !problems.contains("allow_broad"), "{problems}");
    }
}

#[test]
fn labels_are_read_as_they_are_written_or_not_at_all() {
    let parse = |texts: &[&str]| {
        Labels::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(parse(&["b=2", "a=x/y.z"]).unwrap().to_string(), "a=x/y.z,b=2");
    assert!(parse(&["a=1", "b=2"]).unwrap().have(&parse(&["b=2"]).unwrap()));
    assert!(!parse(&["a=1"]).unwrap().have(&parse(&["a=1", "b=2"]).unwrap()));
    for wrong in [&["a"][..], &["a="], &["=1"], &["a=1", "a=2"], &["a=b=c"], &["a b=1"], &["ä=1"]]
    {
        parse(wrong).unwrap_err();
    }
}
