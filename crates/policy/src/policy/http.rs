//! What a policy says of HTTP APIs: which requests a rule is about, and what becomes of credentials that a client brings along. Which
//! fields are hidden stands in [`super::fields`].

mod body;
mod graphql;

use std::collections::BTreeSet;

use guard_core::{
    Budgets, DecisionKind, Verb,
    document::{Fields, Node, Problems},
    http::{Condition, MethodSet, PathPattern, RequestPattern, ValuePattern},
};

use super::{
    lists::{items, words},
    rule::{Filter, Level, Names, Rule},
};

/// What requests do.
const EFFECTS: [Verb; 5] = [Verb::Read, Verb::Create, Verb::Update, Verb::Delete, Verb::Call];

const CREDENTIALS: [(&str, ClientCredentials); 2] =
    [("refuse", ClientCredentials::Refuse), ("remove", ClientCredentials::Remove)];

/// What becomes of a credential that a client sends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCredentials {
    /// The request is refused.
    #[default]
    Refuse,
    /// It goes on without.
    Remove,
}

/// The `http` of a rule.
pub(super) fn filter(node: &Node, decide: DecisionKind, problems: &mut Problems) -> Option<Filter> {
    let fields = node.fields(problems)?;
    let verbs = EFFECTS.map(|verb| (verb.as_str(), verb));
    let effects = match fields.optional("effects") {
        Some(node) => words(node, &verbs, problems),
        None => Some(None),
    };
    let methods = match fields.optional("methods") {
        Some(node) => methods(node, problems),
        None => Some(MethodSet::Any),
    };
    let operations = match fields.optional("operations") {
        Some(node) => operations(node, problems).map(Some),
        None => Some(None),
    };
    let paths = match (fields.optional("paths"), &operations) {
        (Some(node), _) => paths(node, problems),
        (None, Some(Some(_))) => Some(vec!["/**".parse().ok()?]),
        (None, Some(None) | None) => {
            fields.required("paths", problems).and_then(|node| paths(node, problems))
        }
    };
    let query = conditions(&fields, "query", problems);
    let headers = conditions(&fields, "headers", problems);
    let body = body::conditions(&fields, problems);
    let graphql = graphql::pattern(&fields, problems);
    let said = fields.optional("effects").unwrap_or(node);
    fields.finish(
        &["effects", "methods", "paths", "operations", "query", "headers", "body", "graphql"],
        problems,
    );
    let (effects, graphql) = graphql::with_effects(said, effects?, graphql?, problems)?;
    let methods = match (methods?, &graphql, decide) {
        // By these GraphQL goes over HTTP; a server that is asked for another one does something else.
        (MethodSet::Any, Some(_), DecisionKind::Allow) => MethodSet::new(["GET", "POST"]).ok()?,
        (methods, _, _) => methods,
    };
    let (paths, query, headers, body) = (paths?, query?, headers?, body?);
    let operations = operations?;
    let pattern = RequestPattern { methods, paths, operations, query, headers, body, graphql };
    // A request is understood in full, or refused before it is judged.
    let certainty = match decide {
        DecisionKind::Allow => BTreeSet::from([Level::Exact]),
        DecisionKind::Approve | DecisionKind::Block => {
            Level::WORDS.into_iter().map(|(_, level)| level).collect()
        }
    };
    Some(Filter {
        effects,
        names: Names::Any,
        objects: None,
        bounded: None,
        rows: None,
        certainty,
        sure: BTreeSet::from([Level::Exact]),
        http: Some(pattern),
    })
}

fn methods(node: &Node, problems: &mut Problems) -> Option<MethodSet> {
    let Some(items) = items(node, problems)? else { return Some(MethodSet::Any) };
    let mut listed = Vec::with_capacity(items.len());
    for item in items {
        let word = item.text(problems)?;
        if let Err(error) = MethodSet::new([word]) {
            item.problem(problems, error.to_string());
            return None;
        }
        listed.push(word);
    }
    MethodSet::new(listed).ok()
}

/// Ids of operations. `"*"` is every one that the document has an id for.
fn operations(node: &Node, problems: &mut Problems) -> Option<Vec<ValuePattern>> {
    let items = node.one_or_more(problems)?;
    let found: Vec<_> = items.iter().map(|item| item.parsed(problems)).collect();
    found.into_iter().collect()
}

pub(super) fn paths(node: &Node, problems: &mut Problems) -> Option<Vec<PathPattern>> {
    let Some(items) = items(node, problems)? else { return Some(vec!["/**".parse().ok()?]) };
    let found: Vec<_> = items.iter().map(|item| item.parsed(problems)).collect();
    found.into_iter().collect()
}

/// Names with the values that they must have; `null` is for what must not be there.
fn conditions(fields: &Fields<'_>, key: &str, problems: &mut Problems) -> Option<Vec<Condition>> {
    let Some(node) = fields.optional(key) else { return Some(Vec::new()) };
    let mut found = Vec::new();
    for (name, at, node) in node.fields(problems)?.all() {
        let condition = if node.is_word_null() {
            Condition::absent(name)
        } else {
            let items = node.one_or_more(problems)?;
            let values: Vec<_> =
                items.iter().map(|item| item.parsed::<ValuePattern>(problems)).collect();
            Condition::one_of(name, values.into_iter().collect::<Option<Vec<_>>>()?)
        };
        match condition {
            Ok(condition) => found.push(condition),
            Err(error) => {
                at.problem(problems, error.to_string());
                return None;
            }
        }
    }
    if found.is_empty() {
        node.problem(problems, format!("`{key}` names nothing: leave it out"));
        return None;
    }
    Some(found)
}

/// The `client_credentials` of a policy.
pub(super) fn client_credentials(
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<ClientCredentials> {
    match fields.optional("client_credentials") {
        Some(node) => node.one_of(&CREDENTIALS, problems),
        None => Some(ClientCredentials::default()),
    }
}

/// What a policy with rules for HTTP asks for and nobody would do: it does not load.
pub(super) fn check(
    fields: &Fields<'_>,
    rules: &[Rule],
    budgets: &Budgets,
    problems: &mut Problems,
) -> Option<()> {
    if rules.iter().all(|rule| rule.filter.http.is_none()) {
        return Some(());
    }
    let mut right = true;
    let mut refuse = |key: &str, message: &str, help: &str| {
        right = false;
        let node = fields.optional(key).unwrap_or_else(|| fields.node());
        node.problem_with_help(problems, message, help);
    };
    let rows = [
        budgets.rows_per_statement,
        budgets.rows_per_session,
        budgets.changes_per_statement,
        budgets.changes_per_transaction,
        budgets.changes_per_session,
    ];
    if rows.iter().any(Option::is_some) {
        let help = "bound bytes, requests a minute or time, or give the API a policy of its own";
        refuse("budgets", "HTTP APIs have no rows that a budget could count", help);
    }
    right.then_some(())
}
