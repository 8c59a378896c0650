//! What the exports say of a record. That they are valid by the published schemas is a suite of its own, which has
//! the schemas.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::*;
use crate::{
    PublicKey, SealingKey,
    fixture::{backup, denial, over_budget, read, session},
};

fn record() -> (Vec<u8>, PublicKey) {
    let key = SealingKey::generate().unwrap();
    let mut builder = backup();
    let purge = builder.operation(read("SELECT '\u{1b}[2J\u{202e}' FROM public.orders", "orders"));
    builder.observed(purge, denial("blocked READ on `public.orders`"));
    builder.statement(purge, Some(over_budget()));
    builder.statement(purge, None);
    (builder.sealed(&key), key.public())
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn ocsf_tells_what_was_done_and_what_guard_made_of_it() {
    let mut out = Vec::new();
    write_ocsf(&*record().0, &mut out).unwrap();
    let told: Vec<_> = lines(&out)
        .iter()
        .map(|event| {
            let fields = ["class_uid", "activity_id", "action_id", "disposition_id", "status_id"];
            let numbers = fields.map(|field| event[field].as_u64().unwrap());
            (numbers, event["table"]["name"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let expected = [
        ([3003, 1, 1, 1, 1], ""),
        ([6003, 1, 1, 1, 1], ""),
        ([6005, 3, 1, 1, 1], ""),
        ([6005, 1, 1, 1, 1], "public.orders"),
        // Masked.
        ([6005, 1, 4, 11, 1], "public.customers"),
        // Refused.
        ([6005, 7, 2, 2, 2], "public.customers"),
        // Only observed.
        ([6005, 1, 3, 15, 1], "public.orders"),
        // Ended at a budget.
        ([6005, 1, 1, 1, 2], "public.orders"),
        ([6003, 4, 1, 1, 1], ""),
        ([6003, 4, 1, 1, 1], ""),
        // Never answered.
        ([6005, 1, 1, 1, 0], "public.orders"),
        ([2004, 1, 2, 2, 1], ""),
        ([2004, 1, 3, 15, 1], ""),
        ([2004, 1, 2, 2, 1], ""),
    ];
    assert_eq!(told, expected.map(|(numbers, table)| (numbers, table.to_owned())));
}

#[test]
fn cloud_events_are_the_entries_in_their_order() {
    let (record, _) = record();
    let mut out = Vec::new();
    write_cloud_events(&*record, &mut out).unwrap();
    let events = lines(&out);
    assert_eq!(events.len(), lines(&record).len() - 1);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], number.to_string());
        assert_eq!(event["source"], format!("/sessions/{}", session()));
        assert!(event["type"].as_str().unwrap().starts_with("dev.guard."));
    }
    assert_eq!(events[0]["type"], "dev.guard.session.opened");
    assert_eq!(events[0]["data"]["identity"]["repository"], "octo-org/octo-repo");
}

#[test]
fn sarif_has_a_result_for_each_kind_of_finding() {
    let mut out = Vec::new();
    write_sarif(&*record().0, Some("policies/nightly.yaml"), &mut out).unwrap();
    let log: Value = serde_json::from_slice(&out).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let told: Vec<_> =
        results.iter().map(|r| (r["ruleId"].as_str(), r["level"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some("nightly-backup/destructive"), Some("error")),
            (Some("nightly-backup/destructive"), Some("warning")),
            (Some("budgets/rows_per_statement"), Some("warning")),
        ]
    );
    for result in results {
        let place = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][place]["id"], result["ruleId"]);
        let file = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(file, "policies/nightly.yaml");
    }
}

#[test]
fn texts_of_the_job_are_as_they_are() {
    let (record, _) = record();
    let mut out = Vec::new();
    write_ocsf(&*record, &mut out).unwrap();
    // In JSON no control character stands by itself, whoever wrote the text.
    assert!(!out.iter().any(|byte| *byte < 0x20 && *byte != b'\n'));
    let texts: Vec<_> = lines(&out);
    let texts = texts.iter().filter_map(|event| event["query_info"]["query_string"].as_str());
    assert!(texts.into_iter().any(|text| text.contains("\u{1b}[2J\u{202e}")));
}

#[test]
fn a_broken_record_is_exported_to_its_break_and_said_to_be_broken() {
    let (mut record, _) = record();
    let last = record.len() - 400;
    record[last] ^= 1;
    let mut out = Vec::new();
    assert!(matches!(write_ocsf(&*record, &mut out), Err(ExportError::Broken(_))));
    assert!(!lines(&out).is_empty());
}

#[test]
fn a_statement_holds_for_its_record_and_its_key_alone() {
    let key = SealingKey::generate().unwrap();
    let record = backup().sealed(&key);
    let line = attest(&*record, &[key.public()], &key).unwrap().to_line().unwrap();
    let envelope = Envelope::from_line(&line).unwrap();
    let check = |envelope: &Envelope, record: &[u8], key: &PublicKey| {
        check_attestation(envelope, RECORD_SUBJECT, record, &[*key])
    };
    let attested = check(&envelope, &record, &key.public()).unwrap();
    assert_eq!((attested.session, attested.key_id), (session(), key.public().id()));
    let report = crate::report::Report::from_record(&*record, &[key.public()]).unwrap();
    let report = report.to_json().unwrap();
    let of_report =
        |text: &str| check_attestation(&envelope, REPORT_SUBJECT, text.as_bytes(), &[key.public()]);
    assert!(of_report(&report).is_ok());
    assert!(matches!(of_report("{}"), Err(AttestationError::Subject { subject: "report.json" })));

    let other = SealingKey::generate().unwrap().public();
    assert!(matches!(
        check(&envelope, &record, &other),
        Err(AttestationError::Envelope(EnvelopeError::Signature))
    ));
    let mut changed = record.clone();
    changed[100] ^= 1;
    assert!(matches!(
        check(&envelope, &changed, &key.public()),
        Err(AttestationError::Subject { .. })
    ));
}

#[test]
fn a_statement_is_signed_by_the_key_of_now_and_says_which_key_sealed() {
    let (old, new) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
    let record = backup().sealed(&old);
    let keys = [new.public(), old.public()];
    let envelope = attest(&*record, &keys, &new).unwrap();
    let attested = check_attestation(&envelope, RECORD_SUBJECT, &*record, &keys).unwrap();
    assert_eq!(attested.key_id, new.public().id());
    let payload = STANDARD.decode(&envelope.payload).unwrap();
    let said: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said["predicate"]["record"]["whole"], "verified");
    assert_eq!(said["predicate"]["record"]["key_id"], old.public().id().to_string());
    // Who has the old key only learns of the new one through the log.
    assert!(matches!(
        check_attestation(&envelope, RECORD_SUBJECT, &*record, &[old.public()]),
        Err(AttestationError::Envelope(EnvelopeError::Signature))
    ));
    // A record whose seal is by none of them is not said to be whole.
    let envelope = attest(&*record, &[new.public()], &new).unwrap();
    let payload = STANDARD.decode(&envelope.payload).unwrap();
    let said: Value = serde_json::from_slice(&payload).unwrap();
    assert_ne!(said["predicate"]["record"]["whole"], "verified");
}

/// The one signing key has two uses, and what it signed for one must not pass for the other.
#[test]
fn a_seal_is_no_attestation_and_an_attestation_no_seal() {
    let key = SealingKey::generate().unwrap();
    let record = backup().sealed(&key);
    let seal: Value = lines(&record).pop().unwrap();
    let mut envelope = attest(&*record, &[key.public()], &key).unwrap();
    envelope.signatures[0].sig = seal["signature"].as_str().unwrap().to_owned();
    assert!(matches!(
        check_attestation(&envelope, RECORD_SUBJECT, &*record, &[key.public()]),
        Err(AttestationError::Envelope(EnvelopeError::Signature))
    ));
    let signature = attest(&*record, &[key.public()], &key).unwrap().signatures[0].sig.clone();
    let text = String::from_utf8(record).unwrap();
    let forged = text.replace(seal["signature"].as_str().unwrap(), &signature);
    assert!(crate::verify(forged.as_bytes(), &[key.public()]).is_err());
}

#[test]
fn every_changed_byte_of_an_attestation_is_found() {
    let key = SealingKey::generate().unwrap();
    let record = backup().sealed(&key);
    let line = attest(&*record, &[key.public()], &key).unwrap().to_line().unwrap();
    // The key's name vouches for nothing and may be anything; so may the blank at the line's end.
    let named = line.find("\"keyid\"").unwrap();
    let free = named..line.find("\"sig\"").unwrap();
    for place in (0..line.trim_end().len()).filter(|place| !free.contains(place)) {
        let mut changed = line.clone().into_bytes();
        changed[place] ^= 1;
        let Ok(text) = String::from_utf8(changed) else { continue };
        let Ok(envelope) = Envelope::from_line(&text) else { continue };
        let checked = check_attestation(&envelope, RECORD_SUBJECT, &*record, &[key.public()]);
        assert!(checked.is_err(), "byte {place}");
    }
}
