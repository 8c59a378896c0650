//! Who is let in, who is not, and which rules do not load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod pitfalls;

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{Identity, Platform, PolicyName, ResourceName, RunKey, Timestamp};

use super::{Request, TrustContext, TrustIssuer, TrustRules};

const NIGHTLY: &str = "- name: nightly
  issuer: github
  claims:
    repository_id: \"456789\"
    ref: refs/heads/main
    event_name: [schedule, workflow_dispatch]
  grants:
    - { resource: orders, policy: read, for: 45m }
    - { resource: billing, policy: read, for: 1h }
";

fn context() -> TrustContext {
    let resource = |name| ResourceName::new(name).unwrap();
    TrustContext {
        issuers: Platform::ALL.map(|p| (p.as_str().to_owned(), issuer(p))).into(),
        resources: [resource("orders"), resource("billing")].into(),
        policies: [PolicyName::new("read").unwrap()].into(),
    }
}

fn issuer(platform: Platform) -> TrustIssuer {
    let generic = platform == Platform::Oidc;
    let own = |claim: &str| generic.then(|| claim.to_owned());
    TrustIssuer {
        platform,
        claims: ["/ci/project", "/ci/ref", "/ci/event", "job"]
            .into_iter()
            .filter_map(own)
            .collect::<BTreeSet<_>>(),
        repository_id: own("/ci/project"),
        git_ref: own("/ci/ref"),
        event: own("/ci/event"),
        tenants: match platform {
            Platform::Buildkite => &["organization_id"],
            Platform::Github
            | Platform::Gitlab
            | Platform::Circleci
            | Platform::AzureDevops
            | Platform::Bitbucket
            | Platform::Kubernetes
            | Platform::Oidc => &[],
        },
    }
}

fn load(text: &str) -> Result<TrustRules, String> {
    TrustRules::parse(&[("t.yaml".into(), text.into())], &context()).map_err(|p| p.to_string())
}

fn identity(platform: Platform, claims: &[(&str, &str)]) -> Identity {
    let example = Identity::example();
    Identity {
        platform,
        issuer_name: platform.as_str().into(),
        run: RunKey { repository_id: "456789".into(), ..example.run },
        claims: claims.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..example
    }
}

fn github(changes: &[(&str, Option<&str>)]) -> Identity {
    let mut claims: BTreeMap<&str, &str> = [
        ("repository_id", "456789"),
        ("repository", "acme/shop"),
        ("ref", "refs/heads/main"),
        ("event_name", "schedule"),
    ]
    .into();
    for (claim, value) in changes {
        match value {
            Some(value) => claims.insert(claim, value),
            None => claims.remove(claim),
        };
    }
    let claims: Vec<_> = claims.into_iter().collect();
    identity(Platform::Github, &claims)
}

fn admit(text: &str, who: &Identity, resources: &[&str]) -> Result<String, String> {
    let ask =
        Request { resources: resources.iter().map(|n| ResourceName::new(n).unwrap()).collect() };
    let admission = load(text).unwrap().admit(who, &ask, Timestamp::UNIX_EPOCH)?;
    let grants: Vec<_> = admission
        .grants
        .iter()
        .map(|g| format!("{} {} {}", g.resource, g.policy, g.until.as_second()))
        .collect();
    Ok(format!("{}: {}", admission.rule, grants.join(", ")))
}

#[test]
fn a_run_whose_every_claim_matches_gets_the_grants() {
    let all = "nightly: orders read 2700, billing read 3600";
    assert_eq!(admit(NIGHTLY, &github(&[]), &[]).unwrap(), all);
    let one = admit(NIGHTLY, &github(&[]), &["billing", "billing"]).unwrap();
    assert_eq!(one, "nightly: billing read 3600");
}

#[test]
fn a_run_that_differs_in_any_claim_gets_nothing() {
    for change in [
        ("repository_id", Some("456788")),
        ("repository_id", Some("4567890")),
        ("repository_id", Some(" 456789")),
        ("repository_id", None),
        ("ref", Some("refs/heads/main2")),
        ("ref", Some("refs/heads/Main")),
        ("ref", Some("refs/heads/*")),
        ("ref", Some("")),
        ("ref", None),
        ("event_name", Some("push")),
        ("event_name", Some("pull_request_target")),
        ("event_name", Some("schedule,workflow_dispatch")),
        ("event_name", None),
    ] {
        let refused = admit(NIGHTLY, &github(&[change]), &[]);
        assert!(refused.is_err(), "{change:?} {refused:?}");
    }
}

#[test]
fn another_issuer_with_the_same_claims_gets_nothing() {
    let mut other = github(&[]);
    other.issuer_name = "gitlab".into();
    assert!(admit(NIGHTLY, &other, &[]).is_err());
    let mut other = github(&[]);
    other.platform = Platform::Gitlab;
    assert!(admit(NIGHTLY, &other, &[]).is_err());
}

#[test]
fn what_is_not_granted_is_not_given_in_part() {
    let reason = admit(NIGHTLY, &github(&[]), &["orders", "payroll"]).unwrap_err();
    assert_eq!(reason, "rule `nightly` grants nothing on `payroll`");
}

#[test]
fn strangers_events_must_be_named() {
    let rule = |events: &str| {
        format!(
            "- name: r\n  issuer: github\n  claims: {{ repository_id: \"456789\", ref: refs/heads/main{events} }}\n  grants: [{{ resource: orders, policy: read, for: 5m }}]\n"
        )
    };
    for event in ["pull_request_target", "workflow_run", "issue_comment"] {
        let who = github(&[("event_name", Some(event))]);
        assert!(admit(&rule(""), &who, &[]).unwrap_err().contains("strangers"), "{event}");
        let named = rule(&format!(", event_name: {event}"));
        assert!(load(&named).unwrap_err().contains("strangers"), "{event}");
        let named = format!("{named}  allow_broad: it checks nothing out\n");
        assert!(admit(&named, &who, &[]).is_ok(), "{event}");
    }
    assert!(admit(&rule(""), &github(&[("event_name", Some("push"))]), &[]).is_ok());
    assert!(admit(&rule(""), &github(&[("event_name", None)]), &[]).is_err());
}

#[test]
fn the_first_rule_that_matches_is_the_runs() {
    let rule = |name: &str, lasts: &str| NIGHTLY.replace("nightly", name).replace("45m", lasts);
    let files =
        [("b.yaml".to_owned(), rule("second", "2m")), ("a.yaml".to_owned(), rule("first", "1m"))];
    let rules = TrustRules::parse(&files, &context()).unwrap();
    let admitted = rules.admit(&github(&[]), &Request::default(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(admitted.rule, "first");
    let mut swapped = files.clone();
    swapped.reverse();
    assert_eq!(rules.digest(), TrustRules::parse(&swapped, &context()).unwrap().digest());
}

#[test]
fn gitlab_runs_are_matched_by_their_own_claims() {
    let text = "- name: r\n  issuer: gitlab\n  claims: { project_id: 20, ref_path: refs/heads/main, ref_protected: true }\n  grants: [{ resource: orders, policy: read, for: 5m }]\n";
    let claims = [("project_id", "20"), ("ref_path", "refs/heads/main"), ("ref_protected", "true")];
    assert!(admit(text, &identity(Platform::Gitlab, &claims), &[]).is_ok());
    let fork = [("project_id", "21"), ("ref_path", "refs/heads/main"), ("ref_protected", "true")];
    assert!(admit(text, &identity(Platform::Gitlab, &fork), &[]).is_err());
    let open = [("project_id", "20"), ("ref_path", "refs/heads/main"), ("ref_protected", "false")];
    assert!(admit(text, &identity(Platform::Gitlab, &open), &[]).is_err());
}

#[test]
fn a_broad_rule_loads_only_with_a_reason() {
    let rule = |claims: &str, more: &str| {
        format!(
            "- name: r\n  issuer: github\n  claims: {claims}\n{more}  grants: [{{ resource: orders, policy: read, for: 5m }}]\n"
        )
    };
    let repository = "is not bound to a repository";
    let branch = "whoever can push a branch";
    for (claims, expected) in [
        ("{ repository: acme/shop, ref: refs/heads/main }", repository),
        ("{ repository_owner_id: 1, ref: refs/heads/main }", repository),
        ("{ sub: \"repo:acme/shop:ref:refs/heads/main\" }", repository),
        ("{ repository_id: 1 }", branch),
        (
            "{ repository_id: 1, job_workflow_ref: a/b/.github/workflows/c.yml@refs/tags/v1 }",
            branch,
        ),
        ("{ repository_id: 1, workflow: nightly, actor: alice }", branch),
        ("{ repository_id: 1, ref_protected: false }", branch),
        ("{ repository_id: 1, ref_protected: [true, false] }", branch),
        ("{ repository_id: 1, event_name: schedule }", branch),
    ] {
        let problems = load(&rule(claims, "")).unwrap_err();
        assert!(problems.contains(expected), "{claims}\n{problems}");
        let broad = load(&rule(claims, "  allow_broad: a test\n")).unwrap();
        assert_eq!(broad.broad().collect::<Vec<_>>(), [("r", "a test")]);
    }
    for claims in [
        "{ repository_id: 1, ref: refs/heads/main }",
        "{ repository_id: 1, ref_protected: true }",
        "{ repository_id: 1, environment: prod }",
        "{ repository_id: 1, workflow_ref: \"a/b/.github/workflows/c.yml@refs/heads/main\" }",
    ] {
        assert!(load(&rule(claims, "")).is_ok(), "{claims}");
    }
}

#[test]
fn every_problem_of_all_files_is_told_at_once() {
    let files = [
        (
            "a.yaml".to_owned(),
            "- name: Nightly
  issuer: gitub
  claims: {}
  grants: []
- name: r
  issuer: github
  claims: { repository_id: 1, ref: refs/heads/*, color: red }
  grants:
    - { resource: nowhere, policy: none, for: 30s }
    - { resource: orders, policy: read, for: 25h, until: x }
    - { resource: orders, policy: read }
"
            .to_owned(),
        ),
        ("b.yaml".to_owned(), "rules: 1\n".to_owned()),
        ("c.yaml".to_owned(), NIGHTLY.to_owned()),
        ("d.yaml".to_owned(), NIGHTLY.to_owned()),
    ];
    let problems = TrustRules::parse(&files, &context()).unwrap_err().to_string();
    for expected in [
        "a.yaml:1:9: `Nightly` is not a name",
        "a.yaml:2:11: `gitub` is not known here\n  help: one of `azure-devops`, `bitbucket`, ",
        "a.yaml:3:11: no claim stands here",
        "a.yaml:4:11: the list is empty",
        "a.yaml:7:36: `refs/heads/*` holds a `*`",
        "a.yaml:7:50: `color` is no claim of github's tokens",
        "a.yaml:9:19: `nowhere` is not known here\n  help: one of `billing`, `orders`",
        "a.yaml:9:36: `none` is not known here\n  help: one of `read`",
        "a.yaml:9:47: a grant lasts between `1m` and `24h`",
        "a.yaml:10:46: a grant lasts between",
        "a.yaml:10:51: `until` is not known here",
        "a.yaml:11:7: `for` is missing",
        "b.yaml:1:1: expected a list",
        "d.yaml:1:3: a trust rule `nightly` stands above or in another file, too",
    ] {
        assert!(problems.contains(expected), "{expected}\n---\n{problems}");
    }
}

#[test]
fn a_reason_names_each_rule_and_what_failed() {
    let reason = admit(NIGHTLY, &github(&[("ref", Some("refs/heads/dev"))]), &[]).unwrap_err();
    assert_eq!(reason, "no trust rule matches: `nightly`: claim `ref` is `refs/heads/dev`");
    let none = TrustRules::parse(&[], &context()).unwrap();
    let nobody = none.admit(&github(&[]), &Request::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(nobody.unwrap_err(), "there are no trust rules");
}
