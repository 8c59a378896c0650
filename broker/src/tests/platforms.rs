//! From a platform's claims to one identity.

use std::time::Duration;

use guard_core::{Platform, Timestamp};
use guard_policy::Conditions;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::stage::{Key, token_header, unique};
use crate::{
    claims::VerifiedRun,
    config::{Bind, IssuerConfig, KeySource},
    issuers::{IdentityError, Issuers},
};

pub(super) const AUDIENCE: &str = "https://guard.example.com";
/// Of the key that tokens are shown with.
pub(super) const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

pub(super) fn issuer(platform: Platform, url: &str, keys: KeySource) -> IssuerConfig {
    IssuerConfig {
        name: "ours".into(),
        platform,
        url: url.into(),
        keys,
        audiences: Vec::new(),
        multi_audience: false,
        bind: Bind::None,
        algorithms: vec![Algorithm::ES256],
        require: Conditions::default(),
        once: "jti".into(),
        run: None,
        leeway: Duration::from_secs(60),
        max_token_age: Duration::from_secs(3600),
        refresh: Duration::from_secs(300),
        stale: Duration::from_secs(3600),
    }
}

pub(super) fn key_set(keys: &[(&str, &Key)]) -> Value {
    let keys = keys.iter().map(|(name, key)| {
        let mut jwk = key.jwk.clone();
        jwk["kid"] = (*name).into();
        jwk
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}

/// The example of <https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload>.
fn gitlab_claims() -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "namespace_id": "72", "namespace_path": "my-group",
        "project_id": "20", "project_path": "my-group/my-project",
        "user_id": "1", "user_login": "sample-user", "user_email": "sample-user@example.com",
        "pipeline_id": "574", "pipeline_source": "push", "job_id": "302",
        "ref": "feature-branch-1", "ref_type": "branch",
        "ref_path": "refs/heads/feature-branch-1", "ref_protected": "false",
        "runner_id": 1, "runner_environment": "self-hosted",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "project_visibility": "public",
        "ci_config_ref_uri": "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
        "environment": null,
        "jti": unique(), "iss": "https://gitlab.example.com", "iat": now, "nbf": now - 5,
        "exp": now + 3600, "sub": "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
        "aud": AUDIENCE,
    })
}

async fn verify(platform: Platform, claims: &Value) -> Result<VerifiedRun, IdentityError> {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, key_set(&[("one", &key)]).to_string()).unwrap();
    let issuer = issuer(platform, "https://gitlab.example.com", KeySource::File(file));
    let issuers = Issuers::new(AUDIENCE, &[issuer]).unwrap();
    issuers.verify(&key.sign(&token_header(), claims), THUMBPRINT, Timestamp::now()).await
}

#[tokio::test]
async fn gitlab_claims_become_the_same_identity() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let found = verify(Platform::Gitlab, &gitlab_claims()).await.unwrap().identity;
    let read = [
        ("repository", found.repository.as_str(), "my-group/my-project"),
        ("repository id", &found.run.repository_id, "20"),
        ("run", &found.run.run_id, "574"),
        ("attempt", &found.run.attempt, "1"),
        ("job", &found.run.job, "302"),
        ("ref", &found.git_ref, "refs/heads/feature-branch-1"),
        ("event", &found.event, "push"),
        ("actor", &found.actor, "sample-user"),
        (
            "workflow",
            &found.workflow,
            "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
        ),
        (
            "page",
            found.run_url.as_deref().unwrap_or_default(),
            "https://gitlab.example.com/my-group/my-project/-/jobs/302",
        ),
        // A number is compared as its text.
        ("runner", &found.claims["runner_id"], "1"),
    ];
    for (name, read, expected) in read {
        assert_eq!(read, expected, "{name}");
    }
    // What is null is not there: a trust rule on it matches nothing.
    assert!(!found.claims.contains_key("environment"));
}

#[tokio::test]
async fn a_gitlab_token_without_what_names_its_run_is_refused() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for name in ["project_id", "pipeline_id", "job_id", "sub", "jti"] {
        for value in [Value::Null, json!("")] {
            let mut claims = gitlab_claims();
            claims[name] = value;
            assert!(verify(Platform::Gitlab, &claims).await.is_err(), "{name}");
        }
    }
    // GitHub's names are not GitLab's.
    assert!(verify(Platform::Github, &gitlab_claims()).await.is_err());
}
