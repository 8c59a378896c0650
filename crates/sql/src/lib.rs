//! SQL text to operations and column lineage. Pure: no I/O, no clock.
//!
//! [`analyze`] is the one entry: text in, statements out, each with an [`Operation`] and what the
//! wire protocol must know of it. What cannot be understood comes out as `Unparsed`; nothing here
//! fails open.

mod analyzer;
mod bounded;
mod cascade;
mod catalog;
mod closure;
mod copy;
mod ddl;
mod dml;
mod draft;
mod expr;
mod fastpath;
mod fingerprint;
mod functions;
mod fuzz;
mod lock;
mod nodes;
mod origin;
mod parse;
mod planned;
mod plpgsql;
mod precheck;
mod query;
mod routines;
mod session;
mod statement;
mod statements;
mod template;
mod tested;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use guard_core::{
    Certainty, Digest, Effect, Object, ObjectKind, Operation, Outputs, Protocol, Sensitive, Tested,
    Verb,
};

pub use catalog::{Catalog, Column, Relation, RelationKind};
pub use closure::MAX_BODY;
pub use fastpath::fastpath;
pub use functions::computes_only;
#[doc(hidden)]
pub use fuzz::{fuzz_analyze, fuzz_lineage};
pub use lock::{fingerprints, without_literals};
pub use planned::planned;
pub use precheck::{MAX_CHAIN, MAX_COMMENT_DEPTH, MAX_NESTING, cheap};
pub use routines::{
    Body, Callee, Cast, CastContext, Events, Follow, RULE, Reference, Routine, RoutineId, Routines,
};
pub use statement::{CopyFormat, CopyOptions, Names, NoNames, Statement, StatementRole};
pub use template::{Template, compare, fuzz_template, template};

use analyzer::{Analyzer, Local};
use draft::Draft;
use fingerprint::Shape;
use statements::Reading;

/// Longest text that is analysed, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// Stack that [`analyze`] needs for a text that is not [`cheap`]: the parser recurses in C.
pub const STACK: usize = 64 << 20;

/// Reads a PostgreSQL query string as the server would: statements in order, none left out.
///
/// An empty string gives no statement. If the text as a whole does not parse, the answer is one
/// statement whose operation is `Unparsed`. A text that is not [`cheap`] belongs on a thread with
/// [`STACK`] bytes of stack, under a deadline.
pub fn analyze(text: &Arc<str>, catalog: &Catalog, names: &dyn Names) -> Vec<Arc<Statement>> {
    examine(text, catalog, names).statements
}

/// What [`analyze`] gives, and whether a newer catalog could give something else.
pub struct Analysis {
    /// The statements in order.
    pub statements: Vec<Arc<Statement>>,
    /// A relation, column or function was looked for that the catalog does not have. What it is, if it
    /// has been made since, may have other effects than those found here.
    pub missing: bool,
}

/// As [`analyze`], for a catalog that may be older than what it describes.
pub fn examine(text: &Arc<str>, catalog: &Catalog, names: &dyn Names) -> Analysis {
    let tree = match parse::parse(text) {
        Ok(tree) => tree,
        Err(why) => {
            return Analysis { statements: vec![unparsed(text.clone(), &why)], missing: false };
        }
    };
    let mut local = Local::default();
    let mut missing = false;
    let mut statements = Vec::with_capacity(tree.stmts.len());
    for raw in &tree.stmts {
        let own = own_text(text, raw.stmt_location, raw.stmt_len);
        let Some(node) = raw.stmt.as_deref().and_then(|stmt| stmt.node.as_ref()) else {
            statements.push(unparsed(own.into(), statements::NO_STATEMENT));
            continue;
        };
        let mut analyzer = Analyzer::new(catalog, names, &local);
        let reading = analyzer.statement(node);
        analyzer.close();
        missing |= analyzer.missing.get();
        let statement = match reading {
            Some(reading) => Arc::new(finish(analyzer.draft, reading, own, fingerprint_of(own))),
            None => unparsed(own.into(), statements::NO_STATEMENT),
        };
        local.defined |= closure::changes_what_runs(&statement.operation.effects);
        match &statement.role {
            StatementRole::Prepare { name, inner } => {
                local.prepared.push((name.clone(), inner.clone()));
            }
            StatementRole::Declare { name, inner } => {
                local.cursors.push((name.clone(), inner.clone()));
            }
            StatementRole::Plain
            | StatementRole::Deallocate(_)
            | StatementRole::Fetch(_)
            | StatementRole::Close(_)
            | StatementRole::CopyOut(_)
            | StatementRole::CopyIn(_)
            | StatementRole::DiscardAll => {}
        }
        statements.push(statement);
    }
    Analysis { statements, missing }
}

/// A command of the replication protocol, or the start of a replication connection.
pub fn replication(text: &str) -> Operation {
    Operation {
        protocol: Protocol::Postgres,
        label: "REPLICATION".into(),
        effects: vec![Effect::new(Verb::Replication, Object::unnamed(ObjectKind::Other))],
        certainty: Certainty::Exact,
        outputs: Outputs::Unknown("a replication stream".into()),
        stores: Vec::new(),
        tested: Vec::new(),
        lifts_read_only: false,
        request: None,
        fingerprint: Digest::of(text.as_bytes()),
        text: Sensitive::new(text.into()),
    }
}

fn unparsed(text: Arc<str>, why: &str) -> Arc<Statement> {
    let operation = Operation::unparsed(Protocol::Postgres, "?", text, why);
    Arc::new(Statement {
        operation: Arc::new(operation),
        role: StatementRole::Plain,
        uncounted: false,
        follows: false,
    })
}

/// Makes a statement of what was found out.
fn finish(draft: Draft, reading: Reading, text: &str, fingerprint: Digest) -> Statement {
    let reading = Reading { role: with_text(reading.role, text, fingerprint), ..reading };
    let certainty = draft.certainty();
    let uncounted = draft.uncounted;
    let follows = draft.follows;
    let operation = Operation {
        protocol: Protocol::Postgres,
        label: reading.label.into(),
        effects: draft.effects,
        certainty,
        outputs: draft.outputs,
        stores: draft.stores.into_iter().collect(),
        tested: draft.tested.into_iter().map(|(column, how)| Tested { column, how }).collect(),
        lifts_read_only: draft.lifts_read_only,
        request: None,
        text: Sensitive::new(text.into()),
        fingerprint,
    };
    Statement { operation: Arc::new(operation), role: reading.role, uncounted, follows }
}

/// A statement's own part of the text. The parser counts bytes; a length of 0 means to the end.
fn own_text(text: &str, location: i32, length: i32) -> &str {
    let start = usize::try_from(location).unwrap_or(0);
    let length = usize::try_from(length).unwrap_or(0);
    let end = if length == 0 { text.len() } else { start.saturating_add(length) };
    text.get(start..end).unwrap_or(text).trim()
}

/// Equal for statements that differ in literals only.
fn fingerprint_of(text: &str) -> Digest {
    match Shape::of(text) {
        Some(shape) => shape.digest(),
        None => Digest::of(text.as_bytes()),
    }
}

/// The fingerprint of what a statement of this one prepares or declares.
fn inside(fingerprint: Digest) -> Digest {
    Digest::of(format!("inside {fingerprint}"))
}

/// The statement inside of another one gets the other one's text: that is what a record shows of it.
fn with_text(role: StatementRole, text: &str, fingerprint: Digest) -> StatementRole {
    let within = |inner: Arc<Statement>| {
        let operation = Operation {
            text: Sensitive::new(text.into()),
            fingerprint: inside(fingerprint),
            ..Operation::clone(&inner.operation)
        };
        Arc::new(Statement {
            operation: Arc::new(operation),
            role: inner.role.clone(),
            uncounted: inner.uncounted,
            follows: inner.follows,
        })
    };
    match role {
        StatementRole::Prepare { name, inner } => {
            StatementRole::Prepare { name, inner: within(inner) }
        }
        StatementRole::Declare { name, inner } => {
            StatementRole::Declare { name, inner: within(inner) }
        }
        StatementRole::Plain
        | StatementRole::Deallocate(_)
        | StatementRole::Fetch(_)
        | StatementRole::Close(_)
        | StatementRole::CopyOut(_)
        | StatementRole::CopyIn(_)
        | StatementRole::DiscardAll => role,
    }
}
