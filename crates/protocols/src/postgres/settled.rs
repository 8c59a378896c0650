//! Whether what the client sends next is read as guard believes.

use guard_core::{Certainty, Effect, Operation, Verb};

/// Whether the server has reported all settings with which it reads what comes next. It does so when it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Settled {
    /// It has.
    #[default]
    Yes,
    /// Something was sent that could have changed one: code of a user's, or what is not understood.
    Perhaps,
    /// A setting was sent.
    No,
}

// === impl Settled ===

impl Settled {
    /// How it is after an operation was sent.
    pub(super) fn after(operation: &Operation) -> Self {
        let of_effect = |effect: &Effect| match effect.verb {
            Verb::Config => Self::No,
            Verb::Call | Verb::Code => Self::Perhaps,
            Verb::Read
            | Verb::Insert
            | Verb::Update
            | Verb::Delete
            | Verb::Truncate
            | Verb::Create
            | Verb::Alter
            | Verb::Drop
            | Verb::Grant
            | Verb::Role
            | Verb::Program
            | Verb::File
            | Verb::Network
            | Verb::Signal
            | Verb::Session
            | Verb::Transaction
            | Verb::Lock
            | Verb::Notify
            | Verb::Maintain
            | Verb::Replication => Self::Yes,
        };
        let known = match operation.certainty {
            Certainty::Exact => Self::Yes,
            Certainty::Partial(_) | Certainty::Unparsed(_) => Self::Perhaps,
        };
        operation.effects.iter().map(of_effect).fold(known, Self::max)
    }
}
