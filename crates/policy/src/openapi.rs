//! OpenAPI documents, of which guard keeps methods, templates of paths, and ids.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::http::{ApiDocument, ApiOperation, MAX_OPERATIONS};
use serde::{Deserialize, de::IgnoredAny};

/// Longest document, in bytes: the longest that are published have some 15 MB.
pub const MAX_OPENAPI: u64 = 32 << 20;

/// Most that is kept of a document, in bytes: it travels with every session.
const MAX_KEPT: usize = 1 << 20;

/// Most paths of servers that one operation can be at.
const MAX_SERVERS: usize = 16;

/// Longest id and template, in bytes.
const MAX_TEXT: usize = 512;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    openapi: String,
    #[serde(default)]
    servers: Vec<Server>,
    #[serde(default)]
    paths: BTreeMap<String, Item>,
}

/// `paths` holds extensions, too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Path(Box<PathItem>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct PathItem {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(default)]
    servers: Vec<Server>,
    get: Option<Operation>,
    put: Option<Operation>,
    post: Option<Operation>,
    delete: Option<Operation>,
    options: Option<Operation>,
    head: Option<Operation>,
    patch: Option<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(default, rename = "operationId")]
    id: String,
    #[serde(default)]
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    url: String,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
}

#[derive(Deserialize)]
struct Variable {
    default: String,
    #[serde(default, rename = "enum")]
    values: Vec<String>,
}

/// Reads a document of OpenAPI 3.0 or 3.1, as JSON or YAML. What is wrong is said in words.
pub fn parse(text: &str) -> Result<ApiDocument, String> {
    let document: Document = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("is no OpenAPI document: {error}"))?
    } else {
        serde_yaml::from_str(text).map_err(|error| format!("is no OpenAPI document: {error}"))?
    };
    if !["3.0.", "3.1."].iter().any(|version| document.openapi.starts_with(version)) {
        return Err("is no document of OpenAPI 3.0 or 3.1".to_owned());
    }
    let mut operations = Vec::new();
    let mut ids = BTreeSet::new();
    for (path, item) in document.paths {
        let item = match item {
            Item::Path(item) if path.starts_with('/') => item,
            Item::Other(_) if path.starts_with('/') => {
                return Err(format!("has a path `{path}` that cannot be read"));
            }
            Item::Path(_) | Item::Other(_) => continue,
        };
        if item.reference.is_some() {
            return Err(format!("has a path `{path}` with `$ref`: put in what it stands for"));
        }
        let methods = [
            ("GET", item.get),
            ("PUT", item.put),
            ("POST", item.post),
            ("DELETE", item.delete),
            ("OPTIONS", item.options),
            ("HEAD", item.head),
            ("PATCH", item.patch),
        ];
        for (method, operation) in methods {
            let Some(operation) = operation else { continue };
            if operation.id.len() > MAX_TEXT || path.len() > MAX_TEXT {
                return Err(format!("has a text of more than {MAX_TEXT} bytes at `{path}`"));
            }
            if !operation.id.is_empty() && !ids.insert(operation.id.clone()) {
                return Err(format!("has the operation `{}` twice", operation.id));
            }
            let servers = [&operation.servers, &item.servers, &document.servers];
            let servers = servers.into_iter().find(|it| !it.is_empty());
            for base in bases(servers.map_or(&[], Vec::as_slice))? {
                let path = format!("{base}{path}");
                let (id, method) = (operation.id.clone(), method.to_owned());
                operations.push(ApiOperation { id, method, path });
            }
        }
    }
    let size: usize = operations.iter().map(|it| it.id.len() + it.path.len()).sum();
    if size > MAX_KEPT {
        return Err(format!("has ids and paths of {size} bytes; at most {MAX_KEPT} are kept"));
    }
    match operations.len() {
        0 => Err("has no operation".to_owned()),
        1..=MAX_OPERATIONS => Ok(ApiDocument { operations }),
        more => Err(format!("has {more} operations; at most {MAX_OPERATIONS} are read")),
    }
}

/// The paths of servers, each once.
fn bases(servers: &[Server]) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for server in servers {
        let mut urls = vec![server.url.clone()];
        for (name, variable) in &server.variables {
            let place = format!("{{{name}}}");
            let values = if variable.values.is_empty() {
                std::slice::from_ref(&variable.default)
            } else {
                &variable.values
            };
            let with = |url: &String| {
                let values = values.iter().map(|value| url.replace(&place, value));
                if url.contains(&place) { values.collect() } else { vec![url.clone()] }
            };
            urls = urls.iter().flat_map(with).collect();
            if urls.len() > MAX_SERVERS {
                return Err(format!("has a server `{}` with too many values", server.url));
            }
        }
        found.extend(urls.iter().map(|url| path_of(url).to_owned()));
    }
    if found.len() > MAX_SERVERS {
        return Err(format!("has servers with more than {MAX_SERVERS} paths"));
    }
    if found.is_empty() {
        found.insert(String::new());
    }
    Ok(found)
}

/// The path of a URL, without a slash at its end.
fn path_of(url: &str) -> &str {
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
        None => url,
    };
    rest.trim_end_matches('/')
}

/// The names that a word may have been meant for: the nearest, if it is near.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = word.chars().count() / 2;
    let near = names.map(|name| (distance(word, name), name)).min()?;
    (near.0 <= most).then_some(near.1)
}

/// How many letters make one word of another (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut before = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (known, cell) in other.iter().zip(row.iter_mut().skip(1)) {
            let changed = before + usize::from(*known != letter);
            before = *cell;
            left = changed.min(before + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Feeds arbitrary text to the reader.
pub fn fuzz_openapi(data: &[u8]) {
    let _ = parse(&String::from_utf8_lossy(data));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const YAML: &str = "\
openapi: 3.1.0
info: { title: t, version: '1' }
servers:
  - url: https://api.example.com/{version}/
    variables: { version: { default: v1, enum: [v1, v2] } }
x-own: 1
paths:
  x-more: text
  /issues:
    summary: s
    get: { operationId: issues/list, responses: {} }
    post: { operationId: issues/create }
  /health:
    servers: [{ url: / }]
    get: {}
";

    #[test]
    fn methods_templates_and_ids_are_kept() {
        let document = parse(YAML).unwrap();
        let all: Vec<_> = document
            .operations
            .iter()
            .map(|it| format!("{} {} {}", it.id, it.method, it.path))
            .collect();
        assert_eq!(
            all,
            [
                " GET /health",
                "issues/list GET /v1/issues",
                "issues/list GET /v2/issues",
                "issues/create POST /v1/issues",
                "issues/create POST /v2/issues",
            ]
        );
        assert_eq!(document.ids(), BTreeSet::from(["issues/create", "issues/list"]));
        let json = r#"{"openapi":"3.0.3","paths":{"/a":{"get":{"operationId":"a"}}}}"#;
        assert_eq!(parse(json).unwrap().operations.len(), 1);
    }

    #[test]
    fn what_is_no_such_document_is_said() {
        for (text, problem) in [
            ("{", "is no OpenAPI document"),
            ("- a", "is no OpenAPI document"),
            ("swagger: '2.0'\npaths: {}", "3.0 or 3.1"),
            ("openapi: 3.0.0", "has no operation"),
            ("openapi: 3.0.0\npaths: { /a: { $ref: x } }", "`$ref`"),
            ("openapi: 3.0.0\npaths: { /a: { get: 7 } }", "cannot be read"),
            (
                "openapi: 3.0.0\npaths: { /a: { get: { operationId: a }, put: { operationId: a } } }",
                "`a` twice",
            ),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }

    #[test]
    fn a_word_that_was_meant_is_found() {
        let names = ["issues/list", "issues/create", "users/list"];
        let find = |word| nearest(word, names.into_iter());
        assert_eq!(find("issue/list"), Some("issues/list"));
        assert_eq!(find("Issues/create"), Some("issues/create"));
        assert_eq!(find("zzz"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
