//! The sealing key that is in use, for all who seal with it.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use guard_audit::{KeyError, SealingKey};

/// The key, which may be replaced under way.
#[derive(Debug, Clone)]
pub(crate) struct Keyring(Arc<RwLock<Arc<SealingKey>>>);

impl Keyring {
    /// Reads the key's file, or makes it where there is none.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        SealingKey::load_or_create(path).map(Self::of)
    }

    /// A ring with a key.
    pub(crate) fn of(key: SealingKey) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(key))))
    }

    /// The key in use.
    pub(crate) fn current(&self) -> Arc<SealingKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
