//! Masks on PostgreSQL's wire: values, rows, COPY streams and message texts.
//!
//! Everything here is a pure function of its input. A masked value is one that the column's type takes, so that
//! programs keep working and a dump can be restored; where no such value is known (enums, composites, types
//! of extensions) it is NULL. What is not hidden: that a value is NULL, and how many rows there are.
//!
//! Whatever does not look as the server writes it is [`Malformed`]: the connection ends then, and
//! nothing more of it goes to the client.

mod copy;
mod copy_binary;
mod copy_csv;
mod copy_text;
pub(crate) mod errors;
pub(crate) mod fuzz;
mod held;
mod how;
mod moments;
mod numbers;
#[cfg(test)]
mod roundtrip;
mod rows;
mod shape_numbers;
mod sqlstates;
mod types;
mod value;

pub(crate) use copy::CopyMasker;
pub(crate) use rows::RowMasker;
pub(crate) use types::{ColumnType, Format, UserType};
pub(crate) use value::ColumnMasker;

/// Longest value in which only detectors look, in bytes: a longer one of a COPY is redacted.
const MAX_DETECTED: usize = 1 << 20;

/// What the server sent is not what the protocol says it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's {what} cannot be masked: {why}")]
pub(crate) struct Malformed {
    what: &'static str,
    why: &'static str,
}

impl Malformed {
    const fn row(why: &'static str) -> Self {
        Self { what: "row", why }
    }

    const fn copy(why: &'static str) -> Self {
        Self { what: "COPY data", why }
    }

    const fn message(why: &'static str) -> Self {
        Self { what: "message", why }
    }
}
