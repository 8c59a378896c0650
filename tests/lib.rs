//! The stage of the black-box suites, of the demo and of the bench: a real PostgreSQL, a local issuer, a
//! broker and a gateway, started as programs and stopped with the value that holds them.
//!
//! It imports nothing of guard: what it knows is what a user knows, files, ports and exit codes.

mod harness;

pub use harness::*;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeMap, fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::{Issuer, Postgres, http, stage};

    #[test]
    fn the_server_has_a_shop_and_speaks_tls() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let postgres = Postgres::start(dir.path(), &[]).unwrap();
        postgres.sql("postgres", "CREATE DATABASE shop").unwrap();
        stage::seed_shop(&postgres, 200).unwrap();
        let counts = "SELECT count(*), (SELECT count(*) FROM orders) FROM customers";
        assert_eq!(postgres.sql("shop", counts).unwrap(), "200|400");
        let output = postgres
            .client("psql", "shop")
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", &postgres.ca)
            .args([
                "-X",
                "-A",
                "-t",
                "-c",
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            ])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "t\n", "{output:?}");
    }

    #[test]
    fn the_issuer_answers_as_the_runner_of_github_does() {
        let dir = tempfile::tempdir().unwrap();
        let issuer = Issuer::start(dir.path(), &BTreeMap::new()).unwrap();
        let [(_, url), (_, bearer)] = issuer.variables();
        let url = format!("{url}&audience={}", http::escape("http://127.0.0.1:1"));
        assert_eq!(http::get(&url, &[]).unwrap().status, 401);
        let bearer = format!("Bearer {bearer}");
        let answer = http::get(&url, &[("authorization", &bearer)]).unwrap();
        let token = answer.json();
        let token = token.get("value").and_then(|value| value.as_str()).unwrap();
        assert_eq!(token.split('.').count(), 3, "{token}");
    }
}
