//! Who is signed in, as the person who runs the broker sees and ends it.

use axum::http::{Method, StatusCode};
use guard_core::{Digest, Timestamp};
use serde_json::Value;

use super::{
    people::{Fake, by_token, stage_on},
    stage::{On, on_both_stores},
};
use crate::store::{Held, NewSignedIn, Which};

on_both_stores!(who_is_signed_in_is_listed_without_secrets_and_ended_everywhere_at_once);

async fn who_is_signed_in_is_listed_without_secrets_and_ended_everywhere_at_once(on: On) {
    let fake = Fake::start().await;
    let stage = stage_on(on, &fake.url).await;
    // As the command does it, from another process.
    let beside = stage.replica_store().await;
    let mut ann = fake.signs_in(&stage, |_| {}).await;
    let mut again = fake.signs_in(&stage, |_| {}).await;
    let mut ben = fake.signs_in(&stage, |claims| claims["sub"] = "ben".into()).await;
    let secret = "guard_person_of-the-command-line";
    let in_an_hour = Timestamp::from_second(Timestamp::now().as_second() + 3_600).unwrap();
    let signed_in = |secret: &str, until| NewSignedIn {
        token_hash: Digest::of(secret),
        held: Held::Token,
        issuer: fake.url.clone(),
        subject: "ann".into(),
        name: "Ann".into(),
        groups: ["dba".to_owned()].into(),
        claims: std::collections::BTreeMap::default(),
        until,
    };
    let store = &stage.app.sessions.store;
    store.sign_in(&signed_in(secret, in_an_hour)).await.unwrap();
    store.sign_in(&signed_in("over", Timestamp::from_second(1).unwrap())).await.unwrap();

    let listed = beside.sign_ins().await.unwrap();
    let shown: Vec<_> = listed.iter().map(|one| (one.subject.as_str(), one.at)).collect();
    assert_eq!(shown.iter().filter(|one| **one == ("ann", "browser")).count(), 2, "{shown:?}");
    assert_eq!(shown.iter().filter(|one| **one == ("ann", "command line")).count(), 1);
    assert_eq!(shown.iter().filter(|one| **one == ("ben", "browser")).count(), 1);
    assert_eq!(shown.len(), 4, "whose time is over is not signed in");
    assert!(listed.iter().all(|one| one.since < one.until && one.groups.contains("dba")));
    let json = serde_json::to_string(&listed).unwrap();
    for cookie in ann.cookies.values().chain(ben.cookies.values()).map(String::as_str) {
        assert!(!json.contains(cookie) && !json.contains(&Digest::of(cookie).to_string()));
    }

    // What names nobody, or many, ends nobody.
    let shorter: String = listed[0].id.chars().skip(1).collect();
    for odd in ["", "%", "________________", "0000000000000000", "ann", &shorter] {
        assert_eq!(beside.end_sign_ins(Which::One(odd)).await.unwrap(), 0, "{odd}");
    }
    for odd in ["", "an", "ANN", "ann ", "%", "' OR 1=1 --"] {
        assert_eq!(beside.end_sign_ins(Which::Of(odd)).await.unwrap(), 0, "{odd}");
    }
    let own = Digest::of(&ann.cookies["__Host-guard"]).to_string();
    let id: String = own.chars().take(16).collect();
    assert!(listed.iter().any(|one| one.id == id));
    assert_eq!(beside.end_sign_ins(Which::One(&id)).await.unwrap(), 1);
    assert_eq!(beside.end_sign_ins(Which::One(&id)).await.unwrap(), 0);
    assert!(ann.get(&stage, "/approvals").await.status.is_redirection());
    assert_eq!(again.get(&stage, "/approvals").await.status, StatusCode::OK);

    let path = "/v1/people/self";
    let (status, _) = by_token(&stage, Method::GET, path, secret, &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(beside.end_sign_ins(Which::Of("ann")).await.unwrap(), 2);
    let (status, _) = by_token(&stage, Method::GET, path, secret, &Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(again.get(&stage, "/approvals").await.status.is_redirection());
    assert_eq!(ben.get(&stage, "/approvals").await.status, StatusCode::OK);
}
