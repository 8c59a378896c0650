//! Masks of HTTP APIs: which fields of requests and of answers are hidden.

use std::str::FromStr;

use guard_core::{
    FieldMask, MaskedField, Masking, Side,
    document::{Fields, Node, Problems},
    http::{FieldName, HttpRequest, PathPattern},
};

use super::http::paths;

/// What is read before it could be masked: where a body ends, what it is, and where a client goes next.
const NOT_MASKED: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that a policy hides.
#[derive(Debug, Clone)]
pub(super) struct FieldEntry {
    /// Of requests for these paths, and of their answers; `None`: of all.
    paths: Option<Vec<PathPattern>>,
    mask: FieldMask,
}

impl FieldEntry {
    /// What is hidden of a request and its answer, if that could be one that it is about.
    pub(super) fn of(&self, request: &HttpRequest) -> Option<&FieldMask> {
        let fits = |paths: &Vec<PathPattern>| paths.iter().any(|it| it.may_match(&request.path));
        self.paths.as_ref().is_none_or(fits).then_some(&self.mask)
    }

    pub(super) const fn masking(&self) -> Masking {
        self.mask.mask
    }

    pub(super) const fn side(&self) -> Side {
        self.mask.side
    }
}

/// The `http` of a mask.
pub(super) fn read(
    node: &Node,
    mask: Option<Masking>,
    problems: &mut Problems,
) -> Option<Vec<FieldEntry>> {
    let keys = node.fields(problems)?;
    let mut found = body(&keys, Side::Answer, problems);
    for (key, make) in [
        ("headers", MaskedField::Header as fn(FieldName) -> MaskedField),
        ("cookies", MaskedField::Cookie),
    ] {
        let Some(node) = keys.optional(key) else { continue };
        let names = list::<FieldName>(node, problems).and_then(|names| {
            names.iter().all(|name| is_fit(name, key, node, problems)).then_some(names)
        });
        let names = names.map(|names| names.into_iter().map(|name| (Side::Answer, make(name))));
        found = found.zip(names).map(|(mut found, names)| {
            found.extend(names);
            found
        });
    }
    if let Some(node) = keys.optional("request") {
        let inside = node.fields(problems).and_then(|keys| {
            let inside = body(&keys, Side::Request, problems);
            keys.finish(&["json", "form"], problems);
            inside
        });
        if inside.as_ref().is_some_and(Vec::is_empty) {
            let help = "name fields of its body by `json` or `form`";
            node.problem_with_help(problems, "`request` names nothing", help);
        }
        found = found.zip(inside).map(|(mut found, inside)| {
            found.extend(inside);
            found
        });
    }
    let paths = match keys.optional("paths") {
        Some(node) => paths(node, problems).map(Some),
        None => Some(None),
    };
    keys.finish(&["json", "form", "headers", "cookies", "request", "paths"], problems);
    if found.as_ref().is_some_and(Vec::is_empty) {
        let help =
            "name fields by `json`, `form`, `headers` or `cookies` of answers, or by `request`";
        node.problem_with_help(problems, "the mask names no fields", help);
        return None;
    }
    let (paths, mask) = (paths?, mask?);
    let entry =
        |(side, field)| FieldEntry { paths: paths.clone(), mask: FieldMask { side, field, mask } };
    Some(found?.into_iter().map(entry).collect())
}

/// Fields of a body.
fn body(
    keys: &Fields<'_>,
    side: Side,
    problems: &mut Problems,
) -> Option<Vec<(Side, MaskedField)>> {
    let json = match keys.optional("json") {
        Some(node) => list(node, problems),
        None => Some(Vec::new()),
    };
    let form = match keys.optional("form") {
        Some(node) => list(node, problems),
        None => Some(Vec::new()),
    };
    let json = json?.into_iter().map(MaskedField::Json);
    let form = form?.into_iter().map(MaskedField::Form);
    Some(json.chain(form).map(|field| (side, field)).collect())
}

fn list<T: FromStr<Err: std::fmt::Display>>(
    node: &Node,
    problems: &mut Problems,
) -> Option<Vec<T>> {
    let items = node.one_or_more(problems)?;
    let found: Vec<_> = items.iter().map(|item| item.parsed(problems)).collect();
    found.into_iter().collect()
}

/// Whether a header or cookie can be masked.
fn is_fit(name: &FieldName, key: &str, node: &Node, problems: &mut Problems) -> bool {
    let folded = name.name().map(str::to_ascii_lowercase);
    let (message, help) = match (key, folded.as_deref()) {
        (_, _) if !name.is_token() => (
            format!("`{name}` is no name that one of `{key}` could have"),
            "write it as the API has it",
        ),
        ("headers", None) => {
            ("not all headers can be masked".to_owned(), "name those that hold values")
        }
        ("headers", Some("set-cookie")) => (
            "`Set-Cookie` has several values".to_owned(),
            "name the cookies by `cookies`, or all by `*`",
        ),
        ("headers", Some(folded)) if NOT_MASKED.contains(&folded) => {
            (format!("`{name}` says how the answer is read"), "name headers that hold values")
        }
        (_, _) => return true,
    };
    node.problem_with_help(problems, message, help);
    false
}
