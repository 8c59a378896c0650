//! What a write reaches besides the relation that it names: partitions, what is behind a view, what refers to its
//! rows by foreign keys, and all that runs with it.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use guard_core::{Bounded, ObjectKind, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    Relation,
    analyzer::{Analyzer, Target},
    routines::{Events, Follow, Reference},
};

/// A relation that is written to.
struct Write {
    verb: Verb,
    target: Target,
    limit: Bounded,
    /// The columns that change, if only they do.
    columns: Option<Arc<[Arc<str>]>>,
    /// The relations from which foreign keys led here.
    trail: Vec<u32>,
}

/// What is reached by a write of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cascades {
    /// What the foreign keys say.
    AsDefined,
    /// Everything that refers: `TRUNCATE … CASCADE`.
    All,
    /// Nothing else: TRUNCATE fails if anything refers.
    None,
}

impl Analyzer<'_> {
    /// A write to every relation that a name may stand for.
    pub(crate) fn write(&mut self, verb: Verb, var: &pg::RangeVar, limit: Bounded) -> Vec<Target> {
        let targets = self.range_targets(var);
        self.write_all(verb, &targets, limit, None, Cascades::AsDefined);
        targets
    }

    /// The same for a write with a SET list.
    pub(crate) fn write_columns(
        &mut self,
        verb: Verb,
        var: &pg::RangeVar,
        limit: Bounded,
        set: &[pg::Node],
    ) {
        let targets = self.range_targets(var);
        let column = |item: &pg::Node| match &item.node {
            Some(NodeEnum::ResTarget(item)) => Some(Arc::from(item.name.as_str())),
            Some(_) | None => None,
        };
        // A view may give columns other names.
        let is_table = targets.iter().all(|target| target.kind() == ObjectKind::Table);
        let columns: Option<Arc<[_]>> =
            is_table.then(|| set.iter().map(column).collect()).flatten();
        self.write_all(verb, &targets, limit, columns.as_ref(), Cascades::AsDefined);
    }

    /// `TRUNCATE`, of one of its relations.
    pub(crate) fn truncate(&mut self, var: &pg::RangeVar, cascades: bool) {
        let targets = self.range_targets(var);
        let cascades = if cascades { Cascades::All } else { Cascades::None };
        self.write_all(Verb::Truncate, &targets, Bounded::NotApplicable, None, cascades);
    }

    fn write_all(
        &mut self,
        verb: Verb,
        targets: &[Target],
        limit: Bounded,
        columns: Option<&Arc<[Arc<str>]>>,
        cascades: Cascades,
    ) {
        let mut todo = Vec::new();
        for target in targets {
            for target in self.written(target) {
                let (columns, trail) = (columns.cloned(), Vec::new());
                todo.push(Write { verb, target, limit, columns, trail });
            }
        }
        let mut seen = HashSet::new();
        let mut next = 0;
        while let Some(write) = todo.get(next) {
            next += 1;
            let (verb, limit, target) = (write.verb, write.limit, write.target.clone());
            self.write_one(verb, &target, limit);
            let Some(relation) = &target.relation else { continue };
            let (columns, mut trail) = (write.columns.clone(), write.trail.clone());
            trail.push(relation.oid);
            for reference in self.catalog.routines().references_to(relation.oid).to_vec() {
                let follows = follows(cascades, verb, relation, columns.as_deref(), &reference);
                let Some(verb) = follows else { continue };
                if [reference.on_delete, reference.on_update].contains(&Follow::Set) {
                    self.happens(reference.from, Events::DEFAULT);
                }
                // Rows that refer to rows of the same table: how many follow is not limited.
                let limit = match limit {
                    Bounded::Yes if trail.contains(&reference.from) => Bounded::No,
                    limit @ (Bounded::Yes | Bounded::No | Bounded::NotApplicable) => limit,
                };
                let Some(from) = self.catalog.relation(reference.from).cloned() else {
                    self.missing.set(true);
                    self.draft.doubt("a table that is not known refers to what changes");
                    continue;
                };
                let columns = names(&from, &reference.from_columns);
                let is_new = seen.insert((verb, limit, from.oid, columns.clone()));
                if !is_new || !self.spend(1) {
                    continue;
                }
                let from = Target { name: from.name.clone(), relation: Some(from) };
                for target in self.written(&from) {
                    let (columns, trail) = (Some(columns.clone()), trail.clone());
                    todo.push(Write { verb, target, limit, columns, trail });
                }
            }
        }
    }

    /// A write to one relation.
    fn write_one(&mut self, verb: Verb, target: &Target, limit: Bounded) {
        self.draft.rows(verb, target.kind(), target.name.clone(), limit);
        if target.is_system() {
            self.draft.on(Verb::Config, target.kind(), target.name.clone());
        }
        if let Some(relation) = &target.relation {
            if relation.has_triggers {
                self.draft.on(Verb::Call, ObjectKind::Trigger, target.name.clone());
            }
            self.reaches_out(relation);
            self.runs_on_write(relation, verb);
        }
    }

    /// What runs with a write: triggers, rules, defaults, checks, and casts to the columns' types.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other verb writes rows")]
    fn runs_on_write(&mut self, relation: &Relation, verb: Verb) {
        let event = match verb {
            Verb::Insert => Events::INSERT,
            Verb::Update => Events::UPDATE,
            Verb::Delete => Events::DELETE,
            Verb::Truncate => Events::TRUNCATE,
            _ => return,
        };
        self.happens(relation.oid, event);
        if event == Events::UPDATE && self.moves_rows(relation) {
            self.happens(relation.oid, Events::DELETE);
            self.happens(relation.oid, Events::INSERT);
        }
        if event.meet(Events::INSERT) || event.meet(Events::UPDATE) {
            self.computed = true;
            for column in &relation.columns {
                let casts = self.catalog.routines().assigned_to(column.type_oid).to_vec();
                self.run(&casts);
            }
        }
    }

    /// Whether an update may take a row out of one partition and put it into another.
    fn moves_rows(&self, relation: &Relation) -> bool {
        !relation.parents.is_empty() || !self.catalog.descendants(relation).is_empty()
    }
}

/// What happens to the rows that refer to those of a write.
fn follows(
    cascades: Cascades,
    verb: Verb,
    relation: &Relation,
    columns: Option<&[Arc<str>]>,
    reference: &Reference,
) -> Option<Verb> {
    let follow = match (cascades, verb) {
        (Cascades::All, Verb::Truncate) => return Some(Verb::Truncate),
        (Cascades::AsDefined, Verb::Delete) => reference.on_delete,
        (Cascades::AsDefined, Verb::Update) if changes(relation, columns, reference) => {
            reference.on_update
        }
        _ => Follow::Refuse,
    };
    match follow {
        Follow::Refuse => None,
        Follow::Cascade => Some(verb),
        Follow::Set => Some(Verb::Update),
    }
}

/// Whether an update of these columns may change those that are referred to. A trigger may change any.
fn changes(relation: &Relation, columns: Option<&[Arc<str>]>, reference: &Reference) -> bool {
    let Some(columns) = columns.filter(|_| !relation.has_triggers) else { return true };
    let is_set =
        |number: &i16| match relation.columns.iter().find(|column| column.number == *number) {
            Some(column) => column.generated || columns.contains(&column.name),
            None => true,
        };
    reference.to_columns.iter().any(is_set)
}

fn names(relation: &Relation, numbers: &[i16]) -> Arc<[Arc<str>]> {
    let columns = relation.columns.iter().filter(|column| numbers.contains(&column.number));
    columns.map(|column| column.name.clone()).collect()
}
