//! What a policy's rules need of the server: what a role that is made for one session is given, and no more.
//!
//! A rule can depend on what is only known when a statement comes (`bounded`, `rows`, how well it is
//! understood). So this asks whether any statement could be allowed, never whether all would be.

use guard_core::{ColumnName, DecisionKind, NamePattern, Object, ObjectKind, ObjectName, Verb};

use super::{
    Policy,
    rule::{FunctionPattern, Level, Names, Rule},
};

/// What the rules of a policy need. A policy that only observes is read like one that enforces: its role has what
/// its rules allow.
#[derive(Debug, Clone, Copy)]
pub struct Privileges<'a> {
    policy: &'a Policy,
}

impl Policy {
    /// What its rules need of the server.
    pub fn privileges(&self) -> Privileges<'_> {
        Privileges { policy: self }
    }
}

impl Privileges<'_> {
    /// Whether some statement that does this to a table, a view or a sequence could be allowed.
    pub fn may(&self, verb: Verb, kind: ObjectKind, name: &ObjectName) -> bool {
        let object = Object::named(kind, name.clone());
        for rule in &self.policy.rules {
            if !covers(rule, verb, kind) || !rule.matches_name(&object) {
                continue;
            }
            match rule.decide {
                DecisionKind::Allow | DecisionKind::Approve => return true,
                // What it lets go on, a later rule may allow.
                DecisionKind::Block if depends(rule) => {}
                DecisionKind::Block => return false,
            }
        }
        false
    }

    /// Whether something could be made in a schema.
    pub fn may_create_in(&self, schema: &str) -> bool {
        const MADE: [ObjectKind; 4] =
            [ObjectKind::Table, ObjectKind::View, ObjectKind::Sequence, ObjectKind::Function];
        self.policy.rules.iter().any(|rule| match rule.decide {
            DecisionKind::Allow | DecisionKind::Approve => {
                MADE.iter().any(|kind| covers(rule, Verb::Create, *kind))
                    && match &rule.filter.names {
                        Names::Any => true,
                        Names::Tables(patterns) => {
                            patterns.iter().any(|pattern| pattern.schema.matches(schema))
                        }
                        Names::Functions(patterns) => {
                            patterns.iter().any(|pattern| in_schema(pattern, schema))
                        }
                        Names::Settings(_) => false,
                    }
            }
            DecisionKind::Block => false,
        })
    }

    /// Whether a rule by which calls go on names this function. One that stands for all functions names none.
    pub fn names_function(&self, name: &ObjectName) -> bool {
        let named = |rule: &Rule| match &rule.filter.names {
            Names::Functions(patterns) => !patterns.iter().all(is_all),
            Names::Any | Names::Tables(_) | Names::Settings(_) => false,
        };
        let object = Object::named(ObjectKind::Function, name.clone());
        self.may(Verb::Call, ObjectKind::Function, name)
            && self.policy.rules.iter().any(|rule| match rule.decide {
                DecisionKind::Allow | DecisionKind::Approve => {
                    named(rule)
                        && covers(rule, Verb::Call, ObjectKind::Function)
                        && rule.matches_name(&object)
                }
                DecisionKind::Block => false,
            })
    }

    /// Whether functions are named at all.
    pub fn names_functions(&self) -> bool {
        self.policy.rules.iter().any(|rule| match (&rule.filter.names, rule.decide) {
            (Names::Functions(_), DecisionKind::Allow | DecisionKind::Approve) => true,
            (Names::Functions(_), DecisionKind::Block)
            | (Names::Any | Names::Tables(_) | Names::Settings(_), _) => false,
        })
    }

    /// Whether the server itself is to refuse a column (`withhold: true`).
    pub fn withholds(&self, column: &ColumnName) -> bool {
        self.policy.masks.withholds(column)
    }

    /// Whether it is to refuse any.
    pub fn withholds_any(&self) -> bool {
        self.policy.masks.withholds_any()
    }
}

/// Whether a rule is about this kind of effect on this kind of object.
fn covers(rule: &Rule, verb: Verb, kind: ObjectKind) -> bool {
    let filter = &rule.filter;
    filter.http.is_none()
        && filter.effects.as_ref().is_none_or(|verbs| verbs.contains(&verb))
        && filter.objects.as_ref().is_none_or(|kinds| kinds.contains(&kind))
}

/// Whether it depends on the statement that a rule matches.
fn depends(rule: &Rule) -> bool {
    rule.filter.bounded.is_some()
        || rule.filter.rows.is_some()
        || rule.filter.certainty.len() < Level::WORDS.len()
}

fn is_all(pattern: &FunctionPattern) -> bool {
    match pattern {
        FunctionPattern::Anywhere(name) => name.is_any(),
        FunctionPattern::In(table) => table.name.is_any() && table.schema.is_any(),
    }
}

fn in_schema(pattern: &FunctionPattern, schema: &str) -> bool {
    let any = NamePattern::any();
    let of = match pattern {
        FunctionPattern::Anywhere(_) => &any,
        FunctionPattern::In(table) => &table.schema,
    };
    of.matches(schema)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::{ColumnName, ObjectKind, ObjectName, Verb};

    use crate::Policy;

    const POLICY: &str = "\
policy: p
rules:
  - { name: unbounded, sql: { effects: [delete], bounded: false }, decide: block }
  - { name: never, sql: { effects: [update], tables: [public.ledger] }, decide: block }
  - { name: reads, sql: { effects: [read], tables: [public.*, shop.orders] }, decide: allow }
  - { name: writes, sql: { effects: [update, delete], tables: [public.*] }, decide: allow }
  - { name: fill, sql: { effects: [create, insert], tables: [staging.*] }, decide: allow }
  - { name: calls, sql: { effects: [call], functions: [shop.total, \"refresh_*\"] }, decide: allow }
masks:
  - { sql: { columns: [public.users.email] }, with: redact, withhold: true }
  - { sql: { columns: [public.users.name] }, with: redact }
";

    fn name(text: &str) -> ObjectName {
        let (schema, name) = text.split_once('.').unwrap();
        ObjectName { schema: Some(schema.into()), name: name.into() }
    }

    #[test]
    fn what_some_statement_could_do_is_needed_and_nothing_else() {
        let policy = Policy::parse("p", POLICY).unwrap();
        let needs = policy.privileges();
        let may = |verb, table| needs.may(verb, ObjectKind::Table, &name(table));
        assert!(may(Verb::Read, "public.users") && may(Verb::Read, "shop.orders"));
        assert!(!may(Verb::Read, "shop.secrets") && !may(Verb::Read, "staging.a"));
        // Deletes that are bounded are allowed; updates of the ledger never are.
        assert!(may(Verb::Delete, "public.ledger") && !may(Verb::Update, "public.ledger"));
        assert!(may(Verb::Update, "public.users") && !may(Verb::Truncate, "public.users"));
        assert!(may(Verb::Insert, "staging.a") && !may(Verb::Insert, "public.users"));
        assert!(needs.may_create_in("staging") && !needs.may_create_in("public"));
        assert!(needs.names_function(&name("shop.total")));
        assert!(needs.names_function(&name("any.refresh_all")));
        assert!(!needs.names_function(&name("public.total")));
        let column =
            |column: &str| ColumnName { table: name("public.users"), column: column.into() };
        assert!(needs.withholds(&column("email")) && !needs.withholds(&column("name")));
    }

    #[test]
    fn a_rule_for_all_functions_names_none() {
        let text = "policy: p\nrules:\n  - { name: all, sql: { effects: \"*\" }, decide: allow }\n";
        let policy = Policy::parse("p", text).unwrap();
        let needs = policy.privileges();
        assert!(needs.may(Verb::Truncate, ObjectKind::Table, &name("a.b")));
        assert!(needs.may_create_in("a"));
        assert!(!needs.names_function(&name("a.b")) && !needs.names_functions());
    }
}
