//! One session, as this broker knows it: what never changes, and the last that was heard of the rest.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use guard_core::{
    EndReason, Grant, ResourceName, Timestamp,
    control::{PolicySource, SessionEnded},
};
use tokio::sync::watch;

use crate::{
    error::Refusal,
    record::Record,
    store::{SessionRow, StateRow},
};

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) row: SessionRow,
    pub(super) record: Record,
    /// The store's word, as it was last heard.
    pub(super) state: watch::Sender<StateRow>,
    /// Tunnels that are known to be authorized; the store may know of more.
    tunnels: Mutex<BTreeSet<(String, ResourceName)>>,
    /// How far the store knows the record's file to reach.
    pub(super) noted: AtomicU64,
    /// Refused attempts of its job that were recorded here.
    pub(super) attempts: AtomicU64,
    /// Renewals that were recorded here.
    pub(super) renewals: AtomicU64,
    /// Words of its shim on the isolation of commands that were recorded here.
    pub(super) isolated: AtomicU64,
    /// Attempts of its commands to go elsewhere that came here.
    pub(super) egress: AtomicU64,
    /// What was said here of how they ended.
    pub(super) egress_ended: AtomicU64,
}

impl Session {
    pub(super) fn new(row: SessionRow, record: Record, state: StateRow) -> Self {
        let noted = state.reached.map_or(0, |(entries, _)| entries);
        Self {
            row,
            record,
            state: watch::Sender::new(state),
            tunnels: Mutex::default(),
            noted: AtomicU64::new(noted),
            attempts: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            isolated: AtomicU64::new(0),
            egress: AtomicU64::new(0),
            egress_ended: AtomicU64::new(0),
        }
    }

    /// Takes the store's word.
    pub(super) fn hear(&self, mut state: StateRow) {
        if let Some(notices) = self.record.noticed() {
            state.notices = notices;
        }
        self.state.send_if_modified(|known| {
            // Answers may overtake each other: what has come true stays.
            let older = (known.ended.is_some() && state.ended.is_none())
                || (known.sealed && !state.sealed)
                || known.notices > state.notices;
            let changed = !older && *known != state;
            if changed {
                *known = state;
            }
            changed
        });
    }

    /// Notes that there are notices.
    pub(super) fn noticed(&self, notices: u64) {
        self.state.send_if_modified(|known| {
            let more = known.notices < notices;
            known.notices = known.notices.max(notices);
            more
        });
    }

    /// Why it is over, if it is.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.state.borrow().ended.map(|(reason, _)| reason)
    }

    /// What its sealed record holds.
    pub(super) fn sealed_state(&self) -> Option<SessionEnded> {
        sealed(&self.state.borrow())
    }

    /// An error if it is over, as far as this broker has heard.
    pub(crate) fn require_live(&self) -> Result<(), Refusal> {
        match self.ended() {
            Some(reason) => Err(Refusal::SessionOver(reason)),
            None if self.row.until <= Timestamp::now() => {
                Err(Refusal::SessionOver(EndReason::Expired))
            }
            None => Ok(()),
        }
    }

    pub(super) fn live_grant(
        &self,
        resource: &ResourceName,
    ) -> Result<&(Grant, PolicySource), Refusal> {
        self.require_live()?;
        let found = self.row.grants.iter().find(|(grant, _)| grant.resource == *resource);
        let Some(found) = found else {
            return Err(Refusal::Forbidden(format!("the session has no grant for `{resource}`")));
        };
        if found.0.until <= Timestamp::now() {
            return Err(Refusal::SessionOver(EndReason::Expired));
        }
        Ok(found)
    }

    fn tunnels(&self) -> MutexGuard<'_, BTreeSet<(String, ResourceName)>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session's shim is known to have come to this gateway, for this resource or for any.
    pub(super) fn knows_tunnel(&self, gateway: &str, resource: Option<&ResourceName>) -> bool {
        let fits = |of: &ResourceName| resource.is_none_or(|resource| resource == of);
        self.tunnels().iter().any(|(name, of)| name == gateway && fits(of))
    }

    /// Notes that it did.
    pub(super) fn know_tunnels(&self, tunnels: impl IntoIterator<Item = (String, ResourceName)>) {
        self.tunnels().extend(tunnels);
    }
}

/// What a sealed record holds.
pub(super) fn sealed(state: &StateRow) -> Option<SessionEnded> {
    let (entries, head) = state.reached.filter(|_| state.sealed)?;
    Some(SessionEnded { entries, head, unreleased: std::collections::BTreeMap::new() })
}
