//! What the command line and the broker say to each other about people: signing in by the device flow (RFC 8628), and deciding.

use serde::{Deserialize, Serialize};

use crate::{ApprovalId, ApprovalState, Timestamp};

/// How somebody goes on to sign in, at the provider. Answer of `POST /v1/people/device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceSignIn {
    /// What the command line asks again by.
    pub device_code: String,
    /// What the person compares, or types.
    pub user_code: String,
    /// Where the person goes.
    pub verification_uri: String,
    /// The same with the code in it, if the provider gives that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// For how long, in seconds.
    pub expires_in: u64,
    /// How long to wait between two questions, in seconds.
    pub interval: u64,
}

/// `POST /v1/people/device/token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskPersonToken {
    /// As it was given.
    pub device_code: String,
}

/// Whether somebody has signed in. Answer of `POST /v1/people/device/token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeviceState {
    /// Not yet.
    Waiting,
    /// Not yet, and five seconds more are to be between two questions.
    SlowDown,
    /// They have.
    SignedIn {
        /// What shows it from now on: `Authorization: Bearer`.
        token: String,
        /// Who it is.
        person: PersonInfo,
    },
    /// They did not want to, or may not.
    Denied,
    /// They took too long.
    Expired,
}

/// Somebody who is signed in. Answer of `GET /v1/people/self`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersonInfo {
    /// The provider.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// The name, for people.
    pub name: String,
    /// What they may do.
    pub roles: Vec<String>,
    /// Until when they are signed in.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub until: Timestamp,
}

/// What people are asked, as somebody sees it who is signed in. Answer of `GET /v1/people/approvals/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalView {
    /// The request.
    pub id: ApprovalId,
    /// Where it stands.
    pub state: ApprovalState,
    /// What does not go on, in words.
    pub what: String,
    /// The statement, or its beginning; without values for those who do not see them.
    pub text: String,
    /// Whether some of it is not shown.
    pub cut: bool,
    /// What it would do.
    pub effects: Vec<String>,
    /// How many rows the server's planner expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// The resource.
    pub resource: String,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// Whose run it is.
    pub repository: String,
    /// Who or what started the run.
    pub actor: String,
    /// When its time is over.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub until: Timestamp,
    /// The page with all of it.
    pub address: String,
    /// Why the word of whoever asks would not count, if it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// What waits. Answer of `GET /v1/people/approvals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalViews {
    /// The one whose time is over first before the others.
    pub waiting: Vec<ApprovalView>,
}

/// `POST /v1/people/approvals/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecideApproval {
    /// Yes or no.
    pub grant: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}
