//! Where a run's identity token comes from: the platform, a file, a variable, a command, or `guard-broker dev`.

mod command;
mod request;

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use guard_core::Secret;
use serde::Deserialize;

use command::Program;
use request::Service;

/// GitHub's request protocol: present where the job has `id-token: write`. Forgejo's, too.
pub(super) const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// The bearer token of that request.
pub(super) const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// GitLab's `id_tokens` put a token into a variable; this is the name that guard asks for.
pub(super) const ID_TOKEN: &str = "GUARD_ID_TOKEN";
/// Where Azure's agent gives tokens.
pub(super) const AZURE_URL: &str = "SYSTEM_OIDCREQUESTURI";
/// The bearer token for it, which a pipeline has to map.
pub(super) const AZURE_TOKEN: &str = "SYSTEM_ACCESSTOKEN";
/// With it `buildkite-agent` speaks for the job.
pub(super) const BUILDKITE_TOKEN: &str = "BUILDKITE_AGENT_ACCESS_TOKEN";
/// CircleCI's token for the organisation's own audience.
pub(super) const CIRCLECI_TOKEN: &str = "CIRCLE_OIDC_TOKEN_V2";
/// Bitbucket's, for a step with `oidc: true`.
pub(super) const BITBUCKET_TOKEN: &str = "BITBUCKET_STEP_OIDC_TOKEN";
/// Where a pod's projected volume has its token, unless `--token-file` says otherwise.
const POD_TOKEN: &str = "/var/run/secrets/guard/token";

/// Identity tokens are a few kilobytes; a larger file or answer is something else.
const MAX_TOKEN: usize = 64 * 1024;

/// No identity token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("no identity token: {0}")]
    None(&'static str),
    #[error("the identity token in `{path}` cannot be read", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("`{path}` holds no identity token", path = .0.display())]
    Empty(PathBuf),
    #[error("the variable `{0}` holds no identity token")]
    NoVariable(String),
    #[error("the platform gives no identity token: {0}")]
    Platform(String),
    #[error("`{program}` gives no identity token: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        reason: String,
    },
    #[error("`{path}` of `guard-broker dev` cannot be used: {reason}", path = .0.display(), reason = .1)]
    Development(PathBuf, String),
}

/// Where the command line says that the token is.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Said {
    /// Read the identity token from this file
    #[arg(long, env = "GUARD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read the identity token from this variable
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    pub(super) token_env: Option<String>,
    /// Take the identity token from what this shell command prints; it finds the audience to ask for in GUARD_AUDIENCE
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["token_file", "token_env"])]
    token_command: Option<String>,
    /// What the identity token is asked for, if another than the broker says
    #[arg(long, env = "GUARD_AUDIENCE", value_name = "AUDIENCE")]
    pub(super) audience: Option<String>,
}

impl Said {
    /// The files that the token may be in, wherever it is taken from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.token_file.clone().into_iter().chain([PathBuf::from(POD_TOKEN)]).collect()
    }
}

/// Where the token comes from.
pub(super) enum Source {
    File(PathBuf),
    Variable(Secret),
    Service(Service),
    Program(Program),
}

/// `guard-broker dev` leaves this file for the user who started it.
#[derive(Deserialize)]
struct Discovery {
    broker: String,
    token_request_url: String,
    token_request_token: Secret,
}

/// Finds the source; with a development broker, also its address.
pub(super) fn find(
    said: &Said,
    broker: Option<&str>,
) -> Result<(Source, Option<String>), TokenError> {
    if let Some(source) = named(said)? {
        return Ok((source, None));
    }
    if let Some(source) = of_platform() {
        return Ok((source, None));
    }
    if let Some(found) = development()? {
        let same =
            |broker: &str| broker.trim_end_matches('/') == found.broker.trim_end_matches('/');
        if broker.is_none_or(same) {
            let service = Service::Actions {
                url: found.token_request_url,
                bearer: found.token_request_token,
                development: true,
            };
            return Ok((Source::Service(service), Some(found.broker)));
        }
    }
    Err(TokenError::None(help()))
}

/// What the command line names.
fn named(said: &Said) -> Result<Option<Source>, TokenError> {
    if let Some(file) = &said.token_file {
        return Ok(Some(Source::File(file.clone())));
    }
    if let Some(name) = &said.token_env {
        let token = variable(name).ok_or_else(|| TokenError::NoVariable(name.clone()))?;
        return Ok(Some(Source::Variable(Secret::new(token.trim()))));
    }
    let command = said.token_command.as_ref();
    Ok(command.map(|command| Source::Program(Program::Shell(command.clone()))))
}

/// What the platform gives, told by its variables.
fn of_platform() -> Option<Source> {
    if let Some(token) = variable(ID_TOKEN) {
        return Some(Source::Variable(Secret::new(token)));
    }
    if let (Some(url), Some(bearer)) = (variable(REQUEST_URL), variable(REQUEST_TOKEN)) {
        let bearer = Secret::new(bearer);
        return Some(Source::Service(Service::Actions { url, bearer, development: false }));
    }
    if variable("BUILDKITE_JOB_ID").is_some() {
        return Some(Source::Program(Program::Buildkite));
    }
    if variable("CIRCLECI").is_some()
        && let Some(token) = variable(CIRCLECI_TOKEN)
    {
        return Some(Source::Program(Program::Circleci { otherwise: Secret::new(token) }));
    }
    if let (Some(url), Some(bearer)) = (variable(AZURE_URL), variable(AZURE_TOKEN)) {
        return Some(Source::Service(Service::Azure { url, bearer: Secret::new(bearer) }));
    }
    if let Some(token) = variable(BITBUCKET_TOKEN) {
        return Some(Source::Variable(Secret::new(token)));
    }
    let pod = Path::new(POD_TOKEN);
    pod.is_file().then(|| Source::File(pod.to_owned()))
}

fn variable(name: &str) -> Option<String> {
    crate::sandbox::platform_variable(name)
}

/// What to do, by the platform that this seems to be.
fn help() -> &'static str {
    if variable("GITHUB_ACTIONS").is_some() {
        match variable("GITHUB_EVENT_NAME").as_deref() {
            Some("pull_request") => {
                "the job has no `permissions: id-token: write`, or the pull request comes from a fork, which cannot get a token"
            }
            Some(_) | None => {
                "add `permissions: { id-token: write }` to the job (and to the workflow that calls it)"
            }
        }
    } else if variable("CI_JOB_ID").is_some() {
        "add `id_tokens: { GUARD_ID_TOKEN: { aud: <the broker's audience> } }` to the job"
    } else if variable("CIRCLECI").is_some() {
        "CircleCI gives tokens to jobs that use a context, or to all of a project since 2023: `CIRCLE_OIDC_TOKEN_V2` is not there"
    } else if variable("TF_BUILD").is_some() {
        "map the job's token in the step: `env: { SYSTEM_ACCESSTOKEN: $(System.AccessToken) }`"
    } else if variable("BITBUCKET_BUILD_NUMBER").is_some() {
        "add `oidc: { audiences: [<the broker's audience>] }` to the step"
    } else if variable("KUBERNETES_SERVICE_HOST").is_some() {
        "project a service account's token with the broker's audience to `/var/run/secrets/guard/token`, or use `--token-file`"
    } else {
        "this is no pipeline that guard knows; use `--token-file`, `--token-env` or `--token-command`, or `guard-broker dev` to try guard out"
    }
}

/// Reads what `guard-broker dev` left, if it did. A file that others could have written is refused.
fn development() -> Result<Option<Discovery>, TokenError> {
    let runtime = variable("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("guard-dev.json"));
    let cache = variable("HOME").map(|dir| Path::new(&dir).join(".cache/guard/dev.json"));
    for path in [runtime, cache].into_iter().flatten() {
        let refuse = |reason: &str| TokenError::Development(path.clone(), reason.to_owned());
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse("it must be your own, with mode 600"));
        }
        let text = read(&path).map_err(|error| refuse(&error.to_string()))?;
        return serde_json::from_str(&text).map(Some).map_err(|error| refuse(&error.to_string()));
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_TOKEN as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_TOKEN {
        return Err(io::Error::other(format!("it is larger than {MAX_TOKEN} bytes")));
    }
    Ok(text)
}

impl Source {
    /// Whether the token is `guard-broker dev`'s.
    pub(super) fn is_development(&self) -> bool {
        match self {
            Self::Service(Service::Actions { development, .. }) => *development,
            Self::File(_)
            | Self::Variable(_)
            | Self::Service(Service::Azure { .. })
            | Self::Program(_) => false,
        }
    }

    /// The token, where it is already there.
    pub(super) fn presented(&self) -> Option<Result<Secret, TokenError>> {
        match self {
            Self::File(path) => Some(match read(path) {
                Ok(token) if token.trim().is_empty() => Err(TokenError::Empty(path.clone())),
                Ok(token) => Ok(Secret::new(token.trim())),
                Err(error) => Err(TokenError::File(path.clone(), error)),
            }),
            Self::Variable(token) => Some(Ok(token.clone())),
            Self::Service(_) | Self::Program(_) => None,
        }
    }

    /// Asks for a token. Only just before it is used: it is good for minutes.
    pub(super) async fn request(&self, audience: &str) -> Result<Secret, TokenError> {
        match self {
            Self::Service(service) => service.ask(audience).await.map_err(TokenError::Platform),
            Self::Program(program) => program.ask(audience).await,
            Self::File(_) | Self::Variable(_) => {
                Err(TokenError::Platform("there is nobody to ask".into()))
            }
        }
    }
}
