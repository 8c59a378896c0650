//! A statement: its operation, and what the wire protocol must know of it.

use std::sync::Arc;

use guard_core::Operation;

/// Names that a connection made before and that a statement may refer to.
///
/// A name can stand for several statements at once: what the server confirmed, and what was sent
/// and not yet answered. A statement that refers to it is then all of them, the strictest counts.
pub trait Names {
    /// Statements prepared under a name, by `PREPARE` or by a Parse message (one name space).
    fn prepared(&self, name: &str) -> Vec<Arc<Statement>>;
    /// Queries behind a cursor or portal of a name (one name space).
    fn cursor(&self, name: &str) -> Vec<Arc<Statement>>;
}

/// A connection that has made no names.
#[derive(Debug, Clone, Copy)]
pub struct NoNames;

impl Names for NoNames {
    fn prepared(&self, _name: &str) -> Vec<Arc<Statement>> {
        Vec::new()
    }

    fn cursor(&self, _name: &str) -> Vec<Arc<Statement>> {
        Vec::new()
    }
}

/// How COPY writes or reads rows on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Tab-separated with backslash escapes.
    Text,
    /// Comma-separated with quotes.
    Csv,
    /// PGCOPY with length words.
    Binary,
}

/// Options of a COPY to or from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// The format.
    pub format: CopyFormat,
    /// One byte.
    pub delimiter: u8,
    /// How NULL is written.
    pub null: Arc<str>,
    /// CSV quote, one byte.
    pub quote: u8,
    /// CSV escape, one byte.
    pub escape: u8,
    /// Whether the first line holds column names.
    pub header: bool,
}

/// What a statement is to the wire protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementRole {
    /// Nothing more than its operation.
    Plain,
    /// `PREPARE name AS …`: the inner statement is what an `EXECUTE` will do.
    Prepare {
        /// The name.
        name: Arc<str>,
        /// The statement behind it.
        inner: Arc<Statement>,
    },
    /// `DEALLOCATE name`, all of them if `None`.
    Deallocate(Option<Arc<str>>),
    /// `DECLARE name CURSOR FOR …`.
    Declare {
        /// The name.
        name: Arc<str>,
        /// The query behind it.
        inner: Arc<Statement>,
    },
    /// `FETCH` or `MOVE` of a cursor.
    Fetch(Arc<str>),
    /// `CLOSE name`, all of them if `None`.
    Close(Option<Arc<str>>),
    /// `COPY … TO STDOUT`: rows in this format; the operation's outputs are its columns.
    CopyOut(CopyOptions),
    /// `COPY … FROM STDIN`.
    CopyIn(CopyOptions),
    /// `DISCARD ALL`: prepared statements and cursors are gone.
    DiscardAll,
}

/// One statement of a query string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it does. For `EXECUTE` and `FETCH`: what the named statements do.
    pub operation: Arc<Operation>,
    /// What it is to the wire protocol.
    pub role: StatementRole,
    /// It changes rows that its command tag does not count: in a WITH, or under EXPLAIN ANALYZE.
    pub uncounted: bool,
    /// Whether some of its effects were found in bodies of functions, which may have been changed since.
    pub follows: bool,
}
