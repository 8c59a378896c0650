//! A record's entries, gathered by what they are about.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use guard_core::{
    Certainty, Denial, DenialCode, Digest, Effect, EndReason, Exceeded, ResourceName, Sensitive,
    Timestamp, Verb,
};

use super::{
    Class, ConnectionReport, Counts, IsolationReport, LeaseReport, OperationReport, OverBudget,
    Refusal, StatementText, approvals::Approvals, egress::Egress, results::Results, steps::Steps,
    text::beginning,
};
use crate::{Entry, Event, Outcome, StatementPhase};

/// Effects that a report lists of one operation.
const MAX_EFFECTS: usize = 200;
/// Characters of a text that a report shows.
const MAX_TEXT: usize = 4_000;
/// The outcome of a statement whose answer never came to its end.
const LOST: &str = "lost";

/// What an operation's statements are gathered by: all that differs in literals only.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    resource: ResourceName,
    fingerprint: Digest,
    effects: Vec<Effect>,
    rule: String,
    blocked: bool,
    unlisted: bool,
}

/// What a record's entries come to.
#[derive(Default)]
pub(super) struct Gathering {
    writers: HashMap<Arc<str>, usize>,
    kinds: HashMap<Kind, usize>,
    pub(super) groups: Vec<OperationReport>,
    /// Index of the group, by writer and the operation's number.
    operations: HashMap<(usize, u64), usize>,
    /// Statements that have no outcome yet, by writer and the statement's number.
    pub(super) open: HashMap<(usize, u64), Open>,
    refusals: HashMap<(usize, DenialCode), usize>,
    pub(super) refused: Vec<Refusal>,
    observed: HashMap<(usize, DenialCode), usize>,
    pub(super) would_refuse: Vec<Refusal>,
    exceeded: HashMap<(usize, usize, u64, Exceeded), usize>,
    pub(super) budgets: Vec<OverBudget>,
    pub(super) connections: Vec<ConnectionReport>,
    live: HashMap<(usize, u64), usize>,
    pub(super) leases: Vec<LeaseReport>,
    pub(super) approvals: Approvals,
    pub(super) egress: Egress,
    pub(super) results: Results,
    pub(super) steps: Steps,
    /// The lowest level of isolation of a command.
    pub(super) isolation: Option<IsolationReport>,
    /// Sessions that the same job asked for besides.
    pub(super) attempts: u64,
    /// Fresh identity tokens of the job, and until when the last let the session go on.
    pub(super) renewals: u64,
    pub(super) renewed_until: Option<Timestamp>,
    pub(super) counts: Counts,
    /// What the person who ended the session said.
    pub(super) end_note: Option<String>,
    pub(super) ended: Option<(Timestamp, EndReason, Option<i32>)>,
    /// Entries that speak of an operation or a statement that the record does not have.
    pub(super) orphans: u64,
}

/// A statement that has no outcome yet.
pub(super) struct Open {
    pub(super) group: usize,
    pub(super) phase: StatementPhase,
    connection: u64,
    /// Its own text.
    text: Option<Sensitive<Arc<str>>>,
}

impl Gathering {
    /// Takes an entry.
    pub(super) fn take(&mut self, entry: Entry) {
        let Entry { at, writer, event, .. } = entry;
        let name = writer.clone();
        let writer = self.writer(writer);
        match event {
            // The reader lets only the first entry be one.
            Event::SessionOpened { .. } => {}
            Event::AttemptRefused { .. } => self.attempts += 1,
            Event::SessionRenewed { until } => {
                self.renewals += 1;
                self.renewed_until = Some(until);
            }
            Event::Isolated { level, required, why_not, step } => {
                if let Some(step) = step {
                    self.steps.isolated(at, step, level);
                }
                if self.isolation.as_ref().is_none_or(|known| level < known.level) {
                    self.isolation = Some(IsolationReport { level, required, why_not });
                }
            }
            Event::EgressAsked { .. } | Event::EgressEnded { .. } => {
                if !self.egress.take(at, event) {
                    self.orphans += 1;
                }
            }
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
            Event::Connected {
                connection,
                resource,
                enforced_at,
                point,
                client,
                database,
                step,
            } => {
                self.counts.connections += 1;
                self.steps.connected((writer, connection), step);
                self.live.insert((writer, connection), self.connections.len());
                self.connections.push(ConnectionReport {
                    resource,
                    enforced_at,
                    point,
                    client: beginning(client.reveal(), MAX_TEXT).into_owned(),
                    database,
                    step,
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
            Event::Statement {
                statement,
                operation,
                phase,
                connection,
                would_refuse,
                estimated_rows,
                text,
                approval: _,
            } => {
                let Some(&index) = self.operations.get(&(writer, operation)) else {
                    self.orphans += 1;
                    return;
                };
                let executed = phase == StatementPhase::Execute;
                self.steps.went_on(writer, connection, statement, executed);
                let open = Open { group: index, phase, connection, text: text.clone() };
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
                group.estimated_rows = group.estimated_rows.max(estimated_rows);
                match phase {
                    StatementPhase::Execute => {
                        group.count += 1;
                        self.counts.unlisted += u64::from(group.unlisted);
                        self.counts.statements += 1;
                    }
                    StatementPhase::Prepare => group.prepared += 1,
                }
            }
            Event::Refused { operation, denial, text, connection, .. } => {
                self.counts.refused += 1;
                self.steps.refused((writer, connection));
                match self.operations.get(&(writer, operation)) {
                    Some(&index) => {
                        let known = (&mut self.refusals, &mut self.refused);
                        refusal(&self.groups, known, index, (at, denial, text.as_ref()));
                    }
                    None => self.orphans += 1,
                }
            }
            Event::Rows { statement, columns, rows } => {
                let Some(open) = self.open.get(&(writer, statement)) else {
                    self.orphans += 1;
                    return;
                };
                let of = || {
                    let group = self.groups.get(open.group)?;
                    let mut shown = group.statement.clone();
                    if let Some(text) = &open.text {
                        say(&mut shown, text.reveal());
                    }
                    Some((group.resource.clone(), shown))
                };
                let columns = columns.as_ref().map(|columns| columns.reveal().as_slice());
                self.results.take((writer, statement), at, of, columns, rows.reveal());
            }
            // What the bytes were of is said by the other events.
            Event::Traffic { .. } => {}
            Event::Finished { statement, outcome } => {
                self.steps.finished((writer, statement), &outcome);
                match self.open.remove(&(writer, statement)) {
                    Some(open) => {
                        if let Some(exceeded) = outcome.budget {
                            self.over_budget(&name, writer, &open, at, exceeded);
                        }
                        self.results.finish((writer, statement), outcome.rows, outcome.kept);
                        self.finished(open.group, open.phase, &outcome);
                    }
                    None => self.orphans += 1,
                }
            }
            Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. } => self.approvals.take(at, event, |writer, operation| {
                let writer = self.writers.get(writer)?;
                let index = self.operations.get(&(*writer, operation))?;
                self.groups.get(*index).map(|group| group.statement.clone())
            }),
            Event::SessionEnded { reason, exit_code, note } => {
                self.end_note = note;
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
            details: _,
            unlisted,
            rows_learned,
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
            unlisted,
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
            unlisted,
            rows_learned,
            beyond_learned: 0,
            estimated_rows: None,
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
        let executed = match phase {
            StatementPhase::Execute => outcome.error.is_none(),
            StatementPhase::Prepare => false,
        };
        if executed && group.rows_learned.is_some_and(|range| !range.holds(outcome.rows)) {
            group.beyond_learned += 1;
            self.counts.beyond_learned += 1;
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

/// Shows this text.
fn say(statement: &mut StatementText, text: &str) {
    statement.text = beginning(text, MAX_TEXT).into_owned();
    statement.text_bytes = text.len() as u64;
}
