//! The one way into the record, on which texts stay behind where the policy records fingerprints only.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use guard_audit::Event;
use guard_core::Literals;
use guard_policy::Policy;
use tokio::sync::watch;

use crate::{Durability, RecordUnavailable, Recorder};

/// A recorder that takes from events what the policy of the moment does not record.
pub(crate) struct Recorded {
    inner: Arc<dyn Recorder>,
    policy: watch::Receiver<Arc<Policy>>,
}

impl Recorded {
    pub(crate) fn new(inner: Arc<dyn Recorder>, policy: watch::Receiver<Arc<Policy>>) -> Self {
        Self { inner, policy }
    }

    fn hides(&self) -> bool {
        match self.policy.borrow().literals() {
            Literals::Text => false,
            Literals::Fingerprint => true,
        }
    }
}

impl Recorder for Recorded {
    fn append(
        &self,
        events: Vec<Event>,
        durability: Durability,
    ) -> BoxFuture<'_, Result<(), RecordUnavailable>> {
        let events = if self.hides() {
            events.into_iter().map(Event::without_texts).collect()
        } else {
            events
        };
        self.inner.append(events, durability)
    }

    fn note(&self, event: Event) {
        self.inner.note(if self.hides() { event.without_texts() } else { event });
    }
}
