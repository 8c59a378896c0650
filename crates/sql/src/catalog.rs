//! What guard knows of a server's objects. Filled by the protocol from the server's own catalog.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use guard_core::ObjectName;

use crate::routines::{Index, Routines};

/// The kind of a relation (`pg_class.relkind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// Table (`r`), partitioned table (`p`).
    Table,
    /// Foreign table (`f`).
    Foreign,
    /// View (`v`).
    View,
    /// Materialized view (`m`).
    MaterializedView,
    /// Sequence (`S`).
    Sequence,
}

/// A column of a relation (`pg_attribute`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Arc<str>,
    /// `attnum`, from 1.
    pub number: i16,
    /// `atttypid`.
    pub type_oid: u32,
    /// `atttypmod`, -1 for none.
    pub type_modifier: i32,
    /// `attnotnull`.
    pub not_null: bool,
    /// Whether a plain `COPY table TO` leaves it out (generated columns).
    pub generated: bool,
}

/// A relation (`pg_class`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Schema and name.
    pub name: ObjectName,
    /// Its kind.
    pub kind: RelationKind,
    /// Its columns in order, dropped ones left out.
    pub columns: Vec<Column>,
    /// `pg_get_viewdef` of views and materialized views.
    pub definition: Option<Arc<str>>,
    /// Oids of direct parents (inheritance, partitions): a child's columns of the same name carry
    /// the parents' values.
    pub parents: Vec<u32>,
    /// Whether triggers or rules of the user's own run on writes to it.
    pub has_triggers: bool,
}

/// A server's relations and functions at one moment.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    relations: HashMap<u32, Arc<Relation>>,
    by_name: HashMap<Arc<str>, Vec<Arc<Relation>>>,
    /// Names of functions, procedures, aggregates and operators outside `pg_catalog`.
    functions: HashSet<Arc<str>>,
    /// Oids of direct children (inheritance, partitions) by the parent's.
    children: HashMap<u32, Vec<u32>>,
    routines: Index,
}

impl Catalog {
    /// Builds a catalog. `functions` are the names of functions, procedures, aggregates and
    /// operators that are not in `pg_catalog`, nor in `information_schema`.
    pub fn new(
        relations: impl IntoIterator<Item = Relation>,
        functions: impl IntoIterator<Item = Arc<str>>,
    ) -> Self {
        let mut catalog = Self::default();
        for relation in relations {
            let relation = Arc::new(relation);
            for parent in &relation.parents {
                catalog.children.entry(*parent).or_default().push(relation.oid);
            }
            catalog.by_name.entry(relation.name.name.clone()).or_default().push(relation.clone());
            catalog.relations.insert(relation.oid, relation);
        }
        catalog.functions = functions.into_iter().collect();
        catalog
    }

    /// Adds what is known of the functions, and of what leads to them. A function of which only the name is
    /// known stays unknown.
    #[must_use]
    pub fn with_routines(mut self, routines: Routines) -> Self {
        self.routines = Index::new(routines);
        self
    }

    pub(crate) const fn routines(&self) -> &Index {
        &self.routines
    }

    /// The relation with an oid.
    pub fn relation(&self, oid: u32) -> Option<&Arc<Relation>> {
        self.relations.get(&oid)
    }

    /// Every relation above one, by inheritance or partitioning.
    pub fn ancestors(&self, relation: &Relation) -> Vec<Arc<Relation>> {
        self.closure(relation, |r| r.parents.as_slice())
    }

    /// Every relation below one, by inheritance or partitioning.
    pub fn descendants(&self, relation: &Relation) -> Vec<Arc<Relation>> {
        self.closure(relation, |r| self.children.get(&r.oid).map_or(&[][..], Vec::as_slice))
    }

    fn closure<'a>(
        &'a self,
        relation: &'a Relation,
        next: impl Fn(&'a Relation) -> &'a [u32],
    ) -> Vec<Arc<Relation>> {
        let mut seen = HashSet::from([relation.oid]);
        let mut found = Vec::new();
        let mut todo = next(relation).to_vec();
        while let Some(oid) = todo.pop() {
            let Some(one) = self.relations.get(&oid).filter(|_| seen.insert(oid)) else { continue };
            todo.extend_from_slice(next(one));
            found.push(one.clone());
        }
        found
    }

    /// Every relation of that name, in any schema.
    pub fn relations_named(&self, name: &str) -> &[Arc<Relation>] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every relation.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// Whether a function, procedure, aggregate or operator of that name was made by a user.
    pub fn has_user_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }
}
