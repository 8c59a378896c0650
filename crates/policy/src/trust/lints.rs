//! Rules that are too broad do not load; what a reviewer should look at is said.

use guard_core::{
    Platform,
    document::{Node, Problems},
};

use super::{TrustIssuer, claims, condition::Conditions, strangers};

/// A rule that strangers, or everybody who can push a branch, could meet does not load. `or` is what can be done instead.
pub(super) fn narrow(
    node: &Node,
    issuer: &TrustIssuer,
    conditions: &Conditions,
    or: &str,
    problems: &mut Problems,
) {
    let pinned = |group: &Vec<&str>| group.iter().all(|claim| conditions.pins(claim));
    let ids = claims::ids(issuer);
    if !ids.iter().any(pinned) {
        let ids = words(&ids);
        let (message, help) = match issuer.platform {
            Platform::Kubernetes => (
                format!("the rule is not bound to a service account by {ids}"),
                format!("add {ids}{or}"),
            ),
            Platform::Github
            | Platform::Gitlab
            | Platform::Buildkite
            | Platform::Circleci
            | Platform::AzureDevops
            | Platform::Bitbucket
            | Platform::Oidc => (
                format!("the rule is not bound to a repository by {ids}"),
                format!("names can be taken over by others, ids cannot: add {ids}{or}"),
            ),
        };
        node.problem_with_help(problems, message, help);
    }
    if !issuer.tenants.is_empty() && !issuer.tenants.iter().any(|claim| conditions.pins(claim)) {
        let tenants = words(&issuer.tenants.iter().map(|claim| vec![*claim]).collect::<Vec<_>>());
        node.problem_with_help(
            problems,
            "the issuer signs for strangers, too, and the rule does not say whose pipelines are meant",
            format!("add {tenants} here or under the issuer's `require`{or}"),
        );
    }
    if !strangers::is_gate(issuer, conditions) {
        let gates = words(&claims::gates(issuer));
        node.problem_with_help(
            problems,
            "whoever can push a branch to the repository could meet the rule",
            format!("add {gates} (exact, not a glob){or}"),
        );
    }
    for event in strangers::named_strangers(issuer, conditions) {
        node.problem_with_help(
            problems,
            format!("event `{event}` can run strangers' code with the repository's trust"),
            if or.is_empty() {
                "take it out"
            } else {
                "take it out, or say why it is safe here in `allow_broad`"
            },
        );
    }
}

/// Groups of claims as a sentence names them.
fn words(groups: &[Vec<&str>]) -> String {
    let groups: Vec<String> = groups
        .iter()
        .map(|group| {
            group.iter().map(|claim| format!("`{claim}`")).collect::<Vec<_>>().join(" and ")
        })
        .collect();
    groups.join(", or ")
}

/// What may be meant and often is not.
pub(super) fn advise(
    node: &Node,
    issuer: &TrustIssuer,
    conditions: &Conditions,
    advice: &mut Problems,
) {
    let names = |claim: &str| conditions.names(claim);
    let mut say = |message: &str, help: &str| node.problem_with_help(advice, message, help);
    let self_hosted = |claim: &str| conditions.names_value(claim, "self-hosted");
    match issuer.platform {
        Platform::Github => {
            if !["workflow_ref", "workflow_sha", "environment", "job_workflow_ref"]
                .into_iter()
                .any(names)
            {
                say(
                    "any workflow of the ref can meet the rule",
                    "`workflow_ref` or a protected `environment` says which one is meant",
                );
            }
            let refs = ["ref", "ref_protected", "workflow_ref", "sha", "workflow_sha"];
            if names("environment") && !refs.into_iter().any(names) {
                say(
                    "an environment that nobody protects can be named by any branch, and the token does not say whether it is protected",
                    "add `ref` or `ref_protected`",
                );
            }
            if self_hosted("runner_environment") && !names("environment") {
                say(
                    "self-hosted runners keep what a job leaves behind for the next one",
                    "add a protected `environment`, or use runners that are made for one job",
                );
            }
        }
        Platform::Gitlab => {
            if !names("job_project_id") {
                say(
                    "the rule does not say in which project the job runs (`job_project_id`)",
                    "GitLab before 18.4 does not say that a fork's merge request runs here; newer ones do, and guard refuses these",
                );
            }
            if names("ref") && !["ref_path", "ref_type", "ref_protected"].into_iter().any(names) {
                say(
                    "a tag can have the name of the branch",
                    "write `ref_path: refs/heads/…` instead of `ref`",
                );
            }
            if names("environment") && !names("environment_protected") {
                say(
                    "an environment that nobody protects can be named by any branch",
                    "add `environment_protected: true`",
                );
            }
            if self_hosted("runner_environment") && !names("runner_id") {
                say(
                    "self-hosted runners keep what a job leaves behind for the next one",
                    "name the runners (`runner_id`), or use those that are made for one job",
                );
            }
        }
        Platform::Buildkite => {
            if names("build_branch") && !names("build_source") {
                say(
                    "a fork's branch has the name that it likes",
                    "let Buildkite prefix branches of forks, or not build them; `build_source: schedule` keeps pull requests out",
                );
            }
        }
        Platform::Kubernetes => {
            if names("sub") && !names("/kubernetes.io/serviceaccount/uid") {
                say(
                    "a service account that was removed can be made again by others under its name",
                    "add `/kubernetes.io/serviceaccount/uid`",
                );
            }
        }
        Platform::Circleci | Platform::AzureDevops | Platform::Bitbucket | Platform::Oidc => {}
    }
}
