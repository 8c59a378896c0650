//! Segments: seals between the entries of long records, and records at rest.

use axum::http::{Method, StatusCode};
use guard_audit::{Plain, SEGMENT_ENTRIES, SEGMENT_LASTS};
use guard_core::Timestamp;
use serde_json::{Value, json};

use super::{
    log::{end, proof},
    stage::{On, Shim, Stage, on_both_stores},
};

on_both_stores!(
    a_long_record_is_sealed_under_way_and_goes_on_with_another_broker,
    a_record_in_segments_is_read_through_the_api,
    a_segment_in_which_nothing_happens_is_sealed_once_and_the_record_goes_on,
);

async fn fill(stage: &Stage, shim: &Shim, from: u64, to: u64) {
    for first in (from..to).step_by(2500) {
        let last = (first + 2500).min(to);
        let event =
            |number| json!({ "type": "disconnected", "connection": number, "reason": null });
        let events: Vec<Value> = (first..last).map(event).collect();
        let batch =
            json!({ "session": shim.id, "writer": "shim-1", "first": first, "events": events });
        let (status, answer) = stage.as_shim(shim, Method::POST, "/v1/record", &batch).await;
        assert_eq!((status, &answer["next"]), (StatusCode::OK, &json!(last)), "{answer}");
    }
}

fn seals(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("{\"seal\":")).count()
}

async fn a_long_record_is_sealed_under_way_and_goes_on_with_another_broker(on: On) {
    let mut stage = Stage::on(on).await;
    let shim = stage.session().await;
    fill(&stage, &shim, 0, SEGMENT_ENTRIES + 5000).await;
    let text = stage.text(&shim).await;
    assert_eq!(seals(&text), 1);
    let key = stage.app.sessions.public_key();
    let unsealed = guard_audit::verify(text.as_bytes(), &[key]).unwrap_err().to_string();
    assert!(unsealed.contains("of them are sealed"), "{unsealed}");
    let session = stage.open(&shim).await.unwrap();
    stage.app.sessions.note_reached(&session).await;
    stage.restart().await;
    fill(&stage, &shim, SEGMENT_ENTRIES + 5000, 2 * SEGMENT_ENTRIES + 2500).await;
    end(&stage, &shim).await;
    let text = stage.text(&shim).await;
    assert_eq!(seals(&text), 3);
    let verified = guard_audit::verify(text.as_bytes(), &[key]).unwrap();
    assert_eq!(verified.entries, 2 * SEGMENT_ENTRIES + 2500 + 2);
    let proof = proof(&stage.app, &shim).await;
    guard_audit::tlog::verify_bundle(text.as_bytes(), &proof, &[key], None).unwrap();
}

async fn a_record_in_segments_is_read_through_the_api(on: On) {
    let stage = Stage::on(on).await;
    let shim = stage.session().await;
    fill(&stage, &shim, 0, SEGMENT_ENTRIES).await;
    end(&stage, &shim).await;
    let text = stage.text(&shim).await;
    for filed in [false, true] {
        if filed {
            stage.app.sessions.records().file(shim.id.parse().unwrap()).await.unwrap();
        }
        let pieces = stage.app.sessions.records().read(shim.id.parse().unwrap(), filed).await;
        let pieces: Vec<bytes::Bytes> =
            futures_util::TryStreamExt::try_collect(pieces.unwrap()).await.unwrap();
        assert!(pieces.concat() == text.as_bytes(), "{filed}");
    }
}

async fn a_segment_in_which_nothing_happens_is_sealed_once_and_the_record_goes_on(on: On) {
    let mut stage = Stage::on(on).await;
    let (shim, bare) = (stage.session().await, stage.session().await);
    fill(&stage, &shim, 0, 10).await;
    let now = Timestamp::now();
    stage.app.sessions.seal_segments(now).await.unwrap();
    assert_eq!(seals(&stage.text(&shim).await), 0, "it is not five minutes old");
    let later = now.checked_add(SEGMENT_LASTS).unwrap();
    // Whichever brokers look, and however often; also those that never heard of the session.
    let mut brokers = vec![stage.app.clone()];
    if on == On::Postgres {
        brokers.extend([stage.replica().await, stage.replica().await]);
    }
    for _ in 0..2 {
        let sealing = brokers.iter().map(|app| app.sessions.seal_segments(later));
        for sealed in futures_util::future::join_all(sealing).await {
            sealed.unwrap();
        }
    }
    let key = stage.app.sessions.public_key();
    for (shim, entries) in [(&shim, 11), (&bare, 1)] {
        let text = stage.text(shim).await;
        assert_eq!(seals(&text), 1, "{text}");
        assert!(text.lines().last().unwrap().starts_with("{\"seal\":"), "{text}");
        let unsealed = guard_audit::verify(text.as_bytes(), &[key]).unwrap_err().to_string();
        assert!(unsealed.contains(&format!("{entries} of them are sealed")), "{unsealed}");
    }
    // Nothing is due any more: there is nothing that no seal covers.
    let much_later = later.checked_add(SEGMENT_LASTS).unwrap();
    stage.app.sessions.seal_segments(much_later).await.unwrap();
    assert_eq!(seals(&stage.text(&shim).await), 1);
    // It goes on behind it, here and with another broker.
    fill(&stage, &shim, 10, 12).await;
    let session = stage.open(&shim).await.unwrap();
    stage.app.sessions.note_reached(&session).await;
    drop(brokers);
    stage.restart().await;
    fill(&stage, &shim, 12, 14).await;
    end(&stage, &shim).await;
    end(&stage, &bare).await;
    for (shim, entries) in [(&shim, 16), (&bare, 2)] {
        let text = stage.text(shim).await;
        assert_eq!(guard_audit::verify(text.as_bytes(), &[key]).unwrap().entries, entries);
        stage.app.sessions.seal_segments(much_later).await.unwrap();
        assert_eq!(stage.text(shim).await, text, "nothing stands behind the last seal");
        let proof = proof(&stage.app, shim).await;
        guard_audit::tlog::verify_bundle(text.as_bytes(), &proof, &[key], None).unwrap();
    }
}

/// Makes a record look as if nobody wrote to it for a while.
fn rest(stage: &Stage, shim: &Shim) {
    let file = std::fs::File::options().append(true).open(stage.record(shim)).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(120)).unwrap();
}

#[tokio::test]
async fn a_sealed_file_that_rests_is_compressed_and_another_is_not() {
    let mut stage = Stage::new().await;
    let (shim, live) = (stage.session().await, stage.session().await);
    fill(&stage, &shim, 0, 5000).await;
    end(&stage, &shim).await;
    let text = stage.text(&shim).await;
    let at_rest = stage.record(&shim).with_extension("jsonl.zst");
    stage.app.sessions.compress_rested().await.unwrap();
    assert!(!at_rest.exists(), "it rests for too short a time");
    rest(&stage, &shim);
    rest(&stage, &live);
    // What a broker left that died while it compressed is in nobody's way.
    std::fs::write(stage.record(&shim).with_file_name(format!(".{}.new", shim.id)), "torn")
        .unwrap();
    stage.app.sessions.compress_rested().await.unwrap();
    assert!(at_rest.exists() && !stage.record(&shim).exists() && stage.record(&live).exists());
    let bytes = std::fs::read(&at_rest).unwrap();
    assert!(bytes.len() < text.len() / 2, "{} of {}", bytes.len(), text.len());
    let key = stage.app.sessions.public_key();
    guard_audit::verify(Plain::of(&bytes[..]).unwrap(), &[key]).unwrap();
    let names: Vec<_> = std::fs::read_dir(at_rest.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // A broker that died behind the new name and before the old one went does it again.
    std::fs::write(stage.record(&shim), &text).unwrap();
    rest(&stage, &shim);
    stage.restart().await;
    stage.app.sessions.compress_rested().await.unwrap();
    assert!(at_rest.exists() && !stage.record(&shim).exists());
    let pieces = stage.app.sessions.records().read(shim.id.parse().unwrap(), true).await.unwrap();
    let pieces: Vec<bytes::Bytes> = futures_util::TryStreamExt::try_collect(pieces).await.unwrap();
    assert!(pieces.concat() == text.as_bytes());
}
