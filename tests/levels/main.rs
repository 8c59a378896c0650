//! How much is recorded, by policy: nothing that a mask hides is in a record at any level, and no text where a policy records
//! fingerprints.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod fingerprints;
mod full;
mod killed;
mod traffic;

use guard_tests::{EnforceAt, Stage, driver, policies};
use serde_json::Value;

const CUSTOMERS: u32 = 50;

/// Everything is allowed, with this on top.
pub(crate) fn allow_all(record: &str) -> String {
    format!("{record}\n{}", policies::ALLOW_ALL)
}

/// Five columns are masked, with this on top.
fn masked(record: &str) -> String {
    format!("{record}\n{}", policies::MASKED)
}

/// Every value that the policy masks, whole.
pub(crate) fn secrets(stage: &Stage) -> Vec<String> {
    let all = "SELECT email FROM customers UNION SELECT full_name FROM customers UNION \
               SELECT phone FROM customers UNION SELECT pan FROM cards UNION SELECT holder FROM cards";
    let values: Vec<String> =
        stage.postgres.sql("shop", all).unwrap().lines().map(str::to_owned).collect();
    assert!(values.len() > 2 * CUSTOMERS as usize);
    values
}

/// The events of this kind in a record.
pub(crate) fn events(record: &str, kind: &str) -> Vec<Value> {
    let entries = record.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = entries.filter_map(|mut entry| Some(entry.get_mut("event")?.take()));
    events.filter(|event| event["type"] == kind).collect()
}

/// What a record says, with all that is base64 in it decoded.
pub(crate) fn decoded(record: &str) -> String {
    let mut text = record.to_owned();
    for event in events(record, "traffic") {
        if let Some(data) = event["data"].as_str() {
            text.push_str(&String::from_utf8_lossy(&from_base64(data)));
        }
    }
    for cell in cells(record) {
        if let Some(data) = cell["base64"].as_str() {
            text.push_str(&String::from_utf8_lossy(&from_base64(data)));
        }
    }
    text
}

fn cells(record: &str) -> Vec<Value> {
    let of = |event: &Value| {
        let rows = event["rows"].as_array().unwrap().iter();
        rows.flat_map(|row| row.as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    events(record, "rows").iter().flat_map(of).collect()
}

pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).unwrap();
        bits = (bits << 6) | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    bytes
}

#[track_caller]
pub(crate) fn verifies(stage: &Stage) {
    let file = stage.records().pop().unwrap().display().to_string();
    let key = stage.key().unwrap();
    let _whole = stage.tool(&["audit", "verify", &file, "--key", &key]).unwrap().ok();
}

#[test]
fn what_is_recorded_of_answers_is_what_the_client_got() {
    for place in [EnforceAt::Gateway, EnforceAt::Shim] {
        let policy = masked("record: results");
        let stage =
            Stage::builder().shop(CUSTOMERS).policy(&policy).enforce_at(place).start().unwrap();
        let secrets = secrets(&stage);
        let ask = "SELECT id, email, full_name, NULL AS none FROM customers ORDER BY id LIMIT 3";
        let shown = stage.psql(ask).unwrap().ok().text();
        let record = stage.sealed_record().unwrap();
        let rows = events(&record, "rows");
        assert_eq!(rows.len(), 1, "{record}");
        assert_eq!(rows[0]["columns"], serde_json::json!(["id", "email", "full_name", "none"]));
        let lines: Vec<String> = rows[0]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let cells: Vec<_> =
                    row.as_array().unwrap().iter().map(|c| c.as_str().unwrap_or("")).collect();
                cells.join("|")
            })
            .collect();
        assert_eq!(lines.join("\n"), shown);
        assert!(shown.contains("[masked]"), "{shown}");

        for sql in [
            "TABLE customers",
            "COPY customers TO STDOUT",
            "COPY customers (email, id) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE *)",
            "COPY customers TO STDOUT WITH (FORMAT binary)",
            "BEGIN; DECLARE k CURSOR FOR SELECT email FROM customers; FETCH 7 FROM k; FETCH ALL FROM k; COMMIT",
            "BEGIN; DECLARE k BINARY CURSOR FOR SELECT email FROM customers; FETCH ALL FROM k; COMMIT",
            "PREPARE p AS SELECT email FROM customers; EXECUTE p",
            // What the server says of a masked value is no row.
            "SELECT email::int FROM customers",
            "SELECT cast(cast(email AS text) AS date) FROM customers",
        ] {
            let _whatever = stage.psql(sql).unwrap();
            let record = stage.sealed_record().unwrap();
            let text = decoded(&record);
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "`{secret}` of {sql}: {record}");
            }
            if !sql.contains("cast") && !sql.contains("::") {
                let kept: u64 = events(&record, "finished")
                    .iter()
                    .map(|event| event["kept"]["rows"].as_u64().unwrap_or(0))
                    .sum();
                assert!(kept >= u64::from(CUSTOMERS), "{sql}: {record}");
            }
            verifies(&stage);
        }
    }
}

#[test]
fn drivers_that_read_binary_and_prepared_get_no_unmasked_value_into_the_record() {
    let stage = Stage::builder().shop(400).policy(&masked("record: bytes")).start().unwrap();
    let secrets = secrets(&stage);
    for program in ["with_psycopg3.py", "with_asyncpg.py", "with_node_postgres.js"] {
        let run = stage.run(&driver(program, "masks").unwrap()).unwrap().ok();
        assert!(run.text().lines().any(|line| line == "rows 400"), "{program}");
        let record = stage.sealed_record().unwrap();
        let text = decoded(&record);
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "`{secret}` by {program}");
        }
        let kept = events(&record, "finished");
        let kept = kept.iter().filter_map(|event| event["kept"]["rows"].as_u64()).max();
        // Of COPY in binary the head and the end are messages, too.
        assert!(kept.is_some_and(|kept| kept >= 400), "{program}: {record}");
        assert!(!cells(&record).is_empty() && !events(&record, "traffic").is_empty());
        verifies(&stage);
    }
}

#[test]
fn limits_hold_and_what_is_left_out_is_said() {
    let policy = allow_all("record: { level: results, rows: 10, bytes: 2KiB }");
    let stage = Stage::builder().policy(&policy).start().unwrap();
    for (sql, rows, kept, truncated) in [
        ("SELECT generate_series(1, 1000)", 1000, 10, true),
        ("SELECT generate_series(1, 10)", 10, 10, false),
        ("SELECT repeat('x', 900) FROM generate_series(1, 10)", 10, 2, true),
        ("SELECT repeat('x', 100000)", 1, 0, true),
        ("SELECT 1 WHERE false", 0, 0, false),
        ("COPY (SELECT generate_series(1, 1000)) TO STDOUT", 1000, 10, true),
        ("COPY (SELECT repeat('x', 3000000)) TO STDOUT", 1, 0, true),
    ] {
        let all = stage.psql(sql).unwrap().ok();
        assert_eq!(all.text().lines().count() as u64, rows, "{sql}");
        let record = stage.sealed_record().unwrap();
        let mut finished = events(&record, "finished");
        finished.retain(|event| event["kept"].is_object());
        assert_eq!(finished[0]["rows"], rows, "{sql}: {record}");
        assert_eq!(finished[0]["kept"]["rows"], kept, "{sql}: {record}");
        assert_eq!(finished[0]["kept"]["truncated"] == true, truncated, "{sql}: {record}");
        assert_eq!(cells(&record).len() as u64, kept, "{sql}: {record}");
        let replayed = stage.tool(&["audit", "replay", &last(&stage)]).unwrap().ok().text();
        assert_eq!(replayed.contains("are in the record"), truncated, "{replayed}");
    }
}

fn last(stage: &Stage) -> String {
    stage.report_dirs().pop().unwrap().join("record.jsonl").display().to_string()
}

#[test]
fn a_rule_records_what_meets_it_and_nothing_else() {
    let policy = "policy: stage\nrules:\n  - name: orders\n    \
        sql: { effects: [read], tables: [public.orders] }\n    decide: allow\n    record: { rows: 2 }\n  \
        - name: rest\n    sql: { effects: [read, session, transaction] }\n    decide: allow\n";
    let stage = Stage::builder().shop(10).policy(policy).start().unwrap();
    let _ok = stage
        .psql("SELECT 'by' || 'rest'; SELECT id FROM orders ORDER BY id; SELECT 'and' || 'more'")
        .unwrap()
        .ok();
    let record = stage.sealed_record().unwrap();
    assert_eq!(cells(&record), ["1", "2"]);
    assert!(!record.contains("byrest") && !record.contains("andmore"));
    // At the level that is the default nothing of an answer is there.
    let stage = Stage::builder().shop(10).policy(policies::READ_ONLY).start().unwrap();
    let _ok = stage.psql("SELECT 'row' || '-value'").unwrap().ok();
    let record = stage.sealed_record().unwrap();
    for absent in ["row-value", "\"rows\":[", "kept", "traffic"] {
        assert!(!record.contains(absent), "{absent}: {record}");
    }
}

#[test]
fn rows_are_shown_as_text_and_stay_out_of_exports() {
    let stage = Stage::builder().policy(&allow_all("record: results")).start().unwrap();
    let evil = "SELECT '<scr' || 'ipt>alert(1)</script>' AS \"<img src=x onerror=alert(2)>\", \
                E'\\x1b' || '[2J' || U&'\\202E' || 'row-value-' || 'xyz' AS b, NULL AS c";
    let _ok = stage.psql(evil).unwrap().ok();
    let dir = stage.report_dirs().pop().unwrap();
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("row-value-xyz") && page.contains("Rows of answers"), "{page}");
    for tag in ["<script", "<img", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(tag), "{tag} is in the page");
    }
    let replayed = stage.tool(&["audit", "replay", &last(&stage)]).unwrap().ok().text();
    assert!(replayed.contains("row-value-xyz") && replayed.contains("NULL"), "{replayed}");
    assert!(!replayed.contains('\u{1b}') && !replayed.contains('\u{202e}'), "{replayed}");
    assert!(std::fs::read_to_string(last(&stage)).unwrap().contains("row-value-xyz"));
    for format in ["ocsf", "cloudevents", "sarif"] {
        let export =
            stage.tool(&["audit", "export", &last(&stage), "--format", format]).unwrap().ok();
        assert!(!export.text().contains("row-value-xyz"), "{format}: {}", export.text());
    }
    let summary = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(!summary.contains("row-value-xyz"), "{summary}");
}
