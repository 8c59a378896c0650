//! A request as the gate is asked about it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use guard_core::{
    Certainty, Digest, Effect, MAX_SHOWN_PARAMETER, Object, ObjectKind, ObjectName, Operation,
    Outputs, Protocol, Sensitive, ShownParameter, http::HttpRequest,
};
use guard_gate::{BoundParameters, Parameters};

use super::target::Target;

/// Operations that are kept to be found again. When full, all are forgotten: the cost is a line of the record.
const MAX_KEPT: usize = 1024;

/// Operations by what rules see of them: what comes again is judged and recorded once.
#[derive(Default)]
pub(super) struct Operations {
    kept: Mutex<HashMap<Digest, Arc<Operation>>>,
}

impl Operations {
    /// The operation that a request is.
    pub(super) fn of(&self, request: HttpRequest, target: &Target) -> Arc<Operation> {
        let key = Digest::of(format!("{:?}", (target.forwarded(), &request)));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&key) {
            return known.clone();
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let operation = Arc::new(understood(request, target));
        kept.insert(key, operation.clone());
        operation
    }
}

fn understood(request: HttpRequest, target: &Target) -> Operation {
    let path = || Object::named(ObjectKind::Path, ObjectName::bare(target.path()));
    let effects = request.methods.iter().map(|method| Effect::new(method.verb(), path()));
    let mut names = request.methods.iter().map(|method| method.as_str());
    let mut label = names.next().unwrap_or_default().to_owned();
    for meant in names {
        label.push_str(&format!(" ({meant})"));
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

/// A request that is refused before it is one.
pub(super) fn unread(label: &str, text: &str, why: &str) -> Arc<Operation> {
    Arc::new(Operation::unparsed(Protocol::Http, label, text.into(), why))
}

/// What people are shown besides method and URL: the body. What counts is all of it, and the headers.
pub(super) fn parameters(request: &HttpRequest, body: &[u8]) -> Parameters {
    let digest = Digest::of([format!("{:?}\n", request.headers).as_bytes(), body].concat());
    let shown = match std::str::from_utf8(body) {
        Ok("") => Vec::new(),
        Ok(text) => vec![ShownParameter::Text(beginning(text))],
        Err(_) => vec![ShownParameter::Binary(format!("{} bytes", body.len()))],
    };
    let count = shown.len() as u64;
    Parameters::Bound(Arc::new(BoundParameters { digest, count, shown }))
}

fn beginning(text: &str) -> String {
    let mut characters = text.chars();
    let mut beginning: String = characters.by_ref().take(MAX_SHOWN_PARAMETER).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}
