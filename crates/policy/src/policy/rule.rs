//! One rule: what it matches and what it decides.
//!
//! A rule that allows must match for certain; a rule that blocks matches what could be meant. The two
//! differ where a name could not be resolved or stands for all of a kind. A rule that asks people does both: it
//! matches what could be meant, and what it does not match for certain is left to the next rules, too.

use std::collections::BTreeSet;

use guard_core::{
    ApprovalTerms, Bounded, Certainty, DecisionKind, Effect, NamePattern, Object, ObjectKind,
    ObjectName, Protocol, Recording, RuleId, TablePattern, Verb,
    http::{HttpRequest, Method, RequestPattern},
};

/// A rule of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    pub(crate) filter: Filter,
    pub(crate) decide: DecisionKind,
    pub(crate) say: Option<String>,
    /// What it asks of people. Only of rules that ask.
    pub(crate) approval: Option<ApprovalTerms>,
    /// How much is recorded of what meets it, where that is more than statements.
    pub(crate) record: Option<Recording>,
}

/// How well a rule must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Whatever the effect turns out to be on, the rule is about it.
    Surely,
    /// It could turn out to be on what the rule is about.
    Possibly,
}

impl Fit {
    /// How well a rule must fit to be one that an effect meets.
    const fn to_meet(decide: DecisionKind) -> Self {
        match decide {
            DecisionKind::Allow => Self::Surely,
            DecisionKind::Approve | DecisionKind::Block => Self::Possibly,
        }
    }
}

/// What a rule matches. `None` is written `"*"` or left out.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) effects: Option<BTreeSet<Verb>>,
    pub(crate) names: Names,
    pub(crate) objects: Option<BTreeSet<ObjectKind>>,
    pub(crate) bounded: Option<bool>,
    /// The most rows that the planner may expect. Only of rules by which something goes on.
    pub(crate) rows: Option<u64>,
    pub(crate) certainty: BTreeSet<Level>,
    /// The levels at which the next rules need not be asked, too: of a rule that asks people and does not say, only `exact`.
    pub(crate) sure: BTreeSet<Level>,
    /// Of a rule for HTTP: the requests. It says nothing of SQL, and one without says nothing of HTTP.
    pub(crate) http: Option<RequestPattern>,
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

/// One effect of an operation, with all that rules look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) effect: &'a Effect,
    /// How well the operation is understood.
    pub(crate) level: Level,
    /// How many rows the planner expects.
    pub(crate) rows: Option<u64>,
    /// Of HTTP: the request, and the method that the effect is of.
    pub(crate) request: Option<(&'a Method, &'a HttpRequest)>,
    pub(crate) protocol: Protocol,
}

impl Rule {
    /// Whether it is about operations that come by a protocol.
    pub(crate) fn is_about(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Postgres => self.filter.http.is_none(),
            Protocol::Http => self.filter.http.is_some(),
        }
    }

    /// Whether it matches an effect.
    pub(crate) fn matches(&self, subject: Subject<'_>) -> bool {
        let (filter, effect) = (&self.filter, subject.effect);
        filter.certainty.contains(&subject.level)
            // INVARIANT: what is not estimated is within no bound.
            && filter.rows.is_none_or(|most| subject.rows.is_some_and(|rows| rows <= most))
            && filter.effects.as_ref().is_none_or(|verbs| verbs.contains(&effect.verb))
            && filter.objects.as_ref().is_none_or(|kinds| kinds.contains(&effect.object.kind))
            && filter.bounded.is_none_or(|wanted| wanted != (effect.bounded == Bounded::No))
            && self.fits_request(subject, Fit::to_meet(self.decide))
            && self.matches_name(&effect.object)
    }

    /// A rule for HTTP fits requests only, and any other rule none.
    fn fits_request(&self, subject: Subject<'_>, fit: Fit) -> bool {
        self.is_about(subject.protocol)
            && match (&self.filter.http, subject.request) {
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
                (Some(pattern), Some((method, request))) => match fit {
                    Fit::Surely => pattern.matches(method, request),
                    Fit::Possibly => pattern.may_match(method, request),
                },
            }
    }

    /// Whether what it decides of an effect that it matches is all there is to it. Of a rule that asks people only if it
    /// is sure to be about it: a person's yes must not let through what the next rules block.
    pub(crate) fn is_final(&self, subject: Subject<'_>) -> bool {
        match self.decide {
            DecisionKind::Allow | DecisionKind::Block => true,
            DecisionKind::Approve => {
                self.filter.sure.contains(&subject.level)
                    && self.fits_request(subject, Fit::Surely)
                    && self.fits(&subject.effect.object, Fit::Surely)
            }
        }
    }

    /// The same of an operation that it matches as a whole.
    pub(crate) fn is_final_for_whole(&self, level: Level) -> bool {
        match self.decide {
            DecisionKind::Allow | DecisionKind::Block => true,
            DecisionKind::Approve => self.filter.sure.contains(&level),
        }
    }

    /// Whether it matches an operation as a whole: one that was not understood, or that has no effect.
    /// Only a rule for everything does.
    pub(crate) fn matches_whole(&self, level: Level) -> bool {
        let filter = &self.filter;
        filter.http.is_none()
            && filter.certainty.contains(&level)
            && filter.effects.is_none()
            && filter.objects.is_none()
            && filter.bounded.is_none()
            && filter.rows.is_none()
            && matches!(filter.names, Names::Any)
    }

    pub(super) fn matches_name(&self, object: &Object) -> bool {
        self.fits(object, Fit::to_meet(self.decide))
    }

    fn fits(&self, object: &Object, fit: Fit) -> bool {
        match &self.filter.names {
            Names::Any => true,
            Names::Tables(patterns) => match object.kind {
                ObjectKind::Table | ObjectKind::View | ObjectKind::Sequence => {
                    any_fits(object.name.as_ref(), fit, |name| {
                        patterns.iter().any(|pattern| table_fits(pattern, name, fit))
                    })
                }
                ObjectKind::Column => any_fits(object.name.as_ref(), fit, |name| {
                    let mut tables = tables_of(name);
                    let fits =
                        |table: &ObjectName| patterns.iter().any(|p| table_fits(p, table, fit));
                    // A dot in a quoted name leaves open where the table's name ends.
                    match fit {
                        Fit::Surely => {
                            let mut found = tables.peekable();
                            found.peek().is_some() && found.all(|table| fits(&table))
                        }
                        Fit::Possibly => tables.any(|table| fits(&table)),
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
                | ObjectKind::Path
                | ObjectKind::Other => false,
            },
            Names::Functions(patterns) => {
                object.kind == ObjectKind::Function
                    && any_fits(object.name.as_ref(), fit, |name| {
                        patterns.iter().any(|pattern| match pattern {
                            FunctionPattern::Anywhere(pattern) => pattern.matches(&name.name),
                            FunctionPattern::In(pattern) => table_fits(pattern, name, fit),
                        })
                    })
            }
            Names::Settings(patterns) => {
                object.kind == ObjectKind::Setting
                    && any_fits(object.name.as_ref(), fit, |name| {
                        patterns.iter().any(|pattern| pattern.matches(&name.name))
                    })
            }
        }
    }
}

/// An effect on all things of a kind has no name: it could be on what a rule is about, and is more than that.
fn any_fits(name: Option<&ObjectName>, fit: Fit, fits: impl Fn(&ObjectName) -> bool) -> bool {
    match (name, fit) {
        (Some(name), _) => fits(name),
        (None, Fit::Surely) => false,
        (None, Fit::Possibly) => true,
    }
}

fn table_fits(pattern: &TablePattern, name: &ObjectName, fit: Fit) -> bool {
    match fit {
        Fit::Surely => pattern.matches(name),
        Fit::Possibly => pattern.may_match(name),
    }
}

/// The table of a column, for each place at which its name can be cut.
pub(crate) fn tables_of(column: &ObjectName) -> impl Iterator<Item = ObjectName> {
    column.name.match_indices('.').filter_map(|(at, _)| {
        let table = column.name.get(..at)?;
        Some(ObjectName { schema: column.schema.clone(), name: table.into() })
    })
}
