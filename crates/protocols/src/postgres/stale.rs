//! What was understood of statements, and what may have changed since on this very connection.

use std::{collections::BTreeSet, sync::Arc};

use guard_core::{Certainty, Effect, ObjectKind, Operation, Verb};
use guard_sql::Statement;

use super::{definitions::Definitions, session::Session, settled::Settled};

/// Most names of views that are remembered; after that each name may be one.
const MAX_VIEWS: usize = 256;

/// Views that this connection made. A temporary one, and one that is not committed, is in no catalog that guard
/// reads: a write to its name is a write to a table that nobody knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Views {
    names: BTreeSet<Arc<str>>,
    /// It may go by another name by now.
    any: bool,
}

impl Views {
    /// Remembers what an operation makes, and what it gives another name.
    pub(super) fn note(&mut self, operation: &Operation) {
        for effect in &operation.effects {
            let Some(name) = &effect.object.name else { continue };
            let is_table = matches!(effect.object.kind, ObjectKind::Table | ObjectKind::View);
            if effect.verb == Verb::Create && effect.object.kind == ObjectKind::View {
                if self.names.len() < MAX_VIEWS {
                    self.names.insert(name.name.clone());
                } else {
                    self.any = true;
                }
            } else if effect.verb == Verb::Alter && is_table {
                self.any |= self.names.contains(&name.name);
            }
        }
    }

    /// Whether an operation writes by the name of one of them without showing what is behind it.
    fn hide(&self, operation: &Operation) -> bool {
        let hides = |effect: &Effect| {
            let writes = matches!(effect.verb, Verb::Insert | Verb::Update | Verb::Delete);
            // What is behind a view that is known stands beside it.
            writes
                && effect.object.kind == ObjectKind::Table
                && effect.object.name.as_ref().is_some_and(|name| {
                    self.names.contains(&name.name) || (self.any && name.schema.is_none())
                })
        };
        !self.names.is_empty() && operation.effects.iter().any(hides)
    }
}

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
