//! The row sources of a FROM list.

use std::{rc::Rc, sync::Arc};

use guard_core::{ObjectKind, Verb};
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::Analyzer,
    functions,
    nodes::{alias_names, dotted, object_name},
    origin::Origin,
    value::{Columns, Rest, Scope, Value},
};

impl Analyzer<'_> {
    /// Adds the row sources of a FROM list to a scope; answers what `*` stands for.
    pub(crate) fn from(&mut self, items: &[pg::Node], scope: &mut Scope<'_>) -> Columns {
        let mut star = Columns::closed(Vec::new());
        for item in items {
            let columns = self.row_source(item, scope);
            star.append(&columns);
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
                    self.draft.on(Verb::Call, ObjectKind::Function, object_name(&sample.method));
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
        // ON sees what it joins and what is around the query, not what else is in the FROM list.
        self.look(join.quals.as_deref(), &scope.part(before..scope.entries.len()));
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
            all.append(&rest);
        }
        if join.is_natural && (left.rest != Rest::Closed || right.rest != Rest::Closed) {
            // Any column may be one that both have.
            self.tested(&left.whole());
            self.tested(&right.whole());
            all.append(&Columns::unknown("a natural join of columns that are not known"));
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
            all.append(&columns);
            last = name;
        }
        if function.ordinality {
            all.append(&Columns::closed(vec![("ordinality".into(), Value::none())]));
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

fn column_names(nodes: &[pg::Node]) -> Vec<Arc<str>> {
    let name = |node: &pg::Node| match &node.node {
        Some(NodeEnum::ColumnDef(column)) => Some(column.colname.as_str().into()),
        Some(_) | None => None,
    };
    nodes.iter().filter_map(name).collect()
}
