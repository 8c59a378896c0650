//! Budgets: how much may be done of what a policy allows; and whether a policy is enforced at all.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// One of the bounds of a policy's `budgets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Rows that one statement returns or changes.
    RowsPerStatement,
    /// Bytes of row data that one statement returns or takes.
    BytesPerStatement,
    /// Rows of all statements of a session.
    RowsPerSession,
    /// Bytes of row data of all statements of a session.
    BytesPerSession,
    /// Rows that one statement updates, deletes or merges: rows that were there before it.
    ChangesPerStatement,
    /// The same over the statements of one transaction: of a message with several statements too, and of what an
    /// extended batch does before its Sync.
    ChangesPerTransaction,
    /// The same over all statements of a session.
    ChangesPerSession,
    /// Statements in any 60 seconds.
    StatementsPerMinute,
    /// Time from sending a statement to the end of its answer.
    TimePerStatement,
}

/// The bounds of a policy. What is not bounded is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets {
    /// See [`Budget::RowsPerStatement`].
    pub rows_per_statement: Option<u64>,
    /// See [`Budget::BytesPerStatement`].
    pub bytes_per_statement: Option<u64>,
    /// See [`Budget::RowsPerSession`].
    pub rows_per_session: Option<u64>,
    /// See [`Budget::BytesPerSession`].
    pub bytes_per_session: Option<u64>,
    /// See [`Budget::ChangesPerStatement`].
    pub changes_per_statement: Option<u64>,
    /// See [`Budget::ChangesPerTransaction`].
    pub changes_per_transaction: Option<u64>,
    /// See [`Budget::ChangesPerSession`].
    pub changes_per_session: Option<u64>,
    /// See [`Budget::StatementsPerMinute`].
    pub statements_per_minute: Option<u64>,
    /// See [`Budget::TimePerStatement`].
    pub time_per_statement: Option<Duration>,
}

/// A budget that was used up, with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exceeded {
    /// Which.
    pub budget: Budget,
    /// Its bound: rows, changed rows, bytes, statements or milliseconds.
    pub limit: u64,
    /// Whether the statement was ended for it. `false` where the policy only observes.
    pub ended: bool,
}

/// Whether a policy refuses, or only says what it would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Mode {
    /// What the policy blocks is refused.
    #[default]
    Enforce,
    /// What the policy blocks goes on, and is recorded as what would be refused.
    Observe,
}

// === impl Budget ===

impl Budget {
    /// The word used in policies, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RowsPerStatement => "rows_per_statement",
            Self::BytesPerStatement => "bytes_per_statement",
            Self::RowsPerSession => "rows_per_session",
            Self::BytesPerSession => "bytes_per_session",
            Self::ChangesPerStatement => "changes_per_statement",
            Self::ChangesPerTransaction => "changes_per_transaction",
            Self::ChangesPerSession => "changes_per_session",
            Self::StatementsPerMinute => "statements_per_minute",
            Self::TimePerStatement => "time_per_statement",
        }
    }

    /// Whether the session's other statements share it.
    pub const fn is_of_session(self) -> bool {
        match self {
            Self::RowsPerSession | Self::BytesPerSession | Self::ChangesPerSession => true,
            Self::RowsPerStatement
            | Self::BytesPerStatement
            | Self::ChangesPerStatement
            | Self::ChangesPerTransaction
            | Self::StatementsPerMinute
            | Self::TimePerStatement => false,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::RowsPerStatement | Self::RowsPerSession => "rows",
            Self::BytesPerStatement | Self::BytesPerSession => "bytes",
            Self::ChangesPerStatement | Self::ChangesPerTransaction | Self::ChangesPerSession => {
                "changed rows"
            }
            Self::StatementsPerMinute => "statements",
            Self::TimePerStatement => "ms",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Budgets ===

impl Budgets {
    /// Whether rows, changes or bytes are bounded, so that results have to be counted.
    pub const fn count_data(&self) -> bool {
        self.count_rows()
            || self.count_changes()
            || self.bytes_per_statement.is_some()
            || self.bytes_per_session.is_some()
    }

    /// Whether rows are bounded.
    pub const fn count_rows(&self) -> bool {
        self.rows_per_statement.is_some() || self.rows_per_session.is_some()
    }

    /// Whether rows that are updated, deleted or merged are bounded.
    pub const fn count_changes(&self) -> bool {
        self.changes_per_statement.is_some()
            || self.changes_per_transaction.is_some()
            || self.changes_per_session.is_some()
    }

    /// Whether a statement may have to be ended while it runs.
    pub const fn end_statements(&self) -> bool {
        self.count_data() || self.time_per_statement.is_some()
    }
}

// === impl Exceeded ===

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {}", self.budget, self.limit, self.budget.unit())
    }
}

// === impl Mode ===

impl Mode {
    /// The word used in policies, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }

    /// Whether what is blocked is refused.
    pub const fn enforces(&self) -> bool {
        match self {
            Self::Enforce => true,
            Self::Observe => false,
        }
    }
}
