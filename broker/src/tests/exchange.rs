//! Tokens and proofs: what is taken, and every way in that must stay shut.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::stage::{Key, On, Stage, URL, on_both_stores, proof_claims, token_header, unique};

on_both_stores!(
    a_token_that_is_not_whole_right_and_ours_is_refused,
    a_forged_signature_is_refused_whatever_the_header_offers,
    a_run_without_a_trust_rule_learns_nothing,
    one_token_gives_one_session_however_many_ask_at_once_and_after_a_restart,
    a_proof_is_for_one_request_of_its_own_key,
    a_stolen_access_token_is_useless_without_its_key,
    a_credential_goes_to_its_enforcement_point_only,
    a_gateway_is_who_its_key_says,
);

type Change = fn(&mut Value, &mut Value);

async fn a_token_that_is_not_whole_right_and_ours_is_refused(on: On) {
    let stage = Stage::on(on).await;
    let cases: &[(&str, Change)] = &[
        ("expired", |_, c| c["exp"] = (Timestamp::now().as_second() - 61).into()),
        ("no exp", |_, c| c["exp"] = Value::Null),
        ("exp is text", |_, c| c["exp"] = "9999999999".into()),
        ("not yet", |_, c| c["nbf"] = (Timestamp::now().as_second() + 120).into()),
        ("from the future", |_, c| c["iat"] = (Timestamp::now().as_second() + 120).into()),
        ("no iat", |_, c| c["iat"] = Value::Null),
        ("too old", |_, c| c["iat"] = (Timestamp::now().as_second() - 7200).into()),
        ("no jti", |_, c| c["jti"] = Value::Null),
        ("empty jti", |_, c| c["jti"] = "".into()),
        ("other audience", |_, c| c["aud"] = "https://github.com/acme".into()),
        ("two audiences", |_, c| c["aud"] = json!([URL, "evil"])),
        ("no audience", |_, c| c["aud"] = Value::Null),
        ("audience as prefix", |_, c| c["aud"] = format!("{URL}/").into()),
        ("other issuer", |_, c| c["iss"] = "https://issuer.example.evil".into()),
        ("issuer with a slash", |_, c| c["iss"] = "https://issuer.example/".into()),
        ("no issuer", |_, c| c["iss"] = Value::Null),
        ("no repository id", |_, c| c["repository_id"] = Value::Null),
        ("no subject", |_, c| c["sub"] = Value::Null),
        ("alg none", |h, _| h["alg"] = "none".into()),
        ("alg HS256", |h, _| h["alg"] = "HS256".into()),
        ("alg of another key type", |h, _| h["alg"] = "RS256".into()),
        ("kid of nobody", |h, _| h["kid"] = "two".into()),
        ("kid as path", |h, _| h["kid"] = "../../dev/null".into()),
        ("no kid", |h, _| h["kid"] = Value::Null),
        ("a proof's type", |h, _| h["typ"] = "dpop+jwt".into()),
        ("crit", |h, _| h["crit"] = json!(["exp"])),
    ];
    for (name, change) in cases {
        let (mut header, mut claims) = (token_header(), stage.claims());
        change(&mut header, &mut claims);
        let token = stage.issuer.sign(&header, &claims);
        let proof = Key::new().proof("POST", "/oauth/token", None);
        let (status, answer) = stage.exchange(&token, &proof).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
        assert_eq!(answer["error"], "invalid_grant", "{name}");
        assert_eq!(answer["error_description"], "the identity token is not accepted", "{name}");
        assert!(answer["decision_id"].is_string(), "{name}");
    }
    // With nothing changed it is taken: the cases above fail for their own reason.
    stage.session().await;
}

async fn a_forged_signature_is_refused_whatever_the_header_offers(on: On) {
    let stage = Stage::on(on).await;
    let attacker = Key::new();
    let with = |name: &str, value: Value| {
        let mut header = token_header();
        header[name] = value;
        header
    };
    let mut own_key = attacker.jwk.clone();
    own_key["kid"] = "one".into();
    let claims = stage.claims();
    let good = stage.issuer.sign(&token_header(), &claims);
    let parts: Vec<_> = good.split('.').collect();
    let edited = claims.to_string().replace("456789", "456780");
    let public = format!("{}{}", stage.issuer.jwk["x"], stage.issuer.jwk["y"]);
    let hmac_header = URL_SAFE_NO_PAD.encode(with("alg", "HS256".into()).to_string());
    let hmac_signed = format!("{hmac_header}.{}", parts[1]);
    let secret = EncodingKey::from_secret(public.as_bytes());
    let hmac = jsonwebtoken::crypto::sign(hmac_signed.as_bytes(), &secret, Algorithm::HS256);
    let cases = [
        ("another key", attacker.sign(&token_header(), &claims)),
        ("jwk", attacker.sign(&with("jwk", own_key), &claims)),
        ("jku", attacker.sign(&with("jku", "https://evil.example/jwks".into()), &claims)),
        ("x5u", attacker.sign(&with("x5u", "https://evil.example/cert".into()), &claims)),
        ("HS256 with the public key", format!("{hmac_signed}.{}", hmac.unwrap())),
        ("edited", format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(edited), parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        (
            "zero signature",
            format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        ("padded", format!("{good}=")),
    ];
    for (name, token) in cases {
        let proof = Key::new().proof("POST", "/oauth/token", None);
        let (status, answer) = stage.exchange(&token, &proof).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
    }
}

async fn a_run_without_a_trust_rule_learns_nothing(on: On) {
    let stage = Stage::on(on).await;
    let mut claims = stage.claims();
    claims["repository_id"] = "999".into();
    let token = stage.issuer.sign(&token_header(), &claims);
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, answer) = stage.exchange(&token, &proof).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(answer["error"], "access_denied");
    assert_eq!(answer["error_description"], "no session for this run");
}

async fn one_token_gives_one_session_however_many_ask_at_once_and_after_a_restart(on: On) {
    let mut stage = Stage::on(on).await;
    let token = stage.token();
    let keys: Vec<_> = (0..8).map(|_| Key::new().proof("POST", "/oauth/token", None)).collect();
    let answers =
        futures_util::future::join_all(keys.iter().map(|proof| stage.exchange(&token, proof)));
    let taken = answers.await.iter().filter(|(status, _)| *status == StatusCode::OK).count();
    assert_eq!(taken, 1);
    stage.restart().await;
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, answer) = stage.exchange(&token, &proof).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
}

async fn a_proof_is_for_one_request_of_its_own_key(on: On) {
    let stage = Stage::on(on).await;
    let cases: &[(&str, Change)] = &[
        ("other method", |_, c| c["htm"] = "GET".into()),
        ("other address", |_, c| c["htu"] = "https://evil.example/oauth/token".into()),
        ("other path", |_, c| c["htu"] = format!("{URL}/v1/record").into()),
        ("with a query", |_, c| c["htu"] = format!("{URL}/oauth/token?x").into()),
        ("old", |_, c| c["iat"] = (Timestamp::now().as_second() - 90).into()),
        ("future", |_, c| c["iat"] = (Timestamp::now().as_second() + 90).into()),
        ("no iat", |_, c| c["iat"] = Value::Null),
        ("no jti", |_, c| c["jti"] = Value::Null),
        ("a hash of no token", |_, c| c["ath"] = "x".into()),
        ("other type", |h, _| h["typ"] = "JWT".into()),
        ("alg none", |h, _| h["alg"] = "none".into()),
        ("no key", |h, _| h["jwk"] = Value::Null),
        ("private key", |h, _| h["jwk"]["d"] = "AAAA".into()),
        ("key of another", |h, _| h["jwk"] = Key::new().jwk),
        ("no point of the curve", |h, _| h["jwk"]["x"] = URL_SAFE_NO_PAD.encode([1; 32]).into()),
    ];
    for (name, change) in cases {
        let key = Key::new();
        let mut header = key.proof_header();
        let mut claims = proof_claims("POST", "/oauth/token", None);
        change(&mut header, &mut claims);
        let (status, answer) = stage.exchange(&stage.token(), &key.sign(&header, &claims)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {answer}");
        assert_eq!(answer["error"], "invalid_dpop_proof", "{name}");
    }
    let proof = Key::new().proof("POST", "/oauth/token", None);
    assert_eq!(stage.exchange(&stage.token(), &proof).await.0, StatusCode::OK);
    let (status, answer) = stage.exchange(&stage.token(), &proof).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_dpop_proof")));
}

async fn a_stolen_access_token_is_useless_without_its_key(on: On) {
    let stage = Stage::on(on).await;
    let mut shim = stage.session().await;
    let (status, _) = stage.as_shim(&shim, Method::GET, "/v1/session/state", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    shim.key = Key::new();
    let (status, _) = stage.as_shim(&shim, Method::GET, "/v1/session/state", &Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    shim.token = unique();
    let (status, _) = stage.as_shim(&shim, Method::GET, "/v1/session/state", &Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

async fn a_credential_goes_to_its_enforcement_point_only(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    let ask = |resource: &str| json!({ "session": shim.id, "resource": resource });
    let (orders, near, other) = (ask("orders"), ask("near"), ask("other"));
    // The job must never get what is enforced at the gateway, nor the policy or the mask's key of it.
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &orders).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/session/enforce", &orders).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = stage.as_shim(&shim, Method::POST, "/v1/leases", &other).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // A gateway to which no shim came knows of no session.
    let (status, _) = stage.as_gateway(Method::POST, "/v1/leases", &orders).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    stage.tunnel(&shim).await;
    let (status, lease) = stage.as_gateway(Method::POST, "/v1/leases", &orders).await;
    assert_eq!((status, &lease["password"]), (StatusCode::OK, &json!("secret-of-the-database")));
    let (status, _) = stage.as_gateway(Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, own) = stage.as_shim(&shim, Method::POST, "/v1/leases", &near).await;
    assert_eq!(status, StatusCode::OK);
    // Nobody gives back another's.
    let release = format!("/v1/leases/{}/release", own["id"].as_str().unwrap());
    let (status, _) = stage.as_gateway(Method::POST, &release, &Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // No password is in the record or in the store.
    let mut kept: Vec<_> = ["guard.db", "guard.db-wal"]
        .iter()
        .map(|file| std::fs::read(stage.folder.path().join(file)).unwrap_or_default())
        .collect();
    if let Some(server) = &stage.postgres {
        let dump = server.client("pg_dump", "guard").output().unwrap();
        assert!(dump.status.success() && dump.stdout.len() > 1000, "{dump:?}");
        kept.push(dump.stdout);
    }
    for bytes in kept {
        assert!(!String::from_utf8_lossy(&bytes).contains("secret-of-the-database"));
        assert!(!String::from_utf8_lossy(&bytes).contains(&shim.token));
    }
    let record = stage.text(&shim).await;
    assert!(record.contains("lease-taken") && !record.contains("secret-of-the-database"));
}

async fn a_gateway_is_who_its_key_says(on: On) {
    let mut stage = Stage::on(on).await;
    let shim = stage.session().await;
    stage.tunnel(&shim).await;
    // A proof for another gateway's tunnel is none here.
    let (status, _) = stage.authorize(&shim, "https://other:8443/v1/tunnel/orders").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    stage.gateway = Key::new();
    let (status, _) = stage.authorize(&shim, "https://gw:8443/v1/tunnel/orders").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
