//! Settings that change what a statement means, by the ways around `SET`.

use guard_core::TlsMode;

use super::stage::Stage;

/// All that a migration needs, but no `config` and no `role`.
const POLICY: &str = "policy: test\nrules:\n  - name: most\n    \
    sql: { effects: [read, insert, update, delete, create, alter, drop, call, code, session, transaction] }\n    \
    decide: allow\n";

const SEED: &str = "
CREATE FUNCTION tidy() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION bold() RETURNS int LANGUAGE sql SET session_replication_role = replica AS 'SELECT 1';
CREATE FUNCTION upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'not what it seems'::text $$;
CREATE VIEW knobs AS SELECT name, setting FROM pg_settings;
";

#[tokio::test]
async fn no_way_around_set_changes_what_statements_mean() {
    let stage = Stage::new(POLICY, TlsMode::Disable, SEED).await;
    for way in [
        "ALTER FUNCTION tidy() SET session_replication_role = replica",
        "ALTER FUNCTION tidy() SET role = postgres",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = public, pg_catalog AS 'SELECT 1'",
        "SELECT bold()",
        "UPDATE pg_settings SET setting = 'replica' WHERE name = 'session_replication_role'",
        "UPDATE knobs SET setting = 'replica' WHERE name = 'session_replication_role'",
        "SELECT set_config('search_path', 'public, PG_CATALOG', false)",
        "DO $$ BEGIN PERFORM set_config('session_replication_role', 'replica', false); END $$",
        "DO $$ BEGIN SET LOCAL session_replication_role = replica; END $$",
        "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
        "ALTER DATABASE shop SET search_path = public, pg_catalog",
    ] {
        let said = stage.psql(way).await;
        assert!(said.contains("GRD-210"), "{way}: {said}");
    }
    for way in [
        "ALTER FUNCTION tidy() SET search_path = public",
        "ALTER FUNCTION tidy() SET work_mem = '8MB'",
        "ALTER FUNCTION tidy() RESET ALL",
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql SET search_path = '' AS 'SELECT 1'",
        "SELECT set_config('search_path', 'PG_CATALOG, public', false)",
    ] {
        let said = stage.psql(way).await;
        assert!(!said.contains("ERROR"), "{way}: {said}");
    }
}

#[tokio::test]
async fn start_up_options_cannot_put_a_schema_before_the_servers_own() {
    let stage = Stage::new(POLICY, TlsMode::Disable, SEED).await;
    for (path, expected) in [
        ("public,PG_CATALOG", None),
        ("public,\"pg_catalog\"", None),
        ("PG_CATALOG,public", Some("SEEN")),
        ("public", Some("SEEN")),
    ] {
        let mut command = stage.client("psql");
        command.env("PGOPTIONS", format!("-c search_path={path}"));
        command.args(["-X", "-A", "-t", "-c", "SELECT upper('seen')"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match expected {
            Some(expected) => assert_eq!(said, expected, "{path}"),
            None => assert!(!output.status.success(), "{path}: {said}"),
        }
    }
}
