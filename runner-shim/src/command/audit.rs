//! `guard audit`: what is made of records, offline.

mod attestation;
mod broker;
mod checkpoint;
mod export;
pub(crate) mod folder;
mod list;
mod replay;
mod report;
mod search;
mod verify;

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use guard_audit::{Plain, PublicKey, report::printable};

/// A key file is no longer, in bytes.
const MAX_KEY_FILE: u64 = 4096;

/// The record is whole, or what was asked for was done.
const WHOLE: u8 = 0;
/// The record is broken.
const BROKEN: u8 = 1;
/// It could not be done: wrong arguments, or a file that cannot be read or written.
const UNUSABLE: u8 = 2;
/// The record's chain holds, but it is not sealed.
const NOT_SEALED: u8 = 3;

/// Arguments of `guard audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  guard audit verify record.jsonl --key seal.pub
  guard audit report record.jsonl --key seal.pub --out report.html
  guard audit list recordings/")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a report of a record
    Report(report::Args),
    /// Check that no byte of a record was changed, and that it is in the broker's log
    Verify(verify::Args),
    /// Keep the newest checkpoint of the broker's log, which must hold all of the former one
    Checkpoint(checkpoint::Args),
    /// Show a session in its order, with its pauses
    Replay(replay::Args),
    /// List the records in a folder
    List(list::Args),
    /// Find the runs that touched a table, or sent a statement
    Search(search::Args),
    /// Write a record in a form that other systems read
    Export(export::Args),
}

/// What keeps a command from being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("cannot read `{path}`: {source}")]
    Read { path: String, source: io::Error },
    #[error("cannot write `{path}`: {source}")]
    Write { path: String, source: io::Error },
    #[error("`{given}` is neither a key nor a file with one: {source}")]
    Key { given: String, source: guard_audit::KeyError },
    #[error("cannot make a report of `{path}`: {source}")]
    Report { path: String, source: guard_audit::report::ReportError },
    #[error("`{url}`: {why}")]
    Broker { url: String, why: String },
    #[error(
        "a checkpoint says nothing of a record without the proof of its place in the log: `{path}` is missing; give --proof"
    )]
    NoProof { path: String },
    #[error(
        "the trees of {from} and {to} leaves have to be compared: give --broker URL, or --consistency FILE with what the broker answers to `/v1/log/consistency?from={from}&to={to}`"
    )]
    NoConsistency { from: u64, to: u64 },
    #[error("{0}")]
    Arguments(&'static str),
    #[error("cannot render the report: {0}")]
    Render(String),
}

/// Runs the command.
pub(crate) fn main(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Report(args) => report::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::Checkpoint(args) => checkpoint::main(&args),
        Command::Replay(args) => replay::main(&args),
        Command::List(args) => list::main(&args),
        Command::Search(args) => search::main(&args),
        Command::Export(args) => export::main(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "guard: {}", printable(&error.to_string()));
            ExitCode::from(UNUSABLE)
        }
    }
}

/// A public key as a person gives it: its base64, or the name of a file that holds that or PEM.
fn key(given: &str) -> Result<PublicKey, Unusable> {
    let as_text = given.parse::<PublicKey>();
    if let Ok(key) = as_text {
        return Ok(key);
    }
    let file = match File::open(given) {
        Ok(file) => file,
        Err(_) => {
            return as_text.map_err(|source| Unusable::Key { given: given.to_owned(), source });
        }
    };
    let mut text = String::new();
    file.take(MAX_KEY_FILE)
        .read_to_string(&mut text)
        .map_err(|source| Unusable::Read { path: given.to_owned(), source })?;
    text.parse().map_err(|source| Unusable::Key { given: given.to_owned(), source })
}

fn keys(given: &[String]) -> Result<Vec<PublicKey>, Unusable> {
    given.iter().map(|given| key(given)).collect()
}

/// A record, compressed or not.
pub(super) fn open(path: &Path) -> Result<Plain<BufReader<File>>, Unusable> {
    let failed = |source| Unusable::Read { path: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    Plain::of(BufReader::with_capacity(1 << 16, file)).map_err(failed)
}

/// A text of at most so many bytes. `None` if it is longer, or no text.
pub(super) fn read_text(path: &Path, max: usize) -> Result<Option<String>, Unusable> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .map_err(|source| Unusable::Read { path: path.display().to_string(), source })?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| Unusable::Read { path: path.display().to_string(), source })?;
    Ok(if bytes.len() > max { None } else { String::from_utf8(bytes).ok() })
}

/// Writes to a file, or to standard output. A reader that has seen enough is no error.
fn write(out: Option<&PathBuf>, text: &str) -> Result<(), Unusable> {
    let (path, written) = match out {
        Some(path) => (path.display().to_string(), std::fs::write(path, text)),
        None => {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            ("standard output".to_owned(), written)
        }
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| Unusable::Write { path, source }),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Unusable> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Unusable::Render(error.to_string()))
}

#[cfg(test)]
mod tests;
