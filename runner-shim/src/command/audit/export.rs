//! `guard audit export`.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use clap::ValueEnum;
use guard_audit::export::{ExportError, write_cloud_events, write_ocsf, write_sarif};

use super::{BROKEN, Unusable, WHOLE, open};

const AFTER_HELP: &str = "\
Examples:
  guard audit export record.jsonl --format ocsf --out activity.jsonl
  guard audit export record.jsonl --format sarif --policy-file policies/nightly.yaml --out findings.sarif
  guard audit export record.jsonl --format cloudevents | jq .type

The seal is not checked: `guard audit verify` does that. Texts of the job are in the export as they are; escape
them where you show them. `in-toto` is signed by the broker at a run's end and lies in its report's folder.
Exit codes: 0, 1 if the record is broken (what stands before the break was written), or 2 if it cannot be done.";

/// Arguments of `guard audit export`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The record (`*.jsonl`)
    record: PathBuf,
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// Write here instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// With SARIF: the policy's file, as the repository names it; findings point at it
    #[arg(long, value_name = "PATH")]
    policy_file: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// OCSF events, one JSON object a line
    Ocsf,
    /// CloudEvents 1.0, one JSON object a line
    Cloudevents,
    /// What was refused or over a budget, as SARIF 2.1.0
    Sarif,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let record = open(&args.record)?;
    let place =
        args.out.as_ref().map_or("standard output".to_owned(), |out| out.display().to_string());
    let failed = |source| Unusable::Write { path: place.clone(), source };
    let mut out: Box<dyn io::Write> = match &args.out {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(failed)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let written = match args.format {
        Format::Ocsf => write_ocsf(record, &mut out),
        Format::Cloudevents => write_cloud_events(record, &mut out),
        Format::Sarif => write_sarif(record, args.policy_file.as_deref(), &mut out),
    };
    let written = written.and_then(|()| out.flush().map_err(ExportError::Write));
    match written {
        Ok(()) => Ok(WHOLE),
        // A reader that has seen enough is no error.
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(WHOLE),
        Err(ExportError::Write(source)) => Err(failed(source)),
        Err(ExportError::Read(source)) => {
            Err(Unusable::Read { path: args.record.display().to_string(), source })
        }
        Err(ExportError::Json(error)) => Err(Unusable::Render(error.to_string())),
        Err(ExportError::Broken(broken)) => {
            out.flush().map_err(failed)?;
            let words = format!("the record is broken: {broken}");
            let _ = writeln!(io::stderr(), "guard: {}", super::printable(&words));
            Ok(BROKEN)
        }
    }
}
