//! The command's output on its way to the job's log: what guard knows to be secret does not get there.
//!
//! This is against accidents (`env`, `set -x`, a driver that logs its address), not against a command that wants to print a
//! secret: it could turn the letters around. A terminal is given to the command as it is, since programs ask for one; what
//! goes to a pipe or a file passes the filter, unless `--raw` says otherwise.

mod filter;
mod looks;
mod patterns;
mod values;

use std::{
    fs::File,
    io::{self, IsTerminal as _, PipeReader, PipeWriter, Read as _, Write},
    os::fd::{AsFd as _, BorrowedFd},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use guard_core::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use filter::Filter;
use patterns::Patterns;
pub(super) use values::Values;

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;
/// How long the beginning of what may be a secret is held back for its rest.
const HELD: Duration = Duration::from_millis(300);
/// When the command is gone, its output is all there: a process that has it open still has nothing to say.
const AFTER: Duration = Duration::from_millis(500);

/// The values that do not belong into a log. Grows while a run lasts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    values: Mutex<Texts>,
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Texts {
    known: Vec<Secret>,
    /// What is looked for, for both outputs, until another value comes.
    patterns: Option<Arc<Patterns>>,
}

impl Known {
    /// Adds a value.
    pub(crate) fn add(&self, secret: &Secret) {
        let mut values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        if !values.known.iter().any(|known| known.expose() == secret.expose()) {
            values.known.push(secret.clone());
            values.patterns = None;
            self.0.version.fetch_add(1, Ordering::Release);
        }
    }

    fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    fn patterns(&self) -> Arc<Patterns> {
        let mut values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        let Texts { known, patterns } = &mut *values;
        let make = || Arc::new(Patterns::new(known.iter().map(Secret::expose)));
        patterns.get_or_insert_with(make).clone()
    }
}

/// The ways of the command's output.
pub(super) struct Outputs {
    out: Way,
    err: Way,
}

enum Way {
    /// The command has guard's own.
    Same,
    Filtered(PipeReader, PipeWriter),
}

/// The filters at work.
pub(super) struct Filters {
    running: Vec<JoinHandle<u64>>,
    over: Arc<AtomicBool>,
}

impl Outputs {
    /// Ways for a command that is about to be started.
    pub(super) fn new(raw: bool) -> io::Result<Self> {
        let way = |terminal: bool| {
            if raw || terminal {
                return Ok(Way::Same);
            }
            let (reader, writer) = io::pipe()?;
            Ok::<_, io::Error>(Way::Filtered(reader, writer))
        };
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Ok(Self { out: way(out)?, err: way(err)? })
    }

    /// What the command gets.
    pub(super) fn for_command(&self) -> io::Result<(Stdio, Stdio)> {
        Ok((self.out.for_command()?, self.err.for_command()?))
    }

    /// Filters what comes, from now on. To be called when the command has its ends.
    pub(super) fn filter(self, known: &Known, values: Values) -> io::Result<Filters> {
        let over = Arc::new(AtomicBool::new(false));
        let mut running = Vec::new();
        let mut start = |way: Way, to: BorrowedFd<'_>| {
            if let Way::Filtered(reader, writer) = way {
                // The command's is then the last one that is open.
                drop(writer);
                let mut to = File::from(to.try_clone_to_owned()?);
                let (known, over) = (known.clone(), over.clone());
                running.push(thread::spawn(move || copy(reader, &mut to, &known, values, &over)));
            }
            Ok::<_, io::Error>(())
        };
        start(self.out, io::stdout().as_fd())?;
        start(self.err, io::stderr().as_fd())?;
        Ok(Filters { running, over })
    }
}

impl Way {
    fn for_command(&self) -> io::Result<Stdio> {
        Ok(match self {
            Self::Same => Stdio::inherit(),
            Self::Filtered(_, writer) => writer.try_clone()?.into(),
        })
    }
}

impl Filters {
    /// Waits until all that the command has said is written. Gives how many values were hidden.
    pub(super) fn finish(self) -> u64 {
        self.over.store(true, Ordering::Release);
        self.running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    }
}

/// Copies until the end of the output, or until the command is gone and nothing more comes.
fn copy(
    mut from: PipeReader,
    to: &mut dyn Write,
    known: &Known,
    values: Values,
    over: &AtomicBool,
) -> u64 {
    // More fits into the pipe then; where the user may not have more, it works, too.
    let _ = rustix::pipe::fcntl_setpipe_size(&from, 4 * CHUNK);
    let mut version = known.version();
    let mut filter = Filter::new(known.patterns(), values);
    let mut buffer = vec![0; CHUNK];
    let mut gone: Option<Instant> = None;
    loop {
        let wait = if filter.holds() { HELD } else { AFTER };
        if !readable(&from, wait) {
            if filter.flush(to).is_err() {
                break;
            }
            if over.load(Ordering::Acquire)
                && gone.get_or_insert_with(Instant::now).elapsed() >= AFTER
            {
                break;
            }
            continue;
        }
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if known.version() != version {
            version = known.version();
            filter.replace(known.patterns());
        }
        let chunk = buffer.get(..length).unwrap_or_default();
        // Nobody reads the log any more: the command is told by the pipe that breaks.
        if filter.take(chunk, to).is_err() {
            return filter.hidden();
        }
    }
    drop(filter.flush(to));
    drop(to.flush());
    filter.hidden()
}

fn readable(from: &PipeReader, wait: Duration) -> bool {
    let mut asked = [PollFd::new(from, PollFlags::IN)];
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    // An error shows itself at the next read.
    poll(&mut asked, Some(&wait)).map_or(true, |ready| ready > 0)
}
