//! Masks: what a policy wants hidden, and what that means for one operation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ColumnPattern;

/// How a value is hidden. What comes out is valid for the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// A constant that says that something was here (`[masked]`, 0, 1970-01-01, …).
    Redact,
    /// SQL NULL.
    Null,
    /// A keyed hash: equal values stay equal within a session, so keys and joins hold.
    Hash,
    /// All but the last four characters of a text are replaced by `*`; other types are redacted.
    Partial,
}

impl Mask {
    /// The word used in policies and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redact => "redact",
            Self::Null => "null",
            Self::Hash => "hash",
            Self::Partial => "partial",
        }
    }

    /// Of two masks, the one that shows less: null, then redact, then hash, then partial.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if self.strictness() >= other.strictness() { self } else { other }
    }

    const fn strictness(self) -> u8 {
        match self {
            Self::Partial => 0,
            Self::Hash => 1,
            Self::Redact => 2,
            Self::Null => 3,
        }
    }
}

/// What happens to a value computed from a masked column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum DerivedFlow {
    /// The operation is blocked.
    #[default]
    Block,
    /// The computed value is redacted as a whole.
    Redact,
}

/// Masked columns of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnMask {
    /// The base columns.
    pub column: ColumnPattern,
    /// How it is hidden.
    pub mask: Mask,
}

/// The masks of one permitted operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaskPlan {
    /// One entry an output column, in order; empty when no output column is masked.
    pub outputs: Vec<Option<Mask>>,
    /// Whether the operation touches an object that has masked columns, or might: then the
    /// server's error and notice texts may carry values and are replaced.
    pub reach: bool,
    /// Every masked column of the policy, for checks against what the server itself says of its
    /// results (table and column of a `RowDescription` field); see [`MaskPlan::mask_for`].
    pub columns: Arc<[ColumnMask]>,
}

impl MaskPlan {
    /// Whether any output column is rewritten.
    pub fn rewrites(&self) -> bool {
        self.outputs.iter().any(Option::is_some)
    }

    /// The mask of a base column, the strictest if there are several.
    pub fn mask_for(&self, schema: &str, table: &str, column: &str) -> Option<Mask> {
        let fits = |mask: &&ColumnMask| {
            mask.column.table.matches_parts(schema, table) && mask.column.column.matches(column)
        };
        self.columns.iter().filter(fits).map(|mask| mask.mask).reduce(Mask::stricter)
    }
}
