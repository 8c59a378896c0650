//! Secrets that the configuration names and the broker reads when it needs them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use guard_core::Secret;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::CredentialError;
use crate::config::SecretSource;

/// A file with a secret is not longer.
const MAX_SECRET: u64 = 64 * 1024;
/// A file system that does not answer for this long is down.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Where systemd puts a service's credentials:
/// <https://systemd.io/CREDENTIALS/>.
const SYSTEMD_FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// Reads a secret where the configuration says that it is.
pub(crate) async fn read(source: &SecretSource) -> Result<Secret, CredentialError> {
    let text = match source {
        SecretSource::File(path) => file(path).await?,
        SecretSource::Env(name) => std::env::var(name)
            .map(Zeroizing::new)
            .map_err(|_| CredentialError(format!("the variable `{name}` is not set")))?,
        SecretSource::Systemd(name) => {
            let Some(folder) = std::env::var_os(SYSTEMD_FOLDER) else {
                return Err(CredentialError(format!(
                    "`{SYSTEMD_FOLDER}` is not set: systemd gave the broker no credentials"
                )));
            };
            file(&PathBuf::from(folder).join(name)).await?
        }
    };
    if text.is_empty() {
        return Err(CredentialError("the secret is empty".into()));
    }
    Ok(Secret::new(text.as_str()))
}

async fn file(path: &Path) -> Result<Zeroizing<String>, CredentialError> {
    let shown = path.display();
    let read = async {
        let mut text = Zeroizing::new(String::new());
        let file = tokio::fs::File::open(path).await?;
        file.take(MAX_SECRET).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let text = tokio::time::timeout(READ_TIMEOUT, read)
        .await
        .map_err(|_| CredentialError(format!("`{shown}` does not answer")))?
        .map_err(|error| CredentialError(format!("`{shown}` cannot be read: {error}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
