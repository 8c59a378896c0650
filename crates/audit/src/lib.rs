//! The record of a session: what is written, how it is chained and sealed, and what is made of it.
//!
//! The broker appends; whoever holds a bundle and the public key verifies, offline.

pub mod event;

pub use event::{Entry, Event, GrantRecord, Outcome, StatementPhase};
