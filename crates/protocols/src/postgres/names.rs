//! Names of prepared statements and of portals, as the server has them.
//!
//! Parse and `PREPARE` share one name space, Bind and `DECLARE` another. A name means what the server confirmed:
//! a change that it has not answered yet may still fail, and after an error it skips whatever comes
//! before the next Sync. So each change is kept apart until it is answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use guard_gate::{KeptSoFar, Parameters, Used};

use super::{likeness::Bound, results::Columns, understood::Understood};

/// Names of each kind that a connection may have.
const MAX_NAMES: usize = 65_536;

/// Changes of one group fail together: when one of them fails, the server skips the ones behind it.
pub(super) type Group = u64;

/// Names one change that was not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What a name stands for.
pub(super) enum Found<T> {
    /// This.
    This(T),
    /// Nothing that guard knows of.
    Nothing,
    /// That depends on an answer of the server that is still to come.
    Undecided,
}

/// One name space.
#[derive(Clone)]
pub(super) struct Table<T> {
    confirmed: HashMap<Arc<str>, T>,
    pending: VecDeque<Change<T>>,
    next: u64,
}

#[derive(Clone)]
struct Change<T> {
    ticket: Ticket,
    group: Group,
    /// `None` is every name.
    name: Option<Arc<str>>,
    /// `None` is nothing any more.
    to: Option<T>,
}

/// A portal.
#[derive(Clone)]
pub(super) struct Portal {
    /// What it runs; `None` if that is not known.
    pub(super) source: Option<Arc<Understood>>,
    /// Its parameters, where a rule bounds rows.
    pub(super) bound: Option<Arc<Bound>>,
    /// Its parameters as people see them, where a rule asks people.
    pub(super) parameters: Parameters,
    /// Its columns, once the server has said them.
    pub(super) columns: Columns,
    /// Whether the server was asked for them.
    pub(super) described: bool,
    /// What it has used of budgets.
    pub(super) used: Arc<Used>,
    /// How much of its answer is recorded.
    pub(super) kept: Arc<KeptSoFar>,
}

/// All names of a connection.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) statements: Table<Arc<Understood>>,
    pub(super) portals: Table<Portal>,
}

/// More names than a connection may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_NAMES} prepared statements or portals")]
pub(super) struct TooMany;

// === impl Table ===

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { confirmed: HashMap::new(), pending: VecDeque::new(), next: 0 }
    }
}

impl<T: Clone> Table<T> {
    /// Notes a change that was sent. `None` for every name, `None` for nothing.
    pub(super) fn propose(
        &mut self,
        name: Option<Arc<str>>,
        to: Option<T>,
        group: Group,
    ) -> Result<Ticket, TooMany> {
        if self.confirmed.len() + self.pending.len() >= MAX_NAMES {
            return Err(TooMany);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.pending.push_back(Change { ticket, group, name, to });
        Ok(ticket)
    }

    /// The server did it.
    pub(super) fn confirm(&mut self, ticket: Ticket) {
        let Some(change) = self.take(ticket) else { return };
        match (change.name, change.to) {
            (Some(name), Some(to)) => {
                self.confirmed.insert(name, to);
            }
            (Some(name), None) => {
                self.confirmed.remove(&name);
            }
            (None, _) => self.confirmed.clear(),
        }
    }

    /// The server did not do it.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.take(ticket);
    }

    fn take(&mut self, ticket: Ticket) -> Option<Change<T>> {
        let place = self.pending.iter().position(|change| change.ticket == ticket)?;
        self.pending.remove(place)
    }

    /// What a name stands for to a message of this group.
    pub(super) fn find(&self, name: &str, group: Group) -> Found<T> {
        let last = self.pending.iter().rev().find(|change| change.is_about(name));
        match last {
            Some(change) if change.group == group => {
                change.to.clone().map_or(Found::Nothing, Found::This)
            }
            Some(_) => Found::Undecided,
            None => self.confirmed.get(name).cloned().map_or(Found::Nothing, Found::This),
        }
    }

    /// Changes what a name of this group or a confirmed one stands for, in place.
    pub(super) fn update(&mut self, name: &str, with: impl FnOnce(&mut T)) {
        let pending = self.pending.iter_mut().rev().find(|change| change.is_about(name));
        let value = match pending {
            Some(change) => change.to.as_mut(),
            None => self.confirmed.get_mut(name),
        };
        if let Some(value) = value {
            with(value);
        }
    }

    /// All that a name may stand for.
    fn all(&self, name: &str) -> impl Iterator<Item = &T> {
        let pending = self.pending.iter().filter(move |change| change.is_about(name));
        self.confirmed.get(name).into_iter().chain(pending.filter_map(|change| change.to.as_ref()))
    }
}

impl<T> Change<T> {
    fn is_about(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|own| own == name)
    }
}

// === impl Known ===

impl Known {
    /// All that the name of a prepared statement may stand for.
    pub(super) fn prepared(&self, name: &str) -> impl Iterator<Item = &Arc<Understood>> {
        self.statements.all(name)
    }

    /// What the cursor of this name has used of budgets.
    pub(super) fn used(&self, name: &str) -> Option<Arc<Used>> {
        self.portals.all(name).last().map(|portal| portal.used.clone())
    }

    /// All queries that may be behind the name of a portal.
    pub(super) fn cursor(&self, name: &str) -> impl Iterator<Item = &Arc<Understood>> {
        self.portals.all(name).filter_map(|portal| portal.source.as_ref())
    }
}
