//! The claims that platforms' tokens have, and which of them bind a rule to code that was reviewed.

use std::collections::BTreeMap;

use guard_core::Platform;

/// Claims of GitHub Actions' tokens,
/// <https://docs.github.com/en/actions/reference/security/oidc>, and the two that tokens have beyond it
/// (`ref_protected`, `environment_node_id`).
const GITHUB: &[&str] = &[
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
];

/// Custom properties of repositories are claims with this prefix.
const GITHUB_PROPERTY: &str = "repo_property_";

/// Claims of GitLab's tokens, <https://docs.gitlab.com/ci/secrets/id_token_authentication/>.
const GITLAB: &[&str] = &[
    "ci_config_ref_uri",
    "ci_config_sha",
    "deployment_tier",
    "environment",
    "environment_action",
    "environment_protected",
    "groups_direct",
    "job_config",
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
];

/// Events that run the base repository's trust with code or text of strangers.
const STRANGERS: [&str; 3] = ["pull_request_target", "workflow_run", "issue_comment"];

pub(super) const fn known(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Github => GITHUB,
        Platform::Gitlab => GITLAB,
    }
}

/// Whether a platform's tokens can have a claim.
pub(super) fn is_known(platform: Platform, claim: &str) -> bool {
    let property = match platform {
        Platform::Github => {
            claim.strip_prefix(GITHUB_PROPERTY).is_some_and(|rest| !rest.is_empty())
        }
        Platform::Gitlab => false,
    };
    property || known(platform).contains(&claim)
}

/// The claim that names a repository and, unlike its name, is never given to another.
pub(super) const fn repository_id(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "repository_id",
        Platform::Gitlab => "project_id",
    }
}

/// Claims that limit who could have put the code there that runs. `job_workflow_ref` is not among them: any
/// branch can call the reusable workflow that it names.
pub(super) const fn gates(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Github => {
            &["ref", "ref_protected", "environment", "workflow_ref", "sha", "workflow_sha"]
        }
        Platform::Gitlab => &[
            "ref",
            "ref_path",
            "ref_protected",
            "environment",
            "environment_protected",
            "ci_config_ref_uri",
            "ci_config_sha",
            "sha",
        ],
    }
}

/// Whether a condition limits who could have put the code there.
pub(super) fn is_gate(platform: Platform, claim: &str, values: &[String]) -> bool {
    let says_no = claim.ends_with("_protected") && values.iter().any(|value| value != "true");
    gates(platform).contains(&claim) && !says_no
}

/// Why a run's event keeps it out, if it does: strangers' events need to be named by the rule.
pub(super) fn refused_event(
    platform: Platform,
    wanted: &BTreeMap<String, Vec<String>>,
    claims: &BTreeMap<String, String>,
) -> Option<String> {
    match platform {
        Platform::Github => {
            let Some(event) = claims.get("event_name") else {
                return Some("the token has no claim `event_name`".to_owned());
            };
            let named = wanted.get("event_name").is_some_and(|values| values.contains(event));
            (STRANGERS.contains(&event.as_str()) && !named).then(|| {
                format!("event `{event}` can run strangers' code and is not named in `event_name`")
            })
        }
        Platform::Gitlab => None,
    }
}
