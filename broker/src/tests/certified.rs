//! A certified OpenID Provider as an issuer: discovery, keys and tokens that nobody of guard wrote.

use axum::http::StatusCode;
use guard_tests::Provider;
use serde_json::{Value, json};

use super::stage::{Key, Stage, URL, unique};

const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// The provider in a process of its own.
struct Certified(Provider);

impl Certified {
    fn start() -> Self {
        Self(Provider::start("oidc_provider.js").unwrap())
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.0.tell(command).unwrap()
    }

    /// A token of a job of project 7, for a key.
    fn token(&mut self, algorithm: &str, key: &Key) -> String {
        let claims = json!({
            "sub": "job", "jti": unique(), "build": unique(),
            "ci": { "project": "7", "ref": "refs/heads/main" },
        });
        let aud = format!("{URL}#{}", key.thumbprint());
        let answer = self.ask(&json!({ "token": claims, "aud": aud, "alg": algorithm }));
        answer["token"].as_str().unwrap().into()
    }
}

/// A broker that takes the provider's tokens.
async fn stage(certified: &Certified) -> Stage {
    let mut stage = Stage::new().await;
    let path = stage.folder.path().join("guard.yaml");
    let issuer = format!(
        "issuers:\n  - {{ name: certified, platform: oidc, url: \"{}\", bind: key, algorithms: [{}],\n      \
         run: {{ repository_id: /ci/project, run_id: build, ref: /ci/ref }} }}\n",
        certified.0.url,
        ALGORITHMS.join(", ")
    );
    let text = std::fs::read_to_string(&path).unwrap().replace("issuers:\n", &issuer);
    std::fs::write(&path, text).unwrap();
    let rule = "- name: of-the-provider\n  issuer: certified\n  \
                claims: { /ci/project: \"7\", /ci/ref: refs/heads/main }\n  \
                grants: [{ resource: orders, policy: reads, for: 45m }]\n";
    std::fs::write(stage.folder.path().join("trust/u.yaml"), rule).unwrap();
    stage.restart().await;
    stage
}

async fn exchange(stage: &Stage, token: &str, key: &Key) -> (StatusCode, Value) {
    stage.exchange(token, &key.proof("POST", "/oauth/token", None)).await
}

#[tokio::test]
async fn its_tokens_are_taken_whatever_they_are_signed_with_and_only_with_their_key() {
    let mut certified = Certified::start();
    let stage = stage(&certified).await;
    for algorithm in ALGORITHMS {
        let key = Key::new();
        let token = certified.token(algorithm, &key);
        let (status, _) = exchange(&stage, &token, &Key::new()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{algorithm} with another key");
        let (status, answer) = exchange(&stage, &token, &key).await;
        assert_eq!(status, StatusCode::OK, "{algorithm}: {answer}");
        assert_eq!(answer["session"]["trust_rule"], "of-the-provider");
        assert_eq!(answer["session"]["identity"]["git_ref"], "refs/heads/main");
        let (status, _) = exchange(&stage, &token, &key).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{algorithm} again");
    }
}

#[tokio::test]
async fn exchanges_go_on_while_its_keys_change() {
    let mut certified = Certified::start();
    let stage = stage(&certified).await;
    for turn in 0..3 {
        let keys: Vec<_> = (0..4).map(|_| Key::new()).collect();
        let mut tokens =
            vec![certified.token("RS256", &keys[0]), certified.token("ES256", &keys[1])];
        certified.ask(&json!({ "rotate": "both" }));
        tokens.extend([certified.token("RS256", &keys[2]), certified.token("ES256", &keys[3])]);
        let all = tokens.iter().zip(&keys).map(|(token, key)| exchange(&stage, token, key));
        for (status, answer) in futures_util::future::join_all(all).await {
            assert_eq!(status, StatusCode::OK, "turn {turn}: {answer}");
        }
    }
    // What it withdrew is worth nothing as soon as the new keys were seen.
    let (old, new) = (Key::new(), Key::new());
    let withdrawn = certified.token("EdDSA", &old);
    certified.ask(&json!({ "rotate": "new" }));
    let token = certified.token("EdDSA", &new);
    assert_eq!(exchange(&stage, &token, &new).await.0, StatusCode::OK);
    assert_eq!(exchange(&stage, &withdrawn, &old).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn its_outage_is_outlived_and_its_end_is_found() {
    let mut certified = Certified::start();
    let stage = stage(&certified).await;
    let key = Key::new();
    let token = certified.token("RS256", &key);
    assert_eq!(exchange(&stage, &token, &key).await.0, StatusCode::OK);
    certified.ask(&json!({ "up": false }));
    for _ in 0..3 {
        let key = Key::new();
        let token = certified.token("ES256", &key);
        assert_eq!(exchange(&stage, &token, &key).await.0, StatusCode::OK);
    }
    // A key that it made meanwhile is not known, and is found when it is back.
    certified.ask(&json!({ "rotate": "both" }));
    let token = certified.token("PS256", &key);
    assert_ne!(exchange(&stage, &token, &key).await.0, StatusCode::OK);
    certified.ask(&json!({ "up": true }));
    assert_eq!(exchange(&stage, &token, &key).await.0, StatusCode::OK);
}
