//! `guard audit list`.

use std::{fmt::Write as _, path::PathBuf};

use guard_audit::report::{Counts, Report, Whole};
use guard_core::{EndReason, SessionId, Timestamp};
use serde::Serialize;

use super::{Unusable, WHOLE, folder, json, keys, open, printable, write};

const AFTER_HELP: &str = "\
Examples:
  guard audit list recordings/
  guard audit list recordings/ --repo acme/shop --since 30d --blocked
  guard audit list recordings/ --key seal.pub --json | jq '.[] | select(.counts.refused > 0)'

Every record is read to its end. Exit codes: 0, or 2 if the folder cannot be read.";

/// Arguments of `guard audit list`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A folder with records (`*.jsonl`, `*.jsonl.zst`), which may be in folders of their own
    folder: PathBuf,
    #[command(flatten)]
    runs: folder::Runs,
    /// Only runs in which something was refused
    #[arg(long)]
    blocked: bool,
    /// Only runs in which something was masked
    #[arg(long)]
    masked: bool,
    /// The broker's public key: base64, or a file with it or its PEM; repeat it for older keys
    #[arg(long, value_name = "FILE|BASE64")]
    key: Vec<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// One record.
#[derive(Serialize)]
struct Row {
    file: String,
    session: SessionId,
    repository: String,
    job: String,
    run: String,
    trust_rule: String,
    resources: Vec<String>,
    opened_at: Timestamp,
    ended_at: Option<Timestamp>,
    reason: Option<EndReason>,
    exit_code: Option<i32>,
    integrity: Whole,
    counts: Counts,
}

/// A file that is no record, or cannot be read.
#[derive(Serialize)]
struct Problem {
    file: String,
    problem: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Record(Box<Row>),
    Problem(Problem),
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let keys = keys(&args.key)?;
    let files = folder::records(&args.folder)?;
    let mut listed = Vec::new();
    for path in &files {
        let file = path.strip_prefix(&args.folder).unwrap_or(path).display().to_string();
        let report = open(path).and_then(|record| {
            let path = path.display().to_string();
            Report::from_record(record, &keys).map_err(|source| Unusable::Report { path, source })
        });
        if report.as_ref().is_ok_and(|report| !args.means(report)) {
            continue;
        }
        listed.push(match report {
            Ok(report) => Listed::Record(Box::new(Row {
                file,
                session: report.session,
                repository: report.run.repository,
                job: report.run.run.job,
                run: report.run.run.run_id,
                trust_rule: report.trust.rule,
                resources: report.grants.iter().map(|g| g.resource.to_string()).collect(),
                opened_at: report.window.opened_at,
                ended_at: report.window.ended_at,
                reason: report.window.reason,
                exit_code: report.window.exit_code,
                integrity: report.integrity.whole,
                counts: report.counts,
            })),
            Err(error) => Listed::Problem(Problem { file, problem: error.to_string() }),
        });
    }
    write(None, &if args.json { json(&listed)? } else { table(&listed) })?;
    Ok(WHOLE)
}

impl Args {
    /// Whether a run is meant.
    fn means(&self, report: &Report) -> bool {
        let resources = report.grants.iter().map(|grant| grant.resource.as_str());
        let repository = (report.run.repository.as_str(), report.run.run.repository_id.as_str());
        self.runs.fits(repository, report.window.opened_at, &report.trust.rule, resources)
            && (!self.blocked || report.counts.refused > 0)
            && (!self.masked || report.counts.masked > 0)
    }
}

/// A line a record; columns are as wide as they have to be.
fn table(listed: &[Listed]) -> String {
    const NAMES: [&str; 9] =
        ["OPENED", "ENDED", "RUN", "END", "STATEMENTS", "REFUSED", "MASKED", "RECORD", "FILE"];
    let mut lines = vec![NAMES.map(str::to_owned)];
    let mut text = String::new();
    let mut problems = String::new();
    for row in listed {
        match row {
            Listed::Record(row) => lines.push(row.cells()),
            // Writing to a string cannot fail.
            Listed::Problem(Problem { problem, .. }) => {
                let _ = writeln!(problems, "{}", printable(problem));
            }
        }
    }
    let widths = lines.iter().fold([0; 9], |mut widths, line| {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
        widths
    });
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text + &problems
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let integrity = match self.integrity {
            Whole::Verified => "verified",
            Whole::Unchecked => "sealed",
            Whole::Unsealed => "not sealed",
            Whole::Broken => "BROKEN",
        };
        let end = match (self.reason, self.exit_code) {
            (None, _) => "-".to_owned(),
            (Some(reason), None) => reason.as_str().to_owned(),
            (Some(reason), Some(code)) => format!("{} ({code})", reason.as_str()),
        };
        [
            time(self.opened_at),
            self.ended_at.map_or_else(|| "-".to_owned(), time),
            printable(&format!("{} {} {}", self.repository, self.job, self.run)),
            end,
            self.counts.statements.to_string(),
            self.counts.refused.to_string(),
            self.counts.masked.to_string(),
            integrity.to_owned(),
            printable(&self.file),
        ]
    }
}
