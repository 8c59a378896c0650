//! Token services of platforms, over HTTP.

use std::time::Duration;

use guard_core::Secret;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{AZURE_URL, MAX_TOKEN, REQUEST_URL};

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
/// <https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create>
const AZURE_VERSION: &str = "7.1";

/// A service that gives tokens.
pub(in crate::command::run) enum Service {
    /// GitHub's, and whose protocol is the same.
    Actions { url: String, bearer: Secret, development: bool },
    /// Azure's, which gives tokens for its one audience.
    Azure { url: String, bearer: Secret },
}

struct Problem {
    reason: String,
    transient: bool,
}

/// Either service's answer.
#[derive(Deserialize)]
struct Issued {
    #[serde(alias = "oidcToken")]
    value: Secret,
}

impl Service {
    /// Asks until there is a token, or no more sense in asking.
    pub(super) async fn ask(&self, audience: &str) -> Result<Secret, String> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let problem = match ask(self.request(&client, audience)?).await {
                Ok(token) => return Ok(token),
                Err(problem) => problem,
            };
            let last = tries == TRIES || started.elapsed() + pause > TOTAL;
            if last || !problem.transient {
                return Err(problem.reason);
            }
            tracing::debug!(reason = problem.reason, "asking the platform again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn request(
        &self,
        client: &reqwest::Client,
        audience: &str,
    ) -> Result<reqwest::RequestBuilder, String> {
        let parsed = |name: &str, url: &str| {
            url::Url::parse(url).map_err(|_| format!("{name} is not an address"))
        };
        let request = match self {
            Self::Actions { url, bearer, .. } => {
                let mut url = parsed(REQUEST_URL, url)?;
                url.query_pairs_mut().append_pair("audience", audience);
                client.get(url).bearer_auth(bearer.expose())
            }
            Self::Azure { url, bearer } => {
                let mut url = parsed(AZURE_URL, url)?;
                url.query_pairs_mut().append_pair("api-version", AZURE_VERSION);
                client
                    .post(url)
                    .bearer_auth(bearer.expose())
                    .header("content-type", "application/json")
                    .header("content-length", "0")
            }
        };
        Ok(request.header("accept", "application/json"))
    }
}

async fn ask(request: reqwest::RequestBuilder) -> Result<Secret, Problem> {
    let transient = |error: reqwest::Error| Problem {
        reason: crate::words::chain(&error.without_url()),
        transient: true,
    };
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
