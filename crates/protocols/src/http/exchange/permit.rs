//! Whether a request may go on: judged, recorded, and by people where a rule asks them.

use futures_util::future::pending;
use guard_gate::{Ask, Context, Estimate, Permit, StatementPhase, Verdict};

use super::{
    super::{body, operation, refuse::Refusal},
    Connection, Understood, has_body,
};

impl Connection {
    pub(super) async fn permitted(&self, understood: &mut Understood) -> Result<Permit, Refusal> {
        let operation = understood.operation.clone();
        let mut context = Context::default();
        if self.gate.asks_people() && !self.gate.would_allow(&operation) {
            if has_body(understood.framing)
                && let Some(incoming) = understood.incoming.take()
            {
                let text = operation.text.reveal();
                let whole = self.whole(incoming, body::MAX_WHOLE, &understood.method, text);
                understood.read = Some(whole.await?);
            }
            if let Some(request) = &operation.request {
                let body = understood.read.as_deref().unwrap_or_default();
                context.parameters = operation::parameters(request, body);
            }
        }
        let phase = StatementPhase::Execute;
        let estimate = Estimate::Unknown("a request has no rows");
        let asks = [Ask { operation, phase, text: None, estimate, context }];
        let mut verdict = self.gate.judge(&asks).await;
        loop {
            verdict = match verdict {
                Verdict::Forward(permits) => {
                    let missing = || Refusal::no_answer("the request was not permitted");
                    return permits.into_iter().next().ok_or_else(missing);
                }
                Verdict::Refuse { denial, .. } => {
                    self.shared.resource.refused(&denial);
                    return Err(Refusal::denied(&denial));
                }
                // A client that goes away drops all of this, and with it what was asked.
                Verdict::Held(held) => {
                    let held = Box::pin(held.decided(pending())).await;
                    self.gate.go_on(held, &asks).await
                }
                Verdict::Estimate(_) => {
                    return Err(Refusal::no_answer(
                        "a request has no rows that could be estimated",
                    ));
                }
            };
        }
    }
}
