//! The claims that platforms' tokens have, and which of them bind a rule to code that was reviewed.

use guard_core::Platform;

use super::TrustIssuer;

/// What is known of a platform's tokens.
struct Vocabulary {
    /// Claims that rules may name.
    claims: &'static [&'static str],
    /// Claims whose names go on with a name of the user's own.
    prefixes: &'static [&'static str],
    /// Those that are always lists.
    lists: &'static [&'static str],
    /// Any one of these groups names a repository and, unlike its name, is never given to another.
    ids: &'static [&'static [&'static str]],
    /// Any one of these groups limits who could have put the code there that runs.
    gates: &'static [&'static [&'static str]],
}

/// <https://docs.github.com/en/actions/reference/security/oidc>, and the two that tokens have beyond it
/// (`ref_protected`, `environment_node_id`). `job_workflow_ref` is no gate: any branch can call the reusable workflow
/// that it names.
const GITHUB: Vocabulary = Vocabulary {
    claims: &[
        "actor",
        "actor_id",
        "base_ref",
        "check_run_id",
        "enterprise",
        "enterprise_id",
        "environment",
        "environment_node_id",
        "event_name",
        "head_ref",
        "job_workflow_ref",
        "job_workflow_sha",
        "ref",
        "ref_protected",
        "ref_type",
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "repository_visibility",
        "run_attempt",
        "run_id",
        "run_number",
        "runner_environment",
        "sha",
        "sub",
        "workflow",
        "workflow_ref",
        "workflow_sha",
    ],
    // Custom properties of repositories.
    prefixes: &["repo_property_"],
    lists: &[],
    ids: &[&["repository_id"]],
    gates: &[
        &["ref"],
        &["ref_protected"],
        &["environment"],
        &["workflow_ref"],
        &["sha"],
        &["workflow_sha"],
    ],
};

/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/>
const GITLAB: Vocabulary = Vocabulary {
    claims: &[
        "ci_config_ref_uri",
        "ci_config_sha",
        "deployment_tier",
        "environment",
        "environment_action",
        "environment_protected",
        "groups_direct",
        "/job_config/sha",
        "/job_config/url",
        "job_id",
        "job_namespace_id",
        "job_namespace_path",
        "job_project_id",
        "job_project_path",
        "job_source",
        "namespace_id",
        "namespace_path",
        "pipeline_id",
        "pipeline_source",
        "project_id",
        "project_path",
        "project_visibility",
        "ref",
        "ref_path",
        "ref_protected",
        "ref_type",
        "runner_environment",
        "runner_id",
        "sha",
        "sub",
        "user_access_level",
        "user_email",
        "user_id",
        "user_identities",
        "user_login",
    ],
    prefixes: &[],
    lists: &["groups_direct"],
    ids: &[&["project_id"]],
    gates: &[
        &["ref"],
        &["ref_path"],
        &["ref_protected"],
        &["environment"],
        &["environment_protected"],
        &["ci_config_ref_uri"],
        &["ci_config_sha"],
        &["sha"],
    ],
};

/// <https://buildkite.com/docs/agent/v3/cli-oidc>. The ids are there when they are asked for (`--claim`), as guard's
/// shim does.
const BUILDKITE: Vocabulary = Vocabulary {
    claims: &[
        "agent_id",
        "build_branch",
        "build_commit",
        "build_id",
        "build_number",
        "build_source",
        "build_tag",
        "cluster_id",
        "cluster_name",
        "job_id",
        "organization_id",
        "organization_slug",
        "pipeline_id",
        "pipeline_slug",
        "queue_id",
        "queue_key",
        "runner_environment",
        "step_key",
        "sub",
    ],
    prefixes: &["agent_tag:"],
    lists: &[],
    ids: &[&["pipeline_id"]],
    gates: &[&["build_branch"], &["build_tag"], &["build_commit"]],
};

/// <https://circleci.com/docs/openid-connect-tokens/>. A fork's branch has the name that it likes, so a ref is a gate
/// only together with where it comes from.
const CIRCLECI: Vocabulary = Vocabulary {
    claims: &[
        "oidc.circleci.com/context-ids",
        "oidc.circleci.com/job-id",
        "oidc.circleci.com/org-id",
        "oidc.circleci.com/pipeline-definition-id",
        "oidc.circleci.com/pipeline-id",
        "oidc.circleci.com/project-id",
        SSH_RERUN,
        "oidc.circleci.com/vcs-origin",
        "oidc.circleci.com/vcs-ref",
        "oidc.circleci.com/workflow-id",
        "sub",
    ],
    prefixes: &[],
    lists: &["oidc.circleci.com/context-ids"],
    ids: &[&["oidc.circleci.com/project-id"]],
    gates: &[
        &["oidc.circleci.com/vcs-origin", "oidc.circleci.com/vcs-ref"],
        &["oidc.circleci.com/context-ids"],
    ],
};

/// What stands in a token for a job that somebody opened a shell in.
pub(super) const SSH_RERUN: &str = "oidc.circleci.com/ssh-rerun";

/// <https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create>
const AZURE: Vocabulary = Vocabulary {
    claims: &[
        "def_id", "org_id", "prj_id", "rpo_id", "rpo_ref", "rpo_uri", "rpo_ver", "run_id", "sub",
    ],
    prefixes: &[],
    lists: &[],
    // A pipeline's number is one of its project's.
    ids: &[&["prj_id", "def_id"]],
    gates: &[&["rpo_ref"], &["rpo_ver"]],
};

/// <https://support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc/>
const BITBUCKET: Vocabulary = Vocabulary {
    claims: &[
        "accountUuid",
        "branchName",
        "deploymentEnvironmentUuid",
        "pipelineUuid",
        "repositoryUuid",
        "stepUuid",
        "sub",
        "workspaceUuid",
    ],
    prefixes: &[],
    lists: &[],
    ids: &[&["repositoryUuid"]],
    gates: &[&["branchName"], &["deploymentEnvironmentUuid"]],
};

/// <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>. Who may use a service account is
/// the cluster's to say, so the account is the gate.
const KUBERNETES: Vocabulary = Vocabulary {
    claims: &[
        "/kubernetes.io/namespace",
        "/kubernetes.io/node/name",
        "/kubernetes.io/node/uid",
        "/kubernetes.io/pod/name",
        "/kubernetes.io/pod/uid",
        "/kubernetes.io/serviceaccount/name",
        "/kubernetes.io/serviceaccount/uid",
        "sub",
    ],
    prefixes: &[],
    lists: &[],
    ids: SERVICE_ACCOUNT,
    gates: SERVICE_ACCOUNT,
};

const SERVICE_ACCOUNT: &[&[&str]] = &[
    &["sub"],
    &["/kubernetes.io/namespace", "/kubernetes.io/serviceaccount/name"],
    &["/kubernetes.io/serviceaccount/uid"],
];

/// Its configuration says what its claims are.
const OIDC: Vocabulary = Vocabulary {
    claims: &["sub"],
    prefixes: &[],
    lists: &[],
    ids: &[&["sub"]],
    gates: &[&["sub"]],
};

const fn vocabulary(platform: Platform) -> &'static Vocabulary {
    match platform {
        Platform::Github => &GITHUB,
        Platform::Gitlab => &GITLAB,
        Platform::Buildkite => &BUILDKITE,
        Platform::Circleci => &CIRCLECI,
        Platform::AzureDevops => &AZURE,
        Platform::Bitbucket => &BITBUCKET,
        Platform::Kubernetes => &KUBERNETES,
        Platform::Oidc => &OIDC,
    }
}

/// The one name of a claim: a pointer (RFC 6901) to a claim itself is that claim's name.
pub fn one_name(claim: &str) -> String {
    match claim.strip_prefix('/') {
        Some(rest) if !rest.contains('/') => {
            let name = rest.replace("~1", "/").replace("~0", "~");
            // Such a claim is kept under its pointer, so that it cannot pass for what is inside another.
            if name.starts_with('/') { claim.to_owned() } else { name }
        }
        Some(_) | None => claim.to_owned(),
    }
}

/// Whether an issuer's tokens can have a claim.
pub(super) fn is_known(issuer: &TrustIssuer, claim: &str) -> bool {
    let known = vocabulary(issuer.platform);
    known.claims.contains(&claim)
        || known
            .prefixes
            .iter()
            .any(|prefix| claim.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
        || issuer.claims.contains(claim)
}

/// Which claims there are.
pub(super) fn help(issuer: &TrustIssuer) -> String {
    let mut known: Vec<&str> = vocabulary(issuer.platform).claims.to_vec();
    known.extend(issuer.claims.iter().map(String::as_str));
    let known = known.join(", ");
    match issuer.platform {
        Platform::Oidc => {
            format!("known are {known}; name others under the issuer's `claims` in guard.yaml")
        }
        Platform::Github
        | Platform::Gitlab
        | Platform::Buildkite
        | Platform::Circleci
        | Platform::AzureDevops
        | Platform::Bitbucket
        | Platform::Kubernetes => format!("known are {known}"),
    }
}

/// Whether a claim is always a list.
pub(super) fn is_list(platform: Platform, claim: &str) -> bool {
    vocabulary(platform).lists.contains(&claim)
}

/// Whether a claim is an id by its name.
pub(super) fn is_id(claim: &str) -> bool {
    ["_id", "-id", "Uuid", "/uid"].iter().any(|end| claim.ends_with(end))
}

/// The groups of claims of which one names a repository, or who else runs.
pub(super) fn ids(issuer: &TrustIssuer) -> Vec<Vec<&str>> {
    groups(vocabulary(issuer.platform).ids, issuer.repository_id.as_deref())
}

/// The groups of claims of which one limits who could have put the code there.
pub(super) fn gates(issuer: &TrustIssuer) -> Vec<Vec<&str>> {
    groups(vocabulary(issuer.platform).gates, issuer.git_ref.as_deref())
}

fn groups<'a>(fixed: &[&[&'static str]], own: Option<&'a str>) -> Vec<Vec<&'a str>> {
    let fixed = fixed.iter().map(|group| group.to_vec());
    own.map(|claim| vec![claim]).into_iter().chain(fixed).collect()
}

/// The claim that says what started a run, where strangers can start one.
pub(super) fn event(issuer: &TrustIssuer) -> Option<&str> {
    match issuer.platform {
        Platform::Github => Some("event_name"),
        // Forgejo and Gitea have GitHub's events.
        Platform::Oidc => issuer.event.as_deref(),
        Platform::Gitlab
        | Platform::Buildkite
        | Platform::Circleci
        | Platform::AzureDevops
        | Platform::Bitbucket
        | Platform::Kubernetes => None,
    }
}
