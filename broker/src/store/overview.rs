//! Sessions as a person looks at them.

use guard_core::{Identity, SessionId};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{LeaseRow, Store, StoreError, rows};

/// One session.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    /// The session.
    pub(crate) id: String,
    /// `live`, `ending`, `sealed`, or `unsealed`: its record cannot be gone on with.
    pub(crate) state: &'static str,
    /// The run, with its claims.
    pub(crate) identity: Identity,
    /// The trust rule that gave it.
    pub(crate) trust_rule: String,
    /// When it was opened. Not known of sessions of older brokers.
    pub(crate) opened_at: Option<String>,
    /// When it ends by itself.
    pub(crate) until: String,
    /// When the shim was last heard of, while it lives.
    pub(crate) heard_at: Option<String>,
    /// When it ended.
    pub(crate) ended_at: Option<String>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// What the person who ended it said.
    pub(crate) note: Option<String>,
    /// The child's exit code, if the shim said it.
    pub(crate) exit_code: Option<i64>,
    /// How many entries its record is known to have.
    pub(crate) entries: i64,
    /// What it may reach.
    pub(crate) grants: Vec<OverviewGrant>,
    /// Tunnels to gateways.
    pub(crate) tunnels: Vec<OverviewTunnel>,
    /// Leases that are out.
    pub(crate) leases: Vec<OverviewLease>,
}

/// A grant.
#[derive(Debug, Serialize)]
pub(crate) struct OverviewGrant {
    /// The resource.
    pub(crate) resource: String,
    /// The policy.
    pub(crate) policy: String,
}

/// A tunnel.
#[derive(Debug, Serialize)]
pub(crate) struct OverviewTunnel {
    /// The gateway.
    pub(crate) gateway: String,
    /// The resource.
    pub(crate) resource: String,
}

/// A lease.
#[derive(Debug, Serialize)]
pub(crate) struct OverviewLease {
    /// The lease.
    pub(crate) id: String,
    /// The resource.
    pub(crate) resource: String,
    /// The enforcement point that has it.
    pub(crate) holder: String,
    /// The user name at the resource.
    pub(crate) username: String,
    /// `wanted`, `out`, `revoking` or `failed`.
    pub(crate) state: &'static str,
    /// When its credential ends by itself.
    pub(crate) until: String,
    /// Why it could not be taken back.
    pub(crate) problem: Option<String>,
}

const COLUMNS: &str =
    "id, identity, trust_rule, opened_at, until, end_reason, end_note, exit_code, ended_at,
    sessions.sealed AS sealed, filed, entries, heard.at AS heard_at
    FROM sessions JOIN records ON records.session = id LEFT JOIN heard ON heard.session = id";

/// How much of what is out there.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Sessions that live.
    pub(crate) live: i64,
    /// Sessions that are over and whose records are not in the recordings yet.
    pub(crate) ending: i64,
    /// Leases, by the words of their states.
    pub(crate) leases: Vec<(String, i64)>,
}

impl Store {
    /// Counts what is out there. Indexes answer it, however many sessions there were.
    pub(crate) async fn counts(&self) -> Result<Counts, StoreError> {
        let text = "SELECT (SELECT count(*) FROM sessions WHERE end_reason IS NULL),
             (SELECT count(*) FROM sessions WHERE end_reason IS NOT NULL AND filed < 1 AND filed < 2)";
        let (live, ending) = sqlx::query_as(text).fetch_one(&self.pool).await?;
        let leases = sqlx::query_as("SELECT state, count(*) FROM leases GROUP BY state")
            .fetch_all(&self.pool)
            .await?;
        Ok(Counts { live, ending, leases })
    }

    /// Sessions that live.
    pub(crate) async fn live_sessions(&self) -> Result<Vec<SessionId>, StoreError> {
        let found: Vec<String> =
            sqlx::query_scalar("SELECT id FROM sessions WHERE end_reason IS NULL ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        found.iter().map(|id| rows::parse(id)).collect()
    }

    /// Sessions that live or are being ended, and with `all` those that are over: the newest first.
    pub(crate) async fn overview(
        &self,
        all: bool,
        limit: u32,
    ) -> Result<Vec<Overview>, StoreError> {
        // Sessions are numbered by time (UUID version 7).
        let which = if all { "" } else { "WHERE sessions.sealed = 0" };
        let text = format!("SELECT {COLUMNS} {which} ORDER BY id DESC LIMIT {limit}");
        let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// One session, with what it may reach and what is out.
    pub(crate) async fn overview_of(&self, id: SessionId) -> Result<Option<Overview>, StoreError> {
        let text = format!("SELECT {COLUMNS} WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(text)).bind(id.to_string());
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let mut found = read(&row)?;
        if let Some(session) = self.session_by_id(id).await? {
            found.grants.extend(session.grants.iter().map(|(grant, policy)| OverviewGrant {
                resource: grant.resource.to_string(),
                policy: policy.name.to_string(),
            }));
        }
        let tunnels = self.authorizations(id).await?.into_iter();
        found.tunnels.extend(
            tunnels.map(|(gateway, resource)| OverviewTunnel {
                gateway,
                resource: resource.to_string(),
            }),
        );
        let leases = self.leases(id).await?.into_iter();
        found.leases.extend(leases.map(OverviewLease::from));
        Ok(Some(found))
    }
}

impl From<LeaseRow> for OverviewLease {
    fn from(lease: LeaseRow) -> Self {
        Self {
            id: lease.id.to_string(),
            resource: lease.resource.to_string(),
            holder: lease.holder,
            username: lease.username,
            state: lease.state.as_str(),
            until: lease.until.to_string(),
            problem: lease.problem,
        }
    }
}

fn read(row: &AnyRow) -> Result<Overview, StoreError> {
    let identity: String = row.try_get("identity")?;
    let reason: Option<String> = row.try_get("end_reason")?;
    let sealed: i64 = row.try_get("sealed")?;
    let filed: i64 = row.try_get("filed")?;
    let moment = |millis: Option<i64>| {
        let millis = millis.filter(|millis| *millis > 0);
        millis.and_then(|millis| guard_core::Timestamp::from_millisecond(millis).ok())
    };
    let text = |millis| moment(millis).map(|moment| moment.to_string());
    Ok(Overview {
        id: row.try_get("id")?,
        state: match (sealed, filed, &reason) {
            (0, _, None) => "live",
            (0, 3, Some(_)) => "unsealed",
            (0, _, Some(_)) => "ending",
            (_, _, _) => "sealed",
        },
        identity: serde_json::from_str(&identity)
            .map_err(|error| StoreError::Row(error.to_string()))?,
        trust_rule: row.try_get("trust_rule")?,
        opened_at: text(row.try_get("opened_at")?),
        until: rows::moment(row.try_get("until")?)?.to_string(),
        heard_at: text(row.try_get("heard_at")?),
        ended_at: text(row.try_get("ended_at")?),
        reason,
        note: row.try_get("end_note")?,
        exit_code: row.try_get("exit_code")?,
        entries: row.try_get("entries")?,
        grants: Vec::new(),
        tunnels: Vec::new(),
        leases: Vec::new(),
    })
}
