//! Which proofs were used already.
//!
//! Kept in memory: a proof lives for a minute, and every request has one. So that a restart forgets
//! nothing, a proof that was made before the broker started is refused; its client makes a new one.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use guard_core::{Digest, Timestamp};

use super::{PROOF_AGE, PROOF_AHEAD};
use crate::jws::Fault;

/// Proofs that are remembered at most: at 32 bytes each, some 100 MB. Beyond it new ones are refused.
const MAX_PROOFS: usize = 1_000_000;

/// Proofs that were used within their life.
#[derive(Debug)]
pub(crate) struct Once {
    since: i64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    keys: HashSet<Digest>,
    /// In the order of use, with the second in which each can be forgotten.
    order: VecDeque<(i64, Digest)>,
}

impl Once {
    /// Remembers proofs from now on.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { since: now.as_second(), used: Mutex::default() }
    }

    /// Notes a proof; an error if it was used, or might have been.
    pub(super) fn spend(
        &self,
        thumbprint: &str,
        jti: &str,
        issued: i64,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if issued < self.since {
            return Err(Fault::new("it was made before the broker started"));
        }
        let now = now.as_second();
        // The thumbprint has no `.`, so no two pairs have one key.
        let key = Digest::of(format!("{thumbprint}.{jti}"));
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
        used.order.push_back((now + PROOF_AGE + PROOF_AHEAD, key));
        Ok(())
    }
}
