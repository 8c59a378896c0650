//! A disk that is full in the middle of rows that are recorded: what the record does not take does not pass.

use std::{path::Path, process::Command};

use guard_tests::{Stage, script};

use super::{allow_all, events, from_base64, verifies};

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

#[test]
fn fail_closed_rows_that_a_full_disk_does_not_take_do_not_pass() {
    for level in ["results", "bytes"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(disk) = SmallDisk::over(folder.path(), "4m") else {
            eprintln!("not shown: a small file system needs root");
            return;
        };
        let record =
            format!("record: {{ level: {level}, rows: 10000000, bytes: 1GiB, traffic: 1GiB }}");
        let stage =
            Stage::builder().policy(&allow_all(&record)).recordings(folder.path()).start().unwrap();
        let out = stage.dir().join("out");
        // Digests, so that nothing makes them shorter.
        let text = format!(
            "psql -X -q -v ON_ERROR_STOP=1 -c \"COPY (SELECT md5(i::text) FROM generate_series(1, 10000000) i) \
             TO STDOUT\" > {}",
            out.display()
        );
        let run = stage.run(&script(&text)).unwrap();
        assert_ne!(run.code, 0, "{}", run.stderr);
        let passed = std::fs::read(&out).unwrap();
        assert!(!passed.is_empty(), "{}", run.stderr);
        disk.resize("256m");
        let record = stage.sealed_record().unwrap();
        let kept: Vec<u8> = match level {
            "results" => events(&record, "rows")
                .iter()
                .flat_map(|event| event["rows"].as_array().unwrap().clone())
                .flat_map(|row| format!("{}\n", row[0].as_str().unwrap()).into_bytes())
                .collect(),
            _ => {
                let traffic = events(&record, "traffic");
                let server = traffic.iter().filter(|event| event["from"] == "server");
                server.flat_map(|event| event["data"].as_str().map(from_base64).unwrap()).collect()
            }
        };
        let last = passed.rsplit(|byte| *byte == b'\n').find(|line| line.len() == 32).unwrap();
        let is_kept = |line: &[u8]| kept.windows(line.len()).any(|part| part == line);
        assert!(is_kept(last), "{level}: {} of {}", passed.len(), kept.len());
        verifies(&stage);
    }
}
