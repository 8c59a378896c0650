//! The report of a session: what a security person reads of a run, made from its record.
//!
//! A [`Report`] is a pure function of the record's bytes and the keys, and serialises to the published
//! JSON (`schemas/report.schema.json`). The HTML page and the Markdown summary are renderings of it.

mod approvals;
mod build;
mod egress;
mod gaps;
mod gathering;
mod gitlab;
mod html;
mod junit;
mod listing;
mod literals;
mod manifest;
mod markdown;
mod matched;
mod plot;
mod promise;
mod results;
mod steps;
mod text;
mod words;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{
    ApprovalId, ApprovalState, ApprovalTerms, ApprovalWait, Budget, Certainty, DecisionKind,
    Denial, Detector, Digest, Effect, EndReason, EnforceAt, Identity, Isolation, LeaseId, Mask,
    Mode, PersonRef, PolicyName, ResourceKind, ResourceName, RowRange, RuleId, SessionId, StepName,
    Timestamp,
};
use serde::Serialize;

use crate::MaskedColumn;

pub use build::ReportError;
pub use html::{Parts, style_within};
pub use listing::{Fate, ListedOperation, Listing, StatementLine};
pub use literals::without_literals;
pub use manifest::{ManifestColumn, ManifestTable};
pub use matched::Matched;
pub use plot::Plot;
pub use promise::{Holds, Promise};
pub use results::ResultReport;
pub use text::{beginning, duration, grouped, printable, size, visible};
pub use words::{end_words, short};
pub use write::{WriteError, Written, write_report};

/// The form of the JSON report. A field may be added within a version, never changed.
pub const REPORT_FORMAT: &str = "guard-report/1";

/// Everything that is said of one session.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Always [`REPORT_FORMAT`].
    pub format: &'static str,
    /// The session.
    pub session: SessionId,
    /// The run, with its claims.
    pub run: Identity,
    /// On which authority it got its grants.
    pub trust: Trust,
    /// When it was, and how it ended.
    pub window: Window,
    /// From how much of the machine its commands were kept, if the shim said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationReport>,
    /// What it was given.
    pub grants: Vec<GrantReport>,
    /// Credentials taken for it.
    pub leases: Vec<LeaseReport>,
    /// Clients' connections.
    pub connections: Listed<ConnectionReport>,
    /// Totals.
    pub counts: Counts,
    /// What was refused, in the order of the first time.
    pub refused: Listed<Refusal>,
    /// What went on though its policy blocks it, because the policy only observes.
    pub would_refuse: Listed<Refusal>,
    /// What people were asked, in the order of asking.
    pub approvals: Listed<ApprovalReport>,
    /// Budgets of policies that statements were over.
    pub budgets: Listed<OverBudget>,
    /// Where commands asked to go besides; places where something was refused first.
    pub egress: Listed<EgressReport>,
    /// The commands of a session that had several, by number; empty if it had one.
    pub steps: Listed<StepReport>,
    /// What went on, operations that differ in literals only as one; changes first.
    pub operations: Listed<OperationReport>,
    /// What left by reads, table by table, with the columns that were masked; empty if none was.
    pub manifest: Listed<ManifestTable>,
    /// Rows that the client got, where the policy records results.
    #[serde(skip_serializing_if = "Listed::is_empty")]
    pub results: Listed<ResultReport>,
    /// What the evidence does not reach, in words.
    pub gaps: Vec<String>,
    /// Whether the record is as the broker wrote it.
    pub integrity: Integrity,
}

impl Report {
    /// Whether a policy only observed.
    pub fn observes(&self) -> bool {
        self.grants.iter().any(|grant| !grant.mode.enforces())
    }
}

/// On which authority a session got its grants.
#[derive(Debug, Clone, Serialize)]
pub struct Trust {
    /// The trust rule that matched.
    pub rule: String,
    /// SHA-256 over the trust rules' YAML.
    pub digest: Digest,
    /// Why the rule may be broad, if it is: it is not bound to a repository's id and to reviewed code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broad: Option<String>,
    /// RFC 7638 thumbprint of the session's key.
    pub key_thumbprint: String,
    /// The broker's version.
    pub broker_version: String,
}

/// From how much of the machine a session's commands were kept: the shim's word, which is as good as the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IsolationReport {
    /// The lowest level that a command of the session was run at.
    pub level: Isolation,
    /// The level that the trust rule asks for, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<Isolation>,
    /// Why it is no better one.
    pub why_not: Vec<String>,
}

/// When a session was, and how it ended.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it would have ended by itself.
    pub until: Timestamp,
    /// How often a fresh identity token of the job let it go on.
    pub renewals: u64,
    /// When it would have ended after the last of them, had there been no other.
    pub renewed_until: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<EndReason>,
    /// The child's exit code, if the shim said it.
    pub exit_code: Option<i32>,
}

/// One grant, where it was enforced, and what that promises.
#[derive(Debug, Clone, Serialize)]
pub struct GrantReport {
    /// The resource.
    pub resource: ResourceName,
    /// Its kind.
    pub kind: ResourceKind,
    /// The policy.
    pub policy: PolicyName,
    /// SHA-256 of the policy's YAML.
    pub policy_digest: Digest,
    /// When the grant ended by itself.
    pub until: Timestamp,
    /// Whether the policy refused, or only said what it would refuse.
    pub mode: Mode,
    /// Where it was enforced.
    pub enforce_at: EnforceAt,
    /// What that promises.
    pub promises: Vec<Promise>,
}

/// A credential that was taken for the session.
#[derive(Debug, Clone, Serialize)]
pub struct LeaseReport {
    /// The lease.
    pub id: LeaseId,
    /// The resource.
    pub resource: ResourceName,
    /// The user name at the resource.
    pub username: String,
    /// The enforcement point that got it.
    pub holder: String,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// When it was given back.
    pub released_at: Option<Timestamp>,
    /// Why it could not be given back.
    pub problem: Option<String>,
}

/// A client's connection.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionReport {
    /// The resource.
    pub resource: ResourceName,
    /// Where the data path ran.
    pub enforced_at: EnforceAt,
    /// Name of the enforcement point.
    pub point: String,
    /// What the client called itself.
    pub client: String,
    /// The database.
    pub database: String,
    /// The number of the command that it came from, if the session had several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// When it began.
    pub from: Timestamp,
    /// When it was over.
    pub to: Option<Timestamp>,
    /// Why, if not by the client's own will.
    pub reason: Option<String>,
}

/// One command of a session that had several: by its shim's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// Its number, from 1.
    pub number: u32,
    /// What the job calls it.
    pub name: Option<StepName>,
    /// The level of isolation that it was run at.
    pub isolation: Option<Isolation>,
    /// When it was about to be run.
    pub started_at: Option<Timestamp>,
    /// Its clients' connections.
    pub connections: u64,
    /// Its statements that went on to be executed.
    pub statements: u64,
    /// Its statements that were refused.
    pub refused: u64,
    /// Values that were masked.
    pub masked: u64,
    /// Rows that were returned or changed.
    pub rows: u64,
}

/// A list with a bound: how many there are, and those that are listed.
#[derive(Debug, Clone, Serialize)]
pub struct Listed<T> {
    /// How many there are in the record.
    pub total: u64,
    /// As many of them as a report lists.
    pub listed: Vec<T>,
}

impl<T> Listed<T> {
    /// Whether there is nothing in the record.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// Totals over a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Statements that went on to be executed.
    pub statements: u64,
    /// Statements that were refused.
    pub refused: u64,
    /// Statements that went on and would be refused if their policy did not only observe.
    pub would_refuse: u64,
    /// Statements that were over a budget while they ran.
    pub over_budget: u64,
    /// Values that were masked.
    pub masked: u64,
    /// Rows that were returned or changed.
    pub rows: u64,
    /// Bytes of row data.
    pub bytes: u64,
    /// Statements that the server answered with an error.
    pub failed: u64,
    /// Statements of which nobody knows what came.
    pub lost: u64,
    /// Statements that went on and would change something.
    pub changes: u64,
    /// Clients' connections.
    pub connections: u64,
    /// Attempts to go somewhere besides the resources that were refused.
    pub egress_refused: u64,
    /// Statements that went on and are not in the lock of their policy: new since it was made.
    pub unlisted: u64,
    /// Statements that returned or changed more or fewer rows than their lock expects.
    pub beyond_learned: u64,
}

/// One operation that was refused, however often.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The resource.
    pub resource: ResourceName,
    /// What it was.
    pub statement: StatementText,
    /// What it would have done.
    pub effects: Vec<Effect>,
    /// How sure guard was.
    pub certainty: Certainty,
    /// Why it was refused, in the words that the client got.
    pub denial: Denial,
    /// The number of the reason, `GRD-nnnn`.
    pub code: &'static str,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

/// One request that people decided on, or did not.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovalReport {
    /// The request.
    pub id: ApprovalId,
    /// The resource, if it was asked for in this session.
    pub resource: Option<ResourceName>,
    /// What it was asked for, if in this session.
    pub statement: Option<StatementText>,
    /// What each rule asked.
    pub terms: Vec<ApprovalTerms>,
    /// Whether the statement waited.
    pub wait: Option<ApprovalWait>,
    /// When it was asked for, if in this session.
    pub asked_at: Option<Timestamp>,
    /// When its time was over.
    pub until: Option<Timestamp>,
    /// The last that this session's record says of it.
    pub state: ApprovalState,
    /// When that was decided.
    pub decided_at: Option<Timestamp>,
    /// Who decided.
    pub by: Vec<PersonRef>,
    /// What they said.
    pub reasons: Vec<String>,
    /// When a statement of this session went on by it.
    pub used_at: Option<Timestamp>,
    /// The session that asked, if a statement of this one went on by it.
    pub asked_in: Option<SessionId>,
}

/// A place besides the resources that commands asked to go to: the shim's word, which is as good as the shim.
#[derive(Debug, Clone, Serialize)]
pub struct EgressReport {
    /// The host as they wrote it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The numbers of the commands that asked, where the session has several; of very many the first.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub steps: BTreeSet<u32>,
    /// How often they asked.
    pub attempts: u64,
    /// How often that was refused, by the policies or by the shim.
    pub refused: u64,
    /// How often the network or the other side did not go along.
    pub failed: u64,
    /// Why, the last time that it did not go on.
    pub why: Option<String>,
    /// Bytes that were sent there.
    pub sent: u64,
    /// Bytes that came from there.
    pub received: u64,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

impl EgressReport {
    /// Which commands asked, in words that stand behind the place.
    pub(crate) fn of_steps(&self) -> String {
        let numbers: Vec<_> = self.steps.iter().map(u32::to_string).collect();
        match numbers.as_slice() {
            [] => String::new(),
            [one] => format!(" (step {one})"),
            several => format!(" (steps {})", several.join(", ")),
        }
    }
}

/// Statements that are the same but for literals and were over the same budget on the same connection.
#[derive(Debug, Clone, Serialize)]
pub struct OverBudget {
    /// The resource.
    pub resource: ResourceName,
    /// What it was.
    pub statement: StatementText,
    /// Number of the connection at its enforcement point.
    pub connection: u64,
    /// The enforcement point's stream in the record.
    pub writer: String,
    /// Which budget.
    pub budget: Budget,
    /// Its bound: rows, bytes, statements or milliseconds.
    pub limit: u64,
    /// Whether they were ended for it.
    pub ended: bool,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

/// The text of an operation, as far as a report shows it.
#[derive(Debug, Clone, Serialize)]
pub struct StatementText {
    /// What the protocol calls it.
    pub label: String,
    /// Its beginning; of operations that differ in literals only, the first one's.
    pub text: String,
    /// The length of the whole, in bytes; the record has it.
    pub text_bytes: u64,
    /// Equal for operations that differ in literals only.
    pub fingerprint: Digest,
}

/// By what an operation is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Went on though it was not understood in full.
    NotUnderstood,
    /// Would change something.
    Change,
    /// Reads with masked columns.
    MaskedRead,
    /// Reads.
    Read,
    /// Settings of the session, transactions, locks.
    Housekeeping,
}

/// Statements that went on and are the same but for literals.
#[derive(Debug, Clone, Serialize)]
pub struct OperationReport {
    /// By what it is sorted.
    pub class: Class,
    /// The resource.
    pub resource: ResourceName,
    /// What it was.
    pub statement: StatementText,
    /// What it did.
    pub effects: Vec<Effect>,
    /// How sure guard was.
    pub certainty: Certainty,
    /// What the policy decided.
    pub decision: DecisionKind,
    /// By which rule.
    pub rule: RuleId,
    /// Masks of its output columns, `null` where none.
    pub masks: Vec<Option<Mask>>,
    /// The base columns that these hide.
    pub masked_columns: Vec<MaskedColumn>,
    /// How often it was executed.
    pub count: u64,
    /// How often it was only made ready.
    pub prepared: u64,
    /// The lock of its policy does not list it: it is new since the lock.
    pub unlisted: bool,
    /// How many rows the lock expects each time, its tolerance included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_learned: Option<RowRange>,
    /// How often there were more or fewer.
    pub beyond_learned: u64,
    /// The most rows that the server's planner expected of one, if a rule asked.
    pub estimated_rows: Option<u64>,
    /// Rows that were returned or changed.
    pub rows: u64,
    /// Bytes of row data.
    pub bytes: u64,
    /// Values that were masked.
    pub masked: u64,
    /// What detectors found and hid, and how often.
    pub detected: BTreeMap<Detector, u64>,
    /// From sending to the end of the answer, in microseconds, over all times.
    pub micros: u64,
    /// Error codes of the server, and how often each.
    pub errors: BTreeMap<String, u64>,
    /// How often nobody knows what came of it.
    pub lost: u64,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

/// How far a record can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whole {
    /// The chain holds and the seal is by a given key.
    Verified,
    /// The chain holds and there is a seal, but no key was given to check it with.
    Unchecked,
    /// The chain holds as far as it goes, and there is no seal.
    Unsealed,
    /// Some byte is not as the broker wrote it.
    Broken,
}

/// Whether the record is as the broker wrote it.
#[derive(Debug, Clone, Serialize)]
pub struct Integrity {
    /// How far the record can be believed.
    pub whole: Whole,
    /// How many entries hang together.
    pub entries: u64,
    /// The hash of the last of them.
    pub head: Digest,
    /// When the record was sealed, as the seal says.
    pub sealed_at: Option<Timestamp>,
    /// By which key, as the seal says.
    pub key_id: Option<String>,
    /// What is wrong.
    pub problem: Option<String>,
    /// How to verify it.
    pub verify: String,
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
