//! What callers are told when something does not work, and what the log is told.
//!
//! A stranger learns that it was refused and an id; the log says why under that id.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use guard_core::{EndReason, control::ApiError};

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It does not show who it is. The reason is for the log only.
    Unauthorized(String),
    /// It may not do this.
    Forbidden(String),
    /// There is no such session, or none that it may know of.
    NoSession,
    /// Events before these are missing.
    Gap {
        /// What the broker expects.
        expected: u64,
    },
    /// The session is over.
    SessionOver(EndReason),
    /// It was judged by another policy than the session's.
    PolicyChanged,
    /// More than one session may ask of people.
    TooMany(String),
    /// The record is deleted.
    Deleted(String),
    /// The request makes no sense.
    Invalid(String),
    /// The credential cannot be had.
    LeaseUnavailable(String),
    /// The record cannot be written. The reason is for the log only.
    Unrecorded(String),
    /// The store or the broker itself fails. The reason is for the log only.
    Internal(String),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoSession => StatusCode::NOT_FOUND,
            Self::Gap { .. } => StatusCode::CONFLICT,
            Self::SessionOver(_) | Self::Deleted(_) => StatusCode::GONE,
            Self::PolicyChanged => StatusCode::CONFLICT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::LeaseUnavailable(_) | Self::Internal(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unrecorded(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NoSession => "not-found",
            Self::Gap { .. } => "gap",
            Self::SessionOver(_) => "session-over",
            Self::Deleted(_) => "deleted",
            Self::PolicyChanged => "policy-changed",
            Self::TooMany(_) => "too-many",
            Self::Invalid(_) => "invalid",
            Self::LeaseUnavailable(_) => "lease-unavailable",
            Self::Unrecorded(_) => "record-unavailable",
            Self::Internal(_) => "unavailable",
        }
    }

    /// For the caller.
    fn message(&self) -> String {
        match self {
            Self::Unauthorized(_) => "the request does not show who it comes from".into(),
            Self::Forbidden(message)
            | Self::Invalid(message)
            | Self::TooMany(message)
            | Self::LeaseUnavailable(message) => message.clone(),
            Self::PolicyChanged => "the session has another policy".into(),
            Self::NoSession => "there is no such session".into(),
            Self::Gap { expected } => format!("the next event of this writer is number {expected}"),
            Self::SessionOver(reason) => reason.to_string(),
            Self::Deleted(message) => message.clone(),
            Self::Unrecorded(_) => "the record cannot be written".into(),
            Self::Internal(_) => "the broker cannot do this now".into(),
        }
    }

    /// For the log.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unauthorized(reason) | Self::Unrecorded(reason) | Self::Internal(reason) => {
                reason.clone()
            }
            Self::Forbidden(_)
            | Self::NoSession
            | Self::Gap { .. }
            | Self::SessionOver(_)
            | Self::Deleted(_)
            | Self::PolicyChanged
            | Self::TooMany(_)
            | Self::Invalid(_)
            | Self::LeaseUnavailable(_) => self.message(),
        }
    }

    /// Writes the reason to the log, under an id.
    pub(crate) fn log(&self) -> String {
        let decision_id = uuid::Uuid::new_v4().to_string();
        let (reason, code) = (self.reason(), self.code());
        match self {
            Self::Unrecorded(_) | Self::Internal(_) => {
                tracing::error!(decision_id, code, reason, "cannot do what was asked");
            }
            Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::TooMany(_)
            | Self::LeaseUnavailable(_) => {
                tracing::warn!(decision_id, code, reason, "refused a request");
            }
            Self::NoSession
            | Self::Gap { .. }
            | Self::SessionOver(_)
            | Self::Deleted(_)
            | Self::PolicyChanged
            | Self::Invalid(_) => {
                tracing::info!(decision_id, code, reason, "refused a request");
            }
        }
        decision_id
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = ApiError {
            error: self.code().to_owned(),
            message: self.message(),
            decision_id: Some(self.log()),
        };
        (self.status(), Json(error)).into_response()
    }
}

/// An error with its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
