//! Where a run's commands went besides their resources, gathered by host and port.

use std::collections::{BTreeSet, HashMap};

use guard_core::{EgressId, Timestamp};

use super::{EgressReport, Listed, text::beginning};
use crate::Event;

/// Places that are listed.
const MAX_PLACES: usize = 500;
/// Commands that are listed of each.
const MAX_STEPS: usize = 50;
/// Characters of a host or of a reason that are shown.
const MAX_WORDS: usize = 300;

/// What a record's entries say of egress.
#[derive(Default)]
pub(super) struct Egress {
    places: HashMap<(String, u16), usize>,
    list: Vec<EgressReport>,
    /// The place of each attempt of which nobody said what came of it.
    open: HashMap<EgressId, usize>,
    /// Attempts that were refused, by a policy or by the shim.
    pub(super) refused: u64,
}

impl Egress {
    /// Takes an entry. `false` if it speaks of an attempt that the record does not have.
    pub(super) fn take(&mut self, at: Timestamp, event: Event) -> bool {
        match event {
            Event::EgressAsked { egress, host, port, refused, step, policy: _ } => {
                let index = self.place(&host, port, at);
                let Some(place) = self.list.get_mut(index) else { return true };
                place.attempts += 1;
                place.last_at = at;
                if place.steps.len() < MAX_STEPS {
                    place.steps.extend(step);
                }
                match refused {
                    Some(why) => {
                        place.refused += 1;
                        place.why = Some(beginning(&why, MAX_WORDS).into_owned());
                        self.refused += 1;
                    }
                    None => {
                        self.open.insert(egress, index);
                    }
                }
                true
            }
            Event::EgressEnded { egress, outcome } => {
                let index = self.open.remove(&egress);
                let Some(place) = index.and_then(|index| self.list.get_mut(index)) else {
                    return false;
                };
                place.sent = place.sent.saturating_add(outcome.sent);
                place.received = place.received.saturating_add(outcome.received);
                if outcome.refused.is_some() {
                    place.refused += 1;
                    self.refused += 1;
                } else if outcome.failed.is_some() {
                    place.failed += 1;
                }
                if let Some(why) = outcome.refused.or(outcome.failed) {
                    place.why = Some(beginning(&why, MAX_WORDS).into_owned());
                }
                true
            }
            Event::SessionOpened { .. }
            | Event::AttemptRefused { .. }
            | Event::SessionRenewed { .. }
            | Event::Isolated { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::Operation { .. }
            | Event::Statement { .. }
            | Event::Refused { .. }
            | Event::Finished { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::SessionEnded { .. } => true,
        }
    }

    /// The places, those where something was refused first.
    pub(super) fn listed(mut self) -> Listed<EgressReport> {
        self.list.sort_by_key(|place| place.refused == 0);
        Listed::first(self.list, MAX_PLACES)
    }

    fn place(&mut self, host: &str, port: u16, at: Timestamp) -> usize {
        let host = beginning(host, MAX_WORDS).into_owned();
        let next = self.list.len();
        let index = *self.places.entry((host.clone(), port)).or_insert(next);
        if index == next {
            self.list.push(EgressReport {
                host,
                port,
                steps: BTreeSet::new(),
                attempts: 0,
                refused: 0,
                failed: 0,
                why: None,
                sent: 0,
                received: 0,
                first_at: at,
                last_at: at,
            });
        }
        index
    }
}
