//! What a policy decided, and why.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ApprovalSpec, Effect, Locked, MaskPlan, PolicyName, Recording, RuleId};

/// A numbered reason of refusal. The reference lists what each means and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DenialCode {
    /// A rule of the policy blocks it.
    Rule,
    /// No rule of the policy allows it.
    DefaultDeny,
    /// It was not understood, or not in full.
    NotUnderstood,
    /// It would carry a masked value out by a way that cannot be masked.
    Mask,
    /// It is too large or too deep to be understood.
    TooLarge,
    /// It is a message that guard never passes.
    Protocol,
    /// It is not in the lock of the policy.
    Unlisted,
    /// The session is over.
    SessionOver,
    /// The record cannot be written.
    Unrecorded,
    /// It did more than a budget of the policy gives a statement, and was ended.
    BudgetOfStatement,
    /// The session has used up a budget of the policy.
    BudgetOfSession,
    /// More statements came in a minute than a budget of the policy gives.
    BudgetOfRate,
    /// What it would use of a budget cannot be known before it is done.
    BudgetUncounted,
    /// It took longer than a budget of the policy gives a statement, and was ended.
    BudgetOfTime,
    /// It needs people's approval, and the run does not wait for them.
    ApprovalNeeded,
    /// Somebody who was asked said no.
    ApprovalRefused,
    /// Nobody decided in time, or what was granted was not used in time.
    ApprovalExpired,
    /// Nobody can be asked.
    ApprovalUnavailable,
    /// Whoever asked asks no more, or what was granted is for something else.
    ApprovalVoid,
}

impl DenialCode {
    /// The number as shown to people, `GRD-nnnn`.
    pub const fn number(self) -> &'static str {
        match self {
            Self::Rule => "GRD-2101",
            Self::DefaultDeny => "GRD-2102",
            Self::NotUnderstood => "GRD-2103",
            Self::Mask => "GRD-2104",
            Self::TooLarge => "GRD-2105",
            Self::Protocol => "GRD-2106",
            Self::Unlisted => "GRD-2107",
            Self::SessionOver => "GRD-2201",
            Self::Unrecorded => "GRD-2202",
            Self::BudgetOfStatement => "GRD-2301",
            Self::BudgetOfSession => "GRD-2302",
            Self::BudgetOfRate => "GRD-2303",
            Self::BudgetUncounted => "GRD-2304",
            Self::BudgetOfTime => "GRD-2305",
            Self::ApprovalNeeded => "GRD-2401",
            Self::ApprovalRefused => "GRD-2402",
            Self::ApprovalExpired => "GRD-2403",
            Self::ApprovalUnavailable => "GRD-2404",
            Self::ApprovalVoid => "GRD-2405",
        }
    }
}

/// Why something is refused, in words for the person whose script it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Denial {
    /// The numbered reason.
    pub code: DenialCode,
    /// What was refused, without a full stop: ``blocked DROP on `public.users` ``.
    pub what: String,
    /// The rule.
    pub rule: RuleId,
    /// The policy that holds the rule.
    pub policy: PolicyName,
    /// The rule's own words (`say:`), or why it was not understood.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} by rule `{}` of policy `{}` ({})",
            self.what,
            self.rule,
            self.policy,
            self.code.number()
        )
    }
}

/// What becomes of an operation. Masks ride along with `Allow` and `Approve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may go on.
    Allow,
    /// It may go on when people have said yes.
    Approve(Arc<ApprovalSpec>),
    /// It may not.
    Block(Denial),
}

impl Decision {
    /// The decision without its reasons.
    pub const fn kind(&self) -> DecisionKind {
        match self {
            Self::Allow => DecisionKind::Allow,
            Self::Approve(_) => DecisionKind::Approve,
            Self::Block(_) => DecisionKind::Block,
        }
    }
}

/// A decision without its reasons, ordered from lenient to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionKind {
    /// It may go on.
    Allow,
    /// It may go on when people have said yes.
    Approve,
    /// It may not.
    Block,
}

impl DecisionKind {
    /// The word used in policies, records and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Approve => "approve",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for DecisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step of the way to a ruling: an effect and the rule that it met first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The effect; `None` for the operation as a whole (not understood, masks).
    pub effect: Option<Effect>,
    /// The rule.
    pub rule: RuleId,
    /// What that rule decides.
    pub decision: DecisionKind,
    /// In words, why.
    pub why: Arc<str>,
}

/// A decision with the rule that made it, its masks, and the trace of why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What becomes of the operation.
    pub decision: Decision,
    /// What is hidden of its result.
    pub masks: MaskPlan,
    /// The rule that made the decision: of the strictest effect, the first.
    pub rule: RuleId,
    /// One step an effect.
    pub trace: Vec<Step>,
    /// The policy only observes: a `Block` or an `Approve` is recorded, and the operation goes on.
    pub observed: bool,
    /// How much of it is recorded: the most that the policy and the rules of the trace ask for.
    pub record: Recording,
    /// What the policy's lock says of it. `None`: there is none, or the operation is none that a lock is about.
    pub lock: Option<Locked>,
}
