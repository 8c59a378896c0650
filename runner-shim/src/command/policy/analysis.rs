//! Statements judged without a server: against the tables that the cases declare.

use std::sync::Arc;

use guard_audit::report::printable;
use guard_core::{
    Identity, Object, ObjectKind, Operation, Protocol, ResourceName, Ruling, SessionView,
    Timestamp, http::Api,
};
use guard_engine::{NoRequest, describe};
use guard_policy::{Cases, Policy};
use guard_sql::{Catalog, Column, NoNames, Relation, RelationKind};

use super::Unusable;

/// PostgreSQL's type `text`: what a column is, matters to no rule.
const TEXT: u32 = 25;

/// The first oid that a server gives to its users' objects.
const FIRST_OID: u32 = 16_384;

/// A statement and its ruling.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) operation: Arc<Operation>,
    pub(super) ruling: Ruling,
}

/// The tables and functions that cases declare.
pub(super) fn catalog(cases: &Cases) -> Catalog {
    let relations = cases.tables.iter().zip(FIRST_OID..).map(|(table, oid)| Relation {
        oid,
        name: table.name.clone(),
        kind: RelationKind::Table,
        columns: table
            .columns
            .iter()
            .zip(1_i16..)
            .map(|(name, number)| column(name, number))
            .collect(),
        definition: None,
        parents: Vec::new(),
        has_triggers: false,
    });
    Catalog::new(relations, cases.functions.iter().map(|name| Arc::from(name.as_str())))
}

fn column(name: &str, number: i16) -> Column {
    Column {
        name: name.into(),
        number,
        type_oid: TEXT,
        type_modifier: -1,
        not_null: false,
        generated: false,
    }
}

/// Judges every statement of a text, as if the server's planner expected so many rows of each.
pub(super) fn judge(
    policy: &Policy,
    catalog: &Catalog,
    sql: &str,
    rows: Option<u64>,
) -> Result<Vec<Judged>, Unusable> {
    let mut view = session().ok_or(Unusable::Failed)?;
    // A lock is asked as for the first of its resources.
    if let Some(resource) = policy.lock().and_then(|lock| lock.resources.keys().next()) {
        view.resource = resource.clone();
    }
    let judged = guard_sql::analyze(&Arc::from(sql), catalog, &NoNames)
        .into_iter()
        .map(|statement| {
            let operation = statement.operation.clone();
            let ruling = policy.judge_estimated(&view, &operation, rows, Timestamp::UNIX_EPOCH);
            Judged { operation, ruling }
        })
        .collect();
    Ok(judged)
}

/// Judges a request to an HTTP API: `GET /path?name=value`, headers, a body, and the API's document.
pub(super) fn judge_request(
    policy: &Policy,
    request: &str,
    headers: &[(String, String)],
    body: &str,
    api: Option<&Api>,
) -> Result<Judged, Unusable> {
    let view = session().ok_or(Unusable::Failed)?;
    let operation = match describe(request, headers, body, api) {
        Ok(operation) => operation,
        Err(why @ NoRequest::Form) => {
            return Err(Unusable::Request(printable(request), why.to_string()));
        }
        Err(why @ NoRequest::Unsound(_)) => Arc::new(Operation::unparsed(
            Protocol::Http,
            "request",
            request.into(),
            &why.to_string(),
        )),
    };
    let ruling = policy.judge(&view, &operation, Timestamp::UNIX_EPOCH);
    Ok(Judged { operation, ruling })
}

/// Whether a name is known by its schema, for people.
pub(super) fn is_resolved(object: &Object) -> bool {
    object.kind == ObjectKind::Path || object.name.as_ref().is_none_or(|name| name.schema.is_some())
}

/// No rule looks at the session today; a policy is tested without a run.
fn session() -> Option<SessionView> {
    Some(SessionView {
        id: "00000000-0000-0000-0000-000000000000".parse().ok()?,
        identity: Identity::example(),
        resource: ResourceName::new("resource").ok()?,
        until: Timestamp::MAX,
    })
}
