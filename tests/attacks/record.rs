//! Getting more into a record than a policy lets in, or less.

use guard_tests::{Stage, policies};
use serde_json::Value;

use super::wire::{Held, frame, parse, sync};

/// Bind of a statement to a portal, whose values come in this format.
fn bind(portal: &str, statement: &str, format: u8) -> Vec<u8> {
    frame(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\x01\0{}", char::from(format)).as_bytes())
}

/// Execute of a portal, so many rows.
fn some(portal: &str, rows: u8) -> Vec<u8> {
    frame(b'E', format!("{portal}\0\0\0\0{}", char::from(rows)).as_bytes())
}

fn of(record: &str, kind: &str) -> Vec<Value> {
    let entries = record.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.map(|entry| entry["event"].clone()).filter(|event| event["type"] == kind).collect()
}

/// Neither more parts nor no Describe get round the limit or the mask; binary values are kept as such.
#[test]
fn a_portal_in_pieces_is_one_answer_and_stays_masked() {
    let policy = format!("record: {{ level: results, rows: 5 }}\n{}", policies::MASKED);
    let stage = Stage::builder().shop(20).policy(&policy).start().unwrap();
    let secrets = stage.postgres.sql("shop", "SELECT email FROM customers").unwrap();
    for format in [0, 1] {
        let held = Held::start(&stage);
        let mut wire = held.ready();
        let mut sent = parse("s", "SELECT id, email FROM customers ORDER BY id");
        sent.extend(bind("p", "s", format));
        for _ in 0..4 {
            sent.extend(some("p", 3));
        }
        sent.extend(sync());
        wire.send(&sent);
        let kinds: String = wire.until_ready().iter().map(|(kind, _)| char::from(*kind)).collect();
        assert_eq!(kinds, "12DDDsDDDsDDDsDDDsZ", "guard's own Describe is not seen");
        drop(wire);
        drop(held);
        let record = stage.sealed_record().unwrap();
        let rows: Vec<Value> = of(&record, "rows")
            .iter()
            .flat_map(|event| event["rows"].as_array().unwrap().clone())
            .collect();
        assert_eq!(rows.len(), 5, "{record}");
        assert_eq!(rows[0][0].is_string(), format == 0, "{}", rows[0]);
        assert_eq!(of(&record, "rows")[0]["columns"], serde_json::json!(["id", "email"]));
        let truncated = of(&record, "finished");
        let truncated = truncated.iter().filter(|event| event["kept"]["truncated"] == true);
        assert_eq!(truncated.count(), 3, "{record}");
        for secret in secrets.lines() {
            assert!(!record.contains(secret), "{secret}");
        }
    }
}

/// A policy that could not keep what it promises gives no session: the broker does not take it.
#[test]
fn a_policy_that_promises_two_things_does_not_load() {
    for (record, says) in [
        ("record: { level: bytes, literals: fingerprint }", "cannot be kept"),
        ("record: { level: results, rows: 0 }", "`rows` is 0"),
        ("record: everything", "`everything` is not known here"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        std::fs::write(&file, format!("{record}\n{}", policies::READ_ONLY)).unwrap();
        let guard = guard_tests::Programs::built().unwrap().guard;
        let output = std::process::Command::new(guard)
            .args(["policy", "check"])
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
