//! What the data path needs of the broker: HTTP in life ([`crate::http`]), a fake in tests.

use std::time::Duration;

use futures_util::future::BoxFuture;
use guard_audit::Event;
use guard_core::{
    ApprovalId, LeaseId, SessionId,
    control::{
        AppendEvents, Appended, ApprovalStatus, AskApproval, AskLease, Authorize, Enforcement,
        Lease, SessionState, UseApproval,
    },
};

/// Why the broker did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No answer.
    #[error("the broker at `{broker}` cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        broker: String,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("the broker refused: {message} ({code}{})", decision_id.as_ref().map(|id| format!(", decision {id}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code of the answer (`unauthorized`, `session-over`, …).
        code: String,
        /// In words.
        message: String,
        /// Finds the reason in the broker's log.
        decision_id: Option<String>,
    },
    /// It said something that is not part of its API.
    #[error("the answer of the broker at `{broker}` cannot be read: {reason}")]
    Garbled {
        /// Its address.
        broker: String,
        /// Why.
        reason: String,
    },
    /// The request could not be proven or built.
    #[error("the request to the broker cannot be made: {0}")]
    Unproven(String),
}

impl ControlError {
    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Garbled { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Unproven(_) => false,
        }
    }

    /// Whether no broker answered: it, or one behind the same balancer, may answer the next time.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // What a balancer says when it has no broker.
            Self::Refused { status, .. } => matches!(status, 502 | 504),
            Self::Garbled { .. } | Self::Unproven(_) => false,
        }
    }

    /// Whether the broker said that the session is over or that it knows of none.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 404 | 410),
            Self::Unreachable { .. } | Self::Garbled { .. } | Self::Unproven(_) => false,
        }
    }
}

/// What an enforcement point asks of the broker for the sessions that it serves.
pub trait ControlPlane: Send + Sync {
    /// Takes a credential for one session.
    fn lease<'a>(&'a self, ask: &'a AskLease) -> BoxFuture<'a, Result<Lease, ControlError>>;

    /// Gives a credential back.
    fn release(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), ControlError>>;

    /// Appends events to a session's record.
    fn append<'a>(
        &'a self,
        events: &'a AppendEvents<Event>,
    ) -> BoxFuture<'a, Result<Appended, ControlError>>;

    /// Asks people about an operation.
    fn ask_approval<'a>(
        &'a self,
        ask: &'a AskApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>>;

    /// A long poll of a request: answers when it does not wait any more, or after `wait`.
    fn approval_state(
        &self,
        session: SessionId,
        id: ApprovalId,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>>;

    /// Uses a granted request up.
    fn use_approval<'a>(
        &'a self,
        id: ApprovalId,
        ask: &'a UseApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>>;

    /// Takes a request back.
    fn cancel_approval(
        &self,
        session: SessionId,
        id: ApprovalId,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>>;

    /// A long poll of a session's state: answers when something changed, or after `wait`.
    fn state(
        &self,
        session: SessionId,
        after: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<SessionState, ControlError>>;
}

/// What a gateway asks besides.
pub trait GatewayControl: ControlPlane {
    /// Shows what a shim showed, and learns what to enforce.
    fn authorize<'a>(
        &'a self,
        ask: &'a Authorize,
    ) -> BoxFuture<'a, Result<Enforcement, ControlError>>;
}
