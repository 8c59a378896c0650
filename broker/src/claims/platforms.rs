//! Each platform's claims as one identity.

use std::collections::BTreeMap;

use guard_core::{Identity, Platform, RunKey};
use url::Url;

use crate::{
    config::{IssuerConfig, RunClaims},
    jws::Fault,
};

/// Claims as texts.
type Claims = BTreeMap<String, String>;

/// Which claim is what. Empty: there is none.
struct Names<'a> {
    repository_id: &'a str,
    run_id: &'a str,
    attempt: &'a str,
    /// Without one the run's key names no job.
    job: &'a str,
    repository: &'a str,
    git_ref: &'a str,
    event: &'a str,
    workflow: &'a str,
    actor: &'a str,
}

/// The identity, and whether its key names one job.
pub(super) fn read(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    match issuer.platform {
        Platform::Github => github(claims, issuer),
        Platform::Gitlab => gitlab(claims, issuer),
        Platform::Buildkite => buildkite(claims, issuer),
        Platform::Circleci => circleci(claims, issuer),
        Platform::AzureDevops => azure(claims, issuer),
        Platform::Bitbucket => bitbucket(claims, issuer),
        Platform::Kubernetes => kubernetes(claims, issuer),
        Platform::Oidc => match &issuer.run {
            Some(run) => oidc(claims, issuer, run),
            None => Err(Fault::new("nobody said which of its claims name a run")),
        },
    }
}

fn named(
    claims: Claims,
    issuer: &IssuerConfig,
    names: &Names<'_>,
) -> Result<(Identity, bool), Fault> {
    let claim = |name: &str| text(&claims, name).unwrap_or_default().to_owned();
    let needed = |name: &str| {
        text(&claims, name)
            .map(str::to_owned)
            .ok_or_else(|| Fault::new(format!("its claim `{name}` is missing")))
    };
    let names_job = !names.job.is_empty();
    let identity = Identity {
        platform: issuer.platform,
        issuer_name: issuer.name.clone(),
        run: RunKey {
            issuer: issuer.url.clone(),
            repository_id: needed(names.repository_id)?,
            run_id: needed(names.run_id)?,
            // Where a job is retried as another one there are no attempts.
            attempt: text(&claims, names.attempt).unwrap_or("1").to_owned(),
            job: if names_job { needed(names.job)? } else { String::new() },
        },
        subject: needed("sub")?,
        repository: claim(names.repository),
        git_ref: claim(names.git_ref),
        event: claim(names.event),
        workflow: claim(names.workflow),
        actor: claim(names.actor),
        run_url: None,
        claims,
    };
    Ok((identity, names_job))
}

/// A claim that says something.
fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// A page below an address of people's choosing: its parts cannot lead elsewhere.
fn page(base: &str, parts: &[&str]) -> Option<String> {
    let mut url = Url::parse(base).ok()?;
    let parts = parts.iter().flat_map(|part| part.split('/'));
    if parts.clone().any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(parts);
    Some(url.into())
}

/// <https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims>
fn github(mut claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    // Every server in use sends it. Without it the token itself is what names the run.
    let run_id = if text(&claims, "run_id").is_some() { "run_id" } else { "jti" };
    // `check_run_id` names the job; older servers do not send it.
    let names_job = text(&claims, "check_run_id").is_some();
    let job = ["check_run_id", "job_workflow_ref", "workflow_ref"]
        .into_iter()
        .find(|name| text(&claims, name).is_some());
    let repository = text(&claims, "repository").unwrap_or_default();
    let run_url = github_pages(&issuer.url).and_then(|pages| {
        let attempt = text(&claims, "run_attempt").unwrap_or("1");
        let run = text(&claims, run_id).unwrap_or_default();
        page(&pages, &[repository, "actions/runs", run, "attempts", attempt])
    });
    if claims.get("run_attempt").is_some_and(String::is_empty) {
        claims.remove("run_attempt");
    }
    let names = Names {
        repository_id: "repository_id",
        run_id,
        attempt: "run_attempt",
        job: job.unwrap_or_default(),
        repository: "repository",
        git_ref: "ref",
        event: "event_name",
        workflow: "workflow_ref",
        actor: "actor",
    };
    let (identity, _) = named(claims, issuer, &names)?;
    Ok((Identity { run_url, ..identity }, names_job))
}

/// Where the pages of runs are: github.com, with or without an enterprise's issuer; data residency
/// (`token.actions.NAME.ghe.com`); a server (`HOST/_services/token`).
fn github_pages(issuer: &str) -> Option<String> {
    let url = Url::parse(issuer).ok()?;
    let host = url.host_str()?;
    if host == "token.actions.githubusercontent.com" {
        return Some("https://github.com".to_owned());
    }
    if let Some(name) =
        host.strip_prefix("token.actions.").filter(|name| name.ends_with(".ghe.com"))
    {
        return Some(format!("https://{name}"));
    }
    issuer.strip_suffix("/_services/token").map(str::to_owned)
}

/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload>
fn gitlab(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    let job = text(&claims, "job_id").unwrap_or_default();
    let project = ["job_project_path", "project_path"].into_iter().find_map(|n| text(&claims, n));
    let run_url = page(&issuer.url, &[project.unwrap_or_default(), "-/jobs", job]);
    let path = text(&claims, "ref_path").is_some();
    let names = Names {
        repository_id: "project_id",
        run_id: "pipeline_id",
        // A retried job is a new job with an id of its own.
        attempt: "",
        job: "job_id",
        repository: "project_path",
        git_ref: if path { "ref_path" } else { "ref" },
        event: "pipeline_source",
        workflow: "ci_config_ref_uri",
        actor: "user_login",
    };
    let (identity, names_job) = named(claims, issuer, &names)?;
    Ok((Identity { run_url, ..identity }, names_job))
}

/// <https://buildkite.com/docs/agent/v3/cli-oidc>
fn buildkite(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    let claim = |name: &str| text(&claims, name);
    let repository = match (claim("organization_slug"), claim("pipeline_slug")) {
        (Some(organization), Some(pipeline)) => format!("{organization}/{pipeline}"),
        (Some(_) | None, Some(_) | None) => {
            return Err(Fault::new("it does not say which pipeline it is for"));
        }
    };
    let git_ref = match (claim("build_tag"), claim("build_branch")) {
        (Some(tag), _) => format!("refs/tags/{tag}"),
        (None, Some(branch)) => format!("refs/heads/{branch}"),
        (None, None) => String::new(),
    };
    let number = claim("build_number").unwrap_or_default();
    let run_url = page("https://buildkite.com", &[&repository, "builds", number]);
    // The id is there where it was asked for. A job's id is one of all, so the run's key is one, too.
    let by_name = claim("pipeline_id").is_none();
    let names = Names {
        repository_id: if by_name { "pipeline_slug" } else { "pipeline_id" },
        run_id: "build_number",
        attempt: "",
        job: "job_id",
        repository: "",
        git_ref: "",
        event: "build_source",
        workflow: "step_key",
        actor: "",
    };
    let (identity, names_job) = named(claims, issuer, &names)?;
    Ok((Identity { repository, git_ref, run_url, ..identity }, names_job))
}

/// <https://circleci.com/docs/openid-connect-tokens/>
fn circleci(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    const WORKFLOW: &str = "oidc.circleci.com/workflow-id";
    const JOB: &str = "oidc.circleci.com/job-id";
    let workflow = text(&claims, WORKFLOW);
    let run_url =
        workflow.and_then(|id| page("https://app.circleci.com", &["pipelines/workflows", id]));
    let names = Names {
        repository_id: "oidc.circleci.com/project-id",
        run_id: if workflow.is_some() { WORKFLOW } else { JOB },
        attempt: "",
        job: JOB,
        repository: "oidc.circleci.com/vcs-origin",
        git_ref: "oidc.circleci.com/vcs-ref",
        event: "",
        workflow: "oidc.circleci.com/pipeline-definition-id",
        actor: "",
    };
    let (identity, names_job) = named(claims, issuer, &names)?;
    Ok((Identity { run_url, ..identity }, names_job))
}

/// <https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create>: nothing says which job of a
/// run asks.
fn azure(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    let names = Names {
        repository_id: "prj_id",
        run_id: "run_id",
        attempt: "",
        job: "",
        repository: "rpo_uri",
        git_ref: "rpo_ref",
        event: "",
        workflow: "sub",
        actor: "",
    };
    let (identity, names_job) = named(claims, issuer, &names)?;
    // `p://ORGANISATION/PROJECT/PIPELINE`; names may hold blanks.
    let subject = identity.subject.strip_prefix("p://").or(identity.subject.strip_prefix("sc://"));
    let project = subject.and_then(|rest| rest.rsplit_once('/')).map(|(project, _)| project);
    let pages =
        project.and_then(|project| page("https://dev.azure.com", &[project, "_build/results"]));
    let run_url = pages.and_then(|pages| {
        let mut url = Url::parse(&pages).ok()?;
        url.query_pairs_mut().append_pair("buildId", &identity.run.run_id);
        Some(url.into())
    });
    Ok((Identity { run_url, ..identity }, names_job))
}

/// <https://support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc/>
fn bitbucket(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    let git_ref = text(&claims, "branchName").map(|branch| format!("refs/heads/{branch}"));
    let names = Names {
        repository_id: "repositoryUuid",
        run_id: "pipelineUuid",
        attempt: "",
        job: "stepUuid",
        repository: "repositoryUuid",
        git_ref: "",
        event: "",
        workflow: "deploymentEnvironmentUuid",
        actor: "",
    };
    let (identity, names_job) = named(claims, issuer, &names)?;
    Ok((Identity { git_ref: git_ref.unwrap_or_default(), ..identity }, names_job))
}

/// <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>: only tokens that are bound to a
/// pod say which run it is, so others are refused.
fn kubernetes(claims: Claims, issuer: &IssuerConfig) -> Result<(Identity, bool), Fault> {
    let claim = |name: &str| text(&claims, name).unwrap_or_default();
    let repository = format!(
        "{}/{}",
        claim("/kubernetes.io/namespace"),
        claim("/kubernetes.io/serviceaccount/name")
    );
    let names = Names {
        repository_id: "/kubernetes.io/serviceaccount/uid",
        run_id: "/kubernetes.io/pod/uid",
        attempt: "",
        job: "/kubernetes.io/pod/name",
        repository: "",
        git_ref: "",
        event: "",
        workflow: "/kubernetes.io/pod/name",
        actor: "sub",
    };
    let (identity, names_job) = named(claims, issuer, &names)?;
    Ok((Identity { repository, ..identity }, names_job))
}

fn oidc(claims: Claims, issuer: &IssuerConfig, run: &RunClaims) -> Result<(Identity, bool), Fault> {
    let name = |claim: &'_ Option<String>| claim.clone().unwrap_or_default();
    let names = Names {
        repository_id: &run.repository_id,
        run_id: &run.run_id,
        attempt: &name(&run.attempt),
        job: &name(&run.job),
        repository: &name(&run.repository),
        git_ref: &name(&run.git_ref),
        event: &name(&run.event),
        workflow: &name(&run.workflow),
        actor: &name(&run.actor),
    };
    named(claims, issuer, &names)
}
