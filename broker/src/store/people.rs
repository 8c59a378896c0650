//! Who is signed in: the hash of a browser's cookie, and what the provider said of the person.

use std::collections::BTreeSet;

use guard_core::{Digest, Timestamp};
use sqlx::Row as _;

use super::{
    Store, StoreError,
    rows::{self, to_json},
};

/// Somebody who has just signed in.
#[derive(Debug)]
pub(crate) struct NewSignedIn {
    /// SHA-256 of the cookie's value.
    pub(crate) token_hash: Digest,
    /// The provider.
    pub(crate) issuer: String,
    /// Who it is there.
    pub(crate) subject: String,
    /// The name, for people.
    pub(crate) name: String,
    /// Their groups.
    pub(crate) groups: BTreeSet<String>,
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
    /// Until when.
    pub(crate) until: Timestamp,
}

impl Store {
    /// Notes that somebody signed in, and forgets those whose time is over.
    pub(crate) async fn sign_in(&self, new: &NewSignedIn) -> Result<(), StoreError> {
        sqlx::query(self.sql("DELETE FROM people_sessions WHERE until * 1000 < {now}"))
            .execute(&self.pool)
            .await?;
        let text = "INSERT INTO people_sessions (token_hash, issuer, subject, name, groups, until, signed_in_at)
             VALUES ($1, $2, $3, $4, $5, $6, {now})";
        sqlx::query(self.sql(text))
            .bind(new.token_hash.to_string())
            .bind(new.issuer.clone())
            .bind(new.subject.clone())
            .bind(new.name.clone())
            .bind(to_json(&new.groups)?)
            .bind(new.until.as_second())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Who has this cookie.
    pub(crate) async fn signed_in(
        &self,
        token_hash: Digest,
    ) -> Result<Option<SignedInRow>, StoreError> {
        let text = "SELECT issuer, subject, name, groups, until FROM people_sessions
             WHERE token_hash = $1 AND until * 1000 > {now}";
        let row = sqlx::query(self.sql(text)).bind(token_hash.to_string());
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let groups: String = row.try_get("groups")?;
        Ok(Some(SignedInRow {
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            name: row.try_get("name")?,
            groups: serde_json::from_str(&groups)
                .map_err(|error| StoreError::Row(error.to_string()))?,
            until: rows::moment(row.try_get("until")?)?,
        }))
    }

    /// Forgets a cookie.
    pub(crate) async fn sign_out(&self, token_hash: Digest) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM people_sessions WHERE token_hash = $1")
            .bind(token_hash.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
