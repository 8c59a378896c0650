//! The columns of a target list, and their names.

use pg_query::{NodeEnum, protobuf as pg};

use crate::{
    analyzer::Analyzer,
    nodes::string,
    value::{Columns, Scope},
};

impl Analyzer<'_> {
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
                all.append(&columns);
                self.spend(columns.list.len());
                self.looked_at(&columns.whole());
                continue;
            }
            let value = self.value(node, scope);
            // `(f(x)).*` and `(row).*` are columns of which only the common origin is known.
            if matches!(&node.node, Some(NodeEnum::AIndirection(e)) if has_star(&e.indirection)) {
                all.append(&Columns::each(value));
                continue;
            }
            let name = if target.name.is_empty() { figured(node) } else { &target.name };
            all.list.push((name.into(), value));
        }
        let Columns { rest, origin, list } = all;
        Columns { rest, origin, ..Columns::closed(list) }
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
