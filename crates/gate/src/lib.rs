//! The one place where a judged operation becomes a permit.
//!
//! The order is fixed: judge, append to the record, permit. Nothing else in guard can make a
//! [`Permit`], and nothing can be sent to a resource without one.

mod budget;
mod estimate;
mod gate;
mod permit;
mod recorder;
#[cfg(test)]
mod tests;

pub use guard_audit::{Outcome, StatementPhase};

pub use budget::{Admitted, Meter, Used};
pub use estimate::Estimate;
pub use gate::{Ask, ConnectionInfo, Gate, SessionGate, Verdict};
pub use permit::{Permit, Running};
pub use recorder::{Durability, RecordUnavailable, Recorder};
