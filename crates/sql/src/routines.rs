//! What users made that runs when a statement does: functions, and all that leads to one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use guard_core::{ColumnName, Effect, ObjectName, Test};

use crate::functions::{self, Class};

/// Names a [`Routine`]: the oid of a function, or of a rule with [`RULE`] added.
pub type RoutineId = u64;

/// Added to a rule's oid (`pg_rewrite.oid`), so that it is no function's.
pub const RULE: RoutineId = 1 << 32;

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callee {
    /// A routine that somebody made.
    Routine(RoutineId),
    /// A function of `pg_catalog`, by its name.
    Builtin(Arc<str>),
}

/// What a routine does, as text or by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Statements of SQL (`pg_proc.prosrc`).
    Sql(Arc<str>),
    /// A whole definition: `CREATE FUNCTION … BEGIN ATOMIC`, `CREATE RULE`.
    Definition(Arc<str>),
    /// A block of PL/pgSQL.
    Plpgsql(Arc<str>),
    /// An aggregate: its support functions.
    Aggregate,
    /// It computes its result from its arguments and does nothing else ([`crate::computes_only`]).
    Computes,
    /// It cannot be read, for this reason.
    Opaque(Arc<str>),
}

/// A function, procedure, aggregate or rule that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routine {
    /// What it is known by.
    pub id: RoutineId,
    /// Schema and name.
    pub name: ObjectName,
    /// What it does.
    pub body: Body,
    /// Settings that hold while it runs (`pg_proc.proconfig`), each with its value.
    pub settings: Vec<(Arc<str>, Arc<str>)>,
    /// What else runs with it: defaults of its parameters, an aggregate's support functions.
    pub also: Vec<Callee>,
}

/// Things that happen to a relation. Several are one with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events(pub u8);

impl Events {
    /// Rows are added.
    pub const INSERT: Self = Self(1);
    /// Rows are changed.
    pub const UPDATE: Self = Self(2);
    /// Rows are removed.
    pub const DELETE: Self = Self(4);
    /// All rows are removed at once.
    pub const TRUNCATE: Self = Self(8);
    /// Rows are read.
    pub const READ: Self = Self(16);
    /// Columns get their defaults, though no row is added.
    pub const DEFAULT: Self = Self(64);
    /// Rows are written anew or looked through, by ALTER TABLE, VACUUM, REINDEX and their kin.
    pub const REBUILD: Self = Self(32);

    /// Whether one of them is among these.
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A cast that calls a function (`pg_cast`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The name of the type that it makes.
    pub target: Arc<str>,
    /// That type's oid.
    pub target_oid: u32,
    /// Where it happens without being asked for.
    pub context: CastContext,
    /// What it calls.
    pub callee: Callee,
}

/// Where a cast happens (`pg_cast.castcontext`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CastContext {
    /// Where it is written.
    Explicit,
    /// Also where a value is assigned to a column or a variable.
    Assignment,
    /// In any expression.
    Implicit,
}

/// A foreign key (`pg_constraint`): what becomes of rows when those change to which they refer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The oid of the table whose rows refer.
    pub from: u32,
    /// Its columns that do (`conkey`).
    pub from_columns: Vec<i16>,
    /// The oid of the table that is referred to.
    pub to: u32,
    /// Its columns that are (`confkey`).
    pub to_columns: Vec<i16>,
    /// When a row that is referred to is removed.
    pub on_delete: Follow,
    /// When the columns that are referred to change in one.
    pub on_update: Follow,
}

/// What a foreign key does to the rows that refer to what changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Nothing: the change fails (`NO ACTION`, `RESTRICT`).
    Refuse,
    /// The same (`CASCADE`).
    Cascade,
    /// Their columns get another value (`SET NULL`, `SET DEFAULT`).
    Set,
}

/// All of it, of one server.
#[derive(Debug, Clone, Default)]
pub struct Routines {
    /// Functions, procedures, aggregates and rules.
    pub routines: Vec<Routine>,
    /// Operators, by name, and the functions behind them.
    pub operators: Vec<(ObjectName, Callee)>,
    /// Casts.
    pub casts: Vec<Cast>,
    /// What runs when a value becomes of a type: the checks of domains. By the type's name.
    pub types: Vec<(Arc<str>, Callee)>,
    /// What runs when something happens to a relation, by its oid: triggers, rules, defaults, checks, generated
    /// columns, indexes, policies.
    pub relations: Vec<(u32, Events, Callee)>,
    /// Functions of event triggers.
    pub event_triggers: Vec<Callee>,
    /// Names of types that users made and whose values are only read from texts: enums, and types of extensions whose
    /// input only computes.
    pub plain_types: Vec<Arc<str>>,
    /// Foreign keys.
    pub references: Vec<Reference>,
}

/// What one routine does by itself, without what it calls in turn.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) effects: Vec<Effect>,
    pub(crate) stores: BTreeSet<ColumnName>,
    pub(crate) lifts_read_only: bool,
    pub(crate) tested: BTreeMap<Option<ColumnName>, Test>,
    pub(crate) doubt: Option<Arc<str>>,
    pub(crate) missing: bool,
    pub(crate) calls: BTreeSet<RoutineId>,
}

/// The same, found by what a statement has: names and oids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    routines: HashMap<RoutineId, Arc<Routine>>,
    /// Those that only compute their result, and so are no calls.
    computing: HashSet<RoutineId>,
    by_name: HashMap<Arc<str>, Vec<RoutineId>>,
    operators: HashMap<Arc<str>, Vec<(ObjectName, Callee)>>,
    casts_to: HashMap<Arc<str>, Vec<Callee>>,
    assigned: HashMap<u32, Vec<Callee>>,
    implicit: Vec<Callee>,
    types: HashMap<Arc<str>, Vec<Callee>>,
    plain_types: HashSet<Arc<str>>,
    relations: HashMap<u32, Vec<(Events, Callee)>>,
    event_triggers: Vec<Callee>,
    references: HashMap<u32, Vec<Reference>>,
    /// What routines do, as far as it was asked for: a body is read once for a catalog.
    own: Arc<RwLock<HashMap<RoutineId, Arc<Own>>>>,
}

impl Index {
    pub(crate) fn new(all: Routines) -> Self {
        let mut index = Self { event_triggers: all.event_triggers, ..Self::default() };
        for routine in all.routines {
            if routine.id < RULE {
                index.by_name.entry(routine.name.name.clone()).or_default().push(routine.id);
            }
            index.routines.insert(routine.id, Arc::new(routine));
        }
        index.find_computing();
        for (name, callee) in all.operators {
            index.operators.entry(name.name.clone()).or_default().push((name, callee));
        }
        for cast in all.casts {
            match cast.context {
                CastContext::Explicit => {}
                CastContext::Assignment => {
                    index.assigned.entry(cast.target_oid).or_default().push(cast.callee.clone());
                }
                CastContext::Implicit => index.implicit.push(cast.callee.clone()),
            }
            index.casts_to.entry(cast.target).or_default().push(cast.callee);
        }
        index.plain_types = all.plain_types.into_iter().collect();
        for (name, callee) in all.types {
            index.types.entry(name).or_default().push(callee);
        }
        for (relation, events, callee) in all.relations {
            index.relations.entry(relation).or_default().push((events, callee));
        }
        for reference in all.references {
            index.references.entry(reference.to).or_default().push(reference);
        }
        index
    }

    /// Functions first, then aggregates that are made of nothing else.
    fn find_computing(&mut self) {
        for of_functions in [true, false] {
            let computes = |routine: &Routine| {
                let is_of = match &routine.body {
                    Body::Computes => of_functions,
                    Body::Aggregate => !of_functions && !routine.also.is_empty(),
                    Body::Sql(_) | Body::Definition(_) | Body::Plpgsql(_) | Body::Opaque(_) => {
                        false
                    }
                };
                is_of && routine.settings.is_empty() && self.all_compute(&routine.also)
            };
            let routines = self.routines.values().filter(|routine| computes(routine));
            let found: Vec<RoutineId> = routines.map(|routine| routine.id).collect();
            self.computing.extend(found);
        }
    }

    /// Whether calling these does nothing but compute.
    pub(crate) fn all_compute(&self, callees: &[Callee]) -> bool {
        callees.iter().all(|callee| match callee {
            Callee::Routine(id) => self.computing.contains(id),
            Callee::Builtin(name) => functions::class(name) == Some(Class::Harmless),
        })
    }

    /// The same for every routine of a name, if there is one.
    pub(crate) fn computes(&self, schema: &str, name: &str) -> bool {
        let named = self.named(schema, name);
        !named.is_empty() && self.all_compute(&named)
    }

    pub(crate) fn routine(&self, id: RoutineId) -> Option<&Arc<Routine>> {
        self.routines.get(&id)
    }

    /// Every routine of a name, in one schema or in all: no `search_path` changes what guard sees.
    pub(crate) fn named(&self, schema: &str, name: &str) -> Vec<Callee> {
        let fits = |id: &&RoutineId| {
            let routine = self.routines.get(id);
            schema.is_empty() || routine.is_some_and(|r| r.name.schema.as_deref() == Some(schema))
        };
        let ids = self.by_name.get(name).into_iter().flatten();
        ids.filter(fits).map(|id| Callee::Routine(*id)).collect()
    }

    /// What an operator calls.
    pub(crate) fn operator(&self, schema: &str, name: &str) -> Vec<Callee> {
        let all = self.operators.get(name).into_iter().flatten();
        all.filter(|(of, _)| schema.is_empty() || of.schema.as_deref() == Some(schema))
            .map(|(_, callee)| callee.clone())
            .collect()
    }

    /// What a cast to a type that is written out may call, and what checks the value.
    pub(crate) fn cast_to(&self, name: &str) -> Vec<Callee> {
        let casts = self.casts_to.get(name).into_iter().flatten();
        casts.chain(self.types.get(name).into_iter().flatten()).cloned().collect()
    }

    /// Whether a value becomes of a type by being read, and nothing that somebody made runs with it.
    pub(crate) fn is_plain_type(&self, name: &str) -> bool {
        self.plain_types.contains(name) && !self.types.contains_key(name)
    }

    /// What an assignment to a column of a type may call.
    pub(crate) fn assigned_to(&self, type_oid: u32) -> &[Callee] {
        self.assigned.get(&type_oid).map_or(&[], Vec::as_slice)
    }

    /// What any assignment may call.
    pub(crate) fn assigned(&self) -> Vec<Callee> {
        self.assigned.values().flatten().cloned().collect()
    }

    /// What any expression may call.
    pub(crate) fn implicit(&self) -> &[Callee] {
        &self.implicit
    }

    /// What runs when something happens to a relation.
    pub(crate) fn at_relation(&self, oid: u32, event: Events) -> Vec<Callee> {
        let all = self.relations.get(&oid).into_iter().flatten();
        all.filter(|(events, _)| events.meet(event)).map(|(_, callee)| callee.clone()).collect()
    }

    /// The foreign keys that refer to a relation.
    pub(crate) fn references_to(&self, oid: u32) -> &[Reference] {
        self.references.get(&oid).map_or(&[], Vec::as_slice)
    }

    /// What runs when a definition changes.
    pub(crate) fn event_triggers(&self) -> &[Callee] {
        &self.event_triggers
    }

    /// What a routine does by itself; found out by `read` the first time.
    pub(crate) fn own(&self, id: RoutineId, read: impl FnOnce() -> Own) -> Arc<Own> {
        let held = self.own.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        held.unwrap_or_else(|| {
            let own = Arc::new(read());
            let mut all = self.own.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(id).or_insert(own).clone()
        })
    }
}
