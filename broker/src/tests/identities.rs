//! Each platform's own example of a token, and the traps in it.

use std::time::Duration;

use guard_core::{Identity, Platform, Timestamp};
use serde_json::{Value, json};

use super::{
    platforms::{AUDIENCE, THUMBPRINT, issuer},
    stage::unique,
};
use crate::{
    claims::{self, VerifiedRun},
    config::{Bind, IssuerConfig, KeySource, RunClaims},
    jws::{Fault, Verified},
};

fn config(platform: Platform, url: &str) -> IssuerConfig {
    issuer(platform, url, KeySource::Discovery)
}

/// As if its signature had held: with times and what else every token has.
fn identify(config: &IssuerConfig, claims: &Value) -> Result<VerifiedRun, Fault> {
    let now = Timestamp::now().as_second();
    let mut all = json!({
        "iss": config.url, "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": unique(),
    });
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let token = Verified::written(all.as_object().unwrap().clone());
    claims::identify(&token, config, AUDIENCE, THUMBPRINT, Timestamp::now())
}

fn of(platform: Platform, url: &str, claims: &Value) -> VerifiedRun {
    identify(&config(platform, url), claims).unwrap()
}

/// Repository, its id, run, attempt, job, ref, event, page.
fn told(who: &Identity) -> [&str; 8] {
    [
        &who.repository,
        &who.run.repository_id,
        &who.run.run_id,
        &who.run.attempt,
        &who.run.job,
        &who.git_ref,
        &who.event,
        who.run_url.as_deref().unwrap_or_default(),
    ]
}

fn github_claims() -> Value {
    json!({
        "sub": "repo:octo-org@123456/octo-repo@456789:environment:prod",
        "repository": "octo-org/octo-repo", "repository_id": "456789",
        "repository_owner": "octo-org", "repository_owner_id": "123456",
        "ref": "refs/heads/main", "event_name": "schedule", "actor": "octocat",
        "workflow_ref": "octo-org/octo-repo/.github/workflows/nightly.yml@refs/heads/main",
        "environment": "prod", "run_id": "22259804324", "run_attempt": "2", "check_run_id": "90000001",
    })
}

#[test]
fn github_issuers_of_every_kind_are_read_alike() {
    for (url, pages) in [
        ("https://token.actions.githubusercontent.com", "https://github.com"),
        ("https://token.actions.githubusercontent.com/octocat-inc", "https://github.com"),
        ("https://token.actions.octo.ghe.com", "https://octo.ghe.com"),
        ("https://ghe.corp.example/_services/token", "https://ghe.corp.example"),
    ] {
        let run = of(Platform::Github, url, &github_claims());
        let page = format!("{pages}/octo-org/octo-repo/actions/runs/22259804324/attempts/2");
        let expected = [
            "octo-org/octo-repo",
            "456789",
            "22259804324",
            "2",
            "90000001",
            "refs/heads/main",
            "schedule",
            &page,
        ];
        assert_eq!(told(&run.identity), expected, "{url}");
        assert!(run.names_job);
    }
    // A subject by a template of the organisation's own says less; who it is does not hang on it.
    let mut claims = github_claims();
    claims["sub"] = "repository_owner:octo-org:repository_visibility:private".into();
    let run = of(Platform::Github, "https://token.actions.githubusercontent.com", &claims);
    assert_eq!(run.identity.run.repository_id, "456789");
}

#[test]
fn a_token_of_one_enterprise_is_not_one_of_another() {
    let ours = config(Platform::Github, "https://token.actions.githubusercontent.com/octocat-inc");
    for other in [
        "https://token.actions.githubusercontent.com",
        "https://token.actions.githubusercontent.com/",
        "https://token.actions.githubusercontent.com/octocat-inc/",
        "https://token.actions.githubusercontent.com/Octocat-inc",
        "https://token.actions.githubusercontent.com/octocat-inc/x",
    ] {
        let mut claims = github_claims();
        claims["iss"] = other.into();
        assert!(identify(&ours, &claims).is_err(), "{other}");
    }
}

#[test]
fn a_repositorys_name_cannot_make_a_link_elsewhere() {
    for name in ["../../evil", "a/../b", "", "a//b"] {
        let mut claims = github_claims();
        claims["repository"] = name.into();
        let run = of(Platform::Github, "https://token.actions.githubusercontent.com", &claims);
        assert_eq!(run.identity.run_url, None, "{name}");
    }
    let mut claims = github_claims();
    claims["repository"] = "a/b?c=d#e".into();
    let run = of(Platform::Github, "https://token.actions.githubusercontent.com", &claims);
    let page = "https://github.com/a/b%3Fc=d%23e/actions/runs/22259804324/attempts/2";
    assert_eq!(run.identity.run_url.as_deref(), Some(page));
}

/// <https://buildkite.com/docs/agent/v3/cli-oidc>
fn buildkite_claims() -> Value {
    json!({
        "sub": "organization:acme:pipeline:shop:ref:refs/heads/main:commit:b5ff:step:",
        "organization_slug": "acme", "pipeline_slug": "shop", "build_number": 5, "build_branch": "main",
        "build_tag": null, "build_commit": "b5ffe3aeea51cec6c41aef16e45ee6bce47d8810", "step_key": null,
        "job_id": "01945ecf-80f0-41e8-9b83-a2970a9305a1", "agent_id": "01945ecf-8bcf-40a6-9d70-a765db9a0928",
        "build_source": "schedule", "runner_environment": "buildkite-hosted",
        "organization_id": "0194-o", "pipeline_id": "0194-p",
    })
}

#[test]
fn buildkite_claims_become_the_same_identity() {
    let url = "https://agent.buildkite.com";
    let run = of(Platform::Buildkite, url, &buildkite_claims());
    let job = "01945ecf-80f0-41e8-9b83-a2970a9305a1";
    let page = "https://buildkite.com/acme/shop/builds/5";
    let expected = ["acme/shop", "0194-p", "5", "1", job, "refs/heads/main", "schedule", page];
    assert_eq!(told(&run.identity), expected);
    // Numbers are their texts, and null is not there.
    assert_eq!(run.identity.claims["build_number"], "5");
    assert!(!run.identity.claims.contains_key("step_key"));
    let mut tag = buildkite_claims();
    tag["build_tag"] = "v1".into();
    assert_eq!(of(Platform::Buildkite, url, &tag).identity.git_ref, "refs/tags/v1");
    for needed in ["job_id", "build_number", "pipeline_slug", "organization_slug", "sub"] {
        let mut claims = buildkite_claims();
        claims[needed] = Value::Null;
        assert!(identify(&config(Platform::Buildkite, url), &claims).is_err(), "{needed}");
    }
}

fn circleci_claims() -> Value {
    json!({
        "sub": "org/o/project/p/user/u", "jti": null,
        "oidc.circleci.com/org-id": "o", "oidc.circleci.com/project-id": "p",
        "oidc.circleci.com/job-id": "job-1", "oidc.circleci.com/workflow-id": "w",
        "oidc.circleci.com/vcs-origin": "github.com/acme/shop", "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/context-ids": ["c1", "c2"], "oidc.circleci.com/ssh-rerun": false,
    })
}

fn circleci() -> IssuerConfig {
    IssuerConfig {
        once: "oidc.circleci.com/job-id".into(),
        ..config(Platform::Circleci, "https://oidc.circleci.com/org/o")
    }
}

#[test]
fn circleci_has_no_jti_so_its_job_is_used_once() {
    let run = identify(&circleci(), &circleci_claims()).unwrap();
    let page = "https://app.circleci.com/pipelines/workflows/w";
    let expected = ["github.com/acme/shop", "p", "w", "1", "job-1", "refs/heads/main", "", page];
    assert_eq!(told(&run.identity), expected);
    assert_eq!(run.once, "oidc.circleci.com/job-id:job-1");
    assert_eq!(run.identity.claims["oidc.circleci.com/context-ids"], r#"["c1","c2"]"#);
    assert_eq!(run.identity.claims["oidc.circleci.com/ssh-rerun"], "false");
    // For one key, a job may come again, with another key and another session.
    let mut bound = circleci_claims();
    bound["aud"] = format!("{AUDIENCE}#{THUMBPRINT}").into();
    let run = identify(&circleci(), &bound).unwrap();
    assert_eq!(run.once, format!("oidc.circleci.com/job-id:job-1#{THUMBPRINT}"));
    let mut nameless = circleci_claims();
    nameless["oidc.circleci.com/job-id"] = "".into();
    assert!(identify(&circleci(), &nameless).is_err());
}

fn azure_claims() -> Value {
    json!({
        "sub": "p://example/test oidc/nightly", "aud": "api://AzureADTokenExchange",
        "org_id": "o", "prj_id": "p", "def_id": "7", "rpo_id": "r",
        "rpo_uri": "https://dev.azure.com/example/shop/_git/shop", "rpo_ver": "c0ffee",
        "rpo_ref": "refs/heads/main", "run_id": "42",
    })
}

#[test]
fn azure_tokens_are_for_one_audience_and_name_no_job() {
    let mut azure = config(Platform::AzureDevops, "https://vstoken.dev.azure.com/o");
    // The broker's audience is none that Azure could name.
    assert!(identify(&azure, &azure_claims()).is_err());
    azure.audiences = vec!["api://AzureADTokenExchange".into()];
    let run = identify(&azure, &azure_claims()).unwrap();
    let page = "https://dev.azure.com/example/test%20oidc/_build/results?buildId=42";
    let repository = "https://dev.azure.com/example/shop/_git/shop";
    assert_eq!(told(&run.identity), [repository, "p", "42", "1", "", "refs/heads/main", "", page]);
    assert!(!run.names_job);
}

#[test]
fn bitbucket_ids_keep_their_braces() {
    let url = "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc";
    let bitbucket = IssuerConfig { once: "stepUuid".into(), ..config(Platform::Bitbucket, url) };
    let claims = json!({
        "sub": "{r}:{s}", "jti": null, "repositoryUuid": "{r}", "workspaceUuid": "{w}", "pipelineUuid": "{p}",
        "stepUuid": "{s}", "branchName": "main",
    });
    let run = identify(&bitbucket, &claims).unwrap();
    assert_eq!(told(&run.identity), ["{r}", "{r}", "{p}", "1", "{s}", "refs/heads/main", "", ""]);
    assert_eq!(run.once, "stepUuid:{s}");
    // A step can ask for a token for ten audiences at once: each of the others could show it here.
    let mut several = claims.clone();
    several["aud"] = json!([AUDIENCE, "https://other.example"]);
    assert!(identify(&bitbucket, &several).is_err());
    let allowed = IssuerConfig { multi_audience: true, ..bitbucket };
    assert!(identify(&allowed, &several).is_ok());
    several["aud"] = json!(["https://other.example"]);
    assert!(identify(&allowed, &several).is_err());
}

fn kubernetes_claims() -> Value {
    json!({
        "sub": "system:serviceaccount:ci:backup", "aud": [AUDIENCE],
        "kubernetes.io": {
            "namespace": "ci", "node": { "name": "n", "uid": "nu" }, "pod": { "name": "backup-1", "uid": "pu" },
            "serviceaccount": { "name": "backup", "uid": "su" }, "warnafter": 1_700_000_000,
        },
    })
}

#[test]
fn kubernetes_claims_are_nested_and_name_a_pod() {
    let url = "https://oidc.eks.eu-1.amazonaws.com/id/A";
    let run = of(Platform::Kubernetes, url, &kubernetes_claims());
    assert_eq!(told(&run.identity), ["ci/backup", "su", "pu", "1", "backup-1", "", "", ""]);
    assert_eq!(run.identity.claims["/kubernetes.io/serviceaccount/uid"], "su");
    // A token that is not bound to a pod (a secret of an old cluster, `kubectl create token`) says of no run.
    let mut unbound = kubernetes_claims();
    unbound["kubernetes.io"]["pod"] = Value::Null;
    assert!(identify(&config(Platform::Kubernetes, url), &unbound).is_err());
    let mut forever = kubernetes_claims();
    forever["exp"] = Value::Null;
    assert!(identify(&config(Platform::Kubernetes, url), &forever).is_err());
}

fn generic() -> IssuerConfig {
    IssuerConfig {
        once: "/build/token".into(),
        run: Some(RunClaims {
            repository_id: "/build/project".into(),
            run_id: "/build/number".into(),
            job: None,
            attempt: Some("try".into()),
            repository: Some("name".into()),
            git_ref: Some("/build/ref".into()),
            event: None,
            workflow: None,
            actor: None,
        }),
        ..config(Platform::Oidc, "https://ci.corp.example/oidc")
    }
}

#[test]
fn a_generic_issuers_claims_are_named_by_its_configuration() {
    let claims = json!({
        "sub": "job", "name": "shop", "try": 2, "jti": null,
        "build": { "project": 7, "number": "12", "ref": "refs/heads/main", "token": "t-1" },
    });
    let run = identify(&generic(), &claims).unwrap();
    assert_eq!(told(&run.identity), ["shop", "7", "12", "2", "", "refs/heads/main", "", ""]);
    assert_eq!((run.once.as_str(), run.names_job), ("/build/token:t-1", false));
    // Nothing outside passes for what is inside.
    let mut forged = claims.clone();
    forged["build"] = Value::Null;
    forged["/build/project"] = "7".into();
    forged["/build/number"] = "12".into();
    forged["/build/token"] = "t-1".into();
    assert!(identify(&generic(), &forged).is_err());
    // An id that was rounded is none.
    let mut rounded = claims;
    rounded["build"]["project"] = json!(1e30);
    assert!(identify(&generic(), &rounded).is_err());
}

#[test]
fn a_token_that_is_not_for_the_sessions_key_is_refused_where_it_must_be() {
    let bound = IssuerConfig {
        bind: Bind::Key,
        ..config(Platform::Github, "https://token.actions.githubusercontent.com")
    };
    let unbound = IssuerConfig { bind: Bind::None, ..bound.clone() };
    let other = THUMBPRINT.replace('0', "1");
    for (aud, with_key, without) in [
        (format!("{AUDIENCE}#{THUMBPRINT}"), true, true),
        (AUDIENCE.to_owned(), false, true),
        // It names a key, so it is for no other, whatever `bind` says.
        (format!("{AUDIENCE}#{other}"), false, false),
        (format!("{AUDIENCE}#"), false, false),
        (format!("{AUDIENCE}#{THUMBPRINT}#"), false, false),
        (format!("{AUDIENCE}##{THUMBPRINT}"), false, false),
        (format!("{AUDIENCE}.evil#{THUMBPRINT}"), false, false),
        (THUMBPRINT.to_owned(), false, false),
        (format!("#{THUMBPRINT}"), false, false),
        (format!("https://github.com/octo-org#{THUMBPRINT}"), false, false),
    ] {
        let mut claims = github_claims();
        claims["aud"] = aud.clone().into();
        assert_eq!(identify(&bound, &claims).is_ok(), with_key, "{aud}");
        assert_eq!(identify(&unbound, &claims).is_ok(), without, "{aud}");
    }
}

#[test]
fn a_job_token_that_lives_as_long_as_its_job_is_taken_while_it_is_young() {
    let gitlab = IssuerConfig {
        max_token_age: Duration::from_secs(600),
        ..config(Platform::Gitlab, "https://gitlab.example.com")
    };
    let now = Timestamp::now().as_second();
    let mut claims = json!({
        "sub": "project_path:g/p:ref_type:branch:ref:main", "project_id": "20", "pipeline_id": "574",
        "job_id": "302", "project_path": "g/p", "iat": now - 500, "exp": now + 20_000,
    });
    assert!(identify(&gitlab, &claims).is_ok());
    claims["iat"] = (now - 661).into();
    assert!(identify(&gitlab, &claims).is_err());
}
