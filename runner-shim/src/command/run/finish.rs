//! The end of a run: the session ended, its record sealed and fetched, its report written.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use guard_core::control::EndSession;
use guard_engine::{control::ControlError, exchange::Session};

use super::watch::Refusals;
use crate::words::say;

/// What a run leaves behind is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FinishError {
    #[error("the session could not be ended: the broker ends it and seals its record by itself")]
    End(#[source] ControlError),
    #[error("the record could not be fetched; the broker has it")]
    Fetch(#[source] ControlError),
    #[error("the report cannot be written to `{path}`", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// Ends the session and writes its report.
pub(super) async fn finish(
    reports: &Path,
    session: &Session,
    exit_code: u8,
    refusals: &mut Refusals,
) -> Result<(), FinishError> {
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
    let unwritten = |error| FinishError::Write(folder.clone(), error);
    fs::create_dir_all(&folder).map_err(unwritten)?;
    let path = folder.join("record.jsonl");
    fs::write(&path, &record).map_err(unwritten)?;
    say(&format!("{} refused; the record is in {}", refusals.count, path.display()));
    Ok(())
}
