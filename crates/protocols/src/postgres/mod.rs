//! PostgreSQL's frontend/backend protocol, version 3
//! (<https://www.postgresql.org/docs/current/protocol.html>).

pub(crate) mod auth;
pub(crate) mod mask;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use guard_gate::SessionGate;

use crate::{ClientAuth, ClientIo, Closed, ProtocolError, ProtocolHandler, Resource};

/// Serves clients of one PostgreSQL resource in one session.
pub struct PostgresHandler {
    _resource: Arc<dyn Resource>,
}

impl PostgresHandler {
    /// A handler for a resource.
    pub fn new(resource: Arc<dyn Resource>) -> Arc<Self> {
        Arc::new(Self { _resource: resource })
    }
}

impl ProtocolHandler for PostgresHandler {
    fn serve(
        self: Arc<Self>,
        _client: ClientIo,
        _auth: ClientAuth,
        _gate: Arc<SessionGate>,
    ) -> BoxFuture<'static, Result<Closed, ProtocolError>> {
        Box::pin(async { Err(ProtocolError::Guard("not built yet".into())) })
    }
}
