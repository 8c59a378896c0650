//! Programs that print tokens.

use std::{io, process::Stdio, time::Duration};

use guard_core::Secret;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};
use zeroize::Zeroizing;

use super::{MAX_TOKEN, TokenError};
use crate::sandbox::give_platform;

/// A program that has not printed its token by then is not going to.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A program that gives tokens.
pub(in crate::command::run) enum Program {
    /// <https://buildkite.com/docs/agent/v3/cli-oidc>
    Buildkite,
    /// <https://circleci.com/docs/oidc-tokens-with-custom-claims/>; where it is not there, the token of the job's
    /// variable has to do.
    Circleci { otherwise: Secret },
    /// What the command line says.
    Shell(String),
}

impl Program {
    /// Runs it.
    pub(super) async fn ask(&self, audience: &str) -> Result<Secret, TokenError> {
        let (name, mut command) = match self {
            Self::Buildkite => {
                let mut command = Command::new("buildkite-agent");
                command.args(["oidc", "request-token", "--audience", audience]);
                // Ids, which trust rules need, are there only when they are asked for.
                command.args(["--claim", "organization_id", "--claim", "pipeline_id"]);
                ("buildkite-agent", command)
            }
            Self::Circleci { .. } => {
                let claims = serde_json::json!({ "aud": audience }).to_string();
                let mut command = Command::new("circleci");
                command.args(["run", "oidc", "get", "--claims", &claims]);
                ("circleci", command)
            }
            Self::Shell(text) => {
                let mut command = Command::new("sh");
                command.args(["-c", text]).env("GUARD_AUDIENCE", audience);
                ("sh", command)
            }
        };
        give_platform(command.as_std_mut());
        let failed = |reason: String| TokenError::Program { program: name.to_owned(), reason };
        match (timeout(TIMEOUT, printed(&mut command)).await, self) {
            (Ok(Ok(token)), _) => Ok(token),
            (Ok(Err(error)), Self::Circleci { otherwise })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(otherwise.clone())
            }
            (Ok(Err(error)), _) => Err(failed(error.to_string())),
            (Err(_), _) => Err(failed("it takes too long".into())),
        }
    }
}

/// What a program prints; its complaints go where guard's go.
async fn printed(command: &mut Command) -> io::Result<Secret> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut text = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_TOKEN as u64 + 1).read_to_end(&mut text).await?;
    }
    if text.len() > MAX_TOKEN {
        return Err(io::Error::other(format!("it prints more than {MAX_TOKEN} bytes")));
    }
    let status = child.wait().await?;
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    let token = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(io::Error::other("it prints no token"));
    }
    Ok(Secret::new(token))
}
