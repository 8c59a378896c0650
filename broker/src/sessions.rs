//! Sessions while they live: who may reach what, who watches, and the record of it.
//!
//! The store is the truth, so that any broker that uses it answers anything. What is kept here is what does not change, and
//! what was heard last, so that those who wait are woken. [`Sessions`] opens sessions and finds them by token or id, [`ending`]
//! takes them to their end.

pub(crate) mod approvals;
mod egress;
mod ending;
mod gateways;
mod isolation;
mod leases;
mod mask_keys;
mod opening;
mod policy;
mod reaper;
mod reloading;
mod renewing;
mod resting;
mod session;
pub(crate) mod webhooks;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use guard_audit::{Event, export::attest};
use guard_core::{
    Digest, EnforceAt, ResourceName, SessionId,
    control::{Enforcement, SessionState},
};
use tokio_util::task::TaskTracker;

use crate::{
    config::Config,
    error::Refusal,
    log::{Keyring, Log},
    metrics::Metrics,
    record::{Batch, RecordError, Records},
    runs::Runs,
    store::{SessionRow, StateRow, Store},
};

pub(crate) use gateways::{labels as gateway_labels, state as gateway_state};
pub(crate) use reloading::end_older_policies;
pub(crate) use session::Session;

/// The name by which a shim holds leases and writes.
pub(crate) const SHIM: &str = "shim";

/// Length of a writer's name at most.
const MAX_WRITER: usize = 200;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// As it was read last: who asks twice may get two.
    config: RwLock<Arc<Config>>,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    records: Records,
    keys: Keyring,
    pub(crate) log: Log,
    /// Those that this broker was asked for and that are not sealed. With files for records: all of these.
    live: RwLock<Live>,
    /// What the store said of gateways a moment ago.
    gateways: tokio::sync::Mutex<Option<gateways::Known>>,
    /// Sessions whose shims were heard of since the store was told.
    heard: Mutex<HashSet<SessionId>>,
    tasks: TaskTracker,
    /// What is made of records for people.
    pub(crate) runs: Runs,
    /// Held while records are read for the list of runs.
    pub(crate) indexing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Live {
    by_id: HashMap<SessionId, Arc<Session>>,
    by_token: HashMap<Digest, Arc<Session>>,
}

/// Who asks for a session's sake.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The shim that the session was given to.
    Shim(Arc<Session>),
    /// A gateway, by name.
    Gateway(String),
}

/// A session as it was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its record is open.
    Open(Arc<Session>),
    /// Its record is sealed, or cannot be gone on with.
    Closed(Box<(SessionRow, StateRow)>),
}

// === impl Caller ===

impl Caller {
    /// The name by which it holds leases.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Shim(_) => SHIM,
            Self::Gateway(name) => name,
        }
    }
}

// === impl Sessions ===

impl Sessions {
    /// The configuration, as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The session that a caller may speak for: a shim for its own, a gateway for those whose shim
    /// came to it.
    pub(crate) async fn of(&self, caller: &Caller, id: SessionId) -> Result<Arc<Session>, Refusal> {
        match caller {
            Caller::Shim(session) if session.row.id == id => Ok(session.clone()),
            Caller::Shim(_) => Err(Refusal::Forbidden("this is another session".into())),
            Caller::Gateway(name) => {
                let Some(found) = self.by_id(id).await? else { return Err(Refusal::NoSession) };
                let (came, found) = match found {
                    Found::Open(session) => {
                        (self.has_tunnel(&session, name, None).await?, Ok(session))
                    }
                    Found::Closed(closed) => {
                        let tunnels = self.store.authorizations(id).await?;
                        let came = tunnels.iter().any(|(gateway, _)| gateway == name);
                        (came, Err(over(&closed.1)))
                    }
                };
                // As if it were not there: a gateway need not learn of others' sessions.
                if came { found } else { Err(Refusal::NoSession) }
            }
        }
    }

    /// A session.
    pub(crate) async fn by_id(&self, id: SessionId) -> Result<Option<Found>, Refusal> {
        let live = self.live().by_id.get(&id).cloned();
        if let Some(session) = live {
            return Ok(Some(Found::Open(session)));
        }
        match self.store.session_by_id(id).await? {
            Some(row) => self.take_up(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The session of a token.
    pub(crate) async fn by_token(&self, token_hash: Digest) -> Result<Option<Found>, Refusal> {
        let live = self.live().by_token.get(&token_hash).cloned();
        if let Some(session) = live {
            return Ok(Some(Found::Open(session)));
        }
        match self.store.session_by_token(token_hash).await? {
            Some(row) => self.take_up(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Knows a session that another broker opened.
    async fn take_up(&self, row: SessionRow) -> Result<Found, Refusal> {
        // Known already, by the token that it had before.
        let known = self.live().by_id.get(&row.id).cloned();
        if let Some(session) = known {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.by_token.insert(row.token_hash, session.clone());
            return Ok(Found::Open(session));
        }
        let state = self.store.state(row.id).await?.ok_or(Refusal::NoSession)?;
        if state.sealed {
            return Ok(Found::Closed(Box::new((row, state))));
        }
        match self.records.open(row.id, opening::first_resource(&row)) {
            Some(record) => Ok(Found::Open(self.insert(Session::new(row, record, state)))),
            // A file that is not open cannot be gone on with.
            None => Ok(Found::Closed(Box::new((row, state)))),
        }
    }

    /// Whether this broker was asked for a session that is not sealed.
    #[cfg(test)]
    pub(crate) fn knows(&self, id: SessionId) -> bool {
        self.live().by_id.contains_key(&id)
    }

    /// All records.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// What vouches for a sealed record in the form that others read: one line of JSON.
    pub(crate) async fn attest(&self, session: SessionId, filed: bool) -> Result<String, Refusal> {
        let pieces = self.records.read(session, filed).await?;
        // An earlier key may have sealed it; what is said now is signed by the one that is in use.
        let keys = self
            .log
            .keys()
            .await
            .map_err(|error| Refusal::Internal(crate::error::chain(&error)))?;
        let key = self.keys.current();
        let made = crate::runs::blocking(pieces, move |record| attest(record, &keys, &key)).await;
        let unreadable = |error: &dyn std::error::Error| Refusal::Unrecorded(error.to_string());
        let envelope =
            made.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
        envelope.to_line().map_err(|error| Refusal::Internal(error.to_string()))
    }

    /// The key that seals them.
    pub(crate) fn public_key(&self) -> guard_audit::PublicKey {
        self.keys.current().public()
    }

    fn live(&self) -> std::sync::RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows a session from now on. If it is known already, that one is it: each has one.
    fn insert(&self, session: Session) -> Arc<Session> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let (id, token_hash) = (session.row.id, session.row.token_hash);
        let session = live.by_id.entry(id).or_insert_with(|| Arc::new(session)).clone();
        live.by_token.insert(token_hash, session.clone());
        session
    }

    fn remove(&self, session: &Session) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let id = session.row.id;
        live.by_id.remove(&id);
        live.by_token.remove(&session.row.token_hash);
        if live.by_token.len() > live.by_id.len() {
            // Some have two tokens: the first answer to their exchange was lost.
            live.by_token.retain(|_, known| known.row.id != id);
        }
    }

    /// Asks the store how a session is.
    pub(crate) async fn refresh(&self, session: &Session) -> Result<StateRow, Refusal> {
        let state = self.store.state(session.row.id).await?.ok_or(Refusal::NoSession)?;
        session.hear(state.clone());
        if state.sealed {
            self.remove(session);
        }
        Ok(state)
    }

    /// The shim was heard of. The store is told within a second.
    pub(crate) fn heard(&self, session: &Session) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(session.row.id);
    }

    /// Whether a session's shim came to this gateway, for this resource or for any.
    async fn has_tunnel(
        &self,
        session: &Session,
        gateway: &str,
        resource: Option<&ResourceName>,
    ) -> Result<bool, Refusal> {
        if session.knows_tunnel(gateway, resource) {
            return Ok(true);
        }
        // It may have come by way of another broker.
        session.know_tunnels(self.store.authorizations(session.row.id).await?);
        Ok(session.knows_tunnel(gateway, resource))
    }

    /// Notes that it did.
    pub(crate) async fn add_tunnel(
        &self,
        session: &Session,
        gateway: &str,
        resource: &ResourceName,
    ) -> Result<(), Refusal> {
        if !session.knows_tunnel(gateway, Some(resource)) {
            self.store.authorize(session.row.id, resource, gateway).await?;
            session.know_tunnels([(gateway.to_owned(), resource.clone())]);
        }
        Ok(())
    }

    /// What an enforcement point needs to serve a resource of a session.
    pub(crate) async fn enforcement(
        &self,
        session: &Session,
        resource: &ResourceName,
    ) -> Result<Enforcement, Refusal> {
        self.refresh(session).await?;
        let (grant, policy) = session.live_grant(resource)?;
        let config = self.config();
        let Some(configured) = config.resources.get(resource) else {
            return Err(Refusal::Forbidden(format!("`{resource}` is no resource any more")));
        };
        Ok(Enforcement {
            session: session.row.id,
            identity: session.row.identity.clone(),
            grant: grant.clone(),
            resource: configured.spec.clone(),
            policy: policy.clone(),
            mask_key: session.row.mask_key.clone(),
            lasting_mask_key: mask_keys::lasting(policy, configured).await?,
        })
    }

    /// Appends events of an enforcement point to the session's record.
    pub(crate) async fn append(
        &self,
        session: &Session,
        caller: &Caller,
        writer: String,
        first: u64,
        events: Vec<Event>,
    ) -> Result<u64, Refusal> {
        let owner = caller.name().to_owned();
        check_writer(&owner, &writer)?;
        for event in &events {
            self.check_place(caller, session, event).await?;
        }
        if let Some(event) = events.iter().find(|event| !is_for_writers(event)) {
            let name = serde_json::to_value(event).unwrap_or_default();
            let name = name.get("type").and_then(|name| name.as_str()).unwrap_or_default();
            return Err(Refusal::Invalid(format!("a `{name}` event is the broker's to write")));
        }
        let count = events.len();
        let appended = session.record.append(Batch { writer, owner, first, events }).await;
        match &appended {
            Ok(_) => self.metrics.appended(count),
            Err(error) if error.is_ours() => self.metrics.append_failed(),
            Err(_) => {}
        }
        match appended {
            Ok(appended) => {
                session.noticed(appended.notices);
                Ok(appended.next)
            }
            Err(RecordError::Sealed) => {
                self.refresh(session).await?;
                Err(over(&session.state.borrow()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An enforcement point tells of what it enforces, and as what it is: a job cannot write what a gateway
    /// would have seen, nor a gateway of a resource that no shim came to it for.
    async fn check_place(
        &self,
        caller: &Caller,
        session: &Session,
        event: &Event,
    ) -> Result<(), Refusal> {
        let (resource, said) = match event {
            Event::Connected { resource, enforced_at, .. } => (resource, Some(*enforced_at)),
            Event::Operation { resource, .. } => (resource, None),
            Event::Disconnected { .. }
            | Event::Statement { .. }
            | Event::Refused { .. }
            | Event::Finished { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::AttemptRefused { .. }
            | Event::SessionRenewed { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::LeaseReleased { .. } => return Ok(()),
        };
        let place = match caller {
            Caller::Shim(_) => EnforceAt::Shim,
            Caller::Gateway(_) => EnforceAt::Gateway,
        };
        let config = self.config();
        let configured = config.resources.get(resource).map(|known| known.spec.enforce_at);
        let came = match caller {
            Caller::Shim(_) => {
                session.row.grants.iter().any(|(grant, _)| grant.resource == *resource)
            }
            Caller::Gateway(name) => self.has_tunnel(session, name, Some(resource)).await?,
        };
        if came && configured == Some(place) && said.is_none_or(|said| said == place) {
            Ok(())
        } else {
            Err(Refusal::Forbidden(format!("`{resource}` is not enforced here")))
        }
    }

    /// Waits until the session is over or there are notices behind `after`, but not longer than `wait`.
    pub(crate) async fn watch(
        &self,
        session: &Session,
        after: u64,
        wait: Duration,
    ) -> Result<SessionState, Refusal> {
        let mut state = session.state.subscribe();
        self.refresh(session).await?;
        let news = state.wait_for(|state| state.ended.is_some() || state.notices > after);
        // On silence the state is what it was.
        let _ = tokio::time::timeout(wait, news).await;
        let state = session.state.borrow().clone();
        let mut notices = Vec::new();
        if state.notices > after {
            notices = session.record.notices(after).await?;
        }
        Ok(SessionState {
            ended: state.ended.map(|(reason, _)| reason),
            until: session.row.until,
            next: after.min(state.notices) + notices.len() as u64,
            notices,
            steps: session.record.steps().await?,
        })
    }
}

/// A writer's name starts with its enforcement point's. Whose it is, the record knows.
fn check_writer(holder: &str, writer: &str) -> Result<(), Refusal> {
    let fits = writer.len() <= MAX_WRITER
        && writer.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        && writer.strip_prefix(holder).is_some_and(|rest| rest.starts_with('-'));
    if fits {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("a writer of `{holder}` is called `{holder}-…`")))
    }
}

/// Whether an enforcement point may write an event. What makes or ends a session is the broker's.
fn is_for_writers(event: &Event) -> bool {
    match event {
        Event::Connected { .. }
        | Event::Disconnected { .. }
        | Event::Operation { .. }
        | Event::Statement { .. }
        | Event::Refused { .. }
        | Event::Rows { .. }
        | Event::Traffic { .. }
        | Event::Finished { .. } => true,
        Event::SessionOpened { .. }
        | Event::AttemptRefused { .. }
        | Event::SessionRenewed { .. }
        | Event::Isolated { .. }
        | Event::EgressAsked { .. }
        | Event::EgressEnded { .. }
        | Event::LeaseTaken { .. }
        | Event::ApprovalAsked { .. }
        | Event::ApprovalDecided { .. }
        | Event::ApprovalUsed { .. }
        | Event::LeaseReleased { .. }
        | Event::SessionEnded { .. } => false,
    }
}

/// The answer to who comes for a session that is over.
pub(crate) fn over(state: &StateRow) -> Refusal {
    let reason = state.ended.map(|(reason, _)| reason);
    Refusal::SessionOver(reason.unwrap_or(guard_core::EndReason::Lost))
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        let message = crate::error::chain(&error);
        match error {
            RecordError::Gap { expected } => Self::Gap { expected },
            RecordError::Foreign => Self::Forbidden(message),
            RecordError::Sealed => Self::SessionOver(guard_core::EndReason::Finished),
            RecordError::Invalid(message) => Self::Invalid(message),
            RecordError::Disk(_)
            | RecordError::Store(_)
            | RecordError::Archive(_)
            | RecordError::Broken => Self::Unrecorded(message),
        }
    }
}
