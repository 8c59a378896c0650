//! The record of a session: what is written, how it is chained and sealed, and what is made of it.
//!
//! The broker appends; whoever holds a record and the public key verifies, offline.

mod chain;
pub mod event;
mod key;
mod seal;

pub use chain::{AppendError, ChainWriter, MAX_LINE};
pub use event::{Entry, Event, GrantRecord, Outcome, StatementPhase};
pub use key::{KeyError, KeyId, PublicKey, SealingKey};
pub use seal::{FORMAT, Seal};
