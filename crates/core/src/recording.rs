//! How much of what a statement did is recorded.

use std::fmt;

/// How much is recorded, from the least to the most. Each level has what those before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RecordLevel {
    /// What was asked, what it would do, what was decided, and how much came of it.
    #[default]
    Statements,
    /// Besides, the rows that the client got, after masking, up to a limit.
    Results,
    /// Besides, the bytes of the connection both ways, after masking, up to a limit.
    Bytes,
}

impl RecordLevel {
    /// The word used in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Statements => "statements",
            Self::Results => "results",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for RecordLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the texts of statements are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Literals {
    /// As they were sent.
    #[default]
    Text,
    /// Not at all, nor whatever may quote them: only their fingerprint.
    Fingerprint,
}

/// What is recorded of a statement, and how much of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recording {
    /// How much.
    pub level: RecordLevel,
    /// The most rows of an answer that are kept.
    pub rows: u64,
    /// The most bytes of an answer that are kept.
    pub bytes: u64,
}

impl Recording {
    /// Rows that are kept where a policy does not say.
    pub const ROWS: u64 = 1_000;
    /// Bytes of an answer that are kept where a policy does not say.
    pub const BYTES: u64 = 1 << 20;

    /// What holds where both apply: the more detailed level, and the larger limits of those that keep rows.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self.keeps_rows(), other.keeps_rows()) {
            (false, _) => other,
            (true, false) => self,
            (true, true) => Self {
                level: self.level.max(other.level),
                rows: self.rows.max(other.rows),
                bytes: self.bytes.max(other.bytes),
            },
        }
    }

    /// Whether rows of answers are kept.
    pub fn keeps_rows(self) -> bool {
        self.level >= RecordLevel::Results
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self { level: RecordLevel::default(), rows: Self::ROWS, bytes: Self::BYTES }
    }
}
