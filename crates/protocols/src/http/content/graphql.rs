//! What a request asks of a GraphQL server: operations by their kind, with the fields of their roots.
//!
//! Read are what GraphQL over HTTP has (`query` and `operationName` in the URL or in JSON, batches of these, and
//! `application/graphql`). Whatever servers could take apart in two ways is unknown, which no rule allows: two places that say
//! a query, one that is stored at the server, a document that is not sound.

use std::collections::{HashMap, HashSet};

use apollo_parser::{
    Parser,
    cst::{Definition, OperationDefinition, Selection, SelectionSet},
};
use guard_core::{
    Digest,
    http::{GraphqlKind, GraphqlOperation, GraphqlRequest, Json, RequestBody},
};

use super::{Kind, Said};

/// Most tokens of a document, which bounds its fields.
const MAX_TOKENS: usize = 15_000;

/// Deepest nesting of a document.
const MAX_DEPTH: usize = 64;

/// Most operations that one request may ask for together.
const MAX_BATCH: usize = 50;

/// Names by which a server finds a query that it has stored, as the most careless one reads them.
const STORED: [&str; 8] =
    ["id", "docid", "documentid", "queryid", "hash", "queryhash", "sha256hash", "persistedquery"];

/// One operation as it is asked for.
#[derive(Default)]
struct Envelope<'a> {
    query: Option<&'a str>,
    name: Option<&'a str>,
}

/// What a request asks for.
pub(super) fn read(
    query: &[(String, String)],
    kind: Kind<'_>,
    bytes: &[u8],
    body: &RequestBody,
) -> GraphqlRequest {
    let envelopes = match body {
        RequestBody::Empty => from_url(query).map(|it| vec![it]),
        RequestBody::Unread => None,
        RequestBody::Read(_) if kind.said() == Said::Graphql => {
            let text = std::str::from_utf8(bytes).ok();
            let url = from_url(query);
            text.zip(url)
                .filter(|(_, url)| url.query.is_none())
                .map(|(text, url)| vec![Envelope { query: Some(text), ..url }])
        }
        RequestBody::Read(_) => match (body.certain(), kind.said()) {
            (Some(json), Said::Json) if !query.iter().any(|(name, _)| means_something(name)) => {
                from_json(json)
            }
            (None | Some(_), _) => None,
        },
    };
    let read = envelopes.and_then(|all| all.iter().map(operations).collect::<Option<Vec<_>>>());
    let Some(read) = read else { return GraphqlRequest::UNKNOWN };
    let surely = Some(read.iter().map(|it| it.chosen.clone()).collect());
    let possibly = read.into_iter().flat_map(|it| it.all).collect();
    GraphqlRequest { surely, possibly: Some(possibly) }
}

/// A name without case, `_` and `-`.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|it| !matches!(it, '_' | '-'));
    kept.flat_map(char::to_lowercase).collect()
}

/// Whether a server could look at a parameter or member of this name.
fn means_something(name: &str) -> bool {
    let name = plain(name);
    let base = name.split(['[', '.', ' ', '\0']).next().unwrap_or_default();
    matches!(base, "query" | "operationname" | "extensions" | "operations" | "doc" | "document")
        || STORED.contains(&base)
}

fn from_url(query: &[(String, String)]) -> Option<Envelope<'_>> {
    let mut envelope = Envelope::default();
    let mut extensions = None;
    for (name, value) in query {
        let place = match name.as_str() {
            "query" => &mut envelope.query,
            "operationName" => &mut envelope.name,
            "extensions" => &mut extensions,
            other if means_something(other) => return None,
            _ => continue,
        };
        if place.replace(value.as_str()).is_some() {
            return None;
        }
    }
    if let Some(text) = extensions {
        let read = super::json::read(text.as_bytes()).filter(|it| it.certain)?;
        extends_soundly(&read.value, envelope.query?).then_some(())?;
    }
    envelope.name = envelope.name.filter(|name| !name.is_empty());
    Some(envelope)
}

fn from_json(json: &Json) -> Option<Vec<Envelope<'_>>> {
    match json {
        Json::Object(members) => Some(vec![from_object(members)?]),
        Json::Array(items) if (1..=MAX_BATCH).contains(&items.len()) => items
            .iter()
            .map(|item| match item {
                Json::Object(members) => from_object(members),
                Json::Null
                | Json::Bool(_)
                | Json::Number(_)
                | Json::Text(_)
                | Json::Field(_)
                | Json::Array(_) => None,
            })
            .collect(),
        Json::Array(_)
        | Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::Text(_)
        | Json::Field(_) => None,
    }
}

fn from_object(members: &[(String, Json)]) -> Option<Envelope<'_>> {
    let mut envelope = Envelope::default();
    let mut extensions = None;
    for (name, value) in members {
        match (name.as_str(), value) {
            ("query", Json::Text(text)) => envelope.query = Some(text),
            ("operationName", Json::Text(text)) if !text.is_empty() => envelope.name = Some(text),
            ("operationName", Json::Null | Json::Text(_)) | ("extensions", Json::Null) => {}
            ("extensions", value) => extensions = Some(value),
            (other, _) if means_something(other) => return None,
            (_, _) => {}
        }
    }
    match extensions {
        Some(value) if !extends_soundly(value, envelope.query?) => None,
        Some(_) | None => Some(envelope),
    }
}

/// Whether extensions leave a query what its text says. One that is named by its hash besides must be the one with this hash.
fn extends_soundly(extensions: &Json, query: &str) -> bool {
    let Json::Object(members) = extensions else { return false };
    members.iter().all(|(name, value)| {
        if !STORED.contains(&plain(name).as_str()) {
            return true;
        }
        let Json::Object(stored) = value else { return false };
        let hash = Digest::of(query).to_string();
        let hash = hash.rsplit(':').next().unwrap_or_default();
        let same = |value: &Json| matches!(value, Json::Text(text) if text == hash);
        name == "persistedQuery"
            && stored.iter().any(|(name, _)| name == "sha256Hash")
            && stored.iter().all(|(name, value)| plain(name) != "sha256hash" || same(value))
    })
}

/// The operations of a document.
struct Operations {
    all: Vec<GraphqlOperation>,
    /// The one that is carried out.
    chosen: GraphqlOperation,
}

/// `None` where a server could carry out another one than guard finds.
fn operations(envelope: &Envelope<'_>) -> Option<Operations> {
    let text = envelope.query?;
    // Some readers end a line, and with it a comment, at more characters than others.
    let odd = |it: char| {
        (it.is_control() && !matches!(it, '\t' | '\n' | '\r'))
            || matches!(it, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    if text.contains(odd) {
        return None;
    }
    let tree = Parser::new(text).token_limit(MAX_TOKENS).recursion_limit(MAX_DEPTH).parse();
    if tree.errors().len() > 0 {
        return None;
    }
    let (mut found, mut fragments) = (Vec::new(), HashMap::new());
    for definition in tree.document().definitions() {
        if let Definition::OperationDefinition(operation) = definition {
            found.push(operation);
        } else if let Definition::FragmentDefinition(fragment) = definition {
            let name = fragment.fragment_name()?.name()?.text().to_string();
            if fragments.insert(name, fragment.selection_set()?).is_some() {
                return None;
            }
        } else {
            return None;
        }
    }
    let mut all = Vec::with_capacity(found.len());
    let mut names = HashSet::new();
    let mut chosen = None;
    for operation in &found {
        let name = operation.name().map(|name| name.text().to_string());
        let read = GraphqlOperation {
            kind: kind(operation),
            fields: root_fields(&operation.selection_set()?, &fragments)?,
        };
        let is_asked = match envelope.name {
            Some(asked) => name.as_deref() == Some(asked),
            None => found.len() == 1,
        };
        if is_asked {
            chosen = Some(read.clone());
        }
        if !names.insert(name) {
            return None;
        }
        all.push(read);
    }
    Some(Operations { all, chosen: chosen? })
}

fn kind(operation: &OperationDefinition) -> GraphqlKind {
    let Some(said) = operation.operation_type() else { return GraphqlKind::Query };
    if said.mutation_token().is_some() {
        GraphqlKind::Mutation
    } else if said.subscription_token().is_some() {
        GraphqlKind::Subscription
    } else {
        GraphqlKind::Query
    }
}

/// The fields of a root, through fragments, each of which is looked at once.
fn root_fields(
    root: &SelectionSet,
    fragments: &HashMap<String, SelectionSet>,
) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let (mut seen, mut known) = (HashSet::new(), HashSet::new());
    let mut open = vec![root.clone()];
    while let Some(set) = open.pop() {
        for selection in set.selections() {
            match selection {
                Selection::Field(field) => {
                    let name = field.name()?.text().to_string();
                    if known.insert(name.clone()) {
                        fields.push(name);
                    }
                }
                Selection::InlineFragment(fragment) => open.push(fragment.selection_set()?),
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name()?.name()?.text().to_string();
                    let fragment = fragments.get(&name)?.clone();
                    if seen.insert(name) {
                        open.push(fragment);
                    }
                }
            }
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::Field, *};

    fn shown(operations: Option<&Vec<GraphqlOperation>>) -> String {
        let Some(operations) = operations else { return "?".to_owned() };
        let one = |it: &GraphqlOperation| {
            let word = GraphqlKind::WORDS.iter().find(|(_, kind)| *kind == it.kind).unwrap().0;
            format!("{word} {}", it.fields.join(" "))
        };
        operations.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn asked(url: &[(&str, &str)], content_type: &str, body: &str) -> (String, String) {
        let headers = [Field::read("content-type", content_type.as_bytes()).unwrap()];
        let kind = Kind::of(&headers);
        let query: Vec<(String, String)> =
            url.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = read(&query, kind, body.as_bytes(), &super::super::read(kind, body.as_bytes()));
        (shown(found.surely.as_ref()), shown(found.possibly.as_ref()))
    }

    fn in_json(document: &str) -> String {
        let body = serde_json::json!({ "query": document, "variables": { "a": 1 } }).to_string();
        asked(&[], "application/json", &body).0
    }

    #[test]
    fn what_is_asked_for_is_found_wherever_it_stands() {
        for (document, expected) in [
            ("{ viewer { login } }", "query viewer"),
            ("query { viewer { login } }", "query viewer"),
            ("query Q($a: Int = 1) @x(y: \"}\") { a: viewer { login } }", "query viewer"),
            ("mutation { viewer: deleteAll }", "mutation deleteAll"),
            ("mutation { query: deleteAll }", "mutation deleteAll"),
            ("subscription S { news }", "subscription news"),
            (
                "{ viewer ...F } fragment F on Query { users ...G } fragment G on Query { a }",
                "query viewer users a",
            ),
            ("{ viewer ...F } fragment F on Query { users ...F }", "query viewer users"),
            (
                "{ viewer ... on Query { users } ... @include(if: true) { secrets } }",
                "query viewer secrets users",
            ),
            ("{ viewer secrets @skip(if: true) }", "query viewer secrets"),
            ("{ viewer, # x }\n secrets }", "query viewer secrets"),
            ("{ viewer # x\r secrets }", "query viewer secrets"),
            ("{ viewer(a: \"# }\") secrets }", "query viewer secrets"),
            ("{ viewer(a: \"\"\" \\\"\"\" } \"\"\") secrets }", "query viewer secrets"),
            ("{ __schema { types { name } } }", "query __schema"),
            ("{ a: viewer b: viewer }", "query viewer"),
            // What servers could read in another way, or not at all.
            ("{ viewer #\u{2028} secrets\n }", "?"),
            ("\u{feff}{ viewer }", "?"),
            ("{ viewer", "?"),
            ("{ }", "?"),
            ("", "?"),
            ("viewer", "?"),
            ("{ viewer ...F }", "?"),
            ("{ ...F } fragment F on Query { a } fragment F on Query { b }", "?"),
            ("{ viewer } type Query { a: Int }", "?"),
            ("query A { a } query B { b }", "?"),
            ("query A { a } query A { b }", "?"),
            ("{ a } { b }", "?"),
        ] {
            assert_eq!(in_json(document), expected, "{document}");
        }
        let deep = format!("{}a{}", "{ a ".repeat(500), "}".repeat(500));
        let long = format!("{{ {} }}", "a ".repeat(MAX_TOKENS));
        assert_eq!([in_json(&deep), in_json(&long)], ["?", "?"]);
    }

    #[test]
    fn where_a_query_stands_leaves_no_doubt_or_nothing_is_certain() {
        const JSON: &str = "application/json";
        let hash = Digest::of("{a}").to_string();
        let hash = hash.rsplit(':').next().unwrap();
        let stored = format!(
            r#"{{"query":"{{a}}","extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"{hash}"}}}}}}"#
        );
        let two = r#"{"query":"query A {a} mutation B {b}","operationName":"A"}"#;
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);
        let cases: &[Case<'_>] = &[
            (&[("query", "{a}")], "", "", "query a"),
            (
                &[("query", "query A {a} mutation B {b}"), ("operationName", "B")],
                "",
                "",
                "mutation b",
            ),
            (&[("query", "{a}"), ("query", "{b}")], "", "", "?"),
            (&[("query", "{a}"), ("Query", "{b}")], "", "", "?"),
            (&[("query", "{a}"), ("extensions", "{}")], "", "", "query a"),
            (&[("query", "{a}"), ("extensions", r#"{"persistedQuery":{}}"#)], "", "", "?"),
            (&[("extensions", r#"{"persistedQuery":{"sha256Hash":"00"}}"#)], "", "", "?"),
            (&[("query", "{a}"), ("id", "7")], "", "", "?"),
            (&[], "", "", "?"),
            (&[], JSON, r#"{"query":"{a}"}"#, "query a"),
            (&[], JSON, r#"{"query":"{a}","operationName":null}"#, "query a"),
            (&[], JSON, r#"{"query":"{a}","operationName":"B"}"#, "?"),
            (&[], JSON, r#"{"query":"{a}","operationName":7}"#, "?"),
            (&[], JSON, two, "query a"),
            (&[], JSON, r#"[{"query":"{a}"},{"query":"mutation {b}"}]"#, "query a, mutation b"),
            (&[], JSON, r#"[{"query":"{a}"},7]"#, "?"),
            (&[], JSON, "[]", "?"),
            (&[("query", "mutation {b}")], JSON, r#"{"query":"{a}"}"#, "?"),
            (&[("operationName", "B")], JSON, two, "?"),
            (&[], JSON, r#"{"query":"{a}","query":"{b}"}"#, "?"),
            (&[], JSON, r#"{"query":"{a}","Query":"{b}"}"#, "?"),
            (&[], JSON, r#"{"Query":"{a}"}"#, "?"),
            (&[], JSON, r#"{"query":["{a}"]}"#, "?"),
            (&[], JSON, r#"{"id":"7"}"#, "?"),
            (&[], JSON, r#"{"query":"{a}","documentId":"7"}"#, "?"),
            (&[], JSON, r#"{"query":"{a}","doc_id":"7"}"#, "?"),
            (&[], JSON, r#"{"extensions":{"persistedQuery":{"sha256Hash":"00"}}}"#, "?"),
            (
                &[],
                JSON,
                r#"{"query":"{a}","extensions":{"persistedQuery":{"sha256Hash":"00"}}}"#,
                "?",
            ),
            (&[], JSON, &stored, "query a"),
            (&[], "application/graphql", "{a}", "query a"),
            (
                &[("operationName", "B")],
                "application/graphql",
                "query A {a} mutation B {b}",
                "mutation b",
            ),
            (&[("query", "{b}")], "application/graphql", "{a}", "?"),
            (&[], "text/plain", r#"{"query":"{a}"}"#, "?"),
            (&[], "application/x-www-form-urlencoded", "query={a}", "?"),
            (&[], "multipart/form-data; boundary=x", r#"{"query":"{a}"}"#, "?"),
        ];
        for (url, content_type, body, expected) in cases {
            assert_eq!(
                asked(url, content_type, body).0,
                *expected,
                "{url:?} {content_type} {body}"
            );
        }
        assert_eq!(asked(&[], JSON, two).1, "query a, mutation b");
    }
}
