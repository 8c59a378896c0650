//! A session as the data path sees it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Identity, ResourceName, SessionId, Timestamp};

/// What a policy may look at besides the operation.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// The run it was given to.
    pub identity: Identity,
    /// The resource that is asked.
    pub resource: ResourceName,
    /// When the grant ends.
    pub until: Timestamp,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EndReason {
    /// The child ended and the shim said so.
    Finished,
    /// The grant's or the run's time was over.
    Expired,
    /// Somebody ended it at the broker.
    Revoked,
    /// The shim was not heard of any more.
    Lost,
    /// The broker or the record could not be reached from the data path.
    Unrecorded,
}

impl EndReason {
    /// The word used in records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
            Self::Unrecorded => "unrecorded",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the run has finished",
            Self::Expired => "the session's time is over",
            Self::Revoked => "the session was revoked",
            Self::Lost => "the run is gone: its shim was not heard of any more",
            Self::Unrecorded => "the record cannot be written",
        })
    }
}
