//! Of which statements the planner is asked how many rows they are about, and what exactly.

use std::{sync::Arc, time::Duration};

use guard_core::{ObjectKind, Operation};
use guard_gate::{Ask, Estimate};
use guard_sql::{Statement, StatementRole};
use tokio::time::timeout;

use super::{
    definitions::Definitions,
    encoding::Reading,
    likeness::{Bound, Parameters, Unknown, may_set_defaults},
    names::{Found, Portal},
    planner::{NOT_PLANNED, Question},
    session::Session,
    settled::Settled,
};

/// How long an estimate may take, a new connection and other clients' estimates included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most tables of a statement that are looked for among temporary ones.
const MAX_NAMES: usize = 1_000;

impl Session {
    /// Remembers of a statement that is sent whether another connection is still like this one.
    pub(super) fn note_likeness(&mut self, operation: &Operation) {
        let Some(likeness) = &mut self.likeness else { return };
        let (lost, reports) = likeness.after(operation);
        likeness.lost = likeness.lost.or(lost);
        if operation.effects.iter().any(may_set_defaults) {
            self.shared.planner.defaults_changed();
        }
        if reports {
            // The server does when it is ready: what comes before that is not read with what it said before.
            self.settled = self.settled.max(Settled::Perhaps);
        }
    }

    /// Finds out of some of a message's statements how many rows they are about. `bound`: the parameters of the portal
    /// that is executed.
    pub(super) async fn estimate(
        &mut self,
        asks: &mut [Ask],
        needed: &[usize],
        statements: &[Arc<Statement>],
        bound: Option<&Arc<Bound>>,
    ) {
        for index in 0..asks.len() {
            let found = if needed.contains(&index) {
                self.question(statements, index, bound)
            } else {
                Err("the planner was not asked")
            };
            let estimate = match found {
                Ok((parameters, question)) => {
                    let planner = &self.shared.planner;
                    let asked = planner.ask(&*self.shared.resource, parameters, &question);
                    timeout(TIMEOUT, asked).await.unwrap_or(Err("the planner takes too long"))
                }
                Err(why) => Err(why),
            };
            if let Some(ask) = asks.get_mut(index) {
                ask.estimate = match estimate {
                    Ok(rows) => Estimate::Rows(rows),
                    Err(why) => Estimate::Unknown(why),
                };
            }
        }
    }

    /// What the planner is asked about one statement of a message, or why it is not.
    fn question(
        &self,
        statements: &[Arc<Statement>],
        index: usize,
        bound: Option<&Arc<Bound>>,
    ) -> Result<(Parameters, Question), Unknown> {
        let Some(likeness) = &self.likeness else {
            return Err(
                "the connection is older than the policy that wants to know it, or replicates",
            );
        };
        if let Some(why) = likeness.lost {
            return Err(why);
        }
        if self.settled != Settled::Yes {
            return Err("a setting before it in the same batch is not confirmed yet");
        }
        if self.reading != Reading::default() {
            return Err("the client's encoding is not UTF-8, or its strings are not standard");
        }
        let (before, statement) = match (statements.get(..index), statements.get(index)) {
            (Some(before), Some(statement)) => (before, statement),
            (_, None) | (None, _) => return Err(NOT_PLANNED),
        };
        let mut changed = self.changed;
        for statement in before {
            changed.note_sent(&statement.operation);
            let (lost, reports) = likeness.after(&statement.operation);
            if lost.is_some() || reports {
                return Err("a statement before it in the same message changes how it is planned");
            }
        }
        match changed {
            Definitions::Unchanged => {}
            Definitions::Made | Definitions::Changed => {
                return Err("definitions were changed before it that are not committed");
            }
        }
        let (planned, bound) = self.planned(statement, bound)?;
        let text = guard_sql::planned(&planned).ok_or(NOT_PLANNED)?.into_owned();
        let named = statement.operation.effects.iter().filter_map(|effect| {
            let name = effect.object.name.as_ref()?;
            matches!(
                effect.object.kind,
                ObjectKind::Table | ObjectKind::View | ObjectKind::Sequence
            )
            .then(|| name.name.to_string())
        });
        let mut tables: Vec<String> = named.collect();
        tables.sort_unstable();
        tables.dedup();
        if tables.len() > MAX_NAMES {
            return Err("it names too many tables");
        }
        let settings = likeness.reported.iter();
        let settings = settings.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok((likeness.parameters.clone(), Question { text, bound, tables, settings }))
    }

    /// The operation that is planned for a statement, and its parameters: for FETCH those of its cursor.
    fn planned(
        &self,
        statement: &Statement,
        bound: Option<&Arc<Bound>>,
    ) -> Result<(Arc<Operation>, Option<Arc<Bound>>), Unknown> {
        let StatementRole::Fetch(cursor) = &statement.role else {
            return Ok((statement.operation.clone(), bound.cloned()));
        };
        let portal = match self.names.portals.find(cursor, self.group) {
            Found::This(portal) => portal,
            Found::Nothing | Found::Undecided => return Err("its cursor is not known yet"),
        };
        let Portal { source: Some(source), bound, .. } = portal else { return Err(NOT_PLANNED) };
        match source.statements.as_slice() {
            [one] => Ok((one.operation.clone(), bound)),
            _ => Err(NOT_PLANNED),
        }
    }
}
