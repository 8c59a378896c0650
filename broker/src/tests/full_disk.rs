//! A full disk under the records: closed while it is full, whole again when it is not.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use axum::http::{Method, StatusCode};
use guard_core::Digest;
use serde_json::{Value, json};

use super::stage::{Key, Shim, Stage};

/// A file system of 1 MB over the folder of the records.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Only root can have one.
    fn over(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "guard-test"])
            .arg(&folder)
            .output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(folder))
    }

    fn fill(&self) {
        // As much as goes: the error at its end is what is wanted.
        std::fs::write(self.0.join("filler"), vec![0_u8; 2 << 20]).unwrap_err();
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The broker of the test may still have files open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// More than fits into the page that the record's end is in.
fn batch(shim: &Shim) -> Value {
    let event = |number| json!({ "type": "disconnected", "connection": number, "reason": null });
    let events: Vec<_> = (0..100).map(event).collect();
    json!({ "session": shim.id, "writer": "shim-1", "first": 0, "events": events })
}

#[tokio::test]
async fn a_full_disk_refuses_and_leaves_a_record_that_goes_on() {
    let stage = Stage::new().await;
    let Some(disk) = SmallDisk::over(stage.folder.path().join("recordings")) else {
        eprintln!("not shown: a small file system needs root");
        return;
    };
    let shim = stage.session().await;
    let before = std::fs::read(stage.record(&shim)).unwrap();
    disk.fill();

    let batch = batch(&shim);
    let append = || stage.as_shim(&shim, Method::POST, "/v1/record", &batch);
    let (status, answer) = append().await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{answer}");
    assert_eq!(std::fs::read(stage.record(&shim)).unwrap(), before, "nothing of it may be left");

    // No session without a record.
    let proof = Key::new().proof("POST", "/oauth/token", None);
    let (status, answer) = stage.exchange(&stage.token(), &proof).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(answer["error"], "server_error");

    // There is room again: what was refused is asked again and taken, and the record is sealed whole.
    disk.empty();
    let (status, answer) = append().await;
    assert_eq!((status, &answer["next"]), (StatusCode::OK, &json!(100)), "{answer}");
    let end = json!({ "exit_code": 0 });
    let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let record = std::fs::read(stage.record(&shim)).unwrap();
    guard_audit::verify(&record[..], &[stage.app.sessions.public_key()]).unwrap();
}

#[tokio::test]
async fn a_disk_that_is_full_while_a_record_is_compressed_leaves_the_record_as_it_was() {
    let stage = Stage::new().await;
    let Some(disk) = SmallDisk::over(stage.folder.path().join("recordings")) else {
        eprintln!("not shown: a small file system needs root");
        return;
    };
    let shim = stage.session().await;
    let (status, answer) =
        stage.as_shim(&shim, Method::POST, "/v1/record", &noise(&shim, 400)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let end = json!({ "exit_code": 0 });
    let (status, answer) = stage.as_shim(&shim, Method::POST, "/v1/session/end", &end).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let path = stage.record(&shim);
    let before = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
    disk.fill();

    assert!(stage.app.sessions.compress_rested().await.is_err(), "there is no room for it");
    assert!(std::fs::read(&path).unwrap() == before);
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "a part of it stayed: {names:?}");

    disk.empty();
    stage.app.sessions.compress_rested().await.unwrap();
    let at_rest = std::fs::read(path.with_extension("jsonl.zst")).unwrap();
    assert!(!path.exists() && at_rest.len() < before.len());
    guard_audit::verify(
        guard_audit::Plain::of(&at_rest[..]).unwrap(),
        &[stage.app.sessions.public_key()],
    )
    .unwrap();
}

/// Events that do not shrink to nothing.
fn noise(shim: &Shim, count: u64) -> Value {
    let event = |number: u64| {
        let reason = Digest::of(number.to_le_bytes()).to_string();
        json!({ "type": "disconnected", "connection": number, "reason": reason })
    };
    let events: Vec<_> = (0..count).map(event).collect();
    json!({ "session": shim.id, "writer": "shim-1", "first": 0, "events": events })
}
