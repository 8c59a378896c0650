//! How rules keep strangers out: what limits who put the code there, and what keeps a run out whatever a rule says of it.

use std::collections::BTreeMap;

use guard_core::Platform;

use super::{
    TrustIssuer,
    claims::{SSH_RERUN, event, gates},
    condition::{Conditions, Gate},
};

/// Events that run the base repository's trust with code or text of strangers.
const STRANGERS: [&str; 3] = ["pull_request_target", "workflow_run", "issue_comment"];

/// Whether a condition limits who could have put the code there.
pub(super) fn is_gate(issuer: &TrustIssuer, conditions: &Conditions) -> bool {
    let named =
        gates(issuer).iter().any(|group| group.iter().all(|claim| holds(claim, conditions)));
    named || is_service_connection(issuer, conditions)
}

/// What `ref_protected: false` or a pattern says of who could have written the code is nothing.
fn holds(claim: &str, conditions: &Conditions) -> bool {
    let says_no = claim.ends_with("_protected")
        && conditions.exact(claim).is_none_or(|values| values.iter().any(|value| *value != "true"));
    conditions.pins(claim) && !says_no
}

/// Azure: which pipelines may use a service connection is the connection's to say, and its name is in the subject.
fn is_service_connection(issuer: &TrustIssuer, conditions: &Conditions) -> bool {
    issuer.platform == Platform::AzureDevops
        && conditions
            .exact("sub")
            .is_some_and(|values| values.iter().all(|value| value.starts_with("sc://")))
}

/// Events of strangers that a rule names.
pub(super) fn named_strangers(issuer: &TrustIssuer, conditions: &Conditions) -> Vec<&'static str> {
    let Some(claim) = event(issuer) else { return Vec::new() };
    STRANGERS.into_iter().filter(|event| conditions.names_value(claim, event)).collect()
}

/// Why what a run is keeps it out, whatever a rule's conditions are, unless the rule names it.
pub(super) fn refused(
    platform: Platform,
    event: Option<&str>,
    wanted: &Conditions,
    claims: &BTreeMap<String, String>,
) -> Option<Gate> {
    if let Some(gate) = event.and_then(|claim| strangers_event(claim, wanted, claims)) {
        return Some(gate);
    }
    match platform {
        Platform::Gitlab => fork(wanted, claims),
        Platform::Circleci => ssh_rerun(wanted, claims),
        Platform::Github
        | Platform::Buildkite
        | Platform::AzureDevops
        | Platform::Bitbucket
        | Platform::Kubernetes
        | Platform::Oidc => None,
    }
}

fn strangers_event(
    claim: &str,
    wanted: &Conditions,
    claims: &BTreeMap<String, String>,
) -> Option<Gate> {
    let Some(event) = claims.get(claim) else {
        return Some(Gate::new(claim, format!("the token has no claim `{claim}`")));
    };
    let refused = STRANGERS.contains(&event.as_str()) && !wanted.names_value(claim, event);
    refused.then(|| {
        let reason =
            format!("event `{event}` can run strangers' code and is not named in `{claim}`");
        Gate::new(claim, reason)
    })
}

/// A merge request of a fork can run in the parent: `project_id` is then the fork's, `job_project_id` the parent's.
fn fork(wanted: &Conditions, claims: &BTreeMap<String, String>) -> Option<Gate> {
    const JOB: &str = "job_project_id";
    let job = claims.get(JOB)?;
    let project = claims.get("project_id").map(String::as_str).unwrap_or_default();
    let meant = wanted.names_value(JOB, job) && wanted.names_value("project_id", project);
    (job != project && !meant).then(|| {
        let reason = format!(
            "project `{project}`'s code runs in project `{job}`: a fork's merge request, and the rule does not name both"
        );
        Gate::new(JOB, reason)
    })
}

/// Whoever re-runs a job with SSH has a shell in it.
fn ssh_rerun(wanted: &Conditions, claims: &BTreeMap<String, String>) -> Option<Gate> {
    let found = claims.get(SSH_RERUN).map(String::as_str);
    let named = found.is_some_and(|value| wanted.names_value(SSH_RERUN, value));
    (found != Some("false") && !named).then(|| {
        let reason = match found {
            Some(value) => {
                format!("claim `{SSH_RERUN}` is `{value}`: somebody has a shell in the job")
            }
            None => format!("the token has no claim `{SSH_RERUN}`"),
        };
        Gate::new(SSH_RERUN, reason)
    })
}
