//! Judged, recorded, and not permitted before people have said yes.

use std::sync::Arc;

use guard_audit::{Event, StatementPhase, without_name};
use guard_core::{ApprovalSpec, ApprovalState, ApprovalSubject, ApprovalWait, Denial, Literals};

use crate::{
    Ask, Durability, Gate, Held, Question, Verdict,
    approvals::{self, Outcome, Request},
    session::Known,
};

impl Gate {
    /// Asks people about the operations of a message that rules want them to decide on. What is judged is recorded before.
    pub(crate) async fn ask_people(
        &self,
        asks: &[Ask],
        judged: Vec<(Known, bool)>,
        events: Vec<Event>,
    ) -> Verdict {
        let session = &self.session;
        if !events.is_empty() {
            if let Err(error) = session.recorder.append(events, Durability::Acknowledged).await {
                let denial = session.unrecorded(error.reason);
                return Verdict::Refuse { index: 0, denial: Box::new(denial) };
            }
            for (known, _) in judged.iter().filter(|(_, new)| *new) {
                session.remember(known, Durability::Acknowledged);
            }
        }
        // They are in the record now.
        let judged: Vec<_> = judged.into_iter().map(|(known, _)| (known, false)).collect();
        let mut held = Held::new(session.approvals.clone());
        for (index, ((known, _), ask)) in judged.iter().zip(asks).enumerate() {
            let Some(spec) = asked(known, ask) else { continue };
            let Some(subject) = approvals::subject(ask) else {
                let reason = "its parameters were sent before the policy asked people";
                let denial = approvals::unavailable(spec, reason);
                return self.refuse_judged(asks, &judged, Vec::new(), (index, denial), None).await;
            };
            let question = self.question(known, spec, subject.clone());
            let status = match session.approvals.ask(question).await {
                Ok(status) => status,
                Err(error) => {
                    let denial = approvals::unavailable(spec, &error.reason);
                    return self
                        .refuse_judged(asks, &judged, Vec::new(), (index, denial), None)
                        .await;
                }
            };
            let waits = status.state == ApprovalState::Waiting && status.wait == ApprovalWait::Hold;
            let refusal = if waits { None } else { approvals::refusal(spec, &status) };
            let id = status.id;
            held.push(Request { index, status, spec: spec.clone(), subject, settled: false });
            if let Some(denial) = refusal {
                // What the others of the message asked is taken back.
                held.settle(held.requests().len() - 1);
                return self
                    .refuse_judged(asks, &judged, Vec::new(), (index, denial), Some(id))
                    .await;
            }
        }
        if held.requests().iter().all(|request| request.status.state == ApprovalState::Granted) {
            held.outcome = Outcome::Granted;
            return self.go_on_now(held, asks).await;
        }
        Verdict::Held(Box::new(held))
    }

    pub(crate) async fn go_on_now(&self, mut held: Held, asks: &[Ask]) -> Verdict {
        let session = &self.session;
        if let Some(reason) = session.over() {
            return self.over(reason);
        }
        // By the policy as it is now: another one asks again.
        let judged: Option<Vec<_>> = asks.iter().map(|ask| session.rule_asked(ask)).collect();
        let Some(judged) = judged else {
            let unknown = asks.iter().enumerate().map(|(index, _)| index).collect();
            return Verdict::Estimate(unknown);
        };
        let mut events = Vec::new();
        for (known, new) in &judged {
            if *new {
                events.push(session.describe(known));
            }
        }
        let outcome = std::mem::replace(&mut held.outcome, Outcome::Waiting);
        match outcome {
            Outcome::Granted => {}
            Outcome::Refused(index, denial) => {
                let request = held.requests().iter().find(|request| request.index == index);
                let id = request.map(|request| request.status.id);
                return self.refuse_judged(asks, &judged, events, (index, *denial), id).await;
            }
            Outcome::Waiting => {
                let request = held.requests().first();
                let index = request.map_or(0, |request| request.index);
                let id = request.map(|request| request.status.id);
                let denial = request.map_or_else(
                    || session.unrecorded("nothing was asked".into()),
                    |request| approvals::unavailable(&request.spec, "nobody has decided"),
                );
                return self.refuse_judged(asks, &judged, events, (index, denial), id).await;
            }
        }
        // Others of the session may have used it up meanwhile; a yes is no budget.
        let over_budget = self.over_spent(asks);
        let enforces = session.policy.borrow().mode().enforces();
        if let Some(denial) = &over_budget
            && enforces
        {
            let id = held.requests().first().map(|request| request.status.id);
            return self.refuse_judged(asks, &judged, events, (0, denial.clone()), id).await;
        }
        let mut used = Vec::new();
        for (index, ((known, _), ask)) in judged.iter().zip(asks).enumerate() {
            if let Some(denial) = known.refuses() {
                let refused = (index, known.explained(denial, &ask.estimate));
                return self.refuse_judged(asks, &judged, events, refused, None).await;
            }
            let Some(spec) = asked(known, ask) else { continue };
            let found = held.requests().iter().position(|request| request.index == index);
            let subject = approvals::subject(ask);
            let same = found.and_then(|place| {
                let request = held.requests().get(place)?;
                let subject = subject.as_ref().filter(|subject| is_same(request, spec, subject))?;
                Some((place, request.status.id, subject))
            });
            let Some((place, id, subject)) = same else {
                let detail = "what it does, or the policy, changed while it waited";
                let denial = approvals::void(spec, detail, "send it again to ask again");
                return self.refuse_judged(asks, &judged, events, (index, denial), None).await;
            };
            let question = self.question(known, spec, subject.clone());
            let spent = match session.approvals.spend(id, &question).await {
                Ok(status) if status.state == ApprovalState::Used => Ok(()),
                Ok(status) => Err(approvals::refusal(spec, &status)
                    .unwrap_or_else(|| approvals::unavailable(spec, "it could not be used"))),
                Err(error) => Err(approvals::unavailable(spec, &error.reason)),
            };
            if let Err(denial) = spent {
                return self.refuse_judged(asks, &judged, events, (index, denial), Some(id)).await;
            }
            held.settle(place);
            used.push((index, id));
        }
        self.permit(asks, judged, events, over_budget, &used).await
    }

    /// Why a setting that a connection begins with is refused: for that nobody waits. What was asked is taken back when it is dropped.
    pub fn not_at_the_start(&self, held: &Held) -> Box<Denial> {
        let denial = held.requests().first().map(|request| {
            let detail = "a connection does not wait for people before it has begun";
            approvals::void(&request.spec, detail, "SET it when the connection is there")
        });
        let none = || self.session.unrecorded("nothing was asked".into());
        Box::new(denial.unwrap_or_else(none))
    }

    fn question(
        &self,
        known: &Known,
        spec: &Arc<ApprovalSpec>,
        subject: ApprovalSubject,
    ) -> Question {
        let so_far = {
            let so_far = self.session.so_far.lock();
            *so_far.unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let Denial { what, .. } = &spec.ask;
        Question {
            policy: known.policy,
            rules: spec.rules().cloned().collect(),
            operation: known.number,
            what: match self.session.policy.borrow().literals() {
                Literals::Text => what.clone(),
                Literals::Fingerprint => without_name(what),
            },
            subject,
            so_far,
        }
    }
}

/// What people are asked about an operation that is executed.
fn asked<'a>(known: &'a Known, ask: &Ask) -> Option<&'a Arc<ApprovalSpec>> {
    match ask.phase {
        StatementPhase::Execute => known.asks(),
        StatementPhase::Prepare => None,
    }
}

/// Whether it is what was asked about.
fn is_same(request: &Request, spec: &ApprovalSpec, subject: &ApprovalSubject) -> bool {
    request.spec.terms == spec.terms
        && request.subject.text_digest == subject.text_digest
        && request.subject.details_digest == subject.details_digest
}
