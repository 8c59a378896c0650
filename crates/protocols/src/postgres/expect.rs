//! What was sent to the server and is to be answered, in order.

use std::{collections::VecDeque, sync::Arc};

use guard_core::{Certainty, Denial, Detector, MaskPlan, Verb};
use guard_gate::{Meter, Outcome, Running};
use guard_sql::{Statement, StatementRole};

use super::{
    keep::Keep,
    mask::CopyMasker,
    names::Ticket,
    results::{Columns, Rows},
    upstream::Own,
};
use crate::detect::Found;

/// One message that the server will answer.
pub(super) enum Expect {
    /// A Query: its statements that are not done yet, then ReadyForQuery.
    Query { steps: VecDeque<Step>, failed: bool },
    /// What was sent in place of a refused message. `simple`: ReadyForQuery follows; else the server skips
    /// to the next Sync.
    Refused { denial: Box<Denial>, simple: bool, told: bool },
    /// A Parse.
    Parse { running: Vec<Running>, change: Ticket },
    /// A Bind.
    Bind { change: Ticket },
    /// A Close.
    Close { change: Change },
    /// A Describe of a statement.
    DescribeStatement,
    /// A Describe of a portal; `own`: guard asked, and the client must not see the answer.
    DescribePortal { columns: Columns, own: bool },
    /// An Execute; `None` of an empty statement.
    Execute(Option<Box<Step>>),
    /// A Sync.
    Sync,
    /// A FunctionCall.
    FunctionCall { running: Vec<Running> },
    /// Words of guard's own, of which the client does not know.
    Own(Own),
}

/// A change to one of the two name spaces.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Statement(Ticket),
    Portal(Ticket),
}

/// A statement that is executed.
pub(super) struct Step {
    pub(super) statement: Arc<Statement>,
    pub(super) plan: MaskPlan,
    /// Keeps its rows, if the policy does. In front of `running`: what it holds stands before what came of it.
    pub(super) keep: Option<Box<Keep>>,
    pub(super) running: Option<Running>,
    pub(super) outcome: Outcome,
    /// Counts what it uses, if the policy bounds that.
    pub(super) meter: Option<Meter>,
    pub(super) rows: Rows,
    /// Where the server's description of a portal is.
    pub(super) columns: Option<Columns>,
    pub(super) changes: Vec<Change>,
    pub(super) copy: Copy,
    /// Whether data of a COPY came from the server.
    pub(super) copied: bool,
}

/// How far the COPY of a statement is.
pub(super) enum Copy {
    /// There is none, or the server has not begun.
    No,
    /// Data goes to the server.
    In,
    /// Data went to the server.
    Taken,
    /// Data comes from the server, and is rewritten if there is a masker.
    Out(Option<Box<CopyMasker>>),
    /// Data goes both ways: a replication stream.
    Both,
}

impl Step {
    pub(super) fn new(
        statement: Arc<Statement>,
        plan: MaskPlan,
        running: Option<Running>,
        changes: Vec<Change>,
    ) -> Self {
        Self {
            statement,
            plan,
            keep: None,
            running,
            outcome: Outcome::default(),
            meter: None,
            rows: Rows::Undescribed,
            columns: None,
            changes,
            copy: Copy::No,
            copied: false,
        }
    }

    /// Records what came of it.
    pub(super) fn finish(&mut self, error: Option<&str>) {
        let mut outcome = std::mem::take(&mut self.outcome);
        let in_rows = match &self.rows {
            Rows::Masked(masker) => masker.found(),
            Rows::Undescribed | Rows::Pass => Found::default(),
        };
        let found = match &self.copy {
            Copy::Out(Some(masker)) => masker.found(),
            Copy::No | Copy::In | Copy::Taken | Copy::Both | Copy::Out(None) => in_rows,
        };
        let found = Detector::ALL.into_iter().zip(found).filter(|(_, count)| *count > 0);
        outcome.detected = found.collect();
        outcome.error = error.map(Into::into);
        outcome.budget = self.meter.take().and_then(|meter| meter.exceeded());
        outcome.kept = self.keep.take().map(|keep| keep.finish());
        if let Some(running) = self.running.take() {
            running.finish(outcome);
        }
    }

    /// Whether the server may answer with anything, as often as it likes: nobody knows what it is, or it is a
    /// command of the replication protocol. Neither is ever permitted where masks are.
    pub(super) fn is_open(&self) -> bool {
        let operation = &self.statement.operation;
        match operation.certainty {
            Certainty::Unparsed(_) => true,
            Certainty::Exact | Certainty::Partial(_) => {
                operation.effects.iter().any(|effect| effect.verb == Verb::Replication)
            }
        }
    }

    /// Makes it ready for what the server answers next, where nobody knows how often it does.
    pub(super) fn begin_again(&mut self) {
        self.rows = Rows::Undescribed;
        self.copy = Copy::No;
    }

    /// Whether the server may ask for data for it.
    fn awaits_copy(&self) -> bool {
        let takes = self.is_open()
            || match self.statement.role {
                StatementRole::CopyIn(_) => true,
                StatementRole::Plain
                | StatementRole::Prepare { .. }
                | StatementRole::Deallocate(_)
                | StatementRole::Fetch(_)
                | StatementRole::Declare { .. }
                | StatementRole::Close(_)
                | StatementRole::CopyOut(_)
                | StatementRole::DiscardAll => false,
            };
        takes && matches!(self.copy, Copy::No)
    }
}

impl Expect {
    /// The statement that the server is at.
    pub(super) fn step(&mut self) -> Option<&mut Step> {
        match self {
            Self::Query { steps, .. } => steps.front_mut(),
            Self::Execute(step) => step.as_deref_mut(),
            Self::Refused { .. }
            | Self::Parse { .. }
            | Self::Bind { .. }
            | Self::Close { .. }
            | Self::DescribeStatement
            | Self::DescribePortal { .. }
            | Self::Sync
            | Self::Own(_)
            | Self::FunctionCall { .. } => None,
        }
    }

    /// What counts the statement that this executes first.
    pub(super) fn meter(&mut self) -> Option<&mut Meter> {
        self.step()?.meter.as_mut()
    }

    /// Whether the server will ask for data: until it is known whether it does, what the client sends next
    /// may be such data, or may be dropped by the server.
    pub(super) fn awaits_copy(&self) -> bool {
        match self {
            Self::Query { steps, failed } => !failed && steps.iter().any(Step::awaits_copy),
            Self::Execute(step) => step.as_ref().is_some_and(|step| step.awaits_copy()),
            Self::Refused { .. }
            | Self::Parse { .. }
            | Self::Bind { .. }
            | Self::Close { .. }
            | Self::DescribeStatement
            | Self::DescribePortal { .. }
            | Self::Sync
            | Self::Own(_)
            | Self::FunctionCall { .. } => false,
        }
    }
}

/// Rows that a command says it returned or changed: the last word of its tag, if it is a number.
pub(super) fn rows_of_tag(tag: &[u8]) -> u64 {
    let last = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(last).ok().and_then(|last| last.parse().ok()).unwrap_or(0)
}
