//! `guard audit search`: which runs touched a table, and what they did with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use guard_audit::{
    ReadError, RecordReader, StatementPhase,
    report::{duration, grouped},
    story::{Moment, Story, ToldOperation, ToldStatement, What},
};
use guard_core::{Digest, SessionId, Timestamp};
use serde::Serialize;

use super::{Unusable, WHOLE, folder, json, open, printable, write};
use crate::command::paint::Paint;

/// Characters of a statement that a line shows.
const MAX_SHOWN: usize = 160;
/// Operations of a run that are listed.
const MAX_LISTED: usize = 1_000;

const AFTER_HELP: &str = "\
Examples:
  guard audit search public.users recordings/ --since 30d
  guard audit search --text 'DELETE FROM' recordings/ --repo acme/shop
  guard audit search --fingerprint 3fa4… recordings/ --json

A name without a schema means that name in every schema; views count with the tables behind them, since a
statement's effects name both. Every record is read to its end; seals are not checked.
Exit codes: 0, or 2 if the folder cannot be read.";

/// Arguments of `guard audit search`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, group(clap::ArgGroup::new("what").required(true).multiple(true).args(["table", "text", "fingerprint"])))]
pub(crate) struct Args {
    /// A table or another object: `schema.name`, or `name` in any schema; then the folder
    #[arg(value_name = "TABLE")]
    table: Option<String>,
    /// A folder with records, which may be in folders of their own
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Part of a statement's text, whatever its case
    #[arg(long)]
    text: Option<String>,
    /// The fingerprint of a statement, or its beginning
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    #[command(flatten)]
    runs: folder::Runs,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// What is looked for.
enum Wanted {
    Object(String),
    Text(String),
    Fingerprint(String),
}

/// What a run did.
#[derive(Serialize)]
struct Found {
    file: String,
    session: SessionId,
    repository: String,
    job: String,
    run: String,
    opened_at: Timestamp,
    operations: Vec<Touched>,
    /// Why the record could not be read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Statements that differ in literals only.
#[derive(Serialize)]
struct Touched {
    effects: BTreeSet<String>,
    text: String,
    fingerprint: Digest,
    rule: String,
    executed: u64,
    refused: u64,
    rows: u64,
    masked: u64,
    micros: u64,
    first_at: Timestamp,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let (wanted, place) = wanted(args)?;
    let (mut found, mut text) = (Vec::new(), String::new());
    let paint = Paint::for_stdout();
    for path in folder::records(&place)? {
        let file = path.strip_prefix(&place).unwrap_or(&path).display().to_string();
        match search(&wanted, &args.runs, open(&path)?) {
            Ok(None) => {}
            Ok(Some(run)) => {
                let run = Found { file, ..run };
                text.push_str(&run.shown(paint));
                found.push(run);
            }
            Err(error) => text.push_str(&printable(&format!("{file}: {error}"))),
        }
    }
    if args.json {
        return write(None, &json(&found)?).map(|()| WHOLE);
    }
    if found.is_empty() {
        text.push_str("found nothing\n");
    }
    write(None, &text).map(|()| WHOLE)
}

/// What is looked for, and where: with `--text` and `--fingerprint` the one argument is the folder.
fn wanted(args: &Args) -> Result<(Wanted, PathBuf), Unusable> {
    let missing = || Unusable::Arguments("say which folder to search, after what to search for");
    let first = args.table.as_ref().map(PathBuf::from);
    Ok(match (&args.text, &args.fingerprint, &args.table) {
        (Some(text), ..) => {
            let folder = first.or_else(|| args.folder.clone());
            (Wanted::Text(text.to_lowercase()), folder.ok_or_else(missing)?)
        }
        (None, Some(fingerprint), _) => {
            let folder = first.or_else(|| args.folder.clone());
            (Wanted::Fingerprint(fingerprint.to_lowercase()), folder.ok_or_else(missing)?)
        }
        (None, None, Some(table)) => {
            (Wanted::Object(table.clone()), args.folder.clone().ok_or_else(missing)?)
        }
        (None, None, None) => return Err(missing()),
    })
}

fn search(
    wanted: &Wanted,
    runs: &folder::Runs,
    record: impl std::io::BufRead,
) -> Result<Option<Found>, ReadError> {
    let mut reader = RecordReader::new(record);
    let mut story = Story::default();
    let mut touched: BTreeMap<(Digest, String), Touched> = BTreeMap::new();
    let mut problem = None;
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            // What stands before the break is told.
            Err(error) if story.opening().is_some() => {
                problem = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        };
        let Moment { at, what, .. } = story.take(entry);
        match what {
            What::Opened(opening) => {
                if !runs.fit(&opening) {
                    return Ok(None);
                }
            }
            What::Sent(statement) => {
                if let Some(touched) = note(&mut touched, wanted, &statement, at)
                    && statement.phase == Some(StatementPhase::Execute)
                {
                    touched.executed += 1;
                }
            }
            What::Refused(statement, _) => {
                if let Some(touched) = note(&mut touched, wanted, &statement, at) {
                    touched.refused += 1;
                }
            }
            What::Finished(statement, outcome) => {
                if let Some(touched) = note(&mut touched, wanted, &statement, at) {
                    touched.rows = touched.rows.saturating_add(outcome.rows);
                    touched.masked = touched.masked.saturating_add(outcome.masked);
                    touched.micros = touched.micros.saturating_add(outcome.micros);
                }
            }
            What::Connected(_)
            | What::Disconnected(..)
            | What::Described(_)
            | What::Rows(..)
            | What::Other(_)
            | What::Orphan => {}
        }
    }
    let Some(opening) = story.opening().filter(|_| !touched.is_empty()) else { return Ok(None) };
    let mut operations: Vec<_> = touched.into_values().collect();
    operations.sort_by_key(|touched| touched.first_at);
    operations.truncate(MAX_LISTED);
    Ok(Some(Found {
        file: String::new(),
        session: opening.session,
        repository: opening.identity.repository.clone(),
        job: opening.identity.run.job.clone(),
        run: opening.identity.run.run_id.clone(),
        opened_at: opening.at,
        operations,
        problem,
    }))
}

fn note<'a>(
    all: &'a mut BTreeMap<(Digest, String), Touched>,
    wanted: &Wanted,
    statement: &ToldStatement,
    at: Timestamp,
) -> Option<&'a mut Touched> {
    let operation = &statement.operation;
    let fits = match wanted {
        Wanted::Object(name) => operation.effects.iter().any(|effect| {
            effect.object.name.as_ref().is_some_and(|known| {
                known.to_string() == *name || (!name.contains('.') && *known.name == **name)
            })
        }),
        Wanted::Text(part) => statement.text().to_lowercase().contains(part),
        Wanted::Fingerprint(hex) => operation.fingerprint.to_string().starts_with(hex),
    };
    let touched = || Touched {
        effects: effects(wanted, operation),
        text: statement.text().to_string(),
        fingerprint: operation.fingerprint,
        rule: operation.rule.to_string(),
        executed: 0,
        refused: 0,
        rows: 0,
        masked: 0,
        micros: 0,
        first_at: at,
    };
    let key = (operation.fingerprint, operation.rule.to_string());
    fits.then(|| all.entry(key).or_insert_with(touched))
}

/// What it does with what is looked for; of a text, all that it does.
fn effects(wanted: &Wanted, operation: &ToldOperation) -> BTreeSet<String> {
    let about = operation.effects.iter().filter(|effect| match wanted {
        Wanted::Object(name) => effect.object.name.as_ref().is_some_and(|known| {
            known.to_string() == *name || (!name.contains('.') && *known.name == **name)
        }),
        Wanted::Text(_) | Wanted::Fingerprint(_) => true,
    });
    about.take(50).map(ToString::to_string).collect()
}

impl Found {
    fn shown(&self, paint: Paint) -> String {
        let at = self.opened_at.strftime("%Y-%m-%d %H:%M:%S");
        let head = format!("{} {} {}, {}", self.repository, self.job, self.run, self.file);
        let mut text = format!("{at}  {}\n", printable(&head));
        for touched in &self.operations {
            let effects: Vec<_> = touched.effects.iter().map(String::as_str).collect();
            let mut counts = Vec::new();
            if touched.executed > 0 {
                counts.push(format!(
                    "{} times, {} rows in {}",
                    grouped(touched.executed),
                    grouped(touched.rows),
                    duration(touched.micros)
                ));
            }
            if touched.masked > 0 {
                counts.push(format!("{} values masked", grouped(touched.masked)));
            }
            if touched.refused > 0 {
                counts.push(paint.bad(&format!("{} refused", grouped(touched.refused))));
            }
            let sql: String = touched.text.chars().take(MAX_SHOWN).collect();
            text.push_str(&format!(
                "  {}: {} by rule `{}`\n    {}\n",
                printable(&effects.join(", ")),
                counts.join(", "),
                touched.rule,
                paint.faint(&printable(&sql)),
            ));
        }
        if let Some(problem) = &self.problem {
            text.push_str(&format!("  {}\n", paint.bad(&printable(problem))));
        }
        text
    }
}
