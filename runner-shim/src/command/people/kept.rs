//! What shows brokers who is signed in, kept in a file that only this user reads.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use guard_core::{Secret, Timestamp};
use serde::{Deserialize, Serialize};

/// A longer file is none of ours.
const MAX_FILE: u64 = 1 << 20;

/// Why it cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error("there is no folder to keep it in: set `XDG_CONFIG_HOME` or `HOME`")]
    NoFolder,
    #[error("`{0}` cannot be used: {1}")]
    File(PathBuf, std::io::Error),
    #[error("`{0}` is not what `guard login` writes: remove it")]
    Garbled(PathBuf),
    #[error("`{0}` can be read by others: `chmod 600` it, and sign in again")]
    Open(PathBuf),
}

/// What is kept, by the broker's address.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    brokers: BTreeMap<String, One>,
}

#[derive(Serialize, Deserialize)]
struct One {
    token: String,
    until: Timestamp,
}

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("One").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Kept {
    /// What is kept for this user.
    pub(super) fn load() -> Result<Self, KeptError> {
        let folder = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
        Self::load_from(&config.ok_or(KeptError::NoFolder)?.join("guard"))
    }

    fn load_from(folder: &Path) -> Result<Self, KeptError> {
        let path = folder.join("people.json");
        let failed = |error| KeptError::File(path.clone(), error);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, brokers: BTreeMap::new() });
            }
            Err(error) => return Err(failed(error)),
        };
        if found.mode() & 0o077 != 0 {
            return Err(KeptError::Open(path));
        }
        if found.len() > MAX_FILE {
            return Err(KeptError::Garbled(path));
        }
        let text = fs::read(&path).map_err(failed)?;
        match serde_json::from_slice(&text) {
            Ok(brokers) => Ok(Self { path, brokers }),
            Err(_) => Err(KeptError::Garbled(path)),
        }
    }

    /// Writes the file anew, all or nothing.
    pub(super) fn save(&self) -> Result<(), KeptError> {
        let failed = |error| KeptError::File(self.path.clone(), error);
        if let Some(folder) = self.path.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let fresh = self.path.with_extension(format!("new-{}", std::process::id()));
        let text = serde_json::to_vec_pretty(&self.brokers)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&fresh, &self.path));
        if written.is_err() {
            drop(fs::remove_file(&fresh));
        }
        written.map_err(failed)
    }

    /// Keeps what a broker gave, and forgets what is over.
    pub(super) fn set(&mut self, broker: &str, token: &Secret, until: Timestamp) {
        self.brokers.retain(|_, one| one.until > Timestamp::now());
        let token = token.expose().to_owned();
        self.brokers.insert(broker.to_owned(), One { token, until });
    }

    /// Forgets a broker.
    pub(super) fn remove(&mut self, broker: &str) {
        self.brokers.remove(broker);
    }

    /// What a broker gave, if its time is not over.
    pub(super) fn token(&self, broker: &str) -> Option<Secret> {
        let one = self.brokers.get(broker).filter(|one| one.until > Timestamp::now())?;
        Some(Secret::new(one.token.clone()))
    }

    /// The brokers that are known.
    pub(super) fn brokers(&self) -> impl Iterator<Item = &str> {
        self.brokers.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_this_users_alone_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("config/guard");
        let mut kept = Kept::load_from(&folder).unwrap();
        let later = Timestamp::now() + std::time::Duration::from_secs(60);
        kept.set("https://a", &Secret::new("one".to_owned()), later);
        kept.save().unwrap();
        let file = folder.join("people.json");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let mut again = Kept::load_from(&folder).unwrap();
        assert_eq!(again.token("https://a").unwrap().expose(), "one");
        assert!(again.token("https://b").is_none());
        assert!(!format!("{again:?}").contains("one\""));
        again.set("https://b", &Secret::new("two".to_owned()), Timestamp::UNIX_EPOCH);
        assert!(again.token("https://b").is_none());
        // Whoever opened it to others is told before it is used.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Kept::load_from(&folder), Err(KeptError::Open(_))));
    }
}
