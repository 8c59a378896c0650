//! The judgement: pure, total, the same for the same operation.

use std::{collections::BTreeSet, sync::Arc};

use guard_core::{
    ApprovalSpec, Bounded, Certainty, Decision, DecisionKind, Digest, Effect, Locked, MaskPlan,
    Mode, Object, ObjectKind, Operation, RuleId, Ruling, SessionView, Step, Timestamp, Verb,
};

use super::{
    Policy,
    denial::{self, Cause},
    lock::{Finding, Lock, Unlisted},
    masks::Leak,
    rule::{Level, Rule, Subject},
};

impl Policy {
    /// What becomes of an operation of which nobody knows how many rows it is about.
    ///
    /// The session and the time are what later rules may look at; no rule does so today.
    #[must_use = "an operation goes on only if its ruling allows it"]
    pub fn judge(&self, session: &SessionView, op: &Operation, now: Timestamp) -> Ruling {
        self.judge_estimated(session, op, None, now)
    }

    /// What becomes of an operation that changes or returns as many rows, as the server's planner expects.
    ///
    /// The fewer, the more is allowed; without an estimate the least.
    #[must_use = "an operation goes on only if its ruling allows it"]
    pub fn judge_estimated(
        &self,
        session: &SessionView,
        op: &Operation,
        rows: Option<u64>,
        _now: Timestamp,
    ) -> Ruling {
        let ruling = self.by_rules(op, rows);
        match &self.lock {
            None => ruling,
            Some(lock) => self.by_lock(lock, lock.find(&session.resource, op), op, ruling),
        }
    }

    /// What would become of an operation that a record tells. `details` is the digest that it has of them, by which a lock
    /// knows it; a record does not tell all that the digest is over.
    #[must_use = "an operation goes on only if its ruling allows it"]
    pub fn judge_told(
        &self,
        session: &SessionView,
        op: &Operation,
        rows: Option<u64>,
        details: Option<Digest>,
    ) -> Ruling {
        let ruling = self.by_rules(op, rows);
        match &self.lock {
            None => ruling,
            Some(lock) => {
                self.by_lock(lock, lock.find_told(&session.resource, op, details), op, ruling)
            }
        }
    }

    /// What the rules make of an operation, and then the masks.
    fn by_rules(&self, op: &Operation, rows: Option<u64>) -> Ruling {
        let level = Level::of(&op.certainty);
        let mut trace: Vec<Step> =
            subjects(op, rows).flat_map(|subject| self.steps(subject)).collect();
        if trace.is_empty() || level == Level::Unparsed {
            trace.extend(self.whole(op, rows));
        }
        // INVARIANT: the trace is not empty, and what no step decides is blocked.
        // A rule that blocks says more than the want of one that allows.
        let mut blocking = trace.iter().filter(|step| step.decision == DecisionKind::Block);
        let by_rule = blocking.clone().find(|step| step.rule != RuleId::default_deny());
        if let Some(step) = by_rule.or_else(|| blocking.next()) {
            return self.blocked(op, step.clone(), trace, rows);
        }
        let mut asking = trace.iter().filter(|step| step.decision == DecisionKind::Approve);
        if let Some(step) = asking.next() {
            return self.asks(op, step.clone(), trace);
        }
        let Some(rule) = trace.first().map(|step| step.rule.clone()) else {
            let step = default_deny(None, "nothing allows it");
            return self.blocked(op, step, trace, rows);
        };
        match self.masks.plan(op) {
            Ok(masks) => {
                let record = self.recording_of(&trace);
                let decision = Decision::Allow;
                Ruling { decision, masks, rule, trace, observed: false, record, lock: None }
            }
            Err(leak) => self.leaks(op, leak, trace),
        }
    }

    /// People are asked by every rule that asks, once each. What masks could not hide is not asked for: no yes shows it.
    fn asks(&self, op: &Operation, step: Step, trace: Vec<Step>) -> Ruling {
        let masks = match self.masks.plan(op) {
            Ok(masks) => masks,
            Err(leak) => return self.leaks(op, leak, trace),
        };
        let met: BTreeSet<&RuleId> = trace.iter().map(|step| &step.rule).collect();
        let rules = self.rules.iter().filter(|rule| met.contains(&rule.id));
        let terms: Vec<_> = rules.filter_map(|rule| rule.approval.clone()).collect();
        let first = self.rules.iter().find(|rule| rule.id == step.rule);
        let ask = denial::of_ask(&self.name, op, &step, first, &terms);
        let spec = ApprovalSpec { terms, ask };
        Ruling {
            decision: Decision::Approve(Arc::new(spec)),
            masks,
            rule: step.rule,
            record: self.recording_of(&trace),
            trace,
            observed: !self.mode.enforces(),
            lock: None,
        }
    }

    /// A lock takes away and never gives: what the rules do not let through, it does not look at.
    fn by_lock(&self, lock: &Lock, finding: Finding, op: &Operation, mut ruling: Ruling) -> Ruling {
        let Finding::Is(locked, why) = finding else { return ruling };
        ruling.lock = Some(locked);
        match locked {
            Locked::Listed(_) => return ruling,
            Locked::Unlisted => {}
        }
        let so_far = match &ruling.decision {
            Decision::Allow => None,
            Decision::Approve(spec) => Some(spec.clone()),
            Decision::Block(_) => return ruling,
        };
        let decision = match &lock.unlisted {
            Unlisted::Report => DecisionKind::Allow,
            Unlisted::Approve(_) => DecisionKind::Approve,
            Unlisted::Block => DecisionKind::Block,
        };
        let rule = RuleId::lock();
        ruling.trace.push(Step { effect: None, rule: rule.clone(), decision, why: why.into() });
        match &lock.unlisted {
            Unlisted::Report => return ruling,
            Unlisted::Approve(terms) => {
                let mut spec = match so_far {
                    Some(spec) => ApprovalSpec::clone(&spec),
                    None => {
                        let ask = denial::of_unlisted(&self.name, op, why, Some(terms));
                        ruling.rule = rule;
                        ApprovalSpec { terms: Vec::new(), ask }
                    }
                };
                spec.terms.push(terms.clone());
                ruling.decision = Decision::Approve(Arc::new(spec));
            }
            Unlisted::Block => {
                ruling.decision = Decision::Block(denial::of_unlisted(&self.name, op, why, None));
                ruling.rule = rule;
                if self.mode.enforces() {
                    ruling.masks = MaskPlan::default();
                }
            }
        }
        ruling.observed = !self.mode.enforces();
        ruling
    }

    /// Masks hold in every mode: what was shown once cannot be hidden again.
    fn leaks(&self, op: &Operation, leak: Leak, mut trace: Vec<Step>) -> Ruling {
        let rule = RuleId::masks();
        trace.push(Step {
            effect: None,
            rule: rule.clone(),
            decision: DecisionKind::Block,
            why: leak.why.as_str().into(),
        });
        let denial = denial::of_leak(&self.name, op, leak);
        Ruling {
            decision: Decision::Block(denial),
            masks: MaskPlan::default(),
            rule,
            trace,
            observed: false,
            record: self.record.base,
            lock: None,
        }
    }

    fn blocked(&self, op: &Operation, step: Step, trace: Vec<Step>, rows: Option<u64>) -> Ruling {
        let rule = self.rules.iter().find(|rule| rule.id == step.rule);
        let level = Level::of(&op.certainty);
        let would_pass_bounded = step.effect.as_ref().is_some_and(|effect| {
            let bounded = Effect { bounded: Bounded::Yes, ..effect.clone() };
            effect.bounded == Bounded::No
                && self
                    .steps(Subject {
                        effect: &bounded,
                        level,
                        rows,
                        request: None,
                        protocol: op.protocol,
                    })
                    .iter()
                    .all(|step| step.decision == DecisionKind::Allow)
        });
        let would_pass_fewer = step.effect.as_ref().and_then(|effect| {
            let protocol = op.protocol;
            let subject = Subject { effect, level, rows: Some(0), request: None, protocol };
            let first = self.rules.iter().find(|rule| rule.matches(subject))?;
            Some((&first.id, first.filter.rows?))
        });
        let cause =
            Cause { rule, effect: step.effect.as_ref(), would_pass_bounded, would_pass_fewer };
        let denial = denial::of_step(&self.name, op, &cause);
        let (observed, masks) = match self.mode {
            Mode::Enforce => (false, MaskPlan::default()),
            Mode::Observe => match self.masks.plan(op) {
                Ok(masks) => (true, masks),
                Err(leak) => return self.leaks(op, leak, trace),
            },
        };
        let record = self.recording_of(&trace);
        Ruling {
            decision: Decision::Block(denial),
            masks,
            rule: step.rule,
            trace,
            observed,
            record,
            lock: None,
        }
    }

    /// The first rule that matches an effect, after those that ask people because it could be what they are about.
    fn steps(&self, subject: Subject<'_>) -> Vec<Step> {
        let effect = subject.effect;
        let mut steps = Vec::with_capacity(1);
        for rule in self.rules.iter().filter(|rule| rule.matches(subject)) {
            let last = rule.is_final(subject);
            let why = if last {
                "the first rule that matches the effect"
            } else {
                "the effect could be what the rule is about; the next rules are asked, too"
            };
            steps.push(by_rule(rule, Some(effect), why));
            if last {
                return steps;
            }
        }
        steps.push(default_deny(Some(effect), "no rule matches the effect"));
        steps
    }

    /// The first rule that matches an operation of which no effect is known. One that is known to have none
    /// (`SELECT 1`) is a read of nothing.
    fn whole(&self, op: &Operation, rows: Option<u64>) -> Vec<Step> {
        let level = Level::of(&op.certainty);
        let why: Arc<str> = match &op.certainty {
            Certainty::Exact => {
                let effect = &Effect::new(Verb::Read, Object::unnamed(ObjectKind::Other));
                let protocol = op.protocol;
                let subject = Subject { effect, level, rows, request: None, protocol };
                let steps = self.steps(subject);
                return steps.into_iter().map(|step| Step { effect: None, ..step }).collect();
            }
            Certainty::Partial(why) => format!("it is understood in part: {why}").into(),
            Certainty::Unparsed(why) => format!("it is not understood: {why}").into(),
        };
        let mut steps = Vec::with_capacity(1);
        let about = |rule: &&Rule| rule.is_about(op.protocol) && rule.matches_whole(level);
        for rule in self.rules.iter().filter(about) {
            steps.push(by_rule(rule, None, &why));
            if rule.is_final_for_whole(level) {
                return steps;
            }
        }
        steps.push(default_deny(None, &why));
        steps
    }
}

/// The effects of an operation as rules look at them. Those of a request are one for each of its methods.
fn subjects(op: &Operation, rows: Option<u64>) -> impl Iterator<Item = Subject<'_>> {
    let level = Level::of(&op.certainty);
    op.effects.iter().enumerate().map(move |(index, effect)| {
        let request = op.request.as_deref();
        let request = request.and_then(|it| Some((it.methods.get(index)?, it)));
        Subject { effect, level, rows, request, protocol: op.protocol }
    })
}

fn by_rule(rule: &Rule, effect: Option<&Effect>, why: &str) -> Step {
    Step { effect: effect.cloned(), rule: rule.id.clone(), decision: rule.decide, why: why.into() }
}

fn default_deny(effect: Option<&Effect>, why: &str) -> Step {
    Step {
        effect: effect.cloned(),
        rule: RuleId::default_deny(),
        decision: DecisionKind::Block,
        why: why.into(),
    }
}
