//! Secrets that the configuration names and the broker reads when it needs them.

use std::time::Duration;

use guard_core::Secret;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use crate::{config::SecretSource, error::Refusal};

/// A file with a secret is not longer.
const MAX_SECRET: u64 = 64 * 1024;
/// A file system that does not answer for this long is down.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a secret where the configuration says that it is.
pub(crate) async fn read(source: &SecretSource) -> Result<Secret, Refusal> {
    let unavailable = |reason: String| {
        tracing::error!(reason, "a credential cannot be had");
        Refusal::LeaseUnavailable("the credential cannot be had".into())
    };
    let text = match source {
        SecretSource::File(path) => {
            let shown = path.display();
            let read = async {
                let mut text = Zeroizing::new(String::new());
                let file = tokio::fs::File::open(path).await?;
                file.take(MAX_SECRET).read_to_string(&mut text).await?;
                Ok::<_, std::io::Error>(text)
            };
            let read = tokio::time::timeout(READ_TIMEOUT, read).await;
            let text = read
                .map_err(|_| unavailable(format!("`{shown}` does not answer")))?
                .map_err(|error| unavailable(format!("`{shown}` cannot be read: {error}")))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
        SecretSource::Env(name) => std::env::var(name)
            .map(Zeroizing::new)
            .map_err(|_| unavailable(format!("the variable `{name}` is not set")))?,
    };
    if text.is_empty() {
        return Err(unavailable("the secret is empty".into()));
    }
    Ok(Secret::new(text.as_str()))
}
