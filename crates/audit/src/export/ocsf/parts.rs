//! The objects that OCSF events are made of.

use std::{collections::BTreeSet, sync::Arc};

use guard_core::{Denial, ObjectKind, ResourceName, Timestamp, Verb};
use serde_json::{Value, json};

use super::OCSF_VERSION;
use crate::{
    Outcome,
    story::{Opening, ToldConnection, ToldOperation, ToldStatement},
};

/// Effects and objects that an event lists.
const MAX_LISTED: usize = 200;

/// A class of events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Class {
    DetectionFinding,
    AuthorizeSession,
    ApiActivity,
    DatastoreActivity,
}

impl Class {
    /// Category and class, with their names.
    const fn ids(self) -> (u64, &'static str, u64, &'static str) {
        match self {
            Self::DetectionFinding => (2, "Findings", 2004, "Detection Finding"),
            Self::AuthorizeSession => {
                (3, "Identity & Access Management", 3003, "Authorize Session")
            }
            Self::ApiActivity => (6, "Application Activity", 6003, "API Activity"),
            Self::DatastoreActivity => (6, "Application Activity", 6005, "Datastore Activity"),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    pub(super) id: u64,
    pub(super) name: &'static str,
}

/// How much it matters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Severity {
    Informational = 1,
    Low = 2,
    Medium = 3,
    High = 4,
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }
}

/// What guard made of it: `action_id`, and `disposition_id`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Allowed,
    Approved,
    Denied,
    Observed,
    Modified,
}

impl Action {
    const fn ids(self) -> (u64, &'static str, u64, &'static str) {
        match self {
            Self::Allowed => (1, "Allowed", 1, "Allowed"),
            Self::Approved => (1, "Allowed", 8, "Approved"),
            Self::Denied => (2, "Denied", 2, "Blocked"),
            Self::Observed => (3, "Observed", 15, "Detected"),
            // Masked: the schema has no word that is closer.
            Self::Modified => (4, "Modified", 11, "Corrected"),
        }
    }
}

/// What all events of a moment share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) opening: &'a Arc<Opening>,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
}

impl Common<'_> {
    /// An event.
    pub(super) fn event(
        &self,
        class: Class,
        activity: Activity,
        severity: Severity,
        action: Action,
        message: &str,
        more: Value,
    ) -> Value {
        let (category, category_name, class_uid, class_name) = class.ids();
        let (action_id, action_name, disposition_id, disposition) = action.ids();
        let opening = self.opening;
        let mut event = json!({
            "category_uid": category,
            "category_name": category_name,
            "class_uid": class_uid,
            "class_name": class_name,
            "activity_id": activity.id,
            "activity_name": activity.name,
            "type_uid": class_uid * 100 + activity.id,
            "type_name": format!("{class_name}: {}", activity.name),
            "time": self.at.as_millisecond(),
            "severity_id": severity as u64,
            "severity": severity.name(),
            "action_id": action_id,
            "action": action_name,
            "disposition_id": disposition_id,
            "disposition": disposition,
            "is_alert": matches!(action, Action::Denied | Action::Observed),
            "message": message,
            "metadata": {
                "version": OCSF_VERSION,
                "profiles": ["security_control"],
                "uid": format!("{}/{}", opening.session, self.seq),
                "correlation_uid": opening.session,
                "sequence": self.seq,
                "log_name": "guard-record",
                "original_time": self.at.to_string(),
                "product": { "name": "guard", "vendor_name": "guard", "version": opening.broker_version },
            },
        });
        fields(&mut event, more);
        event
    }
}

/// Adds fields to an object.
pub(super) fn fields(to: &mut Value, more: Value) {
    if let (Some(to), Value::Object(more)) = (to.as_object_mut(), more) {
        to.extend(more);
    }
}

/// The run, as a user.
pub(super) fn user(opening: &Opening) -> Value {
    let identity = &opening.identity;
    json!({ "name": identity.actor, "uid": identity.subject, "type_id": 4, "type": "Service" })
}

/// The session.
pub(super) fn session(opening: &Opening) -> Value {
    json!({
        "uid": opening.session,
        "issuer": opening.identity.run.issuer,
        "created_time": opening.at.as_millisecond(),
        "expiration_time": opening.until.as_millisecond(),
        "is_remote": true,
    })
}

/// Who acts: the run, through a client.
pub(super) fn actor(opening: &Opening, connection: Option<&ToldConnection>) -> Value {
    let identity = &opening.identity;
    let mut actor = json!({
        "user": user(opening),
        "session": session(opening),
        "idp": { "name": identity.issuer_name, "uid": identity.run.issuer },
        "invoked_by": identity.workflow,
    });
    if let Some(client) = connection.map(|connection| connection.client.reveal())
        && !client.is_empty()
    {
        fields(&mut actor, json!({ "app_name": client }));
    }
    actor
}

/// Where it comes from: the job. A record knows no addresses.
pub(super) fn source(opening: &Opening, connection: Option<&ToldConnection>) -> Value {
    let run = &opening.identity.run;
    let mut source = json!({
        "name": format!("{} {}", opening.identity.repository, run.job),
        "uid": run.run_id,
        "instance_uid": format!("{}/{}", run.run_id, run.attempt),
    });
    if let Some(connection) = connection {
        fields(&mut source, json!({ "interface_uid": connection.number.to_string() }));
    }
    source
}

/// The resource, as an endpoint.
pub(super) fn destination(resource: &ResourceName) -> Value {
    json!({ "svc_name": resource, "name": resource })
}

/// The database.
pub(super) fn database(resource: &ResourceName, connection: Option<&ToldConnection>) -> Value {
    let name = connection.map_or(resource.as_str(), |connection| connection.database.as_str());
    json!({ "name": name, "uid": resource, "type_id": 1, "type": "Relational" })
}

/// The policy over a resource.
pub(super) fn policy(
    opening: &Opening,
    resource: &ResourceName,
    words: Option<&str>,
    applied: bool,
) -> Value {
    let grant = opening.grants.iter().find(|grant| grant.grant.resource == *resource);
    let mut policy = match grant {
        Some(grant) => {
            json!({ "name": grant.grant.policy, "uid": grant.policy_digest, "is_applied": applied })
        }
        None => json!({ "name": "unknown" }),
    };
    if let Some(words) = words {
        fields(&mut policy, json!({ "desc": words }));
    }
    policy
}

/// What a statement is about.
pub(super) fn statement(
    opening: &Opening,
    statement: &ToldStatement,
    denial: Option<&Denial>,
) -> Value {
    let operation = &statement.operation;
    let connection = statement.connection.as_deref();
    let tables: BTreeSet<String> = operation
        .effects
        .iter()
        .filter(|effect| matches!(effect.object.kind, ObjectKind::Table | ObjectKind::View))
        .filter_map(|effect| effect.object.name.as_ref().map(ToString::to_string))
        .take(MAX_LISTED)
        .collect();
    let effects: Vec<_> =
        operation.effects.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    let masks: Vec<_> = operation
        .masked_columns
        .iter()
        .take(MAX_LISTED)
        .map(|masked| format!("{} {}", masked.column, masked.mask.as_str()))
        .collect();
    let enforced = match (denial, statement.phase) {
        // It went on, although.
        (Some(_), Some(_)) => false,
        (Some(_) | None, _) => true,
    };
    let words = denial.and_then(|denial| denial.detail.as_deref());
    let mut event = json!({
        "actor": actor(opening, connection),
        "src_endpoint": source(opening, connection),
        "dst_endpoint": destination(&operation.resource),
        "database": database(&operation.resource, connection),
        "query_info": {
            "query_string": &**statement.text(),
            "name": &*operation.label,
            "uid": operation.fingerprint,
        },
        "policy": policy(opening, &operation.resource, words, enforced),
        "authorizations": [{ "decision": operation.decision.as_str() }],
        "unmapped": {
            "rule": operation.rule,
            "effects": effects,
            "certainty": operation.certainty,
            "masked_columns": masks,
            "tables": tables,
            "estimated_rows": statement.estimated_rows,
            "approval": statement.approval,
        },
    });
    match tables.first() {
        Some(first) => fields(
            &mut event,
            json!({ "table": { "name": first, "uid": first }, "type_id": 3, "type": "Table" }),
        ),
        None => fields(&mut event, json!({ "type_id": 1, "type": "Database" })),
    }
    event
}

/// What came of a statement that the schema has no place for.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    json!({
        "rows": outcome.rows,
        "bytes": outcome.bytes,
        "masked": outcome.masked,
        "micros": outcome.micros,
        "detected": outcome.detected,
        "over_budget": outcome.budget,
    })
}

/// What a statement does, by the effect that changes most.
pub(super) fn activity(operation: &ToldOperation) -> Activity {
    let all = [
        Activity { id: 7, name: "Delete" },
        Activity { id: 6, name: "Create" },
        Activity { id: 2, name: "Update" },
        Activity { id: 5, name: "Write" },
        Activity { id: 99, name: "Other" },
        Activity { id: 1, name: "Read" },
        Activity { id: 4, name: "Query" },
    ];
    let ids = operation.effects.iter().map(|effect| match effect.verb {
        Verb::Delete | Verb::Truncate | Verb::Drop => 7,
        Verb::Create => 6,
        Verb::Update | Verb::Alter | Verb::Grant | Verb::Role | Verb::Config | Verb::Maintain => 2,
        Verb::Insert => 5,
        Verb::Call
        | Verb::Code
        | Verb::Program
        | Verb::File
        | Verb::Network
        | Verb::Signal
        | Verb::Notify
        | Verb::Replication => 99,
        Verb::Read => 1,
        Verb::Session | Verb::Transaction | Verb::Lock => 4,
    });
    let ids: BTreeSet<u64> = ids.collect();
    let query = Activity { id: 4, name: "Query" };
    all.into_iter().find(|activity| ids.contains(&activity.id)).unwrap_or(query)
}
