//! A broker in memory, for tests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use guard_audit::Event;
use guard_core::{
    ApprovalId, ApprovalState, ApprovalWait, EndReason, EnforceAt, Grant, Identity, LeaseId,
    PolicyName, ResourceKind, ResourceName, ResourceSpec, Secret, SessionId, Timestamp, TlsMode,
    control::{
        AppendEvents, Appended, ApprovalStatus, AskApproval, AskLease, Authorize, Enforcement,
        Lease, PolicySource, SessionState, UseApproval,
    },
};
use tokio::sync::{Semaphore, watch};

use crate::control::{ControlError, ControlPlane, GatewayControl};

const POLICY: &str = "
policy: nightly
rules:
  - name: reads
    sql: { effects: [read] }
    decide: allow
";

/// Answers what the test told it to, and remembers what it was asked.
pub(crate) struct FakeBroker {
    pub(crate) events: Mutex<Vec<Event>>,
    /// First number and count of each request that was made, also of failed ones.
    pub(crate) requests: Mutex<Vec<(u64, usize)>>,
    /// The next appends fail with these.
    pub(crate) failures: Mutex<VecDeque<ControlError>>,
    /// A permit for each append that may be answered.
    pub(crate) answers: Semaphore,
    pub(crate) ended: watch::Sender<Option<EndReason>>,
    pub(crate) authorized: Mutex<Vec<Authorize>>,
    pub(crate) refusal: Mutex<Option<ControlError>>,
    pub(crate) leases: AtomicUsize,
    /// When the next lease ends.
    pub(crate) lease_until: Mutex<Timestamp>,
    pub(crate) released: AtomicUsize,
    /// What was done with requests for approval.
    pub(crate) approvals: Mutex<Vec<(&'static str, ApprovalId)>>,
    /// Where they all stand.
    pub(crate) approval: watch::Sender<ApprovalState>,
}

impl FakeBroker {
    /// One that answers at once.
    pub(crate) fn new() -> Arc<Self> {
        Self::with_answers(Semaphore::MAX_PERMITS)
    }

    /// One that answers so many appends, and then waits for more permits.
    pub(crate) fn with_answers(answers: usize) -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            requests: Mutex::default(),
            failures: Mutex::default(),
            answers: Semaphore::new(answers),
            ended: watch::Sender::new(None),
            authorized: Mutex::default(),
            refusal: Mutex::default(),
            leases: AtomicUsize::new(0),
            lease_until: Mutex::new(Timestamp::MAX),
            released: AtomicUsize::new(0),
            approvals: Mutex::default(),
            approval: watch::Sender::new(ApprovalState::Waiting),
        })
    }
}

pub(crate) fn refused(status: u16, code: &str) -> ControlError {
    ControlError::Refused {
        status,
        code: code.to_owned(),
        message: "because".into(),
        decision_id: None,
    }
}

fn approval(id: ApprovalId, state: ApprovalState) -> ApprovalStatus {
    ApprovalStatus {
        id,
        state,
        wait: ApprovalWait::Hold,
        until: Timestamp::MAX,
        address: "http://broker/approvals/1".into(),
        by: Vec::new(),
        reason: None,
    }
}

pub(crate) fn session() -> SessionId {
    SessionId::from_uuid(uuid::Uuid::from_u128(7))
}

/// What a gateway is told to enforce: `orders`, at an address where nobody is.
pub(crate) fn enforcement(until: Timestamp) -> Enforcement {
    let resource = ResourceName::new("orders").unwrap();
    let policy = PolicyName::new("nightly").unwrap();
    Enforcement {
        session: session(),
        identity: Identity::example(),
        grant: Grant { resource: resource.clone(), policy: policy.clone(), until },
        resource: ResourceSpec {
            name: resource,
            kind: ResourceKind::Postgres,
            address: "127.0.0.1:1".into(),
            database: "orders".into(),
            tls: TlsMode::Disable,
            tls_ca: None,
            enforce_at: EnforceAt::Gateway,
            send_as: None,
            api: None,
        },
        policy: PolicySource::new(policy, POLICY.into(), None),
        mask_key: Secret::new("AAAA"),
        lasting_mask_key: None,
    }
}

impl ControlPlane for FakeBroker {
    fn lease<'a>(&'a self, _: &'a AskLease) -> BoxFuture<'a, Result<Lease, ControlError>> {
        self.leases.fetch_add(1, Ordering::Relaxed);
        let lease = Lease {
            id: LeaseId::from_uuid(uuid::Uuid::from_u128(9)),
            username: "backup".into(),
            password: Secret::new("hidden"),
            session_token: None,
            certificate: None,
            until: *self.lease_until.lock().unwrap(),
        };
        std::future::ready(Ok(lease)).boxed()
    }

    fn release(&self, _: LeaseId) -> BoxFuture<'_, Result<(), ControlError>> {
        self.released.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(())).boxed()
    }

    fn append<'a>(
        &'a self,
        body: &'a AppendEvents<Event>,
    ) -> BoxFuture<'a, Result<Appended, ControlError>> {
        async move {
            self.requests.lock().unwrap().push((body.first, body.events.len()));
            self.answers.acquire().await.unwrap().forget();
            if let Some(error) = self.failures.lock().unwrap().pop_front() {
                return Err(error);
            }
            let mut events = self.events.lock().unwrap();
            let known = events.len() as u64;
            if body.first > known {
                return Err(refused(409, "gap"));
            }
            let repeated = usize::try_from(known - body.first).unwrap();
            events.extend(body.events.iter().skip(repeated).cloned());
            Ok(Appended { next: events.len() as u64 })
        }
        .boxed()
    }

    fn ask_approval<'a>(
        &'a self,
        ask: &'a AskApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        self.approvals.lock().unwrap().push(("asked", ask.id));
        let state = *self.approval.borrow();
        std::future::ready(Ok(approval(ask.id, state))).boxed()
    }

    fn approval_state(
        &self,
        _: SessionId,
        id: ApprovalId,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        async move {
            if let Some(error) = self.failures.lock().unwrap().pop_front() {
                return Err(error);
            }
            let mut state = self.approval.subscribe();
            let decided = state.wait_for(|state| *state != ApprovalState::Waiting);
            let _ = tokio::time::timeout(wait, decided).await;
            let state = *self.approval.borrow();
            Ok(approval(id, state))
        }
        .boxed()
    }

    fn use_approval<'a>(
        &'a self,
        id: ApprovalId,
        _: &'a UseApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        self.approvals.lock().unwrap().push(("used", id));
        std::future::ready(Ok(approval(id, ApprovalState::Used))).boxed()
    }

    fn cancel_approval(
        &self,
        _: SessionId,
        id: ApprovalId,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        self.approvals.lock().unwrap().push(("cancelled", id));
        std::future::ready(Ok(approval(id, ApprovalState::Cancelled))).boxed()
    }

    fn state(
        &self,
        _: SessionId,
        _: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<SessionState, ControlError>> {
        async move {
            let mut ended = self.ended.subscribe();
            let _ = tokio::time::timeout(wait, ended.wait_for(Option::is_some)).await;
            let ended = *self.ended.borrow();
            Ok(SessionState {
                ended,
                until: Timestamp::MAX,
                notices: Vec::new(),
                next: 0,
                steps: BTreeMap::new(),
            })
        }
        .boxed()
    }
}

impl GatewayControl for FakeBroker {
    fn authorize<'a>(
        &'a self,
        ask: &'a Authorize,
    ) -> BoxFuture<'a, Result<Enforcement, ControlError>> {
        self.authorized.lock().unwrap().push(ask.clone());
        let answer = match self.refusal.lock().unwrap().clone() {
            Some(refusal) => Err(refusal),
            None => Ok(enforcement(Timestamp::MAX)),
        };
        std::future::ready(answer).boxed()
    }
}
