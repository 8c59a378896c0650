//! `kill -9` while a sealed record is compressed: it is whole afterwards, once in the log, and nothing half-written stays.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use guard_tests::{Stage, http, policies, process::wait_for, record_text, script};

/// Runs of a test, each of which a broker is killed after, a little later in its work each time.
const KILLS: usize = 6;
/// Statements of a run.
const STATEMENTS: usize = 600;
/// A file that nobody wrote to for this long is compressed.
const RESTED: Duration = Duration::from_secs(120);

/// Statements whose texts do not shrink much, so that compressing them takes a while.
fn statements(stage: &Stage) -> String {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::new();
    for _ in 0..STATEMENTS {
        text.push_str("SELECT '");
        for _ in 0..1000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text.push_str(&format!("{seed:016x}"));
        }
        text.push_str("';\n");
    }
    let file = stage.dir().join("long.sql");
    fs::write(&file, text).unwrap();
    format!("psql -XAtq -v ON_ERROR_STOP=1 -f {} > /dev/null", file.display())
}

/// Each record verifies, has all its statements, and its seal is one leaf of the log.
#[track_caller]
fn all_is_whole(stage: &Stage, records: usize) {
    let leaves = wait_for("leaves of all seals", || {
        let answer = http::get(&format!("{}/v1/log/leaves", stage.url), &[]).ok()?;
        (seals(&answer.body) >= records).then_some(answer.body)
    });
    let leaves = leaves.unwrap();
    assert_eq!(seals(&leaves), records, "a leaf for each seal: {leaves}");
    let key = stage.key().unwrap();
    let files = stage.records();
    assert_eq!(files.len(), records, "{files:?}");
    for file in files {
        let path = file.display().to_string();
        let _whole = stage.tool(&["audit", "verify", &path, "--key", &key]).unwrap().ok();
        let text = record_text(&file).unwrap();
        assert_eq!(text.matches("\"type\":\"finished\"").count(), STATEMENTS, "{path}");
        let session = file.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
        assert_eq!(leaves.matches(session).count(), 1, "{leaves}");
    }
}

#[test]
fn a_broker_is_killed_while_it_compresses() {
    let mut stage = Stage::builder().policy(policies::READ_ONLY).start().unwrap();
    let run = script(&statements(&stage));
    let folder = stage.dir().join("recordings");
    let mut killed_within = 0;
    for kill in 0..KILLS {
        let _ = stage.run(&run).unwrap().ok();
        let plain = sealed(&stage);
        let new = folder.join(format!(".{}.new", plain.file_stem().unwrap().display()));
        // It is killed when the compressed file has begun, and later in it each time.
        let step = kill as u64 * 500_000;
        rested(&plain);
        stage.broker.kill().unwrap();
        stage.begin_broker().unwrap();
        wait_for("compression", || {
            let so_far = fs::metadata(&new).is_ok_and(|file| file.len() >= step);
            (so_far || !plain.exists()).then_some(())
        })
        .unwrap();
        stage.broker.kill().unwrap();
        killed_within += usize::from(plain.exists());
        // Whatever it was left in, the next broker takes it up and ends with one file.
        stage.restart_broker().unwrap();
        let done = || (!plain.exists() && !new.exists()).then_some(());
        wait_for("record at rest", done)
            .unwrap_or_else(|error| panic!("{error}\n{}", stage.broker.log()));
        stage.restart_gateway().unwrap();
    }
    assert!(killed_within > 0, "no kill came while a record was being compressed");
    all_is_whole(&stage, KILLS);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().ends_with(".jsonl.zst")), "{names:?}");
}

/// The one record that is not compressed, once it is sealed.
fn sealed(stage: &Stage) -> PathBuf {
    let found = wait_for("sealed record", || {
        let plain = |file: &PathBuf| file.extension().is_some_and(|end| end == "jsonl");
        let plain = stage.records().into_iter().find(plain)?;
        let text = fs::read_to_string(&plain).ok()?;
        text.lines().last()?.contains("\"signature\"").then_some(plain)
    });
    found.unwrap_or_else(|error| panic!("{error}\n{}", stage.broker.log()))
}

/// Makes a file look as if nobody wrote to it for a while.
fn rested(file: &Path) {
    let file = fs::File::options().append(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - RESTED).unwrap();
}

/// The other leaves tell of keys.
fn seals(leaves: &str) -> usize {
    leaves.matches("\"type\":\"seal\"").count()
}
