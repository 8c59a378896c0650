//! The end of a run: the session ended, its record sealed and fetched, its report written.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use guard_audit::{
    PublicKey,
    export::ATTESTATION_FILE,
    report::{WriteError, Written, write_report},
};
use guard_core::control::EndSession;
use guard_engine::{control::ControlError, exchange::Session};

use super::watch::Refusals;
use crate::{
    command::lock::{Learning, LockError},
    words::say,
};

/// GitHub shows what is written to this file on the job's page.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// The proof beside the record.
const PROOF: &str = "record.proof";

/// What a run leaves behind is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FinishError {
    #[error("the session could not be ended: the broker ends it and seals its record by itself")]
    End(#[source] ControlError),
    #[error("the record could not be fetched; the broker has it")]
    Fetch(#[source] ControlError),
    #[error(transparent)]
    Report(#[from] WriteError),
    #[error(transparent)]
    Learn(#[from] LockError),
    #[error("the job's summary `{path}` cannot be written", path = .0.display())]
    Summary(PathBuf, #[source] io::Error),
}

/// Ends the session and writes its report.
pub(super) async fn finish(
    reports: &Path,
    session: &Session,
    exit_code: u8,
    refusals: &mut Refusals,
) -> Result<Written, FinishError> {
    // Refusals that came in since the last question; without them the end is the same.
    drop(refusals.ask(session, Duration::ZERO).await);
    match session.client.end(&EndSession { exit_code: i32::from(exit_code) }).await {
        Ok(ended) => {
            for (lease, reason) in &ended.unreleased {
                say(&format!("the lease {lease} could not be given back: {reason}"));
            }
        }
        // Over already: its record is sealed, or will be in a moment.
        Err(error) if error.is_over() => {}
        Err(error) => return Err(FinishError::End(error)),
    }
    let record = session.client.record().await.map_err(FinishError::Fetch)?;
    let folder = reports.join(session.info.id.to_string());
    let written =
        write_report(&record, &folder, &keys(session).await, session.client.broker().as_str())?;
    keep_proof(session, &folder.join(PROOF)).await?;
    attestation(session, &folder).await;
    Ok(written)
}

/// Adds the report to the job's page, where there is one, and says the last lines of a run.
pub(super) fn publish(written: &Written) -> Result<(), FinishError> {
    summarize(&written.markdown)?;
    last_lines(written).iter().for_each(|line| say(line));
    Ok(())
}

/// Adds what the run did to the lock that was asked for.
pub(super) fn learn(learning: Option<Learning>, written: &Written) -> Result<(), FinishError> {
    for line in learning.map_or_else(|| Ok(Vec::new()), |lock| lock.add(&written.record))? {
        say(&line);
    }
    Ok(())
}

/// Adds Markdown to the job's page, where there is one.
pub(super) fn summarize(markdown: &str) -> Result<(), FinishError> {
    match env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty()) {
        Some(summary) => append(Path::new(&summary), markdown),
        None => Ok(()),
    }
}

/// Leaves the proof that the record's seal is in the log beside the record. A broker without a log has none, and who
/// wants it later can ask the broker for it.
async fn keep_proof(session: &Session, path: &Path) -> Result<(), FinishError> {
    match session.client.log_proof(session.info.id).await {
        Ok(proof) => fs::write(path, proof).map_err(|source| {
            FinishError::Report(WriteError::File { path: path.display().to_string(), source })
        }),
        Err(error) => {
            tracing::debug!(%error, "there is no proof of the record's place in the log");
            Ok(())
        }
    }
}

/// Puts the broker's signed statement beside the record, which is the evidence with or without it.
async fn attestation(session: &Session, folder: &Path) {
    let path = folder.join(ATTESTATION_FILE);
    let written = match session.client.attestation().await {
        Ok(line) => fs::write(&path, line).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = written {
        say(&format!("there is no attestation beside the report: {why}"));
    }
}

/// The keys that the broker says it seals with. A report that nobody could check says so itself.
async fn keys(session: &Session) -> Vec<PublicKey> {
    match session.client.sealing_keys().await {
        Ok(keys) => keys,
        Err(error) => {
            tracing::debug!(%error, "the broker does not say by which key it seals");
            Vec::new()
        }
    }
}

/// Adds the report to the page of the job, which other steps write to as well.
fn append(path: &Path, markdown: &str) -> Result<(), FinishError> {
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(markdown.as_bytes()))
        .map_err(|error| FinishError::Summary(path.to_owned(), error))
}

/// The last lines of a run: what happened, what the evidence does not reach, where the report is.
pub(super) fn last_lines(written: &Written) -> Vec<String> {
    let counts = &written.counts;
    let mut lines = vec![format!(
        "{} {} executed, {} refused, {} {} masked; the report is {}",
        counts.statements,
        plural(counts.statements, "statement"),
        counts.refused,
        counts.masked,
        plural(counts.masked, "value"),
        written.html.display()
    )];
    if counts.over_budget > 0 {
        let statements = plural(counts.over_budget, "statement");
        lines.push(format!("{} {statements} went over a budget", counts.over_budget));
    }
    if written.observes {
        let statements = plural(counts.would_refuse, "statement");
        lines.push(format!(
            "only OBSERVED: {} {statements} went on that would be refused with `mode: enforce`",
            counts.would_refuse
        ));
    }
    lines.extend(written.gaps.iter().map(|gap| format!("  {gap}")));
    lines
}

pub(super) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}
