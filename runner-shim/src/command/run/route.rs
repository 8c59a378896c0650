//! The way from the listener to a resource: through a gateway, or through the engine in this process.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use guard_audit::Event;
use guard_core::{
    ApprovalId, EndReason, EnforceAt, LeaseId, ResourceName, SessionId,
    control::{
        AppendEvents, Appended, ApprovalStatus, AskApproval, AskEnforcement, AskLease, GrantInfo,
        Lease, SessionState, UseApproval,
    },
};
use guard_engine::{Arrival, ClientIo};
use guard_engine::{
    TlsError,
    control::{ControlError, ControlPlane},
    exchange::Session,
    http::BrokerClient,
    session::{Point, ServedSession, StartError},
    threads::Threads,
    tunnel::Tunnel,
};

use super::{output::Known, session::attached::Way};
use crate::words::{chain, say};

/// No way to a resource.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error(
        "no gateway serves `{0}` now: start `guard gateway`, and see that the broker knows its key"
    )]
    NoGateway(ResourceName),
    #[error("the gateway of `{0}` cannot be reached safely")]
    Tls(ResourceName, #[source] TlsError),
    #[error("the broker does not let this shim enforce `{0}`")]
    Enforcement(ResourceName, #[source] ControlError),
    #[error("`{0}` cannot be served here")]
    Start(ResourceName, #[source] StartError),
}

/// The way to one resource.
pub(super) enum Route {
    /// Bytes go to a gateway, which enforces.
    Tunnel(Tunnel),
    /// This process enforces.
    Here(Arc<ServedSession>),
    /// Bytes go to the agent that keeps the session, and it takes one of the other ways.
    Agent(Way),
}

/// Opens the way to what was granted.
pub(super) async fn open(
    session: &Session,
    grant: &GrantInfo,
    threads: &Threads,
    known: &Known,
) -> Result<Arc<Route>, RouteError> {
    let resource = grant.grant.resource.clone();
    let route = match grant.enforce_at {
        EnforceAt::Gateway => {
            let gateway =
                grant.gateway.clone().ok_or_else(|| RouteError::NoGateway(resource.clone()))?;
            let tunnel = Tunnel::new(
                gateway,
                resource.clone(),
                grant.kind,
                session.key.clone(),
                session.token.clone(),
            );
            Route::Tunnel(tunnel.map_err(|error| RouteError::Tls(resource, error))?)
        }
        EnforceAt::Shim => {
            let ask = AskEnforcement { resource: resource.clone() };
            let enforcement = session
                .client
                .enforce(&ask)
                .await
                .map_err(|error| RouteError::Enforcement(resource.clone(), error))?;
            let point = Point { at: EnforceAt::Shim, name: "shim".into() };
            // Its record is written where its clients are served, so that memory is freed where it was taken.
            let there = threads.next().enter();
            let served = ServedSession::start(
                enforcement,
                Arc::new(Noting(session.client.clone(), known.clone())),
                &point,
            );
            drop(there);
            Route::Here(served.map_err(|error| RouteError::Start(resource, error))?)
        }
    };
    Ok(Arc::new(route))
}

/// The broker, whose credentials are noted as what does not belong into a log.
struct Noting(BrokerClient, Known);

impl ControlPlane for Noting {
    fn lease<'a>(&'a self, ask: &'a AskLease) -> BoxFuture<'a, Result<Lease, ControlError>> {
        Box::pin(async move {
            let lease = self.0.lease(ask).await?;
            self.1.add(&lease.password);
            Ok(lease)
        })
    }

    fn release(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), ControlError>> {
        self.0.release(lease)
    }

    fn append<'a>(
        &'a self,
        events: &'a AppendEvents<Event>,
    ) -> BoxFuture<'a, Result<Appended, ControlError>> {
        self.0.append(events)
    }

    fn ask_approval<'a>(
        &'a self,
        ask: &'a AskApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        self.0.ask_approval(ask)
    }

    fn approval_state(
        &self,
        session: SessionId,
        id: ApprovalId,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        self.0.approval_state(session, id, wait)
    }

    fn use_approval<'a>(
        &'a self,
        id: ApprovalId,
        ask: &'a UseApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        self.0.use_approval(id, ask)
    }

    fn cancel_approval(
        &self,
        session: SessionId,
        id: ApprovalId,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        self.0.cancel_approval(session, id)
    }

    fn state(
        &self,
        session: SessionId,
        after: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<SessionState, ControlError>> {
        // Its own has that name, too, and is the shim's.
        ControlPlane::state(&self.0, session, after, wait)
    }
}

impl Route {
    /// Serves one client of the listener.
    pub(super) async fn serve(&self, client: ClientIo, arrival: Arrival) {
        match self {
            Self::Tunnel(tunnel) => {
                if let Err(error) = tunnel.serve(client, arrival).await {
                    say(&chain(&error));
                }
            }
            Self::Here(served) => served.serve_and_log(client, arrival).await,
            Self::Agent(way) => way.serve(client, arrival.auth).await,
        }
    }

    /// The session is over.
    pub(super) fn end(&self, reason: EndReason) {
        match self {
            // The gateway hears it from the broker, and closes.
            Self::Tunnel(_) => {}
            Self::Here(served) => served.end(reason),
            Self::Agent(way) => way.end(reason),
        }
    }

    /// Ends it and waits until its last notes are with the broker.
    pub(super) async fn finish(&self, reason: EndReason) {
        self.end(reason);
        match self {
            Self::Tunnel(_) | Self::Agent(_) => {}
            Self::Here(served) => served.finished().await,
        }
    }
}
