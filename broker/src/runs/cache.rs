//! What was made of records, kept within a bound; what was not asked for the longest goes first.

use std::sync::{Arc, Mutex, PoisonError};

use guard_core::SessionId;

use super::{Digested, Values};

/// Bytes that all of it takes, about.
const MOST: usize = 96 << 20;
/// How many are kept, however small.
const MOST_RUNS: usize = 32;
/// A report has bounds of its own, and is a few megabytes where it reaches them.
const REPORT: usize = 1 << 20;

type Key = (SessionId, Values);

/// The last asked for is the last.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Vec<(Key, Arc<Digested>)>>);

impl Cache {
    pub(super) fn find(&self, session: SessionId, values: Values) -> Option<Arc<Digested>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(key, _)| *key == (session, values))?;
        let found = kept.remove(place);
        let digested = found.1.clone();
        kept.push(found);
        Some(digested)
    }

    pub(super) fn keep(&self, session: SessionId, values: Values, digested: Arc<Digested>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(key, _)| *key != (session, values));
        kept.push(((session, values), digested));
        let mut total: usize = kept.iter().map(|(_, one)| one.weight()).sum();
        while kept.len() > 1 && (total > MOST || kept.len() > MOST_RUNS) {
            total -= kept.remove(0).1.weight();
        }
    }
}

impl Digested {
    fn weight(&self) -> usize {
        self.listing.weight() + REPORT
    }
}
