//! Where a run's identity token comes from: the platform, a file, or `guard-broker dev`.

use std::{
    env, fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use guard_core::Secret;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

/// GitHub's request protocol: present where the job has `id-token: write`.
pub(super) const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// The bearer token of that request.
pub(super) const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// GitLab's `id_tokens` put a token into a variable; this is the name that guard asks for.
pub(super) const ID_TOKEN: &str = "GUARD_ID_TOKEN";

/// Identity tokens are a few kilobytes; a larger file or answer is something else.
const MAX_TOKEN: usize = 64 * 1024;
/// The platform's token service answers within this or not at all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The service is now and then away, and refuses while the job is still `Pending`: the platform's
/// own toolkit tries ten times.
const TRIES: u32 = 8;
/// All tries together.
const TOTAL: Duration = Duration::from_secs(90);
/// The first pause; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No identity token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("no identity token: {0}")]
    None(&'static str),
    #[error("the identity token in `{path}` cannot be read", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("`{path}` holds no identity token", path = .0.display())]
    Empty(PathBuf),
    #[error("the platform gives no identity token: {0}")]
    Platform(String),
    #[error("`{path}` of `guard-broker dev` cannot be used: {reason}", path = .0.display(), reason = .1)]
    Development(PathBuf, String),
}

/// Where the token comes from.
pub(super) enum Source {
    File(PathBuf),
    Variable(Secret),
    Request { url: String, bearer: Secret, development: bool },
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
    file: Option<&Path>,
    broker: Option<&str>,
) -> Result<(Source, Option<String>), TokenError> {
    if let Some(file) = file {
        return Ok((Source::File(file.to_owned()), None));
    }
    if let Some(token) = variable(ID_TOKEN) {
        return Ok((Source::Variable(Secret::new(token)), None));
    }
    if let (Some(url), Some(bearer)) = (variable(REQUEST_URL), variable(REQUEST_TOKEN)) {
        let source = Source::Request { url, bearer: Secret::new(bearer), development: false };
        return Ok((source, None));
    }
    if let Some(found) = development()? {
        let same =
            |broker: &str| broker.trim_end_matches('/') == found.broker.trim_end_matches('/');
        if broker.is_none_or(same) {
            let source = Source::Request {
                url: found.token_request_url,
                bearer: found.token_request_token,
                development: true,
            };
            return Ok((source, Some(found.broker)));
        }
    }
    Err(TokenError::None(help()))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
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
    } else {
        "this is no pipeline that guard knows; use `--token-file`, or `guard-broker dev` to try guard out"
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
            Self::Request { development, .. } => *development,
            Self::File(_) | Self::Variable(_) => false,
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
            Self::Request { .. } => None,
        }
    }

    /// Asks the platform for a token. Only just before it is used: it is good for minutes.
    pub(super) async fn request(&self, audience: &str) -> Result<Secret, TokenError> {
        let Self::Request { url, bearer, .. } = self else {
            return Err(TokenError::Platform("there is nobody to ask".into()));
        };
        let mut url = url::Url::parse(url)
            .map_err(|_| TokenError::Platform(format!("{REQUEST_URL} is not an address")))?;
        url.query_pairs_mut().append_pair("audience", audience);
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| TokenError::Platform(error.to_string()))?;
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let problem = match ask(&client, url.clone(), bearer).await {
                Ok(token) => return Ok(token),
                Err(problem) => problem,
            };
            let last = tries == TRIES || started.elapsed() + pause > TOTAL;
            if last || !problem.transient {
                return Err(TokenError::Platform(problem.reason));
            }
            tracing::debug!(reason = problem.reason, "asking the platform again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

struct Problem {
    reason: String,
    transient: bool,
}

#[derive(Deserialize)]
struct Issued {
    value: Secret,
}

async fn ask(client: &reqwest::Client, url: url::Url, bearer: &Secret) -> Result<Secret, Problem> {
    let transient = |error: reqwest::Error| Problem {
        reason: crate::words::chain(&error.without_url()),
        transient: true,
    };
    let request = client.get(url).bearer_auth(bearer.expose()).header("accept", "application/json");
    let mut answer = request.send().await.map_err(transient)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(transient)? {
        if body.len() + chunk.len() > MAX_TOKEN {
            return Err(Problem { reason: "its answer is too large".into(), transient: false });
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        // "Can't issue ID_TOKEN for job in 'Pending' / 'Delayed' state": a race at the job's start.
        let early = status == 403 && (text.contains("Pending") || text.contains("Delayed"));
        let transient = early || status.is_server_error() || status == 429;
        return Err(Problem { reason: format!("it answered with status {status}"), transient });
    }
    serde_json::from_slice::<Issued>(&body)
        .map(|issued| issued.value)
        .map_err(|_| Problem { reason: "its answer holds no token".into(), transient: true })
}
