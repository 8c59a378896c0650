//! Recorded operations, judged again.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    io::BufRead,
};

use guard_audit::{
    RecordReader, StatementPhase,
    story::{Opening, Story, ToldOperation, ToldStatement, What},
};
use guard_core::{
    Decision, DecisionKind, Digest, Flow, Operation, Output, Outputs, PolicyName, Protocol,
    ResourceKind, ResourceName, RuleId, Ruling, SessionView, Source,
};
use guard_engine::describe;
use guard_policy::Policy;

use crate::command::audit::folder::Runs;

/// Different operations that are told apart. What comes after them is counted with none.
const MAX_KINDS: usize = 100_000;
/// Effects of an operation that are told.
const MAX_EFFECTS: usize = 50;

/// A ruling in short.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Was {
    pub(super) kind: DecisionKind,
    pub(super) rule: RuleId,
}

impl fmt::Display for Was {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by rule `{}`", self.kind, self.rule)
    }
}

/// Statements that differ in literals only, with both rulings.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) resource: ResourceName,
    pub(super) label: String,
    pub(super) text: String,
    pub(super) fingerprint: Digest,
    pub(super) effects: Vec<String>,
    pub(super) then: Was,
    pub(super) now: Was,
    /// Whether the proposed policy refuses what it blocks.
    pub(super) enforced: bool,
    pub(super) why: Option<String>,
    pub(super) went_on: u64,
    pub(super) refused: u64,
    pub(super) runs: BTreeSet<String>,
    pub(super) first_in: String,
    unknown_masks: bool,
    unknown_rows: bool,
    unknown_request: bool,
}

/// By what operations are told apart.
type Kind = (ResourceName, Digest, Was, Was);

/// Past runs under a proposed policy.
pub(super) struct Replay<'a> {
    policy: &'a Policy,
    under: PolicyName,
    pub(super) runs: usize,
    kinds: HashMap<Kind, Change>,
    pub(super) problems: Vec<String>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(policy: &'a Policy, under: PolicyName) -> Self {
        Self { policy, under, runs: 0, kinds: HashMap::new(), problems: Vec::new() }
    }

    /// Judges a run again, as far as its record can be read.
    pub(super) fn run(&mut self, file: &str, record: impl BufRead, runs: &Runs) {
        let mut reader = RecordReader::new(record);
        let mut story = Story::default();
        let mut mine = false;
        loop {
            let entry = match reader.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    self.problems.push(format!("{file}: {error}"));
                    break;
                }
            };
            match story.take(entry).what {
                What::Opened(opening) => {
                    mine = runs.fit(&opening)
                        && opening.grants.iter().any(|grant| grant.grant.policy == self.under);
                    if !mine {
                        return;
                    }
                    self.runs += 1;
                }
                What::Sent(statement) if mine => {
                    // What is only made ready is judged when it is executed.
                    if statement.phase == Some(StatementPhase::Execute)
                        && let Some(opening) = story.opening()
                    {
                        self.statement(file, opening, &statement, true);
                    }
                }
                What::Refused(statement, _) if mine => {
                    if let Some(opening) = story.opening() {
                        self.statement(file, opening, &statement, false);
                    }
                }
                What::Sent(_)
                | What::Refused(..)
                | What::Connected(_)
                | What::Disconnected(..)
                | What::Described(_)
                | What::Rows(..)
                | What::Finished(..)
                | What::Other(_)
                | What::Orphan => {}
            }
        }
    }

    fn statement(
        &mut self,
        file: &str,
        opening: &Opening,
        statement: &ToldStatement,
        went_on: bool,
    ) {
        let told = &statement.operation;
        let grant = opening.grants.iter().find(|grant| grant.grant.resource == told.resource);
        let Some(grant) = grant.filter(|grant| grant.grant.policy == self.under) else { return };
        let view = SessionView {
            id: opening.session,
            identity: opening.identity.clone(),
            resource: told.resource.clone(),
            until: grant.grant.until,
        };
        let operation = match grant.kind {
            ResourceKind::Postgres => rebuilt(told, statement),
            ResourceKind::Http => request(told, statement),
        };
        // No record has headers and bodies.
        let asked = operation.request.as_ref();
        let unknown_request = asked.is_some_and(|asked| self.policy.looks_beyond_line(asked));
        let judge = |rows| self.policy.judge_told(&view, &operation, rows, told.details);
        let ruling = judge(statement.estimated_rows);
        let unknown_rows = statement.estimated_rows.is_none()
            && self.policy.bounds_rows()
            && judge(Some(0)).decision.kind() != ruling.decision.kind();
        let then = Was { kind: told.decision, rule: told.rule.clone() };
        let now = Was { kind: ruling.decision.kind(), rule: ruling.rule.clone() };
        let key = (told.resource.clone(), told.fingerprint, then.clone(), now.clone());
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&key) {
            return;
        }
        let change = self.kinds.entry(key).or_insert_with(|| Change {
            resource: told.resource.clone(),
            label: told.label.to_string(),
            text: statement.text().to_string(),
            fingerprint: told.fingerprint,
            effects: told.effects.iter().take(MAX_EFFECTS).map(ToString::to_string).collect(),
            then,
            now,
            enforced: !ruling.observed,
            why: why(&ruling),
            went_on: 0,
            refused: 0,
            runs: BTreeSet::new(),
            first_in: file.to_owned(),
            unknown_masks: masks_unknown(told, &ruling),
            unknown_rows,
            unknown_request,
        });
        if went_on {
            change.went_on += 1;
        } else {
            change.refused += 1;
        }
        if !change.runs.contains(file) {
            change.runs.insert(file.to_owned());
        }
    }

    /// What would be ruled otherwise: what went on and would be refused first, then by how often.
    pub(super) fn changes(&self) -> Vec<&Change> {
        let differs = |change: &&Change| change.then.kind != change.now.kind;
        let known = self.kinds.values().filter(|change| !change.unknown_request);
        let mut changes: Vec<_> = known.filter(differs).collect();
        changes.sort_by_key(|change| {
            let broken = change.went_on > 0 && change.now.kind == DecisionKind::Block;
            (!broken, u64::MAX - change.went_on, change.fingerprint.to_string())
        });
        changes
    }

    /// How many different operations there were, literals aside.
    pub(super) fn operations(&self) -> usize {
        let all: BTreeSet<_> = self
            .kinds
            .values()
            .map(|change| (change.resource.as_str(), change.fingerprint.to_string()))
            .collect();
        all.len()
    }

    /// Operations of which the proposed policy may hide more than is known.
    pub(super) fn unknown_masks(&self) -> usize {
        self.kinds.values().filter(|change| change.unknown_masks).count()
    }

    /// Requests about which rules look at headers or bodies, which are in no record, or at a document.
    pub(super) fn unknown_requests(&self) -> usize {
        self.kinds.values().filter(|change| change.unknown_request).count()
    }

    /// Operations whose ruling depends on an estimate that was not recorded.
    pub(super) fn unknown_rows(&self) -> usize {
        self.kinds.values().filter(|change| change.unknown_rows).count()
    }
}

/// The operation as far as a record tells it. Of its result, the columns that were masked.
fn rebuilt(told: &ToldOperation, statement: &ToldStatement) -> Operation {
    let mut columns: Vec<Output> = told.masks.iter().map(|_| Output::default()).collect();
    for masked in &told.masked_columns {
        let place = usize::try_from(masked.output).unwrap_or(usize::MAX);
        if let Some(output) = columns.get_mut(place) {
            let source = Source { column: masked.column.clone(), flow: Flow::Plain };
            output.sources.push(source);
        }
    }
    Operation {
        protocol: Protocol::Postgres,
        label: told.label.clone(),
        effects: told.effects.clone(),
        certainty: told.certainty.clone(),
        outputs: if columns.is_empty() { Outputs::None } else { Outputs::Columns(columns) },
        stores: Vec::new(),
        tested: Vec::new(),
        lifts_read_only: false,
        request: None,
        text: guard_core::Sensitive::new(statement.text().clone()),
        fingerprint: told.fingerprint,
    }
}

/// A request as far as a record tells it: method, path and query.
fn request(told: &ToldOperation, statement: &ToldStatement) -> Operation {
    let operation = Operation { protocol: Protocol::Http, ..rebuilt(told, statement) };
    let Some((asks, target)) = statement.text().split_once(" /") else { return operation };
    let mut words = asks.split(' ');
    let method = words.next().unwrap_or_default();
    let meant = words.next().and_then(|word| word.strip_prefix('(')?.strip_suffix(')'));
    let meant = meant.map(|method| ("x-http-method-override".to_owned(), method.to_owned()));
    let headers: Vec<_> = meant.into_iter().collect();
    match describe(&format!("{method} /{target}"), &headers, "", None) {
        Ok(described) => Operation { request: described.request.clone(), ..operation },
        // It was refused before it was one.
        Err(_) => operation,
    }
}

/// Whether an operation that goes on touches a table of which the proposed policy hides columns that the record does
/// not show as masked.
fn masks_unknown(told: &ToldOperation, ruling: &Ruling) -> bool {
    match ruling.decision {
        Decision::Block(_) => return false,
        Decision::Allow | Decision::Approve(_) => {}
    }
    ruling.masks.columns.iter().any(|mask| {
        let touched = told.effects.iter().any(|effect| {
            effect.object.name.as_ref().is_some_and(|name| {
                let schema = name.schema.as_deref().unwrap_or_default();
                mask.column.table.matches_parts(schema, &name.name)
            })
        });
        touched && !told.masked_columns.iter().any(|known| mask.column.matches(&known.column))
    })
}

fn why(ruling: &Ruling) -> Option<String> {
    match &ruling.decision {
        Decision::Allow => None,
        Decision::Approve(spec) => Some(spec.ask.what.clone()),
        Decision::Block(denial) => Some(match &denial.detail {
            Some(detail) => format!("{}: {detail}", denial.what),
            None => denial.what.clone(),
        }),
    }
}
