//! Rows of the store as types.

use guard_core::{
    Digest, EndReason, Grant, Identity, LeaseId, ResourceName, Secret, SessionId, Timestamp,
    control::PolicySource,
};
use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::StoreError;

/// A session as it is stored.
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
    /// Why it is over, if it is: the word that records use, and the child's exit code.
    pub(crate) ended: Option<(String, Option<i32>)>,
    /// How far its record was known to reach.
    pub(crate) reached: Option<(u64, Digest)>,
    /// Gateway and resource of each tunnel that was authorized.
    pub(crate) authorizations: Vec<(String, ResourceName)>,
    /// Leases that are out.
    pub(crate) leases: Vec<LeaseRow>,
}

/// A lease that is out.
#[derive(Debug, Clone)]
pub(crate) struct LeaseRow {
    /// The lease.
    pub(crate) id: LeaseId,
    /// The resource.
    pub(crate) resource: ResourceName,
    /// The enforcement point that has it: a gateway's name, or `shim`.
    pub(crate) holder: String,
}

/// A session to be stored, with the identity token that it uses up.
#[derive(Debug)]
pub(crate) struct NewSession<'a> {
    /// The session.
    pub(crate) session: &'a SessionRow,
    /// The token's id.
    pub(crate) jti: &'a str,
    /// When the id may be forgotten.
    pub(crate) forget_after: Timestamp,
}

impl SessionRow {
    /// Why it is over, of a session that is.
    pub(crate) fn end_reason(&self) -> EndReason {
        let reason = self.ended.as_ref().map(|(reason, _)| reason.as_str()).unwrap_or_default();
        serde_json::from_value(reason.into()).unwrap_or(EndReason::Lost)
    }

    pub(super) fn read(
        row: &SqliteRow,
        grants: &[SqliteRow],
        authorizations: Vec<(String, String)>,
        leases: Vec<(String, String, String)>,
    ) -> Result<Self, StoreError> {
        let identity: String = row.try_get("identity")?;
        let reason: Option<String> = row.try_get("end_reason")?;
        let exit_code: Option<i32> = row.try_get("exit_code")?;
        let head: Option<String> = row.try_get("head")?;
        let entries: i64 = row.try_get("entries")?;
        let reached = match head {
            Some(head) => Some((parse(&entries.to_string())?, parse(&head)?)),
            None => None,
        };
        let grants = grants.iter().map(|row| {
            let grant = Grant {
                resource: parse(&row.try_get::<String, _>("resource")?)?,
                policy: parse(&row.try_get::<String, _>("policy")?)?,
                until: moment(row.try_get("until")?)?,
            };
            let policy = PolicySource {
                name: parse(&row.try_get::<String, _>("name")?)?,
                yaml: row.try_get("yaml")?,
                digest: parse(&row.try_get::<String, _>("digest")?)?,
            };
            Ok((grant, policy))
        });
        let authorizations =
            authorizations.into_iter().map(|(gateway, resource)| Ok((gateway, parse(&resource)?)));
        let leases = leases.into_iter().map(|(id, resource, holder)| {
            Ok(LeaseRow { id: parse(&id)?, resource: parse(&resource)?, holder })
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
            ended: reason.map(|reason| (reason, exit_code)),
            reached,
            authorizations: authorizations.collect::<Result<_, StoreError>>()?,
            leases: leases.collect::<Result<_, StoreError>>()?,
        })
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row(error.to_string()))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Row(error.to_string()))
}

fn moment(seconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_second(seconds).map_err(|error| StoreError::Row(error.to_string()))
}
