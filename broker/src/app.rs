//! What the broker is made of while it serves: its API and its pages are given this with each request.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{issuers::Issuers, people::Provider, proofs::Once, sessions::Sessions};

/// What every request may need.
#[derive(Debug)]
pub(crate) struct App {
    /// The sessions.
    pub(crate) sessions: Arc<Sessions>,
    /// Whose tokens are taken.
    pub(crate) issuers: Issuers,
    /// Proofs that were used.
    pub(crate) once: Once,
    /// Where people sign in, if they can.
    pub(crate) people: Option<Provider>,
    /// Cancelled when the broker is told to stop.
    pub(crate) stop: CancellationToken,
}

/// A route: its method and its path as the router has it.
pub(crate) type RouteName = (&'static str, &'static str);
