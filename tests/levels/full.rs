//! A disk that is full in the middle of rows that are recorded: what the record does not take passes only as far
//! as it may wait.

use std::{path::Path, process::Command};

use guard_tests::{Stage, script};

use super::{allow_all, events, verifies};

/// A file system of a size over a folder.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Only root can have one.
    fn over(folder: &'a Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "guard-test"])
            .arg(folder)
            .output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(folder))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &options]).arg(self.0).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// What waits for the record at an enforcement point at most, and what was under way when it broke.
const WAITING: usize = 16 << 20;
/// The least that the whole answer has.
const WHOLE: usize = 60 << 20;

#[test]
fn fail_closed_no_more_rows_pass_than_may_wait_for_a_disk_that_is_full() {
    for level in ["results", "bytes"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(disk) = SmallDisk::over(folder.path(), "8m") else {
            eprintln!("not shown: a small file system needs root");
            return;
        };
        let traffic = if level == "bytes" { ", traffic: 1GiB" } else { "" };
        let record = format!("record: {{ level: {level}, rows: 100000, bytes: 64MiB{traffic} }}");
        let stage =
            Stage::builder().policy(&allow_all(&record)).recordings(folder.path()).start().unwrap();
        let out = stage.dir().join("out");
        let text = format!(
            "psql -X -q -v ON_ERROR_STOP=1 -c \"COPY (SELECT repeat(md5(i::text), 32) FROM generate_series(1, 64000) i) \
             TO STDOUT\" > {}",
            out.display()
        );
        let run = stage.run(&script(&text)).unwrap();
        assert_ne!(run.code, 0, "{}", run.stderr);
        let passed = std::fs::metadata(&out).unwrap().len();
        disk.resize("256m");
        let record = stage.sealed_record().unwrap();
        let rows = events(&record, "rows");
        let rows = rows.iter().flat_map(|event| event["rows"].as_array().unwrap());
        let kept: usize = rows.map(|row| row[0].as_str().unwrap().len()).sum();
        let passed = usize::try_from(passed).unwrap();
        assert!(kept > 0 && passed <= kept + WAITING && passed < WHOLE, "{passed} {kept}");
        verifies(&stage);
    }
}
