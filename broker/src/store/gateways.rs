//! Gateways: where they are, who let them in, and which of them get no new sessions.
//!
//! A token lets one gateway in, once. What is kept of it is its hash; when it is used, the thumbprint of the key that was shown with
//! it takes its place.

use std::time::Duration;

use guard_core::{Digest, control::GatewayInfo};

use super::{
    Store, StoreError,
    rows::{self, millis},
};
use crate::{claims::VerifiedGateway, config::Labels};

/// A gateway that was not heard of for this long is not offered to shims. It registers every 10 s.
const GATEWAY_RECENT: Duration = Duration::from_secs(60);

/// A gateway that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enrolled {
    /// RFC 7638 thumbprint of its key; `None` until it used its token.
    pub(crate) key: Option<String>,
    /// What it is, where a token of the broker's own let it in.
    pub(crate) labels: Labels,
    /// Who the configuration said that it is, as a digest, where an identity token did.
    pub(crate) identity: Option<String>,
}

/// A gateway, as the store knows it: registered, let in, or both.
#[derive(Debug, Clone)]
pub(crate) struct StoredGateway {
    /// Where it is, if it ever registered.
    pub(crate) info: Option<GatewayInfo>,
    /// Its name.
    pub(crate) name: String,
    /// Its version, as it says.
    pub(crate) version: Option<String>,
    /// When it was last heard of, in milliseconds.
    pub(crate) heard_at: Option<i64>,
    /// Whether that was lately.
    pub(crate) recent: bool,
    /// Whether it gets no new sessions.
    pub(crate) draining: bool,
    /// Whether it was let in, and by what.
    pub(crate) enrolled: Option<Enrolled>,
    /// Live sessions whose shims came to it.
    pub(crate) sessions: i64,
}

impl StoredGateway {
    /// One of the configuration that never registered.
    pub(crate) fn unheard(name: &str) -> Self {
        Self {
            info: None,
            name: name.to_owned(),
            version: None,
            heard_at: None,
            recent: false,
            draining: false,
            enrolled: None,
            sessions: 0,
        }
    }
}

/// Name, address, certificate, version, when heard, whether lately, whether draining, labels, key, identity, sessions.
type Row = (
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    i64,
    i64,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
);

impl Store {
    /// Stores what a gateway says of itself.
    pub(crate) async fn register_gateway(
        &self,
        gateway: &GatewayInfo,
        version: &str,
    ) -> Result<(), StoreError> {
        let text = "INSERT INTO gateways (name, address, certificate, version, heard_at)
             VALUES ($1, $2, $3, $4, {now})
             ON CONFLICT (name) DO UPDATE SET address = excluded.address,
                 certificate = excluded.certificate, version = excluded.version,
                 heard_at = excluded.heard_at";
        sqlx::query(self.sql(text))
            .bind(gateway.name.clone())
            .bind(gateway.address.clone())
            .bind(gateway.certificate.to_string())
            .bind(version.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All gateways that the store knows, by name; their sessions are counted where somebody looks at them.
    pub(crate) async fn gateways(&self, count: bool) -> Result<Vec<StoredGateway>, StoreError> {
        let sessions = if count {
            "(SELECT count(DISTINCT session) FROM authorizations JOIN sessions ON id = session
                 WHERE authorizations.gateway = names.name AND end_reason IS NULL)"
        } else {
            "0"
        };
        let text = "SELECT names.name, address, certificate, version, heard_at,
                 CAST(CASE WHEN heard_at > {now} - $1 THEN 1 ELSE 0 END AS BIGINT),
                 CAST(CASE WHEN draining.gateway IS NULL THEN 0 ELSE 1 END AS BIGINT), labels, key_thumbprint,
                 enrolments.identity, CAST({sessions} AS BIGINT)
             FROM (SELECT name FROM gateways UNION SELECT gateway FROM enrolments) AS names
                 LEFT JOIN gateways ON gateways.name = names.name
                 LEFT JOIN enrolments ON enrolments.gateway = names.name
                 LEFT JOIN draining ON draining.gateway = names.name
             ORDER BY names.name";
        let text = text.replace("{sessions}", sessions);
        let rows: Vec<Row> = sqlx::query_as(self.sql(&text))
            .bind(millis(GATEWAY_RECENT))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(read).collect()
    }

    /// Where a gateway said that it listens.
    pub(crate) async fn gateway_address(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found = sqlx::query_scalar("SELECT address FROM gateways WHERE name = $1")
            .bind(name.to_owned())
            .fetch_optional(&self.pool);
        Ok(found.await?)
    }

    /// Lets a gateway in that shows a token of this hash in time. A key that it had before holds until then.
    pub(crate) async fn offer_enrolment(
        &self,
        name: &str,
        labels: &Labels,
        token: Digest,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let text = "INSERT INTO enrolments (gateway, labels, token_hash, expires_at)
             VALUES ($1, $2, $3, {now} + $4)
             ON CONFLICT (gateway) DO UPDATE SET labels = excluded.labels,
                 token_hash = excluded.token_hash, expires_at = excluded.expires_at";
        sqlx::query(self.sql(text))
            .bind(name.to_owned())
            .bind(rows::to_json(labels)?)
            .bind(token.to_string())
            .bind(millis(lasts))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Uses a token up for the key of a thumbprint. `true` also for the same token with the same key: the answer was lost.
    pub(crate) async fn enrol(
        &self,
        name: &str,
        token: Digest,
        key: &str,
    ) -> Result<bool, StoreError> {
        let text = "UPDATE enrolments SET key_thumbprint = $3, used_hash = $2, token_hash = NULL,
                 identity = NULL
             WHERE gateway = $1 AND ((token_hash = $2 AND expires_at > {now})
                 OR (used_hash = $2 AND key_thumbprint = $3 AND token_hash IS NULL))";
        let done = sqlx::query(self.sql(text))
            .bind(name.to_owned())
            .bind(token.to_string())
            .bind(key.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Uses an identity token up for the key of a thumbprint. `true` also for the same token with the same key: the answer was
    /// lost.
    pub(crate) async fn enrol_by_identity(
        &self,
        name: &str,
        who: Digest,
        verified: &VerifiedGateway,
        token: Digest,
        key: &str,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let used =
            sqlx::query("INSERT INTO used_tokens VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(verified.issuer.clone())
                .bind(verified.once.clone())
                .bind(verified.forget_after.as_second())
                .execute(&mut *transaction)
                .await?;
        let text = if used.rows_affected() > 0 {
            "INSERT INTO enrolments (gateway, labels, expires_at, used_hash, key_thumbprint, identity)
             VALUES ($1, '{}', 0, $2, $3, $4)
             ON CONFLICT (gateway) DO UPDATE SET labels = '{}', token_hash = NULL, expires_at = 0,
                 used_hash = excluded.used_hash, key_thumbprint = excluded.key_thumbprint,
                 identity = excluded.identity"
        } else {
            "UPDATE enrolments SET expires_at = 0
             WHERE gateway = $1 AND used_hash = $2 AND key_thumbprint = $3 AND identity = $4"
        };
        let done = sqlx::query(text)
            .bind(name.to_owned())
            .bind(token.to_string())
            .bind(key.to_owned())
            .bind(who.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Whether and how a gateway was let in.
    pub(crate) async fn enrolled(&self, name: &str) -> Result<Option<Enrolled>, StoreError> {
        let text = "SELECT labels, key_thumbprint, identity FROM enrolments WHERE gateway = $1";
        let found: Option<(String, Option<String>, Option<String>)> =
            sqlx::query_as(text).bind(name.to_owned()).fetch_optional(&self.pool).await?;
        found.map(|(labels, key, identity)| enrolled(&labels, key, identity)).transpose()
    }

    /// Gives a gateway no new sessions, or again some.
    pub(crate) async fn drain_gateway(&self, name: &str, drain: bool) -> Result<(), StoreError> {
        let text = if drain {
            "INSERT INTO draining (gateway, since) VALUES ($1, {now}) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM draining WHERE gateway = $1"
        };
        sqlx::query(self.sql(text)).bind(name.to_owned()).execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets a gateway: its key, its token, where it is. `false` if there is none.
    pub(crate) async fn remove_gateway(&self, name: &str) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let mut removed = 0;
        for text in [
            "DELETE FROM enrolments WHERE gateway = $1",
            "DELETE FROM gateways WHERE name = $1",
            "DELETE FROM draining WHERE gateway = $1",
        ] {
            let done = sqlx::query(text).bind(name.to_owned()).execute(&mut *transaction).await?;
            removed += done.rows_affected();
        }
        transaction.commit().await?;
        Ok(removed > 0)
    }
}

fn read(row: Row) -> Result<StoredGateway, StoreError> {
    let (name, address, certificate, version, heard_at, recent, draining, ..) = row.clone();
    let (.., labels, key, identity, sessions) = row;
    let info = match (address, certificate) {
        (Some(address), Some(certificate)) => {
            let certificate = rows::parse(&certificate)?;
            Some(GatewayInfo { name: name.clone(), address, certificate })
        }
        (Some(_) | None, _) => None,
    };
    let enrolled = labels.map(|labels| enrolled(&labels, key, identity)).transpose()?;
    let (recent, draining) = (recent != 0, draining != 0);
    Ok(StoredGateway { info, name, version, heard_at, recent, draining, enrolled, sessions })
}

fn enrolled(
    labels: &str,
    key: Option<String>,
    identity: Option<String>,
) -> Result<Enrolled, StoreError> {
    let labels =
        serde_json::from_str(labels).map_err(|error| StoreError::Row(error.to_string()))?;
    Ok(Enrolled { key, labels, identity })
}
