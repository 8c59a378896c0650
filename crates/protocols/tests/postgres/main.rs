//! The PostgreSQL handler before a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod approvals;
mod attacks;
mod budgets;
mod literals;
mod masks;
mod meanings;
mod read_only;
mod rows;
mod settings;
mod stage;
mod stale;
mod transparent;

use guard_core::TlsMode;
use stage::{ALL, Stage};

#[tokio::test]
async fn psql_selects_through_guard() {
    for tls in [TlsMode::Disable, TlsMode::VerifyFull] {
        let stage = Stage::new(ALL, tls, "").await;
        assert_eq!(stage.psql("select 1").await, "1");
        assert_eq!(stage.psql("select 1; select 2").await, "1\n2");
    }
}

/// By hand: `GUARD_STAGE_PORT=15130 GUARD_STAGE_POLICY=file cargo test --test postgres -- --ignored by_hand`
#[tokio::test]
#[ignore = "serves until it is stopped, for trying things by hand"]
async fn by_hand() {
    let policy =
        std::env::var("GUARD_STAGE_POLICY").map(|file| std::fs::read_to_string(file).unwrap());
    let tls = if std::env::var_os("GUARD_STAGE_TLS").is_some() {
        TlsMode::VerifyFull
    } else {
        TlsMode::Disable
    };
    let stage = Stage::new(policy.as_deref().unwrap_or(ALL), tls, "").await;
    eprintln!("guard {} postgres {}", stage.port, stage.postgres.port);
    std::future::pending::<()>().await;
}
