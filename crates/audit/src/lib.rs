//! The record of a session: what is written, how it is chained and sealed, and what is made of it.
//!
//! The broker appends; whoever holds a record and the public key verifies, offline.

mod chain;
pub mod event;
pub mod export;
#[cfg(test)]
mod fixture;
mod key;
mod read;
pub mod report;
mod rest;
mod seal;
pub mod story;
pub mod tlog;
mod verify;
mod without_texts;

pub use chain::{
    AppendError, ChainWriter, MAX_LINE, SEGMENT_BYTES, SEGMENT_ENTRIES, SEGMENT_LASTS, Segment,
};
pub use event::{
    Cell, Entry, Event, GrantRecord, Kept, MaskedColumn, Outcome, Row, Side, StatementPhase,
};
pub use key::{KeyError, KeyId, PublicKey, SealingKey};
pub use rest::{AtRest, Expander, MAX_PLAIN, Plain, compressed_extension, fuzz_plain};
pub use seal::{FORMAT, Seal};
pub use verify::{
    Broken, Problem, ReadError, RecordReader, Unsealed, Verified, VerifyError, fuzz_verify, verify,
};
pub use without_texts::without_name;
