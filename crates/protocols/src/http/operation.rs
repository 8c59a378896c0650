//! A request as the gate is asked about it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use guard_core::{
    Certainty, Digest, Effect, MAX_SHOWN_PARAMETER, Object, ObjectKind, ObjectName, Operation,
    Outputs, Protocol, Sensitive, ShownParameter,
    http::{GraphqlKind, GraphqlRequest, HttpRequest},
};
use guard_gate::{BoundParameters, Parameters};

use super::{target::Target, verb::verb};

/// Operations that are kept to be found again. When full, all are forgotten: the cost is a line of the record.
const MAX_KEPT: usize = 1024;

/// How much of what is asked of a GraphQL server is in a label, in characters.
const MAX_ASKED: usize = 200;

/// Operations by what rules see of them: what comes again is judged and recorded once.
#[derive(Default)]
pub(super) struct Operations {
    by: RandomState,
    /// By their hashes; of two with the same one the last.
    kept: Mutex<HashMap<u64, (Target, Arc<Operation>)>>,
}

impl Operations {
    /// The operation that a request is. One whose body was read is not kept: it is large, and hardly comes again.
    pub(super) fn of(&self, request: HttpRequest, target: &Target) -> Arc<Operation> {
        if request.body.is_read() {
            return Arc::new(understood(request, target));
        }
        let key = self.by.hash_one((target, &request.methods, &request.headers));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, known)) = kept.get(&key)
            && of == target
            && known.request.as_deref() == Some(&request)
        {
            return known.clone();
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let operation = Arc::new(understood(request, target));
        kept.insert(key, (target.clone(), operation.clone()));
        operation
    }
}

fn understood(request: HttpRequest, target: &Target) -> Operation {
    let path = || Object::named(ObjectKind::Path, ObjectName::bare(target.path()));
    let effects = request.methods.iter().map(|method| Effect::new(verb(method, &request), path()));
    let mut names = request.methods.iter().map(|method| method.as_str());
    let mut label = names.next().unwrap_or_default().to_owned();
    for meant in names {
        label.push_str(&format!(" ({meant})"));
    }
    if let Some(asked) = request.graphql.as_ref().and_then(asked) {
        label.push_str(&format!(" {asked}"));
    }
    let text = format!("{label} {}", target.forwarded());
    Operation {
        protocol: Protocol::Http,
        effects: effects.collect(),
        certainty: Certainty::Exact,
        outputs: Outputs::None,
        stores: Vec::new(),
        tested: Vec::new(),
        lifts_read_only: false,
        fingerprint: Digest::of(format!("{label} {}", target.path())),
        label: label.into(),
        text: Sensitive::new(text.into()),
        request: Some(Arc::new(request)),
    }
}

/// What is asked of a GraphQL server, for people: `mutation createIssue`.
fn asked(request: &GraphqlRequest) -> Option<String> {
    let operations = request.surely.as_ref()?;
    let mut shown = String::new();
    for operation in operations {
        if !shown.is_empty() {
            shown.push_str(", ");
        }
        let kind = GraphqlKind::WORDS.iter().find(|(_, kind)| *kind == operation.kind);
        shown.push_str(kind.map_or("", |(word, _)| word));
        for field in &operation.fields {
            shown.push(' ');
            shown.push_str(field);
        }
        if shown.len() > MAX_ASKED {
            return Some(beginning(&shown, MAX_ASKED));
        }
    }
    Some(shown)
}

/// A request that is refused before it is one.
pub(super) fn unread(label: &str, text: &str, why: &str) -> Arc<Operation> {
    Arc::new(Operation::unparsed(Protocol::Http, label, text.into(), why))
}

/// What people are shown besides method and URL: the body. What counts is all of it, and the headers.
pub(super) fn parameters(request: &HttpRequest, body: &[u8]) -> Parameters {
    let digest = Digest::of([format!("{:?}\n", request.headers).as_bytes(), body].concat());
    let shown = match std::str::from_utf8(body) {
        Ok("") => Vec::new(),
        Ok(text) => vec![ShownParameter::Text(beginning(text, MAX_SHOWN_PARAMETER))],
        Err(_) => vec![ShownParameter::Binary(format!("{} bytes", body.len()))],
    };
    let count = shown.len() as u64;
    Parameters::Bound(Arc::new(BoundParameters { digest, count, shown }))
}

fn beginning(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let mut beginning: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}
