//! The broker's signed statement about a record, checked offline.

use std::path::Path;

use guard_audit::{
    PublicKey,
    export::{AttestationError, Envelope, RECORD_SUBJECT, REPORT_SUBJECT, check_attestation},
};

use super::{Unusable, open, read_text};

/// A signed statement is no longer, in bytes.
const MAX_ATTESTATION: usize = 16 << 20;

/// Who signed the statement about a record that is whole; or why it does not hold.
pub(super) fn check(
    attestation: &Path,
    record: &Path,
    report: Option<&Path>,
    keys: &[PublicKey],
    session: Option<&str>,
) -> Result<Result<String, String>, Unusable> {
    let Some(text) = read_text(attestation, MAX_ATTESTATION)? else {
        return Ok(Err("it is no text, or longer than any attestation".to_owned()));
    };
    let envelope = match Envelope::from_line(&text) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let report = report.map(|report| (REPORT_SUBJECT, report));
    let mut key = String::new();
    for (subject, file) in [(RECORD_SUBJECT, record)].into_iter().chain(report) {
        // A record's digest is that of its bytes, however they are packed.
        match check_attestation(&envelope, subject, open(file)?, keys) {
            Ok(attested) if Some(attested.session.to_string().as_str()) == session => {
                key = attested.key_id.to_string();
            }
            Ok(_) => return Ok(Err("it is about another session".to_owned())),
            Err(AttestationError::Read(source)) => {
                return Err(Unusable::Read { path: file.display().to_string(), source });
            }
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Ok(key))
}
