//! The stage of the black-box suites, of the demo and of the bench: a real PostgreSQL, a local issuer, a
//! broker and a gateway, started as programs and stopped with the value that holds them.
//!
//! It imports nothing of guard: what it knows is what a user knows, files, ports and exit codes.

mod harness;

pub use harness::*;
