//! What a connection changed of definitions that the shared catalog may not show yet.

use guard_core::{Certainty, ObjectKind, Operation, Verb};

/// Definitions that this connection changed and the shared catalog may not show yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Definitions {
    /// None.
    #[default]
    Unchanged,
    /// Relations were made: looked for when somebody names one.
    Made,
    /// Something that is known was changed, or what is called.
    Changed,
}

impl Definitions {
    /// What an operation that is sent may change.
    pub(super) fn note_sent(&mut self, operation: &Operation) {
        for effect in &operation.effects {
            let made = match effect.verb {
                Verb::Create => match effect.object.kind {
                    ObjectKind::Table
                    | ObjectKind::View
                    | ObjectKind::Index
                    | ObjectKind::Sequence
                    | ObjectKind::Schema => Self::Made,
                    ObjectKind::Column
                    | ObjectKind::Function
                    | ObjectKind::Database
                    | ObjectKind::Role
                    | ObjectKind::Setting
                    | ObjectKind::Extension
                    | ObjectKind::Trigger
                    | ObjectKind::Type
                    | ObjectKind::LargeObject
                    | ObjectKind::Channel
                    | ObjectKind::Path
                    | ObjectKind::Other => Self::Changed,
                },
                Verb::Alter | Verb::Drop | Verb::Code => Self::Changed,
                Verb::Read
                | Verb::Insert
                | Verb::Update
                | Verb::Delete
                | Verb::Truncate
                | Verb::Grant
                | Verb::Role
                | Verb::Call
                | Verb::Program
                | Verb::File
                | Verb::Network
                | Verb::Signal
                | Verb::Config
                | Verb::Session
                | Verb::Transaction
                | Verb::Lock
                | Verb::Notify
                | Verb::Maintain
                | Verb::Replication => continue,
            };
            *self = (*self).max(made);
        }
        match operation.certainty {
            Certainty::Unparsed(_) => *self = Self::Changed,
            Certainty::Exact | Certainty::Partial(_) => {}
        }
    }
}
