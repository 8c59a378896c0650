//! The files that a run leaves: the record, and the report in each form.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Counts, Report, build::ReportError};
use crate::PublicKey;

/// What was written, for the last lines of a run.
#[derive(Debug, Clone)]
pub struct Written {
    /// Totals.
    pub counts: Counts,
    /// The record.
    pub record: PathBuf,
    /// The page for people.
    pub html: PathBuf,
    /// The Markdown, for a job's summary.
    pub markdown: String,
    /// What the evidence does not reach.
    pub gaps: Vec<String>,
    /// Whether a policy only observed.
    pub observes: bool,
}

/// The report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The record is none.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A rendering failed.
    #[error("the report cannot be rendered")]
    Render(#[from] askama::Error),
    /// The JSON failed.
    #[error("the report cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// A file failed.
    #[error("cannot write `{path}`")]
    File {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes `record.jsonl`, `report.html`, `report.md`, `report.json`, `report.junit.xml` and `annotations.json` into a folder,
/// which is made if need be. The last one is a link to the run's page at the broker.
pub fn write_report(
    record: &[u8],
    folder: &Path,
    keys: &[PublicKey],
    broker: &str,
) -> Result<Written, WriteError> {
    let failed =
        |path: &Path, source| WriteError::File { path: path.display().to_string(), source };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|error| failed(&path, error)).map(|()| path)
    };
    // The record first: it is the evidence, and there even if no report can be made of it.
    let own = write("record.jsonl", record)?;
    let report = Report::from_record(record, keys)?;
    write("report.json", report.to_json()?.as_bytes())?;
    let markdown = report.to_markdown();
    write("report.md", markdown.as_bytes())?;
    write("report.junit.xml", report.to_junit()?.as_bytes())?;
    write("annotations.json", report.to_gitlab_annotations(broker).as_bytes())?;
    let html = write("report.html", report.to_html()?.as_bytes())?;
    let observes = report.observes();
    Ok(Written { counts: report.counts, record: own, html, markdown, gaps: report.gaps, observes })
}

impl Report {
    /// The report as JSON, by the published schema.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}
