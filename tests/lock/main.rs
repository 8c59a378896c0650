//! A job that does what it did yesterday: a lock is learned from a run, looked at, and given to the policy at the broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod attacks;
mod files;
mod job;
mod learning;
mod session;
mod unlisted;
