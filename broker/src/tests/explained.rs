//! What `trust explain` and `check` say.

use serde_json::Value;

use super::{
    platforms::THUMBPRINT,
    stage::{Stage, URL, token_header},
};
use crate::{
    config,
    trust::{Shown, explain},
};

const MORE: &str = "- name: other\n  issuer: github\n  claims: { repository_id: \"1\", ref: refs/heads/main }\n  \
                    grants:\n    - { resource: orders, policy: reads, for: 45m }\n\
                    - name: wide\n  issuer: github\n  claims: { sub: { glob: \"repo:acme/*:ref:refs/heads/main\" } }\n  \
                    grants:\n    - { resource: orders, policy: reads, for: 45m }\n  allow_broad: everybody may read orders\n";

async fn said(stage: &Stage, shown: Shown, json: bool) -> (String, bool) {
    std::fs::write(stage.folder.path().join("trust/u.yaml"), MORE).unwrap();
    let config = config::load(&stage.folder.path().join("guard.yaml")).unwrap();
    explain(&config, &shown, None, json).await.unwrap()
}

#[tokio::test]
async fn a_token_is_explained_rule_by_rule() {
    let stage = Stage::new().await;
    let (text, admitted) = said(&stage, Shown::Token(stage.token()), false).await;
    assert!(admitted, "{text}");
    for line in [
        "run of issuer `github` (github): https://issuer.example repository 456789 run 1 attempt 1 job ",
        "signature: right",
        "audience: right",
        "times: right",
        "rule `nightly`: MATCHES",
        "  gives `orders` by policy `reads` for 2700 s",
        "rule `other`: claim `repository_id` is `456789`",
        "rule `wide`: would match, but `nightly` stands before it",
        "  it is broad, because: everybody may read orders",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
    }
}

#[tokio::test]
async fn an_old_token_for_another_key_of_nobodys_is_explained_all_the_same() {
    let stage = Stage::new().await;
    let mut claims = stage.claims();
    claims["exp"] = 1_700_000_000.into();
    claims["aud"] = format!("{URL}#{THUMBPRINT}").into();
    claims["repository_id"] = "7".into();
    claims["sub"] = "repo:acme@1/shop@7:ref:refs/heads/\u{1b}[2Jmain".into();
    let token = super::stage::Key::new().sign(&token_header(), &claims);
    let (text, admitted) = said(&stage, Shown::Token(token), false).await;
    assert!(!admitted);
    for part in [
        "signature: the broker would refuse it: the identity token is refused: its signature does not hold",
        "audience: right",
        "times: the broker would refuse it: it has expired",
        "rule `nightly`: claim `repository_id` is `7`",
        "  hint: a subject changes with the platform's settings",
        "no rule matches: this run gets no session",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn claims_are_explained_without_a_token() {
    let stage = Stage::new().await;
    let claims = r#"{ "iss": "https://issuer.example", "sub": "repo:acme/shop:ref:refs/heads/main", "repository_id": "1",
        "run_id": "5", "event_name": "schedule", "ref": "refs/heads/main" }"#;
    let (text, admitted) = said(&stage, Shown::Claims(claims.into()), true).await;
    let said: Value = serde_json::from_str(&text).unwrap();
    assert!(admitted);
    assert_eq!(said["identity"]["run"]["run_id"], "5");
    assert_eq!(said["checks"], Value::Array(Vec::new()));
    let rules: Vec<_> = said["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["rule"].as_str(), r["outcome"].as_str()))
        .collect();
    assert_eq!(
        rules,
        [
            (Some("nightly"), Some("refuses")),
            (Some("other"), Some("matches")),
            (Some("wide"), Some("behind")),
        ]
    );
    assert_eq!(said["rules"][0]["gate"], "repository_id");
    let none = said_of_nobody(&stage).await;
    assert!(none.contains("is no configured issuer; there are `github`"), "{none}");
}

#[tokio::test]
async fn a_session_of_a_broad_rule_says_so_in_its_record() {
    let mut stage = Stage::new().await;
    let narrow = stage.session().await;
    assert!(!stage.text(&narrow).await.contains("trust_broad"));
    let rule = stage.folder.path().join("trust/t.yaml");
    let text = std::fs::read_to_string(&rule).unwrap();
    let text = text.replace("ref: refs/heads/main", "ref: { glob: \"refs/heads/ma*\" }");
    std::fs::write(&rule, format!("{text}  allow_broad: everybody may\n")).unwrap();
    let end = serde_json::json!({ "exit_code": 0 });
    stage.as_shim(&narrow, axum::http::Method::POST, "/v1/session/end", &end).await;
    stage.restart().await;
    let broad = stage.session().await;
    assert!(stage.text(&broad).await.contains("\"trust_broad\":\"everybody may\""));
}

async fn said_of_nobody(stage: &Stage) -> String {
    let config = config::load(&stage.folder.path().join("guard.yaml")).unwrap();
    let shown = Shown::Claims(r#"{ "iss": "https://nobody.example" }"#.into());
    explain(&config, &shown, None, false).await.unwrap_err().to_string()
}
