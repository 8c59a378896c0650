//! Taking credentials back: when they are given back, when their session ends, and whenever that did not work, until it does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use guard_audit::Event;
use guard_core::{LeaseId, SessionId};

use super::{Found, Session, Sessions, leases::renew_in};
use crate::{
    credentials::{self, REVOKE_DEADLINE},
    error::Refusal,
    store::{LeaseRow, StoreError},
};

/// How long nobody else takes a lease back that somebody is at: longer than that may take.
const CLAIM: Duration = Duration::from_secs(30);
/// How long the end of a session waits for what its leases' sources say.
const END_DEADLINE: Duration = Duration::from_secs(8);
/// After the first attempt that failed; twice as long after each other one.
const AGAIN: Duration = Duration::from_secs(2);
/// But not longer than this.
const AGAIN_MOST: Duration = Duration::from_secs(300);
/// Leases that are taken up at once.
const CLAIMS: usize = 32;

impl Sessions {
    /// Takes a lease back. What does not work is tried again by whichever broker.
    pub(super) async fn take_back(&self, id: LeaseId) {
        let taken = async {
            let Some(lease) = self.store.begin_revoking(id, CLAIM).await? else { return Ok(()) };
            self.reap(&lease).await
        };
        if let Err(error) = taken.await {
            let error = error.reason();
            tracing::error!(lease = %id, error, "cannot note that a credential was taken back");
        }
    }

    /// Takes a lease back that this broker claimed.
    async fn reap(&self, lease: &LeaseRow) -> Result<(), Refusal> {
        if let Err(problem) = self.revoke(lease, REVOKE_DEADLINE).await {
            return self.note_failure(lease, &problem).await.map_err(Refusal::from);
        }
        if lease.handed_out
            && let Some(Found::Open(session)) = self.by_id(lease.session).await?
        {
            self.refresh(&session).await?;
            if session.sealed_state().is_none() {
                let released = Event::LeaseReleased { lease: lease.id, problem: None };
                session.record.append_own(released).await?;
            }
        }
        if lease.problem.is_some() {
            tracing::warn!(session = %lease.session, lease = %lease.id, tries = lease.tries,
                "a credential that could not be taken back is taken back now");
        }
        self.store.forget_lease(lease).await?;
        Ok(())
    }

    async fn revoke(&self, lease: &LeaseRow, deadline: Duration) -> Result<(), String> {
        let config = self.config();
        let resource = config.resources.get(&lease.resource);
        credentials::revoke(&lease.resource, resource, &lease.handle, deadline)
            .await
            .map_err(|error| error.0)
    }

    async fn note_failure(&self, lease: &LeaseRow, problem: &str) -> Result<(), StoreError> {
        let doubled = u32::try_from(lease.tries.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let again = (AGAIN * 2_u32.pow(doubled)).min(AGAIN_MOST);
        tracing::error!(session = %lease.session, lease = %lease.id, resource = %lease.resource,
            username = lease.username, tries = lease.tries, again_in = ?again, problem,
            "a credential cannot be taken back");
        self.store.lease_failed(lease.id, problem, again).await
    }

    /// Takes all leases of a session back before its record is sealed, which tells of those that cannot be.
    pub(super) async fn take_all_back(&self, session: &Session) -> Result<(), Refusal> {
        let leases = self.store.leases(session.row.id).await?;
        let begun = leases.iter().map(|lease| self.store.begin_revoking(lease.id, CLAIM));
        let begun: Result<Vec<_>, _> = join_all(begun).await.into_iter().collect();
        let begun: Vec<LeaseRow> = begun?.into_iter().flatten().collect();
        let revoked = join_all(begun.iter().map(|lease| self.revoke(lease, END_DEADLINE))).await;
        for (lease, revoked) in begun.iter().zip(revoked) {
            let problem = revoked.err();
            if lease.handed_out {
                let released = Event::LeaseReleased { lease: lease.id, problem: problem.clone() };
                session.record.append_own(released).await?;
            }
            match problem {
                None => drop(self.store.forget_lease(lease).await?),
                Some(problem) => self.note_failure(lease, &problem).await?,
            }
        }
        Ok(())
    }

    /// Takes back the leases of a session whose record cannot be written.
    pub(super) async fn take_back_unrecorded(&self, id: SessionId) -> Result<(), Refusal> {
        for lease in self.store.leases(id).await? {
            if lease.state.is_held() {
                self.take_back(lease.id).await;
            }
        }
        Ok(())
    }

    /// What a session had that could not be taken back, with the reason.
    pub(crate) async fn unreleased(
        &self,
        id: SessionId,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let leases = self.store.leases(id).await?.into_iter();
        let failed = leases.filter_map(|lease| {
            Some((format!("{} of {}", lease.id, lease.resource), lease.problem?))
        });
        Ok(failed.collect())
    }

    /// Looks for leases that are to be taken back, or to be made to last longer, of all sessions.
    pub(super) async fn look_after_leases(self: &Arc<Self>) -> Result<(), Refusal> {
        for lease in self.store.claim_leases(CLAIM, CLAIMS).await? {
            let sessions = self.clone();
            self.tasks.spawn(async move {
                if let Err(error) = sessions.reap(&lease).await {
                    let error = error.reason();
                    tracing::error!(lease = %lease.id, error, "cannot note that a credential was taken back");
                }
            });
        }
        for lease in self.store.claim_renewals(CLAIM, CLAIMS).await? {
            let sessions = self.clone();
            self.tasks.spawn(async move { sessions.renew(&lease).await });
        }
        Ok(())
    }

    /// Makes a lease last longer. What does not work is tried again when its claim is over, as long as it lasts.
    async fn renew(&self, lease: &LeaseRow) {
        let renewed = async {
            let config = self.config();
            let Some(resource) = config.resources.get(&lease.resource) else { return Ok(()) };
            let Some(Found::Open(session)) = self.by_id(lease.session).await? else {
                return Ok(());
            };
            let (grant, _) = session.live_grant(&lease.resource)?;
            let source = credentials::source(resource);
            let renewing = source.renew(&lease.handle, grant.until);
            let until = tokio::time::timeout(REVOKE_DEADLINE, renewing)
                .await
                .map_err(|_| Refusal::Internal("its source does not answer in time".into()))?
                .map_err(|error| Refusal::Internal(error.0))?;
            let (until, again) = match until {
                Some(until) => (until, renew_in(until, grant.until)),
                None => (lease.until, None),
            };
            Ok::<_, Refusal>(self.store.lease_renewed(lease.id, until, again).await?)
        };
        if let Err(error) = renewed.await {
            let error = error.reason();
            tracing::error!(session = %lease.session, lease = %lease.id, resource = %lease.resource, error,
                "a credential cannot be made to last longer");
        }
    }

    /// Sees to it that a session whose record cannot be gone on with holds nothing, and lets it rest.
    pub(super) fn lay_to_rest(self: &Arc<Self>, id: SessionId) {
        let sessions = self.clone();
        self.tasks.spawn(async move {
            let rested = async {
                sessions.take_back_unrecorded(id).await?;
                // What could not be taken back stays, and is tried again.
                Ok::<_, Refusal>(sessions.store.lay_to_rest(id).await?)
            };
            match rested.await {
                Ok(()) => tracing::error!(session = %id,
                    "a record cannot be sealed, and is left as it is for a person to look at"),
                Err(error) => {
                    let error = error.reason();
                    tracing::error!(session = %id, error, "cannot look after a session without a record");
                }
            }
        });
    }
}
