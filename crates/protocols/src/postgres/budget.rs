//! Statements that are ended at a budget, in the server's own way.
//!
//! A statement that returns too much, or takes too long, is cancelled at the server. Rows that a statement changed
//! are known only when it is complete: so it must not be committed before they are counted. Under a budget a
//! connection therefore has one statement at a time at the server. In the extended protocol the Sync that commits
//! waits for the count; in the simple protocol, outside of a transaction, guard puts the message into
//! a transaction of its own, which the client does not see. What is over its budget is made to fail, and
//! so rolled back by the server.

use std::{
    future::Future as _,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes};
use guard_core::{Exceeded, Operation, Outputs};
use guard_gate::{Meter, Used};
use guard_sql::{Statement, StatementRole};
use tokio::time::{sleep, timeout};

use super::{
    budgeting::{Ended, SHUTS_DOWN, Wrap},
    countable::{
        changes_rows, counts_changes, is_open, is_transaction, keeps_changes, overwrites,
        wraps_alone,
    },
    expect::{Copy, Expect, Step},
    refuse,
    session::Session,
    upstream::{self, Own},
};
use crate::ProtocolError;

/// How long the server may take to hear that a statement is to be cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest rest of a client's CopyData that is filled up so that the COPY can be ended behind it, in bytes.
pub(super) const MAX_FILL: usize = 1 << 20;

impl Session {
    /// Counts what a statement uses, if the policy bounds that.
    pub(super) fn meter(&self, statement: &Statement, used: Option<&Arc<Used>>) -> Option<Meter> {
        self.gate.meter(|| match (&statement.role, used) {
            (StatementRole::Fetch(cursor), _) => self.names.used(cursor).unwrap_or_default(),
            (_, Some(used)) => used.clone(),
            (_, None) => Arc::default(),
        })
    }

    /// Why what a message uses could not be known before it is done.
    pub(super) fn uncounted(
        &self,
        statements: &[Arc<Statement>],
        part: bool,
        simple: bool,
    ) -> Option<(Arc<Operation>, &'static str, &'static str)> {
        let budgets = self.gate.enforced_budgets()?;
        let of = |statement: &Arc<Statement>| statement.operation.clone();
        if budgets.count_data()
            && let Some(found) = statements.iter().find(|s| is_open(&s.operation))
        {
            return Some((
                of(found),
                "it is not understood, so that what it returns or changes cannot be counted",
                "take the budgets of rows and bytes out of a policy that allows what is not understood",
            ));
        }
        let counts = |operation: &Operation| {
            budgets.count_rows() || budgets.count_changes() && overwrites(operation)
        };
        if budgets.count_rows() || budgets.count_changes() {
            let hidden = |s: &&Arc<Statement>| s.uncounted && counts(&s.operation);
            if let Some(found) = statements.iter().find(hidden) {
                return Some((
                    of(found),
                    "it changes rows in a WITH or under EXPLAIN, which the server does not count",
                    "write the change as a statement of its own",
                ));
            }
            let found = statements.iter().find(|statement| {
                let operation = &statement.operation;
                let slices = match statement.role {
                    // Of a portal that was bound: a cursor that was declared changes nothing of its own.
                    StatementRole::Fetch(_) => true,
                    StatementRole::Plain
                    | StatementRole::Prepare { .. }
                    | StatementRole::Deallocate(_)
                    | StatementRole::Declare { .. }
                    | StatementRole::Close(_)
                    | StatementRole::CopyOut(_)
                    | StatementRole::CopyIn(_)
                    | StatementRole::DiscardAll => {
                        part && !matches!(operation.outputs, Outputs::None)
                    }
                };
                slices && changes_rows(operation) && counts(operation)
            });
            if let Some(found) = found {
                return Some((
                    of(found),
                    "it changes rows and its result is fetched in parts, so that they are counted too late",
                    "fetch its whole result at once",
                ));
            }
        }
        if budgets.count_data()
            && statements.len() > 1
            && statements.iter().any(|statement| !statement.operation.is_passive())
            && let Some(found) = keeps_changes(statements)
        {
            return Some((
                of(found),
                "it ends a transaction in the same message in which something is changed, or marks a point behind that, so that rows are counted too late",
                "send the statements one at a time",
            ));
        }
        if simple
            && self.budgeting.executed_in == Some(self.group)
            && !self.budgeting.is_wrapped()
            && self.must_be_held(statements)
            && let Some(first) = statements.first()
        {
            return Some((
                of(first),
                "it changes rows behind a batch whose Sync has not come, so that nobody knows whether it stands in a transaction",
                "send a Sync before it",
            ));
        }
        None
    }

    /// Whether a Query has to stand in a transaction of guard's: where what it changes would be committed
    /// before its rows are counted.
    pub(super) fn needs_wrap(&self, statements: &[Arc<Statement>]) -> bool {
        self.status == b'I' && !self.budgeting.is_wrapped() && self.must_be_held(statements)
    }

    /// Whether what a Query changes must not be committed before it is counted.
    fn must_be_held(&self, statements: &[Arc<Statement>]) -> bool {
        let counts = self.gate.enforced_budgets().is_some_and(|budgets| budgets.count_data());
        if !counts {
            return false;
        }
        match statements {
            [one] => wraps_alone(&one.operation),
            several => {
                several.iter().any(|statement| !statement.operation.is_passive())
                    && !several.iter().any(|statement| is_transaction(&statement.operation))
            }
        }
    }

    /// Begins the transaction around a Query.
    pub(super) fn begin_wrap(&mut self) {
        self.upstream.own_words(&upstream::own_statement(Own::Begin));
        self.expected.push_back(Expect::Own(Own::Begin));
    }

    /// The time of the statement that the server is at begins to run.
    pub(super) fn start_clock(&mut self) {
        self.budgeting.timer = None;
        let Some(meter) = self.expected.iter_mut().find_map(Expect::meter) else { return };
        meter.start();
        self.budgeting.timer = meter.time_left().map(|left| Box::pin(sleep(left)));
    }

    /// Whether the statement that the server is at has run out of time just now.
    pub(super) fn poll_clock(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.budgeting.timer else { return false };
        let rang = timer.as_mut().poll(cx).is_ready();
        if rang {
            self.budgeting.timer = None;
        }
        rang
    }

    /// Ends the statement that has run out of time.
    pub(super) fn out_of_time(&mut self) {
        let Some(meter) = self.expected.iter_mut().find_map(Expect::meter) else { return };
        if let Some(exceeded) = meter.is_late().then(|| meter.out_of_time()).flatten() {
            self.end_statement(exceeded);
        }
    }

    /// Drives the cancelling of a statement; `true` when it is done.
    pub(super) fn poll_cancelling(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(cancelling) = &mut self.budgeting.cancelling else { return false };
        match cancelling.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(()) => {
                self.budgeting.cancelling = None;
                let after = self.budgeting.after.split();
                self.upstream.own_words(&after);
                true
            }
        }
    }

    /// Ends the statement that the server is at, because it is over a budget. Nothing of its result passes any more.
    pub(super) fn end_statement(&mut self, exceeded: Exceeded) {
        if self.budgeting.ended.is_some() {
            return;
        }
        self.tell_ended(exceeded);
        let step = self.expected.front_mut().and_then(Expect::step);
        let takes = step.is_some_and(|step| matches!(step.copy, Copy::In));
        if takes && self.copying <= MAX_FILL {
            self.fail_copy();
            return;
        }
        let (shared, key) = (self.shared.clone(), self.server_key.clone());
        self.budgeting.cancelling = Some(Box::pin(async move {
            let cancel = upstream::cancel(&*shared.resource, &key);
            if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, cancel).await {
                tracing::debug!(%error, "a statement over its budget was not cancelled");
            }
        }));
    }

    fn tell_ended(&mut self, exceeded: Exceeded) {
        let denial = Box::new(self.gate.ended_at(exceeded));
        self.shared.resource.refused(&denial);
        let late = exceeded.budget == guard_core::Budget::TimePerStatement;
        self.budgeting.ended = Some(Ended { denial, late });
    }

    /// Has a COPY from the client fail at the server.
    pub(super) fn fail_copy(&mut self) {
        // What the client has begun to send is made whole, and comes to nothing.
        let begun = std::mem::take(&mut self.copying);
        self.discarding += begun;
        self.upstream.copy_data(&vec![0; begun]);
        self.upstream.fail_copy();
        if let Some(step) = self.expected.front_mut().and_then(Expect::step) {
            step.copy = Copy::Taken;
        }
    }

    /// Takes the rows that a complete statement says it changed from its budgets. Whether it is over one.
    pub(super) fn count_changed(&mut self, step: &mut Step, tag: &[u8], rows: u64) -> bool {
        let Some(meter) = &mut step.meter else { return false };
        if tag.starts_with(b"MOVE") {
            return false;
        }
        // Those that were returned are counted as rows already.
        let more = match step.copy {
            Copy::Out(_) => 0,
            Copy::No | Copy::In | Copy::Taken | Copy::Both => rows.saturating_sub(meter.rows()),
        };
        let changes = if counts_changes(&step.statement.operation, tag) { rows } else { 0 };
        let Some(exceeded) = meter.changed(changes, more) else { return false };
        if self.budgeting.ended.is_none() {
            self.tell_ended(exceeded);
        }
        true
    }

    /// Takes words of the server's from the budgets of the statement that it is at, or of the session: values can stand
    /// in them. The budget that they are over.
    pub(super) fn count_words(&mut self, body: &[u8]) -> Option<Exceeded> {
        let words = std::iter::once((0, body.len() as u64));
        if let Some(meter) = self.expected.front_mut().and_then(Expect::meter) {
            return meter.admit(words).exceeded;
        }
        self.gate.meter(Arc::default)?.admit(words).exceeded
    }

    /// What the client gets to know in place of an error whose words are over a budget.
    pub(super) fn error_is_over(&mut self, code: &str, body: &[u8]) -> Option<Ended> {
        match self.expected.front() {
            // It answers words of guard's own; or the connection is at its end.
            None | Some(Expect::Refused { .. } | Expect::Own(Own::Begin | Own::Rollback)) => {
                return None;
            }
            Some(_) if code.starts_with(SHUTS_DOWN) => return None,
            Some(_) => {}
        }
        let exceeded = self.count_words(body)?;
        self.tell_ended(exceeded);
        self.budgeting.ended.take()
    }

    /// A notice. Whether the client gets it.
    pub(super) fn notice_passes(&mut self, body: &[u8]) -> bool {
        if self.budgeting.silences() {
            return false;
        }
        let Some(exceeded) = self.count_words(body) else { return true };
        if self.expected.front_mut().and_then(Expect::meter).is_some() {
            self.end_statement(exceeded);
        }
        false
    }

    /// An Execute is complete: whether it is over for the client all the same.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.budgeting.silences() {
            self.budgeting.ended = None;
        }
        self.budgeting.ended.is_some()
    }

    /// A statement of the extended protocol is complete and over a budget: what it did is undone with what came
    /// before it, by a statement of guard's that fails before the Sync.
    pub(super) fn undo_execute(&mut self, step: &mut Step) {
        let Some(ended) = self.budgeting.ended.take() else { return };
        step.finish(Some(refuse::sqlstate(&ended.denial)));
        let words = upstream::poisoned_parse();
        self.send_after(&words);
        self.expected.push_front(Expect::Refused {
            denial: ended.denial,
            simple: false,
            told: false,
        });
    }

    /// The server is ready after a Query. Whether the client gets to know that now.
    pub(super) fn after_query(&mut self, body: &[u8]) -> bool {
        let wrap = std::mem::take(&mut self.budgeting.wrap);
        let ended = self.budgeting.ended.take().filter(|ended| !ended.late);
        match (wrap, ended) {
            (Wrap::Around { last }, None) if self.status == b'T' => {
                let words = upstream::own_statement(Own::Commit);
                self.send_after(&words);
                self.budgeting.wrap = Wrap::Around { last };
                self.expected.push_front(Expect::Own(Own::Commit));
                false
            }
            (Wrap::Around { last }, ended) => {
                // It has failed, or is made to.
                match (ended, last) {
                    (Some(Ended { denial, .. }), last) => {
                        if let Some((mut step, _)) = last {
                            step.finish(Some(refuse::sqlstate(&denial)));
                        }
                        refuse::denied(&mut self.client.output, &denial);
                    }
                    (None, Some(last)) => self.tell_last(last),
                    (None, None) => {}
                }
                if self.status == b'I' {
                    return true;
                }
                let words = upstream::own_statement(Own::Rollback);
                self.send_after(&words);
                self.expected.push_front(Expect::Own(Own::Rollback));
                false
            }
            (Wrap::No, None) => true,
            (Wrap::No, Some(ended)) if self.status == b'T' => {
                let words = upstream::poisoned_query();
                self.send_after(&words);
                self.expected.push_front(Expect::Refused {
                    denial: ended.denial,
                    simple: true,
                    told: false,
                });
                false
            }
            (Wrap::No, Some(ended)) => {
                refuse::denied(&mut self.client.output, &ended.denial);
                super::frame::put(&mut self.client.output, b'Z', |out| out.put_slice(body));
                false
            }
        }
    }

    /// The end of a statement in a transaction of guard's: kept, if it is the last of its message. Whether it was.
    pub(super) fn keep_last(&mut self, step: Step, body: &[u8], is_last: bool) -> Option<Step> {
        match &mut self.budgeting.wrap {
            Wrap::Around { last } if is_last => {
                *last = Some((Box::new(step), Bytes::copy_from_slice(body)));
                None
            }
            Wrap::Around { .. } | Wrap::No => Some(step),
        }
    }

    /// Tells the client that the last statement of a message is complete.
    fn tell_last(&mut self, (mut step, body): (Box<Step>, Bytes)) {
        step.finish(None);
        super::frame::put(&mut self.client.output, b'C', |out| out.put_slice(&body));
    }

    /// The server is ready after words of guard's own. Whether the client gets to know.
    pub(super) fn after_own(&mut self, own: Own) -> bool {
        match own {
            Own::Begin => {
                if self.status == b'T' {
                    self.budgeting.wrap = Wrap::Around { last: None };
                }
                false
            }
            Own::Commit => {
                if let Wrap::Around { last: Some(last) } = std::mem::take(&mut self.budgeting.wrap)
                {
                    self.tell_last(last);
                }
                true
            }
            Own::Rollback => true,
        }
    }

    /// An error answers words of guard's own. Whether the client gets to know.
    pub(super) fn own_failed(&mut self, own: Own, code: &str) -> Result<bool, ProtocolError> {
        match own {
            // A cancel request came too early to meet the statement: it is as if it had met none.
            Own::Begin if code == refuse::QUERY_CANCELED => Ok(false),
            Own::Begin | Own::Rollback => Err(ProtocolError::Resource(format!(
                "it does not begin or roll back a transaction: SQLSTATE {code}"
            ))),
            Own::Commit => {
                let wrap = std::mem::take(&mut self.budgeting.wrap);
                if let Wrap::Around { last: Some((mut step, _)) } = wrap {
                    step.finish(Some(code));
                }
                Ok(true)
            }
        }
    }

    /// Sends words of guard's own, when what is being cancelled is cancelled.
    fn send_after(&mut self, words: &[u8]) {
        if self.budgeting.cancelling.is_some() {
            self.budgeting.after.put_slice(words);
        } else {
            self.upstream.own_words(words);
        }
    }
}
