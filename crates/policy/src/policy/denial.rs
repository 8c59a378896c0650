//! Refusals in words for the person whose script it was: what was refused, by which rule, what to do next.

use guard_core::{
    ApprovalTerms, Bounded, Certainty, Denial, DenialCode, Effect, Object, ObjectKind, Operation,
    PolicyName, Protocol, RuleId, Step,
};

use super::{masks::Leak, rule::Rule};

/// Longest name that a refusal repeats, in characters: a client can write names of any length.
const MAX_SHOWN: usize = 120;

/// The step that blocked an operation.
pub(super) struct Cause<'a> {
    /// `None` for `default-deny`.
    pub(super) rule: Option<&'a Rule>,
    /// `None` for the operation as a whole.
    pub(super) effect: Option<&'a Effect>,
    /// Whether the same effect with a restriction would be allowed.
    pub(super) would_pass_bounded: bool,
    /// The rule that allows the same effect on no more than so many rows.
    pub(super) would_pass_fewer: Option<(&'a RuleId, u64)>,
}

/// The refusal of an operation by a rule, or for want of one.
pub(super) fn of_step(policy: &PolicyName, op: &Operation, cause: &Cause<'_>) -> Denial {
    let not_understood = match &op.certainty {
        Certainty::Exact => None,
        Certainty::Partial(why) => Some(format!("it is understood in part only: {why}")),
        Certainty::Unparsed(why) => Some(format!("it is not understood: {why}")),
    };
    let code = match (cause.rule, &not_understood) {
        (Some(_), _) => DenialCode::Rule,
        (None, None) => DenialCode::DefaultDeny,
        (None, Some(_)) => DenialCode::NotUnderstood,
    };
    let hint = if cause.would_pass_bounded {
        "bound it with a WHERE that leaves rows out".to_owned()
    } else if let Some((rule, most)) = cause.would_pass_fewer {
        let rows = if most == 1 { "row" } else { "rows" };
        format!(
            "rule `{rule}` allows it while the server's planner expects at most {most} {rows}: do it in smaller parts"
        )
    } else {
        match (cause.rule, cause.effect, &not_understood) {
            (Some(rule), ..) => {
                format!("leave it out of the job, or have rule `{}` of `{policy}` changed", rule.id)
            }
            (None, Some(effect), None) => format!(
                "leave it out of the job, or have a rule that allows {} added to `{policy}`",
                shown(effect)
            ),
            (None, None, None) => {
                format!("only a rule of `{policy}` with `effects: \"*\"` could allow it")
            }
            (None, _, Some(_)) => {
                "write it in a plainer form: one statement, with names and functions that guard knows"
                    .to_owned()
            }
        }
    };
    Denial {
        code,
        what: what("blocked", op, cause.effect),
        rule: cause.rule.map_or_else(RuleId::default_deny, |rule| rule.id.clone()),
        policy: policy.clone(),
        detail: cause.rule.and_then(|rule| rule.say.clone()).or(not_understood),
        hint: Some(hint),
    }
}

/// Why an operation does not go on before people have said yes.
pub(super) fn of_ask(
    policy: &PolicyName,
    op: &Operation,
    step: &Step,
    rule: Option<&Rule>,
    terms: &[ApprovalTerms],
) -> Denial {
    let not_understood = match &op.certainty {
        Certainty::Exact => None,
        Certainty::Partial(why) => Some(format!("it is understood in part only: {why}")),
        Certainty::Unparsed(why) => Some(format!("it is not understood: {why}")),
    };
    let asked: Vec<_> = terms.iter().map(asked).collect();
    Denial {
        code: DenialCode::ApprovalNeeded,
        what: what("held", op, step.effect.as_ref()),
        rule: step.rule.clone(),
        policy: policy.clone(),
        detail: rule.and_then(|rule| rule.say.clone()).or(not_understood),
        hint: Some(format!("{} must approve it", asked.join(", and "))),
    }
}

/// Why an operation that is not in the policy's lock does not go on: at all, or before people have said yes.
pub(super) fn of_unlisted(
    policy: &PolicyName,
    op: &Operation,
    why: &str,
    terms: Option<&ApprovalTerms>,
) -> Denial {
    let (code, done, hint) = match terms {
        Some(terms) => {
            (DenialCode::ApprovalNeeded, "held", format!("{} must approve it", asked(terms)))
        }
        None => (
            DenialCode::Unlisted,
            "blocked",
            format!(
                "leave it out of the job, or have it looked at and added to the lock of `{policy}`: `guard lock diff` shows what is new"
            ),
        ),
    };
    Denial {
        code,
        what: what(done, op, op.effects.first()),
        rule: RuleId::lock(),
        policy: policy.clone(),
        detail: Some(why.to_owned()),
        hint: Some(hint),
    }
}

/// Who is asked, in words.
fn asked(terms: &ApprovalTerms) -> String {
    let from = terms.from.iter().map(|group| format!("`{group}`")).collect::<Vec<_>>();
    match terms.count {
        1 => format!("somebody of {}", from.join(" or ")),
        count => format!("{count} people of {}", from.join(" or ")),
    }
}

/// The refusal of an operation that would carry a masked value out unmasked.
pub(super) fn of_leak(policy: &PolicyName, op: &Operation, leak: Leak) -> Denial {
    Denial {
        code: DenialCode::Mask,
        what: what("blocked", op, leak.effect.as_ref().or(op.effects.first())),
        rule: RuleId::masks(),
        policy: policy.clone(),
        detail: Some(leak.why),
        hint: Some(leak.hint.to_owned()),
    }
}

fn what(done: &str, op: &Operation, effect: Option<&Effect>) -> String {
    if let (Protocol::Http, Some(name)) =
        (op.protocol, effect.and_then(|effect| effect.object.name.as_ref()))
    {
        return format!("{done} {} `{}`", cut(&op.label), cut(&name.name));
    }
    let Some(effect) = effect else {
        return match op.certainty {
            Certainty::Exact => format!("{done} {}", cut(&op.label)),
            Certainty::Partial(_) | Certainty::Unparsed(_) => {
                format!("{done} a statement that is not understood")
            }
        };
    };
    let unbounded = match effect.bounded {
        Bounded::No => "unbounded ",
        Bounded::Yes | Bounded::NotApplicable => "",
    };
    let verb = effect.verb.as_str().to_uppercase();
    format!("{done} {unbounded}{verb}{}", on(&effect.object))
}

/// An effect in running text: ``delete on `public.users` ``.
fn shown(effect: &Effect) -> String {
    format!("{}{}", effect.verb, on(&effect.object))
}

fn on(object: &Object) -> String {
    match (&object.name, object.kind) {
        (Some(name), ObjectKind::Table) => format!(" on `{}`", cut(&name.to_string())),
        (Some(name), kind) => format!(" on {kind} `{}`", cut(&name.to_string())),
        (None, ObjectKind::Other) => String::new(),
        (None, kind) => format!(" on every {kind}"),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text.to_owned();
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}
