//! What an idle connection costs in memory, by program.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::measure::{Way, Ways};
use crate::shell;

/// Connections that are opened by each way: a session takes 256 to one resource.
const CONNECTIONS: u32 = 200;
/// Time for connections to be opened, on a machine that has other things to do.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
/// After that, time for buffers to be given back.
const SETTLE: Duration = Duration::from_secs(2);

/// Kilobytes of one idle connection, for each program of a way.
pub(crate) struct Idle {
    pub(super) way: &'static str,
    pub(super) kilobytes: Vec<(&'static str, f64)>,
}

/// Opens idle connections by each way that has programs between, and looks at their memory before and after.
pub(super) fn measure(ways: &Ways, dir: &Path) -> Result<Vec<Idle>> {
    let script = dir.join("idle.sql");
    // Each connection has run a statement, and a result that is larger than the first buffers.
    let text =
        "SELECT count(*) FROM pgbench_branches;\nSELECT repeat('x', 100000);\n\\sleep 120 s\n";
    fs::write(&script, text)?;
    let mut all = Vec::new();
    for way in ways.all.iter().filter(|way| !way.between.is_empty()) {
        println!("{}", shell::dim(&format!("{CONNECTIONS} idle connections: {}", way.name)));
        // Once before, so that what a process takes but once is not counted.
        drop(open(way, &script)?);
        settle(SETTLE);
        let before = way.resident();
        let held = open(way, &script)?;
        let after = way.resident();
        drop(held);
        let each = |((name, _), (before, after)): (&(&'static str, u32), (&f64, &f64))| {
            (*name, (after - before) / f64::from(CONNECTIONS))
        };
        let kilobytes = way.between.iter().zip(before.iter().zip(&after)).map(each).collect();
        all.push(Idle { way: way.name, kilobytes });
    }
    Ok(all)
}

struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn open(way: &Way, script: &Path) -> Result<Held> {
    let clients = CONNECTIONS.to_string();
    let log = script.with_extension("log");
    let mut command = way.client("pgbench").command();
    let command = command
        .args(["-n", "-M", "simple", "-j", "1", "-T", "110", "-c", &clients, "-f"])
        .arg(script)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let mut held = Held(command.spawn().context("pgbench cannot be started")?);
    let start = Instant::now();
    // Its sockets are open before the first statement runs.
    while sockets(held.0.id()) < CONNECTIONS as usize {
        if held.0.try_wait()?.is_some() || start.elapsed() > OPEN_LIMIT {
            bail!("pgbench at {}: {}", way.name, fs::read_to_string(&log).unwrap_or_default());
        }
        settle(Duration::from_millis(100));
    }
    settle(SETTLE);
    Ok(held)
}

/// Other processes come to rest, and none of them says when.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench of other processes, with a thread of its own"
)]
fn settle(time: Duration) {
    sleep(time);
}

fn sockets(pid: u32) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}
