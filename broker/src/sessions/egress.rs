//! Where commands of a session go besides its resources: the policies say, and the record has it before anything is dialled.

use std::sync::atomic::Ordering;

use guard_audit::Event;
use guard_core::{
    EgressId, PolicyName,
    control::{AskEgress, EgressAnswer, EgressOutcome},
    egress::{EgressTerms, Host},
};

use super::{Session, Sessions, policy::parsed};
use crate::error::Refusal;

/// Attempts of a session that one broker takes; a job that wants more is refused the rest.
const MAX_ATTEMPTS: u64 = 10_000;
/// Characters of a host or of a reason that the record takes.
const MAX_WORDS: usize = 300;

impl Sessions {
    /// Whether a command may go to a place. Recorded in any case; whatever cannot be recorded is refused.
    pub(crate) async fn egress(
        &self,
        session: &Session,
        ask: AskEgress,
    ) -> Result<EgressAnswer, Refusal> {
        if session.egress.fetch_add(1, Ordering::Relaxed) >= MAX_ATTEMPTS {
            return Err(Refusal::TooMany(format!(
                "the session asked {MAX_ATTEMPTS} times to go somewhere besides its resources"
            )));
        }
        let found = look_up(session, &ask.host, ask.port);
        let (policy, answer) = match found {
            Ok((policy, terms)) => (Some(policy), EgressAnswer::Allowed(terms)),
            Err(why) => (None, EgressAnswer::Refused(why)),
        };
        let refused = match &answer {
            EgressAnswer::Allowed(_) => None,
            EgressAnswer::Refused(why) => Some(why.clone()),
        };
        let (egress, host) = (ask.id, short(&ask.host));
        let (port, step) = (ask.port, ask.step);
        let event = Event::EgressAsked { egress, host, port, policy, refused, step };
        session.record.append_own(event).await?;
        Ok(answer)
    }

    /// Records what came of an attempt.
    pub(crate) async fn egress_ended(
        &self,
        session: &Session,
        egress: EgressId,
        outcome: EgressOutcome,
    ) -> Result<(), Refusal> {
        if session.egress_ended.fetch_add(1, Ordering::Relaxed) >= MAX_ATTEMPTS {
            return Err(Refusal::TooMany("more attempts ended than there were".into()));
        }
        let words = |words: Option<String>| words.map(|words| short(&words));
        let (refused, failed) = (words(outcome.refused), words(outcome.failed));
        let outcome = EgressOutcome { refused, failed, ..outcome };
        Ok(session.record.append_own(Event::EgressEnded { egress, outcome }).await?)
    }
}

/// The first policy of the session that lists the place.
fn look_up(session: &Session, host: &str, port: u16) -> Result<(PolicyName, EgressTerms), String> {
    let host = Host::new(host).map_err(|error| error.to_string())?;
    let found = session.row.grants.iter().find_map(|(grant, source)| {
        let terms = parsed(source)?.egress(&host, port)?.clone();
        Some((grant.policy.clone(), terms))
    });
    found.ok_or_else(|| {
        let locked =
            |(_, source): &(_, _)| parsed(source).is_some_and(|p| p.locks_out(&host, port));
        if session.row.grants.iter().any(locked) {
            return format!("`{host}:{port}` is not in the lock of the policy that lists it");
        }
        format!("`{host}:{port}` is in the `egress` of none of the session's policies")
    })
}

fn short(words: &str) -> String {
    words.chars().take(MAX_WORDS).collect()
}
