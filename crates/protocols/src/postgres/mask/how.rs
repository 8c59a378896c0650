//! Which way a mask, or a detector, takes for a type.

use guard_core::{Detectors, Mask};

use super::{
    moments::Moment,
    numbers::Integer,
    types::{self, ColumnType, oid},
};

/// How the values of a column are hidden.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    Null,
    Redact,
    HashText { capacity: usize, padded: bool },
    HashInteger(Integer),
    Uuid,
    Partial,
    ShapeText { capacity: usize, padded: bool },
    ShapeInteger(Integer),
    ShapeNumeric,
    ShapeDouble,
    ShapeSingle,
    ShapeMoment(Moment),
    Label,
    Detect { detectors: Detectors, what: Detected },
}

/// In what kind of values something is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detected {
    Text,
    /// It may have numbers in it that are no texts.
    Mixed,
    Integer,
    Numeric,
}

impl Detected {
    /// What to look for in a column; `None` if there is nothing that could be found.
    pub(super) const fn of(column: ColumnType) -> Option<Self> {
        match column.oid {
            oid::TEXT | oid::UNKNOWN | oid::CSTRING | oid::VARCHAR | oid::BPCHAR | oid::NAME => {
                Some(Self::Text)
            }
            oid::INT8 => Some(Self::Integer),
            oid::NUMERIC => Some(Self::Numeric),
            oid::BOOL
            | oid::BYTEA
            | oid::CHAR
            | oid::INT2
            | oid::INT4
            | oid::OID
            | oid::XID
            | oid::CID
            | oid::XID8
            | oid::XML
            | oid::POINT
            | oid::CIDR
            | oid::INET
            | oid::FLOAT4
            | oid::FLOAT8
            | oid::MACADDR
            | oid::MACADDR8
            | oid::MONEY
            | oid::DATE
            | oid::TIME
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::TIMETZ
            | oid::INTERVAL
            | oid::BIT
            | oid::VARBIT
            | oid::UUID
            | oid::PG_LSN => None,
            _ => Some(Self::Mixed),
        }
    }
}

impl How {
    /// How a mask hides values of a column. One that has no sense for the type redacts.
    pub(super) fn of(mask: Mask, column: ColumnType) -> Self {
        let text = types::text_capacity(column.oid, column.modifier);
        match (mask, text) {
            (Mask::Null, _) if column.not_null => Self::Redact,
            (Mask::Null, _) => Self::Null,
            (Mask::Redact, _) | (Mask::Partial, None) => Self::Redact,
            (Mask::Partial, Some(_)) => Self::Partial,
            (Mask::Hash, Some(capacity)) => {
                Self::HashText { capacity, padded: column.oid == oid::BPCHAR }
            }
            (Mask::Format, Some(capacity)) => {
                Self::ShapeText { capacity, padded: column.oid == oid::BPCHAR }
            }
            (Mask::Hash, None) => match (Integer::of(column.oid), column.oid) {
                (Some(integer), _) => Self::HashInteger(integer),
                (None, oid::UUID) => Self::Uuid,
                (None, _) => Self::Redact,
            },
            (Mask::Format, None) => match (Integer::of(column.oid), column.oid) {
                (Some(integer), _) => Self::ShapeInteger(integer),
                (None, oid::UUID) => Self::Uuid,
                (None, oid::NUMERIC) => Self::ShapeNumeric,
                (None, oid::FLOAT8) => Self::ShapeDouble,
                (None, oid::FLOAT4) => Self::ShapeSingle,
                (None, oid::DATE) => Self::ShapeMoment(Moment::Date),
                (None, oid::TIME) => Self::ShapeMoment(Moment::Time),
                (None, oid::TIMESTAMP) => Self::ShapeMoment(Moment::Timestamp),
                (None, oid::TIMESTAMPTZ) => Self::ShapeMoment(Moment::TimestampTz),
                (None, _) => Self::Redact,
            },
        }
    }
}
