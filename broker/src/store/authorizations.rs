//! Tunnels that were authorized.

use guard_core::{ResourceName, SessionId};

use super::{Store, StoreError, rows::parse};

impl Store {
    /// Notes that a session's shim went to a gateway for a resource.
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
}
