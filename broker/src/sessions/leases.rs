//! Leases: stored before they are handed out, given back with their session at the latest.

use std::{sync::Arc, time::Duration};

use guard_audit::Event;
use guard_core::{EnforceAt, LeaseId, ResourceName, Secret, control::Lease};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::{Caller, Session, Sessions, opening::lease_id};
use crate::{config::SecretSource, error::Refusal, store::LeaseRow};

/// Leases that one session may have out. An enforcement point needs one for each resource, and takes a
/// new one when it starts again.
const MAX_LEASES: usize = 64;
/// A password file is not longer.
const MAX_PASSWORD: u64 = 64 * 1024;
/// A file system that does not answer for this long is down.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

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
        let password = read_secret(&configured.credential.password).await?;
        let holder = caller.name().to_owned();
        let lease = LeaseRow { id: lease_id(), resource: resource.clone(), holder };
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

/// Reads a secret where the configuration says that it is.
pub(super) async fn read_secret(source: &SecretSource) -> Result<Secret, Refusal> {
    let unavailable = |reason: String| {
        tracing::error!(reason, "a credential cannot be had");
        Refusal::LeaseUnavailable("the credential cannot be had".into())
    };
    let text = match source {
        SecretSource::File(path) => {
            let shown = path.display();
            let read = async {
                let mut text = Zeroizing::new(String::new());
                let file = tokio::fs::File::open(path).await?;
                file.take(MAX_PASSWORD).read_to_string(&mut text).await?;
                Ok::<_, std::io::Error>(text)
            };
            let read = tokio::time::timeout(READ_TIMEOUT, read).await;
            let text = read
                .map_err(|_| unavailable(format!("`{shown}` does not answer")))?
                .map_err(|error| unavailable(format!("`{shown}` cannot be read: {error}")))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
        SecretSource::Env(name) => std::env::var(name)
            .map(Zeroizing::new)
            .map_err(|_| unavailable(format!("the variable `{name}` is not set")))?,
    };
    if text.is_empty() {
        return Err(unavailable("the secret is empty".into()));
    }
    Ok(Secret::new(text.as_str()))
}
