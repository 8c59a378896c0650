//! The events of a record. Every field is part of the published format: add, never change.

use std::{collections::BTreeMap, sync::Arc};

use guard_core::{
    ApprovalId, ApprovalState, ApprovalTerms, ApprovalWait, Certainty, ColumnName, DecisionKind,
    Denial, Detector, Digest, Effect, EgressId, EndReason, EnforceAt, Exceeded, Grant, Identity,
    Isolation, LeaseId, Mask, Mode, PersonRef, PolicyName, ResourceKind, ResourceName, RowRange,
    RuleId, Sensitive, SessionId, Step, Timestamp,
    control::{EgressOutcome, RunStep},
};
use serde::{Deserialize, Serialize};

/// One line of a record. Its hash is the SHA-256 of the line's bytes without the line feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counts from 0, without a gap.
    pub seq: u64,
    /// When the broker appended it.
    pub at: Timestamp,
    /// Hash of the line before; all zero for the first.
    pub prev: Digest,
    /// Who reported it: the broker, or the stream of an enforcement point.
    pub writer: Arc<str>,
    /// What happened.
    pub event: Event,
}

/// A grant as it was given, with the digests that say by which texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// Resource, policy and end.
    pub grant: Grant,
    /// The resource's kind.
    pub kind: ResourceKind,
    /// Where it is enforced, which says what can be promised.
    pub enforce_at: EnforceAt,
    /// SHA-256 of the policy's YAML.
    pub policy_digest: Digest,
    /// Whether the policy refuses, or only says what it would refuse. Not there where it refuses.
    #[serde(default, skip_serializing_if = "Mode::enforces")]
    pub mode: Mode,
}

/// Why a statement was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatementPhase {
    /// It is made ready to be executed later.
    Prepare,
    /// It is executed.
    Execute,
}

/// What came of a statement that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Rows that were returned or that the server says it changed.
    pub rows: u64,
    /// Bytes of row data sent to the client, or taken from it.
    pub bytes: u64,
    /// Values that were masked.
    pub masked: u64,
    /// From sending to the end of the answer, in microseconds.
    pub micros: u64,
    /// What detectors found and hid, and how often; also in `masked`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detected: BTreeMap<Detector, u64>,
    /// The status of an HTTP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The server's error code (SQLSTATE, or a status of 400 and above), or `lost` if the answer never came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The budget of the policy that it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Exceeded>,
    /// How much of its answer is in the record, where its policy records results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// How much of an answer is in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    /// Rows of it that are in `rows` events.
    pub rows: u64,
    /// Whether the client got more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A value as the client got it. NULL is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// In the text format.
    Text(String),
    /// In the binary format, or no UTF-8.
    Binary {
        /// Its bytes.
        base64: String,
    },
}

/// A row as the client got it.
pub type Row = Vec<Option<Cell>>;

/// Who sent some bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The client.
    Client,
    /// Guard, to the client: the server's answers after masking, and guard's own.
    Server,
}

/// A base column whose values a result shows masked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MaskedColumn {
    /// The result's column, counted from 0.
    pub output: u32,
    /// The base column.
    pub column: ColumnName,
    /// How its values are hidden there.
    pub mask: Mask,
}

/// Something that happened in a session.
///
/// `operation` numbers and `statement` numbers count for each writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "kebab-case", tag = "type")]
pub enum Event {
    /// The first entry: who got what, on which authority.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// The run, with its claims.
        identity: Box<Identity>,
        /// The trust rule that matched.
        trust_rule: String,
        /// SHA-256 over the trust rules' YAML.
        trust_digest: Digest,
        /// Why the rule may be broad, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trust_broad: Option<String>,
        /// What was granted.
        grants: Vec<GrantRecord>,
        /// RFC 7638 thumbprint of the session's key, base64url.
        key_thumbprint: String,
        /// When the session ends by itself.
        until: Timestamp,
        /// The broker's version.
        broker_version: String,
    },
    /// The same job asked for another session while this one lived, and was refused: a second command under guard
    /// in one job, or somebody who has the job's token.
    AttemptRefused {
        /// RFC 7638 thumbprint of the key that the other session would have had, base64url.
        key_thumbprint: String,
    },
    /// Another identity token of the job lets the session go on: its platform says that the job still runs.
    SessionRenewed {
        /// When it ends unless it is renewed again.
        until: Timestamp,
    },
    /// A command was about to be run at this level of isolation: what its shim said.
    Isolated {
        /// The level.
        level: Isolation,
        /// The level that the trust rule asks for, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        required: Option<Isolation>,
        /// Why it is no better one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        why_not: Vec<String>,
        /// Which command it was, if the session has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<RunStep>,
    },
    /// A command asked to go somewhere that is no resource: what its shim said. Appended before anything is dialled.
    EgressAsked {
        /// The attempt.
        egress: EgressId,
        /// The host as the command wrote it.
        host: String,
        /// The port.
        port: u16,
        /// The policy that lists it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<PolicyName>,
        /// Why it was refused, if none does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        /// The number of the command that asked, if the session has several: what its shim said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
    },
    /// What came of an attempt that was allowed: what its shim said.
    EgressEnded {
        /// The attempt.
        egress: EgressId,
        /// What came of it.
        #[serde(flatten)]
        outcome: EgressOutcome,
    },
    /// A credential was taken for this session.
    LeaseTaken {
        /// The lease.
        lease: LeaseId,
        /// The resource.
        resource: ResourceName,
        /// The user name at the resource.
        username: String,
        /// The enforcement point that got it.
        holder: String,
    },
    /// A credential was given back.
    LeaseReleased {
        /// The lease.
        lease: LeaseId,
        /// Why it could not be, if so.
        problem: Option<String>,
    },
    /// A client connected to a resource.
    Connected {
        /// Counts for each writer.
        connection: u64,
        /// The resource.
        resource: ResourceName,
        /// Where the data path runs.
        enforced_at: EnforceAt,
        /// Name of the enforcement point.
        point: String,
        /// What the client calls itself (`application_name`).
        client: Sensitive<String>,
        /// The database.
        database: String,
        /// The number of the command that it came from, if the session has several: what its shim said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
    },
    /// A client's connection is over.
    Disconnected {
        /// The connection.
        connection: u64,
        /// Why, if not by the client's own will.
        reason: Option<String>,
    },
    /// An operation that this writer saw for the first time, and its ruling.
    Operation {
        /// Its number.
        operation: u64,
        /// The resource.
        resource: ResourceName,
        /// What the protocol calls it.
        label: Arc<str>,
        /// Its text.
        text: Sensitive<Arc<str>>,
        /// Equal for operations that differ in literals only.
        fingerprint: Digest,
        /// What it would do.
        effects: Vec<Effect>,
        /// How sure guard was.
        certainty: Certainty,
        /// What the policy decided.
        decision: DecisionKind,
        /// By which rule.
        rule: RuleId,
        /// Why.
        trace: Vec<Step>,
        /// Masks of its output columns, in order, `null` where none: empty when there are none at all.
        masks: Vec<Option<Mask>>,
        /// The base columns that these masks hide; of very many the first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        masked_columns: Vec<MaskedColumn>,
        /// A digest over what a lock compares besides fingerprint and effects. Not there of what no lock can list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        details: Option<Digest>,
        /// The lock of its policy does not list it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unlisted: bool,
        /// How many rows the lock expects of it each time, its tolerance included.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows_learned: Option<RowRange>,
    },
    /// A statement was judged and may go on. Appended before it is sent.
    Statement {
        /// Its number.
        statement: u64,
        /// The connection it came by.
        connection: u64,
        /// The operation.
        operation: u64,
        /// To be made ready, or executed.
        phase: StatementPhase,
        /// Why it would be refused, if the policy did not only observe.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        would_refuse: Option<Box<Denial>>,
        /// How many rows the server's planner expected it to change or return, if a rule asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimated_rows: Option<u64>,
        /// Its own text, if the operation's has `$1`, `$2`, … in the place of literals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Sensitive<Arc<str>>>,
        /// By which approval, if its policy asked people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
    },
    /// A statement was refused.
    Refused {
        /// Its number.
        statement: u64,
        /// The connection it came by.
        connection: u64,
        /// The operation.
        operation: u64,
        /// Why.
        denial: Denial,
        /// As in `statement`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimated_rows: Option<u64>,
        /// Its own text, as in `statement`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Sensitive<Arc<str>>>,
        /// The approval that it was asked for, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
    },
    /// Rows that the client got of a statement, as it got them. Of policies that record results; in front of `finished`, in
    /// as many events as it takes.
    Rows {
        /// The statement.
        statement: u64,
        /// Names of the columns, where they are not those of the event before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        columns: Option<Sensitive<Vec<String>>>,
        /// The rows; of a COPY, each message of data as one value.
        rows: Sensitive<Vec<Row>>,
    },
    /// Bytes of a connection behind its start-up. Of policies that record bytes.
    Traffic {
        /// The connection.
        connection: u64,
        /// Who sent them.
        from: Side,
        /// How many this side has sent before.
        offset: u64,
        /// How many they are.
        length: u64,
        /// The bytes, base64; not there where they may hold what masks hide, or are over the limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Sensitive<String>>,
        /// The limit is reached: nothing more of this side follows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
    },
    /// What came of a statement.
    Finished {
        /// The statement.
        statement: u64,
        /// What came of it.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// People were asked about an operation. Appended by the broker, before it waits.
    ApprovalAsked {
        /// The request.
        approval: ApprovalId,
        /// The resource.
        resource: ResourceName,
        /// The stream that has the operation.
        asked_by: Arc<str>,
        /// The operation's number in it.
        operation: u64,
        /// For what exactly it counts: SHA-256 over resource, text, parameters, policy, rules and run.
        digest: Digest,
        /// What does not go on, in words: ``held DELETE on `public.users` ``.
        what: String,
        /// The policy that holds the rules.
        policy: PolicyName,
        /// What each rule asks.
        terms: Vec<ApprovalTerms>,
        /// Whether the statement waits.
        wait: ApprovalWait,
        /// When its time is over.
        until: Timestamp,
        /// The page where people decide.
        address: String,
    },
    /// What came of asking: granted, refused, out of time or taken back.
    ApprovalDecided {
        /// The request.
        approval: ApprovalId,
        /// Where it stands now.
        state: ApprovalState,
        /// Who said so: of a grant, everybody who said yes.
        by: Vec<PersonRef>,
        /// What they said, in the same order, or why it was taken back.
        reasons: Vec<Sensitive<String>>,
    },
    /// An approval was used up for a statement that goes on in this session.
    ApprovalUsed {
        /// The request.
        approval: ApprovalId,
        /// The session that asked: another one where the run was parked.
        asked_in: SessionId,
        /// For what exactly it counted.
        digest: Digest,
        /// Who said yes.
        by: Vec<PersonRef>,
    },
    /// The last entry: the session is over.
    SessionEnded {
        /// Why.
        reason: EndReason,
        /// The child's exit code, if the shim said it.
        exit_code: Option<i32>,
        /// What the person who ended it said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
}
