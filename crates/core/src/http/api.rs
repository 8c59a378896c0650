//! The operations of an API as its OpenAPI document has them: methods, templates of paths, and ids.

use std::{collections::BTreeSet, sync::Arc};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::Method;

/// Most operations of a document: it travels with every session.
pub const MAX_OPERATIONS: usize = 5000;

/// What guard keeps of an OpenAPI document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiDocument {
    /// Its operations.
    pub operations: Vec<ApiOperation>,
}

/// One operation of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiOperation {
    /// Its `operationId`; empty if it has none.
    pub id: String,
    /// Its method, in capital letters.
    pub method: String,
    /// The template of its path, behind the path of its server.
    pub path: String,
}

impl ApiDocument {
    /// The ids that rules can name.
    pub fn ids(&self) -> BTreeSet<&str> {
        let ids = self.operations.iter().map(|operation| operation.id.as_str());
        ids.filter(|id| !id.is_empty()).collect()
    }
}

/// Which operations a request is, by one of its methods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Called {
    /// The one that it is by the rules of OpenAPI.
    pub surely: Option<Arc<str>>,
    /// All that a server could take it for.
    pub possibly: Vec<Arc<str>>,
}

/// A document, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Api {
    paths: Vec<Path>,
}

#[derive(Debug, Clone)]
struct Path {
    parts: Vec<Part>,
    operations: Vec<(String, Arc<str>)>,
}

/// A segment of a template, in the order in which OpenAPI prefers them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// This text.
    Literal(String),
    /// Texts with something between them: `{name}.json`.
    Mixed(Vec<String>),
    /// Anything.
    Any,
}

impl Api {
    /// Makes a document ready.
    pub fn new(document: &ApiDocument) -> Self {
        let mut paths: Vec<Path> = Vec::new();
        for operation in document.operations.iter().take(MAX_OPERATIONS) {
            let parts = parts(&operation.path);
            let own = (operation.method.clone(), Arc::from(operation.id.as_str()));
            match paths.iter_mut().find(|path| path.parts == parts) {
                Some(path) => path.operations.push(own),
                None => paths.push(Path { parts, operations: vec![own] }),
            }
        }
        Self { paths }
    }

    /// Which operations a request by this method for this path is.
    pub fn called(&self, method: &Method, path: &[String]) -> Called {
        let exact: Vec<&Path> = self.paths.iter().filter(|it| it.fits(path, false)).collect();
        let surely = match best(&exact).as_slice() {
            [one] => one.operation(method).filter(|id| !id.is_empty()),
            _ => None,
        };
        let mut possibly = Vec::new();
        let mut add = |found: &[&Path]| {
            let with: Vec<_> =
                found.iter().copied().filter(|it| it.operation(method).is_some()).collect();
            // Some look for the path first, some for one that has the method.
            for path in best(found).into_iter().chain(best(&with)) {
                if let Some(id) = path.operation(method)
                    && !possibly.contains(&id)
                {
                    possibly.push(id);
                }
            }
        };
        add(&exact);
        let bare = match path.split_last() {
            Some((last, bare)) if last.is_empty() => bare,
            Some(_) | None => path,
        };
        let slashed = [bare, &[String::new()]].concat();
        for path in [bare, &slashed] {
            let found: Vec<&Path> = self.paths.iter().filter(|it| it.fits(path, true)).collect();
            add(&found);
        }
        Called { surely, possibly }
    }
}

/// The paths of which no other one is more concrete: OpenAPI has a server take what is written before a parameter.
fn best<'a>(found: &[&'a Path]) -> Vec<&'a Path> {
    let best = found.iter().filter(|path| !found.iter().any(|other| other.is_before(path)));
    best.copied().collect()
}

impl Path {
    fn fits(&self, path: &[String], folded: bool) -> bool {
        self.parts.len() == path.len()
            && self.parts.iter().zip(path).all(|(part, segment)| part.fits(segment, folded))
    }

    /// Whether it is at no place less concrete than another one, and more at some.
    fn is_before(&self, other: &Self) -> bool {
        let pairs = || self.parts.iter().zip(&other.parts);
        pairs().all(|(own, other)| own.rank() <= other.rank())
            && pairs().any(|(own, other)| own.rank() < other.rank())
    }

    /// A server answers HEAD by what it has for GET.
    fn operation(&self, method: &Method) -> Option<Arc<str>> {
        let by = |method: &str| self.operations.iter().find(|(own, _)| own == method);
        let found = by(method.as_str()).or_else(|| {
            let head = method.as_str() == "HEAD";
            if head { by("GET") } else { None }
        });
        found.map(|(_, id)| id.clone())
    }
}

impl Part {
    const fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Mixed(_) => 1,
            Self::Any => 2,
        }
    }

    fn fits(&self, segment: &str, folded: bool) -> bool {
        match self {
            Self::Any => !segment.is_empty(),
            Self::Literal(text) if folded => fold(text) == fold(segment),
            Self::Literal(text) => text == segment,
            Self::Mixed(texts) if folded => {
                let texts: Vec<_> = texts.iter().map(|text| fold(text)).collect();
                is_mixed(&texts, &fold(segment))
            }
            Self::Mixed(texts) => is_mixed(texts, segment),
        }
    }
}

fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

/// Whether texts follow each other with at least one character between them.
fn is_mixed(texts: &[String], segment: &str) -> bool {
    let [first, middle @ .., last] = texts else { return false };
    let Some(mut rest) = segment.strip_prefix(first.as_str()) else { return false };
    let skip = |text: &mut &str| {
        let mut characters = text.chars();
        let some = characters.next().is_some();
        *text = characters.as_str();
        some
    };
    for text in middle {
        if !skip(&mut rest) {
            return false;
        }
        match rest.split_once(text.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    skip(&mut rest) && rest.ends_with(last.as_str())
}

fn parts(template: &str) -> Vec<Part> {
    let bare = template.strip_prefix('/').unwrap_or(template);
    if bare.is_empty() {
        return Vec::new();
    }
    bare.split('/').map(part).collect()
}

fn part(segment: &str) -> Part {
    let literal = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut texts = Vec::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        texts.push(literal(before));
        rest = after;
    }
    if texts.is_empty() {
        return Part::Literal(literal(segment));
    }
    texts.push(literal(rest));
    if texts.iter().all(String::is_empty) { Part::Any } else { Part::Mixed(texts) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn api() -> Api {
        let operations = [
            ("users/list", "GET", "/v1/users"),
            ("users/get", "GET", "/v1/users/{id}"),
            ("users/delete", "DELETE", "/v1/users/{user}"),
            ("users/me", "GET", "/v1/users/me"),
            ("", "GET", "/v1/users/none"),
            ("compare", "GET", "/v1/compare/{base}...{head}"),
            ("file", "GET", "/v1/compare/{file}"),
            ("a", "GET", "/v1/{kind}/special"),
            ("b", "GET", "/v1/books/{id}"),
            ("slashed", "POST", "/v1/orders/"),
            ("root", "GET", "/"),
        ];
        let operation = |(id, method, path): (&str, &str, &str)| ApiOperation {
            id: id.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
        };
        Api::new(&ApiDocument { operations: operations.map(operation).into() })
    }

    #[test]
    fn what_is_written_comes_before_a_parameter() {
        for (method, text, surely, possibly) in [
            ("GET", "/v1/users", "users/list", "users/list"),
            ("HEAD", "/v1/users", "users/list", "users/list"),
            ("GET", "/v1/users/", "", "users/list"),
            ("GET", "/V1/users", "", "users/list"),
            ("GET", "/v1/users/7", "users/get", "users/get"),
            ("GET", "/v1/users/me", "users/me", "users/me"),
            ("GET", "/v1/users/Me", "users/get", "users/get users/me"),
            ("GET", "/v1/users/none", "", ""),
            // Of its path there is no such method; a server could look on.
            ("DELETE", "/v1/users/me", "", "users/delete"),
            ("DELETE", "/v1/users/7", "users/delete", "users/delete"),
            ("PUT", "/v1/users/7", "", ""),
            ("GET", "/v1/compare/a...b", "compare", "compare"),
            ("GET", "/v1/compare/...b", "file", "file"),
            ("GET", "/v1/compare/a.b", "file", "file"),
            // Neither of two is more concrete.
            ("GET", "/v1/books/special", "", "a b"),
            ("POST", "/v1/orders/", "slashed", "slashed"),
            ("POST", "/v1/orders", "", "slashed"),
            ("GET", "/", "root", "root"),
            ("GET", "/v1/users/7/x", "", ""),
        ] {
            let bare = text.strip_prefix('/').unwrap();
            let path: Vec<String> = if bare.is_empty() {
                Vec::new()
            } else {
                bare.split('/').map(str::to_owned).collect()
            };
            let called = api().called(&Method::new(method).unwrap(), &path);
            assert_eq!(called.surely.as_deref().unwrap_or_default(), surely, "{method} {text}");
            let ids: Vec<_> = called.possibly.iter().map(|id| &**id).collect();
            let ids: Vec<_> = ids.into_iter().filter(|id| !id.is_empty()).collect();
            assert_eq!(ids.join(" "), possibly, "{method} {text}");
        }
    }
}
