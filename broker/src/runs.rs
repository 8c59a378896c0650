//! What is made of records for people who read them: the report, the list of statements, the plot.
//!
//! A record is read in full to tell of it, which takes a second where a job did a lot. So what was made of a sealed record is
//! kept for a while, within a bound, and no more than a few records are read at a time.

mod cache;
mod diff;
mod indexing;
pub(crate) mod live;
mod reading;
mod streams;
pub(crate) mod view;

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use guard_audit::{
    export,
    report::{Listing, Report, ReportError},
};
use guard_core::{SessionId, Timestamp};
use tokio::sync::Semaphore;

use crate::{
    error::{Refusal, chain},
    log::{Log, LogError},
    record::{RecordError, Records},
};

use cache::Cache;
pub(crate) use diff::Diff;
pub(crate) use reading::blocking;

/// Records that are read at a time: each takes a thread and some memory.
const READERS: usize = 2;

/// What was made of a record.
#[derive(Debug)]
pub(crate) struct Digested {
    /// The report.
    pub(crate) report: Report,
    /// Its statements.
    pub(crate) listing: Listing,
    /// When the record was read.
    pub(crate) made_at: Timestamp,
}

/// Whether the reader may see what was written into statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Values {
    /// All of it.
    Shown,
    /// Names, but no literals.
    Hidden,
}

/// A form of others for what a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Activity and findings as OCSF events, one a line.
    Ocsf,
    /// Findings as SARIF.
    Sarif,
}

/// A record cannot be told of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// There is nothing in it that can be read.
    #[error("there is no record that can be read")]
    NoRecord,
    /// It could not be read now.
    #[error("the record cannot be read")]
    Read(#[source] io::Error),
    /// It could not be found.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is deleted.
    #[error("{0}")]
    Deleted(String),
    /// The keys of the log cannot be had.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Tells of records.
#[derive(Debug)]
pub(crate) struct Runs {
    records: Records,
    log: Log,
    cache: Cache,
    readers: Arc<Semaphore>,
    /// The live pages of this broker.
    pub(crate) streams: streams::Streams,
}

impl Runs {
    pub(crate) fn new(records: Records, log: Log) -> Self {
        Self {
            records,
            log,
            cache: Cache::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            streams: streams::Streams::default(),
        }
    }

    /// What a record says. `filed`: whether it is in the recordings; `sealed`: whether it stays as it is.
    pub(crate) async fn of(
        &self,
        session: SessionId,
        sealed: bool,
        filed: bool,
        values: Values,
    ) -> Result<Arc<Digested>, RunError> {
        // Before what is remembered of it.
        if let Some(tombstone) = self.log.tombstone(session).await? {
            return Err(RunError::Deleted(tombstone.to_string()));
        }
        if let Some(known) = self.cache.find(session, values) {
            return Ok(known);
        }
        let _reader = self.readers.acquire().await;
        // Who waited for a place may find it done.
        if let Some(known) = self.cache.find(session, values) {
            return Ok(known);
        }
        let made_at = Timestamp::now();
        let (report, listing) = self.read(session, filed).await?;
        let digested = match values {
            Values::Shown => Digested { report, listing, made_at },
            Values::Hidden => Digested {
                report: report.without_literals(),
                listing: listing.without_literals(),
                made_at,
            },
        };
        let digested = Arc::new(digested);
        if sealed {
            self.cache.keep(session, values, digested.clone());
        }
        Ok(digested)
    }

    /// A record in a form of others, as it comes.
    pub(crate) async fn export(
        &self,
        session: SessionId,
        filed: bool,
        form: Form,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RunError> {
        let pieces = self.records.read(session, filed).await?;
        let place = self.readers.clone().acquire_owned().await;
        let place = place.map_err(|error| RunError::Read(io::Error::other(error)))?;
        Ok(reading::written(pieces, place, move |record, out| match form {
            Form::Ocsf => export::write_ocsf(record, out),
            Form::Sarif => export::write_sarif(record, None, out),
        }))
    }

    async fn read(&self, session: SessionId, filed: bool) -> Result<(Report, Listing), RunError> {
        let pieces = self.records.read_so_far(session, filed).await?;
        let keys = self.log.keys().await?;
        let made = reading::blocking(pieces, move |record| Report::with_listing(record, &keys));
        match made.await.map_err(RunError::Read)? {
            Ok(made) => Ok(made),
            Err(ReportError::NoRecord(_)) => Err(RunError::NoRecord),
            Err(ReportError::Read(error)) => Err(RunError::Read(error)),
        }
    }
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        match error {
            RunError::NoRecord => Self::NoSession,
            RunError::Deleted(message) => Self::Deleted(message),
            RunError::Read(_) | RunError::Record(_) | RunError::Log(_) => {
                Self::Internal(chain(&error))
            }
        }
    }
}
