//! A text, understood: its statements, and how long they are so.

use std::sync::Arc;

use guard_core::{Effect, Object, ObjectKind, Operation, Protocol, Verb};
use guard_sql::{Statement, StatementRole};

use crate::ProtocolError;

/// A text, understood.
pub(super) struct Understood {
    pub(super) text: Arc<str>,
    pub(super) statements: Vec<Arc<Statement>>,
    /// The types of parameters that came with it, where a rule bounds rows.
    pub(super) types: Option<Arc<[i32]>>,
    pub(super) origin: Origin,
    /// With which catalog.
    pub(super) version: u64,
    /// Whether it depends on names of the connection, and so on the moment.
    pub(super) depends_on_names: bool,
    /// Whether it names what that catalog does not have, and what may have been made since.
    pub(super) missing: bool,
    /// Texts of what its names stand for.
    pub(super) behind: Vec<Arc<str>>,
}

/// How the statements follow from the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// They are all of it.
    Text,
    /// What the statement at this place prepares. It is planned again when a definition changes.
    Prepared(usize),
    /// The query of a cursor that was declared. It is planned, and stays so.
    Declared,
}

impl Understood {
    /// What one of the statements prepares or declares.
    pub(super) fn part(of: &Self, role: &StatementRole) -> Arc<Self> {
        let place = of.statements.iter().position(|statement| statement.role == *role);
        let (inner, origin) = match (role, place) {
            (StatementRole::Prepare { inner, .. }, Some(place)) => (inner, Origin::Prepared(place)),
            (StatementRole::Declare { inner, .. }, Some(_)) => (inner, Origin::Declared),
            (
                StatementRole::Prepare { .. }
                | StatementRole::Declare { .. }
                | StatementRole::Plain
                | StatementRole::Deallocate(_)
                | StatementRole::Fetch(_)
                | StatementRole::Close(_)
                | StatementRole::CopyOut(_)
                | StatementRole::CopyIn(_)
                | StatementRole::DiscardAll,
                _,
            ) => return Arc::new(Self::not(of.text.clone(), "?", "it prepares nothing")),
        };
        Arc::new(of.with(vec![inner.clone()], origin))
    }

    /// What the statement at a place prepares, read again.
    pub(super) fn prepared(&self, place: usize) -> Self {
        match self.statements.get(place).map(|statement| &statement.role) {
            Some(StatementRole::Prepare { inner, .. }) => {
                self.with(vec![inner.clone()], Origin::Prepared(place))
            }
            Some(_) | None => Self::not(self.text.clone(), "?", "it prepares nothing any more"),
        }
    }

    /// The same text with types of parameters.
    pub(super) fn with_types(&self, types: Arc<[i32]>) -> Self {
        Self { types: Some(types), ..self.with(self.statements.clone(), self.origin) }
    }

    fn with(&self, statements: Vec<Arc<Statement>>, origin: Origin) -> Self {
        Self {
            text: self.text.clone(),
            statements,
            types: None,
            origin,
            version: self.version,
            depends_on_names: self.depends_on_names,
            missing: self.missing,
            behind: self.behind.clone(),
        }
    }

    /// A text whose names cannot be looked up. A lock of this very connection may be why, and what it sends next
    /// its end: so that is answered, and not waited for.
    pub(super) fn without_catalog(text: Arc<str>, error: &ProtocolError) -> Arc<Self> {
        tracing::warn!(%error, "a statement is not understood: the catalog cannot be read");
        Arc::new(Self::not(text, "?", "the server's catalog cannot be read at the moment"))
    }

    /// A command of the replication protocol.
    pub(super) fn replication(text: Arc<str>) -> Self {
        let mut operation = guard_sql::replication(&text);
        // The server can be told to write a base backup to its own disk, or to send it to the client.
        if text.to_ascii_lowercase().replace("target 'client'", "").contains("target") {
            operation.effects.push(Effect::new(Verb::File, Object::unnamed(ObjectKind::Other)));
        }
        Self::alone(text, operation)
    }

    /// A text that was not understood, for this reason.
    pub(super) fn not(text: Arc<str>, label: &str, why: &str) -> Self {
        let operation = Operation::unparsed(Protocol::Postgres, label, text.clone(), why);
        Self::alone(text, operation)
    }

    fn alone(text: Arc<str>, operation: Operation) -> Self {
        let statement = Statement {
            operation: Arc::new(operation),
            role: StatementRole::Plain,
            uncounted: false,
            follows: false,
        };
        // Nothing is looked up for it, so that no catalog makes it better.
        Self {
            text,
            statements: vec![Arc::new(statement)],
            types: None,
            origin: Origin::Text,
            version: 0,
            depends_on_names: true,
            missing: false,
            behind: Vec::new(),
        }
    }
}
