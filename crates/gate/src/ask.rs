//! What is asked of the gate, and its answer.

use std::sync::Arc;

use guard_audit::StatementPhase;
use guard_core::{Denial, Operation, Sensitive};

use crate::{Context, Estimate, Held, Permit};

/// One operation to be judged.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What the client asks. Keep the `Arc` for operations that come again: rulings are found by it.
    pub operation: Arc<Operation>,
    /// To be made ready, or executed.
    pub phase: StatementPhase,
    /// The statement's own text, if the operation was found out from a text without its literals.
    pub text: Option<Arc<str>>,
    /// How many rows it is about. Leave it at its default until the gate wants to know.
    pub estimate: Estimate,
    /// What else decides what it does. Leave it at its default where the policy asks nobody.
    pub context: Context,
}

/// What becomes of a message.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// One permit for each operation, in order.
    Forward(Vec<Permit>),
    /// The message is refused as a whole.
    Refuse {
        /// Which of the operations is refused, counted from 0.
        index: usize,
        /// Why.
        denial: Box<Denial>,
    },
    /// People are asked, and nothing may be sent before they have said yes. Wait for that with [`Held::decided`], and go on with
    /// [`Gate::go_on`](crate::Gate::go_on).
    Held(Box<Held>),
    /// Nothing is decided or recorded yet: what becomes of these operations, counted from 0, depends on how many rows
    /// they are about. Everything else of them is allowed. Find that out, and ask again.
    Estimate(Vec<usize>),
}

impl Ask {
    pub(crate) fn own_text(&self) -> Option<Sensitive<Arc<str>>> {
        self.text.clone().map(Sensitive::new)
    }
}
