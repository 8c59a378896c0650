//! Masks: what a policy wants hidden, and what that means for one operation.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ColumnPattern, Detectors,
    http::{FieldName, JsonPath},
};

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
    /// Another value of the same shape: an address stays an address, digits stay digits, and values that
    /// differ stay different.
    Format,
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
            Self::Format => "format",
            Self::Partial => "partial",
        }
    }

    /// Of two masks, the one that shows less: null, then redact, hash, format, partial.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if self.strictness() >= other.strictness() { self } else { other }
    }

    const fn strictness(self) -> u8 {
        match self {
            Self::Partial => 0,
            Self::Format => 1,
            Self::Hash => 2,
            Self::Redact => 3,
            Self::Null => 4,
        }
    }
}

/// For how long equal values become equal ones, where a mask has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Stability {
    /// Within a session: its key is forgotten with it.
    #[default]
    Run,
    /// As long as the resource has the same lasting key.
    Always,
}

/// How a column's values are hidden, and with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Masking {
    /// How.
    pub mask: Mask,
    /// With the key of the session or a lasting one.
    pub stable: Stability,
}

impl Masking {
    /// Of two, what shows less: of the masks the stricter, with the session's key if one asks for it.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let stable = match (self.stable, other.stable) {
            (Stability::Always, Stability::Always) => Stability::Always,
            (Stability::Run, _) | (_, Stability::Run) => Stability::Run,
        };
        Self { mask: self.mask.stricter(other.mask), stable }
    }
}

impl From<Mask> for Masking {
    fn from(mask: Mask) -> Self {
        Self { mask, stable: Stability::Run }
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

/// Which conditions may look at a masked column. Ordered from lenient to strict.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "kebab-case")]
pub enum Predicates {
    /// Every one.
    #[default]
    Allow,
    /// The column itself by `=` and `IN`, with values that the client has, and in joins by `=`.
    Equality,
    /// None.
    Block,
}

/// Masked columns of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnMask {
    /// The base columns.
    pub column: ColumnPattern,
    /// How it is hidden.
    pub mask: Masking,
}

/// A field of a request to an HTTP API, or of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MaskedField {
    /// A value of a JSON text.
    Json(JsonPath),
    /// The value of a field of a form.
    Form(FieldName),
    /// The value of a header.
    Header(FieldName),
    /// The value of a cookie that is set.
    Cookie(FieldName),
}

/// Where a masked field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// In what is sent to an API.
    Request,
    /// In what it answers.
    Answer,
}

/// Masked fields of an HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldMask {
    /// In which direction.
    pub side: Side,
    /// Which.
    pub field: MaskedField,
    /// How they are hidden.
    pub mask: Masking,
}

impl fmt::Display for FieldMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Side::Request => f.write_str("request ")?,
            Side::Answer => {}
        }
        match &self.field {
            MaskedField::Json(path) => write!(f, "{path}"),
            MaskedField::Form(name) => write!(f, "form {name}"),
            MaskedField::Header(name) => write!(f, "header {name}"),
            MaskedField::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

/// The masks of one permitted operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaskPlan {
    /// One entry an output column, in order; empty when no output column is masked.
    pub outputs: Vec<Option<Masking>>,
    /// Whether the operation touches an object that has masked columns, or might: then the
    /// server's error and notice texts may carry values and are replaced.
    pub reach: bool,
    /// Every masked column of the policy, for checks against what the server itself says of its
    /// results (table and column of a `RowDescription` field); see [`MaskPlan::mask_for`].
    pub columns: Arc<[ColumnMask]>,
    /// What is looked for in the output columns that are not masked.
    pub detect: Detectors,
    /// What is hidden of a request and its answer.
    pub fields: Arc<[FieldMask]>,
}

impl MaskPlan {
    /// The masks of the output columns, in order, or of fields, without their keys.
    pub fn masks(&self) -> Vec<Option<Mask>> {
        let outputs = self.outputs.iter().map(|output| output.map(|masking| masking.mask));
        outputs.chain(self.fields.iter().map(|field| Some(field.mask.mask))).collect()
    }

    /// Whether there is nothing to hide or to look for, whatever comes back.
    pub fn is_empty(&self) -> bool {
        !self.rewrites()
            && self.columns.is_empty()
            && self.detect.is_empty()
            && self.fields.is_empty()
    }

    /// Whether any output column is rewritten.
    pub fn rewrites(&self) -> bool {
        self.outputs.iter().any(Option::is_some)
    }

    /// The mask of a base column, the strictest if there are several.
    pub fn mask_for(&self, schema: &str, table: &str, column: &str) -> Option<Masking> {
        let fits = |mask: &&ColumnMask| {
            mask.column.table.matches_parts(schema, table) && mask.column.column.matches(column)
        };
        self.columns.iter().filter(fits).map(|mask| mask.mask).reduce(Masking::stricter)
    }
}
