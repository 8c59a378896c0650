//! Sessions that are opened at the same instant: stored together, and each for itself.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use futures_util::future::join_all;
use guard_core::control::{ID_TOKEN_TYPE, TOKEN_EXCHANGE};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::stage::{Key, On, Stage, on_both_stores, send_to, token_header};

on_both_stores!(what_one_is_refused_for_does_not_touch_the_others);

async fn what_one_is_refused_for_does_not_touch_the_others(on: On) {
    const EACH: usize = 25;
    let stage = Stage::on(on).await;
    let token = |job: Option<String>| {
        let mut claims = stage.claims();
        if let Some(job) = job {
            claims["check_run_id"] = job.into();
        }
        stage.issuer.sign(&token_header(), &claims)
    };
    let mut tokens = Vec::new();
    for number in 0..EACH {
        // One of its own, one that is shown twice, and two of one job.
        let twice = token(None);
        tokens.extend([token(None), twice.clone(), twice]);
        tokens.extend([(); 2].map(|()| token(Some(format!("job-{number}")))));
    }
    let asked = tokens.iter().map(|token| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", TOKEN_EXCHANGE)
            .append_pair("subject_token", token)
            .append_pair("subject_token_type", ID_TOKEN_TYPE)
            .finish();
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", Key::new().proof("POST", "/oauth/token", None))
            .body(Body::from(form));
        send_to(&stage.app, request.unwrap())
    });
    let answers = join_all(asked).await;
    let granted = answers.iter().filter(|(status, _)| *status == StatusCode::OK);
    let sessions: BTreeSet<_> =
        granted.map(|(_, answer)| answer["session"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sessions.len(), 3 * EACH);
    let count = |error: &str| answers.iter().filter(|(_, answer)| answer["error"] == error).count();
    assert_eq!((count("invalid_grant"), count("access_denied")), (EACH, EACH));
    // Each that was answered is stored, and nothing else is.
    let stored = stage.app.sessions.store.live_sessions().await.unwrap();
    let stored: BTreeSet<_> = stored.iter().map(ToString::to_string).collect();
    assert_eq!(stored, sessions);
}

#[tokio::test]
async fn a_store_without_time_for_an_exchange_says_when_to_ask_again_and_has_nothing_half_done() {
    let stage = Stage::new().await;
    let (key, token) = (Key::new(), stage.token());
    let ask = async || {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", TOKEN_EXCHANGE)
            .append_pair("subject_token", &token)
            .append_pair("subject_token_type", ID_TOKEN_TYPE)
            .finish();
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", key.proof("POST", "/oauth/token", None))
            .body(Body::from(form));
        let service = TowerToHyperService::new(crate::api::router(stage.app.clone()));
        service.call(request.unwrap()).await.unwrap()
    };
    // SQLite's one connection, as by a disk that does not come back.
    let held = stage.app.sessions.store.hold_for_test().await;
    let busy = ask().await;
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(busy.headers()["retry-after"], "1");
    drop(held);
    assert_eq!(ask().await.status(), StatusCode::OK, "the token was not used up");
}
