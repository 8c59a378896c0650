//! A record told in its order, with what each entry refers to at hand.
//!
//! Entries name operations, connections and statements by numbers that count for each writer. Whoever shows
//! or exports a record needs the things themselves; only this file knows how they are found.

use std::{collections::HashMap, io::BufRead, sync::Arc};

use guard_core::{
    ApprovalId, Certainty, DecisionKind, Denial, Digest, Effect, EnforceAt, Identity, Mask,
    ResourceName, RowRange, RuleId, Sensitive, SessionId, Step, Timestamp,
};

use crate::{
    Entry, Event, GrantRecord, MaskedColumn, Outcome, ReadError, RecordReader, Row, StatementPhase,
};

/// How a session began.
#[derive(Debug, Clone)]
pub struct Opening {
    /// When.
    pub at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// The run, with its claims.
    pub identity: Identity,
    /// The trust rule that matched.
    pub trust_rule: String,
    /// SHA-256 over the trust rules' YAML.
    pub trust_digest: Digest,
    /// What was granted.
    pub grants: Vec<GrantRecord>,
    /// When the session ends by itself.
    pub until: Timestamp,
    /// The broker's version.
    pub broker_version: String,
}

/// An operation with its ruling.
#[derive(Debug, Clone)]
pub struct ToldOperation {
    /// The resource.
    pub resource: ResourceName,
    /// What the protocol calls it.
    pub label: Arc<str>,
    /// Its text.
    pub text: Sensitive<Arc<str>>,
    /// Equal for operations that differ in literals only.
    pub fingerprint: Digest,
    /// What it would do.
    pub effects: Vec<Effect>,
    /// How sure guard was.
    pub certainty: Certainty,
    /// What the policy decided.
    pub decision: DecisionKind,
    /// By which rule.
    pub rule: RuleId,
    /// Why.
    pub trace: Vec<Step>,
    /// Masks of its output columns.
    pub masks: Vec<Option<Mask>>,
    /// The base columns that these hide.
    pub masked_columns: Vec<MaskedColumn>,
    /// A digest over what a lock compares besides.
    pub details: Option<Digest>,
    /// The lock of its policy did not list it.
    pub unlisted: bool,
    /// How many rows the lock expected of it.
    pub rows_learned: Option<RowRange>,
}

/// A client's connection.
#[derive(Debug, Clone)]
pub struct ToldConnection {
    /// Its number at its writer.
    pub number: u64,
    /// The resource.
    pub resource: ResourceName,
    /// Where the data path ran.
    pub enforced_at: EnforceAt,
    /// Name of the enforcement point.
    pub point: String,
    /// What the client called itself.
    pub client: Sensitive<String>,
    /// The database.
    pub database: String,
}

/// A statement that was judged.
#[derive(Debug, Clone)]
pub struct ToldStatement {
    /// Number of the entry.
    pub seq: u64,
    /// When it was judged.
    pub at: Timestamp,
    /// The connection that it came by.
    pub connection: Option<Arc<ToldConnection>>,
    /// What it is.
    pub operation: Arc<ToldOperation>,
    /// To be made ready, or executed. `None` if it was refused.
    pub phase: Option<StatementPhase>,
    /// Why it would be refused, if the policy did not only observe.
    pub would_refuse: Option<Box<Denial>>,
    /// How many rows the server's planner expected, if a rule asked.
    pub estimated_rows: Option<u64>,
    /// Its own text, if it differs from its operation's.
    pub own_text: Option<Sensitive<Arc<str>>>,
    /// By which approval it went on, or which it was refused.
    pub approval: Option<ApprovalId>,
}

impl ToldStatement {
    /// What was sent, or would have been.
    pub fn text(&self) -> &Arc<str> {
        self.own_text.as_ref().unwrap_or(&self.operation.text).reveal()
    }
}

/// An entry, with what it refers to.
#[derive(Debug)]
pub struct Moment {
    /// Its number.
    pub seq: u64,
    /// When the broker appended it.
    pub at: Timestamp,
    /// Who reported it.
    pub writer: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened, with what it refers to.
#[derive(Debug)]
pub enum What {
    /// The session was opened.
    Opened(Arc<Opening>),
    /// A client connected.
    Connected(Arc<ToldConnection>),
    /// A client's connection is over, and why if not by its own will.
    Disconnected(Arc<ToldConnection>, Option<String>),
    /// An operation was seen for the first time.
    Described(Arc<ToldOperation>),
    /// A statement went on.
    Sent(Arc<ToldStatement>),
    /// A statement was refused.
    Refused(Arc<ToldStatement>, Denial),
    /// Rows that the client got of a statement, with the names of their columns where those are new.
    Rows(Arc<ToldStatement>, Option<Vec<String>>, Vec<Row>),
    /// What came of a statement.
    Finished(Arc<ToldStatement>, Outcome),
    /// An event that refers to nothing before it.
    Other(Event),
    /// An event that speaks of an operation, a statement or a connection that the record does not have.
    Orphan,
}

/// Tells a record.
#[derive(Debug, Default)]
pub struct Story {
    opening: Option<Arc<Opening>>,
    operations: HashMap<(Arc<str>, u64), Arc<ToldOperation>>,
    connections: HashMap<(Arc<str>, u64), Arc<ToldConnection>>,
    /// Statements that have no outcome yet.
    open: HashMap<(Arc<str>, u64), Arc<ToldStatement>>,
}

impl Story {
    /// Reads a record to its end and gives each moment. An error of `each` ends it.
    pub fn tell<E: From<ReadError>>(
        reader: &mut RecordReader<impl BufRead>,
        mut each: impl FnMut(&Self, Moment) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut story = Self::default();
        while let Some(entry) = reader.next_entry()? {
            let moment = story.take(entry);
            each(&story, moment)?;
        }
        Ok(story)
    }

    /// How the session began, once that was read.
    pub const fn opening(&self) -> Option<&Arc<Opening>> {
        self.opening.as_ref()
    }

    /// Statements that went on and have no outcome, in the order in which they were judged.
    pub fn unanswered(&self) -> Vec<Arc<ToldStatement>> {
        let mut open: Vec<_> = self.open.values().cloned().collect();
        open.sort_by_key(|statement| statement.seq);
        open
    }

    /// A statement that went on and has no outcome yet.
    pub fn running(&self, writer: &Arc<str>, statement: u64) -> Option<&Arc<ToldStatement>> {
        self.open.get(&(writer.clone(), statement))
    }

    /// A connection that lives.
    pub fn connection(&self, writer: &Arc<str>, connection: u64) -> Option<&Arc<ToldConnection>> {
        self.connections.get(&(writer.clone(), connection))
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: Entry) -> Moment {
        let Entry { seq, at, prev: _, writer, event } = entry;
        let what = self.what(seq, at, &writer, event);
        Moment { seq, at, writer, what }
    }

    fn what(&mut self, seq: u64, at: Timestamp, writer: &Arc<str>, event: Event) -> What {
        match event {
            Event::SessionOpened {
                session,
                identity,
                trust_rule,
                trust_digest,
                trust_broad: _,
                grants,
                key_thumbprint: _,
                until,
                broker_version,
            } => {
                let identity = *identity;
                let opening = Arc::new(Opening {
                    at,
                    session,
                    identity,
                    trust_rule,
                    trust_digest,
                    grants,
                    until,
                    broker_version,
                });
                self.opening = Some(opening.clone());
                What::Opened(opening)
            }
            Event::Connected {
                connection,
                resource,
                enforced_at,
                point,
                client,
                database,
                step: _,
            } => {
                let told = ToldConnection {
                    number: connection,
                    resource,
                    enforced_at,
                    point,
                    client,
                    database,
                };
                let told = Arc::new(told);
                self.connections.insert((writer.clone(), connection), told.clone());
                What::Connected(told)
            }
            Event::Disconnected { connection, reason } => {
                match self.connections.remove(&(writer.clone(), connection)) {
                    Some(told) => What::Disconnected(told, reason),
                    None => What::Orphan,
                }
            }
            Event::Operation {
                operation,
                resource,
                label,
                text,
                fingerprint,
                effects,
                certainty,
                decision,
                rule,
                trace,
                masks,
                masked_columns,
                details,
                unlisted,
                rows_learned,
            } => {
                let told = Arc::new(ToldOperation {
                    resource,
                    label,
                    text,
                    fingerprint,
                    effects,
                    certainty,
                    decision,
                    rule,
                    trace,
                    masks,
                    masked_columns,
                    details,
                    unlisted,
                    rows_learned,
                });
                self.operations.insert((writer.clone(), operation), told.clone());
                What::Described(told)
            }
            Event::Statement {
                statement,
                connection,
                operation,
                phase,
                would_refuse,
                estimated_rows,
                text: own_text,
                approval,
            } => {
                let Some(told) = self.judged(seq, at, writer, operation, connection) else {
                    return What::Orphan;
                };
                let phase = Some(phase);
                let told = ToldStatement {
                    phase,
                    would_refuse,
                    estimated_rows,
                    own_text,
                    approval,
                    ..told
                };
                let told = Arc::new(told);
                self.open.insert((writer.clone(), statement), told.clone());
                What::Sent(told)
            }
            Event::Refused {
                statement: _,
                connection,
                operation,
                denial,
                estimated_rows,
                text: own_text,
                approval,
            } => {
                let Some(told) = self.judged(seq, at, writer, operation, connection) else {
                    return What::Orphan;
                };
                let told = ToldStatement { estimated_rows, own_text, approval, ..told };
                What::Refused(Arc::new(told), denial)
            }
            Event::Rows { statement, columns, rows } => {
                match self.open.get(&(writer.clone(), statement)) {
                    Some(told) => {
                        let columns = columns.map(Sensitive::into_inner);
                        What::Rows(told.clone(), columns, rows.into_inner())
                    }
                    None => What::Orphan,
                }
            }
            Event::Finished { statement, outcome } => {
                match self.open.remove(&(writer.clone(), statement)) {
                    Some(told) => What::Finished(told, outcome),
                    None => What::Orphan,
                }
            }
            event @ (Event::Traffic { .. }
            | Event::AttemptRefused { .. }
            | Event::SessionRenewed { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::LeaseReleased { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::SessionEnded { .. }) => What::Other(event),
        }
    }

    /// What a statement that was judged refers to; `None` if the record does not have its operation.
    fn judged(
        &self,
        seq: u64,
        at: Timestamp,
        writer: &Arc<str>,
        operation: u64,
        connection: u64,
    ) -> Option<ToldStatement> {
        Some(ToldStatement {
            seq,
            at,
            connection: self.connection(writer, connection).cloned(),
            operation: self.operations.get(&(writer.clone(), operation))?.clone(),
            phase: None,
            would_refuse: None,
            estimated_rows: None,
            own_text: None,
            approval: None,
        })
    }
}
