//! People, by way of the broker: what the gate asks of them goes there, and their answer comes from there.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use guard_core::{
    ApprovalId, ApprovalState, ResourceName, SessionId,
    control::{ApprovalStatus, AskApproval, UseApproval},
};
use guard_gate::{Approvals, CannotAsk, Question};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::control::{ControlError, ControlPlane};

/// How long one question for a request's state waits at the broker.
const STATE_WAIT: Duration = Duration::from_secs(20);
/// A broker that cannot be asked for this long may have ended the session unheard.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two questions when the broker does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// The people of one resource of one session.
pub(crate) struct BrokerApprovals {
    control: Arc<dyn ControlPlane>,
    session: SessionId,
    resource: ResourceName,
    /// The stream of this enforcement point in the session's record.
    writer: String,
}

impl BrokerApprovals {
    pub(crate) fn new(
        control: Arc<dyn ControlPlane>,
        session: SessionId,
        resource: ResourceName,
        writer: String,
    ) -> Arc<Self> {
        Arc::new(Self { control, session, resource, writer })
    }
}

impl Approvals for BrokerApprovals {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<ApprovalStatus, CannotAsk>> {
        let Question { policy, rules, operation, what, subject, so_far } = question;
        let ask = AskApproval {
            id: ApprovalId::from_uuid(uuid::Uuid::now_v7()),
            session: self.session,
            resource: self.resource.clone(),
            policy,
            rules,
            writer: self.writer.clone(),
            operation,
            what,
            subject,
            so_far,
        };
        let (answer, answered) = oneshot::channel();
        let (control, session) = (self.control.clone(), self.session);
        // Whoever asks may go away before the broker has answered: then nobody is asked.
        tokio::spawn(async move {
            let status = control.ask_approval(&ask).await;
            if let Err(Ok(status)) = answer.send(status) {
                cancel(&*control, session, status.id).await;
            }
        });
        async move {
            let status = answered.await.map_err(|_| CannotAsk { reason: "nobody asked".into() })?;
            status.map_err(|error| cannot(&error))
        }
        .boxed()
    }

    fn decided(
        self: Arc<Self>,
        id: ApprovalId,
    ) -> BoxFuture<'static, Result<ApprovalStatus, CannotAsk>> {
        async move {
            let mut heard = Instant::now();
            loop {
                match self.control.approval_state(self.session, id, STATE_WAIT).await {
                    Ok(status) if status.state != ApprovalState::Waiting => return Ok(status),
                    Ok(_) => heard = Instant::now(),
                    Err(error) if error.is_transient() && heard.elapsed() < SILENCE => {
                        tracing::debug!(%error, "no word of a request for approval");
                        sleep(PAUSE).await;
                    }
                    Err(error) => return Err(cannot(&error)),
                }
            }
        }
        .boxed()
    }

    fn spend<'a>(
        &'a self,
        id: ApprovalId,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<ApprovalStatus, CannotAsk>> {
        async move {
            let ask = UseApproval {
                session: self.session,
                resource: self.resource.clone(),
                policy: question.policy,
                rules: question.rules.clone(),
                text_digest: question.subject.text_digest,
                details_digest: question.subject.details_digest,
            };
            self.control.use_approval(id, &ask).await.map_err(|error| cannot(&error))
        }
        .boxed()
    }

    fn cancel(&self, id: ApprovalId) {
        let (control, session) = (self.control.clone(), self.session);
        tokio::spawn(async move { cancel(&*control, session, id).await });
    }
}

async fn cancel(control: &dyn ControlPlane, session: SessionId, id: ApprovalId) {
    if let Err(error) = control.cancel_approval(session, id).await {
        // It ends with the session at the latest.
        tracing::debug!(%session, approval = %id, %error, "a request is left to the broker");
    }
}

fn cannot(error: &ControlError) -> CannotAsk {
    CannotAsk { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::{Certainty, Digest};

    use super::*;
    use crate::fake::{FakeBroker, refused, session};

    fn question() -> Question {
        Question {
            policy: Digest::ZERO,
            rules: Vec::new(),
            operation: 0,
            what: "held DELETE".into(),
            subject: guard_core::ApprovalSubject {
                label: "DELETE".into(),
                text: String::new(),
                text_bytes: 0,
                text_digest: Digest::of(""),
                parameters: Vec::new(),
                parameter_count: 0,
                details_digest: Digest::ZERO,
                effects: Vec::new(),
                certainty: Certainty::Exact,
                estimated_rows: None,
            },
            so_far: guard_core::control::SoFar::default(),
        }
    }

    fn people(broker: &Arc<FakeBroker>) -> Arc<BrokerApprovals> {
        let resource = ResourceName::new("orders").unwrap();
        BrokerApprovals::new(broker.clone(), session(), resource, "gw-1".into())
    }

    #[tokio::test]
    async fn a_broker_that_is_silent_for_a_moment_is_asked_again() {
        let broker = FakeBroker::new();
        let people = people(&broker);
        let asked = people.ask(question()).await.unwrap();
        broker.failures.lock().unwrap().push_back(refused(503, "unavailable"));
        let waits = tokio::spawn(people.clone().decided(asked.id));
        broker.approval.send_replace(guard_core::ApprovalState::Granted);
        assert_eq!(waits.await.unwrap().unwrap().state, ApprovalState::Granted);
    }

    #[tokio::test]
    async fn a_broker_that_says_no_is_not_asked_again() {
        let broker = FakeBroker::new();
        let people = people(&broker);
        let asked = people.ask(question()).await.unwrap();
        broker.failures.lock().unwrap().push_back(refused(410, "session-over"));
        assert!(people.clone().decided(asked.id).await.is_err());
    }

    #[tokio::test]
    async fn a_question_whose_asker_is_gone_is_taken_back() {
        let broker = FakeBroker::new();
        let people = people(&broker);
        drop(people.ask(question()));
        let taken_back = async {
            while broker.approvals.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), taken_back).await.unwrap();
        let calls: Vec<_> = broker.approvals.lock().unwrap().iter().map(|call| call.0).collect();
        assert_eq!(calls, ["asked", "cancelled"]);
    }
}
