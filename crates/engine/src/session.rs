//! One resource of one session, served: its gate, its handler, its lease, its clients, its end.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use guard_core::{
    Digest, EndReason, EnforceAt, PolicyName, ResourceKind, ResourceName, SessionId, SessionView,
    Timestamp,
    control::{Enforcement, PolicySource},
};
use guard_gate::SessionGate;
use guard_policy::Policy;
use guard_protocols::{
    Arrival, ClientIo, Closed, ProtocolError, ProtocolHandler, TurnedAway,
    alarm::unless,
    http::{HttpHandler, NoAddress},
    postgres::PostgresHandler,
    turn_away,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    approvals::BrokerApprovals,
    control::ControlPlane,
    end::EndSignal,
    recorder::StreamRecorder,
    resource::{ResourceError, SessionResource},
};

/// Clients of one resource in one session at a time: more than any honest job's pool.
const MAX_CLIENTS: usize = 256;
/// After its end a session's clients are told so, and have this long to be gone.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the last notes may take to the broker.
const LAST_NOTES: Duration = Duration::from_secs(3);
/// The wall clock can be moved, so that long waits for it are cut into pieces.
const CLOCK_STEP: Duration = Duration::from_secs(20);
/// How long one question for a session's state waits at the broker.
const STATE_WAIT: Duration = Duration::from_secs(20);
/// A broker that cannot be asked for this long may have ended the session unheard.
const STATE_SILENCE: Duration = Duration::from_secs(30);
/// Between two questions when the broker does not answer.
const STATE_PAUSE: Duration = Duration::from_millis(500);

/// Where a session is served.
#[derive(Debug, Clone)]
pub struct Point {
    /// In a gateway or in the shim.
    pub at: EnforceAt,
    /// Its name in records.
    pub name: String,
}

/// A session cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker's policy does not parse or is not the one that its digest names.
    #[error("the policy `{0}` that the broker sent cannot be used: {1}")]
    Policy(PolicyName, String),
    /// The resource cannot be served.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// It is no HTTP API.
    #[error(transparent)]
    Http(#[from] NoAddress),
}

/// One resource of one session, as this enforcement point serves it.
pub struct ServedSession {
    session: SessionId,
    resource_name: ResourceName,
    kind: ResourceKind,
    until: Timestamp,
    end: EndSignal,
    policy: watch::Sender<Arc<Policy>>,
    policy_digest: RwLock<Digest>,
    has_lasting_key: bool,
    gate: Arc<SessionGate>,
    handler: Arc<dyn ProtocolHandler>,
    resource: Arc<SessionResource>,
    recorder: Arc<StreamRecorder>,
    clients: TaskTracker,
    slots: Semaphore,
    /// Cuts clients off that did not go by themselves.
    cut: CancellationToken,
    /// Everything is done: clients gone, notes sent, lease given back.
    done: CancellationToken,
}

impl ServedSession {
    /// Starts serving; ends by [`ServedSession::end`], at its time, or when its record breaks.
    pub fn start(
        enforcement: Enforcement,
        control: Arc<dyn ControlPlane>,
        point: &Point,
    ) -> Result<Arc<Self>, StartError> {
        let Enforcement {
            session,
            identity,
            grant,
            resource: spec,
            policy: source,
            mask_key,
            lasting_mask_key,
        } = enforcement;
        let has_lasting_key = lasting_mask_key.is_some();
        let policy = parse(&source, has_lasting_key)?;
        let end = EndSignal::default();
        let kind = spec.kind;
        let resource = Arc::new(SessionResource::new(
            session,
            spec,
            &mask_key,
            lasting_mask_key.as_ref(),
            control.clone(),
        )?);
        let handler: Arc<dyn ProtocolHandler> = match kind {
            ResourceKind::Postgres => PostgresHandler::new(resource.clone()),
            ResourceKind::Http => HttpHandler::new(resource.clone())?,
        };
        let writer = format!("{}-{}-{}", point.name, grant.resource, uuid::Uuid::new_v4().simple());
        let approvals =
            BrokerApprovals::new(control.clone(), session, grant.resource.clone(), writer.clone());
        let recorder = StreamRecorder::start(control, session, writer, end.clone());
        let (policy, policies) = watch::channel(policy);
        let gate = SessionGate::new(
            SessionView {
                id: session,
                identity,
                resource: grant.resource.clone(),
                until: grant.until,
            },
            policies,
            end.subscribe(),
            recorder.clone(),
            approvals,
            Timestamp::now,
            point.at,
            point.name.clone(),
        );
        let served = Arc::new(Self {
            session,
            resource_name: grant.resource,
            kind,
            until: grant.until,
            end,
            policy,
            policy_digest: RwLock::new(source.digest),
            has_lasting_key,
            gate,
            handler,
            resource,
            recorder,
            clients: TaskTracker::new(),
            slots: Semaphore::new(MAX_CLIENTS),
            cut: CancellationToken::new(),
            done: CancellationToken::new(),
        });
        tokio::spawn(served.clone().supervise());
        Ok(served)
    }

    /// Serves one client until either side or the session ends.
    ///
    /// Not cancel-safe in the protocol's sense: dropped, the client is cut off.
    pub async fn serve(&self, client: ClientIo, arrival: Arrival) -> Result<Closed, ProtocolError> {
        let over = *self.end.subscribe().borrow();
        if let Some(reason) = over {
            turn_away(self.kind, client, TurnedAway::SessionOver, &reason.to_string()).await;
            return Ok(Closed::Session(reason));
        }
        let Ok(_slot) = self.slots.try_acquire() else {
            let message = format!("more than {MAX_CLIENTS} clients at a time");
            turn_away(self.kind, client, TurnedAway::TooMany, &message).await;
            return Err(ProtocolError::Client(message));
        };
        let _counted = self.clients.token();
        let serving = self.handler.clone().serve(client, arrival, self.gate.clone());
        match unless(self.cut.cancelled(), serving).await {
            Ok(closed) => closed,
            Err(()) => Ok(Closed::Session(self.end.ended().await)),
        }
    }

    /// Serves one client, and says in one line how its connection ended: whose fault it was says how loud.
    pub async fn serve_and_log(&self, client: ClientIo, arrival: Arrival) {
        let (session, resource) = (self.session, &self.resource_name);
        match self.serve(client, arrival).await {
            Ok(closed) => tracing::debug!(%session, %resource, ?closed, "a client is gone"),
            Err(error @ (ProtocolError::Client(_) | ProtocolError::Io(_))) => {
                tracing::debug!(%session, %resource, %error, "a client's connection broke");
            }
            Err(error @ (ProtocolError::Resource(_) | ProtocolError::Guard(_))) => {
                tracing::warn!(%session, %resource, %error, "a client's connection broke");
            }
        }
    }

    /// Takes a newer policy for what is asked from now on, also by clients that are connected.
    pub fn update(&self, source: &PolicySource) -> Result<(), StartError> {
        let mut digest = self.policy_digest.write().unwrap_or_else(PoisonError::into_inner);
        if *digest != source.digest {
            self.policy.send_replace(parse(source, self.has_lasting_key)?);
            *digest = source.digest;
        }
        Ok(())
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The resource.
    pub fn resource(&self) -> &ResourceName {
        &self.resource_name
    }

    /// Ends it here.
    pub fn end(&self, reason: EndReason) {
        self.end.end(reason);
    }

    /// Waits until it is over and nothing of it is left.
    pub async fn finished(&self) {
        self.done.cancelled().await;
    }

    /// Whether it takes clients.
    pub fn is_live(&self) -> bool {
        self.end.subscribe().borrow().is_none()
    }

    async fn supervise(self: Arc<Self>) {
        tokio::select! {
            _ = self.end.ended() => {}
            () = reached(self.until) => self.end(EndReason::Expired),
        }
        self.clients.close();
        // Handlers tell their clients in the protocol's own words and go.
        if timeout(DRAIN, self.clients.wait()).await.is_err() {
            self.cut.cancel();
            self.clients.wait().await;
        }
        if !self.recorder.flush(LAST_NOTES).await {
            tracing::debug!(session = %self.session, "the last notes did not reach the broker");
        }
        self.recorder.close();
        self.resource.release().await;
        self.done.cancel();
    }

    /// Follows the session's state at the broker, and ends with it. For gateways: a shim follows
    /// its session itself.
    pub async fn follow(self: Arc<Self>, control: Arc<dyn ControlPlane>) {
        let following = async {
            let mut heard = tokio::time::Instant::now();
            let mut after = 0;
            loop {
                match control.state(self.session, after, STATE_WAIT).await {
                    Ok(state) => {
                        if let Some(reason) = state.ended {
                            return reason;
                        }
                        after = state.next;
                        heard = tokio::time::Instant::now();
                    }
                    Err(error) if error.is_over() => return EndReason::Lost,
                    Err(error) => {
                        tracing::debug!(session = %self.session, %error, "no word of the session");
                        if heard.elapsed() > STATE_SILENCE {
                            return EndReason::Unrecorded;
                        }
                        sleep(STATE_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            reason = following => self.end(reason),
            _ = self.end.ended() => {}
        }
    }
}

fn parse(source: &PolicySource, has_lasting_key: bool) -> Result<Arc<Policy>, StartError> {
    let refuse = |why: String| StartError::Policy(source.name.clone(), why);
    if PolicySource::digest_of(&source.yaml, source.lock.as_deref()) != source.digest {
        return Err(refuse("its text is not what its digest says".into()));
    }
    let policy = Policy::from_source(source).map_err(|problems| refuse(problems.to_string()))?;
    if policy.needs_lasting_key() && !has_lasting_key {
        return Err(refuse("a mask is `stable: always` and the resource has no `mask_key`".into()));
    }
    Ok(Arc::new(policy))
}

/// Waits for a moment of the wall clock.
async fn reached(moment: Timestamp) {
    loop {
        let left = Timestamp::now().duration_until(moment);
        let Ok(left) = Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        sleep(left.min(CLOCK_STEP)).await;
    }
}

#[cfg(test)]
mod tests;
