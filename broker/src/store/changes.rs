//! Hearing of what other brokers, or a command beside this one, did to sessions.
//!
//! PostgreSQL tells (`NOTIFY`, by triggers of the tables, so none is forgotten); SQLite is asked for one number, which changes
//! when another connection wrote.

use std::time::Duration;

use guard_core::SessionId;
use sqlx::{AnyPool, PgPool, postgres::PgListener};

use super::{Kind, Store};

/// The channel of the triggers.
const CHANNEL: &str = "guard_sessions";
/// How often SQLite is asked.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Between two attempts while the store does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// This session.
    One(SessionId),
    /// Any of them: something may have been missed.
    Any,
}

/// The changes from now on.
#[derive(Debug)]
pub(crate) enum Changes {
    /// SQLite, and its number as it was.
    Asked(AnyPool, Option<i64>),
    /// PostgreSQL.
    Told(PgPool, Option<Box<PgListener>>),
}

impl Store {
    /// The changes from now on. The first of them is always [`Change::Any`].
    pub(crate) fn changes(&self) -> Changes {
        match &self.kind {
            Kind::Sqlite => Changes::Asked(self.pool.clone(), None),
            Kind::Postgres(pool) => Changes::Told(pool.clone(), None),
        }
    }
}

impl Changes {
    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> Change {
        match self {
            Self::Asked(pool, known) => loop {
                let found: Result<i64, _> =
                    sqlx::query_scalar("PRAGMA data_version").fetch_one(&*pool).await;
                // On an error the next answer counts as a change, since another connection may give it.
                let found = found.ok();
                let changed = found.is_some() && *known != found;
                *known = found;
                if changed {
                    return Change::Any;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            },
            Self::Told(pool, listener) => loop {
                let Some(told) = listener else {
                    match listen(pool).await {
                        Ok(new) => *listener = Some(Box::new(new)),
                        Err(error) => {
                            tracing::warn!(%error, "cannot listen for changes of the store");
                            tokio::time::sleep(RETRY).await;
                            continue;
                        }
                    }
                    return Change::Any;
                };
                match told.try_recv().await {
                    Ok(Some(notification)) => {
                        // What is no session's id is another program's in the same database.
                        if let Ok(session) = notification.payload().parse() {
                            return Change::One(session);
                        }
                    }
                    // Connected again; what was told meanwhile is lost.
                    Ok(None) => return Change::Any,
                    Err(error) => {
                        tracing::warn!(%error, "the store does not tell of changes any more");
                        *listener = None;
                        tokio::time::sleep(RETRY).await;
                    }
                }
            },
        }
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
