//! Who is signed in: the hash of a browser's cookie or of a command line's token, and what the provider said of the person.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{Digest, Timestamp};
use serde::Serialize;
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

/// A sign-in as a person who runs the broker looks at it.
#[derive(Debug, Serialize)]
pub(crate) struct SignIn {
    /// What it is called by: the beginning of its secret's hash, of which the secret cannot be had.
    pub(crate) id: String,
    /// Who, for people.
    pub(crate) name: String,
    /// Who it is at the provider.
    pub(crate) subject: String,
    /// The provider.
    pub(crate) issuer: String,
    /// Their groups when they signed in.
    pub(crate) groups: BTreeSet<String>,
    /// `browser` or `command line`.
    pub(crate) at: &'static str,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Until when.
    pub(crate) until: Timestamp,
}

/// Which sign-ins are to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// One, by what it is called.
    One(&'a str),
    /// All of somebody, by who it is at the provider.
    Of(&'a str),
}

/// Hexadecimal digits of a hash that a sign-in is called by: no two of some thousand are the same.
const CALLED_BY: usize = 16;

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

    /// Who is signed in, the last first.
    pub(crate) async fn sign_ins(&self) -> Result<Vec<SignIn>, StoreError> {
        let text = "SELECT token_hash, issuer, subject, name, groups, until, signed_in_at, kind FROM people_sessions
             WHERE until * 1000 > {now} ORDER BY signed_in_at DESC, token_hash";
        let rows = sqlx::query(self.sql(text)).fetch_all(&self.pool).await?;
        let read = |row: &sqlx::any::AnyRow| {
            let (hash, groups): (String, String) =
                (row.try_get("token_hash")?, row.try_get("groups")?);
            let kind: String = row.try_get("kind")?;
            Ok(SignIn {
                id: hash.chars().take(CALLED_BY).collect(),
                name: row.try_get("name")?,
                subject: row.try_get("subject")?,
                issuer: row.try_get("issuer")?,
                groups: serde_json::from_str(&groups)
                    .map_err(|error| StoreError::Row(error.to_string()))?,
                at: if kind == Held::Token.as_str() { "command line" } else { "browser" },
                since: Timestamp::from_millisecond(row.try_get("signed_in_at")?)
                    .map_err(|error| StoreError::Row(error.to_string()))?,
                until: rows::moment(row.try_get("until")?)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Ends sign-ins: their secrets are worth nothing from now on, at whichever broker. Says how many there were.
    pub(crate) async fn end_sign_ins(&self, which: Which<'_>) -> Result<u64, StoreError> {
        let (condition, value) = match which {
            Which::One(id) if id.len() == CALLED_BY => ("substr(token_hash, 1, 16)", id),
            Which::One(_) => return Ok(0),
            Which::Of(subject) => ("subject", subject),
        };
        let text = format!(
            "DELETE FROM people_sessions WHERE {condition} = $1 AND until * 1000 > {{now}}"
        );
        let ended = sqlx::query(self.sql(&text)).bind(value.to_owned()).execute(&self.pool).await?;
        Ok(ended.rows_affected())
    }
}
