//! Judge, record, permit: in this order and in this place only.

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::{Either, select};
use guard_audit::{Event, StatementPhase};
use guard_core::{
    ApprovalId, Budget, Budgets, Certainty, Decision, Denial, DenialCode, Effect, EndReason,
    Exceeded, FieldMask, Operation, Protocol, Ruling, Sensitive, Verb, http::HttpRequest,
};
use guard_policy::ClientCredentials;

use crate::{
    Ask, Durability, Estimate, Held, Meter, Permit, SessionGate, Used, Verdict,
    budget::Transaction,
    session::{FOR_ALL_ROWS, Known},
};

/// What a connection says of itself.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// `application_name` or its like.
    pub client: String,
    /// The database it is connected to.
    pub database: String,
    /// The number of the command that it comes from, if the session has several.
    pub step: Option<u32>,
}

/// One client's connection to one resource: every operation is asked here.
pub struct Gate {
    pub(crate) session: Arc<SessionGate>,
    connection: u64,
    transaction: Transaction,
    closed_by: Option<String>,
}

impl SessionGate {
    /// Records a new connection and opens its gate. Fails closed if it cannot be recorded.
    pub async fn connection(
        self: &Arc<Self>,
        info: ConnectionInfo,
    ) -> Result<Gate, crate::RecordUnavailable> {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let event = Event::Connected {
            connection,
            resource: self.view.resource.clone(),
            enforced_at: self.enforced_at,
            point: self.point.clone(),
            client: Sensitive::new(info.client),
            database: info.database,
            step: info.step,
        };
        self.recorder.append(vec![event], Durability::Queued).await?;
        let (session, transaction) = (self.clone(), Transaction::default());
        Ok(Gate { session, connection, transaction, closed_by: Some("lost".into()) })
    }
}

impl Gate {
    /// Number of this connection in its writer's stream.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Whether the policy hides anything.
    pub fn has_masks(&self) -> bool {
        self.session.policy.borrow().has_masks()
    }

    /// Whether nothing that the policy allows could change anything, so that the server can be told to
    /// refuse it, too.
    pub fn reads_only(&self) -> bool {
        self.session.policy.borrow().reads_only()
    }

    /// Whether a credential that a client of an HTTP API sends is taken out, and its request goes on without.
    pub fn removes_client_credentials(&self) -> bool {
        match self.session.policy.borrow().client_credentials() {
            ClientCredentials::Refuse => false,
            ClientCredentials::Remove => true,
        }
    }

    /// Whether a rule looks into the body of a request like this one.
    pub fn looks_into(&self, request: &HttpRequest) -> bool {
        self.session.policy.borrow().looks_into(request)
    }

    /// Counts what a statement uses, if the policy bounds rows, bytes or time. `used` is what the same portal
    /// has used before.
    pub fn meter(&self, used: impl FnOnce() -> Arc<Used>) -> Option<Meter> {
        let policy = self.session.policy.borrow();
        let budgets = policy.budgets();
        let meter = || {
            let (ledger, transaction) = (self.session.ledger.clone(), self.transaction.clone());
            Meter::new(ledger, transaction, *budgets, policy.mode(), used())
        };
        budgets.end_statements().then(meter)
    }

    /// The transaction in which the connection stood is over: what it changes from here is another one's.
    pub fn transaction_is_over(&self) {
        self.transaction.over();
    }

    /// The budgets of the policy, where statements are ended at them.
    pub fn enforced_budgets(&self) -> Option<Budgets> {
        let policy = self.session.policy.borrow();
        let budgets = *policy.budgets();
        (policy.mode().enforces() && budgets.end_statements()).then_some(budgets)
    }

    /// Why a statement is ended at a budget.
    pub fn ended_at(&self, exceeded: Exceeded) -> Denial {
        let code = match exceeded.budget {
            Budget::RowsPerStatement
            | Budget::BytesPerStatement
            | Budget::ChangesPerStatement
            | Budget::ChangesPerTransaction => DenialCode::BudgetOfStatement,
            Budget::RowsPerSession | Budget::BytesPerSession | Budget::ChangesPerSession => {
                DenialCode::BudgetOfSession
            }
            Budget::StatementsPerMinute => DenialCode::BudgetOfRate,
            Budget::TimePerStatement => DenialCode::BudgetOfTime,
        };
        let detail = format!("`{exceeded}` are used up, on connection {}", self.connection);
        let what = "ended the statement at a budget";
        self.session.built_in(code, what, detail, hint(exceeded.budget))
    }

    /// Whether it may be asked how many rows an operation is about: for a rule, or for people who decide.
    pub fn estimates_rows(&self) -> bool {
        let policy = self.session.policy.borrow();
        policy.bounds_rows() || policy.asks_people()
    }

    /// Whether the policy simply allows an operation, however many rows it is about. Nothing is recorded or permitted
    /// by this.
    pub fn would_allow(&self, operation: &Arc<Operation>) -> bool {
        let session = &self.session;
        let policy = session.policy.borrow().clone();
        let ruling = session.known(operation, FOR_ALL_ROWS, policy.digest()).map_or_else(
            || Arc::new(policy.judge(&session.view, operation, (session.clock)())),
            |known| known.ruling,
        );
        match ruling.decision {
            Decision::Allow => true,
            Decision::Approve(_) | Decision::Block(_) => false,
        }
    }

    /// What is hidden of a request to an HTTP API before it goes on, or anybody sees it. [`Permit::masks`] says it again for a request
    /// that is permitted, by the policy as it is then.
    pub fn request_masks(&self, request: &HttpRequest) -> Vec<FieldMask> {
        self.session.policy.borrow().request_masks(request)
    }

    /// Judges the operations of one message, in order; one refusal refuses the message. An end of the session
    /// while it waits for the record is an answer, too.
    ///
    /// Cancel-safe: dropped before it answers, operations may be recorded that are never sent.
    pub async fn judge(&self, asks: &[Ask]) -> Verdict {
        self.unless_over(pin!(self.judge_now(asks))).await
    }

    async fn unless_over(&self, judging: Pin<&mut impl Future<Output = Verdict>>) -> Verdict {
        let ended = pin!(self.ended());
        match select(judging, ended).await {
            Either::Right((reason, _)) => self.over(reason),
            Either::Left((
                verdict @ (Verdict::Refuse { .. } | Verdict::Estimate(_) | Verdict::Held(_)),
                _,
            )) => verdict,
            // It may have ended between the record and this.
            Either::Left((Verdict::Forward(permits), _)) => match self.session.over() {
                Some(reason) => self.over(reason),
                None => Verdict::Forward(permits),
            },
        }
    }

    /// Whether a rule of the policy asks people, so that it matters what parameters are.
    pub fn asks_people(&self) -> bool {
        self.session.policy.borrow().asks_people()
    }

    /// Whether a rule of the policy depends on a header of this name, so that it must not come in another way.
    pub fn judges_header(&self, name: &str) -> bool {
        self.session.policy.borrow().judges_header(name)
    }

    /// Goes on with a message whose statements waited for people: it must be the one that was asked about, by the policy that
    /// asked. What was granted is used up by this.
    ///
    /// Cancel-safe: dropped before it answers, an approval may be used up for what is never sent.
    pub async fn go_on(&self, held: Held, asks: &[Ask]) -> Verdict {
        self.unless_over(Box::pin(self.go_on_now(held, asks)).as_mut()).await
    }

    pub(crate) fn over(&self, reason: EndReason) -> Verdict {
        let denial = self.session.built_in(
            DenialCode::SessionOver,
            "blocked the statement",
            reason.to_string(),
            "start a new run, or ask for a longer grant in the trust rule",
        );
        Verdict::Refuse { index: 0, denial: Box::new(denial) }
    }

    /// Why budgets refuse a message that the rules allow.
    fn over_budget(&self, asks: &[Ask], refused: bool) -> Option<Denial> {
        let session = &self.session;
        let (budgets, mode) = {
            let policy = session.policy.borrow();
            (*policy.budgets(), policy.mode())
        };
        let ended = mode.enforces();
        let what = asks.first().map_or("blocked the statement", |ask| blocked(&ask.operation));
        if let Some(limit) = budgets.statements_per_minute {
            let executed = |ask: &&Ask| refused || ask.phase == StatementPhase::Execute;
            let count = asks.iter().filter(executed).count() as u64;
            if !session.ledger.pace(count, limit) {
                let budget = Budget::StatementsPerMinute;
                let exceeded = Exceeded { budget, limit, ended };
                let detail = format!("`{exceeded}` are used up");
                let code = DenialCode::BudgetOfRate;
                return Some(session.built_in(code, what, detail, hint(budget)));
            }
        }
        self.over_spent(asks)
    }

    /// Why what the session has used up already refuses a message.
    pub(crate) fn over_spent(&self, asks: &[Ask]) -> Option<Denial> {
        let session = &self.session;
        let budgets = *session.policy.borrow().budgets();
        let exceeded = session.ledger.spent(&budgets)?;
        if asks.iter().all(|ask| ends_transactions(&ask.operation)) {
            return None;
        }
        let what = asks.first().map_or("blocked the statement", |ask| blocked(&ask.operation));
        let detail = format!("`{exceeded}` are used up");
        let code = DenialCode::BudgetOfSession;
        Some(session.built_in(code, what, detail, hint(exceeded.budget)))
    }

    async fn judge_now(&self, asks: &[Ask]) -> Verdict {
        let session = &self.session;
        if let Some(reason) = session.over() {
            return self.over(reason);
        }

        let judged: Option<Vec<_>> = asks.iter().map(|ask| session.rule_asked(ask)).collect();
        let judged = match judged {
            Some(judged) => judged,
            None => match session.rule_or_estimate(asks) {
                Ok(judged) => judged,
                Err(needed) => return Verdict::Estimate(needed),
            },
        };
        let mut events = Vec::with_capacity(asks.len() + 1);
        for (known, new) in &judged {
            if *new {
                events.push(session.describe(known));
            }
        }

        let refused = judged.iter().enumerate().find_map(|(index, (known, _))| {
            let denial = known.refuses()?;
            let estimate = asks.get(index).map(|ask| &ask.estimate)?;
            Some((index, known.explained(denial, estimate)))
        });
        let over_budget = self.over_budget(asks, refused.is_some());
        let observes = !session.policy.borrow().mode().enforces();
        let refused = match (refused, &over_budget) {
            (Some(refused), _) => Some(refused),
            (None, Some(denial)) if !observes => Some((0, denial.clone())),
            (None, _) => None,
        };
        if let Some((index, denial)) = refused {
            // Rare and large, as is asking people: each statement would carry them.
            let refusing = self.refuse_judged(asks, &judged, events, (index, denial), None);
            return Box::pin(refusing).await;
        }
        // What is made ready is asked for when it is executed.
        let asked = judged.iter().zip(asks).enumerate().filter(|(_, ((known, _), ask))| {
            known.asks().is_some() && ask.phase == StatementPhase::Execute
        });
        let asked: Vec<usize> = asked.map(|(index, _)| index).collect();
        // They are told how many rows it is about.
        let unknown =
            |index: &usize| asks.get(*index).is_some_and(|ask| ask.estimate == Estimate::NotAsked);
        if asked.iter().any(unknown) {
            return Verdict::Estimate(asked);
        }
        if !asked.is_empty() {
            return Box::pin(self.ask_people(asks, judged, events)).await;
        }
        self.permit(asks, judged, events, over_budget, &[]).await
    }

    /// Records the refusal of a message because of one of its operations.
    pub(crate) async fn refuse_judged(
        &self,
        asks: &[Ask],
        judged: &[(Known, bool)],
        mut events: Vec<Event>,
        (index, denial): (usize, Denial),
        approval: Option<ApprovalId>,
    ) -> Verdict {
        let session = &self.session;
        let first = session.statements.fetch_add(asks.len() as u64, Ordering::Relaxed);
        if let Some((known, _)) = judged.get(index) {
            events.push(Event::Refused {
                statement: first + index as u64,
                connection: self.connection,
                operation: known.number,
                denial: denial.clone(),
                estimated_rows: asks.get(index).and_then(|ask| ask.estimate.rows()),
                text: asks.get(index).and_then(Ask::own_text),
                approval,
            });
        }
        session.count(|so_far| so_far.refused += 1);
        // The answer is the same whether or not the refusal could be recorded: nothing is sent.
        // If it could not, the stream is broken and the next statement is refused for that.
        if session.recorder.append(events, Durability::Acknowledged).await.is_ok() {
            for (known, _) in judged.iter().filter(|(_, new)| *new) {
                session.remember(known, Durability::Acknowledged);
            }
        }
        Verdict::Refuse { index, denial: Box::new(denial) }
    }

    /// Records what goes on, and permits it. `approvals`: by which request an operation goes on, by its place.
    pub(crate) async fn permit(
        &self,
        asks: &[Ask],
        judged: Vec<(Known, bool)>,
        mut events: Vec<Event>,
        over_budget: Option<Denial>,
        approvals: &[(usize, ApprovalId)],
    ) -> Verdict {
        let session = &self.session;
        let first = session.statements.fetch_add(asks.len() as u64, Ordering::Relaxed);
        let queued = approvals.is_empty()
            && judged
                .iter()
                .all(|(known, _)| session.durability(&known.operation) == Durability::Queued);
        let durability = if queued { Durability::Queued } else { Durability::Acknowledged };
        for (offset, ((known, _), ask)) in judged.iter().zip(asks).enumerate() {
            let by = approvals.iter().find(|(index, _)| *index == offset);
            events.push(Event::Statement {
                statement: first + offset as u64,
                connection: self.connection,
                operation: known.number,
                phase: ask.phase,
                would_refuse: would_refuse(known, ask, over_budget.as_ref()),
                estimated_rows: ask.estimate.rows(),
                text: ask.own_text(),
                approval: by.map(|(_, approval)| *approval),
            });
        }
        if let Err(error) = session.recorder.append(events, durability).await {
            let denial = session.unrecorded(error.reason);
            return Verdict::Refuse { index: 0, denial: Box::new(denial) };
        }

        let mut permits = Vec::with_capacity(judged.len());
        for (offset, (known, new)) in judged.into_iter().enumerate() {
            if new {
                session.remember(&known, durability);
            }
            let executed = asks.get(offset).is_some_and(|a| a.phase == StatementPhase::Execute);
            if executed && session.policy.borrow().asks_people() {
                session.count(|so_far| {
                    so_far.statements += 1;
                    so_far.changes += u64::from(!known.operation.is_passive());
                });
            }
            let statement = first + offset as u64;
            let Known { operation, ruling, .. } = known;
            permits.push(Permit::new(operation, ruling, statement, session.recorder.clone()));
        }
        Verdict::Forward(permits)
    }

    /// Records the refusal of what a policy is not asked about, because it could not even be read in
    /// full; gives the denial. `code` is one of guard's own.
    pub async fn refuse(
        &self,
        operation: &Arc<Operation>,
        code: DenialCode,
        detail: String,
        hint: &str,
    ) -> Denial {
        let session = &self.session;
        let denial = session.built_in(code, blocked(operation), detail, hint);
        let (mut known, new) = session.rule(operation, None);
        if new {
            let ruling = Ruling {
                decision: Decision::Block(denial.clone()),
                rule: denial.rule.clone(),
                observed: false,
                ..Ruling::clone(&known.ruling)
            };
            known.ruling = Arc::new(ruling);
        }
        let statement = session.statements.fetch_add(1, Ordering::Relaxed);
        let refused = Event::Refused {
            statement,
            connection: self.connection,
            operation: known.number,
            denial: denial.clone(),
            estimated_rows: None,
            text: None,
            approval: None,
        };
        let mut events = Vec::with_capacity(2);
        if new {
            events.push(session.describe(&known));
        }
        events.push(refused);
        // As in `judge`: what is refused is not sent, whether or not that could be recorded.
        let _ = session.recorder.append(events, Durability::Acknowledged).await;
        denial
    }

    /// Waits until the session is over. The connection is then closed in the protocol's own words.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.session.ended.clone();
        loop {
            if let Some(reason) = *ended.borrow_and_update() {
                return reason;
            }
            // The sender lives in the engine as long as the session; if it is gone, so is the session.
            if ended.changed().await.is_err() {
                return EndReason::Lost;
            }
        }
    }

    /// Records that the connection is over; without this, dropping the gate does.
    pub fn close(mut self, reason: Option<String>) {
        self.closed_by = reason;
    }
}

/// Why an operation that goes on would not, if the policy did not only observe.
fn would_refuse(known: &Known, ask: &Ask, over_budget: Option<&Denial>) -> Option<Box<Denial>> {
    let estimate = &ask.estimate;
    let denial = match &known.ruling.decision {
        Decision::Block(denial) => Some(known.explained(denial, estimate)),
        Decision::Approve(spec) if known.ruling.observed => match ask.phase {
            StatementPhase::Execute => Some(known.explained(&spec.ask, estimate)),
            StatementPhase::Prepare => over_budget.cloned(),
        },
        Decision::Approve(_) => over_budget.cloned(),
        Decision::Allow => over_budget.cloned(),
    };
    denial.map(Box::new)
}

/// What was done, in words.
fn blocked(operation: &Operation) -> &'static str {
    match operation.protocol {
        Protocol::Postgres => "blocked the statement",
        Protocol::Http => "blocked the request",
    }
}

/// Whether it does nothing but end or mark a transaction.
fn ends_transactions(operation: &Operation) -> bool {
    let transaction = |effect: &Effect| effect.verb == Verb::Transaction;
    !operation.effects.is_empty()
        && operation.effects.iter().all(transaction)
        && operation.certainty == Certainty::Exact
}

/// What to do when a budget is used up.
const fn hint(budget: Budget) -> &'static str {
    match budget {
        Budget::RowsPerStatement | Budget::BytesPerStatement => {
            "ask for less at once, or have the budget raised in the policy"
        }
        Budget::ChangesPerStatement => {
            "change fewer rows at once, or have the budget raised in the policy"
        }
        Budget::ChangesPerTransaction => {
            "change fewer rows in one transaction, or have the budget raised in the policy"
        }
        Budget::RowsPerSession | Budget::BytesPerSession | Budget::ChangesPerSession => {
            "nothing more can be read or changed in this run: have the budget raised in the policy"
        }
        Budget::StatementsPerMinute => {
            "send fewer statements, wait a minute, or have the budget raised in the policy"
        }
        Budget::TimePerStatement => {
            "make the statement quicker, or have the budget raised in the policy"
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let reason = self.closed_by.take();
        self.session.recorder.note(Event::Disconnected { connection: self.connection, reason });
    }
}
