//! Rows of the store as types.

use guard_audit::Segment;
use guard_core::{
    Digest, EndReason, Grant, Identity, LeaseId, ResourceName, Secret, SessionId, Timestamp,
    control::PolicySource,
};
use serde::Serialize;
use sqlx::{Row as _, any::AnyRow};

use super::StoreError;
use crate::credentials::Handle;

/// A session as it is stored: what does not change while it lives.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    /// The session.
    pub(crate) id: SessionId,
    /// SHA-256 of its token.
    pub(crate) token_hash: Digest,
    /// RFC 7638 thumbprint of its key.
    pub(crate) key_thumbprint: String,
    /// The run.
    pub(crate) identity: Identity,
    /// The trust rule that gave it.
    pub(crate) trust_rule: String,
    /// Key of the `hash` mask.
    pub(crate) mask_key: Secret,
    /// When it ends by itself.
    pub(crate) until: Timestamp,
    /// What it may reach, with the policies as they were when it was opened.
    pub(crate) grants: Vec<(Grant, PolicySource)>,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct StateRow {
    /// Why it is over, if it is, and the child's exit code.
    pub(crate) ended: Option<(EndReason, Option<i32>)>,
    /// Whether its record is sealed.
    pub(crate) sealed: bool,
    /// Whether its record is in the recordings.
    pub(crate) filed: bool,
    /// How many entries its record is known to have, and the hash of the last.
    pub(crate) reached: Option<(u64, Digest)>,
    /// How many notices there are for the shim.
    pub(crate) notices: u64,
}

/// A lease that is not taken back.
#[derive(Debug, Clone)]
pub(crate) struct LeaseRow {
    /// The lease.
    pub(crate) id: LeaseId,
    /// The session.
    pub(crate) session: SessionId,
    /// The resource.
    pub(crate) resource: ResourceName,
    /// The enforcement point that has it: a gateway's name, or `shim`.
    pub(crate) holder: String,
    /// What finds its credential.
    pub(crate) handle: Handle,
    /// The user name at the resource.
    pub(crate) username: String,
    /// Where it stands.
    pub(crate) state: LeaseState,
    /// Whether somebody had it, so that the record tells of it.
    pub(crate) handed_out: bool,
    /// When its credential ends by itself.
    pub(crate) until: Timestamp,
    /// Attempts to take it back.
    pub(crate) tries: u64,
    /// What came of the last that failed.
    pub(crate) problem: Option<String>,
    /// When the next is due.
    pub(crate) next_try: Timestamp,
}

/// Where a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// Its credential may be there; nobody has it.
    Wanted,
    /// Somebody has it.
    Out,
    /// It is being taken back.
    Revoking,
    /// It could not be taken back. That is tried again.
    Failed,
}

impl LeaseState {
    /// All words.
    pub(crate) const WORDS: [(&'static str, Self); 4] = [
        ("wanted", Self::Wanted),
        ("out", Self::Out),
        ("revoking", Self::Revoking),
        ("failed", Self::Failed),
    ];

    /// The state of a word of the store.
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find_map(|(name, state)| (name == word).then_some(state))
    }

    /// Its word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Out => "out",
            Self::Revoking => "revoking",
            Self::Failed => "failed",
        }
    }

    /// Whether nobody has given it back.
    pub(crate) const fn is_held(self) -> bool {
        match self {
            Self::Wanted | Self::Out => true,
            Self::Revoking | Self::Failed => false,
        }
    }
}

/// A session to be stored, with the identity token that it uses up.
#[derive(Debug, Clone)]
pub(crate) struct NewSession {
    /// The session.
    pub(crate) session: SessionRow,
    /// The token's id.
    pub(crate) jti: String,
    /// When the id may be forgotten.
    pub(crate) forget_after: Timestamp,
    /// Names the job, where it can be told from others: it has one live session.
    pub(crate) live_run: Option<String>,
    /// Until when the next identity token has to be there, if tokens keep it alive.
    pub(crate) renew_by: Option<Timestamp>,
    /// The first line of its record, the hash of it and the segment that it begins, where the store keeps records.
    pub(crate) first: Option<(Vec<u8>, Digest, Segment)>,
}

/// The columns of [`SessionRow::read`].
pub(super) const SESSION: &str =
    "id, token_hash, key_thumbprint, identity, trust_rule, mask_key, until";
/// The columns of [`StateRow::read`], of `sessions` and `records`.
pub(super) const STATE: &str =
    "id, end_reason, exit_code, sessions.sealed AS sealed, filed, entries, head, notices";

impl SessionRow {
    pub(super) fn read(row: &AnyRow, grants: &[AnyRow]) -> Result<Self, StoreError> {
        let identity: String = row.try_get("identity")?;
        let grants = grants.iter().map(|row| {
            let grant = Grant {
                resource: parse(&row.try_get::<String, _>("resource")?)?,
                policy: parse(&row.try_get::<String, _>("policy")?)?,
                until: moment(row.try_get("until")?)?,
            };
            let policy = PolicySource {
                name: parse(&row.try_get::<String, _>("name")?)?,
                yaml: row.try_get("yaml")?,
                lock: Some(row.try_get("lock_text")?).filter(|text: &String| !text.is_empty()),
                digest: parse(&row.try_get::<String, _>("digest")?)?,
            };
            Ok((grant, policy))
        });
        Ok(Self {
            id: parse(&row.try_get::<String, _>("id")?)?,
            token_hash: parse(&row.try_get::<String, _>("token_hash")?)?,
            key_thumbprint: row.try_get("key_thumbprint")?,
            identity: serde_json::from_str(&identity)
                .map_err(|error| StoreError::Row(error.to_string()))?,
            trust_rule: row.try_get("trust_rule")?,
            mask_key: Secret::new(row.try_get::<String, _>("mask_key")?),
            until: moment(row.try_get("until")?)?,
            grants: grants.collect::<Result<_, StoreError>>()?,
        })
    }
}

impl StateRow {
    pub(super) fn read(row: &AnyRow) -> Result<(SessionId, Self), StoreError> {
        let reason: Option<String> = row.try_get("end_reason")?;
        let exit_code: Option<i64> = row.try_get("exit_code")?;
        let head: String = row.try_get("head")?;
        let entries = count(row.try_get("entries")?)?;
        let ended = reason.map(|reason| {
            // An older broker's word that this one does not know: the session is over nevertheless.
            let reason = serde_json::from_value(reason.into()).unwrap_or(EndReason::Lost);
            (reason, exit_code.and_then(|code| i32::try_from(code).ok()))
        });
        let state = Self {
            ended,
            sealed: row.try_get::<i64, _>("sealed")? != 0,
            // 3: it is at rest without a seal.
            filed: matches!(row.try_get::<i64, _>("filed")?, 1 | 2),
            reached: if head.is_empty() { None } else { Some((entries, parse(&head)?)) },
            notices: count(row.try_get("notices")?)?,
        };
        Ok((parse(&row.try_get::<String, _>("id")?)?, state))
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row(error.to_string()))
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Row(error.to_string()))
}

pub(super) fn moment(seconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_second(seconds).map_err(|error| StoreError::Row(error.to_string()))
}

pub(super) fn count(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|error| StoreError::Row(error.to_string()))
}

pub(super) fn number(count: u64) -> Result<i64, StoreError> {
    i64::try_from(count).map_err(|error| StoreError::Row(error.to_string()))
}

/// Milliseconds of a duration.
pub(super) fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
