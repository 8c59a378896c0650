//! How far guard is with what it does of its own on a connection because of budgets.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use guard_core::Denial;
use tokio::time::Sleep;

use super::{expect::Step, names::Group, refuse};

/// How the SQLSTATE begins with which a server ends connections.
pub(super) const SHUTS_DOWN: &str = "57P";

/// What guard does of its own on a connection because of budgets.
#[derive(Default)]
pub(super) struct Budgeting {
    /// The statement at the server is over for the client, and this is what it gets to know.
    pub(super) ended: Option<Ended>,
    /// When the statement at the server has used up its time.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    /// The cancelling of the statement at the server. Nothing else is sent before it is done, so that
    /// nothing else is cancelled.
    pub(super) cancelling: Option<BoxFuture<'static, ()>>,
    /// What is sent when it is done.
    pub(super) after: BytesMut,
    /// The transaction that guard has put around a message.
    pub(super) wrap: Wrap,
    /// The group of the last Execute: while it is the current one, its Sync has not come, and it may have begun a
    /// transaction that no ReadyForQuery tells of yet.
    pub(super) executed_in: Option<Group>,
}

/// Why a statement is over.
pub(super) struct Ended {
    pub(super) denial: Box<Denial>,
    /// It ran out of time: if it is complete before it could be cancelled, it was quick enough.
    pub(super) late: bool,
}

/// The transaction that guard puts around a message.
#[derive(Default)]
pub(super) enum Wrap {
    /// There is none.
    #[default]
    No,
    /// It has begun. Keeps the end of the message's last statement until it is committed.
    Around { last: Option<(Box<Step>, Bytes)> },
}

impl Budgeting {
    /// Whether the client has to wait for what guard does.
    pub(super) fn is_busy(&self) -> bool {
        self.cancelling.is_some() || !self.after.is_empty()
    }

    /// Whether nothing of the statement's answer passes any more. What has run out of time may be complete before it
    /// can be cancelled, and then it is.
    pub(super) fn silences(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| !ended.late)
    }

    /// The client does not take what comes: of a statement that is out of time nothing more is kept for it.
    pub(super) fn give_up(&mut self) {
        if let Some(ended) = &mut self.ended {
            ended.late = false;
        }
    }

    /// What the client gets to know in place of this error of the server's.
    pub(super) fn take_ended(&mut self, code: &str) -> Option<Ended> {
        // A server that shuts down says so itself.
        let shuts_down = code.starts_with(SHUTS_DOWN);
        let ended = self.ended.take().filter(|_| !shuts_down)?;
        (!ended.late || code == refuse::QUERY_CANCELED).then_some(ended)
    }

    /// Whether the client's message stands in a transaction of guard's.
    pub(super) fn is_wrapped(&self) -> bool {
        matches!(self.wrap, Wrap::Around { .. })
    }
}
