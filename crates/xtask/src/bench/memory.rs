//! What an idle connection costs in memory, by program.
//!
//! Freed memory is used again, so that a process that has served others before says little. Each way is measured
//! with programs that were started for it, and the figure is what more connections add to those that are open.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use guard_tests::Stage;

use super::measure::{Way, Ways};
use crate::shell;

/// Connections that are opened before anything is counted: what a process takes but once, it has taken then.
const FIRST: u32 = 50;
/// Connections that are opened behind them and counted: a session takes 256 to one resource.
const MORE: u32 = 200;
/// Time for connections to be opened, on a machine that has other things to do.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
/// After that, time for buffers to be given back.
const SETTLE: Duration = Duration::from_secs(2);

/// Kilobytes of one idle connection, for each program of a way.
pub(crate) struct Idle {
    pub(super) way: &'static str,
    pub(super) kilobytes: Vec<(&'static str, f64)>,
}

/// Opens idle connections by each way that has programs between, and looks at what more of them add.
pub(super) fn measure(stage: &mut Stage) -> Result<Vec<Idle>> {
    let script = stage.dir().join("idle.sql");
    // Each connection has run a statement, and a result that is larger than the first buffers.
    let text =
        "SELECT count(*) FROM pgbench_branches;\nSELECT repeat('x', 100000);\n\\sleep 120 s\n";
    fs::write(&script, text)?;
    let mut all = Vec::new();
    for name in ["pgbouncer", "gateway", "shim"] {
        println!("{}", shell::dim(&format!("{MORE} idle connections: {name}")));
        stage.restart_gateway()?;
        let ways = Ways::open(stage)?;
        let way = ways.all.iter().find(|way| way.name == name).context("there is no such way")?;
        let first = open(way, &script, FIRST)?;
        let before = way.resident();
        let more = open(way, &script, MORE)?;
        let after = way.resident();
        drop((first, more));
        let each = |((name, _), (before, after)): (&(&'static str, u32), (&f64, &f64))| {
            (*name, (after - before) / f64::from(MORE))
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

fn open(way: &Way, script: &Path, connections: u32) -> Result<Held> {
    let clients = connections.to_string();
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
    while sockets(held.0.id()) < connections as usize {
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
