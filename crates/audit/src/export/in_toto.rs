//! An in-toto statement about a run, which the broker signs:
//! <https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md>.

use std::io::{self, BufReader, Read};

use guard_core::SessionId;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::dsse::{Envelope, EnvelopeError};
use crate::{
    KeyId, PublicKey, SealingKey,
    report::{Report, ReportError},
};

/// The name of the file in a run's report folder.
pub const ATTESTATION_FILE: &str = "report.intoto.jsonl";
/// The subject that is the record.
pub const RECORD_SUBJECT: &str = "record.jsonl";
/// The subject that is the report in JSON.
pub const REPORT_SUBJECT: &str = "report.json";
/// The kind of predicate. A name, not an address.
pub const PREDICATE_TYPE: &str = "urn:guard:run-report:v1";

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A statement could not be made or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// The record is none.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// It has no JSON form.
    #[error("the statement cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// What was signed is no statement about a run.
    #[error("what was signed is no statement about a run under guard")]
    NoStatement,
    /// The statement is about another file.
    #[error("the statement is not about this `{subject}`: its digest is another")]
    Subject {
        /// The file.
        subject: &'static str,
    },
    /// The file could not be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
}

/// A statement that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The session that it is about.
    pub session: SessionId,
    /// The key that signed it.
    pub key_id: KeyId,
}

/// The statement of a record, signed by the key that is in use when it is made; which of `sealed_by` sealed the record, it says. The
/// report is made as a run's shim makes it.
pub fn attest(
    record: impl Read,
    sealed_by: &[PublicKey],
    key: &SealingKey,
) -> Result<Envelope, AttestationError> {
    let mut hashed = Hashed { file: record, hasher: Sha256::new() };
    let report = Report::from_record(BufReader::with_capacity(1 << 16, &mut hashed), sealed_by)?;
    // A reader stops where a record is broken; its file goes on.
    io::copy(&mut hashed, &mut io::sink()).map_err(AttestationError::Read)?;
    let payload = serde_json::to_vec(&statement(&hex(hashed.hasher), &report)?)?;
    Ok(Envelope::sign(PAYLOAD_TYPE, &payload, key))
}

/// Hashes what is read.
struct Hashed<R> {
    file: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.hasher.update(into.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// The statement itself: the digests of the record and of its report, and what the report comes to.
fn statement(record_sha256: &str, report: &Report) -> Result<Value, serde_json::Error> {
    let whole = report.to_json()?;
    Ok(json!({
        "_type": STATEMENT_TYPE,
        "subject": [
            { "name": RECORD_SUBJECT, "digest": { "sha256": record_sha256 } },
            { "name": REPORT_SUBJECT, "digest": { "sha256": guard_core::Digest::of(whole) } },
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "session": report.session,
            "run": report.run,
            "trust": report.trust,
            "window": report.window,
            "grants": report.grants,
            "counts": report.counts,
            "gaps": report.gaps,
            "record": {
                "whole": report.integrity.whole,
                "entries": report.integrity.entries,
                "head": report.integrity.head,
                "sealed_at": report.integrity.sealed_at,
                "key_id": report.integrity.key_id,
            },
        },
    }))
}

#[derive(Deserialize)]
struct Signed {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: String,
}

#[derive(Deserialize)]
struct Predicate {
    session: SessionId,
}

/// Checks that a statement is signed by one of the keys and is about this very file.
pub fn check_attestation(
    envelope: &Envelope,
    subject: &'static str,
    file: impl Read,
    keys: &[PublicKey],
) -> Result<Attested, AttestationError> {
    let (payload, key) = envelope.open(PAYLOAD_TYPE, keys)?;
    let signed: Signed =
        serde_json::from_slice(&payload).map_err(|_| AttestationError::NoStatement)?;
    if signed.kind != STATEMENT_TYPE || signed.predicate_type != PREDICATE_TYPE {
        return Err(AttestationError::NoStatement);
    }
    let digest = sha256(file).map_err(AttestationError::Read)?;
    // One name, one file: of two with the same name neither would say anything.
    let mut named = signed.subject.iter().filter(|known| known.name == subject);
    match (named.next(), named.next()) {
        (Some(known), None) if known.digest.sha256 == digest => {
            Ok(Attested { session: signed.predicate.session, key_id: key.id() })
        }
        (Some(_) | None, _) => Err(AttestationError::Subject { subject }),
    }
}

fn sha256(mut file: impl Read) -> io::Result<String> {
    let mut hashed = Hashed { file: &mut file, hasher: Sha256::new() };
    io::copy(&mut hashed, &mut io::sink())?;
    Ok(hex(hashed.hasher))
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
