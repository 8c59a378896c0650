//! Views of which the shared catalog may not tell.

use std::{collections::BTreeSet, sync::Arc};

use guard_core::{Effect, ObjectKind, Operation, Verb};

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
    pub(super) fn hide(&self, operation: &Operation) -> bool {
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
