//! One rule: what it matches and what it decides.
//!
//! A rule that allows must match for certain; a rule that blocks matches what could be meant. The two
//! differ where a name could not be resolved or stands for all of a kind.

use std::collections::BTreeSet;

use guard_core::{
    Bounded, Certainty, DecisionKind, Effect, NamePattern, Object, ObjectKind, ObjectName, RuleId,
    TablePattern, Verb,
};

/// A rule of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    pub(crate) filter: Filter,
    pub(crate) decide: DecisionKind,
    pub(crate) say: Option<String>,
}

/// What a rule matches. `None` is written `"*"` or left out.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) effects: Option<BTreeSet<Verb>>,
    pub(crate) names: Names,
    pub(crate) objects: Option<BTreeSet<ObjectKind>>,
    pub(crate) bounded: Option<bool>,
    /// The most rows that the planner may expect. Only of rules that allow.
    pub(crate) rows: Option<u64>,
    pub(crate) certainty: BTreeSet<Level>,
}

/// The names that a rule is limited to, all of one kind.
#[derive(Debug, Clone)]
pub(crate) enum Names {
    Any,
    Tables(Vec<TablePattern>),
    Functions(Vec<FunctionPattern>),
    Settings(Vec<NamePattern>),
}

/// A function, in one schema or wherever it is.
#[derive(Debug, Clone)]
pub(crate) enum FunctionPattern {
    Anywhere(NamePattern),
    In(TablePattern),
}

/// A [`Certainty`] without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Exact,
    Partial,
    Unparsed,
}

impl Level {
    /// The words of policies.
    pub(crate) const WORDS: [(&str, Self); 3] =
        [("exact", Self::Exact), ("partial", Self::Partial), ("unparsed", Self::Unparsed)];

    pub(crate) const fn of(certainty: &Certainty) -> Self {
        match certainty {
            Certainty::Exact => Self::Exact,
            Certainty::Partial(_) => Self::Partial,
            Certainty::Unparsed(_) => Self::Unparsed,
        }
    }
}

impl Rule {
    /// Whether it matches an effect of an operation that is understood as well as `level` says, and of which the
    /// planner expects `rows`.
    pub(crate) fn matches(&self, effect: &Effect, level: Level, rows: Option<u64>) -> bool {
        let filter = &self.filter;
        filter.certainty.contains(&level)
            // INVARIANT: what is not estimated is within no bound.
            && filter.rows.is_none_or(|most| rows.is_some_and(|rows| rows <= most))
            && filter.effects.as_ref().is_none_or(|verbs| verbs.contains(&effect.verb))
            && filter.objects.as_ref().is_none_or(|kinds| kinds.contains(&effect.object.kind))
            && filter.bounded.is_none_or(|wanted| wanted != (effect.bounded == Bounded::No))
            && self.matches_name(&effect.object)
    }

    /// Whether it matches an operation as a whole: one that was not understood, or that has no effect.
    /// Only a rule for everything does.
    pub(crate) fn matches_whole(&self, level: Level) -> bool {
        let filter = &self.filter;
        filter.certainty.contains(&level)
            && filter.effects.is_none()
            && filter.objects.is_none()
            && filter.bounded.is_none()
            && filter.rows.is_none()
            && matches!(filter.names, Names::Any)
    }

    pub(super) fn matches_name(&self, object: &Object) -> bool {
        match &self.filter.names {
            Names::Any => true,
            Names::Tables(patterns) => match object.kind {
                ObjectKind::Table | ObjectKind::View | ObjectKind::Sequence => self
                    .any_fits(object.name.as_ref(), |name| {
                        patterns.iter().any(|pattern| self.table_fits(pattern, name))
                    }),
                ObjectKind::Column => self.any_fits(object.name.as_ref(), |name| {
                    let mut tables = tables_of(name);
                    let fits =
                        |table: &ObjectName| patterns.iter().any(|p| self.table_fits(p, table));
                    // A dot in a quoted name leaves open where the table's name ends.
                    match self.decide {
                        DecisionKind::Allow => {
                            let mut found = tables.peekable();
                            found.peek().is_some() && found.all(|table| fits(&table))
                        }
                        DecisionKind::Block => tables.any(|table| fits(&table)),
                    }
                }),
                ObjectKind::Index
                | ObjectKind::Function
                | ObjectKind::Schema
                | ObjectKind::Database
                | ObjectKind::Role
                | ObjectKind::Setting
                | ObjectKind::Extension
                | ObjectKind::Trigger
                | ObjectKind::Type
                | ObjectKind::LargeObject
                | ObjectKind::Channel
                | ObjectKind::Other => false,
            },
            Names::Functions(patterns) => {
                object.kind == ObjectKind::Function
                    && self.any_fits(object.name.as_ref(), |name| {
                        patterns.iter().any(|pattern| match pattern {
                            FunctionPattern::Anywhere(pattern) => pattern.matches(&name.name),
                            FunctionPattern::In(pattern) => self.table_fits(pattern, name),
                        })
                    })
            }
            Names::Settings(patterns) => {
                object.kind == ObjectKind::Setting
                    && self.any_fits(object.name.as_ref(), |name| {
                        patterns.iter().any(|pattern| pattern.matches(&name.name))
                    })
            }
        }
    }

    /// An effect on all things of a kind has no name: it is inside of what a rule blocks, and more than
    /// what a rule allows.
    fn any_fits(&self, name: Option<&ObjectName>, fits: impl Fn(&ObjectName) -> bool) -> bool {
        match (name, self.decide) {
            (Some(name), _) => fits(name),
            (None, DecisionKind::Allow) => false,
            (None, DecisionKind::Block) => true,
        }
    }

    fn table_fits(&self, pattern: &TablePattern, name: &ObjectName) -> bool {
        match self.decide {
            DecisionKind::Allow => pattern.matches(name),
            DecisionKind::Block => pattern.may_match(name),
        }
    }
}

/// The table of a column, for each place at which its name can be cut.
pub(crate) fn tables_of(column: &ObjectName) -> impl Iterator<Item = ObjectName> {
    column.name.match_indices('.').filter_map(|(at, _)| {
        let table = column.name.get(..at)?;
        Some(ObjectName { schema: column.schema.clone(), name: table.into() })
    })
}
