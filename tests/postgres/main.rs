//! With a policy that allows everything, PostgreSQL's own programs behave as they do directly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod pgbench;
mod psql;
mod transfer;
