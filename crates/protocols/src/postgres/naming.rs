//! Names that messages and statements give to statements and portals.

use std::sync::{Arc, OnceLock};

use guard_sql::{Statement, StatementRole};

use super::{
    expect::Change,
    frame::Broken,
    names::{Group, Portal, TooMany},
    session::Session,
    startup::client,
    understood::Understood,
};
use crate::ProtocolError;

/// Longest name of a statement or portal, in bytes. The server cuts off what is longer (`NAMEDATALEN`): two
/// names here would be one there.
const MAX_NAME: usize = 63;

impl Session {
    /// The changes of names that a statement makes when it is done.
    pub(super) fn changes(
        &mut self,
        statement: &Statement,
        of: &Understood,
    ) -> Result<Vec<Change>, ProtocolError> {
        let group: Group = self.group;
        let names = &mut self.names;
        let changes = match &statement.role {
            StatementRole::Plain
            | StatementRole::Fetch(_)
            | StatementRole::CopyOut(_)
            | StatementRole::CopyIn(_) => {
                return Ok(Vec::new());
            }
            StatementRole::Prepare { name, .. } => {
                let inner = Understood::part(of, &statement.role);
                let change = names.statements.propose(Some(name.clone()), Some(inner), group);
                vec![change.map(Change::Statement)]
            }
            StatementRole::Deallocate(name) => {
                let change = names.statements.propose(name.clone(), None, group);
                vec![change.map(Change::Statement)]
            }
            StatementRole::Declare { name, .. } => {
                let portal = Portal {
                    source: Some(Understood::part(of, &statement.role)),
                    bound: None,
                    parameters: guard_gate::Parameters::None,
                    columns: Arc::new(OnceLock::new()),
                    described: false,
                    used: Arc::default(),
                    kept: Arc::default(),
                };
                let change = names.portals.propose(Some(name.clone()), Some(portal), group);
                vec![change.map(Change::Portal)]
            }
            StatementRole::Close(name) => {
                let change = names.portals.propose(name.clone(), None, group);
                vec![change.map(Change::Portal)]
            }
            StatementRole::DiscardAll => vec![
                names.statements.propose(None, None, group).map(Change::Statement),
                names.portals.propose(None, None, group).map(Change::Portal),
            ],
        };
        changes.into_iter().collect::<Result<_, _>>().map_err(too_many)
    }

    pub(super) fn name(&self, bytes: &[u8]) -> Result<Arc<str>, ProtocolError> {
        if bytes.is_empty() {
            // The usual one, and shared.
            return Ok(Arc::default());
        }
        let name = self.reading.name(bytes);
        let name = name.map_err(|_| client(Broken::Malformed("a name is not a text")))?;
        // In any of the server's encodings.
        let length: usize = name.chars().map(|c| if c.is_ascii() { 1 } else { 4 }).sum();
        if length > MAX_NAME {
            return Err(client(Broken::Malformed("a name is longer than the server keeps")));
        }
        Ok(name.into())
    }
}

pub(super) fn too_many(error: TooMany) -> ProtocolError {
    ProtocolError::Client(error.to_string())
}
