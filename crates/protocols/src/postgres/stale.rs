//! What was understood of statements, and what may have changed since on this very connection.

use std::sync::Arc;

use guard_core::{Certainty, Operation};
use guard_sql::Statement;

use super::{definitions::Definitions, session::Session, settled::Settled};

impl Session {
    /// What statements do after this connection has changed definitions that only it can see yet, or how strings are
    /// read: what was found in functions' bodies may be another thing by now.
    pub(super) fn as_of_now(
        &self,
        statements: &[Arc<Statement>],
    ) -> impl Iterator<Item = Arc<Operation>> {
        let mut changed = self.changed;
        let mut views = self.views.clone();
        let reads_as_ever = self.reading.is_conforming() && self.settled != Settled::No;
        statements.iter().map(move |statement| {
            let operation = &statement.operation;
            let is_changed = match changed {
                Definitions::Unchanged | Definitions::Made => false,
                Definitions::Changed => true,
            };
            let is_stale = statement.follows && (is_changed || !reads_as_ever);
            let is_hidden = views.hide(operation);
            changed.note_sent(operation);
            views.note(operation);
            match operation.certainty {
                Certainty::Exact if is_stale => {
                    let why = "it calls functions, and since they were read definitions were changed, or how \
                               strings are read";
                    let certainty = Certainty::Partial(why.into());
                    Arc::new(Operation { certainty, ..Operation::clone(operation) })
                }
                Certainty::Exact if is_hidden => {
                    let why = "it writes by the name of a view that is temporary or not committed, and what is behind \
                               that is not known";
                    let certainty = Certainty::Partial(why.into());
                    Arc::new(Operation { certainty, ..Operation::clone(operation) })
                }
                Certainty::Exact | Certainty::Partial(_) | Certainty::Unparsed(_) => {
                    operation.clone()
                }
            }
        })
    }
}
