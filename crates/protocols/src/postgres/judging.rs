//! Asking the gate, and what the protocol itself refuses where masks are.

use std::sync::Arc;

use guard_core::{DenialCode, MaskPlan, Operation, Verb};
use guard_gate::{Ask, Estimate, Parameters, Permit, StatementPhase, Verdict};
use guard_sql::Statement;

use super::{
    definitions::Definitions, likeness::Bound, session::Session, settled::Settled,
    understood::Understood,
};

/// What stands beside the statements that are judged.
#[derive(Default)]
pub(super) struct Asking<'a> {
    /// The statement's own text, if it was understood by a text without its literals.
    pub(super) own: Option<Arc<str>>,
    /// Parameters of the portal that is executed, for the planner.
    pub(super) bound: Option<&'a Arc<Bound>>,
    /// The whole text of the message, if there is more in it than the statement.
    pub(super) message: Option<Arc<str>>,
    /// Texts that names in it stand for.
    pub(super) behind: Vec<Arc<str>>,
    /// The parameters, for people.
    pub(super) parameters: Parameters,
}

/// What becomes of a message.
pub(super) enum Judged {
    /// It may be sent.
    Permits(Vec<Permit>),
    /// Its refusal is under way.
    Refused,
    /// It waits for people. It is judged again when they have decided.
    Held,
}

impl Asking<'_> {
    /// Of a text, as it was understood.
    pub(super) fn of(understood: &Understood) -> Self {
        let message = (understood.statements.len() > 1).then(|| understood.text.clone());
        Self { message, behind: understood.behind.clone(), ..Self::default() }
    }
}

impl Session {
    /// Permits for all of the statements; or none, and the refusal is under way, or people are asked. `simple`: ReadyForQuery
    /// follows the refusal by itself.
    pub(super) async fn judge_text(
        &mut self,
        statements: &[Arc<Statement>],
        asking: Asking<'_>,
        phase: StatementPhase,
        simple: bool,
    ) -> Judged {
        // What was decided is for this message, whatever becomes of it.
        let mut decided = self.decided.take();
        // Nothing is asked: an empty text.
        if statements.is_empty() {
            return Judged::Permits(Vec::new());
        }
        let Asking { own, bound, message, behind, parameters } = asking;
        if phase == StatementPhase::Execute
            && let Some(statement) = self.reads_what_changed(statements)
        {
            let detail = "it reads where a definition was changed that is not committed, and masks go by definitions";
            let hint = "commit before it is read, or run it in a job whose policy masks nothing";
            let (operation, code) = (&statement.operation, DenialCode::Mask);
            let denial = self.gate.refuse(operation, code, detail.to_owned(), hint).await;
            self.refuse(Box::new(denial), simple);
            return Judged::Refused;
        }
        if phase == StatementPhase::Execute
            && let Some(statement) = self.cannot_be_masked(statements)
        {
            let detail = "its values come in a client_encoding in which guard cannot mask";
            let hint = "use client_encoding UTF8";
            let (operation, code) = (&statement.operation, DenialCode::Mask);
            let denial = self.gate.refuse(operation, code, detail.to_owned(), hint).await;
            self.refuse(Box::new(denial), simple);
            return Judged::Refused;
        }
        let context = if self.gate.asks_people() {
            guard_gate::Context { message, behind, parameters }
        } else {
            guard_gate::Context::default()
        };
        let asks = self.as_of_now(statements);
        let estimate = Estimate::NotAsked;
        let ask = |operation| Ask {
            operation,
            phase,
            text: own.clone(),
            estimate: estimate.clone(),
            context: context.clone(),
        };
        let mut asks: Vec<_> = asks.map(ask).collect();
        loop {
            let verdict = match decided.take() {
                Some(held) => self.gate.go_on(held, &asks).await,
                None => self.gate.judge(&asks).await,
            };
            match verdict {
                Verdict::Forward(permits) => return Judged::Permits(permits),
                Verdict::Refuse { index: _, denial } => {
                    self.refuse(denial, simple);
                    return Judged::Refused;
                }
                Verdict::Held(held) => {
                    self.hold(*held);
                    return Judged::Held;
                }
                // Once: after this the estimate of each is asked for.
                Verdict::Estimate(needed) => {
                    self.estimate(&mut asks, &needed, statements, bound).await;
                }
            }
        }
    }

    /// Whether the types of parameters that come with a text are kept.
    pub(super) fn keeps_types(&self) -> bool {
        self.likeness.is_some() || self.gate.asks_people()
    }

    /// Whether nothing may be sent before the server has said how it reads: masks go by the encoding of what
    /// comes back. Where none are, a text that means the same in any case is read, and another is not understood.
    pub(super) fn must_settle(&self) -> bool {
        self.settled == Settled::No && self.gate.has_masks()
    }

    /// The first statement whose values come in an encoding that masks do not know.
    pub(super) fn cannot_be_masked(&self, statements: &[Arc<Statement>]) -> Option<Arc<Statement>> {
        if self.reading.can_mask() || !self.gate.has_masks() {
            return None;
        }
        statements.iter().find(|statement| reads_relation(&statement.operation)).cloned()
    }

    /// The first statement that reads a relation after this connection has changed definitions that only it
    /// can see yet: which masked columns are behind the relation's name is not known then.
    pub(super) fn reads_what_changed(
        &self,
        statements: &[Arc<Statement>],
    ) -> Option<Arc<Statement>> {
        if !self.gate.has_masks() {
            return None;
        }
        let mut changed = self.changed;
        let found = statements.iter().find(|statement| {
            let operation = &statement.operation;
            let found = changed == Definitions::Changed && reads_relation(operation);
            changed.note_sent(operation);
            found
        });
        found.cloned()
    }

    /// Remembers what a permitted statement means for what comes after it.
    pub(super) fn note(&mut self, operation: &Operation, plan: &MaskPlan) {
        self.reached |= plan.reach;
        self.detect = plan.detect;
        self.settled = self.settled.max(Settled::after(operation));
        self.changed.note_sent(operation);
        self.note_likeness(operation);
        self.views.note(operation);
    }
}

/// Whether it reads a relation of the database's own.
fn reads_relation(operation: &Operation) -> bool {
    operation.effects.iter().any(|effect| {
        let schema = effect.object.name.as_ref().and_then(|name| name.schema.as_deref());
        effect.verb == Verb::Read && !matches!(schema, Some("pg_catalog" | "information_schema"))
    })
}
