//! One session for a job with several steps: its agent, its runs, and who must not use it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod attacks;
mod ends;
mod job;
mod steps;
