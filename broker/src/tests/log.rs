//! The log of seals: each is in it once, whoever dies or races, and what was signed stays so.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_audit::{
    PublicKey, SealingKey,
    export::{Envelope, RECORD_SUBJECT, check_attestation},
    tlog::{self, Consistency, Leaf, Proof, SignedCheckpoint},
};
use guard_core::{EndReason, Timestamp};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::stage::{On, Shim, Stage, on_both_stores};
use crate::{
    api,
    app::App,
    log::{Keyring, Log},
};

on_both_stores!(
    a_sealed_session_is_proven_to_be_in_the_log,
    a_seal_whose_broker_died_before_its_leaf_gets_it_later_and_once,
    an_older_checkpoint_is_shown_to_be_the_beginning_of_a_newer_one,
    a_log_that_was_changed_in_the_store_is_not_signed,
    what_is_not_in_the_log_has_no_proof,
    a_key_is_replaced_under_way_and_records_are_verified_from_either,
    a_rotation_that_broke_off_is_taken_to_its_end,
);

/// What a broker answers to everyone.
pub(super) async fn ask(app: &Arc<App>, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let service = TowerToHyperService::new(api::router(app.clone()));
    let answer = service.call(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 22).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) async fn end(stage: &Stage, shim: &Shim) {
    let end = json!({ "exit_code": 0 });
    let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

pub(super) async fn proof(app: &Arc<App>, shim: &Shim) -> Proof {
    let (status, text) = ask(app, &format!("/v1/log/proof/{}", shim.id)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let proof = Proof::parse(&text).unwrap();
    assert_eq!(proof.to_string(), text);
    proof
}

async fn checkpoint(app: &Arc<App>) -> SignedCheckpoint {
    let (status, text) = ask(app, "/v1/log/checkpoint").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    SignedCheckpoint::parse(&text).unwrap()
}

pub(super) async fn leaves(app: &Arc<App>) -> Vec<Leaf> {
    let (status, text) = ask(app, "/v1/log/leaves").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    text.lines().map(|line| Leaf::parse(line).unwrap()).collect()
}

fn key(stage: &Stage) -> PublicKey {
    stage.app.sessions.public_key()
}

async fn a_sealed_session_is_proven_to_be_in_the_log(on: On) {
    let stage = Stage::on(on).await;
    for _ in 0..3 {
        let shim = stage.session().await;
        end(&stage, &shim).await;
        let (record, proof) = (stage.text(&shim).await, proof(&stage.app, &shim).await);
        let bundle = tlog::verify_bundle(record.as_bytes(), &proof, &[key(&stage)], None).unwrap();
        assert_eq!(bundle.record.session.to_string(), shim.id);
        assert_eq!(bundle.log.checkpoint.origin, "127.0.0.1:8440/v1/log");
    }
    let leaves = leaves(&stage.app).await;
    assert_eq!(leaves.len(), 4);
    assert!(matches!(leaves[0], Leaf::Key { .. }));
}

async fn a_seal_whose_broker_died_before_its_leaf_gets_it_later_and_once(on: On) {
    let mut stage = Stage::on(on).await;
    let shim = stage.session().await;
    let session = stage.open(&shim).await.unwrap();
    stage.app.sessions.end(&session, EndReason::Lost, None).await.unwrap();
    stage.app.sessions.sealed(&session).await.unwrap();
    // Nobody looked yet, and this broker never does again.
    assert_eq!(stage.app.sessions.log.leaves(0).await.unwrap().len(), 1);
    stage.restart().await;
    let other = match on {
        On::Sqlite => stage.app.clone(),
        On::Postgres => stage.replica().await,
    };
    let (one, two) =
        tokio::join!(stage.app.sessions.log.add_pending(), other.sessions.log.add_pending());
    assert_eq!(one.unwrap() + two.unwrap(), 1);
    stage.app.sessions.look(1).await.unwrap();
    assert_eq!(leaves(&stage.app).await.len(), 2);
    let (record, proof) = (stage.text(&shim).await, proof(&stage.app, &shim).await);
    tlog::verify_bundle(record.as_bytes(), &proof, &[key(&stage)], None).unwrap();
}

async fn an_older_checkpoint_is_shown_to_be_the_beginning_of_a_newer_one(on: On) {
    let stage = Stage::on(on).await;
    let old = checkpoint(&stage.app).await;
    assert_eq!(old.unverified().size, 1);
    let shims = [stage.session().await, stage.session().await, stage.session().await];
    for shim in &shims {
        end(&stage, shim).await;
    }
    let proof = proof(&stage.app, &shims[2]).await;
    let size = proof.checkpoint.unverified().size;
    let (status, text) = ask(&stage.app, &format!("/v1/log/consistency?from=1&to={size}")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let consistency = Consistency::parse(&text).unwrap();
    let record = stage.text(&shims[2]).await;
    let kept = Some((&old, Some(&consistency)));
    let bundle = tlog::verify_bundle(record.as_bytes(), &proof, &[key(&stage)], kept).unwrap();
    assert_eq!(bundle.log.kept, Some(tlog::Kept::Older { size: 1 }));
    for query in
        ["from=0&to=1", "from=3&to=2", "from=1&to=999", "from=1", "from=x&to=1", "from=-1&to=1"]
    {
        let (status, _) = ask(&stage.app, &format!("/v1/log/consistency?{query}")).await;
        assert!(status.is_client_error(), "{query}: {status}");
    }
    for query in ["?from=999", "?from=18446744073709551615"] {
        assert_eq!(ask(&stage.app, &format!("/v1/log/leaves{query}")).await.1, "");
    }
}

async fn a_log_that_was_changed_in_the_store_is_not_signed(on: On) {
    for change in [
        "UPDATE log_nodes SET hash = '0000000000000000000000000000000000000000000000000000000000000000' WHERE level = 0 AND idx = 0",
        "DELETE FROM log_nodes WHERE level = 0 AND idx = 0",
        "UPDATE log SET size = 0",
    ] {
        let stage = Stage::on(on).await;
        let before = checkpoint(&stage.app).await;
        stage.app.sessions.store.change_for_test(change).await;
        let at = Timestamp::now();
        let leaf = Leaf::Deleted {
            session: "0192a1b2-0000-7000-8000-000000000001".parse().unwrap(),
            at,
            reason: "a test".into(),
        };
        let added = stage.app.sessions.log.add(&leaf).await;
        let signed = stage.app.sessions.log.sign().await;
        assert!(added.is_err() || signed.is_err(), "{change}: {added:?} {signed:?}");
        assert_eq!(checkpoint(&stage.app).await, before, "{change}");
    }
}

async fn what_is_not_in_the_log_has_no_proof(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    for (id, expected) in [
        (shim.id.as_str(), StatusCode::NOT_FOUND),
        ("0192a1b2-0000-7000-8000-000000000001", StatusCode::NOT_FOUND),
        ("x", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(ask(&stage.app, &format!("/v1/log/proof/{id}")).await.0, expected, "{id}");
    }
}

#[tokio::test]
async fn brokers_that_seal_at_the_same_time_make_one_tree_without_a_gap() {
    let stage = Stage::on(On::Postgres).await;
    let brokers = [stage.app.clone(), stage.replica().await, stage.replica().await];
    let mut shims = Vec::new();
    for _ in 0..24 {
        shims.push(stage.session().await);
    }
    let busy = async |app: &Arc<App>, mine: &[Shim]| {
        for shim in mine {
            end(&stage, shim).await;
            app.sessions.log.add_pending().await.unwrap();
            app.sessions.log.sign().await.unwrap();
        }
    };
    let (one, rest) = shims.split_at(8);
    let (two, three) = rest.split_at(8);
    tokio::join!(busy(&brokers[0], one), busy(&brokers[1], two), busy(&brokers[2], three));
    let mut seen = BTreeSet::new();
    for app in &brokers {
        let found = leaves(app).await;
        assert_eq!(found.len(), 1 + shims.len());
        let line = |leaf: &Leaf| leaf.line().unwrap();
        seen.insert(found.iter().map(line).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 1, "one tree, whoever is asked");
    // And all that any of them signed is of this tree.
    let (mut nodes, mut roots) = (tlog::Nodes::new(), vec![tlog::empty_root()]);
    for (leaf, size) in leaves(&stage.app).await.iter().zip(0..) {
        tlog::append(&mut nodes, size, leaf.hash().unwrap()).unwrap();
        roots.push(tlog::root_span(size + 1).hash(&nodes).unwrap());
    }
    for shim in &shims {
        for app in &brokers {
            let proof = proof(app, shim).await;
            let signed = proof.checkpoint.unverified();
            assert_eq!(signed.root, roots[usize::try_from(signed.size).unwrap()]);
            let record = stage.text(shim).await;
            tlog::verify_bundle(record.as_bytes(), &proof, &[key(&stage)], None).unwrap();
        }
    }
}

#[tokio::test]
async fn a_broker_with_a_key_that_is_not_the_logs_does_not_start() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let stranger = Keyring::load_or_create(&folder.path().join("other.pem")).unwrap();
    let store = stage.app.sessions.store.clone();
    let started = Log::start(store, stranger, super::stage::URL).await;
    let error = started.unwrap_err().to_string();
    assert!(error.contains("none of the log's"), "{error}");
}

async fn a_key_is_replaced_under_way_and_records_are_verified_from_either(on: On) {
    let stage = Stage::on(on).await;
    let (before, during) = (stage.session().await, stage.session().await);
    end(&stage, &before).await;
    let old = key(&stage);
    let file = stage.folder.path().join("sealing-key.pem");
    let copy = std::fs::read(&file).unwrap();
    // As the command does it, beside the broker that runs.
    let store = stage.replica_store().await;
    let keys = Keyring::load_or_create(&file).unwrap();
    let log = Log::start(store, keys, super::stage::URL).await.unwrap();
    let (first, second) = log.rotate().await.unwrap();
    assert_eq!((first, key(&stage)), (old, old));
    stage.app.sessions.look(1).await.unwrap();
    assert_eq!(key(&stage), second);
    end(&stage, &during).await;
    for (shim, sealed_by) in [(&before, first), (&during, second)] {
        let (record, proof) = (stage.text(shim).await, proof(&stage.app, shim).await);
        for trusted in [first, second] {
            // A proof that is older than the new key knows nothing of it.
            let verified = tlog::verify_bundle(record.as_bytes(), &proof, &[trusted], None);
            match verified {
                Ok(bundle) => assert_eq!(bundle.record.key_id, sealed_by.id()),
                Err(error) => assert!(proof.keys.len() == 1 && trusted == second, "{error}"),
            }
        }
    }
    // What is said of either is said by the key of now, and by which key it is sealed.
    let proof = proof(&stage.app, &during).await;
    let known = tlog::follow_keys(&proof, &[first]).unwrap().keys;
    for (shim, sealed_by) in [(&before, first), (&during, second)] {
        let path = "/v1/session/attestation";
        let (status, envelope) = stage.as_shim(shim, Method::GET, path, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{envelope}");
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let said: Value = serde_json::from_slice(&payload).unwrap();
        let record = &said["predicate"]["record"];
        assert_eq!(record["whole"], "verified");
        assert_eq!(record["key_id"], sealed_by.id().to_string());
        let (envelope, record) = (envelope.to_string(), stage.text(shim).await);
        let envelope = Envelope::from_line(&envelope).unwrap();
        let attested =
            check_attestation(&envelope, RECORD_SUBJECT, record.as_bytes(), &known).unwrap();
        assert_eq!(attested.key_id, second.id());
    }
    let (_, keys) = ask(&stage.app, "/v1/keys").await;
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let ids: Vec<_> = keys["keys"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    assert_eq!(ids, [&json!(second.id()), &json!(first.id())]);
    // A broker that has the old key still, in a file of its own.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.pem");
    std::fs::write(&path, copy).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let stale = Keyring::load_or_create(&path).unwrap();
    let store = stage.replica_store().await;
    let error = Log::start(store, stale, super::stage::URL).await.unwrap_err().to_string();
    assert!(error.contains("is not the one in use"), "{error}");
}

async fn a_rotation_that_broke_off_is_taken_to_its_end(on: On) {
    for step in ["before the log", "behind the log"] {
        let mut stage = Stage::on(on).await;
        let old = key(&stage);
        let file = stage.folder.path().join("sealing-key.pem");
        let keys = Keyring::load_or_create(&file).unwrap();
        let next = keys.next().unwrap();
        let mut expected = old;
        if step == "behind the log" {
            let (own, at) = (keys.current(), Timestamp::now());
            let leaf = Leaf::key("127.0.0.1:8440/v1/log", &next.public(), Some(&own), &next, at);
            stage.app.sessions.log.add(&leaf.unwrap()).await.unwrap();
            expected = next.public();
        }
        stage.restart().await;
        assert_eq!(key(&stage), expected, "{step}");
        assert_eq!(SealingKey::load(&file).unwrap().public(), expected, "{step}");
        // And the next rotation goes through, by the key that lay there if it was not used.
        let (_, second) = stage.app.sessions.log.rotate().await.unwrap();
        assert_eq!(second == next.public(), step == "before the log");
        let shim = stage.session().await;
        end(&stage, &shim).await;
        let (record, proof) = (stage.text(&shim).await, proof(&stage.app, &shim).await);
        tlog::verify_bundle(record.as_bytes(), &proof, &[old], None).unwrap();
    }
}
