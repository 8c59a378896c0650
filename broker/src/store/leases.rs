//! Tunnels that were authorized, and leases that are out.

use guard_core::{LeaseId, ResourceName, SessionId};

use super::{LeaseRow, Store, StoreError, rows::parse};

/// Leases that one session may have out. An enforcement point needs one for each resource, and takes a
/// new one when it starts again.
const MAX_LEASES: i64 = 64;

impl Store {
    /// Notes that a session's shim went to a gateway for a resource. `false` if the session is over.
    pub(crate) async fn authorize(
        &self,
        session: SessionId,
        resource: &ResourceName,
        gateway: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO authorizations (session, resource, gateway) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(session.to_string())
        .bind(resource.as_str().to_owned())
        .bind(gateway.to_owned())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Gateway and resource of each tunnel that was authorized.
    pub(crate) async fn authorizations(
        &self,
        session: SessionId,
    ) -> Result<Vec<(String, ResourceName)>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT gateway, resource FROM authorizations WHERE session = $1")
                .bind(session.to_string())
                .fetch_all(&self.pool)
                .await?;
        let read = |(gateway, resource): (String, String)| Ok((gateway, parse(&resource)?));
        rows.into_iter().map(read).collect()
    }

    /// Stores a lease, before it is handed out. `false` if the session is over or has too many.
    pub(crate) async fn add_lease(
        &self,
        session: SessionId,
        lease: &LeaseRow,
    ) -> Result<bool, StoreError> {
        // The session cannot end in between: whoever ends it waits, and then finds the lease.
        let text = "WITH live AS (
                 SELECT id FROM sessions WHERE id = $2 AND end_reason IS NULL {share})
             INSERT INTO leases (id, session, resource, holder)
             SELECT $1, id, $3, $4 FROM live
             WHERE (SELECT count(*) FROM leases WHERE session = $2) < $5";
        let added = sqlx::query(self.sql(text))
            .bind(lease.id.to_string())
            .bind(session.to_string())
            .bind(lease.resource.as_str().to_owned())
            .bind(lease.holder.clone())
            .bind(MAX_LEASES)
            .execute(&self.pool)
            .await?;
        Ok(added.rows_affected() > 0)
    }

    /// The leases of a session that are out.
    pub(crate) async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRow>, StoreError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT id, resource, holder FROM leases WHERE session = $1")
                .bind(session.to_string())
                .fetch_all(&self.pool)
                .await?;
        let read = |(id, resource, holder): (String, String, String)| {
            Ok(LeaseRow { id: parse(&id)?, resource: parse(&resource)?, holder })
        };
        rows.into_iter().map(read).collect()
    }

    /// Whose lease this is: the session and the enforcement point. `None` if it is not out.
    pub(crate) async fn lease_holder(
        &self,
        id: LeaseId,
    ) -> Result<Option<(SessionId, String)>, StoreError> {
        let row: Option<(String, String)> =
            sqlx::query_as("SELECT session, holder FROM leases WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.pool)
                .await?;
        row.map(|(session, holder)| Ok((parse(&session)?, holder))).transpose()
    }

    /// Forgets a lease that was given back.
    pub(crate) async fn remove_lease(&self, id: LeaseId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM leases WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
