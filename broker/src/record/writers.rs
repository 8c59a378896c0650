//! The streams of a record: whose each is, what it may send next, and what the shim is to be told of it.

use std::collections::BTreeMap;

use guard_audit::Event;
use guard_core::{
    ApprovalWait, Denial, DenialCode, ResourceName,
    control::{Notice, StepCounts},
};
use serde::{Deserialize, Serialize};

use super::{RecordError, steps::Steps};

/// A session has a few enforcement points; more names than this are a mistake or an attack.
const MAX_WRITERS: usize = 1024;
/// Begins the names of streams that no enforcement point can write: of one decision each.
const DECISIONS: &str = "broker/";
/// Notices kept for the shim: a script that is refused more often than this is told only in the report.
pub(super) const MAX_NOTICES: u64 = 10_000;

/// The streams, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Writers(BTreeMap<String, Writer>);

/// One stream of events, of one enforcement point for one resource.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Writer {
    /// The enforcement point: the first that used the name. Not known of a file that was read again.
    owner: Option<String>,
    /// Number of the next event.
    next: u64,
    /// The resource, once an event named it.
    resource: Option<ResourceName>,
    /// Its counts for each command of a session that has several.
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    steps: Steps,
}

impl Writers {
    /// Checks that events follow, and says how many of them are known already.
    pub(super) fn accept(
        &mut self,
        name: &str,
        owner: &str,
        first: u64,
        count: usize,
    ) -> Result<usize, RecordError> {
        let known = self.0.get_mut(name);
        let expected = known.as_ref().map_or(0, |writer| writer.next);
        if let Some(writer) = known
            && writer.owner.get_or_insert_with(|| owner.to_owned()) != owner
        {
            return Err(RecordError::Foreign);
        }
        let Some(known) = expected.checked_sub(first) else {
            return Err(RecordError::Gap { expected });
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(count);
        if !self.0.contains_key(name) {
            if self.0.keys().filter(|name| !name.starts_with(DECISIONS)).count() >= MAX_WRITERS {
                return Err(RecordError::Invalid("the session has too many writers".into()));
            }
            let writer = Writer { owner: Some(owner.to_owned()), ..Writer::default() };
            self.0.insert(name.to_owned(), writer);
        }
        Ok(known)
    }

    /// Whether an event of the broker's is to be appended. What came of a request is a stream of one event: any broker may bring
    /// it, also when another did, and it is taken once.
    pub(super) fn is_new(&self, event: &Event) -> bool {
        decision(event).is_none_or(|name| !self.0.contains_key(&name))
    }

    /// Counts an event of the broker's own.
    pub(super) fn count_own(&mut self, event: &Event) {
        if let Some(name) = decision(event) {
            let writer = Writer { next: 1, ..Writer::default() };
            self.0.insert(name, writer);
        }
    }

    /// Number of the next event of a writer.
    pub(super) fn next(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |writer| writer.next)
    }

    /// What was counted of each command, by its number.
    pub(super) fn steps(&self) -> BTreeMap<u32, StepCounts> {
        let mut all = BTreeMap::new();
        for writer in self.0.values() {
            writer.steps.add_to(&mut all);
        }
        all
    }

    /// Counts an event, and gives what the shim is to be told of it.
    pub(super) fn follow(
        &mut self,
        name: &str,
        event: &Event,
        fallback: Option<&ResourceName>,
    ) -> Option<Notice> {
        let writer = self.0.entry(name.to_owned()).or_default();
        writer.next += 1;
        let step = writer.steps.follow(event);
        match event {
            Event::Connected { resource, .. } | Event::Operation { resource, .. } => {
                writer.resource = Some(resource.clone());
                None
            }
            Event::Refused { denial, .. } => {
                let resource = writer.resource.clone().or_else(|| fallback.cloned())?;
                Some(Notice { resource, denial: denial.clone(), held: false, step })
            }
            Event::Disconnected { .. }
            | Event::Statement { .. }
            | Event::Finished { .. }
            | Event::Rows { .. }
            | Event::Traffic { .. }
            | Event::SessionOpened { .. }
            | Event::AttemptRefused { .. }
            | Event::SessionRenewed { .. }
            | Event::Isolated { .. }
            | Event::EgressAsked { .. }
            | Event::EgressEnded { .. }
            | Event::LeaseTaken { .. }
            | Event::ApprovalAsked { .. }
            | Event::ApprovalDecided { .. }
            | Event::ApprovalUsed { .. }
            | Event::LeaseReleased { .. }
            | Event::SessionEnded { .. } => None,
        }
    }
}

/// The stream of a decision.
fn decision(event: &Event) -> Option<String> {
    let Event::ApprovalDecided { approval, state, .. } = event else { return None };
    Some(format!("{DECISIONS}{approval}/{}", state.as_str()))
}

/// What the shim is told of a statement that waits for people.
pub(super) fn held(event: &Event) -> Option<Notice> {
    let Event::ApprovalAsked { resource, what, policy, terms, address, wait, .. } = event else {
        return None;
    };
    match wait {
        ApprovalWait::Park => return None,
        ApprovalWait::Hold => {}
    }
    let denial = Denial {
        code: DenialCode::ApprovalNeeded,
        what: what.clone(),
        rule: terms.first()?.rule.clone(),
        policy: policy.clone(),
        detail: None,
        hint: Some(format!("it waits until somebody decides at {address}")),
    };
    Some(Notice { resource: resource.clone(), denial, held: true, step: None })
}
