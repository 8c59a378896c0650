//! Which proofs were used already.
//!
//! A proof lives for a minute. Where one broker has the store, they are kept in its memory; so that a restart
//! forgets nothing, a proof that was made before the broker started is refused, and its client makes a new one. Where
//! brokers share the store, proofs of what must not be done twice are kept there, and the memory is only for those
//! whose repetition changes nothing.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use guard_core::{Digest, Timestamp};

use super::{PROOF_AGE, PROOF_AHEAD, Proven};
use crate::{
    error::Refusal,
    jws::Fault,
    store::{Store, StoreError},
};

/// Proofs that are remembered at most: at 32 bytes each, some 100 MB. Beyond it new ones are refused.
const MAX_PROOFS: usize = 1_000_000;

/// Proofs that were used within their life.
#[derive(Debug)]
pub(crate) struct Once {
    /// The store that is shared, where one is; otherwise when this broker began to remember.
    shared: Result<Store, i64>,
    used: Mutex<Used>,
}

/// Where a proof counts as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// At the broker that saw it: what it is for is the same if it is done again.
    ThisBroker,
    /// At every broker that shares the store.
    AllBrokers,
}

/// A proof that cannot be used.
#[derive(Debug)]
pub(crate) enum SpendError {
    /// It was used, or might have been.
    Fault(Fault),
    /// The store does not say.
    Store(StoreError),
}

#[derive(Debug, Default)]
struct Used {
    keys: HashSet<Digest>,
    /// In the order of use, with the second in which each can be forgotten.
    order: VecDeque<(i64, Digest)>,
}

impl Once {
    /// Remembers proofs from now on.
    pub(crate) fn new(store: &Store, now: Timestamp) -> Self {
        let shared = if store.is_shared() { Ok(store.clone()) } else { Err(now.as_second()) };
        Self { shared, used: Mutex::default() }
    }

    /// Uses a proof up; an error if it was used, or might have been.
    pub(crate) async fn spend(
        &self,
        proven: &Proven,
        scope: Scope,
        now: Timestamp,
    ) -> Result<(), SpendError> {
        // The thumbprint has no `.`, so no two pairs have one key.
        let key = Digest::of(format!("{}.{}", proven.thumbprint, proven.jti));
        let forget_after = now.as_second() + PROOF_AGE + PROOF_AHEAD;
        match (&self.shared, scope) {
            (Ok(store), Scope::AllBrokers) => {
                match store.use_proof(key.to_string(), forget_after).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(SpendError::Fault(Fault::new("it was used before"))),
                    Err(error) => Err(SpendError::Store(error)),
                }
            }
            (Err(since), Scope::AllBrokers | Scope::ThisBroker) if proven.issued < *since => {
                Err(SpendError::Fault(Fault::new("it was made before the broker started")))
            }
            (Ok(_) | Err(_), Scope::AllBrokers | Scope::ThisBroker) => {
                self.remember(key, forget_after, now.as_second()).map_err(SpendError::Fault)
            }
        }
    }

    fn remember(&self, key: Digest, forget_after: i64, now: i64) -> Result<(), Fault> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while used.order.front().is_some_and(|(until, _)| *until < now) {
            if let Some((_, old)) = used.order.pop_front() {
                used.keys.remove(&old);
            }
        }
        if used.keys.contains(&key) {
            return Err(Fault::new("it was used before"));
        }
        if used.keys.len() >= MAX_PROOFS {
            return Err(Fault::new("too many proofs are in use"));
        }
        used.keys.insert(key);
        used.order.push_back((forget_after, key));
        Ok(())
    }
}

impl From<SpendError> for Refusal {
    fn from(error: SpendError) -> Self {
        match error {
            SpendError::Fault(fault) => fault.into(),
            SpendError::Store(error) => error.into(),
        }
    }
}
