//! Leases: stored before there is a credential, given back with their session at the latest.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use guard_audit::Event;
use guard_core::{
    EnforceAt, LeaseId, ResourceName, Timestamp,
    control::{Lease, PolicySource},
};
use guard_policy::Policy;

use super::{Caller, Found, Session, Sessions};
use crate::{
    config::ResourceConfig,
    credentials::{self, Ask, CredentialError, Handle, NoteHandle},
    error::{Refusal, chain},
    store::{LeaseRow, LeaseState, Store},
};

/// Of the time that a credential lasts, what is left when it is made to last longer.
const RENEW_AT: u32 = 3;
/// It is not made to last longer more often than this.
const RENEW_LEAST: Duration = Duration::from_secs(10);

impl Sessions {
    /// Takes a credential for an enforcement point of a session.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        caller: &Caller,
        session: &Arc<Session>,
        resource: &ResourceName,
    ) -> Result<Lease, Refusal> {
        let (grant, source) = session.live_grant(resource)?;
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
        let taking = Taking {
            resource: configured.clone(),
            policy: parse(source)?,
            session: session.clone(),
            holder: caller.name().to_owned(),
            until: grant.until,
        };
        // Whoever asked may go away: what was begun is brought to its end nevertheless.
        let sessions = self.clone();
        let taken = self.tasks.spawn(async move { sessions.take(taking).await });
        taken.await.map_err(|_| Refusal::Internal("a lease was not taken to its end".into()))?
    }

    async fn take(&self, taking: Taking) -> Result<Lease, Refusal> {
        let Taking { resource, policy, session, holder, until } = taking;
        let id = LeaseId::from_uuid(uuid::Uuid::now_v7());
        let ask = Ask {
            lease: id,
            session: session.row.id,
            run: Some(&session.row.identity),
            policy: &policy,
            until,
        };
        let name = resource.spec.name.clone();
        let handle =
            credentials::source(&resource).plan(&ask).map_err(|e| unavailable(&name, &e))?;
        let mut row = LeaseRow {
            id,
            session: session.row.id,
            resource: name.clone(),
            holder,
            handle,
            username: String::new(),
            state: LeaseState::Wanted,
            handed_out: false,
            until,
            tries: 0,
            problem: None,
            next_try: Timestamp::UNIX_EPOCH,
        };
        // INVARIANT: a credential that the store does not know of is never made.
        if !self.store.add_lease(&row).await? {
            self.refresh(&session).await?;
            session.require_live()?;
            return Err(Refusal::LeaseUnavailable("the session has too many leases".into()));
        }
        let notes = Notes { store: &self.store, id };
        let taken = match credentials::take(&resource, &ask, &row.handle, &notes).await {
            Ok(taken) => taken,
            Err(error) => {
                // Something may be there all the same.
                self.take_back(id).await;
                return Err(unavailable(&name, &error));
            }
        };
        for warning in &taken.warnings {
            tracing::warn!(session = %session.row.id, resource = %name, warning, "a credential is not all that was asked for");
        }
        row.handle = taken.handle;
        row.username.clone_from(&taken.username);
        row.until = taken.until;
        let renew = if taken.renewable { renew_in(taken.until, until) } else { None };
        // Whoever has one that is renewed need not ask for another.
        let told = if taken.renewable { until } else { taken.until };
        if !self.store.lease_out(&row, renew).await? {
            // The session ended meanwhile. Its credential may have been looked for before it was there.
            self.take_back(id).await;
            self.refresh(&session).await?;
            session.require_live()?;
            return Err(Refusal::LeaseUnavailable("the credential is being taken back".into()));
        }
        let event = Event::LeaseTaken {
            lease: id,
            resource: name,
            username: taken.username.clone(),
            holder: row.holder,
        };
        if let Err(error) = session.record.append_own(event).await {
            self.take_back(id).await;
            return Err(error.into());
        }
        // If the session ended meanwhile, what ends it gives the lease back, and nobody gets it.
        self.refresh(&session).await?;
        session.require_live()?;
        Ok(Lease {
            id,
            username: taken.username,
            password: taken.password,
            session_token: taken.more.session_token,
            certificate: taken.more.certificate,
            until: told,
        })
    }

    /// Gives a credential back. One that is not there is given back already.
    pub(crate) async fn release(&self, caller: &Caller, id: LeaseId) -> Result<(), Refusal> {
        let Some(lease) = self.store.lease(id).await? else { return Ok(()) };
        let own = match caller {
            Caller::Shim(own) => own.row.id == lease.session,
            Caller::Gateway(_) => true,
        };
        if !own || lease.holder != caller.name() {
            return Err(Refusal::Forbidden("the lease is another enforcement point's".into()));
        }
        if !lease.state.is_held() {
            return Ok(());
        }
        // What cannot be taken back now is tried again: whoever had it is done.
        self.take_back(id).await;
        if let Some(Found::Open(session)) = self.by_id(lease.session).await? {
            // Who ends the session waits for this.
            session.state.send_modify(|_| {});
        }
        Ok(())
    }
}

/// A credential that is to be taken.
struct Taking {
    resource: ResourceConfig,
    policy: Policy,
    session: Arc<Session>,
    holder: String,
    until: Timestamp,
}

/// Stores what is known of a credential that is being made.
struct Notes<'a> {
    store: &'a Store,
    id: LeaseId,
}

impl NoteHandle for Notes<'_> {
    fn note<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async move {
            match self.store.note_handle(self.id, handle).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(CredentialError("the lease is being taken back".into())),
                Err(error) => Err(CredentialError(chain(&error))),
            }
        }
        .boxed()
    }
}

/// When a credential has to be made to last longer: where it ends before it is needed no more.
pub(super) fn renew_in(until: Timestamp, needed: Timestamp) -> Option<Duration> {
    if until >= needed {
        return None;
    }
    let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
    Some((left - left / RENEW_AT).max(RENEW_LEAST))
}

/// The policy of a grant.
pub(super) fn parse(source: &PolicySource) -> Result<Policy, Refusal> {
    Policy::from_source(source)
        .map_err(|_| Refusal::Internal(format!("policy `{}` does not parse", source.name)))
}

/// The caller learns that there is none, the log why.
fn unavailable(resource: &ResourceName, error: &CredentialError) -> Refusal {
    tracing::error!(%resource, reason = error.0, "a credential cannot be had");
    Refusal::LeaseUnavailable("the credential cannot be had".into())
}
