//! Leases: stored before they are handed out, given back with their session at the latest.

use std::sync::Arc;

use guard_audit::Event;
use guard_core::{EnforceAt, LeaseId, ResourceName, control::Lease};

use super::{Caller, Found, Session, Sessions, secrets};
use crate::{error::Refusal, store::LeaseRow};

impl Sessions {
    /// Takes a credential for an enforcement point of a session.
    pub(crate) async fn lease(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        resource: &ResourceName,
    ) -> Result<Lease, Refusal> {
        let (grant, _) = session.live_grant(resource)?;
        let config = self.config();
        let Some(configured) = config.resources.get(resource) else {
            return Err(Refusal::Forbidden(format!("`{resource}` is no resource any more")));
        };
        let may = match (caller, configured.spec.enforce_at) {
            (Caller::Gateway(name), EnforceAt::Gateway) => {
                self.has_tunnel(session, name, Some(resource)).await?
            }
            (Caller::Shim(_), EnforceAt::Shim) => true,
            // INVARIANT: a credential that is enforced at the gateway never goes to a job.
            (Caller::Shim(_), EnforceAt::Gateway) | (Caller::Gateway(_), EnforceAt::Shim) => false,
        };
        if !may {
            return Err(Refusal::Forbidden(format!("`{resource}` is not enforced here")));
        }
        let password = secrets::read(&configured.credential.password).await?;
        let holder = caller.name().to_owned();
        let id = LeaseId::from_uuid(uuid::Uuid::now_v7());
        let lease = LeaseRow { id, resource: resource.clone(), holder };
        if !self.store.add_lease(session.row.id, &lease).await? {
            self.refresh(session).await?;
            session.require_live()?;
            return Err(Refusal::LeaseUnavailable("the session has too many leases".into()));
        }
        let username = configured.credential.username.clone();
        let taken = Event::LeaseTaken {
            lease: lease.id,
            resource: resource.clone(),
            username: username.clone(),
            holder: lease.holder,
        };
        session.record.append_own(taken).await?;
        // If the session ended meanwhile, what ends it gives the lease back, and nobody gets it.
        self.refresh(session).await?;
        session.require_live()?;
        Ok(Lease { id: lease.id, username, password, until: grant.until })
    }

    /// Gives a credential back. One that is not there is given back already.
    pub(crate) async fn release(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        let Some((session, holder)) = self.store.lease_holder(id).await? else { return Ok(()) };
        let own = match caller {
            Caller::Shim(own) => own.row.id == session,
            Caller::Gateway(_) => true,
        };
        if !own || holder != caller.name() {
            return Err(Refusal::Forbidden("the lease is another enforcement point's".into()));
        }
        match self.by_id(session).await? {
            Some(Found::Open(session)) => self.give_back(&session, id).await,
            // What sealed it has given it back, or will.
            Some(Found::Closed(_)) | None => Ok(()),
        }
    }

    /// Notes in record and store that a lease is over. A static credential has nothing to revoke.
    pub(super) async fn give_back(&self, session: &Session, id: LeaseId) -> Result<(), Refusal> {
        session.record.append_own(Event::LeaseReleased { lease: id, problem: None }).await?;
        self.store.remove_lease(id).await?;
        // Who ends the session waits for this.
        session.state.send_modify(|_| {});
        Ok(())
    }
}
