//! Queries: WITH, FROM, targets and set operations, to columns and where they come from.

use std::{rc::Rc, sync::Arc};

use guard_core::{ObjectKind, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::{Analyzer, constant, dotted, string},
    bounded::{Condition, Facts, Origin, address, is_listed},
    functions,
    value::{Columns, Rest, Scope, Value},
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
        let mut conditions: Vec<&pg::Node> = select.where_clause.as_deref().into_iter().collect();
        select.from_clause.iter().for_each(|item| inner_conditions(item, &mut conditions));
        let listed = |node: &pg::Node| is_listed(&scope.entries, node);
        let open = scope.entries.is_empty() || !select.target_list.iter().all(listed);
        let mut origin = Origin { open, ..Origin::default() };
        for entry in &scope.entries {
            let own = &entry.columns.origin;
            origin.open |= own.open;
            if own.whole.is_empty() {
                continue;
            }
            let columns = entry.columns.base_columns();
            let condition = Condition {
                alias: &entry.alias,
                columns: columns.as_deref(),
                nullable: &[],
                family: &own.whole,
                scope,
                queries: &self.queries,
            };
            if !conditions.iter().any(|node| condition.restricts(node, false)) {
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

    /// Adds the row sources of a FROM list to a scope; answers what `*` stands for.
    pub(crate) fn from(&mut self, items: &[pg::Node], scope: &mut Scope<'_>) -> Columns {
        let mut star = Columns::closed(Vec::new());
        for item in items {
            let columns = self.row_source(item, scope);
            append(&mut star, &columns);
        }
        star
    }

    /// Adds one row source.
    pub(crate) fn row_source(&mut self, item: &pg::Node, scope: &mut Scope<'_>) -> Rc<Columns> {
        match &item.node {
            Some(NodeEnum::RangeVar(var)) => {
                let cte = var.schemaname.is_empty().then(|| scope.cte(&var.relname)).flatten();
                let columns = match cte {
                    Some(columns) => (*columns).clone(),
                    None => self.read(var),
                };
                add(scope, var.alias.as_ref(), &var.relname, columns)
            }
            Some(NodeEnum::RangeSubselect(sub)) => {
                let query = sub.subquery.as_deref().and_then(|node| node.node.as_ref());
                let columns = match (query, sub.lateral) {
                    (Some(NodeEnum::SelectStmt(select)), true) => self.select(select, scope),
                    (Some(NodeEnum::SelectStmt(select)), false) => self.beside(select, scope),
                    (Some(_) | None, _) => Columns::unknown("a sub-query that is not a query"),
                };
                add(scope, sub.alias.as_ref(), "", columns)
            }
            Some(NodeEnum::JoinExpr(join)) => self.join(join, scope),
            Some(NodeEnum::RangeFunction(function)) => self.range_function(function, scope),
            Some(NodeEnum::RangeTableSample(sample)) => {
                self.look(sample.args.iter().chain(sample.repeatable.as_deref()), scope);
                let (schema, name) = dotted(&sample.method);
                if !matches!((schema, name), ("" | "pg_catalog", "bernoulli" | "system")) {
                    self.draft.on(
                        Verb::Call,
                        ObjectKind::Function,
                        crate::analyzer::object_name(&sample.method),
                    );
                    self.draft.doubt(&format!("sampling method `{name}` is not known"));
                }
                match sample.relation.as_deref() {
                    Some(relation) => self.row_source(relation, scope),
                    None => Rc::new(Columns::unknown("a sample of nothing")),
                }
            }
            Some(NodeEnum::RangeTableFunc(table)) => {
                let mut value = self.optional(table.docexpr.as_deref(), scope);
                value.absorb(&self.optional(table.rowexpr.as_deref(), scope));
                self.look(&table.namespaces, scope);
                let mut list = Vec::new();
                for column in &table.columns {
                    if let Some(NodeEnum::RangeTableFuncCol(column)) = &column.node {
                        if let Some(to) = &column.type_name {
                            self.cast(to);
                        }
                        let mut own = value.clone();
                        own.absorb(&self.optional(column.colexpr.as_deref(), scope));
                        own.absorb(&self.optional(column.coldefexpr.as_deref(), scope));
                        list.push((column.colname.as_str().into(), own.derived()));
                    }
                }
                let mut columns = Columns::closed(list);
                columns.origin.open = true;
                // How many rows there are follows from the document.
                self.tested(&columns.whole());
                self.tested(&value.derived());
                add(scope, table.alias.as_ref(), "xmltable", columns)
            }
            Some(NodeEnum::JsonTable(table)) => {
                let mut value = Value::none();
                if let Some(item) = table.context_item.as_deref() {
                    value.absorb(&self.json(item, scope));
                }
                for argument in &table.passing {
                    value.absorb(&self.value(argument, scope));
                }
                self.json_columns(&table.columns);
                let value = value.derived();
                self.tested(&value);
                let mut columns = Columns::each(value);
                columns.origin.open = true;
                add(scope, table.alias.as_ref(), "json_table", columns)
            }
            Some(_) => {
                self.draft.doubt("a row source of a kind that guard does not know");
                let columns = Columns::unknown("a row source of a kind that guard does not know");
                add(scope, None, "", columns)
            }
            None => Rc::new(Columns::closed(Vec::new())),
        }
    }

    /// A sub-query that does not see the row sources beside it.
    fn beside(&mut self, select: &pg::SelectStmt, scope: &mut Scope<'_>) -> Columns {
        let entries = std::mem::take(&mut scope.entries);
        let columns = self.select(select, scope);
        scope.entries = entries;
        columns
    }

    fn join(&mut self, join: &pg::JoinExpr, scope: &mut Scope<'_>) -> Rc<Columns> {
        let side = |this: &mut Self, node: Option<&pg::Node>, scope: &mut Scope<'_>| match node {
            Some(node) => this.row_source(node, scope),
            None => Rc::new(Columns::closed(Vec::new())),
        };
        let before = scope.entries.len();
        let left = side(self, join.larg.as_deref(), scope);
        let right = side(self, join.rarg.as_deref(), scope);
        self.look(join.quals.as_deref(), scope);
        let shared: Vec<Arc<str>> = if join.is_natural {
            let both = |name: &Arc<str>| right.list.iter().any(|(held, _)| held == name);
            left.list.iter().map(|(name, _)| name.clone()).filter(both).collect()
        } else {
            alias_names(&join.using_clause)
        };
        let mut list = Vec::new();
        for name in &shared {
            let mut value = left.named(name).map(|(value, _)| value).unwrap_or_default();
            let other = right.named(name).map(|(value, _)| value).unwrap_or_default();
            self.equated(&value);
            self.equated(&other);
            if join.jointype() == pg::JoinType::JoinInner {
                value.equals(&other);
            } else {
                value.or(&other);
            }
            list.push((name.clone(), value));
        }
        let mut all = Columns::closed(list.clone());
        for columns in [&left, &right] {
            let mut rest = (**columns).clone();
            rest.list.retain(|(name, _)| !shared.contains(name));
            append(&mut all, &rest);
        }
        if join.is_natural && (left.rest != Rest::Closed || right.rest != Rest::Closed) {
            // Any column may be one that both have.
            self.tested(&left.whole());
            self.tested(&right.whole());
            append(&mut all, &Columns::unknown("a natural join of columns that are not known"));
        }
        self.spend(all.list.len());
        if let Some(alias) = &join.join_using_alias {
            scope.add(&alias.aliasname, Rc::new(Columns::closed(list)));
        }
        match &join.alias {
            Some(_) => {
                // The names of what is joined are hidden by it: one of them may be its own.
                scope.entries.truncate(before);
                add(scope, join.alias.as_ref(), "", all)
            }
            None => Rc::new(all),
        }
    }

    fn range_function(
        &mut self,
        function: &pg::RangeFunction,
        scope: &mut Scope<'_>,
    ) -> Rc<Columns> {
        let mut all = Columns::closed(Vec::new());
        let mut last = String::new();
        for one in &function.functions {
            let Some(NodeEnum::List(pair)) = &one.node else { continue };
            let Some(call) = pair.items.first() else { continue };
            let value = self.value(call, scope).derived();
            // How many rows there are follows from the arguments.
            self.tested(&value);
            let name = match &call.node {
                Some(NodeEnum::FuncCall(call)) => dotted(&call.funcname).1.to_owned(),
                Some(_) | None => "value".to_owned(),
            };
            let own = match pair.items.get(1).and_then(|node| node.node.as_ref()) {
                Some(NodeEnum::List(list)) => list.items.as_slice(),
                Some(_) | None => &[],
            };
            let definitions = if own.is_empty() { &function.coldeflist } else { own };
            self.column_types(definitions);
            let defined = column_names(definitions);
            let origin = Origin {
                whole: value.columns().map(|column| column.table.clone()).collect(),
                open: !functions::lists_its_argument(&name),
                table: false,
            };
            let mut columns = if !defined.is_empty() {
                Columns::closed(defined.into_iter().map(|n| (n, value.clone())).collect())
            } else if let Some(names) = functions::result_columns(&name) {
                let alias = function.alias.as_ref().map(|a| a.aliasname.as_str());
                let single = alias.unwrap_or(&name);
                let list = match names {
                    ["value"] => vec![(single.into(), value)],
                    _ => names.iter().map(|n| ((*n).into(), value.clone())).collect(),
                };
                Columns::closed(list)
            } else {
                Columns::each(value)
            };
            columns.origin = origin;
            append(&mut all, &columns);
            last = name;
        }
        if function.ordinality {
            append(&mut all, &Columns::closed(vec![("ordinality".into(), Value::none())]));
        }
        add(scope, function.alias.as_ref(), &last, all)
    }

    /// Values become of the types of a column list, as by a cast.
    fn column_types(&mut self, nodes: &[pg::Node]) {
        for node in nodes {
            if let Some(NodeEnum::ColumnDef(column)) = &node.node
                && let Some(to) = &column.type_name
            {
                self.cast(to);
            }
        }
    }

    /// The same for JSON_TABLE, whose columns nest.
    fn json_columns(&mut self, nodes: &[pg::Node]) {
        for node in nodes {
            if let Some(NodeEnum::JsonTableColumn(column)) = &node.node {
                if let Some(to) = &column.type_name {
                    self.cast(to);
                }
                self.json_columns(&column.columns);
            }
        }
    }

    /// The columns of a target list or a RETURNING list.
    pub(crate) fn select_list(
        &mut self,
        targets: &[pg::Node],
        star: &Columns,
        scope: &Scope<'_>,
    ) -> Columns {
        let mut all = Columns::closed(Vec::new());
        for target in targets {
            let Some(NodeEnum::ResTarget(target)) = &target.node else { continue };
            let Some(node) = target.val.as_deref() else { continue };
            if let Some(columns) = star_of(node, star, scope) {
                append(&mut all, &columns);
                self.spend(columns.list.len());
                self.looked_at(&columns.whole());
                continue;
            }
            let value = self.value(node, scope);
            // `(f(x)).*` and `(row).*` are columns of which only the common origin is known.
            if matches!(&node.node, Some(NodeEnum::AIndirection(e)) if has_star(&e.indirection)) {
                append(&mut all, &Columns::each(value));
                continue;
            }
            let name = if target.name.is_empty() { figured(node) } else { &target.name };
            all.list.push((name.into(), value));
        }
        let Columns { rest, origin, list } = all;
        Columns { rest, origin, ..Columns::closed(list) }
    }
}

/// Most rows that a LIMIT may leave of a table so that they are some of it.
const SMALL: f64 = 1_000_000.0;

/// Whether a LIMIT leaves some rows of a table and not all.
fn is_small(limit: Option<&pg::Node>) -> bool {
    limit.and_then(constant).and_then(|text| text.parse::<f64>().ok()).is_some_and(|n| n <= SMALL)
}

/// The conditions of inner joins: they hold for every row, as WHERE does.
fn inner_conditions<'n>(item: &'n pg::Node, found: &mut Vec<&'n pg::Node>) {
    if let Some(NodeEnum::JoinExpr(join)) = &item.node
        && join.jointype() == pg::JoinType::JoinInner
    {
        found.extend(join.quals.as_deref());
        for side in [&join.larg, &join.rarg].into_iter().flatten() {
            inner_conditions(side, found);
        }
    }
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

/// Whether an expression is the column `name`.
pub(crate) fn is_name(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => {
            matches!(crate::analyzer::strings(&column.fields).as_slice(), ["name"])
        }
        Some(_) | None => false,
    }
}

fn has_star(fields: &[pg::Node]) -> bool {
    fields.iter().any(|field| matches!(field.node, Some(NodeEnum::AStar(_))))
}

/// What `*` or `t.*` stands for; `None` if the target is neither.
fn star_of(node: &pg::Node, star: &Columns, scope: &Scope<'_>) -> Option<Columns> {
    let Some(NodeEnum::ColumnRef(column)) = &node.node else { return None };
    if !has_star(&column.fields) {
        return None;
    }
    let row = column.fields.iter().rev().find_map(string);
    Some(match row {
        None => star.clone(),
        Some(row) => {
            scope.row(row).unwrap_or_else(|| Columns::unknown("a star of a row source not known"))
        }
    })
}

/// Puts the columns of one source behind those of another.
fn append(all: &mut Columns, more: &Columns) {
    let mut origin = all.origin.clone();
    origin.absorb(&more.origin);
    match (&mut all.rest, &more.rest) {
        (Rest::Closed, Rest::Closed) => {
            let mut list = std::mem::take(&mut all.list);
            list.extend(more.list.iter().cloned());
            *all = Columns::closed(list);
        }
        (Rest::Closed, Rest::Relation(_)) if all.list.is_empty() => {
            *all = more.clone();
        }
        _ => {
            let mut value = all.whole();
            value.absorb(&more.whole());
            all.list.extend(more.list.iter().cloned());
            all.rest = Rest::Each(value);
        }
    }
    all.origin = origin;
}

/// Adds a row source under its alias.
fn add(
    scope: &mut Scope<'_>,
    alias: Option<&pg::Alias>,
    name: &str,
    columns: Columns,
) -> Rc<Columns> {
    let columns = match alias {
        Some(alias) => columns.renamed(&alias_names(&alias.colnames)),
        None => columns,
    };
    let columns = Rc::new(columns);
    scope.add(alias.map_or(name, |alias| &alias.aliasname), columns.clone());
    columns
}

fn alias_names(nodes: &[pg::Node]) -> Vec<Arc<str>> {
    nodes.iter().filter_map(string).map(Arc::from).collect()
}

fn column_names(nodes: &[pg::Node]) -> Vec<Arc<str>> {
    let name = |node: &pg::Node| match &node.node {
        Some(NodeEnum::ColumnDef(column)) => Some(column.colname.as_str().into()),
        Some(_) | None => None,
    };
    nodes.iter().filter_map(name).collect()
}

/// The name that PostgreSQL gives a column without one.
fn figured(node: &pg::Node) -> &str {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => column.fields.iter().rev().find_map(string),
        Some(NodeEnum::FuncCall(call)) => call.funcname.last().and_then(string),
        Some(NodeEnum::TypeCast(cast)) => {
            let inner = cast.arg.as_deref().map(figured).filter(|name| *name != "?column?");
            inner.or_else(|| cast.type_name.as_ref()?.names.last().and_then(string))
        }
        Some(NodeEnum::AIndirection(e)) => {
            e.indirection.iter().rev().find_map(string).or_else(|| e.arg.as_deref().map(figured))
        }
        Some(NodeEnum::CollateClause(e)) => e.arg.as_deref().map(figured),
        Some(NodeEnum::CaseExpr(e)) => {
            let inner = e.defresult.as_deref().map(figured).filter(|name| *name != "?column?");
            Some(inner.unwrap_or("case"))
        }
        Some(NodeEnum::CoalesceExpr(_)) => Some("coalesce"),
        Some(NodeEnum::AArrayExpr(_)) => Some("array"),
        Some(NodeEnum::RowExpr(_)) => Some("row"),
        Some(NodeEnum::SubLink(link)) => match link.sub_link_type() {
            pg::SubLinkType::ExistsSublink => Some("exists"),
            pg::SubLinkType::ArraySublink => Some("array"),
            pg::SubLinkType::AllSublink
            | pg::SubLinkType::AnySublink
            | pg::SubLinkType::RowcompareSublink
            | pg::SubLinkType::ExprSublink
            | pg::SubLinkType::MultiexprSublink
            | pg::SubLinkType::CteSublink
            | pg::SubLinkType::Undefined => {
                match link.subselect.as_deref().and_then(|node| node.node.as_ref()) {
                    Some(NodeEnum::SelectStmt(select)) => match select.target_list.first() {
                        Some(pg::Node { node: Some(NodeEnum::ResTarget(target)) }) => {
                            if target.name.is_empty() {
                                target.val.as_deref().map(figured)
                            } else {
                                Some(target.name.as_str())
                            }
                        }
                        Some(_) | None => None,
                    },
                    Some(_) | None => None,
                }
            }
        },
        Some(_) | None => None,
    }
    .unwrap_or("?column?")
}
