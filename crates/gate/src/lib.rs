//! The one place where a judged operation becomes a permit.
//!
//! The order is fixed: judge, append to the record, wait for people where a rule asks them, permit. Nothing else in guard can make a
//! [`Permit`], and nothing can be sent to a resource without one.

mod approvals;
mod ask;
mod budget;
mod estimate;
mod fingerprints;
mod gate;
mod keep;
mod people;
mod permit;
mod recorder;
mod session;
#[cfg(test)]
mod tests;
mod traffic;

pub use guard_audit::{Cell, Kept, Outcome, Row, StatementPhase};

pub use approvals::{Approvals, BoundParameters, CannotAsk, Context, Held, Parameters, Question};
pub use ask::{Ask, Verdict};
pub use budget::{Admitted, Meter, Used};
pub use estimate::Estimate;
pub use gate::{ConnectionInfo, Gate};
pub use keep::{Keeping, KeptSoFar};
pub use permit::{Permit, Running};
pub use recorder::{Durability, RecordUnavailable, Recorder};
pub use session::SessionGate;
pub use traffic::Traffic;
