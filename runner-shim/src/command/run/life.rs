//! Whose session a run's commands work in: one of its own, or one that an agent keeps for several runs.

use std::sync::Arc;

use guard_core::{
    EndReason,
    control::{GrantInfo, ReachedIsolation, SessionInfo},
};
use guard_engine::{egress::EgressJudge, end::EndSignal, exchange::Session, threads::Threads};
use tokio::sync::watch as channel;

use super::{
    RunError,
    output::Known,
    renew::{self, Tokens},
    route::{self, Route},
    session::attached::Attached,
    watch::{self, Refusals},
};

/// A session, as a run sees it.
pub(super) enum Life<'a> {
    /// The run's own: it ends with the run.
    Own { session: &'a Session, tokens: Tokens<'a>, refusals: &'a mut Refusals },
    /// An agent's.
    Attached(&'a mut Attached),
}

impl Life<'_> {
    pub(super) fn info(&self) -> &SessionInfo {
        match self {
            Self::Own { session, .. } => &session.info,
            Self::Attached(attached) => &attached.info,
        }
    }

    /// Opens the ways to what was granted.
    pub(super) async fn routes(
        &self,
        threads: &Threads,
        known: &Known,
    ) -> Result<Vec<(GrantInfo, Arc<Route>)>, RunError> {
        let mut routes = Vec::new();
        for grant in &self.info().grants {
            let route = match self {
                Self::Own { session, .. } => route::open(session, grant, threads, known).await?,
                Self::Attached(attached) => Arc::new(Route::Agent(attached.way(grant))),
            };
            routes.push((grant.clone(), route));
        }
        Ok(routes)
    }

    /// Who says where else the command may go, if it may.
    pub(super) fn judge(&self) -> Option<Arc<dyn EgressJudge>> {
        self.info().egress.then(|| match self {
            Self::Own { session, .. } => Arc::new(session.client.clone()) as Arc<dyn EgressJudge>,
            Self::Attached(attached) => Arc::new(attached.judge()),
        })
    }

    /// Has it recorded at which level the command is about to be run.
    pub(super) async fn isolated(&mut self, reached: &ReachedIsolation) -> Result<(), RunError> {
        match self {
            Self::Own { session, .. } => Ok(session.client.isolated(reached).await?),
            Self::Attached(attached) => Ok(attached.isolated(reached).await?),
        }
    }

    /// Told when a statement was refused that people may still approve, for a later run.
    pub(super) fn parked(&self) -> channel::Receiver<bool> {
        match self {
            Self::Own { refusals, .. } => refusals.parked.subscribe(),
            Self::Attached(attached) => attached.refusals.parked.subscribe(),
        }
    }

    /// Follows the session until it is over, and keeps it alive where that is this run's to do.
    pub(super) async fn over(&mut self, end: &EndSignal) -> EndReason {
        match self {
            Self::Own { session, tokens, refusals } => tokio::select! {
                reason = watch::watch(session, end, refusals) => reason,
                never = renew::keep(session, tokens) => match never {},
            },
            Self::Attached(attached) => attached.over(end).await,
        }
    }
}
