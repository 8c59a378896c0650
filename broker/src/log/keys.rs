//! The sealing key that is in use, for all who seal with it, and its file.
//!
//! A key is replaced in three steps, and whoever finds them half done does the rest: the new key lies beside the old one
//! (`….new`), the log says that it is in use, and its file takes the old one's place.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use guard_audit::{KeyError, PublicKey, SealingKey};

/// The key, which may be replaced under way.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    key: Arc<RwLock<Arc<SealingKey>>>,
    path: Arc<PathBuf>,
}

impl Keyring {
    /// Reads the key's file, or makes it where there is none.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let key = SealingKey::load_or_create(path)?;
        Ok(Self { key: Arc::new(RwLock::new(Arc::new(key))), path: Arc::new(path.to_owned()) })
    }

    /// The key in use.
    pub(crate) fn current(&self) -> Arc<SealingKey> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that takes the place of the one in use: made, or found from an attempt before. Its file lies beside the other.
    pub(crate) fn next(&self) -> Result<SealingKey, KeyError> {
        SealingKey::load_or_create(&self.beside())
    }

    /// Takes up the key that the log says is in use, if its file is here. `false` if it is not.
    pub(crate) fn follow(&self, used: &PublicKey) -> Result<bool, KeyError> {
        if self.current().public() == *used {
            return Ok(true);
        }
        let mut found = SealingKey::load(&self.path)?;
        if found.public() != *used {
            let beside = self.beside();
            match SealingKey::load(&beside) {
                Ok(next) if next.public() == *used => {
                    let failed = |source: io::Error| {
                        let path = self.path.display().to_string();
                        KeyError::File { path, source }
                    };
                    fs::rename(&beside, &*self.path).map_err(failed)?;
                    let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty());
                    let folder = folder.unwrap_or_else(|| Path::new("."));
                    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
                    found = next;
                }
                // Another broker on this folder may just have taken its place.
                Ok(_) | Err(_) => {
                    found = SealingKey::load(&self.path)?;
                    if found.public() != *used {
                        return Ok(false);
                    }
                }
            }
        }
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        Ok(true)
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_os_string();
        name.push(".new");
        self.path.with_file_name(name)
    }
}
