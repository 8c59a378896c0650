//! Attacks, each named for what must hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod approvals;
mod calls;
mod cascades;
mod extensions;
mod frames;
mod names;
mod neighbours;
mod proof;
mod record;
mod slow;
mod statements;
mod tokens;
mod wire;
