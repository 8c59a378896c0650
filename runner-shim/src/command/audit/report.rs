//! `guard audit report`.

use std::path::PathBuf;

use clap::ValueEnum;
use guard_audit::report::Report;

use super::{Unusable, WHOLE, keys, open, write};

const AFTER_HELP: &str = "\
Examples:
  guard audit report record.jsonl --key seal.pub --out report.html
  guard audit report record.jsonl --format md >> \"$GITHUB_STEP_SUMMARY\"
  guard audit report record.jsonl --format json | jq .counts
  guard audit report record.jsonl --format junit --out refused.xml

A report is made of any record, also of one that is not sealed or broken; it says so at the top. Without
--key the seal is not checked, and the report says that too. Exit codes: 0, or 2 if no report can be made.";

/// Arguments of `guard audit report`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The record (`*.jsonl`, `*.jsonl.zst`)
    record: PathBuf,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    /// The broker's public key: base64, or a file with it or its PEM; repeat it for older keys
    #[arg(long, value_name = "FILE|BASE64")]
    key: Vec<String>,
    /// Write here instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The broker that `gitlab-annotations` links to
    #[arg(
        long,
        env = "GUARD_BROKER_URL",
        value_name = "URL",
        required_if_eq("format", "gitlab-annotations")
    )]
    broker: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One page for people
    Html,
    /// For a job's summary
    Md,
    /// For programs, by schemas/report.schema.json
    Json,
    /// Each refused statement as a test that failed, for the pages of CI platforms
    Junit,
    /// A link for the page of a GitLab job, to the run at --broker
    GitlabAnnotations,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> Result<u8, Unusable> {
    let keys = keys(&args.key)?;
    let report = Report::from_record(open(&args.record)?, &keys)
        .map_err(|source| Unusable::Report { path: args.record.display().to_string(), source })?;
    let text = match args.format {
        Format::Html => report.to_html().map_err(|error| Unusable::Render(error.to_string()))?,
        Format::Md => report.to_markdown(),
        Format::Junit => report.to_junit().map_err(|error| Unusable::Render(error.to_string()))?,
        Format::GitlabAnnotations => {
            report.to_gitlab_annotations(args.broker.as_deref().unwrap_or_default())
        }
        Format::Json => report.to_json().map_err(|error| Unusable::Render(error.to_string()))?,
    };
    write(args.out.as_ref(), &text)?;
    Ok(WHOLE)
}
