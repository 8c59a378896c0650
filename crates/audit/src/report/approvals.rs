//! What people were asked in a session, gathered from its record.

use std::collections::HashMap;

use guard_core::{ApprovalId, ApprovalState, Timestamp};

use super::{ApprovalReport, StatementText, text::beginning};
use crate::Event;

/// Characters of a reason that a report shows.
const MAX_REASON: usize = 1_000;

/// The requests of a record, in the order of their first entry.
#[derive(Default)]
pub(super) struct Approvals {
    places: HashMap<ApprovalId, usize>,
    pub(super) list: Vec<ApprovalReport>,
}

impl Approvals {
    /// Takes an event about a request. `statement` finds the text of an operation by its writer and number.
    pub(super) fn take(
        &mut self,
        at: Timestamp,
        event: Event,
        statement: impl FnOnce(&str, u64) -> Option<StatementText>,
    ) {
        match event {
            Event::ApprovalAsked {
                approval,
                resource,
                asked_by,
                operation,
                terms,
                wait,
                until,
                digest: _,
                what: _,
                policy: _,
                address: _,
            } => {
                let known = self.one(approval);
                known.resource = Some(resource);
                known.statement = statement(&asked_by, operation);
                known.terms = terms;
                known.wait = Some(wait);
                known.asked_at = Some(at);
                known.until = Some(until);
            }
            Event::ApprovalDecided { approval, state, by, reasons } => {
                let known = self.one(approval);
                known.state = state;
                known.decided_at = Some(at);
                known.by = by;
                known.reasons = reasons
                    .iter()
                    .map(|reason| beginning(reason.reveal(), MAX_REASON).into_owned())
                    .collect();
            }
            Event::ApprovalUsed { approval, asked_in, by, digest: _ } => {
                let known = self.one(approval);
                known.state = ApprovalState::Used;
                known.used_at = Some(at);
                known.asked_in = Some(asked_in);
                known.by = by;
            }
            Event::SessionOpened { .. }
            | Event::AttemptRefused { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::SessionRenewed { .. }
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
            | Event::SessionEnded { .. } => {}
        }
    }

    fn one(&mut self, id: ApprovalId) -> &mut ApprovalReport {
        let place = *self.places.entry(id).or_insert(self.list.len());
        if place == self.list.len() {
            self.list.push(ApprovalReport {
                id,
                resource: None,
                statement: None,
                terms: Vec::new(),
                wait: None,
                asked_at: None,
                until: None,
                state: ApprovalState::Waiting,
                decided_at: None,
                by: Vec::new(),
                reasons: Vec::new(),
                used_at: None,
                asked_in: None,
            });
        }
        // INVARIANT: the place is one of the list's.
        #[expect(clippy::indexing_slicing, reason = "the entry was made above")]
        &mut self.list[place]
    }
}
