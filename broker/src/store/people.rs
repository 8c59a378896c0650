//! Who is signed in: the hash of a browser's cookie or of a command line's token, and what the provider said of the person.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{Digest, Timestamp};
use sqlx::Row as _;

use super::{
    Store, StoreError,
    rows::{self, to_json},
};

/// What holds the secret of somebody who is signed in. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// A browser, in a cookie.
    Browser,
    /// The command line, in a file.
    Token,
}

impl Held {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Token => "token",
        }
    }
}

/// Somebody who has just signed in.
#[derive(Debug)]
pub(crate) struct NewSignedIn {
    /// SHA-256 of the secret.
    pub(crate) token_hash: Digest,
    /// What holds the secret.
    pub(crate) held: Held,
    /// The provider.
    pub(crate) issuer: String,
    /// Who it is there.
    pub(crate) subject: String,
    /// The name, for people.
    pub(crate) name: String,
    /// Their groups.
    pub(crate) groups: BTreeSet<String>,
    /// What they are compared with a run's starter by.
    pub(crate) claims: BTreeMap<String, String>,
    /// Until when.
    pub(crate) until: Timestamp,
}

/// Somebody who is signed in.
#[derive(Debug)]
pub(crate) struct SignedInRow {
    /// The provider.
    pub(crate) issuer: String,
    /// Who it is there.
    pub(crate) subject: String,
    /// The name, for people.
    pub(crate) name: String,
    /// Their groups when they signed in.
    pub(crate) groups: BTreeSet<String>,
    /// What they are compared with a run's starter by.
    pub(crate) claims: BTreeMap<String, String>,
    /// Until when.
    pub(crate) until: Timestamp,
}

impl Store {
    /// Notes that somebody signed in, and forgets those whose time is over.
    pub(crate) async fn sign_in(&self, new: &NewSignedIn) -> Result<(), StoreError> {
        sqlx::query(self.sql("DELETE FROM people_sessions WHERE until * 1000 < {now}"))
            .execute(&self.pool)
            .await?;
        let text = "INSERT INTO people_sessions (token_hash, issuer, subject, name, groups, until, signed_in_at, claims, kind)
             VALUES ($1, $2, $3, $4, $5, $6, {now}, $7, $8)";
        sqlx::query(self.sql(text))
            .bind(new.token_hash.to_string())
            .bind(new.issuer.clone())
            .bind(new.subject.clone())
            .bind(new.name.clone())
            .bind(to_json(&new.groups)?)
            .bind(new.until.as_second())
            .bind(to_json(&new.claims)?)
            .bind(new.held.as_str().to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Who has this secret.
    pub(crate) async fn signed_in(
        &self,
        token_hash: Digest,
        held: Held,
    ) -> Result<Option<SignedInRow>, StoreError> {
        let text = "SELECT issuer, subject, name, groups, claims, until FROM people_sessions
             WHERE token_hash = $1 AND kind = $2 AND until * 1000 > {now}";
        let row =
            sqlx::query(self.sql(text)).bind(token_hash.to_string()).bind(held.as_str().to_owned());
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let (groups, claims): (String, String) = (row.try_get("groups")?, row.try_get("claims")?);
        let unreadable = |error: serde_json::Error| StoreError::Row(error.to_string());
        Ok(Some(SignedInRow {
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            name: row.try_get("name")?,
            groups: serde_json::from_str(&groups).map_err(unreadable)?,
            claims: serde_json::from_str(&claims).map_err(unreadable)?,
            until: rows::moment(row.try_get("until")?)?,
        }))
    }

    /// Forgets a secret.
    pub(crate) async fn sign_out(&self, token_hash: Digest) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM people_sessions WHERE token_hash = $1")
            .bind(token_hash.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
