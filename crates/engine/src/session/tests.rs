//! How a served session begins and ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::Ordering;

use guard_protocols::Resource as _;

use super::*;
use crate::fake::{FakeBroker, enforcement};

fn point() -> Point {
    Point { at: EnforceAt::Shim, name: "shim".into() }
}

#[tokio::test]
async fn a_session_ends_at_its_time_and_gives_its_lease_back() {
    let broker = FakeBroker::new();
    let until = Timestamp::now() + jiff::SignedDuration::from_millis(200);
    let served = ServedSession::start(enforcement(until), broker.clone(), &point()).unwrap();
    let credential = served.resource.credential().await.unwrap();
    assert_eq!(credential.username, "backup");
    served.resource.credential().await.unwrap();
    assert_eq!(broker.leases.load(Ordering::Relaxed), 1, "one lease a session");
    served.finished().await;
    assert_eq!(served.end.ended().await, EndReason::Expired);
    assert_eq!(broker.released.load(Ordering::Relaxed), 1);
    let (client, server) = tokio::io::duplex(64);
    drop(client);
    let closed = served.serve(Box::new(server), guard_protocols::ClientAuth::Proven.into()).await;
    assert_eq!(closed.unwrap(), Closed::Session(EndReason::Expired));
}

#[tokio::test]
async fn a_credential_that_is_over_is_not_used_for_another_connection() {
    let broker = FakeBroker::new();
    let served =
        ServedSession::start(enforcement(Timestamp::MAX), broker.clone(), &point()).unwrap();
    *broker.lease_until.lock().unwrap() = Timestamp::now();
    served.resource.credential().await.unwrap();
    *broker.lease_until.lock().unwrap() = Timestamp::MAX;
    served.resource.credential().await.unwrap();
    served.resource.credential().await.unwrap();
    assert_eq!(broker.leases.load(Ordering::Relaxed), 2);
    served.resource.release().await;
    assert_eq!(broker.released.load(Ordering::Relaxed), 2, "connections may be of either");
}

#[tokio::test]
async fn the_first_reason_of_an_end_counts() {
    let broker = FakeBroker::new();
    let served =
        ServedSession::start(enforcement(Timestamp::MAX), broker.clone(), &point()).unwrap();
    tokio::spawn(served.clone().follow(broker.clone()));
    broker.ended.send_replace(Some(EndReason::Revoked));
    served.finished().await;
    served.end(EndReason::Finished);
    assert_eq!(served.end.ended().await, EndReason::Revoked);
    assert_eq!(broker.released.load(Ordering::Relaxed), 0, "no lease was taken");
}

#[tokio::test]
async fn a_policy_that_is_not_the_one_its_digest_names_serves_nobody() {
    let mut changed = enforcement(Timestamp::MAX);
    changed.policy.yaml.push_str("# changed on the way\n");
    let refused = ServedSession::start(changed, FakeBroker::new(), &point());
    assert!(matches!(refused.err(), Some(StartError::Policy(..))));

    let served =
        ServedSession::start(enforcement(Timestamp::MAX), FakeBroker::new(), &point()).unwrap();
    let mut update = enforcement(Timestamp::MAX).policy;
    update.digest = Digest::of("another");
    assert!(served.update(&update).is_err());
}

#[tokio::test]
async fn a_policy_whose_masks_have_no_key_serves_nobody() {
    let lasting = || {
        let mut asked = enforcement(Timestamp::MAX);
        asked
            .policy
            .yaml
            .push_str("masks:\n  - { sql: { columns: a.b.c }, with: hash, stable: always }\n");
        asked.policy.digest = Digest::of(&asked.policy.yaml);
        asked
    };
    let refused = ServedSession::start(lasting(), FakeBroker::new(), &point());
    assert!(matches!(refused.err(), Some(StartError::Policy(..))));
    let served =
        ServedSession::start(enforcement(Timestamp::MAX), FakeBroker::new(), &point()).unwrap();
    assert!(served.update(&lasting().policy).is_err());

    let mut keyed = lasting();
    keyed.lasting_mask_key = Some(guard_core::Secret::new("BBBB"));
    let served = ServedSession::start(keyed, FakeBroker::new(), &point()).unwrap();
    assert_eq!(served.resource.lasting_mask_key(), Some(&[4, 16, 65][..]));
}

#[tokio::test]
async fn authorities_that_cannot_be_read_serve_nobody() {
    for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let mut broken = enforcement(Timestamp::MAX);
        broken.resource.tls = guard_core::TlsMode::VerifyFull;
        broken.resource.tls_ca = Some(pem.into());
        let refused = ServedSession::start(broken, FakeBroker::new(), &point());
        assert!(matches!(refused.err(), Some(StartError::Resource(_))), "{pem:?}");
    }
}
