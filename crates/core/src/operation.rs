//! One thing that a client asks of a resource, understood.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Digest, Sensitive, http::HttpRequest};

/// The protocol that an operation came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// PostgreSQL's frontend/backend protocol, version 3.
    Postgres,
    /// HTTP/1.1.
    Http,
}

/// What an operation would do to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Reads rows or metadata.
    Read,
    /// Adds rows.
    Insert,
    /// Changes rows.
    Update,
    /// Removes rows.
    Delete,
    /// Removes all rows of a table.
    Truncate,
    /// Makes a new object, or adds a column to one.
    Create,
    /// Changes an object's definition.
    Alter,
    /// Removes an object, or a column of one.
    Drop,
    /// Gives or takes privileges.
    Grant,
    /// Makes, changes, drops or assumes a role, changes an owner, or reads a credential from the
    /// server's catalog.
    Role,
    /// Calls a function or procedure that is not known to be harmless.
    Call,
    /// Runs procedural code given as text (`DO`), or SQL given as text to a function.
    Code,
    /// Runs a program on the server.
    Program,
    /// Reads or writes a file on the server, or a large object's file.
    File,
    /// Opens a connection from the server.
    Network,
    /// Acts on other sessions or on the server process (terminate, cancel, reload, rotate).
    Signal,
    /// Changes a setting that alters parsing, name resolution, identity, triggers or limits,
    /// or the server's configuration.
    Config,
    /// Changes a harmless setting of the session, shows one, or manages its cursors and
    /// prepared statements.
    Session,
    /// Begins, ends or marks a transaction.
    Transaction,
    /// Takes an explicit lock.
    Lock,
    /// Listens to or sends notifications.
    Notify,
    /// Keeps tables healthy (VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH).
    Maintain,
    /// Starts or steers replication, publications or subscriptions.
    Replication,
}

impl Verb {
    /// Every verb, in the order of the reference.
    pub const ALL: [Self; 23] = [
        Self::Read,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::Create,
        Self::Alter,
        Self::Drop,
        Self::Grant,
        Self::Role,
        Self::Call,
        Self::Code,
        Self::Program,
        Self::File,
        Self::Network,
        Self::Signal,
        Self::Config,
        Self::Session,
        Self::Transaction,
        Self::Lock,
        Self::Notify,
        Self::Maintain,
        Self::Replication,
    ];

    /// The word used in policies, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Create => "create",
            Self::Alter => "alter",
            Self::Drop => "drop",
            Self::Grant => "grant",
            Self::Role => "role",
            Self::Call => "call",
            Self::Code => "code",
            Self::Program => "program",
            Self::File => "file",
            Self::Network => "network",
            Self::Signal => "signal",
            Self::Config => "config",
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Lock => "lock",
            Self::Notify => "notify",
            Self::Maintain => "maintain",
            Self::Replication => "replication",
        }
    }

    /// Whether an operation of only such effects leaves the resource as it was.
    pub const fn is_passive(self) -> bool {
        match self {
            Self::Read | Self::Session | Self::Transaction | Self::Lock => true,
            Self::Insert
            | Self::Update
            | Self::Delete
            | Self::Truncate
            | Self::Create
            | Self::Alter
            | Self::Drop
            | Self::Grant
            | Self::Role
            | Self::Call
            | Self::Code
            | Self::Program
            | Self::File
            | Self::Network
            | Self::Signal
            | Self::Config
            | Self::Notify
            | Self::Maintain
            | Self::Replication => false,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of thing an effect is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A table, partition or foreign table.
    Table,
    /// A view or materialized view.
    View,
    /// A column of a table; its name is the table's with the column appended.
    Column,
    /// An index.
    Index,
    /// A sequence.
    Sequence,
    /// A function, procedure or aggregate.
    Function,
    /// A schema.
    Schema,
    /// A database.
    Database,
    /// A role or user.
    Role,
    /// A configuration parameter.
    Setting,
    /// An extension.
    Extension,
    /// A trigger, rule or event trigger.
    Trigger,
    /// A type or domain.
    Type,
    /// A large object.
    LargeObject,
    /// A notification channel.
    Channel,
    /// What a URL's path names.
    Path,
    /// Any other thing of the server, or the server itself.
    Other,
}

impl ObjectKind {
    /// Every kind that SQL knows, in the order of the reference.
    pub const ALL: [Self; 16] = [
        Self::Table,
        Self::View,
        Self::Column,
        Self::Index,
        Self::Sequence,
        Self::Function,
        Self::Schema,
        Self::Database,
        Self::Role,
        Self::Setting,
        Self::Extension,
        Self::Trigger,
        Self::Type,
        Self::LargeObject,
        Self::Channel,
        Self::Other,
    ];

    /// The word used in policies, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::Column => "column",
            Self::Index => "index",
            Self::Sequence => "sequence",
            Self::Function => "function",
            Self::Schema => "schema",
            Self::Database => "database",
            Self::Role => "role",
            Self::Setting => "setting",
            Self::Extension => "extension",
            Self::Trigger => "trigger",
            Self::Type => "type",
            Self::LargeObject => "large-object",
            Self::Channel => "channel",
            Self::Path => "path",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name with its schema, as the server resolved or would resolve it.
///
/// A name without a schema could not be resolved: a temporary table, one made in a transaction
/// that is still open, or a thing that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The schema; `None` if the name could not be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Arc<str>>,
    /// The name, folded as the server folds it.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name in a schema.
    pub fn qualified(schema: &str, name: &str) -> Self {
        Self { schema: Some(schema.into()), name: name.into() }
    }

    /// A name that could not be resolved, or that has no schema by its kind (a role, a setting).
    pub fn bare(name: &str) -> Self {
        Self { schema: None, name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A column of a base table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnName {
    /// The table.
    pub table: ObjectName,
    /// The column.
    pub column: Arc<str>,
}

impl fmt::Display for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

/// What an effect is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name; `None` where the effect is on no named thing (`BEGIN`), or on all of a kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ObjectName>,
}

impl Object {
    /// An object with a name.
    pub const fn named(kind: ObjectKind, name: ObjectName) -> Self {
        Self { kind, name: Some(name) }
    }

    /// An effect on no named thing.
    pub const fn unnamed(kind: ObjectKind) -> Self {
        Self { kind, name: None }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}`"),
            None => f.write_str(self.kind.as_str()),
        }
    }
}

/// Whether an UPDATE, DELETE or MERGE is limited to some rows by a condition that can be false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bounded {
    /// A real restriction.
    Yes,
    /// None, a constant one, or one that is always true.
    No,
    /// The effect is of a kind for which the question does not arise.
    NotApplicable,
}

/// What an operation would do, on what, and with a real restriction?
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// What.
    pub verb: Verb,
    /// On what.
    pub object: Object,
    /// With a real restriction?
    pub bounded: Bounded,
}

impl Effect {
    /// An effect for which being bounded is no question.
    pub const fn new(verb: Verb, object: Object) -> Self {
        Self { verb, object, bounded: Bounded::NotApplicable }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.object)?;
        match self.bounded {
            Bounded::No => f.write_str(" (unbounded)"),
            Bounded::Yes | Bounded::NotApplicable => Ok(()),
        }
    }
}

/// How sure guard is that the effects are all there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "level", content = "why")]
pub enum Certainty {
    /// The effects are all effects.
    Exact,
    /// The listed effects happen; others may.
    Partial(Arc<str>),
    /// Nothing is known; there are no effects listed.
    Unparsed(Arc<str>),
}

/// Whether a value travels as it is, or something computed from it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// The value itself.
    Plain,
    /// The value itself, or that of another column.
    Either,
    /// The value itself, or one that the statement gives: whoever wrote it can have any value treated as the
    /// column's are.
    Given,
    /// Something computed from it, from which it might be learned.
    Derived,
}

/// A base column that a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The base column.
    pub column: ColumnName,
    /// How it travels.
    pub flow: Flow,
}

/// One column of a result, and where its values come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Output {
    /// Every base column that the values may come from.
    pub sources: Vec<Source>,
}

/// The columns of an operation's result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "known", content = "columns")]
pub enum Outputs {
    /// No rows come back.
    None,
    /// These columns come back, in order.
    Columns(Vec<Output>),
    /// Rows come back, and where their values come from is not known.
    Unknown(Arc<str>),
}

/// How a condition looks at a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// The column itself is compared by `=` or `IN` with values that the client brings, or by `=` with
    /// another column itself.
    Equality,
    /// In any other way: compared, ordered, grouped, counted, asked for NULL.
    Other,
}

/// A column of which something is told by which rows come back, in which order, or how many.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tested {
    /// The base column; `None` where a condition looks at a value whose origin is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<ColumnName>,
    /// How it is looked at; the most telling way if there are several.
    pub how: Test,
}

/// One thing that a client asks of a resource, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The protocol it came in by.
    pub protocol: Protocol,
    /// What the protocol calls it (`SELECT`, `COPY`), for people and records.
    pub label: Arc<str>,
    /// What it would do. One statement can have several: `WITH d AS (DELETE …) SELECT …`.
    pub effects: Vec<Effect>,
    /// How sure guard is of that.
    pub certainty: Certainty,
    /// What comes back.
    pub outputs: Outputs,
    /// Base columns whose values, or something computed from them, go anywhere but to the client:
    /// into a table, a setting, a function that acts, a notification.
    pub stores: Vec<ColumnName>,
    /// Base columns that decide which rows are found, in which order, or how many: in conditions, joins,
    /// orders, groups. What a view's own definition looks at is left out.
    pub tested: Vec<Tested>,
    /// Whether it asks for transactions that may write, where they may not.
    pub lifts_read_only: bool,
    /// The request, of HTTP: its effects are those of its methods, in their order.
    pub request: Option<Arc<HttpRequest>>,
    /// The text as the client sent it.
    pub text: Sensitive<Arc<str>>,
    /// Equal for operations that differ in literals only.
    pub fingerprint: Digest,
}

impl Operation {
    /// An operation that was not understood. It has no effects; only a rule that names
    /// `unparsed` matches it.
    pub fn unparsed(protocol: Protocol, label: &str, text: Arc<str>, why: &str) -> Self {
        Self {
            protocol,
            label: label.into(),
            effects: Vec::new(),
            certainty: Certainty::Unparsed(why.into()),
            outputs: Outputs::Unknown(why.into()),
            stores: Vec::new(),
            tested: Vec::new(),
            lifts_read_only: false,
            request: None,
            fingerprint: Digest::of(text.as_bytes()),
            text: Sensitive::new(text),
        }
    }

    /// Whether it is fully understood and leaves the resource as it was.
    pub fn is_passive(&self) -> bool {
        self.certainty == Certainty::Exact && self.effects.iter().all(|e| e.verb.is_passive())
    }
}
