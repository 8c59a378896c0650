//! The proof that an operation was judged and recorded.

use std::{sync::Arc, time::Instant};

use guard_audit::{Event, Outcome};
use guard_core::{MaskPlan, Operation, Ruling};

use crate::{Keeping, Recorder};

/// The proof that one operation was judged, allowed and recorded. It is spent by sending it.
#[derive(Debug)]
#[must_use = "a permit that is not spent is a statement that was recorded and never sent"]
pub struct Permit {
    operation: Arc<Operation>,
    ruling: Arc<Ruling>,
    running: Running,
}

/// A statement that was sent. Say what came of it with [`Running::finish`]; dropped before that, it is
/// recorded as lost.
pub struct Running {
    statement: u64,
    started: Instant,
    recorder: Option<Arc<dyn Recorder>>,
}

impl Permit {
    pub(crate) fn new(
        operation: Arc<Operation>,
        ruling: Arc<Ruling>,
        statement: u64,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        let running = Running { statement, started: Instant::now(), recorder: Some(recorder) };
        Self { operation, ruling, running }
    }

    /// What was judged.
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    /// What is to be hidden of its result.
    pub fn masks(&self) -> &MaskPlan {
        &self.ruling.masks
    }

    /// Where rows of its answer are kept, if the policy keeps them.
    pub fn keeping(&self) -> Option<Keeping> {
        let record = self.ruling.record;
        let recorder = self.running.recorder.as_ref().filter(|_| record.keeps_rows())?;
        Some(Keeping::new(recorder.clone(), self.running.statement, record))
    }

    /// Gives up the permit for the right to send the operation, once.
    pub fn spend(mut self) -> Running {
        self.running.started = Instant::now();
        self.running
    }
}

impl Running {
    /// Number of the statement in its writer's stream.
    pub fn statement(&self) -> u64 {
        self.statement
    }

    /// Records what came of it. `micros` is filled in.
    pub fn finish(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    fn record(&mut self, mut outcome: Outcome) {
        if let Some(recorder) = self.recorder.take() {
            outcome.micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            recorder.note(Event::Finished { statement: self.statement, outcome });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.record(Outcome { error: Some("lost".into()), ..Outcome::default() });
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("statement", &self.statement).finish_non_exhaustive()
    }
}
