//! From verified claims to an [`Identity`]: times, audience, and each platform's names.

use std::{collections::BTreeMap, time::Duration};

use guard_core::{Identity, Platform, RunKey, Timestamp};
use serde_json::Value;

use crate::{
    config::IssuerConfig,
    jws::{Fault, Verified},
};

/// A run whose token held: what it is, and what makes the token single-use.
#[derive(Debug)]
pub(crate) struct VerifiedRun {
    /// The run.
    pub(crate) identity: Identity,
    /// The token's own id.
    pub(crate) jti: String,
    /// When the broker may forget the token's id: it is refused for its age by then.
    pub(crate) forget_after: guard_core::Timestamp,
    /// Whether the run's key names one job. Older GitHub servers do not say which job of a run asks.
    pub(crate) names_job: bool,
}

/// A `jti` longer than this is refused: it is kept.
const MAX_JTI: usize = 256;

/// Checks what every token must say and reads whose run it is.
pub(crate) fn identify(
    token: &Verified,
    issuer: &IssuerConfig,
    audience: &str,
    now: Timestamp,
) -> Result<VerifiedRun, Fault> {
    if token.text("iss")? != issuer.url {
        return Err(Fault::new("its issuer is another one"));
    }
    token.require_audience(audience)?;
    let expires = check_times(token, issuer, now)?;
    let jti = token.text("jti")?;
    if jti.len() > MAX_JTI {
        return Err(Fault::new("its `jti` is too long"));
    }
    let identity = match issuer.platform {
        Platform::Github => github(token, issuer),
        Platform::Gitlab => gitlab(token, issuer),
    }?;
    let names_job = match issuer.platform {
        Platform::Github => identity.claims.contains_key("check_run_id"),
        Platform::Gitlab => true,
    };
    Ok(VerifiedRun {
        identity,
        names_job,
        jti: jti.to_owned(),
        forget_after: later(expires, issuer.leeway + Duration::from_secs(1)),
    })
}

/// `exp` and `iat` must be there; `nbf` counts where it is. The answer is `exp`.
fn check_times(
    token: &Verified,
    issuer: &IssuerConfig,
    now: Timestamp,
) -> Result<Timestamp, Fault> {
    let expires = token.moment("exp")?;
    let issued = token.moment("iat")?;
    if now >= later(expires, issuer.leeway) {
        return Err(Fault::new("it has expired"));
    }
    if issued > later(now, issuer.leeway) {
        return Err(Fault::new("it was issued in the future"));
    }
    if now > later(issued, issuer.max_token_age + issuer.leeway) {
        return Err(Fault::new("it is older than `max_token_age`"));
    }
    if token.has("nbf") && token.moment("nbf")? > later(now, issuer.leeway) {
        return Err(Fault::new("it is not valid yet"));
    }
    Ok(expires)
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// <https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims>
fn github(token: &Verified, issuer: &IssuerConfig) -> Result<Identity, Fault> {
    let claims = texts(token);
    let claim = |name: &str| claims.get(name).cloned().unwrap_or_default();
    // Every server in use sends both. Without them the token itself is what names the run.
    let run_id = match claims.get("run_id").filter(|text| !text.is_empty()) {
        Some(run_id) => run_id.clone(),
        None => token.text("jti")?.to_owned(),
    };
    let attempt = claims.get("run_attempt").filter(|text| !text.is_empty());
    let attempt = attempt.cloned().unwrap_or_else(|| "1".into());
    let repository = claim("repository");
    // `check_run_id` names the job; older servers do not send it.
    let job = ["check_run_id", "job_workflow_ref", "workflow_ref"]
        .iter()
        .find_map(|name| claims.get(*name).filter(|text| !text.is_empty()).cloned());
    // The issuer of github.com, also with an enterprise behind it; other servers' pages are not known.
    let of_github = issuer.url.strip_prefix("https://token.actions.githubusercontent.com");
    let run_url = of_github.filter(|rest| rest.is_empty() || rest.starts_with('/')).map(|_| {
        format!("https://github.com/{repository}/actions/runs/{run_id}/attempts/{attempt}")
    });
    Ok(Identity {
        platform: Platform::Github,
        issuer_name: issuer.name.clone(),
        run: RunKey {
            issuer: issuer.url.clone(),
            repository_id: required(&claims, "repository_id")?,
            run_id,
            attempt,
            job: job.unwrap_or_default(),
        },
        subject: required(&claims, "sub")?,
        repository,
        git_ref: claim("ref"),
        event: claim("event_name"),
        workflow: claim("workflow_ref"),
        actor: claim("actor"),
        run_url,
        claims,
    })
}

/// <https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload>
fn gitlab(token: &Verified, issuer: &IssuerConfig) -> Result<Identity, Fault> {
    let claims = texts(token);
    let claim = |name: &str| claims.get(name).cloned().unwrap_or_default();
    let job = required(&claims, "job_id")?;
    let repository = claim("project_path");
    let run_url = format!("{}/{repository}/-/jobs/{job}", issuer.url.trim_end_matches('/'));
    let git_ref = match claims.get("ref_path") {
        Some(path) => path.clone(),
        None => claim("ref"),
    };
    Ok(Identity {
        platform: Platform::Gitlab,
        issuer_name: issuer.name.clone(),
        run: RunKey {
            issuer: issuer.url.clone(),
            repository_id: required(&claims, "project_id")?,
            run_id: required(&claims, "pipeline_id")?,
            // A retried job is a new job with an id of its own.
            attempt: "1".into(),
            job,
        },
        subject: required(&claims, "sub")?,
        repository,
        git_ref,
        event: claim("pipeline_source"),
        workflow: claim("ci_config_ref_uri"),
        actor: claim("user_login"),
        run_url: Some(run_url),
        claims,
    })
}

fn required(claims: &BTreeMap<String, String>, name: &str) -> Result<String, Fault> {
    let found = claims.get(name).filter(|text| !text.is_empty()).cloned();
    found.ok_or_else(|| Fault::new(format!("its claim `{name}` is missing")))
}

/// Every claim as text. What is `null` is not there.
fn texts(token: &Verified) -> BTreeMap<String, String> {
    let texts = token.claims().iter().filter_map(|(name, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        Some((name.clone(), text))
    });
    texts.collect()
}
