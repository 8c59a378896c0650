//! The ready packs with the programs that they are for.

use std::{fs, path::Path, process::Command};

use guard_tests::{Postgres, Stage};

/// A ready pack under the name that the stage's grant has.
fn pack(name: &str) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(repository.join("policies").join(name).with_extension("yaml"));
    text.unwrap().replace(&format!("policy: {name}"), "policy: stage")
}

/// The kinds of objects that an application's database usually has.
const OBJECTS: &str = "
    CREATE TYPE state AS ENUM ('open', 'done');
    CREATE DOMAIN filled AS text CHECK (VALUE <> '');
    CREATE SEQUENCE numbers START 100;
    CREATE TABLE tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state state DEFAULT 'open',
        name filled, number int DEFAULT nextval('numbers'), during tstzrange,
        EXCLUDE USING gist (during WITH &&));
    CREATE TABLE notes (id serial PRIMARY KEY, task bigint REFERENCES tasks ON DELETE CASCADE, text text);
    CREATE TABLE events (at date, what text) PARTITION BY RANGE (at);
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE INDEX ON events (at);
    CREATE VIEW open_tasks AS SELECT id, name FROM tasks WHERE state = 'open'::state;
    CREATE MATERIALIZED VIEW counted AS SELECT state, count(*) FROM tasks GROUP BY state;
    COMMENT ON TABLE tasks IS 'what is to be done';
    INSERT INTO tasks (name) SELECT 'task ' || n FROM generate_series(1, 20) n;
    INSERT INTO notes (task, text) SELECT id, 'a note' FROM tasks;
    INSERT INTO events VALUES ('2026-05-01', 'begun');
";

fn counts(postgres: &Postgres, database: &str) -> String {
    let query = "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM notes), \
                 (SELECT count(*) FROM events), (SELECT count(*) FROM pg_class WHERE relnamespace = \
                 'public'::regnamespace)";
    postgres.sql(database, query).unwrap()
}

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pg_restore_does_its_work_under_the_migrations_pack() {
    let stage = Stage::builder().policy(&pack("migrations")).start().unwrap();
    stage.postgres.sql("postgres", "CREATE DATABASE template").unwrap();
    stage.postgres.sql("template", OBJECTS).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("dump");
    ran(stage.postgres.client("pg_dump", "template").args(["-Fc", "-f"]).arg(&dump));

    let file = dump.display().to_string();
    let arguments = ["--no-owner", "--no-acl", "-d", "shop", &file];
    let finished = stage.client("pg_restore", &arguments).unwrap().ok();
    assert!(finished.stderr.contains(", 0 refused"), "{}", finished.stderr);
    assert_eq!(counts(&stage.postgres, "shop"), counts(&stage.postgres, "template"));
}

#[test]
fn pg_dump_does_its_work_under_the_backup_pack() {
    let stage = Stage::builder().policy(&pack("backup-read-only")).start().unwrap();
    stage.postgres.sql("shop", OBJECTS).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("dump");
    let folder = dump.display().to_string();
    let finished = stage.client("pg_dump", &["-Fd", "-j3", "-f", &folder]).unwrap().ok();
    assert!(finished.stderr.contains(", 0 refused"), "{}", finished.stderr);

    stage.postgres.sql("postgres", "CREATE DATABASE again").unwrap();
    ran(stage.postgres.client("pg_restore", "again").args(["-d", "again"]).arg(&dump));
    assert_eq!(counts(&stage.postgres, "again"), counts(&stage.postgres, "shop"));
}

/// What a report of the project asks, with the project's own types.
#[test]
fn a_report_uses_enums_and_domains_under_the_backup_pack() {
    let stage = Stage::builder().policy(&pack("backup-read-only")).start().unwrap();
    stage.postgres.sql("shop", OBJECTS).unwrap();
    let report = "SELECT count(*), 'x'::filled FROM tasks WHERE state = 'open'::state";
    let finished = stage.client("psql", &["-XAtc", report]).unwrap().ok();
    assert_eq!(finished.text(), "20|x");
}
