//! ID tokens and answers that a library of others takes, or two of them read in two ways: nobody is signed in by them.

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{
    people::{Browser, Fake, header, stage_on},
    stage::{On, Stage},
};

/// A token of exactly this text.
fn sign(fake: &Fake, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &fake.key.signer, Algorithm::ES256).unwrap();
    format!("{signed}.{signature}")
}

/// Whether somebody is signed in who comes back with an answer made for them.
async fn is_signed_in(
    fake: &Fake,
    stage: &Stage,
    answer: impl FnOnce(Value) -> (StatusCode, Value),
) -> bool {
    let mut browser = Browser::default();
    let asked = browser.leave(stage).await;
    *fake.answer.lock().unwrap() = answer(fake.claims(&asked["nonce"]));
    let page = browser.get(stage, &fake.back(&asked["state"])).await;
    let signed_in = browser.cookies.contains_key("__Host-guard");
    assert_eq!(page.status == StatusCode::FORBIDDEN, !signed_in, "{}", page.body);
    signed_in
}

#[tokio::test]
async fn a_token_that_can_be_read_in_two_ways_signs_nobody_in() {
    let fake = Fake::start().await;
    let stage = stage_on(On::Sqlite, &fake.url).await;
    let kid = r#""alg":"ES256","kid":"one""#;
    let claim = |more: &str| (format!("{{{kid}}}"), more.to_owned());
    let head = |text: &str| (text.to_owned(), String::new());
    for (name, taken, (header, more)) in [
        ("as it should be", true, claim("")),
        ("a claim more", true, claim(r#","x":1"#)),
        ("groups twice", false, claim(r#","groups":["root"]"#)),
        ("the person twice", false, claim(r#","sub":"ben""#)),
        ("twice in a claim", false, claim(r#","x":{"a":1,"a":2}"#)),
        ("another client's", false, claim(r#","azp":"other""#)),
        ("a client that is no text", false, claim(r#","azp":["guard"]"#)),
        ("no key named", false, head(r#"{"alg":"ES256"}"#)),
        ("a key that is no text", false, head(r#"{"alg":"ES256","kid":1}"#)),
        ("a key of its own", false, head(r#"{"alg":"ES256","jwk":{},"kid":"two"}"#)),
        ("a header twice", false, head(r#"{"alg":"none","alg":"ES256","kid":"one"}"#)),
        ("another algorithm", false, head(r#"{"alg":"ES384","kid":"one"}"#)),
        ("a shared secret", false, head(r#"{"alg":"HS256","kid":"one"}"#)),
        (
            "what must be understood",
            false,
            head(&format!(r#"{{{kid},"crit":["b64"],"b64":false}}"#)),
        ),
        ("no identity token", false, head(&format!(r#"{{{kid},"typ":"at+jwt"}}"#))),
        ("a word of the end", false, head(&format!(r#"{{{kid},"typ":"logout+jwt"}}"#))),
    ] {
        let answer = |claims: Value| {
            let claims = claims.to_string();
            let claims = format!("{}{more}}}", claims.strip_suffix('}').unwrap());
            (StatusCode::OK, json!({ "id_token": sign(&fake, &header, &claims) }))
        };
        assert_eq!(is_signed_in(&fake, &stage, answer).await, taken, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_leads_elsewhere_has_no_end_or_is_no_answer_signs_nobody_in() {
    let fake = Fake::start().await;
    let stage = stage_on(On::Sqlite, &fake.url).await;
    let good = |claims: &Value| fake.key.sign(&header(), claims);
    for status in [StatusCode::TEMPORARY_REDIRECT, StatusCode::FOUND, StatusCode::CREATED] {
        let before = fake.asked.lock().unwrap().len();
        let answer = |claims: Value| (status, json!({ "id_token": good(&claims) }));
        assert!(!is_signed_in(&fake, &stage, answer).await, "{status}");
        assert_eq!(fake.asked.lock().unwrap().len(), before + 1, "the code went to one address");
    }
    let long = |claims: Value| {
        (StatusCode::OK, json!({ "id_token": good(&claims), "more": "x".repeat(200_000) }))
    };
    assert!(!is_signed_in(&fake, &stage, long).await);
    for odd in [json!({}), json!([]), json!({ "id_token": 1 }), json!({ "id_token": "" })] {
        assert!(!is_signed_in(&fake, &stage, |_| (StatusCode::OK, odd.clone())).await, "{odd}");
    }
    let answer = |claims: Value| (StatusCode::OK, json!({ "id_token": good(&claims) }));
    assert!(is_signed_in(&fake, &stage, answer).await);
}
