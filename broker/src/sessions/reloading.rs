//! What another configuration means for sessions that live.
//!
//! A session keeps the text of each policy as it was when it was opened. What it was given must still be given to it: by the
//! trust rules as they are now, its run would get the same resources by policies of the same names, and these are there. A
//! session for which this is not so is ended, and its record says why.

use std::sync::Arc;

use guard_core::Timestamp;
use guard_policy::Request;

use super::Sessions;
use crate::{
    config::Config,
    error::Refusal,
    store::{SessionRow, Store, StoreError},
};

impl Sessions {
    /// Goes on with another configuration.
    pub(crate) fn replace_config(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
    }

    /// Ends the live sessions, of whichever broker, that the configuration does not give any more. Says how many.
    pub(crate) async fn end_what_is_not_given(&self) -> Result<usize, Refusal> {
        let mut ended = 0;
        for id in self.store.live_sessions().await? {
            let Some(row) = self.store.session_by_id(id).await? else { continue };
            ended += usize::from(self.end_if_not_given(&row).await?);
        }
        Ok(ended)
    }

    /// Ends a session that the configuration does not give any more. Says whether it did.
    pub(super) async fn end_if_not_given(&self, row: &SessionRow) -> Result<bool, Refusal> {
        let Err(reason) = given(&self.config(), row) else { return Ok(false) };
        let ended = self.store.revoke(row.id, &reason).await?;
        if ended {
            tracing::warn!(session = %row.id, reason, "a session is ended by the configuration");
        }
        Ok(ended)
    }
}

/// Whether a run would get what its session has. If not, why.
fn given(config: &Config, row: &SessionRow) -> Result<(), String> {
    let no_longer = |what: String| format!("the configuration does not give it any more: {what}");
    let resources = row.grants.iter().map(|(grant, _)| grant.resource.clone()).collect();
    let admission = config.trust.admit(&row.identity, &Request { resources }, Timestamp::now());
    let admission = admission.map_err(|_| no_longer("no trust rule gives it".into()))?;
    for (grant, _) in &row.grants {
        let (resource, policy) = (&grant.resource, &grant.policy);
        let same = |new: &guard_core::Grant| new.resource == *resource && new.policy == *policy;
        if !admission.grants.iter().any(same) {
            return Err(no_longer(format!("`{resource}` by policy `{policy}`")));
        }
        if !config.resources.contains_key(resource) {
            return Err(no_longer(format!("resource `{resource}` is gone")));
        }
        if !config.policies.contains_key(policy) {
            return Err(no_longer(format!("policy `{policy}` is gone")));
        }
    }
    Ok(())
}

/// Ends the live sessions that have another text of a policy than a configuration has. Says how many.
pub(crate) async fn end_older_policies(
    store: &Store,
    config: &Config,
) -> Result<usize, StoreError> {
    let mut ended = 0;
    for id in store.live_sessions().await? {
        let Some(row) = store.session_by_id(id).await? else { continue };
        let older = row.grants.iter().find(|(grant, held)| {
            config.policies.get(&grant.policy).is_none_or(|new| new.digest != held.digest)
        });
        if let Some((grant, _)) = older {
            let note = format!("another text of policy `{}` was pushed", grant.policy);
            ended += usize::from(store.revoke(id, &note).await?);
        }
    }
    Ok(ended)
}
