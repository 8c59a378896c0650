//! From records to a lock.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    io::BufRead,
    sync::Arc,
};

use guard_audit::{
    Event, ReadError, RecordReader, StatementPhase,
    story::{Story, ToldOperation, ToldStatement, What},
};
use guard_core::{
    Certainty, ObjectKind, RowRange,
    egress::Host,
    lock::{LockedRequest, RequestSeen, acts_by_literals, effect_words, is_housekeeping},
};
use guard_policy::{LockFile, LockedStatement};

use super::LockError;

/// What was learned, and what could not be.
#[derive(Default)]
pub(super) struct Learned {
    pub(super) lock: LockFile,
    /// Operations that no lock can list, in words without their texts.
    pub(super) left_out: BTreeSet<String>,
}

/// What an operation is to a lock; kept with it, so that its address is not used again.
type Known = HashMap<usize, (Arc<ToldOperation>, Option<Listed>)>;

enum Listed {
    Statement(LockedStatement),
    Request(LockedRequest),
}

impl Learned {
    /// Adds what a run did.
    pub(super) fn record(&mut self, file: &str, record: impl BufRead) -> Result<(), LockError> {
        let failed = |why: String| LockError::Learn { file: file.to_owned(), why };
        let mut reader = RecordReader::new(record);
        let mut known = Known::new();
        let mut told = Vec::new();
        let read = Story::tell(&mut reader, |_, moment| -> Result<(), Failure> {
            match moment.what {
                What::Sent(statement) => told.push((statement, None)),
                What::Finished(statement, outcome) => {
                    let counts =
                        statement.phase == Some(StatementPhase::Execute) && outcome.error.is_none();
                    if counts {
                        told.push((statement, Some(RowRange::once(outcome.rows))));
                    }
                }
                What::Other(Event::EgressAsked { host, port, refused: None, .. }) => {
                    if let Ok(host) = Host::new(&host) {
                        self.lock.egress.insert(format!("{host}:{port}"));
                    }
                }
                What::Opened(_)
                | What::Connected(_)
                | What::Disconnected(..)
                | What::Described(_)
                | What::Refused(..)
                | What::Rows(..)
                | What::Other(_)
                | What::Orphan => {}
            }
            for (statement, rows) in told.drain(..) {
                self.statement(&statement, rows, &mut known).map_err(Failure::Older)?;
            }
            Ok(())
        });
        match read {
            Ok(story) if story.opening().is_some() => Ok(()),
            Ok(_) => Err(failed("it is no record of a session".into())),
            Err(Failure::Older(why)) => Err(failed(why.into())),
            Err(Failure::Read(error)) => Err(failed(error.to_string())),
        }
    }

    /// Adds what another lock has, whose tolerance stays.
    pub(super) fn unite(&mut self, other: LockFile) {
        self.lock.rows_tolerance = other.rows_tolerance;
        self.lock.unite(other);
    }

    fn statement(
        &mut self,
        statement: &ToldStatement,
        rows: Option<RowRange>,
        known: &mut Known,
    ) -> Result<(), &'static str> {
        let told = &statement.operation;
        let (_, locked) = match known.entry(Arc::as_ptr(told).addr()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert((told.clone(), self.locked(told)?)),
        };
        if let Some(locked) = locked {
            let resource = self.lock.resources.entry(told.resource.clone()).or_default();
            match locked {
                Listed::Statement(locked) => {
                    resource.add(LockedStatement { rows, ..locked.clone() });
                }
                Listed::Request(locked) => {
                    resource.add_request(locked.clone());
                }
            }
        }
        Ok(())
    }

    /// An operation as a lock lists it. `None` of what none can list: said, but for housekeeping.
    fn locked(&mut self, told: &ToldOperation) -> Result<Option<Listed>, &'static str> {
        let what = format!("{} on `{}`", told.label, told.resource);
        match told.certainty {
            Certainty::Exact => {}
            Certainty::Partial(_) | Certainty::Unparsed(_) => {
                self.left_out.insert(format!("{what}, which is not understood in full"));
                return Ok(None);
            }
        }
        // Nothing else than a request is about a path of an API.
        if told.effects.iter().any(|effect| effect.object.kind == ObjectKind::Path) {
            return Ok(self.request(told, &what).map(Listed::Request));
        }
        if acts_by_literals(&told.label, &told.effects) {
            let why = "whose literals or parameters say what it does";
            self.left_out.insert(format!("{what}, {why}"));
            return Ok(None);
        }
        let Some(details) = told.details else {
            return if is_housekeeping(&told.label, &told.effects) {
                Ok(None)
            } else {
                Err("an older guard wrote it, which did not record what a lock compares")
            };
        };
        let text = told.text.reveal();
        if text.is_empty() {
            self.left_out.insert(format!("{what}, of which the record has no text to read"));
            return Ok(None);
        }
        let Some(text) = guard_sql::without_literals(text, told.fingerprint) else {
            self.left_out.insert(format!("{what}, which has a string that is no value"));
            return Ok(None);
        };
        Ok(Some(Listed::Statement(LockedStatement {
            text,
            fingerprint: told.fingerprint,
            effects: effect_words(&told.effects),
            details,
            rows: None,
        })))
    }

    fn request(&mut self, told: &ToldOperation, what: &str) -> Option<LockedRequest> {
        let text = told.text.reveal();
        let why = if text.is_empty() {
            "of which the record has no text to read".to_owned()
        } else {
            match RequestSeen::of(text, &told.effects).map(|seen| seen.to_locked()) {
                Some(Ok(locked)) => return Some(locked),
                Some(Err(why)) => format!("of which no line can be made: {why}"),
                None => "of which not all is known that it asks".to_owned(),
            }
        };
        self.left_out.insert(format!("{what}, {why}"));
        None
    }
}

/// Why a record cannot be learned from.
enum Failure {
    Read(ReadError),
    Older(&'static str),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
