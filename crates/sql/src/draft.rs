//! An operation in the making.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use guard_core::{
    Bounded, Certainty, ColumnName, Effect, Object, ObjectKind, ObjectName, Operation, Outputs,
    Test, Verb,
};

use crate::value::Value;

/// What has been found out about a statement so far.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) effects: Vec<Effect>,
    seen: HashSet<Effect>,
    pub(crate) doubt: Option<Arc<str>>,
    pub(crate) stores: BTreeSet<ColumnName>,
    pub(crate) tested: BTreeMap<Option<ColumnName>, Test>,
    pub(crate) lifts_read_only: bool,
    pub(crate) outputs: Outputs,
    /// See [`crate::Statement::uncounted`].
    pub(crate) uncounted: bool,
    /// A user's function is called whose body is known. Where its result goes is not followed: the masks are told by
    /// the effect `call` that any value may come out of it.
    pub(crate) passes: bool,
    /// Some of the effects were found in bodies of functions.
    pub(crate) follows: bool,
}

impl Draft {
    pub(crate) fn new() -> Self {
        Self {
            effects: Vec::new(),
            seen: HashSet::new(),
            doubt: None,
            stores: BTreeSet::new(),
            tested: BTreeMap::new(),
            lifts_read_only: false,
            outputs: Outputs::None,
            uncounted: false,
            passes: false,
            follows: false,
        }
    }

    /// Adds an effect once.
    pub(crate) fn effect(&mut self, effect: Effect) {
        if self.seen.insert(effect.clone()) {
            self.effects.push(effect);
        }
    }

    /// Whether it adds, changes or removes rows, or makes what may be filled with some.
    pub(crate) fn changes_rows(&self) -> bool {
        let changes = |effect: &Effect| {
            matches!(effect.verb, Verb::Insert | Verb::Update | Verb::Delete | Verb::Create)
        };
        self.effects.iter().any(changes)
    }

    /// An effect on a named thing.
    pub(crate) fn on(&mut self, verb: Verb, kind: ObjectKind, name: ObjectName) {
        self.effect(Effect::new(verb, Object::named(kind, name)));
    }

    /// An effect on a named thing, limited to some rows or not.
    pub(crate) fn rows(&mut self, verb: Verb, kind: ObjectKind, name: ObjectName, limit: Bounded) {
        self.effect(Effect { verb, object: Object::named(kind, name), bounded: limit });
    }

    /// An effect on no named thing.
    pub(crate) fn at(&mut self, verb: Verb, kind: ObjectKind) {
        self.effect(Effect::new(verb, Object::unnamed(kind)));
    }

    /// Says that there may be more than the listed effects. The first reason stays.
    pub(crate) fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.into());
    }

    /// A value goes somewhere else than to the client.
    pub(crate) fn store(&mut self, value: &Value) {
        self.stores.extend(value.columns().cloned());
        if let Some(why) = value.why_unknown().filter(|_| !self.passes) {
            let why = format!("a value is kept, and {why}");
            self.doubt(&why);
        }
    }

    /// A column decides which rows there are.
    pub(crate) fn test(&mut self, column: Option<ColumnName>, how: Test) {
        let held = self.tested.entry(column).or_insert(how);
        *held = (*held).max(how);
    }

    /// Takes over what another statement does.
    pub(crate) fn take(&mut self, operation: &Operation) {
        operation.effects.iter().for_each(|effect| self.effect(effect.clone()));
        self.stores.extend(operation.stores.iter().cloned());
        operation.tested.iter().for_each(|test| self.test(test.column.clone(), test.how));
        self.lifts_read_only |= operation.lifts_read_only;
        match &operation.certainty {
            Certainty::Exact => {}
            Certainty::Partial(why) | Certainty::Unparsed(why) => self.doubt(why),
        }
    }

    pub(crate) fn certainty(&self) -> Certainty {
        self.doubt.clone().map_or(Certainty::Exact, Certainty::Partial)
    }
}
