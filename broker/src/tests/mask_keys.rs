//! The key of masks that are the same in every session: who gets it, and what happens without it.

use axum::http::StatusCode;
use serde_json::Value;

use super::stage::{Key, Stage};
use crate::config;

const TUNNEL: &str = "https://gw:8443/v1/tunnel/orders";
const SECRET: &str = "a lasting secret of thirty-two bytes or more";

/// A stage whose policy over `orders` masks with a lasting key, and where that is.
async fn stage(mask_key: &str) -> Stage {
    let mut stage = Stage::new().await;
    let write = |name: &str, text: &str| {
        std::fs::write(stage.folder.path().join(name), text).unwrap();
    };
    let policy = std::fs::read_to_string(stage.folder.path().join("policies/p.yaml")).unwrap();
    write("mask-key", SECRET);
    write("short-key", "short");
    write(
        "policies/lasting.yaml",
        &format!(
            "{}masks:\n  - {{ sql: {{ columns: a.b.c }}, with: format, stable: always }}\n",
            policy.replace("policy: reads", "policy: lasting")
        ),
    );
    write(
        "trust/t.yaml",
        "- name: nightly\n  issuer: github\n  claims: { repository_id: \"456789\", ref: refs/heads/main }\n  \
         grants:\n    - { resource: orders, policy: lasting, for: 45m }\n",
    );
    let config = std::fs::read_to_string(stage.folder.path().join("guard.yaml")).unwrap();
    write("guard.yaml", &config.replace("name: orders, ", &format!("name: orders, {mask_key}")));
    stage.restart().await;
    stage
}

async fn refused(stage: &Stage) {
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, answer) = stage.exchange(&stage.token(), &proof).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert_eq!(answer["error"], "access_denied");
}

#[tokio::test]
async fn a_lasting_key_is_the_same_in_every_session_and_goes_to_gateways_only() {
    let stage = stage("mask_key: { file: mask-key }, ").await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let shim = stage.session().await;
        stage.tunnel(&shim).await;
        let (status, enforcement) = stage.authorize(&shim, TUNNEL).await;
        assert_eq!(status, StatusCode::OK, "{enforcement}");
        assert!(!enforcement.to_string().contains(SECRET), "the secret itself stays at the broker");
        let key = |name: &str| enforcement[name].as_str().unwrap().to_owned();
        keys.push((key("lasting_mask_key"), key("mask_key")));
    }
    assert_eq!(keys[0].0, keys[1].0);
    assert_ne!(keys[0].1, keys[1].1);
}

#[tokio::test]
async fn a_policy_that_asks_for_no_lasting_key_gets_none() {
    let stage = Stage::new().await;
    let shim = stage.session().await;
    stage.tunnel(&shim).await;
    let (_, enforcement) = stage.authorize(&shim, TUNNEL).await;
    assert_eq!(enforcement["lasting_mask_key"], Value::Null);
}

#[tokio::test]
async fn no_session_is_opened_whose_masks_have_no_key() {
    for mask_key in ["", "mask_key: { file: gone }, ", "mask_key: { file: short-key }, "] {
        refused(&stage(mask_key).await).await;
    }
}

#[tokio::test]
async fn a_lasting_key_is_neither_written_down_nor_sent_to_a_job() {
    let stage = Stage::new().await;
    let file = stage.folder.path().join("guard.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    for (from, to, problem) in [
        ("name: orders, ", "name: orders, mask_key: secret, ", "a mask key does not stand"),
        ("name: near, ", "name: near, mask_key: { file: mask-key }, ", "to the job's machine"),
    ] {
        std::fs::write(&file, config.replace(from, to)).unwrap();
        let problems = config::load(&file).unwrap_err().to_string();
        assert!(problems.contains(problem), "{problems}");
    }
}
