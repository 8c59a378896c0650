//! The gate of a session: its rulings, and what its record has seen.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use guard_audit::{Event, MaskedColumn, StatementPhase};
use guard_core::{
    ApprovalSpec, ColumnName, Decision, DecisionKind, Denial, DenialCode, Digest, EndReason,
    EnforceAt, Locked, MaskPlan, Operation, Outputs, ResourceName, RuleId, Ruling, SessionView,
    Timestamp, control::SoFar,
};
use guard_policy::Policy;
use tokio::sync::watch;

use crate::{
    Approvals, Durability, Estimate, Recorder, ask::Ask, budget::Ledger, fingerprints::Recorded,
};

/// Rulings kept for operations that come again. When full, all are forgotten: the cost is a new
/// judgement, and memory stays bounded whatever a client sends.
const MAX_RULINGS: usize = 8192;

/// Fingerprints kept to know a repetition by. When full, no more are added: the cost is that later
/// statements wait for the broker.
const MAX_FINGERPRINTS: usize = 65_536;

/// Masked columns of one operation that its record names.
const MAX_MASKED_COLUMNS: usize = 2_000;

/// In the place of a number of bounds: the ruling is the same for every number of rows.
pub(crate) const FOR_ALL_ROWS: usize = usize::MAX;

/// The gate of one resource in one session; connections get theirs from [`SessionGate::connection`].
pub struct SessionGate {
    pub(crate) view: SessionView,
    pub(crate) policy: watch::Receiver<Arc<Policy>>,
    pub(crate) ended: watch::Receiver<Option<EndReason>>,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) approvals: Arc<dyn Approvals>,
    pub(crate) so_far: Mutex<SoFar>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) enforced_at: EnforceAt,
    pub(crate) point: String,
    pub(crate) connections: AtomicU64,
    pub(crate) statements: AtomicU64,
    rulings: Mutex<Rulings>,
    pub(crate) ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Rulings {
    next: u64,
    policy: Option<Digest>,
    /// By the operation's address, and how many of the policy's bounds on rows it is over.
    known: HashMap<(usize, usize), Known>,
    /// Fingerprints of operations that the broker acknowledged.
    acknowledged: HashSet<Digest>,
}

/// A ruling, and what it is of.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) operation: Arc<Operation>,
    pub(crate) ruling: Arc<Ruling>,
    pub(crate) number: u64,
    /// The policy that ruled.
    pub(crate) policy: Digest,
    /// How many of its bounds on rows the operation was over, if the ruling depends on that.
    pub(crate) over: usize,
}

impl Known {
    /// Why its operation does not go on.
    pub(crate) fn refuses(&self) -> Option<&Denial> {
        match &self.ruling.decision {
            Decision::Allow => None,
            Decision::Block(_) if self.ruling.observed => None,
            // Not yet: people are asked.
            Decision::Approve(_) => None,
            Decision::Block(denial) => Some(denial),
        }
    }

    /// What people have to be asked before it goes on.
    pub(crate) fn asks(&self) -> Option<&Arc<ApprovalSpec>> {
        match &self.ruling.decision {
            Decision::Approve(spec) if !self.ruling.observed => Some(spec),
            Decision::Approve(_) | Decision::Allow | Decision::Block(_) => None,
        }
    }

    /// A denial of its ruling, with the estimate if the ruling depends on that.
    pub(crate) fn explained(&self, denial: &Denial, estimate: &Estimate) -> Denial {
        if self.over == FOR_ALL_ROWS { denial.clone() } else { estimate.explains(denial) }
    }
}

impl SessionGate {
    /// The gate of one resource in one session.
    ///
    /// `point` names the enforcement point; `clock` is the wall clock.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of the engine, named once where it is made"
    )]
    pub fn new(
        view: SessionView,
        policy: watch::Receiver<Arc<Policy>>,
        ended: watch::Receiver<Option<EndReason>>,
        recorder: Arc<dyn Recorder>,
        approvals: Arc<dyn Approvals>,
        clock: fn() -> Timestamp,
        enforced_at: EnforceAt,
        point: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            view,
            ended,
            recorder: Arc::new(Recorded::new(recorder, policy.clone())),
            policy,
            approvals,
            so_far: Mutex::default(),
            clock,
            enforced_at,
            point,
            connections: AtomicU64::new(0),
            statements: AtomicU64::new(0),
            rulings: Mutex::default(),
            ledger: Ledger::new(),
        })
    }

    /// The resource that is asked.
    pub fn resource(&self) -> &ResourceName {
        &self.view.resource
    }

    /// Why the session is over, if it is.
    pub(crate) fn over(&self) -> Option<EndReason> {
        let ended = *self.ended.borrow();
        ended.or_else(|| ((self.clock)() >= self.view.until).then_some(EndReason::Expired))
    }

    /// The ruling of what is asked, and whether it is new to the record; `None` if that depends on an estimate.
    pub(crate) fn rule_asked(&self, ask: &Ask) -> Option<(Known, bool)> {
        let rows = match (ask.phase, &ask.estimate) {
            // What is made ready changes and returns nothing. It is asked for when it is executed.
            (StatementPhase::Prepare, _) => Some(0),
            (StatementPhase::Execute, Estimate::NotAsked) => {
                let found = self.rule(&ask.operation, None);
                return (found.0.over == FOR_ALL_ROWS).then_some(found);
            }
            (StatementPhase::Execute, estimate) => estimate.rows(),
        };
        Some(self.rule(&ask.operation, rows))
    }

    /// The ruling of an operation that is about so many rows; whether it is new to the record; its number.
    pub(crate) fn rule(&self, operation: &Arc<Operation>, rows: Option<u64>) -> (Known, bool) {
        let policy = self.policy.borrow().clone();
        if let Some(known) = self.known(operation, FOR_ALL_ROWS, policy.digest()) {
            return (known, false);
        }
        let judge = |rows| policy.judge_estimated(&self.view, operation, rows, (self.clock)());
        let mut ruling = judge(None);
        let mut over = FOR_ALL_ROWS;
        if ruling.decision != Decision::Allow
            && policy.bounds_rows()
            && judge(Some(0)).decision.kind() < ruling.decision.kind()
        {
            over = policy.bounds_under(rows);
            if let Some(known) = self.known(operation, over, policy.digest()) {
                return (known, false);
            }
            ruling = judge(rows);
        }
        if ruling.decision.kind() != DecisionKind::Block
            && operation.lifts_read_only
            && policy.reads_only()
        {
            let denial = self.built_in(
                DenialCode::Rule,
                &format!("blocked {}", operation.label),
                "it asks for transactions that may write, and the policy allows nothing that writes"
                    .into(),
                "leave READ WRITE out: reading needs no more than the session has",
            );
            ruling.rule = denial.rule.clone();
            ruling.decision = Decision::Block(denial);
        }
        let ruling = Arc::new(ruling);
        let mut rulings = self.rulings.lock().unwrap_or_else(PoisonError::into_inner);
        let number = rulings.next;
        rulings.next += 1;
        let policy = policy.digest();
        (Known { operation: operation.clone(), ruling, number, policy, over }, true)
    }

    /// The rulings of a message some of which depend on an estimate; or which do. Of a message that is refused anyway
    /// nothing is estimated.
    pub(crate) fn rule_or_estimate(&self, asks: &[Ask]) -> Result<Vec<(Known, bool)>, Vec<usize>> {
        let ruled: Vec<_> = asks.iter().map(|ask| self.rule_asked(ask)).collect();
        if !ruled.iter().flatten().any(|(known, _)| known.refuses().is_some()) {
            let needed = ruled.iter().enumerate().filter(|(_, ruled)| ruled.is_none());
            return Err(needed.map(|(index, _)| index).collect());
        }
        let rule = |(ruled, ask): (Option<_>, &Ask)| {
            ruled.unwrap_or_else(|| self.rule(&ask.operation, ask.estimate.rows()))
        };
        Ok(ruled.into_iter().zip(asks).map(rule).collect())
    }

    /// The ruling of an operation that is in the record.
    pub(crate) fn known(
        &self,
        operation: &Arc<Operation>,
        over: usize,
        policy: Digest,
    ) -> Option<Known> {
        let mut rulings = self.rulings.lock().unwrap_or_else(PoisonError::into_inner);
        if rulings.policy != Some(policy) || rulings.known.len() >= MAX_RULINGS {
            rulings.known.clear();
            rulings.policy = Some(policy);
        }
        // INVARIANT: an entry holds its operation, so its address is not used again while it stands.
        rulings.known.get(&(Arc::as_ptr(operation).addr(), over)).cloned()
    }

    /// Keeps a ruling for the next time. Only after the operation is in the record.
    pub(crate) fn remember(&self, known: &Known, durability: Durability) {
        let mut rulings = self.rulings.lock().unwrap_or_else(PoisonError::into_inner);
        if rulings.policy != Some(known.policy) {
            // Another policy came while this one's ruling was being recorded.
            return;
        }
        // A body that was read is large, and its operation never comes again.
        if !known.operation.request.as_ref().is_some_and(|it| it.body.is_read()) {
            let key = (Arc::as_ptr(&known.operation).addr(), known.over);
            rulings.known.insert(key, known.clone());
        }
        if durability == Durability::Acknowledged && rulings.acknowledged.len() < MAX_FINGERPRINTS {
            rulings.acknowledged.insert(known.operation.fingerprint);
        }
    }

    /// How durable the record of an operation must be before it may go on.
    ///
    /// Whatever changes something waits for the broker, and so does everything that the broker has
    /// not seen of this session, literals aside. What is left are repetitions that change nothing:
    /// of these, a writer that is killed can lose no more than its queue's bound.
    pub(crate) fn durability(&self, operation: &Operation) -> Durability {
        let rulings = self.rulings.lock().unwrap_or_else(PoisonError::into_inner);
        if operation.is_passive() && rulings.acknowledged.contains(&operation.fingerprint) {
            Durability::Queued
        } else {
            Durability::Acknowledged
        }
    }

    pub(crate) fn describe(&self, known: &Known) -> Event {
        let Known { operation, ruling, number, .. } = known;
        Event::Operation {
            operation: *number,
            resource: self.view.resource.clone(),
            label: operation.label.clone(),
            text: operation.text.clone(),
            fingerprint: operation.fingerprint,
            effects: operation.effects.clone(),
            certainty: operation.certainty.clone(),
            decision: ruling.decision.kind(),
            rule: ruling.rule.clone(),
            trace: ruling.trace.clone(),
            masks: ruling.masks.masks(),
            masked_columns: masked_columns(operation, &ruling.masks),
            details: operation.can_be_locked().then(|| operation.details()),
            unlisted: ruling.lock == Some(Locked::Unlisted),
            rows_learned: match ruling.lock {
                Some(Locked::Listed(rows)) => rows,
                Some(Locked::Unlisted) | None => None,
            },
        }
    }

    /// Counts what the run did, for people who are asked.
    pub(crate) fn count(&self, with: impl FnOnce(&mut SoFar)) {
        with(&mut self.so_far.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The refusal of what cannot be recorded.
    pub(crate) fn unrecorded(&self, reason: String) -> Denial {
        self.built_in(
            DenialCode::Unrecorded,
            "blocked the statement",
            reason,
            "nothing is sent while the record cannot be written: see that the broker is up and its disk has room",
        )
    }

    pub(crate) fn built_in(
        &self,
        code: DenialCode,
        what: &str,
        detail: String,
        hint: &str,
    ) -> Denial {
        let rule = match code {
            DenialCode::BudgetOfStatement
            | DenialCode::BudgetOfSession
            | DenialCode::BudgetOfRate
            | DenialCode::BudgetUncounted
            | DenialCode::BudgetOfTime => RuleId::budgets(),
            DenialCode::Unlisted => RuleId::lock(),
            DenialCode::Rule
            | DenialCode::DefaultDeny
            | DenialCode::NotUnderstood
            | DenialCode::Mask
            | DenialCode::TooLarge
            | DenialCode::Protocol
            | DenialCode::SessionOver
            | DenialCode::Unrecorded
            | DenialCode::ApprovalNeeded
            | DenialCode::ApprovalRefused
            | DenialCode::ApprovalExpired
            | DenialCode::ApprovalUnavailable
            | DenialCode::ApprovalVoid => RuleId::built_in(),
        };
        Denial {
            code,
            what: what.to_owned(),
            rule,
            policy: self.policy.borrow().name().clone(),
            detail: Some(detail),
            hint: Some(hint.to_owned()),
        }
    }
}

/// The base columns whose values a result shows masked.
fn masked_columns(operation: &Operation, plan: &MaskPlan) -> Vec<MaskedColumn> {
    let Outputs::Columns(outputs) = &operation.outputs else { return Vec::new() };
    let shown = plan.masks().into_iter().zip(outputs).enumerate();
    let columns = shown.filter_map(|(place, (mask, output))| Some((place, mask?, output)));
    let columns = columns.flat_map(|(place, mask, output)| {
        let hidden = output.sources.iter().filter(|source| {
            let ColumnName { table, column } = &source.column;
            plan.mask_for(table.schema.as_deref().unwrap_or_default(), &table.name, column)
                .is_some()
        });
        hidden.map(move |source| MaskedColumn {
            output: u32::try_from(place).unwrap_or(u32::MAX),
            column: source.column.clone(),
            mask,
        })
    });
    columns.take(MAX_MASKED_COLUMNS).collect()
}
