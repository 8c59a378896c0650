//! Policies, parsed once for each text: every exchange asks something of the same few.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use guard_core::{Digest, control::PolicySource};
use guard_policy::Policy;

/// Texts that are kept at most. Sessions may hold older ones than the files; beyond this all are read again.
const MAX_KEPT: usize = 256;

/// The policy of a text; `None` if it cannot be read. What it gives hangs on the text alone, so it does not matter who asked first.
pub(crate) fn parsed(source: &PolicySource) -> Option<Arc<Policy>> {
    static KEPT: LazyLock<Mutex<HashMap<Digest, Arc<Policy>>>> = LazyLock::new(Mutex::default);
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(policy) = kept().get(&source.digest) {
        return Some(policy.clone());
    }
    let policy = Arc::new(Policy::from_source(source).ok()?);
    let mut kept = kept();
    if kept.len() >= MAX_KEPT {
        kept.clear();
    }
    kept.insert(source.digest, policy.clone());
    Some(policy)
}
