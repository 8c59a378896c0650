//! CloudEvents 1.0, JSON format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use guard_core::SessionId;
use serde_json::{Value, json};

use crate::{Entry, Event};

/// An entry as a CloudEvent. Its `data` is the event as it stands in the record, with its writer. `None` of what was in
/// answers, which stays in the record.
pub fn cloud_event(session: SessionId, entry: &Entry) -> Result<Option<Value>, serde_json::Error> {
    let Some((name, subject)) = names(&entry.event) else { return Ok(None) };
    let mut data = serde_json::to_value(&entry.event)?;
    if let Some(fields) = data.as_object_mut() {
        // The type says it.
        fields.remove("type");
        fields.insert("writer".to_owned(), Value::from(&*entry.writer));
    }
    let mut event = json!({
        "specversion": "1.0",
        "id": entry.seq.to_string(),
        "source": format!("/sessions/{session}"),
        "type": name,
        "time": entry.at.to_string(),
        "datacontenttype": "application/json",
        // The extension that orders the events of one source: of equal length, as it is compared as text.
        "sequence": format!("{:020}", entry.seq),
        "data": data,
    });
    if let (Some(subject), Some(fields)) = (subject, event.as_object_mut()) {
        fields.insert("subject".to_owned(), subject.into());
    }
    Ok(Some(event))
}

/// What happened, in words of guard's own domain, and to what inside its session.
fn names(event: &Event) -> Option<(&'static str, Option<String>)> {
    let of = |kind: &str, id: &dyn std::fmt::Display| Some(format!("{kind}/{id}"));
    Some(match event {
        Event::SessionOpened { .. } => ("dev.guard.session.opened", None),
        Event::SessionRenewed { .. } => ("dev.guard.session.renewed", None),
        Event::SessionEnded { .. } => ("dev.guard.session.ended", None),
        Event::AttemptRefused { .. } => ("dev.guard.session.attempt-refused", None),
        Event::Isolated { .. } => ("dev.guard.session.isolated", None),
        Event::EgressAsked { egress, .. } => ("dev.guard.egress.asked", of("egress", egress)),
        Event::EgressEnded { egress, .. } => ("dev.guard.egress.ended", of("egress", egress)),
        Event::LeaseTaken { lease, .. } => ("dev.guard.lease.taken", of("leases", lease)),
        Event::LeaseReleased { lease, .. } => ("dev.guard.lease.released", of("leases", lease)),
        Event::Connected { connection, .. } => {
            ("dev.guard.connection.opened", of("connections", connection))
        }
        Event::Disconnected { connection, .. } => {
            ("dev.guard.connection.closed", of("connections", connection))
        }
        Event::Operation { operation, .. } => {
            ("dev.guard.operation.judged", of("operations", operation))
        }
        Event::Statement { statement, .. } => {
            ("dev.guard.statement.allowed", of("statements", statement))
        }
        Event::Refused { statement, .. } => {
            ("dev.guard.statement.refused", of("statements", statement))
        }
        Event::Finished { statement, .. } => {
            ("dev.guard.statement.finished", of("statements", statement))
        }
        Event::ApprovalAsked { approval, .. } => {
            ("dev.guard.approval.asked", of("approvals", approval))
        }
        Event::ApprovalDecided { approval, .. } => {
            ("dev.guard.approval.decided", of("approvals", approval))
        }
        Event::ApprovalUsed { approval, .. } => {
            ("dev.guard.approval.used", of("approvals", approval))
        }
        Event::Rows { .. } | Event::Traffic { .. } => return None,
    })
}
