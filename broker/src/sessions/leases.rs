//! Leases: stored before they are handed out, given back with their session at the latest.

use std::sync::Arc;

use guard_audit::Event;
use guard_core::{EnforceAt, LeaseId, ResourceName, control::Lease};

use super::{Caller, Session, Sessions, secrets};
use crate::{error::Refusal, store::LeaseRow};

/// Leases that one session may have out. An enforcement point needs one for each resource, and takes a
/// new one when it starts again.
const MAX_LEASES: usize = 64;

impl Sessions {
    /// Takes a credential for an enforcement point of a session.
    pub(crate) async fn lease(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        resource: &ResourceName,
    ) -> Result<Lease, Refusal> {
        let (grant, _) = session.live_grant(resource)?;
        let Some(configured) = self.config.resources.get(resource) else {
            return Err(Refusal::Forbidden(format!("`{resource}` is no resource any more")));
        };
        let may = match (caller, configured.spec.enforce_at) {
            (Caller::Gateway(name), EnforceAt::Gateway) => session.has_tunnel(name, resource),
            (Caller::Shim(_), EnforceAt::Shim) => true,
            // INVARIANT: a credential that is enforced at the gateway never goes to a job.
            (Caller::Shim(_), EnforceAt::Gateway) | (Caller::Gateway(_), EnforceAt::Shim) => false,
        };
        if !may {
            return Err(Refusal::Forbidden(format!("`{resource}` is not enforced here")));
        }
        if session.leases.borrow().len() >= MAX_LEASES {
            return Err(Refusal::LeaseUnavailable("the session has too many leases".into()));
        }
        let password = secrets::read(&configured.credential.password).await?;
        let holder = caller.name().to_owned();
        let id = LeaseId::from_uuid(uuid::Uuid::now_v7());
        let lease = LeaseRow { id, resource: resource.clone(), holder };
        self.store.add_lease(session.row.id, &lease).await?;
        session.leases.send_modify(|leases| {
            leases.insert(lease.id, lease.clone());
        });
        let username = configured.credential.username.clone();
        let taken = Event::LeaseTaken {
            lease: lease.id,
            resource: resource.clone(),
            username: username.clone(),
            holder: lease.holder,
        };
        session.record_own(taken).await?;
        // If the session ended meanwhile, what ends it gives the lease back, and nobody gets it.
        session.require_live()?;
        Ok(Lease { id: lease.id, username, password, until: grant.until })
    }

    /// Gives a credential back. One that is not there is given back already.
    pub(crate) async fn release(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        let held = match caller {
            Caller::Shim(session) => Some(session.clone()),
            Caller::Gateway(_) => {
                let live = self.live();
                let mut sessions = live.by_id.values();
                sessions.find(|session| session.leases.borrow().contains_key(&id)).cloned()
            }
        };
        let Some(session) = held else { return Ok(()) };
        let holder = session.leases.borrow().get(&id).map(|lease| lease.holder.clone());
        match holder {
            Some(holder) if holder == caller.name() => self.give_back(&session, id).await,
            Some(_) => Err(Refusal::Forbidden("the lease is another enforcement point's".into())),
            None => Ok(()),
        }
    }

    /// Notes in record and store that a lease is over. A static credential has nothing to revoke.
    pub(super) async fn give_back(&self, session: &Session, id: LeaseId) -> Result<(), Refusal> {
        session.record_own(Event::LeaseReleased { lease: id, problem: None }).await?;
        self.store.remove_lease(id).await?;
        session.leases.send_modify(|leases| {
            leases.remove(&id);
        });
        Ok(())
    }
}

impl Session {
    /// Appends an event of the broker's own.
    async fn record_own(&self, event: Event) -> Result<(), Refusal> {
        let record = self.record.clone();
        let appended =
            tokio::task::spawn_blocking(move || record.append_own(std::slice::from_ref(&event)));
        appended.await.map_err(|error| Refusal::Internal(error.to_string()))??;
        Ok(())
    }
}
