//! What the small nodes of a parsed statement say: names, operators, constants.

use std::sync::Arc;

use guard_core::ObjectName;
use pg_query::{NodeEnum, protobuf as pg};

/// The text of a name's part.
pub(crate) fn string(node: &pg::Node) -> Option<&str> {
    match node.node.as_ref() {
        Some(NodeEnum::String(s)) => Some(&s.sval),
        Some(_) | None => None,
    }
}

/// The parts of a dotted name.
pub(crate) fn strings(nodes: &[pg::Node]) -> Vec<&str> {
    nodes.iter().filter_map(string).collect()
}

/// The names in a list of aliases.
pub(crate) fn alias_names(nodes: &[pg::Node]) -> Vec<Arc<str>> {
    nodes.iter().filter_map(string).map(Arc::from).collect()
}

/// Schema (empty if none) and name of a dotted name.
pub(crate) fn dotted(nodes: &[pg::Node]) -> (&str, &str) {
    match strings(nodes).as_slice() {
        [.., schema, name] => (schema, name),
        [name] => ("", name),
        [] => ("", ""),
    }
}

/// A dotted name as the name of an object.
pub(crate) fn object_name(nodes: &[pg::Node]) -> ObjectName {
    match dotted(nodes) {
        ("", name) => ObjectName::bare(name),
        (schema, name) => ObjectName::qualified(schema, name),
    }
}

/// The text of a constant.
#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is no constant")]
pub(crate) fn constant(node: &pg::Node) -> Option<String> {
    use pg::a_const::Val;
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            Val::Ival(v) => Some(v.ival.to_string()),
            Val::Fval(v) => Some(v.fval.clone()),
            Val::Boolval(v) => Some(v.boolval.to_string()),
            Val::Sval(v) => Some(v.sval.clone()),
            Val::Bsval(v) => Some(v.bsval.clone()),
        },
        NodeEnum::TypeCast(cast) => constant(cast.arg.as_deref()?),
        NodeEnum::String(s) => Some(s.sval.clone()),
        NodeEnum::Integer(i) => Some(i.ival.to_string()),
        NodeEnum::Float(f) => Some(f.fval.clone()),
        NodeEnum::Boolean(b) => Some(b.boolval.to_string()),
        _ => None,
    }
}

/// Whether an expression is the constant NULL, of whatever type.
pub(crate) fn is_null(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(value)) => value.isnull,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_null),
        Some(_) | None => false,
    }
}

/// The operator of an expression, without its schema.
pub(crate) fn operator_of(e: &pg::AExpr) -> &str {
    e.name.last().and_then(string).unwrap_or_default()
}

/// Whether an expression is the column `name`.
pub(crate) fn is_name(node: &pg::Node) -> bool {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => {
            matches!(strings(&column.fields).as_slice(), ["name"])
        }
        Some(_) | None => false,
    }
}

/// The conditions of inner joins: they hold for every row, as WHERE does.
pub(crate) fn inner_conditions<'n>(item: &'n pg::Node, found: &mut Vec<&'n pg::Node>) {
    if let Some(NodeEnum::JoinExpr(join)) = &item.node
        && join.jointype() == pg::JoinType::JoinInner
    {
        found.extend(join.quals.as_deref());
        for side in [&join.larg, &join.rarg].into_iter().flatten() {
            inner_conditions(side, found);
        }
    }
}

/// The expressions of which a value is computed and nothing else: those of casts, operators, calls and lists. `None` of
/// everything that is computed in another way, or that is no computation.
pub(crate) fn operands(node: &pg::Node) -> Option<Vec<&pg::Node>> {
    match &node.node {
        Some(NodeEnum::TypeCast(e)) => Some(e.arg.as_deref().into_iter().collect()),
        Some(NodeEnum::CollateClause(e)) => Some(e.arg.as_deref().into_iter().collect()),
        Some(NodeEnum::AExpr(e)) => {
            Some(e.lexpr.as_deref().into_iter().chain(e.rexpr.as_deref()).collect())
        }
        Some(NodeEnum::AArrayExpr(e)) => Some(e.elements.iter().collect()),
        Some(NodeEnum::RowExpr(e)) => Some(e.args.iter().collect()),
        Some(NodeEnum::List(e)) => Some(e.items.iter().collect()),
        Some(NodeEnum::CoalesceExpr(e)) => Some(e.args.iter().collect()),
        Some(NodeEnum::MinMaxExpr(e)) => Some(e.args.iter().collect()),
        Some(NodeEnum::FuncCall(e)) => Some(e.args.iter().collect()),
        Some(_) | None => None,
    }
}

/// The query of a sub-link.
pub(crate) fn selected_by(link: &pg::SubLink) -> Option<&pg::SelectStmt> {
    match link.subselect.as_deref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::SelectStmt(select)) => Some(select),
        Some(_) | None => None,
    }
}
