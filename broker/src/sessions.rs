//! Sessions while they live: who may reach what, who watches, and the record of it.
//!
//! The store holds what must survive the broker; this holds what happens often. [`Sessions`] opens
//! them and finds them by token or id, [`ending`] takes them to their end.

mod ending;
mod leases;
mod mask_keys;
mod opening;
mod secrets;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use guard_audit::{Event, SealingKey};
use guard_core::{
    Digest, EndReason, EnforceAt, Grant, LeaseId, ResourceName, SessionId, Timestamp,
    control::{Enforcement, GatewayInfo, Notice, PolicySource, SessionEnded},
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    config::Config,
    error::Refusal,
    record::{Record, RecordError, Records},
    store::{LeaseRow, SessionRow, Store},
};

/// The name by which a shim holds leases and writes.
pub(crate) const SHIM: &str = "shim";

/// Notices kept for the shim: a script that is refused more often than this is told only in the report.
const MAX_NOTICES: usize = 10_000;
/// Length of a writer's name at most.
const MAX_WRITER: usize = 200;
/// A gateway that was not heard of for this long is not offered to shims. It registers every 10 s.
const GATEWAY_RECENT: Duration = Duration::from_secs(60);

/// All sessions whose record is not sealed.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    records: Records,
    key: SealingKey,
    live: RwLock<Live>,
    gateways: RwLock<BTreeMap<String, (GatewayInfo, Instant)>>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Live {
    by_id: HashMap<SessionId, Arc<Session>>,
    by_token: HashMap<Digest, Arc<Session>>,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) row: SessionRow,
    record: Arc<Record>,
    state: watch::Sender<State>,
    /// What the record holds once it is sealed.
    sealed: watch::Sender<Option<SessionEnded>>,
    /// Leases that are out.
    leases: watch::Sender<BTreeMap<LeaseId, LeaseRow>>,
    tunnels: Mutex<Vec<(String, ResourceName)>>,
    writers: Mutex<HashMap<String, Writer>>,
    born: Instant,
    /// Milliseconds from `born` to when the shim was last heard of.
    heard: AtomicU64,
    /// How far the store knows the record to reach.
    noted: AtomicU64,
}

/// One stream of events, of one enforcement point for one resource.
#[derive(Debug)]
struct Writer {
    /// The enforcement point: the first that used the name.
    owner: String,
    /// The resource, once an event named it.
    resource: Option<ResourceName>,
}

#[derive(Debug, Default)]
struct State {
    ended: Option<EndReason>,
    notices: Vec<Notice>,
}

/// Who asks for a session's sake.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The shim that the session was given to.
    Shim(Arc<Session>),
    /// A gateway, by name.
    Gateway(String),
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
    /// The session that a caller may speak for: a shim for its own, a gateway for those whose shim
    /// came to it.
    pub(crate) fn of(&self, caller: &Caller, id: SessionId) -> Result<Arc<Session>, Refusal> {
        match caller {
            Caller::Shim(session) if session.row.id == id => Ok(session.clone()),
            Caller::Shim(_) => Err(Refusal::Forbidden("this is another session".into())),
            Caller::Gateway(name) => {
                let session = self.by_id(id).ok_or(Refusal::NoSession)?;
                if session.tunnels().iter().any(|(gateway, _)| gateway == name) {
                    Ok(session)
                } else {
                    // As if it were not there: a gateway need not learn of others' sessions.
                    Err(Refusal::NoSession)
                }
            }
        }
    }

    /// An unsealed session.
    pub(crate) fn by_id(&self, id: SessionId) -> Option<Arc<Session>> {
        self.live().by_id.get(&id).cloned()
    }

    /// An unsealed session.
    pub(crate) fn by_token(&self, token_hash: Digest) -> Option<Arc<Session>> {
        self.live().by_token.get(&token_hash).cloned()
    }

    /// The folder of the records.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// The key that seals them.
    pub(crate) fn public_key(&self) -> guard_audit::PublicKey {
        self.key.public()
    }

    fn live(&self) -> std::sync::RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, session: &Arc<Session>) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.by_id.insert(session.row.id, session.clone());
        live.by_token.insert(session.row.token_hash, session.clone());
    }

    fn remove(&self, session: &Session) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.by_id.remove(&session.row.id);
        live.by_token.remove(&session.row.token_hash);
    }

    /// Notes where a gateway listens.
    pub(crate) async fn register(&self, info: GatewayInfo, version: &str) -> Result<(), Refusal> {
        self.store.register_gateway(&info, version).await?;
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        let name = info.name.clone();
        if gateways.insert(name.clone(), (info, Instant::now())).is_none() {
            tracing::info!(gateway = name, version, "a gateway is here");
        }
        Ok(())
    }

    /// Notes that a gateway was heard of.
    pub(crate) fn heard_of_gateway(&self, name: &str) {
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, heard)) = gateways.get_mut(name) {
            *heard = Instant::now();
        }
    }

    /// Where a gateway said that it listens.
    pub(crate) fn gateway_address(&self, name: &str) -> Option<String> {
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        gateways.get(name).map(|(info, _)| info.address.clone())
    }

    /// The gateway that shims are sent to: of those that are here, the first by name.
    fn gateway(&self) -> Option<GatewayInfo> {
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        let mut here = gateways.values().filter(|(_, heard)| heard.elapsed() < GATEWAY_RECENT);
        here.next().map(|(info, _)| info.clone())
    }

    /// What an enforcement point needs to serve a resource of a session.
    pub(crate) async fn enforcement(
        &self,
        session: &Session,
        resource: &ResourceName,
    ) -> Result<Enforcement, Refusal> {
        let (grant, policy) = session.live_grant(resource)?;
        let Some(configured) = self.config.resources.get(resource) else {
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
        session: Arc<Session>,
        caller: &Caller,
        writer: String,
        first: u64,
        events: Vec<Event>,
    ) -> Result<u64, Refusal> {
        session.check_writer(caller.name(), &writer)?;
        for event in &events {
            self.check_place(caller, &session, event)?;
        }
        if let Some(event) = events.iter().find(|event| !is_for_writers(event)) {
            let name = serde_json::to_value(event).unwrap_or_default();
            let name = name.get("type").and_then(|name| name.as_str()).unwrap_or_default();
            return Err(Refusal::Invalid(format!("a `{name}` event is the broker's to write")));
        }
        let record = session.record.clone();
        let named = writer.clone();
        let appended = tokio::task::spawn_blocking(move || {
            let (next, new) = record.append(&named, first, &events)?;
            let old = events.len() - new;
            Ok::<_, RecordError>((next, events.into_iter().skip(old).collect::<Vec<_>>()))
        });
        let (next, new) =
            appended.await.map_err(|error| Refusal::Internal(error.to_string()))??;
        session.notice(&writer, new);
        Ok(next)
    }
}

impl Sessions {
    /// An enforcement point tells of what it enforces, and as what it is: a job cannot write what a gateway
    /// would have seen, nor a gateway of a resource that no shim came to it for.
    fn check_place(
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
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. } => return Ok(()),
        };
        let place = match caller {
            Caller::Shim(_) => EnforceAt::Shim,
            Caller::Gateway(_) => EnforceAt::Gateway,
        };
        let configured = self.config.resources.get(resource).map(|known| known.spec.enforce_at);
        let came = match caller {
            Caller::Shim(_) => {
                session.row.grants.iter().any(|(grant, _)| grant.resource == *resource)
            }
            Caller::Gateway(name) => session.has_tunnel(name, resource),
        };
        if came && configured == Some(place) && said.is_none_or(|said| said == place) {
            Ok(())
        } else {
            Err(Refusal::Forbidden(format!("`{resource}` is not enforced here")))
        }
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
        | Event::Finished { .. } => true,
        Event::SessionOpened { .. }
        | Event::LeaseTaken { .. }
        | Event::LeaseReleased { .. }
        | Event::SessionEnded { .. } => false,
    }
}

// === impl Session ===

impl Session {
    fn new(row: SessionRow, record: Record) -> Arc<Self> {
        let leases = row.leases.iter().map(|lease| (lease.id, lease.clone())).collect();
        let noted = row.reached.map(|(entries, _)| entries).unwrap_or_default();
        Arc::new(Self {
            record: Arc::new(record),
            state: watch::Sender::default(),
            sealed: watch::Sender::default(),
            leases: watch::Sender::new(leases),
            tunnels: Mutex::new(row.authorizations.clone()),
            writers: Mutex::default(),
            born: Instant::now(),
            heard: AtomicU64::new(0),
            noted: AtomicU64::new(noted),
            row,
        })
    }

    /// Why it is over, if it is.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.state.borrow().ended
    }

    /// An error if it is over.
    pub(crate) fn require_live(&self) -> Result<(), Refusal> {
        match self.ended() {
            Some(reason) => Err(Refusal::SessionOver(reason)),
            None if self.row.until <= Timestamp::now() => {
                Err(Refusal::SessionOver(EndReason::Expired))
            }
            None => Ok(()),
        }
    }

    fn live_grant(&self, resource: &ResourceName) -> Result<&(Grant, PolicySource), Refusal> {
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

    /// The shim was heard of.
    pub(crate) fn heard(&self) {
        let since = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.fetch_max(since, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(heard)
    }

    fn tunnels(&self) -> MutexGuard<'_, Vec<(String, ResourceName)>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session's shim came to this gateway for this resource.
    pub(crate) fn has_tunnel(&self, gateway: &str, resource: &ResourceName) -> bool {
        self.tunnels().iter().any(|(name, of)| name == gateway && of == resource)
    }

    /// Notes that it did.
    pub(crate) async fn add_tunnel(
        &self,
        store: &Store,
        gateway: &str,
        resource: &ResourceName,
    ) -> Result<(), Refusal> {
        if !self.has_tunnel(gateway, resource) {
            store.authorize(self.row.id, resource, gateway).await?;
            self.tunnels().push((gateway.to_owned(), resource.clone()));
        }
        Ok(())
    }

    /// A writer's name starts with its enforcement point's, and nobody else writes by it.
    fn check_writer(&self, holder: &str, writer: &str) -> Result<(), Refusal> {
        let fits = writer.len() <= MAX_WRITER
            && writer.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            && writer.strip_prefix(holder).is_some_and(|rest| rest.starts_with('-'));
        if !fits {
            let message = format!("a writer of `{holder}` is called `{holder}-…`");
            return Err(Refusal::Invalid(message));
        }
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = writers
            .entry(writer.to_owned())
            .or_insert_with(|| Writer { owner: holder.to_owned(), resource: None });
        if known.owner == holder {
            Ok(())
        } else {
            Err(Refusal::Forbidden("this writer is another enforcement point's".into()))
        }
    }

    /// Tells the shim of refusals among events that were appended.
    fn notice(&self, writer: &str, events: Vec<Event>) {
        let mut notices = Vec::new();
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = writers.get_mut(writer) else { return };
        for event in events {
            match event {
                Event::Connected { resource, .. } | Event::Operation { resource, .. } => {
                    writer.resource = Some(resource);
                }
                Event::Refused { denial, .. } => {
                    // After a restart of the broker the first grant stands in, until the next event
                    // names the resource.
                    let first = self.row.grants.first().map(|(grant, _)| grant.resource.clone());
                    let Some(resource) = writer.resource.clone().or(first) else { continue };
                    notices.push(Notice { resource, denial });
                }
                Event::Disconnected { .. }
                | Event::Statement { .. }
                | Event::Finished { .. }
                | Event::SessionOpened { .. }
                | Event::LeaseTaken { .. }
                | Event::LeaseReleased { .. }
                | Event::SessionEnded { .. } => {}
            }
        }
        drop(writers);
        if !notices.is_empty() {
            self.state.send_modify(|state| {
                let room = MAX_NOTICES.saturating_sub(state.notices.len());
                state.notices.extend(notices.into_iter().take(room));
            });
        }
    }

    /// Waits until the session is over or there are notices behind `after`, but not longer than `wait`.
    pub(crate) async fn watch(
        &self,
        after: u64,
        wait: Duration,
    ) -> guard_core::control::SessionState {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let mut state = self.state.subscribe();
        let news = state.wait_for(|state| state.ended.is_some() || state.notices.len() > after);
        // On silence the state is what it was.
        let _ = tokio::time::timeout(wait, news).await;
        let state = self.state.borrow();
        guard_core::control::SessionState {
            ended: state.ended,
            until: self.row.until,
            notices: state.notices.get(after..).unwrap_or_default().to_vec(),
            next: state.notices.len() as u64,
        }
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Gap { expected } => Self::Gap { expected },
            RecordError::Sealed => Self::SessionOver(EndReason::Finished),
            RecordError::Invalid(message) => Self::Invalid(message),
            RecordError::Disk(source) => Self::Unrecorded(source.to_string()),
            RecordError::Broken => Self::Unrecorded(RecordError::Broken.to_string()),
        }
    }
}
