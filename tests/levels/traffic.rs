//! Level `bytes`: what both sides sent, without what masks hide.

use guard_tests::{Stage, script};
use serde_json::Value;

use super::{allow_all, decoded, events, from_base64, masked, secrets, verifies};

const MASKED_AND_WRITING: &str = "\
policy: stage
record: bytes
rules:
  - name: everything
    sql: { effects: [read, insert, create, session, transaction] }
    decide: allow
masks:
  - sql: { columns: [public.customers.email] }
    with: redact
";

/// The bytes of one side, as far as they are kept.
fn stream(record: &str, side: &str) -> Vec<u8> {
    let of = events(record, "traffic").into_iter().filter(|event| event["from"] == side);
    of.flat_map(|event| event["data"].as_str().map(from_base64).unwrap_or_default()).collect()
}

fn has(bytes: &[u8], part: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(part)
}

#[test]
fn both_sides_are_kept_as_they_were_after_masking() {
    let stage = Stage::builder().shop(50).policy(&masked("record: bytes")).start().unwrap();
    let secrets = secrets(&stage);
    let _failed =
        stage.psql("SELECT id, full_name FROM customers ORDER BY id; SELECT 1/0").unwrap();
    let record = stage.sealed_record().unwrap();
    let (client, server) = (stream(&record, "client"), stream(&record, "server"));
    assert!(has(&client, "SELECT id, full_name FROM customers"), "{record}");
    assert!(has(&server, "[masked]") && has(&server, "division by zero"), "{record}");
    let text = decoded(&record);
    for secret in &secrets {
        assert!(!text.contains(secret.as_str()), "`{secret}`");
    }
    // Each side is without a gap.
    for side in ["client", "server"] {
        let mut at = 0;
        for event in events(&record, "traffic").iter().filter(|event| event["from"] == side) {
            assert_eq!(event["offset"], at, "{event}");
            at += event["length"].as_u64().unwrap();
        }
        assert!(at > 0);
    }
    verifies(&stage);
}

/// Values that a client writes may be those that a mask hides from others.
#[test]
fn values_that_a_client_sends_are_kept_only_where_nothing_is_hidden() {
    let text = "psql -X -q -c 'CREATE TABLE IF NOT EXISTS taken (value text)'\n\
        PGBENCH -n -t 1 -M extended -D value=bound-9c1e -f FILE >&2\n\
        echo copied-9c1e | psql -X -q -c 'COPY taken FROM STDIN'";
    for (policy, kept) in
        [(MASKED_AND_WRITING.to_owned(), false), (allow_all("record: bytes"), true)]
    {
        let stage = Stage::builder().shop(5).policy(&policy).start().unwrap();
        let file = stage.dir().join("insert.sql");
        std::fs::write(&file, "INSERT INTO taken VALUES (:value);\n").unwrap();
        let pgbench = stage.postgres.programs().join("pgbench").display().to_string();
        let text = text.replace("PGBENCH", &pgbench).replace("FILE", &file.display().to_string());
        let _ok = stage.run(&script(&text)).unwrap().ok();
        let taken = stage.postgres.sql("shop", "SELECT value FROM taken ORDER BY value").unwrap();
        assert_eq!(taken, "bound-9c1e\ncopied-9c1e");
        let record = stage.sealed_record().unwrap();
        for value in ["bound-9c1e", "copied-9c1e"] {
            assert_eq!(has(&stream(&record, "client"), value), kept, "{value}: {record}");
            assert_eq!(decoded(&record).contains(value), kept, "{value}: {record}");
        }
        let withheld = |event: &Value| event["from"] == "client" && event["data"].is_null();
        assert_eq!(events(&record, "traffic").iter().any(withheld), !kept, "{record}");
    }
}

#[test]
fn no_more_is_kept_than_the_limit_and_that_is_said() {
    let policy = allow_all("record: { level: bytes, traffic: 100KiB }");
    let stage = Stage::builder().policy(&policy).start().unwrap();
    let run = stage.psql("SELECT repeat('x', 1000) FROM generate_series(1, 1000)").unwrap().ok();
    assert_eq!(run.text().lines().count(), 1000);
    let record = stage.sealed_record().unwrap();
    let server = stream(&record, "server").len();
    assert!(server > 10_000 && server <= 100 << 10, "{server}");
    let said = events(&record, "traffic");
    assert_eq!(said.iter().filter(|event| event["truncated"] == true).count(), 1);
}
