//! Drivers of other languages: what they do directly they do through guard.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod packs;

use guard_tests::{EnforceAt, Finished, Stage, driver, script};

#[track_caller]
fn behaves_as_direct(script: &str) {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let stage = stage(place);
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

fn stage(place: EnforceAt) -> Stage {
    let stage = Stage::builder().shop(200).enforce_at(place);
    stage.setting("max_prepared_transactions=5").start().unwrap()
}

#[test]
fn psycopg_3() {
    behaves_as_direct("with_psycopg3.py");
}

#[test]
fn what_belongs_to_a_connection_with_psycopg_3() {
    behaves_as_direct("sessions_with_psycopg3.py");
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

#[test]
fn pgjdbc() {
    behaves_as_direct("with_pgjdbc.java");
}

#[test]
fn ruby_pg() {
    behaves_as_direct("with_ruby_pg.rb");
}

/// The way from a client to guard's listener stays inside of the machine, and the listener has no certificate.
#[test]
fn a_client_that_insists_on_tls_is_told_that_the_listener_has_none() {
    let stage = stage(EnforceAt::Gateway);
    for mode in ["disable", "allow", "prefer"] {
        let command =
            script(&format!("psql \"${{DATABASE_URL%%\\?*}}?sslmode={mode}\" -XAtc 'SELECT 1'"));
        assert_eq!(stage.run(&command).unwrap().ok().text(), "1");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let command =
            script(&format!("psql \"${{DATABASE_URL%%\\?*}}?sslmode={mode}\" -XAtc 'SELECT 1'"));
        let _ = stage.run(&command).unwrap().code(2).says("server does not support SSL");
    }
}
