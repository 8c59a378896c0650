//! The `graphql` of a rule: which operations, by their kind and the fields of their roots.

use std::collections::BTreeSet;

use guard_core::{
    Verb,
    document::{Fields, Node, Problems},
    http::{GraphqlKind, GraphqlPattern},
};

use super::super::lists::items;

/// `None`: the rule is not about GraphQL.
pub(super) fn pattern(
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<Option<GraphqlPattern>> {
    let Some(node) = fields.optional("graphql") else { return Some(None) };
    let keys = node.fields(problems)?;
    let kinds = match keys.optional("operations") {
        Some(node) => {
            all_of(node, problems, |item, problems| item.one_of(&GraphqlKind::WORDS, problems))
        }
        None => Some(None),
    };
    let named = match keys.optional("fields") {
        Some(node) => all_of(node, problems, Node::parsed),
        None => Some(None),
    };
    keys.finish(&["operations", "fields"], problems);
    Some(Some(GraphqlPattern { kinds: kinds?, fields: named? }))
}

/// What a list has; `None` for `"*"`.
fn all_of<T>(
    node: &Node,
    problems: &mut Problems,
    read: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> Option<Option<Vec<T>>> {
    let Some(items) = items(node, problems)? else { return Some(None) };
    let found: Vec<_> = items.iter().map(|item| read(item, problems)).collect();
    found.into_iter().collect::<Option<Vec<_>>>().map(Some)
}

/// What a rule has for its effects, and for its operations of GraphQL.
type Narrowed = (Option<BTreeSet<Verb>>, Option<GraphqlPattern>);

/// Beside `graphql`, `effects` are those of the operations: nearly all of them come by POST.
pub(super) fn with_effects(
    said: &Node,
    effects: Option<BTreeSet<Verb>>,
    graphql: Option<GraphqlPattern>,
    problems: &mut Problems,
) -> Option<Narrowed> {
    let (Some(mut pattern), Some(verbs)) = (graphql.clone(), &effects) else {
        return Some((effects, graphql));
    };
    let known = [GraphqlKind::Query, GraphqlKind::Mutation, GraphqlKind::Subscription];
    let is_meant = |kind: &GraphqlKind| verbs.contains(&effect(*kind));
    let kinds = pattern.kinds.unwrap_or_else(|| known.to_vec());
    let kinds: Vec<_> = kinds.into_iter().filter(is_meant).collect();
    if kinds.is_empty() {
        said.problem_with_help(
            problems,
            "no operation of GraphQL that the rule is about has these effects",
            "a query and a subscription `read`, a mutation is a `call`; or leave `effects` out",
        );
        return None;
    }
    pattern.kinds = Some(kinds);
    Some((None, Some(pattern)))
}

/// What an operation does. What a mutation changes is known to its server alone.
const fn effect(kind: GraphqlKind) -> Verb {
    match kind {
        GraphqlKind::Query | GraphqlKind::Subscription => Verb::Read,
        GraphqlKind::Mutation => Verb::Call,
    }
}
