//! Attacks on a record, each of which has to be found.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use guard_core::{EndReason, EnforceAt, SessionId};

use super::*;
use crate::{Seal, SealingKey, fixture};

fn small(key: &SealingKey) -> Vec<u8> {
    let builder = fixture::Builder::new(fixture::short_identity(), EnforceAt::Gateway);
    builder.sealed(key)
}

fn lines(record: &[u8]) -> Vec<Vec<u8>> {
    record.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[track_caller]
fn broken(record: &[u8], key: &SealingKey) -> Broken {
    match verify(record, &[key.public()]) {
        Err(VerifyError::Broken(broken)) => broken,
        other => panic!("should be broken: {other:?}"),
    }
}

#[test]
fn a_sealed_record_is_whole() {
    let key = SealingKey::generate().unwrap();
    let other = SealingKey::generate().unwrap();
    let record = fixture::backup().sealed(&key);
    let verified = verify(&record[..], &[other.public(), key.public()]).unwrap();
    assert_eq!(verified.session, fixture::session());
    assert_eq!(verified.entries as usize, lines(&record).len() - 1);
    assert_eq!(verified.key_id, key.public().id());
}

#[test]
fn a_change_to_any_byte_is_found() {
    let key = SealingKey::generate().unwrap();
    let record = small(&key);
    for position in 0..record.len() {
        for mask in [0x01, 0x20, 0x80, record[position] ^ b'\n', record[position] ^ b' '] {
            let mut changed = record.clone();
            changed[position] ^= mask;
            if changed != record {
                broken(&changed, &key);
            }
        }
    }
}

#[test]
fn a_byte_more_or_less_anywhere_is_found() {
    let key = SealingKey::generate().unwrap();
    let record = small(&key);
    for position in 0..=record.len() {
        for byte in [b' ', b'\n', b'\r', b'0', 0] {
            let mut longer = record.clone();
            longer.insert(position, byte);
            broken(&longer, &key);
        }
        let mut shorter = record.clone();
        if position < record.len() {
            shorter.remove(position);
            broken(&shorter, &key);
        }
    }
}

#[test]
fn a_record_cut_off_anywhere_is_never_whole() {
    let key = SealingKey::generate().unwrap();
    let record = small(&key);
    for length in 0..record.len() {
        let cut = &record[..length];
        match verify(cut, &[key.public()]) {
            Err(VerifyError::Unsealed(unsealed)) => {
                assert!(cut.ends_with(b"\n"), "cut inside a line at {length}");
                assert_eq!(unsealed.entries as usize, lines(cut).len());
            }
            Err(VerifyError::Broken(broken)) => {
                assert!(length == 0 || !cut.ends_with(b"\n"), "{broken} at {length}");
            }
            other => panic!("{other:?} at {length}"),
        }
    }
}

#[test]
fn a_line_missing_doubled_or_moved_is_found() {
    let key = SealingKey::generate().unwrap();
    let all = lines(&fixture::backup().sealed(&key));
    for index in 0..all.len() {
        let mut missing = all.clone();
        missing.remove(index);
        let missing = missing.concat();
        assert!(verify(&missing[..], &[key.public()]).is_err(), "line {index} missing");
        let mut doubled = all.clone();
        doubled.insert(index, all[index].clone());
        broken(&doubled.concat(), &key);
        for other in 0..index {
            let mut swapped = all.clone();
            swapped.swap(index, other);
            broken(&swapped.concat(), &key);
        }
    }
}

#[test]
fn a_seal_by_another_key_or_of_another_session_is_found() {
    let key = SealingKey::generate().unwrap();
    let attacker = SealingKey::generate().unwrap();
    let mut builder = fixture::backup();
    builder.end();
    let foreign = [builder.lines.clone(), builder.seal(&attacker)].concat();
    assert!(matches!(broken(&foreign, &key).problem, Problem::UnknownKey { .. }));

    // The attacker names the broker's key but cannot sign with it.
    let seal = String::from_utf8(builder.seal(&attacker)).unwrap();
    let seal = seal.replace(&attacker.public().id().to_string(), &key.public().id().to_string());
    let posed = [builder.lines.clone(), seal.into_bytes()].concat();
    assert_eq!(broken(&posed, &key).problem, Problem::Signature);

    let another: SessionId = "0192a1b2-0000-7000-8000-0000000000ff".parse().unwrap();
    let mut reader = RecordReader::new(&builder.lines[..]);
    while reader.next_entry().unwrap().is_some() {}
    let at = "2026-11-21T02:45:00Z".parse().unwrap();
    let seal = Seal::line(another, &reader.chain(), at, &key).unwrap();
    let wrong = [builder.lines.clone(), seal].concat();
    assert_eq!(broken(&wrong, &key).problem, Problem::SealOfAnother { sealed: another });
    assert!(matches!(
        verify(&[builder.lines.clone(), builder.seal(&key)].concat()[..], &[]),
        Err(VerifyError::Broken(Broken { problem: Problem::UnknownKey { .. }, .. }))
    ));
}

#[test]
fn nothing_may_follow_the_seal_nor_the_end() {
    let key = SealingKey::generate().unwrap();
    let record = fixture::backup().sealed(&key);
    let seal = lines(&record).pop().unwrap();
    let twice = [record.clone(), seal].concat();
    assert_eq!(broken(&twice, &key).problem, Problem::AfterSeal);
    for tail in ["\n", " ", "{}\n", "\0"] {
        let longer = [&record, tail.as_bytes()].concat();
        assert_eq!(broken(&longer, &key).problem, Problem::AfterSeal, "{tail:?}");
    }

    let mut builder = fixture::backup();
    builder.end();
    builder.broker(Event::SessionEnded {
        reason: EndReason::Finished,
        exit_code: None,
        note: None,
    });
    let ended_twice = [builder.lines.clone(), builder.seal(&key)].concat();
    assert_eq!(broken(&ended_twice, &key).problem, Problem::AfterEnd);
}

#[test]
fn a_record_sealed_before_its_end_is_not_whole() {
    let key = SealingKey::generate().unwrap();
    let builder = fixture::backup();
    let record = [builder.lines.clone(), builder.seal(&key)].concat();
    match verify(&record[..], &[key.public()]) {
        Err(VerifyError::Unsealed(unsealed)) => {
            assert_eq!((unsealed.ended, unsealed.sealed), (false, unsealed.entries));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_line_ends_and_blanks_are_found() {
    let key = SealingKey::generate().unwrap();
    let record = String::from_utf8(fixture::backup().sealed(&key)).unwrap();
    for changed in [
        record.replace('\n', "\r\n"),
        record.replace("\":", "\": "),
        record.replace("{\"seal\":", "{ \"seal\":"),
        record.replace("{\"seal\":{", "{\"seal\":{ "),
        record.replace("\"signature\":\"", "\"signature\": \""),
        record.replace("==\"}\n", "\"}\n"),
        format!("\u{feff}{record}"),
        record.trim_end().to_owned(),
    ] {
        broken(changed.as_bytes(), &key);
    }
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let key = SealingKey::generate().unwrap();
    let endless = io::BufReader::new(io::repeat(b'x'));
    let problem = match verify(endless, &[key.public()]) {
        Err(VerifyError::Broken(broken)) => broken.problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem, Problem::TooLong);
}

#[test]
fn a_broker_goes_on_behind_a_torn_line() {
    let key = SealingKey::generate().unwrap();
    let mut builder = fixture::backup();
    let whole = builder.lines.clone();
    let torn = [&whole[..], b"{\"seq\":9,\"at"].concat();
    let mut reader = RecordReader::new(&torn[..]);
    let problem = loop {
        match reader.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the torn line was not noticed"),
            Err(ReadError::Broken(broken)) => break broken.problem,
            Err(ReadError::Read(error)) => panic!("{error}"),
        }
    };
    assert_eq!(problem, Problem::CutOff);
    assert_eq!(reader.whole_bytes() as usize, whole.len());
    assert!(!reader.has_seal());
    let mut chain = reader.chain();
    let mut resumed = whole;
    let event = Event::SessionEnded { reason: EndReason::Lost, exit_code: None, note: None };
    let at = "2026-11-21T02:45:00Z".parse().unwrap();
    chain.append_into(&mut resumed, at, "broker", &event).unwrap();
    resumed.extend(Seal::line(fixture::session(), &chain, at, &key).unwrap());
    verify(&resumed[..], &[key.public()]).unwrap();
    builder.end();
}

#[test]
fn an_entry_too_long_for_a_reader_is_not_written() {
    use crate::{AppendError, ChainWriter, StatementPhase};
    let mut chain = ChainWriter::new();
    let mut lines = b"before".to_vec();
    let at = "2026-11-21T02:45:00Z".parse().unwrap();
    let event = Event::Disconnected { connection: 0, reason: Some("x".repeat(MAX_LINE)) };
    let appended = chain.append_into(&mut lines, at, "broker", &event);
    assert!(matches!(appended, Err(AppendError::TooLong { .. })));
    assert_eq!((lines.as_slice(), &chain), (&b"before"[..], &ChainWriter::new()));
    let phase = StatementPhase::Execute;
    let event = Event::Statement {
        statement: 0,
        connection: 0,
        operation: 0,
        phase,
        would_refuse: None,
        estimated_rows: None,
        text: None,
        approval: None,
    };
    chain.append_into(&mut lines, at, "broker", &event).unwrap();
    assert_eq!(chain.entries(), 1);
}

#[test]
fn any_bytes_are_verified_without_a_panic() {
    let key = SealingKey::generate().unwrap();
    let record = small(&key);
    fuzz_verify(&record);
    proptest::proptest!(|(bytes: Vec<u8>, at in 0..record.len())| {
        fuzz_verify(&bytes);
        fuzz_verify(&[&record[..at], &bytes[..], &record[at..]].concat());
    });
}

/// A record with seals between its entries, each behind so many.
fn segmented(key: &SealingKey, later: &SealingKey) -> Vec<u8> {
    let at: Timestamp = "2026-11-21T02:45:00Z".parse().unwrap();
    let plain = fixture::backup().sealed(key);
    let mut chain = crate::ChainWriter::new();
    let mut record = Vec::new();
    for (number, line) in lines(&plain).iter().enumerate() {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { break };
        chain.append_into(&mut record, at, &entry.writer, &entry.event).unwrap();
        let ended = matches!(entry.event, Event::SessionEnded { .. });
        if number % 3 == 2 && !ended {
            chain.seal_segment_into(&mut record, fixture::session(), at, key).unwrap();
        }
    }
    record.extend(Seal::line(fixture::session(), &chain, at, later).unwrap());
    record
}

#[test]
fn a_record_in_segments_is_whole_and_no_byte_of_it_can_be_changed() {
    let (key, later) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
    let record = segmented(&key, &later);
    let seals = lines(&record).iter().filter(|line| line.starts_with(SEAL_START)).count();
    assert!(seals > 3, "{seals}");
    let keys = [key.public(), later.public()];
    let verified = verify(&record[..], &keys).unwrap();
    assert_eq!(verified.entries as usize, lines(&record).len() - seals);
    // Each seal's key has to be known.
    for key in keys {
        let found = verify(&record[..], &[key]);
        assert!(matches!(
            found,
            Err(VerifyError::Broken(Broken { problem: Problem::UnknownKey { .. }, .. }))
        ));
    }
    for position in 0..record.len() {
        let mut changed = record.clone();
        changed[position] ^= 0x01;
        assert!(matches!(verify(&changed[..], &keys), Err(VerifyError::Broken(_))), "{position}");
    }
    let all = lines(&record);
    for index in 0..all.len() {
        let mut missing = all.clone();
        missing.remove(index);
        assert!(verify(&missing.concat()[..], &keys).is_err(), "line {index} missing");
        let mut doubled = all.clone();
        doubled.insert(index, all[index].clone());
        assert!(verify(&doubled.concat()[..], &keys).is_err(), "line {index} twice");
    }
}

#[test]
fn a_record_cut_behind_the_seal_of_a_segment_is_not_whole_but_sealed_so_far() {
    let key = SealingKey::generate().unwrap();
    let all = lines(&segmented(&key, &key));
    for length in 1..all.len() {
        let cut = all[..length].concat();
        match verify(&cut[..], &[key.public()]) {
            Err(VerifyError::Unsealed(unsealed)) => {
                let (mut entries, mut sealed) = (0, 0);
                for line in &all[..length] {
                    if line.starts_with(SEAL_START) { sealed = entries } else { entries += 1 }
                }
                assert_eq!((unsealed.entries, unsealed.sealed), (entries, sealed));
                let said = unsealed.to_string().contains("are sealed");
                assert_eq!(said, sealed > 0, "{unsealed}");
            }
            other => panic!("{other:?} at {length}"),
        }
    }
}

#[test]
fn a_seal_of_a_segment_by_somebody_else_or_again_is_found() {
    let (key, attacker) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
    let forged = segmented(&attacker, &key);
    assert!(matches!(broken(&forged, &key).problem, Problem::UnknownKey { .. }));
    // The attacker names the broker's key, and chains what follows anew.
    let text = String::from_utf8(forged).unwrap();
    let posed = text.replace(&attacker.public().id().to_string(), &key.public().id().to_string());
    broken(posed.as_bytes(), &key);
    // Nothing new since the last seal.
    let at: Timestamp = "2026-11-21T02:45:00Z".parse().unwrap();
    let builder = fixture::backup();
    let mut reader = RecordReader::new(&builder.lines[..]);
    while reader.next_entry().unwrap().is_some() {}
    let (mut chain, mut record) = (reader.chain(), builder.lines.clone());
    for _ in 0..2 {
        chain.seal_segment_into(&mut record, fixture::session(), at, &key).unwrap();
    }
    let problem = broken(&record, &key).problem;
    assert_eq!(problem, Problem::SealOrder { expected: 1, found: 1 });
}

#[test]
fn a_record_of_the_format_before_is_still_verified() {
    let record = include_bytes!("../../../../tests/corpora/verify/sealed");
    let text = String::from_utf8_lossy(record);
    assert!(text.contains("guard-record/1"), "{text}");
    let found = verify(&record[..], &[]);
    assert!(matches!(
        found,
        Err(VerifyError::Broken(Broken { problem: Problem::UnknownKey { .. }, .. }))
    ));
}

#[test]
fn a_segment_is_due_by_entries_bytes_and_age() {
    use crate::{ChainWriter, SEGMENT_ENTRIES, SEGMENT_LASTS};
    let at: Timestamp = "2026-11-21T02:45:00Z".parse().unwrap();
    let event =
        |reason: usize| Event::Disconnected { connection: 0, reason: Some("x".repeat(reason)) };
    let mut lines = Vec::new();
    let mut chain = ChainWriter::new();
    assert!(!chain.is_due(at));
    chain.append_into(&mut lines, at, "broker", &event(1)).unwrap();
    assert!(!chain.is_due(at) && chain.is_due(at + SEGMENT_LASTS));
    for _ in 1..SEGMENT_ENTRIES {
        assert!(!chain.is_due(at));
        chain.append_into(&mut lines, at, "broker", &event(1)).unwrap();
    }
    assert!(chain.is_due(at));
    let key = SealingKey::generate().unwrap();
    chain.seal_segment_into(&mut lines, fixture::session(), at, &key).unwrap();
    assert!(!chain.is_due(at + SEGMENT_LASTS));
    for _ in 0..4 {
        chain.append_into(&mut lines, at, "broker", &event(1 << 20)).unwrap();
    }
    assert!(chain.is_due(at));
}
