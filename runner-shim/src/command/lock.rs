//! `guard lock`: what a job did, as a file that people look at, and what is new since.

mod diff;
mod learn;
mod write;

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use guard_audit::report::printable;
use guard_core::document::{MAX_DOCUMENT, Problems};
use guard_policy::LockFile;

use self::learn::Learned;
use super::audit;

/// The same, or done.
const SAME: u8 = 0;
/// Something is not as in the lock.
const DIFFERS: u8 = 1;
/// It could not be done.
const UNUSABLE: u8 = 2;

/// Arguments of `guard lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard lock learn guard-report/*/record.jsonl --out nightly-backup.lock.yaml
  guard lock diff nightly-backup.lock.yaml guard-report/*/record.jsonl")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a lock of what recorded runs did
    Learn(LearnArgs),
    /// Say what runs did, or another lock has, that a lock does not, and the other way round
    Diff(DiffArgs),
}

/// Arguments of `guard lock learn`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A lock holds no literals and no values. What was not understood in full, or cannot be written without its literals, is left out
and told. Records are read as they are; `guard audit verify` checks them.

Exit codes: 0 · 2 a file cannot be used")]
struct LearnArgs {
    /// Records (`*.jsonl`, `*.jsonl.zst`)
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Where the lock goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Unite it with the lock that is there
    #[arg(long)]
    merge: bool,
}

/// Arguments of `guard lock diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the same · 1 something is new, gone, or out of its rows · 2 a file cannot be used")]
struct DiffArgs {
    /// The lock
    #[arg(value_name = "FILE")]
    lock: PathBuf,
    /// Records, or one other lock (`*.yaml`, `*.lock`)
    #[arg(required = true, value_name = "RECORD|FILE2")]
    others: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Whether a lock is made of what a session's commands do.
#[derive(Debug, clap::Args)]
pub(crate) struct Learn {
    /// Write what was done into a lock, or unite it with what is there, to be looked at and given to a policy
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "guard.lock")]
    learn: Option<PathBuf>,
}

impl Learn {
    pub(crate) fn is_asked(&self) -> bool {
        self.learn.is_some()
    }

    /// Reads the lock that is there, if there is one: nothing is run for one that cannot be used.
    pub(crate) fn begin(&self) -> Result<Option<Learning>, LockError> {
        let Some(path) = self.learn.clone() else { return Ok(None) };
        let known = match fs::symlink_metadata(&path) {
            Ok(_) => Some(read(&path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(unreadable(&path, source)),
        };
        Ok(Some(Learning { path, known }))
    }
}

/// A lock to which a session's record is added when it is over.
#[derive(Debug)]
pub(crate) struct Learning {
    path: PathBuf,
    known: Option<LockFile>,
}

impl Learning {
    /// Adds what a record tells. Gives lines for people.
    pub(crate) fn add(self, record: &Path) -> Result<Vec<String>, LockError> {
        let mut learned = from_records(&[record])?;
        if let Some(known) = self.known {
            learned.unite(known);
        }
        store(&self.path, &learned)
    }
}

/// What keeps a lock from being made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error(transparent)]
    Record(#[from] audit::Unusable),
    #[error("`{file}` cannot be learned from: {why}")]
    Learn { file: String, why: String },
    #[error("cannot read `{path}`: {source}")]
    Read { path: String, source: io::Error },
    #[error("`{0}` is no text, or longer than {MAX_DOCUMENT} bytes, which no lock is")]
    TooLong(String),
    #[error("`{0}` is no ordinary file, and no link is followed: name the lock itself")]
    NoFile(String),
    #[error("cannot write `{path}`: {source}")]
    Write { path: String, source: io::Error },
    #[error("cannot use a lock with problems:\n{0}")]
    Problems(Problems),
    #[error("the lock cannot be written: {0}")]
    Render(String),
}

/// Runs the command.
pub(crate) fn main(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Learn(args) => learned(&args),
        Command::Diff(args) => differs(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text: Vec<_> = error.to_string().lines().map(printable).collect();
            // Nobody may be listening any more; the exit code says it, too.
            let _ = writeln!(io::stderr(), "guard: {}", text.join("\n"));
            ExitCode::from(UNUSABLE)
        }
    }
}

fn learned(args: &LearnArgs) -> Result<u8, LockError> {
    let mut learned = from_records(&args.records)?;
    if args.merge {
        learned.unite(read(&args.out)?);
    }
    for line in store(&args.out, &learned)? {
        let _ = writeln!(io::stderr(), "guard: {}", printable(&line));
    }
    Ok(SAME)
}

fn from_records(paths: &[impl AsRef<Path>]) -> Result<Learned, LockError> {
    let mut learned = Learned::default();
    for path in paths {
        let path = path.as_ref();
        learned.record(&path.display().to_string(), audit::open(path)?)?;
    }
    Ok(learned)
}

fn store(path: &Path, learned: &Learned) -> Result<Vec<String>, LockError> {
    let text = write::to_yaml(&learned.lock)?;
    replace(path, &text)
        .map_err(|source| LockError::Write { path: path.display().to_string(), source })?;
    let stand = match (learned.lock.statements(), learned.lock.requests()) {
        (1, 0) => "1 statement stands".to_owned(),
        (many, 0) => format!("{many} different statements stand"),
        (0, 1) => "1 request stands".to_owned(),
        (0, many) => format!("{many} different requests stand"),
        (statements, requests) => format!("{statements} statements and {requests} requests stand"),
    };
    let mut lines = vec![format!(
        "{stand} in `{}`: look at it, and give it to the policy as its lock",
        path.display()
    )];
    lines.extend(learned.left_out.iter().map(|why| format!("  not in it: {why}")));
    Ok(lines)
}

fn differs(args: &DiffArgs) -> Result<u8, LockError> {
    let old = read(&args.lock)?;
    let new = match args.others.as_slice() {
        [other] if is_lock(other) => Learned { lock: read(other)?, ..Learned::default() },
        records => from_records(records)?,
    };
    let diff = diff::Diff::between(&old, &new);
    let text = if args.json { format!("{:#}\n", diff.to_json()) } else { diff.to_text() };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            return Err(LockError::Write { path: "standard output".into(), source });
        }
        Ok(()) | Err(_) => {}
    }
    Ok(if diff.is_empty() { SAME } else { DIFFERS })
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "lock")
}

fn unreadable(path: &Path, source: io::Error) -> LockError {
    LockError::Read { path: path.display().to_string(), source }
}

/// Puts a file in the place of what is there. A command that was kept from other files could have left a link there: it is
/// replaced and not followed.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// A lock in a file, with all its checks.
fn read(path: &Path) -> Result<LockFile, LockError> {
    let found = fs::symlink_metadata(path).map_err(|source| unreadable(path, source))?;
    if !found.is_file() {
        return Err(LockError::NoFile(path.display().to_string()));
    }
    let text = audit::read_text(path, MAX_DOCUMENT)?
        .ok_or_else(|| LockError::TooLong(path.display().to_string()))?;
    let check = guard_sql::fingerprints;
    LockFile::parse(&path.display().to_string(), &text, Some(check)).map_err(LockError::Problems)
}
