//! A record in the forms that other systems read: OCSF, CloudEvents, SARIF, and an in-toto statement.
//!
//! All are functions of the record, read once and in its order. They are JSON, with texts of the job as they
//! are: whoever shows them escapes them.

mod cloudevents;
mod dsse;
mod findings;
mod in_toto;
mod ocsf;
mod sarif;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Write};

use serde_json::Value;

use crate::{Broken, ReadError, RecordReader, VerifyError, story::Story};

pub use cloudevents::cloud_event;
pub use dsse::{Envelope, EnvelopeError};
pub use in_toto::{
    ATTESTATION_FILE, AttestationError, Attested, PREDICATE_TYPE, RECORD_SUBJECT, REPORT_SUBJECT,
    attest, check_attestation,
};
pub use ocsf::OCSF_VERSION;

/// A record could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The record is broken. What stands before the break was written.
    #[error("the record is broken: {0}")]
    Broken(#[from] Broken),
    /// It could not be read.
    #[error("the record cannot be read")]
    Read(#[source] io::Error),
    /// The export could not be written.
    #[error("the export cannot be written")]
    Write(#[source] io::Error),
    /// It has no JSON form.
    #[error("an entry cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broken(broken) => Self::Broken(broken),
            ReadError::Read(error) => Self::Read(error),
        }
    }
}

impl From<VerifyError> for ExportError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Broken(broken) => Self::Broken(broken),
            VerifyError::Read(error) => Self::Read(error),
            VerifyError::Unsealed(_) => Self::Read(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

/// Writes a record's activity and findings as OCSF events, one JSON object a line.
pub fn write_ocsf(record: impl BufRead, out: &mut impl Write) -> Result<(), ExportError> {
    let mut events = ocsf::Events::default();
    let mut reader = RecordReader::new(record);
    let story = Story::tell(&mut reader, |story, moment| {
        events.take(story, moment).iter().try_for_each(|event| line(out, event))
    })?;
    events.finish(&story).iter().try_for_each(|event| line(out, event))
}

/// Writes a record's entries as CloudEvents, one JSON object a line.
pub fn write_cloud_events(record: impl BufRead, out: &mut impl Write) -> Result<(), ExportError> {
    let mut reader = RecordReader::new(record);
    while let Some(entry) = reader.next_entry()? {
        // The reader has seen the opening, or it would have refused the entry.
        if let Some(session) = reader.session()
            && let Some(event) = cloud_event(session, &entry)?
        {
            line(out, &event)?;
        }
    }
    Ok(())
}

/// Writes what was refused, would be refused or was over a budget as one SARIF log. `policy` is the address of
/// the policy's file, if it is known.
pub fn write_sarif(
    record: impl BufRead,
    policy: Option<&str>,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let mut findings = findings::Findings::default();
    let mut reader = RecordReader::new(record);
    let story = Story::tell(&mut reader, |_, moment| {
        findings.take(&moment);
        Ok::<(), ExportError>(())
    })?;
    let log = sarif::log(&story, &findings.into_list(), policy);
    serde_json::to_writer_pretty(&mut *out, &log)?;
    out.write_all(b"\n").map_err(ExportError::Write)
}

fn line(out: &mut impl Write, value: &Value) -> Result<(), ExportError> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    out.write_all(&text).map_err(ExportError::Write)
}
