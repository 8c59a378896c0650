//! Drivers of other languages: what they do directly they do through guard.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use guard_tests::{EnforceAt, Finished, Stage, driver};

#[track_caller]
fn behaves_as_direct(script: &str) {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = Stage::builder().shop(200).enforce_at(place).start().unwrap();
        let command = driver(script, "all").unwrap();
        let guarded = stage.run(&command).unwrap().ok();

        let url = format!(
            "postgres://{}:{}@127.0.0.1:{}/shop",
            guard_tests::postgres::SUPERUSER,
            guard_tests::postgres::PASSWORD,
            stage.postgres.port
        );
        let mut direct = driver(script, "all").unwrap();
        let output = direct.env("DATABASE_URL", url).output().unwrap();
        let direct = Finished::from(output).ok();
        assert_eq!(guarded.text(), direct.text());
        assert!(guarded.text().lines().count() > 5, "{}", guarded.text());
    }
}

#[test]
fn psycopg_3() {
    behaves_as_direct("with_psycopg3.py");
}

#[test]
fn psycopg_2() {
    behaves_as_direct("with_psycopg2.py");
}

#[test]
fn asyncpg() {
    behaves_as_direct("with_asyncpg.py");
}

#[test]
fn node_postgres() {
    behaves_as_direct("with_node_postgres.js");
}
