//! Each way to give a setting a value, against each setting that matters.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;

use guard_core::Verb;

use crate::tests::read;

/// Settings that change what a statement means or may do, a value that does, and what that is.
const CHANGE: [(&str, &str, Verb); 20] = [
    ("standard_conforming_strings", "off", Verb::Config),
    ("escape_string_warning", "off", Verb::Config),
    ("backslash_quote", "on", Verb::Config),
    ("client_encoding", "sjis", Verb::Config),
    ("search_path", "public,pg_catalog", Verb::Config),
    ("search_path", "public, PG_CATALOG", Verb::Config),
    ("role", "postgres", Verb::Role),
    ("session_authorization", "postgres", Verb::Role),
    ("default_transaction_read_only", "off", Verb::Config),
    ("transaction_read_only", "off", Verb::Config),
    ("session_replication_role", "replica", Verb::Config),
    ("transform_null_equals", "on", Verb::Config),
    ("session_preload_libraries", "evil", Verb::Config),
    ("local_preload_libraries", "evil", Verb::Config),
    ("dynamic_library_path", "/tmp", Verb::Config),
    ("allow_system_table_mods", "on", Verb::Config),
    ("lo_compat_privileges", "on", Verb::Config),
    ("log_statement", "none", Verb::Config),
    ("ignore_checksum_failure", "on", Verb::Config),
    ("my.own", "x", Verb::Config),
];

/// Settings that change forms and limits of the session itself.
const HARMLESS: [(&str, &str); 8] = [
    ("standard_conforming_strings", "on"),
    ("client_encoding", "UTF8"),
    ("search_path", "public"),
    ("datestyle", "ISO, DMY"),
    ("row_security", "off"),
    ("transaction_read_only", "on"),
    ("statement_timeout", "5s"),
    ("timezone", "UTC"),
];

/// Every way in which a statement gives a setting a value.
fn ways(name: &str, value: &str) -> Vec<String> {
    let list = value.split(',').map(|v| format!("'{}'", v.trim())).collect::<Vec<_>>().join(", ");
    let upper = name.to_uppercase();
    let mut ways = vec![
        format!("SET {name} = {list}"),
        format!("SET {upper} TO {list}"),
        format!("SET LOCAL {name} = {list}"),
        format!("SET SESSION {name} = {list}"),
        format!("ALTER FUNCTION purge() SET {name} = {list}"),
        format!("ALTER PROCEDURE tidy() SET {name} TO {list} RESET ALL"),
        format!("ALTER ROUTINE tidy() SECURITY DEFINER SET {upper} TO {list}"),
        format!("CREATE PROCEDURE tidy() LANGUAGE sql SET {name} TO {list} AS 'SELECT 1'"),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET {name} = {list} AS 'SELECT 1'"),
        format!("SELECT set_config('{name}', '{value}', false)"),
        format!("SELECT pg_catalog.set_config('{upper}', '{value}', true)"),
        format!("SELECT count(*) FROM users WHERE set_config('{name}', '{value}', false) = ''"),
        format!("PREPARE p AS SELECT set_config('{name}', '{value}', false); EXECUTE p"),
        format!("EXPLAIN ANALYZE SELECT set_config('{name}', '{value}', false)"),
    ];
    match name {
        "role" => ways.push(format!("SET ROLE {value}")),
        "session_authorization" => ways.push(format!("SET SESSION AUTHORIZATION {value}")),
        "client_encoding" => ways.push(format!("SET NAMES '{value}'")),
        _ => {}
    }
    ways
}

fn verbs(sql: &str) -> Vec<Verb> {
    read(sql).iter().flat_map(|s| s.operation.effects.iter().map(|e| e.verb)).collect()
}

#[test]
fn each_way_to_each_setting_is_judged_by_what_it_changes() {
    let mut wrong = String::new();
    for (name, value, verb) in CHANGE {
        for way in ways(name, value) {
            if !verbs(&way).contains(&verb) {
                writeln!(wrong, "{way}: {:?}", verbs(&way)).unwrap();
            }
        }
        for way in ["ALTER ROLE x SET", "ALTER DATABASE x SET", "ALTER SYSTEM SET"] {
            let way = format!("{way} {name} = '{value}'");
            if !verbs(&way).contains(&Verb::Config) {
                writeln!(wrong, "{way}: {:?}", verbs(&way)).unwrap();
            }
        }
    }
    for (name, value) in HARMLESS {
        for way in ways(name, value) {
            if verbs(&way).iter().any(|v| matches!(v, Verb::Config | Verb::Role)) {
                writeln!(wrong, "{way}: {:?}", verbs(&way)).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_setting_that_is_computed_may_be_any() {
    for sql in [
        "SELECT set_config($1, 'off', false)",
        "SELECT set_config('search' || '_path', 'x', false)",
        "SELECT set_config('work_mem', $1, false)",
        "SELECT set_config(name, setting, false) FROM pg_settings",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'work_mem'",
    ] {
        assert!(verbs(sql).contains(&Verb::Config), "{sql}: {:?}", verbs(sql));
    }
}

#[test]
fn what_the_session_began_with_is_no_change() {
    for sql in [
        "RESET role",
        "RESET ALL",
        "RESET SESSION AUTHORIZATION",
        "SET search_path TO DEFAULT",
        "SET SESSION AUTHORIZATION DEFAULT",
        "DISCARD ALL",
    ] {
        assert!(!verbs(sql).iter().any(|v| matches!(v, Verb::Config | Verb::Role)), "{sql}");
    }
}
