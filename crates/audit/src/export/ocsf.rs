//! OCSF events: <https://schema.ocsf.io/1.8.0/>, with the profile `security_control`.
//!
//! | of the record | OCSF |
//! | --- | --- |
//! | a connection, a statement with what came of it, a refusal | Datastore Activity (6005) |
//! | the session's grants | Authorize Session (3003) |
//! | leases, a second attempt, the session's end | API Activity (6003) at the broker |
//! | refused, would be refused, over a budget, a second attempt: once for all that differ in literals only | Detection Finding (2004) |

mod parts;

use std::sync::Arc;

use guard_core::{ApprovalState, Denial, PersonRef};
use serde_json::{Value, json};

use super::findings::{Finding, Findings, Why};
use crate::{
    Event, Outcome, StatementPhase,
    story::{Moment, Opening, Story, ToldConnection, ToldStatement, What},
};
use parts::{Action, Activity, Class, Severity, fields};

/// The version of the schema.
pub const OCSF_VERSION: &str = "1.8.0";

/// Turns a record into OCSF events.
#[derive(Debug, Default)]
pub(super) struct Events {
    findings: Findings,
}

impl Events {
    /// The events of a moment.
    pub(super) fn take(&mut self, story: &Story, moment: Moment) -> Option<Value> {
        self.findings.take(&moment);
        let opening = story.opening()?;
        let Moment { seq, at, writer, what } = moment;
        let common = parts::Common { opening, seq, at };
        match what {
            What::Opened(opening) => Some(session_opened(&common, &opening)),
            What::Connected(connection) => Some(connected(&common, &connection)),
            What::Refused(statement, denial) => Some(refused(&common, &statement, &denial)),
            What::Finished(statement, outcome) => {
                finished(&common, &statement, Some((at, &outcome)))
            }
            What::Other(event) => api(&common, &writer, &event),
            // What is sent is told when its answer is there; what is described, by its statements.
            What::Disconnected(..) | What::Described(_) | What::Sent(_) | What::Orphan => None,
            // What was in answers stays in the record.
            What::Rows(..) => None,
        }
    }

    /// What is left at the end of a record: statements without an answer, and the findings.
    pub(super) fn finish(self, story: &Story) -> Vec<Value> {
        let Some(opening) = story.opening() else { return Vec::new() };
        let unanswered = story.unanswered();
        let unanswered = unanswered.iter().filter_map(|statement| {
            let common = parts::Common { opening, seq: statement.seq, at: statement.at };
            finished(&common, statement, None)
        });
        let findings = self.findings.into_list().into_iter().zip(0_u64..);
        unanswered
            .chain(findings.map(|(finding, number)| found(opening, &finding, number)))
            .collect()
    }
}

fn session_opened(common: &parts::Common<'_>, opening: &Arc<Opening>) -> Value {
    let privileges: Vec<_> = opening
        .grants
        .iter()
        .map(|grant| {
            format!("{} by policy {}", grant.grant.resource.as_str(), grant.grant.policy.as_str())
        })
        .collect();
    let words = format!(
        "session opened for {} by trust rule `{}`",
        opening.identity.run, opening.trust_rule
    );
    let policy =
        json!({ "name": opening.trust_rule, "uid": opening.trust_digest, "is_applied": true });
    common.event(
        Class::AuthorizeSession,
        Activity { id: 1, name: "Assign Privileges" },
        Severity::Informational,
        Action::Allowed,
        &words,
        json!({
            "user": parts::user(opening),
            "session": parts::session(opening),
            "actor": parts::actor(opening, None),
            "privileges": privileges,
            "policy": policy,
            "status_id": 1,
            "status": "Success",
        }),
    )
}

fn connected(common: &parts::Common<'_>, connection: &ToldConnection) -> Value {
    let words = format!("connected to `{}`", connection.resource);
    common.event(
        Class::DatastoreActivity,
        Activity { id: 3, name: "Connect" },
        Severity::Informational,
        Action::Allowed,
        &words,
        json!({
            "actor": parts::actor(common.opening, Some(connection)),
            "src_endpoint": parts::source(common.opening, Some(connection)),
            "dst_endpoint": parts::destination(&connection.resource),
            "database": parts::database(&connection.resource, Some(connection)),
            "type_id": 1,
            "type": "Database",
            "policy": parts::policy(common.opening, &connection.resource, None, true),
            "status_id": 1,
            "status": "Success",
            "unmapped": { "enforced_at": connection.enforced_at, "point": connection.point },
        }),
    )
}

/// A statement that went on, told when it is over.
fn finished(
    common: &parts::Common<'_>,
    statement: &ToldStatement,
    end: Option<(guard_core::Timestamp, &Outcome)>,
) -> Option<Value> {
    match statement.phase {
        Some(StatementPhase::Execute) => {}
        // Only made ready: nothing happened.
        Some(StatementPhase::Prepare) | None => return None,
    }
    let masked = statement.operation.masks.iter().any(Option::is_some)
        || end.is_some_and(|(_, outcome)| outcome.masked > 0);
    let (action, severity) = match &statement.would_refuse {
        Some(_) => (Action::Observed, Severity::Low),
        None if masked => (Action::Modified, Severity::Informational),
        None if statement.approval.is_some() => (Action::Approved, Severity::Informational),
        None => (Action::Allowed, Severity::Informational),
    };
    let words = match &statement.would_refuse {
        Some(denial) => format!("went on, the policy only observes: {denial}"),
        None => format!(
            "{} by rule `{}`{}",
            statement.operation.decision,
            statement.operation.rule,
            if masked { ", masked" } else { "" }
        ),
    };
    let mut more = parts::statement(common.opening, statement, statement.would_refuse.as_deref());
    let (id, name) = match end.map(|(_, outcome)| outcome.error.as_deref()) {
        Some(None) => (1, "Success"),
        Some(Some("lost")) | None => (0, "Unknown"),
        Some(Some(_)) => (2, "Failure"),
    };
    fields(&mut more, json!({ "status_id": id, "status": name }));
    if let Some((at, outcome)) = end {
        fields(
            &mut more,
            json!({
                "start_time": statement.at.as_millisecond(),
                "end_time": at.as_millisecond(),
                "duration": outcome.micros / 1000,
            }),
        );
        if let Some(code) = &outcome.error {
            fields(&mut more, json!({ "status_code": code }));
        }
        if let Some(unmapped) = more.get_mut("unmapped") {
            fields(unmapped, parts::outcome(outcome));
        }
    }
    // It happened when it was judged, not when it was over.
    let common = parts::Common { at: statement.at, ..*common };
    Some(common.event(
        Class::DatastoreActivity,
        parts::activity(&statement.operation),
        severity,
        action,
        &words,
        more,
    ))
}

fn refused(common: &parts::Common<'_>, statement: &ToldStatement, denial: &Denial) -> Value {
    let mut more = parts::statement(common.opening, statement, Some(denial));
    fields(
        &mut more,
        json!({
            "status_id": 2,
            "status": "Failure",
            "status_code": denial.code.number(),
            "status_detail": denial.to_string(),
        }),
    );
    common.event(
        Class::DatastoreActivity,
        parts::activity(&statement.operation),
        Severity::Medium,
        Action::Denied,
        &denial.to_string(),
        more,
    )
}

/// What was asked of the broker.
fn api(common: &parts::Common<'_>, writer: &str, event: &Event) -> Option<Value> {
    let create = Activity { id: 1, name: "Create" };
    let update = Activity { id: 3, name: "Update" };
    let delete = Activity { id: 4, name: "Delete" };
    let (activity, operation, severity, action, words) = match event {
        Event::AttemptRefused { key_thumbprint } => (
            create,
            "session.open",
            Severity::High,
            Action::Denied,
            format!(
                "the same job asked for another session, with key {key_thumbprint}, while this one lived"
            ),
        ),
        Event::LeaseTaken { resource, username, holder, .. } => (
            create,
            "lease.take",
            Severity::Informational,
            Action::Allowed,
            format!("credential `{username}` of `{resource}` taken by {holder}"),
        ),
        Event::LeaseReleased { problem: None, .. } => (
            delete,
            "lease.release",
            Severity::Informational,
            Action::Allowed,
            "credential given back".to_owned(),
        ),
        Event::LeaseReleased { problem: Some(problem), .. } => (
            delete,
            "lease.release",
            Severity::Medium,
            Action::Allowed,
            format!("credential not given back: {problem}"),
        ),
        Event::SessionEnded { reason, note, .. } => (
            delete,
            "session.end",
            Severity::Informational,
            Action::Allowed,
            match note {
                Some(note) => format!("{reason}: {note}"),
                None => reason.to_string(),
            },
        ),
        Event::SessionRenewed { until } => (
            update,
            "session.renew",
            Severity::Informational,
            Action::Allowed,
            format!("the session goes on until {until}"),
        ),
        Event::Isolated { level, required, .. } => (
            create,
            "command.isolate",
            if required.is_some_and(|required| *level < required) {
                Severity::High
            } else {
                Severity::Informational
            },
            if required.is_some_and(|required| *level < required) {
                Action::Denied
            } else {
                Action::Allowed
            },
            format!("a command is run at isolation `{level}`"),
        ),
        Event::EgressAsked { host, port, refused, .. } => (
            create,
            "egress.ask",
            if refused.is_some() { Severity::Medium } else { Severity::Informational },
            if refused.is_some() { Action::Denied } else { Action::Allowed },
            match refused {
                Some(why) => format!("a command may not go to {host}:{port}: {why}"),
                None => format!("a command goes to {host}:{port}"),
            },
        ),
        Event::EgressEnded { outcome, .. } => (
            update,
            "egress.end",
            if outcome.refused.is_some() { Severity::Medium } else { Severity::Informational },
            if outcome.refused.is_some() { Action::Denied } else { Action::Allowed },
            match (&outcome.refused, &outcome.failed) {
                (Some(why), _) | (None, Some(why)) => format!("it did not go on: {why}"),
                (None, None) => {
                    format!("{} bytes sent, {} received", outcome.sent, outcome.received)
                }
            },
        ),
        Event::ApprovalAsked { approval, resource, .. } => (
            create,
            "approval.ask",
            Severity::Low,
            Action::Observed,
            format!("people were asked about an operation on `{resource}`: {approval}"),
        ),
        Event::ApprovalDecided { approval, state, by, .. } => (
            update,
            "approval.decide",
            Severity::Low,
            match state {
                ApprovalState::Granted | ApprovalState::Used => Action::Allowed,
                ApprovalState::Refused | ApprovalState::Expired | ApprovalState::Cancelled => {
                    Action::Denied
                }
                ApprovalState::Waiting => Action::Observed,
            },
            format!("approval {approval} is {}{}", state.as_str(), people(by)),
        ),
        Event::ApprovalUsed { approval, by, .. } => (
            update,
            "approval.use",
            Severity::Low,
            Action::Allowed,
            format!("an operation goes on by approval {approval}{}", people(by)),
        ),
        // They are told with what they refer to.
        Event::SessionOpened { .. }
        | Event::Connected { .. }
        | Event::Disconnected { .. }
        | Event::Operation { .. }
        | Event::Statement { .. }
        | Event::Refused { .. }
        | Event::Finished { .. }
        // What was in answers stays in the record.
        | Event::Rows { .. }
        | Event::Traffic { .. } => return None,
    };
    let failed = matches!(action, Action::Denied)
        || matches!(event, Event::LeaseReleased { problem: Some(_), .. });
    let (status_id, status) = if failed { (2, "Failure") } else { (1, "Success") };
    Some(common.event(
        Class::ApiActivity,
        activity,
        severity,
        action,
        &words,
        json!({
            "actor": parts::actor(common.opening, None),
            "src_endpoint": parts::source(common.opening, None),
            "api": { "operation": operation, "service": { "name": "guard-broker", "version": common.opening.broker_version } },
            "status_id": status_id,
            "status": status,
            "unmapped": { "writer": writer, "event": event },
        }),
    ))
}

/// Who said so.
fn people(by: &[PersonRef]) -> String {
    if by.is_empty() {
        return String::new();
    }
    let names: Vec<_> =
        by.iter().map(|person| format!("{} ({})", person.name, person.subject)).collect();
    format!(", by {}", names.join(", "))
}

fn found(opening: &Arc<Opening>, finding: &Finding, number: u64) -> Value {
    let common = parts::Common {
        opening,
        seq: finding.statement.as_ref().map_or(0, |statement| statement.seq),
        at: finding.last_at,
    };
    let (title, rule, severity, action) = match &finding.why {
        Why::Refused(denial) => {
            (denial.to_string(), denial.rule.to_string(), Severity::Medium, Action::Denied)
        }
        Why::WouldRefuse(denial) => (
            format!("went on, the policy only observes: {denial}"),
            denial.rule.to_string(),
            Severity::Low,
            Action::Observed,
        ),
        Why::OverBudget(exceeded) => (
            format!("over the budget `{}` of {}", exceeded.budget.as_str(), exceeded.limit),
            exceeded.budget.as_str().to_owned(),
            Severity::Medium,
            if exceeded.ended { Action::Denied } else { Action::Observed },
        ),
        Why::SecondAttempt => (
            "the same job asked for another session while this one lived".to_owned(),
            "second-attempt".to_owned(),
            Severity::High,
            Action::Denied,
        ),
    };
    let mut more = json!({
        "finding_info": {
            "uid": format!("{}/{number}", opening.session),
            "title": title,
            "types": ["policy"],
            "analytic": { "name": rule, "type_id": 1, "type": "Rule" },
            "created_time": finding.first_at.as_millisecond(),
            "first_seen_time": finding.first_at.as_millisecond(),
            "last_seen_time": finding.last_at.as_millisecond(),
            "src_url": opening.identity.run_url,
        },
        "count": finding.count,
        "status_id": 1,
        "status": "New",
        "is_alert": true,
    });
    if opening.identity.run_url.is_none()
        && let Some(info) = more.get_mut("finding_info").and_then(Value::as_object_mut)
    {
        info.remove("src_url");
    }
    let mut evidence = json!({
        "actor": parts::actor(opening, finding.statement.as_ref().and_then(|s| s.connection.as_deref())),
    });
    if let Some(statement) = &finding.statement {
        let resource = &statement.operation.resource;
        fields(
            &mut evidence,
            json!({
                "database": parts::database(resource, statement.connection.as_deref()),
                "data": { "query": &**statement.text(), "fingerprint": statement.operation.fingerprint },
            }),
        );
        fields(
            &mut more,
            json!({
                "resources": [{ "name": resource, "type": "database" }],
                "policy": parts::policy(opening, resource, None, !matches!(action, Action::Observed)),
            }),
        );
    }
    fields(&mut more, json!({ "evidences": [evidence] }));
    common.event(
        Class::DetectionFinding,
        Activity { id: 1, name: "Create" },
        severity,
        action,
        &title,
        more,
    )
}
