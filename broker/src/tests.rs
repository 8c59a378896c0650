//! The broker as its callers see it: requests in, answers out, files on the disk. Attacks first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod approvals;
mod archive;
mod aws;
mod certified;
mod configuration;
mod decided;
mod discovery;
mod egress;
mod exchange;
mod explained;
mod full_disk;
mod gateways;
mod id_tokens;
mod identities;
mod killed;
mod listener;
mod live;
mod log;
mod mask_keys;
mod operations;
mod pages;
mod people;
mod platforms;
mod postgres_roles;
mod records;
mod reloading;
mod renewals;
mod replicas;
mod retention;
mod runs;
mod segments;
mod sign_ins;
mod stage;
mod together;
#[cfg(feature = "otel")]
mod traces;
mod vault;
mod webhooks;
