//! INSERT, UPDATE, DELETE, MERGE: writes, where the written values come from, and RETURNING.

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use guard_core::{Bounded, ColumnName, ObjectKind, ObjectName, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::{Analyzer, Target},
    bounded::Condition,
    origin::Origin,
    routines::Events,
    value::{Columns, Rest, Scope, Value},
};

impl Analyzer<'_> {
    /// The target's own columns, without the effect of reading it.
    fn target_columns(&mut self, targets: &[Target]) -> Columns {
        match targets {
            [one] => self.columns_of(one),
            _ => {
                let mut all: Option<Columns> = None;
                for target in targets {
                    let columns = self.columns_of(target);
                    match &mut all {
                        None => all = Some(columns),
                        Some(held) => {
                            for (name, value) in columns.list {
                                match held.list.iter_mut().find(|(n, _)| *n == name) {
                                    Some((_, own)) => own.absorb(&value),
                                    None => held.list.push((name, value)),
                                }
                            }
                            let why = "a name that stands for several relations";
                            held.rest = Rest::Each(Value::unknown(why));
                        }
                    }
                }
                all.unwrap_or_else(|| Columns::unknown("a write to nothing"))
            }
        }
    }

    /// Keeps a value in a column. A column's own value is no news to it; what is computed of it is: of a
    /// value that was cut to its first letter, a hash or a comparison tells that letter.
    fn keep(&mut self, value: &Value, column: Option<&str>, targets: &[Target]) {
        let own = |source: &ColumnName| {
            column.is_some_and(|column| *source.column == *column)
                && targets.iter().all(|target| target.name == source.table)
        };
        let moved = value.columns().filter(|source| !own(source) || !value.is_itself(source));
        self.draft.stores.extend(moved.cloned());
        if let Some(why) = value.why_unknown().filter(|_| !self.draft.passes) {
            let why = format!("a value is kept, and {why}");
            self.draft.doubt(&why);
        }
    }

    /// Keeps the values of a SET list.
    fn set(&mut self, targets: &[Target], list: &[pg::Node], scope: &Scope<'_>) {
        for item in list {
            let Some(NodeEnum::ResTarget(item)) = &item.node else { continue };
            self.look(&item.indirection, scope);
            if item.val.as_deref().is_some_and(takes_default) {
                self.take_defaults(targets);
            }
            let value = self.optional(item.val.as_deref(), scope);
            self.keep(&value, Some(&item.name), targets);
        }
    }

    /// `SET a = DEFAULT` runs what the default calls.
    fn take_defaults(&mut self, targets: &[Target]) {
        for target in targets {
            for reached in self.written(target) {
                if let Some(relation) = &reached.relation {
                    self.happens(relation.oid, Events::DEFAULT);
                }
            }
        }
    }

    fn returning(
        &mut self,
        clause: Option<&pg::ReturningClause>,
        targets: &[Target],
        star: &Columns,
        scope: &mut Scope<'_>,
    ) -> Columns {
        let Some(clause) = clause.filter(|clause| !clause.exprs.is_empty()) else {
            return Columns::closed(Vec::new());
        };
        for target in targets {
            self.draft.on(Verb::Read, target.kind(), target.name.clone());
        }
        let own = self.target_columns(targets);
        for name in ["old", "new"] {
            if scope.row(name).is_none() {
                scope.add(name, Rc::new(own.clone()));
            }
        }
        for option in &clause.options {
            if let Some(NodeEnum::ReturningOption(option)) = &option.node {
                scope.add(&option.value, Rc::new(own.clone()));
            }
        }
        self.select_list(&clause.exprs, star, scope)
    }

    pub(crate) fn insert(&mut self, insert: &pg::InsertStmt, outer: &Scope<'_>) -> Columns {
        let Some(var) = &insert.relation else { return Columns::unknown("no target") };
        let mut scope = Scope::inside(outer);
        self.with(insert.with_clause.as_ref(), &mut scope);
        let targets = self.write(Verb::Insert, var, Bounded::NotApplicable);
        let own = Rc::new(self.target_columns(&targets));
        let mut from_rows = false;
        if let Some(NodeEnum::SelectStmt(select)) =
            insert.select_stmt.as_deref().and_then(|node| node.node.as_ref())
        {
            from_rows = select.values_lists.is_empty()
                && (!select.from_clause.is_empty() || select.larg.is_some());
            let held = std::mem::replace(&mut self.makes_rows, false);
            let columns = self.select(select, &scope);
            self.draft.store(&columns.whole());
            from_rows |= self.makes_rows;
            self.makes_rows |= held;
        }
        for column in &insert.cols {
            if let Some(NodeEnum::ResTarget(column)) = &column.node {
                self.look(&column.indirection, &scope);
            }
        }
        let alias = var.alias.as_ref().map_or(&var.relname, |alias| &alias.aliasname);
        scope.add(alias, own.clone());
        if let Some(conflict) = insert.on_conflict_clause.as_deref() {
            self.on_conflict(conflict, var, &targets, from_rows, &own, &scope);
        }
        let columns = self.returning(insert.returning_clause.as_ref(), &targets, &own, &mut scope);
        self.changed(columns, &targets, Bounded::No)
    }

    fn on_conflict(
        &mut self,
        conflict: &pg::OnConflictClause,
        var: &pg::RangeVar,
        targets: &[Target],
        from_rows: bool,
        own: &Columns,
        scope: &Scope<'_>,
    ) {
        let mut scope = Scope::inside(scope);
        // `excluded` is the row that was to be inserted: the client's own values, or values that
        // were stored above.
        let names = own.list.iter().map(|(name, _)| (name.clone(), Value::none()));
        scope.add(
            "excluded",
            Rc::new(Columns { list: names.collect(), ..Columns::each(Value::none()) }),
        );
        if let Some(infer) = conflict.infer.as_deref() {
            self.look(infer.index_elems.iter().chain(infer.where_clause.as_deref()), &scope);
        }
        self.look(conflict.where_clause.as_deref(), &scope);
        if conflict.action() == pg::OnConflictAction::OnconflictUpdate {
            let limit = if from_rows { Bounded::No } else { Bounded::Yes };
            self.write_columns(Verb::Update, var, limit, &conflict.target_list);
            self.set(targets, &conflict.target_list, &scope);
        }
    }

    pub(crate) fn update(&mut self, update: &pg::UpdateStmt, outer: &Scope<'_>) -> Columns {
        let Some(var) = &update.relation else { return Columns::unknown("no target") };
        let mut scope = Scope::inside(outer);
        self.with(update.with_clause.as_ref(), &mut scope);
        let targets = self.range_targets(var);
        let reads = self.draft.effects.len();
        let mut star = self.enter(var, &targets, &mut scope);
        let joined = self.from(&update.from_clause, &mut scope);
        self.set(&targets, &update.target_list, &scope);
        self.look(update.where_clause.as_deref(), &scope);
        let limit = self.limit(var, &targets, &scope, update.where_clause.as_deref());
        self.write_first(Verb::Update, var, limit, &update.target_list, reads);
        join_star(&mut star, joined);
        let columns = self.returning(update.returning_clause.as_ref(), &targets, &star, &mut scope);
        self.changed(columns, &targets, limit)
    }

    pub(crate) fn delete(&mut self, delete: &pg::DeleteStmt, outer: &Scope<'_>) -> Columns {
        let Some(var) = &delete.relation else { return Columns::unknown("no target") };
        let mut scope = Scope::inside(outer);
        self.with(delete.with_clause.as_ref(), &mut scope);
        let targets = self.range_targets(var);
        let reads = self.draft.effects.len();
        let mut star = self.enter(var, &targets, &mut scope);
        let joined = self.from(&delete.using_clause, &mut scope);
        self.look(delete.where_clause.as_deref(), &scope);
        let limit = self.limit(var, &targets, &scope, delete.where_clause.as_deref());
        self.write_first(Verb::Delete, var, limit, &[], reads);
        join_star(&mut star, joined);
        let columns = self.returning(delete.returning_clause.as_ref(), &targets, &star, &mut scope);
        self.changed(columns, &targets, limit)
    }

    pub(crate) fn merge(&mut self, merge: &pg::MergeStmt, outer: &Scope<'_>) -> Columns {
        let Some(var) = &merge.relation else { return Columns::unknown("no target") };
        let mut scope = Scope::inside(outer);
        self.with(merge.with_clause.as_ref(), &mut scope);
        let targets = self.range_targets(var);
        let own = self.enter(var, &targets, &mut scope);
        let source: Vec<pg::Node> = merge.source_relation.as_deref().into_iter().cloned().collect();
        let mut star = self.from(&source, &mut scope);
        self.look(merge.join_condition.as_deref(), &scope);
        let joined = self.limit(var, &targets, &scope, merge.join_condition.as_deref());
        for clause in &merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(clause)) = &clause.node else { continue };
            self.look(clause.condition.as_deref(), &scope);
            let own_limit = self.limit(var, &targets, &scope, clause.condition.as_deref());
            let matched = clause.match_kind() == pg::MergeMatchKind::MergeWhenMatched;
            let limit = match (matched, joined, own_limit) {
                (_, _, Bounded::Yes) | (true, Bounded::Yes, _) => Bounded::Yes,
                _ => Bounded::No,
            };
            match clause.command_type() {
                pg::CmdType::CmdUpdate => {
                    self.write_columns(Verb::Update, var, limit, &clause.target_list);
                }
                pg::CmdType::CmdDelete => {
                    self.write(Verb::Delete, var, limit);
                }
                pg::CmdType::CmdInsert => {
                    self.write(Verb::Insert, var, Bounded::NotApplicable);
                }
                pg::CmdType::CmdNothing => {}
                pg::CmdType::CmdSelect
                | pg::CmdType::CmdMerge
                | pg::CmdType::CmdUtility
                | pg::CmdType::CmdUnknown
                | pg::CmdType::Undefined => {
                    self.draft.doubt("a MERGE action that guard does not know");
                }
            }
            self.set(&targets, &clause.target_list, &scope);
            for value in &clause.values {
                let value = self.value(value, &scope);
                self.draft.store(&value);
            }
        }
        join_star(&mut star, own);
        let columns = self.returning(merge.returning_clause.as_ref(), &targets, &star, &mut scope);
        self.changed(columns, &targets, Bounded::No)
    }

    /// Makes the target's columns known in a scope.
    fn enter(&mut self, var: &pg::RangeVar, targets: &[Target], scope: &mut Scope<'_>) -> Columns {
        let own = self.target_columns(targets);
        let alias = var.alias.as_ref().map_or(&var.relname, |alias| &alias.aliasname);
        scope.add(alias, Rc::new(own.clone()));
        own
    }

    /// A write whose limit is known only after what it reads was looked at; told before that all the same.
    fn write_first(
        &mut self,
        verb: Verb,
        var: &pg::RangeVar,
        limit: Bounded,
        set: &[pg::Node],
        reads: usize,
    ) {
        let count = self.draft.effects.len().saturating_sub(reads);
        self.write_columns(verb, var, limit, set);
        if let Some(own) = self.draft.effects.get_mut(reads..) {
            own.rotate_left(count);
        }
    }

    /// What RETURNING gives is all of a table if all of it was changed.
    fn changed(&mut self, mut columns: Columns, targets: &[Target], limit: Bounded) -> Columns {
        columns.origin = Origin::default();
        let returns = !columns.list.is_empty() || columns.rest != Rest::Closed;
        if limit != Bounded::Yes && returns {
            columns.origin.whole = self.family(targets);
        }
        columns
    }

    /// Every table that shares rows with one of these.
    fn family(&mut self, targets: &[Target]) -> BTreeSet<ObjectName> {
        let mut family = BTreeSet::new();
        for target in targets {
            for reached in self.written(target) {
                let above = reached.relation.as_ref().map(|r| self.catalog.ancestors(r));
                family.extend(above.into_iter().flatten().map(|relation| relation.name.clone()));
                family.insert(reached.name);
            }
        }
        family
    }

    /// Whether a condition that was looked at limits the rows of a table.
    fn limit(
        &mut self,
        var: &pg::RangeVar,
        targets: &[Target],
        scope: &Scope<'_>,
        condition: Option<&pg::Node>,
    ) -> Bounded {
        let Some(condition) = condition else { return Bounded::No };
        let alias = var.alias.as_ref().map_or(&*var.relname, |alias| &*alias.aliasname);
        let columns = self.target_columns(targets).base_columns();
        // A view's columns are not said to be NOT NULL, whatever is behind them.
        let tables = targets.iter().filter(|target| target.kind() == ObjectKind::Table);
        let nullable: Vec<Arc<str>> = tables
            .filter_map(|target| target.relation.as_ref())
            .flat_map(|r| r.columns.iter().filter(|c| !c.not_null).map(|c| c.name.clone()))
            .collect();
        let family = self.family(targets);
        let test = Condition {
            alias,
            columns: columns.as_deref(),
            nullable: &nullable,
            family: &family,
            scope,
            queries: &self.queries,
        };
        if test.restricts(condition, false) { Bounded::Yes } else { Bounded::No }
    }

    /// An effect on a new or changed thing that has no schema by its kind.
    pub(crate) fn bare(&mut self, verb: Verb, kind: ObjectKind, name: &str) {
        self.draft.on(verb, kind, ObjectName::bare(name));
    }
}

/// Whether a value that is set is a column's default, by itself or in a row.
fn takes_default(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::SetToDefault(_)) => true,
        Some(NodeEnum::MultiAssignRef(e)) => e.source.as_deref().is_some_and(takes_default),
        Some(NodeEnum::RowExpr(e)) => e.args.iter().any(takes_default),
        Some(_) | None => false,
    }
}

fn join_star(star: &mut Columns, more: Columns) {
    star.list.extend(more.list);
    if star.rest == Rest::Closed {
        star.rest = more.rest;
    } else if more.rest != Rest::Closed {
        star.rest = Rest::Each(Value::unknown("columns that are not known"));
    }
}
