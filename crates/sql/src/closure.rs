//! What runs because a statement calls it: bodies of functions, and what leads to functions unseen.
//!
//! Each routine's body is read once for a catalog, by the same analysis as a client's statements, and gives
//! what it does and what it calls in turn. A statement's effects are its own and those of every routine that can be
//! reached; recursion needs no care, since each is looked at once.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, slice};

use guard_core::{Effect, ObjectKind, ObjectName, Outputs, Verb};
use pg_query::{NodeEnum as N, protobuf as pg};

use crate::{
    NoNames,
    analyzer::{Analyzer, Local},
    functions::{self, Class},
    nodes::{constant, dotted, object_name},
    plpgsql::{self, Piece},
    routines::{Body, Callee, Events, Own, Routine, RoutineId},
    value::{Scope, Value},
};

/// Most routines that one statement may reach.
const MAX_ROUTINES: usize = 400;

/// Longest body that is read, in bytes.
pub const MAX_BODY: usize = 128 << 10;

/// Deepest nesting of code given as text within code given as text.
const MAX_CODE: usize = 4;

/// Whether what functions and triggers do is another thing afterwards.
pub(crate) fn changes_what_runs(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| {
        matches!(effect.verb, Verb::Alter | Verb::Drop)
            && matches!(effect.object.kind, ObjectKind::Function | ObjectKind::Schema)
            || matches!(effect.verb, Verb::Code)
                && matches!(effect.object.kind, ObjectKind::Function | ObjectKind::Extension)
    })
}

impl Analyzer<'_> {
    /// These are called where nobody wrote a call.
    pub(crate) fn run(&mut self, callees: &[Callee]) {
        for callee in callees {
            match callee {
                // What only computes is no call.
                Callee::Routine(_)
                    if self.catalog.routines().all_compute(slice::from_ref(callee)) => {}
                Callee::Routine(id) => self.enter_routine(*id),
                // What a default takes from its sequence is the table's own.
                Callee::Builtin(name) if functions::class(name) == Some(Class::Sequence) => {}
                Callee::Builtin(name) => {
                    self.act("pg_catalog", name, &[], &Value::none());
                }
            }
        }
    }

    fn enter_routine(&mut self, id: RoutineId) {
        match self.catalog.routines().routine(id) {
            Some(routine) => {
                if id < crate::RULE {
                    self.draft.on(Verb::Call, ObjectKind::Function, routine.name.clone());
                }
                self.called.insert(id);
            }
            None => self.draft.doubt("a function that is not known is called"),
        }
    }

    /// A call by name of what a user made: every function of the name, whatever its arguments. False if none is known.
    pub(crate) fn call_routines(&mut self, schema: &str, name: &str) -> bool {
        let found = self.catalog.routines().named(schema, name);
        self.run(&found);
        !found.is_empty()
    }

    /// The function of a trigger or a cast: it runs with every such write or value from now on, so what it does counts
    /// from now on. Later statements of the same transaction are read with a catalog that has no such trigger.
    pub(crate) fn hangs_on(&mut self, name: &[pg::Node]) {
        let (schema, function) = dotted(name);
        if !self.call_routines(schema, function) {
            self.draft.on(Verb::Call, ObjectKind::Function, object_name(name));
            if functions::class(function).is_none() {
                self.missing.set(true);
                self.draft.doubt(&format!("function `{function}` is not known"));
            }
        }
    }

    /// The actions of a rule, for the same reason.
    pub(crate) fn rule(&mut self, rule: &pg::RuleStmt) {
        self.as_body(|this| {
            this.look(rule.where_clause.as_deref(), &Scope::default());
            for action in &rule.actions {
                this.statement_of(Some(action));
            }
        });
    }

    /// The conditions of a policy, for the same reason.
    pub(crate) fn row_policy(&mut self, conditions: [Option<&pg::Node>; 2]) {
        self.as_body(|this| this.look(conditions.into_iter().flatten(), &Scope::default()));
    }

    /// What runs when something happens to a relation.
    pub(crate) fn happens(&mut self, oid: u32, event: Events) {
        let callees = self.catalog.routines().at_relation(oid, event);
        self.run(&callees);
    }

    /// Adds what runs because of what was found so far, and then what all routines do that are reached.
    pub(crate) fn close(&mut self) {
        self.reach();
        let mut seen = BTreeSet::new();
        while let Some(id) = self.called.pop_first() {
            if !seen.insert(id) {
                continue;
            }
            let Some(routine) = self.catalog.routines().routine(id).cloned() else { continue };
            if seen.len() > MAX_ROUTINES || !self.spend(1) {
                self.draft.doubt("more functions than guard follows");
                return;
            }
            let own = self.catalog.routines().own(id, || self.read_routine(&routine));
            self.spend(own.effects.len());
            for effect in &own.effects {
                self.draft.effect(effect.clone());
            }
            self.draft.stores.extend(own.stores.iter().cloned());
            self.draft.lifts_read_only |= own.lifts_read_only;
            own.tested.iter().for_each(|(column, how)| self.draft.test(column.clone(), *how));
            if let Some(why) = &own.doubt {
                self.draft.doubt(&format!("`{}`: {why}", routine.name));
            }
            if own.missing {
                self.missing.set(true);
            }
            self.called.extend(&own.calls);
        }
        // What a definition will be by then is not in the catalog that bodies were read from.
        self.draft.follows |= !seen.is_empty();
        let is_stale = self.local.defined || changes_what_runs(&self.draft.effects);
        if !seen.is_empty() && is_stale {
            self.draft.doubt("functions are called, and what is called is changed");
        }
    }

    /// What no call is written for, and hangs on the statement as a whole.
    fn reach(&mut self) {
        if self.computed {
            let implicit = self.catalog.routines().implicit().to_vec();
            self.run(&implicit);
        }
        let defines = |verb: Verb| {
            matches!(
                verb,
                Verb::Create | Verb::Alter | Verb::Drop | Verb::Grant | Verb::Role | Verb::Maintain
            )
        };
        if self.draft.effects.iter().any(|effect| defines(effect.verb)) {
            let triggers = self.catalog.routines().event_triggers().to_vec();
            self.run(&triggers);
        }
    }

    /// What a routine does by itself.
    fn read_routine(&self, routine: &Routine) -> Own {
        let local = Local::default();
        let mut inside = Analyzer::new(self.catalog, &NoNames, &local);
        inside.body = true;
        for (name, value) in &routine.settings {
            let verb = inside.setting_verb(name, &[value]);
            if verb != Verb::Session {
                inside.draft.on(verb, ObjectKind::Setting, ObjectName::bare(name));
                inside.draft.doubt(&format!("it runs with another `{name}`"));
            }
        }
        inside.run(&routine.also);
        match &routine.body {
            Body::Sql(text) => inside.statements_of(text),
            Body::Definition(text) => inside.definition_of(text),
            Body::Plpgsql(text) => inside.block(text),
            Body::Aggregate | Body::Computes => {}
            Body::Opaque(why) => inside.draft.doubt(why),
        }
        inside.reach();
        let draft = inside.draft;
        Own {
            effects: draft.effects,
            stores: draft.stores,
            lifts_read_only: draft.lifts_read_only,
            tested: draft.tested,
            doubt: draft.doubt,
            missing: inside.missing.get(),
            calls: inside.called,
        }
    }

    /// `DO`: its body, if it is in a language that guard reads.
    pub(crate) fn do_block(&mut self, statement: &pg::DoStmt) {
        let (mut language, mut body) = (None, None);
        for node in &statement.args {
            let Some(N::DefElem(option)) = &node.node else { continue };
            let text = option.arg.as_deref().and_then(constant);
            match option.defname.as_str() {
                "language" => language = text,
                "as" => body = text,
                _ => self.draft.doubt("a DO option that is not known"),
            }
        }
        match (language.as_deref().unwrap_or("plpgsql"), body) {
            ("plpgsql", Some(body)) => self.as_body(|this| this.block(&body)),
            ("plpgsql", None) => self.draft.doubt("a DO without a body"),
            (other, _) => {
                let why = format!("code in the language `{other}` is not read");
                self.draft.doubt(&why);
            }
        }
    }

    /// Reads code in which names may be variables, and whose results nobody gets.
    fn as_body(&mut self, read: impl FnOnce(&mut Self)) {
        let held = std::mem::replace(&mut self.body, true);
        let outputs = std::mem::replace(&mut self.draft.outputs, Outputs::None);
        self.code_depth += 1;
        if self.code_depth > MAX_CODE {
            self.draft.doubt("code within code within code");
        } else {
            read(self);
        }
        self.code_depth -= 1;
        self.draft.outputs = outputs;
        self.body = held;
    }

    /// A block of PL/pgSQL.
    fn block(&mut self, text: &str) {
        if text.len() > MAX_BODY {
            self.draft.doubt("a body that is too long to be read");
            return;
        }
        let block = plpgsql::read(text);
        // Variables take values as columns do, of any type.
        let assigned = self.catalog.routines().assigned();
        self.run(&assigned);
        for piece in block.pieces {
            match piece {
                Piece::Statement(text) => self.statements_of(&text),
                Piece::Expression(text) => drop(self.expression_of(&text)),
                Piece::Dynamic(text) => match self.expression_of(&text) {
                    Some(text) => self.as_body(|this| this.statements_of(&text)),
                    None => self.draft.doubt("it runs SQL whose text is computed"),
                },
                Piece::Type(text) => drop(self.expression_of(&format!("NULL::{text}"))),
                Piece::Transaction => self.draft.at(Verb::Transaction, ObjectKind::Other),
            }
        }
        if let Some(why) = block.doubt {
            self.draft.doubt(&why);
        }
    }

    /// Statements of a body.
    fn statements_of(&mut self, text: &str) {
        let Some(tree) = self.tree_of(text) else { return };
        for raw in &tree.stmts {
            self.statement_of(raw.stmt.as_deref());
        }
    }

    fn statement_of(&mut self, node: Option<&pg::Node>) {
        let read = match node.and_then(|node| node.node.as_ref()) {
            Some(N::ReturnStmt(s)) => {
                self.optional(s.returnval.as_deref(), &Scope::default());
                return;
            }
            Some(node) => self.statement(node),
            None => None,
        };
        self.draft.outputs = Outputs::None;
        if read.is_none() {
            self.draft.doubt("a statement that is not understood");
        }
    }

    /// An expression of a body; gives its text if it is a constant.
    fn expression_of(&mut self, text: &str) -> Option<String> {
        let tree = self.tree_of(&format!("SELECT {text}"))?;
        let [raw] = tree.stmts.as_slice() else {
            self.draft.doubt("an expression that is not understood");
            return None;
        };
        self.statement_of(raw.stmt.as_deref());
        let Some(N::SelectStmt(select)) = raw.stmt.as_deref().and_then(|node| node.node.as_ref())
        else {
            self.draft.doubt("an expression that is not understood");
            return None;
        };
        let [target] = select.target_list.as_slice() else { return None };
        match &target.node {
            Some(N::ResTarget(target)) => constant(target.val.as_deref()?),
            Some(_) | None => None,
        }
    }

    fn tree_of(&mut self, text: &str) -> Option<pg::ParseResult> {
        let tree = if text.len() > MAX_BODY || !crate::precheck::flat(text) {
            Err(())
        } else {
            crate::parse::parse(text).map_err(drop)
        };
        match tree {
            Ok(tree) => Some(tree),
            Err(()) => {
                self.draft.doubt("a statement that is not understood");
                None
            }
        }
    }

    /// `CREATE FUNCTION … BEGIN ATOMIC … END` and `CREATE RULE … DO …`: what is behind.
    fn definition_of(&mut self, text: &str) {
        let Some(tree) = self.tree_of(text) else { return };
        let node = tree.stmts.first().and_then(|raw| raw.stmt.as_deref()?.node.as_ref());
        match node {
            Some(N::CreateFunctionStmt(s)) if s.sql_body.is_some() => {
                self.nested(s.sql_body.as_deref());
            }
            Some(N::RuleStmt(s)) => self.rule(s),
            _ => self.draft.doubt("a definition that is not understood"),
        }
    }

    fn nested(&mut self, node: Option<&pg::Node>) {
        match node.and_then(|node| node.node.as_ref()) {
            Some(N::List(list)) => list.items.iter().for_each(|item| self.nested(Some(item))),
            Some(_) | None => self.statement_of(node),
        }
    }
}
