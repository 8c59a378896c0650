//! A program that a test started: its log, its readiness, its end.

use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, geteuid, kill_process},
};

/// A server on a busy two-core machine is ready well within this.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than any drain of ours; then it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How often a condition is looked at: short beside a start, long beside a look.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// So many are given to tests.
const PORTS: u16 = 8_000;

/// A started program with its output in a file. Dropping it stops it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    stop_by: Signal,
}

impl Process {
    /// Starts it with its output in `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), stop_by: Signal::TERM })
    }

    /// Stops it by another signal than `SIGTERM`.
    #[must_use]
    pub fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop_by = signal;
        self
    }

    /// Waits until a condition holds; fails when the program ends or the time is over.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if holds() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before {what}:\n{}", self.name, self.log());
            }
            if Instant::now() > deadline {
                bail!("{}: no {what} within {READY_WITHIN:?}:\n{}", self.name, self.log());
            }
            pause();
        }
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already.
            let _gone = kill_process(pid, signal);
        }
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        Ok(self.child.wait()?)
    }

    /// Waits for its end for at most `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {within:?}:\n{}", self.name, self.log());
            }
            pause();
        }
    }

    /// Asks it to end, and kills it when it does not.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(self.stop_by);
        match self.wait(STOP_WITHIN) {
            Ok(status) => Ok(status),
            Err(_) => self.kill(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

/// Waits until a condition holds, and fails with `what` when it does not in time.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("no {what} within {READY_WITHIN:?}");
        }
        pause();
    }
}

pub(super) fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
    std::thread::sleep(LOOK_EVERY);
}

/// A loopback port at which nobody listens, and which no other test gets while this one lives.
///
/// It lies below the range from which the kernel gives ports to clients and to who asks for any, so that nothing takes it before
/// the program that it is for: thousands of ports are given out while the tests run.
pub fn free_port() -> Result<u16> {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let lowest: u16 = range.split_whitespace().next().context("no range of ports")?.parse()?;
    let first = lowest.saturating_sub(PORTS).max(1024);
    let folder = std::env::temp_dir().join(format!("guard-ports-{}", geteuid().as_raw()));
    std::fs::create_dir_all(&folder)?;
    // Tests that run at the same time begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(PORTS))?;
    for port in (first..lowest).cycle().skip(offset.into()).take(PORTS.into()) {
        let file = File::create(folder.join(port.to_string()))?;
        let is_ours = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_ours && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            return Ok(port);
        }
    }
    bail!("no port between {first} and {lowest} is free")
}

/// Whether we may do everything.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// An exit code as a shell shows it: 128 and the signal when one ended it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
