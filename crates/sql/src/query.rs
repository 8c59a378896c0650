//! Queries: WITH, FROM, targets and set operations, to columns and where they come from.

mod sources;
mod targets;

use std::{ops::Range, rc::Rc};

use guard_core::{ObjectKind, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::Analyzer,
    bounded::{Condition, Facts, address, is_listed},
    nodes::{alias_names, constant, dotted, is_name, string},
    origin::Origin,
    value::{Columns, Scope, Value},
};

/// Rounds in which a recursive WITH must become stable.
const MAX_ROUNDS: usize = 16;

impl Analyzer<'_> {
    /// What a query returns.
    pub(crate) fn select(&mut self, select: &pg::SelectStmt, outer: &Scope<'_>) -> Columns {
        if !self.spend(1) {
            return Columns::unknown("too much to look at");
        }
        let mut scope = Scope::inside(outer);
        self.with(select.with_clause.as_ref(), &mut scope);
        let mut columns = match (&select.larg, &select.rarg) {
            (Some(left), Some(right)) => {
                let mut columns = self.select(left, &scope);
                columns.unite(&self.select(right, &scope));
                // Rows that are alike are found and left out, or looked for on the other side.
                if !select.all || select.op() != pg::SetOperation::SetopUnion {
                    self.tested(&columns.whole());
                }
                columns
            }
            _ if !select.values_lists.is_empty() => self.values(&select.values_lists, &scope),
            _ => {
                let star = self.from(&select.from_clause, &mut scope);
                let held = std::mem::replace(&mut self.setting, setting_asked(select));
                let mut columns = self.select_list(&select.target_list, &star, &scope);
                self.setting = held;
                self.look(select.where_clause.as_deref(), &scope);
                self.arrange(&select.group_clause, &columns, &scope);
                self.look(select.having_clause.as_deref(), &scope);
                self.look(&select.window_clause, &scope);
                self.distinct(&select.distinct_clause, &columns, &scope);
                columns.origin = self.origin(select, &scope);
                columns
            }
        };
        self.arrange(&select.sort_clause, &columns, &scope);
        let limits =
            select.limit_count.as_deref().into_iter().chain(select.limit_offset.as_deref());
        self.look(limits, &scope);
        if is_small(select.limit_count.as_deref()) {
            columns.origin.whole.clear();
        }
        let facts = Facts { origin: columns.origin.clone(), entries: scope.entries.clone() };
        self.queries.insert(address(select), facts);
        if !select.locking_clause.is_empty() {
            self.lock_rows(&select.from_clause);
        }
        if let Some(into) = select.into_clause.as_deref() {
            self.draft.on(Verb::Create, ObjectKind::Table, Self::new_name(into.rel.as_ref()));
            self.draft.store(&columns.whole());
        }
        columns
    }

    /// Which tables a query's rows may be all of.
    fn origin(&self, select: &pg::SelectStmt, scope: &Scope<'_>) -> Origin {
        let mut joined = Vec::new();
        let mut place = 0;
        for item in &select.from_clause {
            place = joined_conditions(item, place, &mut joined);
        }
        // An ON clause sees its own row sources only: names are looked up among these.
        let joined: Vec<(&pg::Node, Range<usize>, Scope<'_>)> = joined
            .into_iter()
            .map(|(node, range)| (node, range.clone(), scope.part(range)))
            .collect();
        let listed = |node: &pg::Node| is_listed(&scope.entries, node);
        // What is computed of several lists can be more than what they list.
        let lists = scope.entries.iter().filter(|entry| entry.columns.origin.whole.is_empty());
        let is_one = matches!(select.target_list.as_slice(), [target] if is_taken(target));
        let open = scope.entries.is_empty()
            || !select.target_list.iter().all(listed)
            || (lists.count() > 1 && !is_one);
        let mut origin = Origin { open, ..Origin::default() };
        for (index, entry) in scope.entries.iter().enumerate() {
            let own = &entry.columns.origin;
            origin.open |= own.open;
            if own.whole.is_empty() {
                continue;
            }
            let columns = entry.columns.base_columns();
            let restricts = |node: &pg::Node, scope: &Scope<'_>| {
                let condition = Condition {
                    alias: &entry.alias,
                    columns: columns.as_deref(),
                    nullable: &[],
                    family: &own.whole,
                    scope,
                    queries: &self.queries,
                };
                condition.restricts(node, false)
            };
            let limited = select.where_clause.as_deref().is_some_and(|node| restricts(node, scope))
                || joined
                    .iter()
                    .any(|(node, range, part)| range.contains(&index) && restricts(node, part));
            if !limited {
                origin.whole.extend(own.whole.iter().cloned());
            }
        }
        origin
    }

    fn lock_rows(&mut self, from: &[pg::Node]) {
        for item in from {
            match &item.node {
                Some(NodeEnum::RangeVar(var)) => self.on_range(Verb::Lock, var),
                Some(_) => self.draft.at(Verb::Lock, ObjectKind::Table),
                None => {}
            }
        }
    }

    fn values(&mut self, lists: &[pg::Node], scope: &Scope<'_>) -> Columns {
        let mut columns: Option<Columns> = None;
        for list in lists {
            let Some(NodeEnum::List(list)) = &list.node else { continue };
            let mut row = Vec::with_capacity(list.items.len());
            for (position, item) in list.items.iter().enumerate() {
                row.push((format!("column{}", position + 1).into(), self.value(item, scope)));
            }
            let mut row = Columns::closed(row);
            row.origin.open = !list.items.iter().all(|item| is_listed(&[], item));
            match &mut columns {
                Some(columns) => columns.unite(&row),
                None => columns = Some(row),
            }
        }
        columns.unwrap_or_else(|| Columns::closed(Vec::new()))
    }

    /// Makes the queries of a WITH clause known in a scope.
    pub(crate) fn with(&mut self, with: Option<&pg::WithClause>, scope: &mut Scope<'_>) {
        let Some(with) = with else { return };
        let ctes: Vec<&pg::CommonTableExpr> = with
            .ctes
            .iter()
            .filter_map(|node| match &node.node {
                Some(NodeEnum::CommonTableExpr(cte)) => Some(&**cte),
                Some(_) | None => None,
            })
            .collect();
        if !with.recursive {
            for cte in ctes {
                let columns = self.cte(cte, scope);
                scope.define(&cte.ctename, Rc::new(columns));
            }
            return;
        }
        // Each query may refer to itself: start from nothing and repeat until nothing is added.
        for cte in &ctes {
            scope.define(&cte.ctename, Rc::new(Columns::each(Value::none())));
        }
        for _ in 0..MAX_ROUNDS {
            let mut stable = true;
            for cte in &ctes {
                let columns = Rc::new(self.cte(cte, scope));
                stable &= scope.cte(&cte.ctename).as_ref() == Some(&columns);
                scope.define(&cte.ctename, columns);
            }
            if stable {
                return;
            }
        }
        for cte in &ctes {
            let why = "a recursive query that is too involved";
            scope.define(&cte.ctename, Rc::new(Columns::unknown(why)));
        }
    }

    fn cte(&mut self, cte: &pg::CommonTableExpr, scope: &Scope<'_>) -> Columns {
        let columns = match cte.ctequery.as_deref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => self.select(select, scope),
            Some(NodeEnum::InsertStmt(insert)) => self.insert(insert, scope),
            Some(NodeEnum::UpdateStmt(update)) => self.update(update, scope),
            Some(NodeEnum::DeleteStmt(delete)) => self.delete(delete, scope),
            Some(NodeEnum::MergeStmt(merge)) => self.merge(merge, scope),
            Some(_) | None => {
                self.draft.doubt("a WITH query of a kind that guard does not know");
                Columns::unknown("a WITH query of a kind that guard does not know")
            }
        };
        self.draft.uncounted |= match cte.ctequery.as_deref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(_)) => false,
            Some(_) | None => true,
        };
        let mut columns = columns.renamed(&alias_names(&cte.aliascolnames));
        if let Some(search) = &cte.search_clause {
            columns.list.push((search.search_seq_column.as_str().into(), columns.whole()));
        }
        if let Some(cycle) = cte.cycle_clause.as_deref() {
            // Rows that are alike in these are found.
            for name in cycle.cycle_col_list.iter().filter_map(string) {
                let value = columns.named(name).map(|(value, _)| value).unwrap_or_default();
                self.equated(&value);
            }
            columns.list.push((cycle.cycle_mark_column.as_str().into(), Value::none()));
            columns.list.push((cycle.cycle_path_column.as_str().into(), columns.whole()));
        }
        columns
    }
}

/// Most rows that a LIMIT may leave of a table so that they are some of it.
const SMALL: f64 = 1_000_000.0;

/// Whether a LIMIT leaves some rows of a table and not all.
fn is_small(limit: Option<&pg::Node>) -> bool {
    limit.and_then(constant).and_then(|text| text.parse::<f64>().ok()).is_some_and(|n| n <= SMALL)
}

/// Whether a target is a column or a constant, not computed.
fn is_taken(target: &pg::Node) -> bool {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref().is_none_or(is_taken),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_none_or(is_taken),
        Some(
            NodeEnum::ColumnRef(_)
            | NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SqlvalueFunction(_),
        ) => true,
        Some(_) | None => false,
    }
}

/// The conditions of inner joins: they hold for every row, as WHERE does. Each with the places of the row sources
/// that it sees. Answers the place behind the item's own.
fn joined_conditions<'n>(
    item: &'n pg::Node,
    start: usize,
    found: &mut Vec<(&'n pg::Node, Range<usize>)>,
) -> usize {
    let join = match &item.node {
        Some(NodeEnum::JoinExpr(join)) => join,
        Some(_) => return start + 1,
        None => return start,
    };
    let before = found.len();
    let mut end = start;
    for side in [&join.larg, &join.rarg].into_iter().flatten() {
        end = joined_conditions(side, end, found);
    }
    if join.jointype() == pg::JoinType::JoinInner {
        found.extend(join.quals.as_deref().map(|quals| (quals, start..end)));
    } else {
        found.truncate(before);
    }
    if join.join_using_alias.is_some() {
        end += 1;
    }
    if join.alias.is_some() {
        // What is joined has no names outside.
        found.truncate(before);
        end = start + 1;
    }
    end
}

/// The setting that a query asks for as pg_dump does: `FROM pg_settings WHERE name = 'x'`.
fn setting_asked(select: &pg::SelectStmt) -> Option<String> {
    let [pg::Node { node: Some(NodeEnum::RangeVar(var)) }] = select.from_clause.as_slice() else {
        return None;
    };
    let Some(NodeEnum::AExpr(e)) = select.where_clause.as_deref().and_then(|w| w.node.as_ref())
    else {
        return None;
    };
    let is_equality = e.kind() == pg::AExprKind::AexprOp && dotted(&e.name) == ("", "=");
    let asks = matches!(var.schemaname.as_str(), "" | "pg_catalog")
        && var.relname == "pg_settings"
        && var.alias.is_none()
        && is_equality
        && e.lexpr.as_deref().is_some_and(is_name);
    if asks { e.rexpr.as_deref().and_then(constant) } else { None }
}
