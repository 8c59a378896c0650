//! Ways into other brokers, each by its name, and that they are shut here.

use guard_core::{Identity, Platform, Timestamp};

use super::{Request, TrustRules, admit, context, github, identity, load};
use crate::{Gate, Outcome};

/// A rule on claims, as a file.
fn rule(platform: Platform, claims: &str) -> String {
    format!(
        "- name: r\n  issuer: {}\n  claims: {claims}\n  grants: [{{ resource: orders, policy: read, for: 5m }}]\n",
        platform.as_str()
    )
}

fn broad(platform: Platform, claims: &str) -> String {
    format!("{}  allow_broad: a test\n", rule(platform, claims))
}

#[track_caller]
fn does_not_load(platform: Platform, claims: &str, because: &str) {
    let problems = load(&rule(platform, claims)).unwrap_err();
    assert!(problems.contains(because), "{claims}\n{problems}");
    assert!(load(&broad(platform, claims)).is_ok(), "{claims}");
}

#[test]
fn a_rule_without_any_condition_on_the_subject_does_not_load() {
    for platform in Platform::ALL {
        let problems = load(&rule(platform, "{}")).unwrap_err();
        assert!(problems.contains("would let every run in"), "{problems}");
        // Not even with a reason.
        assert!(load(&broad(platform, "{}")).is_err());
    }
}

#[test]
fn a_wildcard_does_not_cross_a_separator() {
    let glob = |glob: &str| {
        rule(
            Platform::Github,
            &format!(
                "{{ repository_id: 456789, ref_protected: true, ref: {{ glob: \"{glob}\" }} }}"
            ),
        )
    };
    let who =
        |git_ref: &'static str| github(&[("ref", Some(git_ref)), ("ref_protected", Some("true"))]);
    let release = glob("refs/heads/release-*");
    assert!(admit(&release, &who("refs/heads/release-1"), &[]).is_ok());
    for git_ref in
        ["refs/heads/release-1/x", "refs/heads/release-", "refs/heads/main", "refs/tags/release-1"]
    {
        assert!(admit(&release, &who(git_ref), &[]).is_err(), "{git_ref}");
    }
    for text in ["*", "**", "refs/**", "a.*b|c?", "^refs/[a-z]*$", "main"] {
        assert!(load(&glob(text)).is_err(), "{text}");
    }
}

#[test]
fn a_wildcard_subject_of_an_organisation_binds_nothing() {
    let claims = "{ sub: { glob: \"repo:acme/*:ref:refs/heads/main\" } }";
    does_not_load(Platform::Github, claims, "is not bound to a repository");
    let other = github(&[("sub", Some("repo:acme/shop:environment:x:ref:refs/heads/main"))]);
    assert!(admit(&broad(Platform::Github, claims), &other, &[]).is_err());
}

#[test]
fn what_looks_like_a_regular_expression_is_a_text() {
    let text = broad(Platform::Github, "{ repository: \"acme/(shop|other)\" }");
    for repository in ["acme/shop", "acme/other", "x)|("] {
        assert!(admit(&text, &github(&[("repository", Some(repository))]), &[]).is_err());
    }
    let literal = github(&[("repository", Some("acme/(shop|other)"))]);
    assert!(admit(&text, &literal, &[]).is_ok());
}

#[test]
fn ids_cannot_be_globbed() {
    for (platform, claims) in [
        (Platform::Github, "{ repository_id: { glob: \"45*\" }, ref: refs/heads/main }"),
        (Platform::Gitlab, "{ project_id: { glob: \"2*\" }, ref: main }"),
        (Platform::Bitbucket, "{ repositoryUuid: { glob: \"{a*\" }, branchName: main }"),
        (Platform::Circleci, "{ oidc.circleci.com/project-id: { glob: \"a*\" } }"),
        (Platform::Kubernetes, "{ /kubernetes.io/serviceaccount/uid: { glob: \"a*\" } }"),
    ] {
        let problems = load(&broad(platform, claims)).unwrap_err();
        assert!(problems.contains("is an id"), "{problems}");
    }
}

#[test]
fn a_recycled_name_is_not_enough() {
    let repository = "is not bound to a repository";
    does_not_load(Platform::Github, "{ repository: acme/shop, ref: refs/heads/main }", repository);
    does_not_load(Platform::Gitlab, "{ project_path: g/p, ref_path: refs/heads/main }", repository);
    does_not_load(
        Platform::Buildkite,
        "{ organization_id: a, pipeline_slug: p, build_branch: main }",
        repository,
    );
    does_not_load(Platform::AzureDevops, "{ def_id: 7, rpo_ref: refs/heads/main }", repository);
    does_not_load(
        Platform::AzureDevops,
        "{ sub: \"p://o/p/x\", rpo_ref: refs/heads/main }",
        repository,
    );
    does_not_load(Platform::Oidc, "{ /ci/ref: main }", repository);
    let account = "is not bound to a service account";
    does_not_load(Platform::Kubernetes, "{ /kubernetes.io/namespace: ci }", account);
    // The name that somebody took over, with the id of who had it.
    let text = rule(
        Platform::Github,
        "{ repository: acme/shop, repository_id: 456789, ref: refs/heads/main }",
    );
    assert!(admit(&text, &github(&[("repository_id", Some("999"))]), &[]).is_err());
}

#[test]
fn a_pattern_on_a_branch_is_no_gate() {
    let push = "whoever can push a branch";
    let glob = "{ glob: \"refs/heads/release-*\" }";
    does_not_load(Platform::Github, &format!("{{ repository_id: 1, ref: {glob} }}"), push);
    does_not_load(
        Platform::Github,
        &format!("{{ repository_id: 1, ref: [refs/heads/main, {glob}] }}"),
        push,
    );
    does_not_load(Platform::Gitlab, "{ project_id: 1, ref: { glob: \"release-*\" } }", push);
    does_not_load(
        Platform::Bitbucket,
        "{ repositoryUuid: \"{a}\", branchName: { glob: \"r-*\" } }",
        push,
    );
    assert!(
        load(&rule(
            Platform::Github,
            &format!("{{ repository_id: 1, ref: {glob}, ref_protected: true }}")
        ))
        .is_ok()
    );
}

#[test]
fn job_workflow_ref_is_no_gate_on_the_ref() {
    let claims =
        "{ repository_id: 1, job_workflow_ref: \"o/ci/.github/workflows/g.yml@refs/tags/v3\" }";
    does_not_load(Platform::Github, claims, "whoever can push a branch");
}

#[test]
fn claims_that_a_user_can_choose_are_no_gate() {
    let push = "whoever can push a branch";
    for claims in [
        "{ repository_id: 1, workflow: nightly }",
        "{ repository_id: 1, actor: alice }",
        "{ repository_id: 1, actor_id: 7 }",
        "{ repository_id: 1, head_ref: main }",
        "{ repository_id: 1, event_name: schedule }",
    ] {
        does_not_load(Platform::Github, claims, push);
    }
    does_not_load(
        Platform::Gitlab,
        "{ project_id: 1, user_login: alice, user_email: a@b.c }",
        push,
    );
    does_not_load(
        Platform::Buildkite,
        "{ organization_id: a, pipeline_id: p, step_key: deploy }",
        push,
    );
}

#[test]
fn a_circleci_ref_without_its_origin_is_no_gate() {
    let project = "oidc.circleci.com/project-id: p";
    let vcs_ref = "oidc.circleci.com/vcs-ref: refs/heads/main";
    let push = "whoever can push a branch";
    does_not_load(Platform::Circleci, &format!("{{ {project}, {vcs_ref} }}"), push);
    let whole =
        format!("{{ {project}, {vcs_ref}, oidc.circleci.com/vcs-origin: github.com/acme/shop }}");
    assert!(load(&rule(Platform::Circleci, &whole)).is_ok());
    let fork = [
        ("oidc.circleci.com/project-id", "p"),
        ("oidc.circleci.com/vcs-ref", "refs/heads/main"),
        ("oidc.circleci.com/vcs-origin", "github.com/stranger/shop"),
        ("oidc.circleci.com/ssh-rerun", "false"),
    ];
    assert!(
        admit(&rule(Platform::Circleci, &whole), &identity(Platform::Circleci, &fork), &[])
            .is_err()
    );
}

#[test]
fn a_circleci_job_with_a_shell_in_it_is_refused() {
    let claims =
        "{ oidc.circleci.com/project-id: p, oidc.circleci.com/context-ids: { contains: c1 } }";
    let who = |rerun: Option<&'static str>| {
        let mut claims = vec![
            ("oidc.circleci.com/project-id", "p"),
            ("oidc.circleci.com/context-ids", r#"["c0","c1"]"#),
        ];
        claims.extend(rerun.map(|value| ("oidc.circleci.com/ssh-rerun", value)));
        identity(Platform::Circleci, &claims)
    };
    let text = rule(Platform::Circleci, claims);
    assert!(admit(&text, &who(Some("false")), &[]).is_ok());
    assert!(admit(&text, &who(Some("true")), &[]).unwrap_err().contains("a shell"));
    assert!(admit(&text, &who(None), &[]).is_err());
    let named =
        text.replace("context-ids:", "ssh-rerun: [true, false], oidc.circleci.com/context-ids:");
    assert!(admit(&named, &who(Some("true")), &[]).is_ok());
}

#[test]
fn a_text_that_looks_like_a_list_holds_nothing() {
    // `contains` is for claims that are always lists; a branch may be called `["c1"]`.
    let problems = load(&broad(Platform::Github, "{ ref: { contains: main } }")).unwrap_err();
    assert!(problems.contains("`ref` is no list"), "{problems}");
    let text = broad(Platform::Gitlab, "{ groups_direct: { contains: acme/dba } }");
    for (groups, holds) in [
        (r#"["acme/dba"]"#, true),
        (r#"["x","acme/dba"]"#, true),
        (r#"["acme/dba2"]"#, false),
        (r#"[["acme/dba"]]"#, false),
        ("acme/dba", false),
        ("[]", false),
    ] {
        let who = identity(Platform::Gitlab, &[("groups_direct", groups)]);
        assert_eq!(admit(&text, &who, &[]).is_ok(), holds, "{groups}");
    }
    // A value is the whole list or nothing: one item of two is not it.
    let exact = broad(Platform::Gitlab, "{ groups_direct: acme/dba }");
    let who = identity(Platform::Gitlab, &[("groups_direct", r#"["acme/dba"]"#)]);
    assert!(admit(&exact, &who, &[]).is_err());
}

#[test]
fn a_forks_merge_request_that_runs_in_the_parent_is_refused() {
    let who = |project: &'static str, job: Option<&'static str>| {
        let mut claims = vec![("project_id", project), ("ref_path", "refs/heads/main")];
        claims.extend(job.map(|job| ("job_project_id", job)));
        identity(Platform::Gitlab, &claims)
    };
    let here = rule(Platform::Gitlab, "{ project_id: 20, ref_path: refs/heads/main }");
    assert!(admit(&here, &who("20", Some("20")), &[]).is_ok());
    // Before 18.4 the claim is not there.
    assert!(admit(&here, &who("20", None), &[]).is_ok());
    assert!(
        admit(&here, &who("20", Some("21")), &[]).unwrap_err().contains("a fork's merge request")
    );
    let parent = broad(Platform::Gitlab, "{ job_project_id: 20, ref_path: refs/heads/main }");
    assert!(admit(&parent, &who("66", Some("20")), &[]).is_err());
    assert!(admit(&parent, &who("20", Some("20")), &[]).is_ok());
    let both =
        rule(Platform::Gitlab, "{ project_id: 66, job_project_id: 20, ref_path: refs/heads/main }");
    assert!(admit(&both, &who("66", Some("20")), &[]).is_ok());
}

#[test]
fn a_shared_issuer_without_its_tenant_does_not_load() {
    let claims = "{ pipeline_id: p, build_branch: main }";
    does_not_load(Platform::Buildkite, claims, "the issuer signs for strangers");
    let pinned = "{ organization_id: o, pipeline_id: p, build_branch: main }";
    assert!(load(&rule(Platform::Buildkite, pinned)).is_ok());
    let other = [("organization_id", "x"), ("pipeline_id", "p"), ("build_branch", "main")];
    assert!(
        admit(&rule(Platform::Buildkite, pinned), &identity(Platform::Buildkite, &other), &[])
            .is_err()
    );
}

#[test]
fn braces_of_bitbucket_are_part_of_the_value() {
    let problems =
        load(&rule(Platform::Bitbucket, "{ repositoryUuid: a-b, branchName: main }")).unwrap_err();
    assert!(problems.contains("these have braces"), "{problems}");
    let text = rule(Platform::Bitbucket, "{ repositoryUuid: \"{a-b}\", branchName: main }");
    let who = |uuid: &str| {
        identity(Platform::Bitbucket, &[("repositoryUuid", uuid), ("branchName", "main")])
    };
    assert!(admit(&text, &who("{a-b}"), &[]).is_ok());
    assert!(admit(&text, &who("a-b"), &[]).is_err());
}

#[test]
fn nested_claims_are_named_by_pointers() {
    let text = rule(
        Platform::Kubernetes,
        "{ /kubernetes.io/namespace: ci, /kubernetes.io/serviceaccount/name: backup }",
    );
    let namespace = |claim: &str| {
        identity(
            Platform::Kubernetes,
            &[(claim, "ci"), ("/kubernetes.io/serviceaccount/name", "backup")],
        )
    };
    assert!(admit(&text, &namespace("/kubernetes.io/namespace"), &[]).is_ok());
    // A claim of that name on the outside is kept under another.
    assert!(admit(&text, &namespace("/~1kubernetes.io~1namespace"), &[]).is_err());
    assert!(admit(&text, &namespace("kubernetes.io/namespace"), &[]).is_err());
    assert!(
        load(&rule(Platform::Kubernetes, "{ sub: \"system:serviceaccount:ci:backup\" }")).is_ok()
    );
}

#[test]
fn claims_of_a_generic_issuer_must_be_declared() {
    let text = "{ /ci/project: \"7\", /ci/ref: refs/heads/main }";
    assert!(load(&rule(Platform::Oidc, text)).is_ok());
    let problems = load(&rule(Platform::Oidc, "{ sub: x, /ci/projekt: \"7\" }")).unwrap_err();
    assert!(problems.contains("`/ci/projekt` is no claim"), "{problems}");
    assert!(problems.contains("name others under the issuer's `claims`"), "{problems}");
    // One claim in two writings is one claim.
    let twice = load(&rule(Platform::Oidc, "{ sub: x, /sub: y }")).unwrap_err();
    assert!(twice.contains("in another writing"), "{twice}");
}

#[test]
fn an_environment_alone_is_something_to_look_at() {
    let advice =
        |claims: &str, platform| load(&rule(platform, claims)).unwrap().advice().to_string();
    let alone = advice("{ repository_id: 1, environment: prod }", Platform::Github);
    assert!(alone.contains("can be named by any branch"), "{alone}");
    let both =
        advice("{ repository_id: 1, environment: prod, ref: refs/heads/main }", Platform::Github);
    assert_eq!(both, "");
    let runner = "{ repository_id: 1, workflow_ref: w, runner_environment: self-hosted }";
    assert!(advice(runner, Platform::Github).contains("self-hosted"));
    let fork = advice("{ project_id: 1, ref: main }", Platform::Gitlab);
    assert!(fork.contains("job_project_id"), "{fork}");
    assert!(fork.contains("a tag can have the name of the branch"), "{fork}");
    let protected =
        "{ project_id: 1, job_project_id: 1, environment: p, environment_protected: true }";
    assert_eq!(advice(protected, Platform::Gitlab), "");
}

#[test]
fn strangers_events_are_refused_wherever_a_claim_says_what_started_the_run() {
    let text = rule(Platform::Oidc, "{ /ci/project: \"7\", /ci/ref: refs/heads/main }");
    let who = |event: Option<&'static str>| {
        let mut claims = vec![("/ci/project", "7"), ("/ci/ref", "refs/heads/main")];
        claims.extend(event.map(|event| ("/ci/event", event)));
        identity(Platform::Oidc, &claims)
    };
    assert!(admit(&text, &who(Some("push")), &[]).is_ok());
    assert!(
        admit(&text, &who(Some("pull_request_target")), &[]).unwrap_err().contains("strangers")
    );
    assert!(admit(&text, &who(None), &[]).is_err());
    let claims = "{ /ci/project: \"7\", /ci/ref: refs/heads/main, /ci/event: issue_comment }";
    does_not_load(Platform::Oidc, claims, "strangers' code");
    assert!(admit(&broad(Platform::Oidc, claims), &who(Some("issue_comment")), &[]).is_ok());
}

#[test]
fn a_broad_rule_without_a_reason_does_not_load() {
    for reason in ["\"\"", "\"  \"", "", "~"] {
        let text = format!(
            "{}  allow_broad: {reason}\n",
            rule(Platform::Github, "{ repository: acme/shop }")
        );
        assert!(load(&text).is_err(), "{reason:?}");
    }
}

#[test]
fn a_missing_claim_matches_nothing_whatever_is_asked() {
    for condition in ["\"\"", "x", "{ glob: \"x*\" }", "[a, \"\", b]"] {
        let text = broad(Platform::Github, &format!("{{ environment: {condition} }}"));
        assert!(admit(&text, &github(&[]), &[]).is_err(), "{condition}");
    }
}

fn outcomes(rules: &TrustRules, who: &Identity) -> Vec<(String, Outcome)> {
    rules.explain(who).into_iter().map(|e| (e.rule.to_owned(), e.outcome)).collect()
}

#[test]
fn an_explanation_names_the_rule_and_the_first_gate_of_each_other() {
    let file = |name: &str, claims: &str| {
        rule(Platform::Github, claims).replace("name: r", &format!("name: {name}"))
    };
    let files = [
        ("a".to_owned(), file("a", "{ repository_id: 1, ref: refs/heads/main }")),
        ("b".to_owned(), file("b", "{ repository_id: 456789, ref: refs/heads/main }")),
        ("c".to_owned(), file("c", "{ repository_id: 456789, ref: refs/heads/main }")),
        ("d".to_owned(), file("d", "{ ref: refs/heads/x, repository_id: 1 }")),
        ("e".to_owned(), rule(Platform::Gitlab, "{ project_id: 1, ref: x }")),
    ];
    let rules = TrustRules::parse(&files, &context()).unwrap();
    let failed = |name: &str, reason: &str| {
        Outcome::Refuses(Gate { name: name.into(), reason: reason.into(), hint: None })
    };
    let grants = vec![("orders".into(), "read".into(), std::time::Duration::from_secs(300))];
    let who = github(&[]);
    assert_eq!(
        outcomes(&rules, &who),
        [
            ("a".to_owned(), failed("repository_id", "claim `repository_id` is `456789`")),
            ("b".to_owned(), Outcome::Admits(grants)),
            ("c".to_owned(), Outcome::Behind("b".into())),
            ("d".to_owned(), failed("ref", "claim `ref` is `refs/heads/main`")),
            ("r".to_owned(), failed("issuer", "it is for issuer `gitlab`")),
        ]
    );
    // What is explained is what happens.
    let admitted = rules.admit(&who, &Request::default(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(admitted.rule, "b");
}
