//! What conditions, orders and groups look at. Which rows come back, in which order and how many tells
//! something of these columns, though no value of theirs is in the result.

use guard_core::Test;
use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::Analyzer,
    nodes::{constant, dotted, strings},
    value::{Columns, Scope, Value},
};

impl Analyzer<'_> {
    /// Looks at expressions whose values go nowhere: conditions, orders, groups.
    pub(crate) fn look<'n>(
        &mut self,
        nodes: impl IntoIterator<Item = &'n pg::Node>,
        scope: &Scope<'_>,
    ) {
        for node in nodes {
            self.condition(node, scope);
        }
    }

    fn condition(&mut self, node: &pg::Node, scope: &Scope<'_>) {
        match &node.node {
            Some(NodeEnum::BoolExpr(e)) if e.boolop() != pg::BoolExprType::NotExpr => {
                if self.spend(1) {
                    self.look(&e.args, scope);
                }
            }
            Some(NodeEnum::AExpr(e)) if is_equality(e) => {
                self.operator(&e.name);
                for side in [&e.lexpr, &e.rexpr] {
                    let value = self.optional(side.as_deref(), scope);
                    self.equated(&value);
                }
            }
            Some(_) | None => {
                let value = self.value(node, scope);
                self.tested(&value);
            }
        }
    }

    /// What a query is ordered or grouped by: expressions, or columns of its result by number or name.
    pub(crate) fn arrange(&mut self, nodes: &[pg::Node], columns: &Columns, scope: &Scope<'_>) {
        for node in nodes {
            let key = match &node.node {
                Some(NodeEnum::SortBy(sort)) => {
                    self.operator(&sort.use_op);
                    sort.node.as_deref()
                }
                Some(_) | None => Some(node),
            };
            let Some(key) = key else { continue };
            match &key.node {
                Some(NodeEnum::AConst(_)) => {
                    let place = constant(key).and_then(|n| n.parse::<usize>().ok());
                    let column = place.and_then(|n| columns.list.get(n.checked_sub(1)?));
                    let value = column.map_or_else(|| columns.whole(), |(_, value)| value.clone());
                    self.tested(&value);
                }
                Some(NodeEnum::ColumnRef(column)) => {
                    let named = match strings(&column.fields).as_slice() {
                        [name] => columns.named(name).filter(|(_, sure)| *sure),
                        _ => None,
                    };
                    match named {
                        // The result's own name, or that of a column behind it: either.
                        Some((value, _)) => {
                            self.tested(&value);
                            if let [pg::Node { node: Some(NodeEnum::String(name)) }] =
                                column.fields.as_slice()
                                && let Some(value) = scope.name(&name.sval)
                            {
                                self.looked_at(&value);
                                self.tested(&value);
                            }
                        }
                        None => self.condition(key, scope),
                    }
                }
                Some(NodeEnum::GroupingSet(set)) => self.arrange(&set.content, columns, scope),
                Some(_) | None => self.condition(key, scope),
            }
        }
    }

    /// DISTINCT: of the whole result, or ON some expressions.
    pub(crate) fn distinct(&mut self, nodes: &[pg::Node], columns: &Columns, scope: &Scope<'_>) {
        if nodes.iter().any(|node| node.node.is_none()) {
            self.tested(&columns.whole());
            return;
        }
        self.arrange(nodes, columns, scope);
    }

    /// The column of a unique index by which a conflict is found.
    pub(crate) fn conflict(&mut self, name: &str, scope: &Scope<'_>) {
        // Around the scope of `excluded`. An index that is made finds no rows and has none.
        let own = scope.around().filter(|_| !name.is_empty());
        if let Some(value) = own.and_then(|scope| scope.name(name)) {
            self.equated(&value);
        }
    }

    /// A value decides which rows there are.
    pub(crate) fn tested(&mut self, value: &Value) {
        self.test(value, Test::Other);
    }

    /// A value is compared by `=`.
    pub(crate) fn equated(&mut self, value: &Value) {
        self.test(value, if value.is_plain() { Test::Equality } else { Test::Other });
    }

    fn test(&mut self, value: &Value, how: Test) {
        // What a view that is there looks at was chosen by who made it.
        if self.in_view() {
            return;
        }
        for column in value.columns() {
            self.draft.test(Some(column.clone()), how);
        }
        if value.why_unknown().is_some() {
            self.draft.test(None, how);
        }
    }
}

/// `=`, `IN (…)`, `= ANY (…)`
fn is_equality(e: &pg::AExpr) -> bool {
    use pg::AExprKind as Kind;
    matches!(e.kind(), Kind::AexprOp | Kind::AexprIn | Kind::AexprOpAny)
        && matches!(dotted(&e.name), ("" | "pg_catalog", "="))
        && e.lexpr.is_some()
}
