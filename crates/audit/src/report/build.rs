//! From a record to a [`Report`].

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead},
    sync::Arc,
};

use guard_core::{
    Bounded, Certainty, Denial, DenialCode, Digest, Effect, EndReason, Exceeded, Identity,
    ResourceName, Sensitive, Timestamp, Verb,
};

use super::{
    Class, ConnectionReport, Counts, GrantReport, Integrity, LeaseReport, Listed, OperationReport,
    OverBudget, REPORT_FORMAT, Refusal, Report, StatementText, Trust, Whole, Window,
    manifest::manifest, promise::promises, text::beginning,
};
use crate::{
    Broken, Entry, Event, GrantRecord, Outcome, PublicKey, ReadError, RecordReader, StatementPhase,
    VerifyError,
};

/// Operations and refusals that a report lists, each. More are counted; the record has them all.
const MAX_LISTED: usize = 10_000;
/// Connections that a report lists.
const MAX_CONNECTIONS: usize = 1_000;
/// Effects that a report lists of one operation.
const MAX_EFFECTS: usize = 200;
/// Characters of a text that a report shows.
const MAX_TEXT: usize = 4_000;
/// The outcome of a statement whose answer never came to its end.
const LOST: &str = "lost";

/// A report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Not even the first entry can be read.
    #[error("this is no record of a session")]
    NoRecord(#[source] Option<Broken>),
    /// It could not be read.
    #[error("the record cannot be read")]
    Read(#[from] io::Error),
}

/// What an operation's statements are gathered by: all that differs in literals only.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    resource: ResourceName,
    fingerprint: Digest,
    effects: Vec<Effect>,
    rule: String,
    blocked: bool,
}

#[derive(Default)]
struct Gathering {
    writers: HashMap<Arc<str>, usize>,
    kinds: HashMap<Kind, usize>,
    groups: Vec<OperationReport>,
    /// Index of the group, by writer and the operation's number.
    operations: HashMap<(usize, u64), usize>,
    /// Statements that have no outcome yet, by writer and the statement's number.
    open: HashMap<(usize, u64), Open>,
    refusals: HashMap<(usize, DenialCode), usize>,
    refused: Vec<Refusal>,
    observed: HashMap<(usize, DenialCode), usize>,
    would_refuse: Vec<Refusal>,
    exceeded: HashMap<(usize, usize, u64, Exceeded), usize>,
    budgets: Vec<OverBudget>,
    connections: Vec<ConnectionReport>,
    live: HashMap<(usize, u64), usize>,
    leases: Vec<LeaseReport>,
    counts: Counts,
    ended: Option<(Timestamp, EndReason, Option<i32>)>,
    /// Entries that speak of an operation or a statement that the record does not have.
    orphans: u64,
}

/// A statement that has no outcome yet.
struct Open {
    group: usize,
    phase: StatementPhase,
    connection: u64,
}

struct Opening {
    at: Timestamp,
    until: Timestamp,
    identity: Identity,
    trust: Trust,
    grants: Vec<GrantRecord>,
}

impl Report {
    /// Makes the report of a record, however far it can be read; [`Report::integrity`] says how far.
    pub fn from_record(record: impl BufRead, keys: &[PublicKey]) -> Result<Self, ReportError> {
        let mut reader = RecordReader::new(record);
        let (mut opening, mut gathering) = (None, Gathering::default());
        let mut broken = None;
        loop {
            match reader.next_entry() {
                Ok(Some(entry)) => match entry {
                    Entry {
                        at,
                        event:
                            Event::SessionOpened {
                                identity,
                                trust_rule,
                                trust_digest,
                                grants,
                                key_thumbprint,
                                until,
                                broker_version,
                                session: _,
                            },
                        ..
                    } => {
                        let (rule, digest) = (trust_rule, trust_digest);
                        let trust = Trust { rule, digest, key_thumbprint, broker_version };
                        let identity = *identity;
                        opening = Some(Opening { at, until, identity, trust, grants });
                    }
                    entry => gathering.take(entry),
                },
                Ok(None) => break,
                Err(ReadError::Broken(found)) => {
                    broken = Some(found);
                    break;
                }
                Err(ReadError::Read(error)) => return Err(error.into()),
            }
        }
        let (Some(opening), Some(session)) = (opening, reader.session()) else {
            return Err(ReportError::NoRecord(broken));
        };
        let integrity = Integrity::of(reader, broken, keys)?;
        let gaps = gathering.gaps(&opening, &integrity);
        let Gathering { groups, connections, leases, mut counts, ended, .. } = gathering;
        let Gathering { refused, would_refuse, budgets, .. } = gathering;

        let mut operations: Vec<_> =
            groups.into_iter().filter(|group| group.count + group.prepared > 0).collect();
        operations.sort_by_key(|operation| operation.class);
        counts.changes =
            operations.iter().filter(|o| o.class <= Class::Change).map(|o| o.count).sum();
        counts.lost = operations.iter().map(|operation| operation.lost).sum();
        counts.failed = operations.iter().flat_map(|operation| operation.errors.values()).sum();

        Ok(Self {
            format: REPORT_FORMAT,
            session,
            run: opening.identity,
            trust: opening.trust,
            window: Window {
                opened_at: opening.at,
                until: opening.until,
                ended_at: ended.map(|(at, _, _)| at),
                reason: ended.map(|(_, reason, _)| reason),
                exit_code: ended.and_then(|(_, _, code)| code),
            },
            grants: opening.grants.into_iter().map(GrantReport::from).collect(),
            leases,
            connections: Listed::first(connections, MAX_CONNECTIONS),
            counts,
            refused: Listed::first(refused, MAX_LISTED),
            would_refuse: Listed::first(would_refuse, MAX_LISTED),
            budgets: Listed::first(budgets, MAX_LISTED),
            manifest: manifest(&operations),
            operations: Listed::first(operations, MAX_LISTED),
            gaps,
            integrity,
        })
    }
}

impl Gathering {
    fn take(&mut self, entry: Entry) {
        let Entry { at, writer, event, .. } = entry;
        let name = writer.clone();
        let writer = self.writer(writer);
        match event {
            // The reader lets only the first entry be one.
            Event::SessionOpened { .. } => {}
            Event::LeaseTaken { lease, resource, username, holder } => {
                self.leases.push(LeaseReport {
                    id: lease,
                    resource,
                    username,
                    holder,
                    taken_at: at,
                    released_at: None,
                    problem: None,
                });
            }
            Event::LeaseReleased { lease, problem } => {
                match self.leases.iter_mut().rfind(|known| known.id == lease) {
                    Some(known) => {
                        known.released_at = problem.is_none().then_some(at);
                        known.problem = problem;
                    }
                    None => self.orphans += 1,
                }
            }
            Event::Connected { connection, resource, enforced_at, point, client, database } => {
                self.counts.connections += 1;
                self.live.insert((writer, connection), self.connections.len());
                self.connections.push(ConnectionReport {
                    resource,
                    enforced_at,
                    point,
                    client: beginning(client.reveal(), MAX_TEXT).into_owned(),
                    database,
                    from: at,
                    to: None,
                    reason: None,
                });
            }
            Event::Disconnected { connection, reason } => {
                let index = self.live.remove(&(writer, connection));
                match index.and_then(|index| self.connections.get_mut(index)) {
                    Some(known) => {
                        known.to = Some(at);
                        known.reason = reason;
                    }
                    None => self.orphans += 1,
                }
            }
            Event::Operation { .. } => self.operation(writer, at, event),
            Event::Statement { statement, operation, phase, connection, would_refuse, text } => {
                let Some(&index) = self.operations.get(&(writer, operation)) else {
                    self.orphans += 1;
                    return;
                };
                let open = Open { group: index, phase, connection };
                self.open.insert((writer, statement), open);
                if let Some(denial) = would_refuse {
                    self.counts.would_refuse += 1;
                    let known = (&mut self.observed, &mut self.would_refuse);
                    refusal(&self.groups, known, index, (at, *denial, text.as_ref()));
                }
                let Some(group) = self.groups.get_mut(index) else { return };
                if group.count + group.prepared == 0 {
                    group.first_at = at;
                    if let Some(text) = text {
                        say(&mut group.statement, text.reveal());
                    }
                }
                group.last_at = at;
                match phase {
                    StatementPhase::Execute => {
                        group.count += 1;
                        self.counts.statements += 1;
                    }
                    StatementPhase::Prepare => group.prepared += 1,
                }
            }
            Event::Refused { operation, denial, text, statement: _, connection: _ } => {
                self.counts.refused += 1;
                match self.operations.get(&(writer, operation)) {
                    Some(&index) => {
                        let known = (&mut self.refusals, &mut self.refused);
                        refusal(&self.groups, known, index, (at, denial, text.as_ref()));
                    }
                    None => self.orphans += 1,
                }
            }
            Event::Finished { statement, outcome } => {
                match self.open.remove(&(writer, statement)) {
                    Some(open) => {
                        if let Some(exceeded) = outcome.budget {
                            self.over_budget(&name, writer, &open, at, exceeded);
                        }
                        self.finished(open.group, open.phase, &outcome);
                    }
                    None => self.orphans += 1,
                }
            }
            Event::SessionEnded { reason, exit_code } => {
                self.ended = Some((at, reason, exit_code));
            }
        }
    }

    fn writer(&mut self, writer: Arc<str>) -> usize {
        let next = self.writers.len();
        *self.writers.entry(writer).or_insert(next)
    }

    fn operation(&mut self, writer: usize, at: Timestamp, event: Event) {
        let Event::Operation {
            operation,
            resource,
            label,
            text,
            fingerprint,
            mut effects,
            certainty,
            decision,
            rule,
            trace: _,
            masks,
            masked_columns,
        } = event
        else {
            return;
        };
        let kind = Kind {
            resource: resource.clone(),
            fingerprint,
            effects: effects.clone(),
            rule: rule.to_string(),
            blocked: decision == guard_core::DecisionKind::Block,
        };
        let next = self.groups.len();
        let index = *self.kinds.entry(kind).or_insert(next);
        self.operations.insert((writer, operation), index);
        if index != next {
            return;
        }
        let class = class(&effects, &certainty, masks.iter().any(Option::is_some));
        effects.truncate(MAX_EFFECTS);
        let text: &str = text.reveal();
        let label = label.as_ref().to_owned();
        let mut statement =
            StatementText { label, text: String::new(), text_bytes: 0, fingerprint };
        say(&mut statement, text);
        self.groups.push(OperationReport {
            class,
            resource,
            statement,
            effects,
            certainty,
            decision,
            rule,
            masks,
            masked_columns,
            count: 0,
            prepared: 0,
            rows: 0,
            bytes: 0,
            masked: 0,
            detected: BTreeMap::new(),
            micros: 0,
            errors: BTreeMap::new(),
            lost: 0,
            first_at: at,
            last_at: at,
        });
    }

    fn over_budget(
        &mut self,
        name: &str,
        writer: usize,
        open: &Open,
        at: Timestamp,
        exceeded: Exceeded,
    ) {
        self.counts.over_budget += 1;
        let Some(group) = self.groups.get(open.group) else { return };
        let next = self.budgets.len();
        let key = (open.group, writer, open.connection, exceeded);
        let place = *self.exceeded.entry(key).or_insert(next);
        match self.budgets.get_mut(place) {
            Some(known) => {
                known.count += 1;
                known.last_at = at;
            }
            None => self.budgets.push(OverBudget {
                resource: group.resource.clone(),
                statement: group.statement.clone(),
                connection: open.connection,
                writer: name.to_owned(),
                budget: exceeded.budget,
                limit: exceeded.limit,
                ended: exceeded.ended,
                count: 1,
                first_at: at,
                last_at: at,
            }),
        }
    }

    fn finished(&mut self, index: usize, phase: StatementPhase, outcome: &Outcome) {
        let Some(group) = self.groups.get_mut(index) else { return };
        for (total, more) in [
            (&mut group.rows, outcome.rows),
            (&mut group.bytes, outcome.bytes),
            (&mut group.masked, outcome.masked),
            (&mut group.micros, outcome.micros),
            (&mut self.counts.rows, outcome.rows),
            (&mut self.counts.bytes, outcome.bytes),
            (&mut self.counts.masked, outcome.masked),
        ] {
            *total = total.saturating_add(more);
        }
        for (detector, count) in &outcome.detected {
            let total = group.detected.entry(*detector).or_default();
            *total = total.saturating_add(*count);
        }
        match outcome.error.as_deref() {
            None => {}
            Some(LOST) => match phase {
                StatementPhase::Execute => group.lost += 1,
                StatementPhase::Prepare => {}
            },
            Some(code) => {
                *group.errors.entry(beginning(code, 32).into_owned()).or_default() += 1;
            }
        }
    }

    /// What the evidence does not reach. Settles statements that have no outcome as lost.
    fn gaps(&mut self, opening: &Opening, integrity: &Integrity) -> Vec<String> {
        let mut gaps = Vec::new();
        for open in self.open.values() {
            match (open.phase, self.groups.get_mut(open.group)) {
                (StatementPhase::Execute, Some(group)) => group.lost += 1,
                (StatementPhase::Execute | StatementPhase::Prepare, _) => {}
            }
        }
        match integrity.whole {
            Whole::Verified => {}
            Whole::Unchecked => gaps.push(
                "the seal was not checked, since no key was given: run the verify command".into(),
            ),
            Whole::Unsealed => gaps.push(
                "the record is not sealed: more may have happened than is told here".into(),
            ),
            Whole::Broken => gaps.push(
                "the record is broken: nothing here is evidence, and nothing behind the break is told"
                    .into(),
            ),
        }
        match self.ended.map(|(_, reason, _)| reason) {
            None => gaps.push("the session has no end in the record".into()),
            Some(EndReason::Lost) => gaps.push(
                "the run's shim was not heard of any more, so its exit code is not known; the last repetitions of \
                 statements that change nothing may be missing"
                    .into(),
            ),
            Some(EndReason::Unrecorded) => gaps.push(
                "the record could not be written any more, so the session was ended; outcomes of the last statements \
                 may be missing"
                    .into(),
            ),
            Some(EndReason::Finished | EndReason::Expired | EndReason::Revoked) => {}
        }
        let lost: u64 = self.groups.iter().map(|group| group.lost).sum();
        if lost > 0 {
            gaps.push(format!(
                "{lost} statement(s) were sent whose answer is not in the record: whether they were carried out is not known"
            ));
        }
        let partly = self.groups.iter().filter(|g| g.class == Class::NotUnderstood && g.count > 0);
        let partly = partly.count();
        if partly > 0 {
            gaps.push(format!(
                "{partly} operation(s) went on by a rule of the policy though guard did not understand them in full: \
                 their effects may be more than is listed"
            ));
        }
        let kept = self.leases.iter().filter(|lease| lease.released_at.is_none()).count();
        if kept > 0 && self.ended.is_some() {
            gaps.push(format!("{kept} lease(s) were not given back"));
        }
        let elsewhere = self.connections.iter().any(|connection| {
            let grant = opening.grants.iter().find(|g| g.grant.resource == connection.resource);
            grant.is_none_or(|grant| grant.enforce_at != connection.enforced_at)
        });
        if elsewhere {
            gaps.push(
                "a connection was enforced elsewhere than its grant says: see the connections"
                    .into(),
            );
        }
        for grant in opening.grants.iter().filter(|grant| !grant.mode.enforces()) {
            gaps.push(format!(
                "policy `{}` over `{}` only observes: what it blocks was not refused",
                grant.grant.policy, grant.grant.resource
            ));
        }
        if self.orphans > 0 {
            gaps.push(format!(
                "{} entries speak of statements or connections that the record does not have",
                self.orphans
            ));
        }
        gaps
    }
}

impl Integrity {
    fn of(
        reader: RecordReader<impl BufRead>,
        broken: Option<Broken>,
        keys: &[PublicKey],
    ) -> Result<Self, io::Error> {
        let chain = reader.chain();
        let seal = reader.claimed_seal().map(|line| line.seal.clone());
        let (whole, problem) = match broken {
            Some(broken) => (Whole::Broken, Some(broken.to_string())),
            None => match reader.finish(keys) {
                Ok(_) => (Whole::Verified, None),
                Err(VerifyError::Unsealed(unsealed)) => {
                    (Whole::Unsealed, Some(unsealed.to_string()))
                }
                Err(VerifyError::Broken(Broken {
                    problem: crate::Problem::UnknownKey { .. },
                    ..
                })) if keys.is_empty() => (Whole::Unchecked, None),
                Err(VerifyError::Broken(broken)) => (Whole::Broken, Some(broken.to_string())),
                Err(VerifyError::Read(error)) => return Err(error),
            },
        };
        Ok(Self {
            whole,
            entries: chain.entries(),
            head: chain.head(),
            sealed_at: seal.as_ref().map(|seal| seal.sealed_at),
            key_id: seal.map(|seal| seal.key_id.to_string()),
            problem,
            verify: "guard audit verify record.jsonl --key KEY".to_owned(),
        })
    }
}

impl<T> Listed<T> {
    pub(super) fn first(mut all: Vec<T>, most: usize) -> Self {
        let total = all.len() as u64;
        all.truncate(most);
        Self { total, listed: all }
    }
}

impl From<GrantRecord> for GrantReport {
    fn from(record: GrantRecord) -> Self {
        Self {
            resource: record.grant.resource,
            kind: record.kind,
            policy: record.grant.policy,
            policy_digest: record.policy_digest,
            mode: record.mode,
            until: record.grant.until,
            enforce_at: record.enforce_at,
            promises: promises(record.enforce_at),
        }
    }
}

/// Counts a refusal of a group's statement to those that are known.
fn refusal(
    groups: &[OperationReport],
    (places, known): (&mut HashMap<(usize, DenialCode), usize>, &mut Vec<Refusal>),
    index: usize,
    (at, denial, text): (Timestamp, Denial, Option<&Sensitive<Arc<str>>>),
) {
    let Some(group) = groups.get(index) else { return };
    let place = *places.entry((index, denial.code)).or_insert(known.len());
    match known.get_mut(place) {
        Some(known) => {
            known.count += 1;
            known.last_at = at;
        }
        None => {
            let mut statement = group.statement.clone();
            if let Some(text) = text {
                say(&mut statement, text.reveal());
            }
            known.push(Refusal {
                resource: group.resource.clone(),
                statement,
                effects: group.effects.clone(),
                certainty: group.certainty.clone(),
                code: denial.code.number(),
                denial,
                count: 1,
                first_at: at,
                last_at: at,
            });
        }
    }
}

fn class(effects: &[Effect], certainty: &Certainty, masked: bool) -> Class {
    match certainty {
        Certainty::Partial(_) | Certainty::Unparsed(_) => return Class::NotUnderstood,
        Certainty::Exact => {}
    }
    let reads = effects.iter().any(|effect| effect.verb == Verb::Read);
    match () {
        () if !effects.iter().all(|effect| effect.verb.is_passive()) => Class::Change,
        () if masked => Class::MaskedRead,
        () if reads => Class::Read,
        () => Class::Housekeeping,
    }
}

/// Whether an effect changes rows without a restriction, which a reader should see.
pub(super) const fn is_unbounded(effect: &Effect) -> bool {
    match effect.bounded {
        Bounded::No => true,
        Bounded::Yes | Bounded::NotApplicable => false,
    }
}

/// Shows this text.
fn say(statement: &mut StatementText, text: &str) {
    statement.text = beginning(text, MAX_TEXT).into_owned();
    statement.text_bytes = text.len() as u64;
}
