//! Events without the texts of statements, and without whatever may quote one.
//!
//! This goes by what a field is, not by what stands in it: of a field that may quote, nothing stays but words of guard's own.

use std::sync::Arc;

use guard_core::{
    Certainty, Denial, DenialCode, Digest, Effect, Object, ObjectKind, ObjectName, Sensitive, Step,
};

use crate::{Event, report::without_literals};

/// What stands for a name or a reason.
const HIDDEN: &str = "…";

impl Event {
    /// The event as it is recorded where the policy records fingerprints only.
    #[must_use]
    pub fn without_texts(self) -> Self {
        match self {
            Self::Operation {
                operation,
                resource,
                label,
                text,
                fingerprint,
                effects,
                certainty,
                decision,
                rule,
                trace,
                masks,
                masked_columns,
                details,
                unlisted,
                rows_learned,
            } => {
                let names = Names::of(text.reveal());
                let is_request = effects.iter().any(|it| it.object.kind == ObjectKind::Path);
                let effects = effects.into_iter().map(|effect| names.effect(effect)).collect();
                let trace = trace.into_iter().map(|step| names.step(step)).collect();
                let (label, fingerprint) = match certainty {
                    Certainty::Exact | Certainty::Partial(_) if is_request => (label, Digest::ZERO),
                    Certainty::Exact | Certainty::Partial(_) => (label, fingerprint),
                    // Over the text itself: who guesses that could compare it.
                    Certainty::Unparsed(_) => ("statement".into(), Digest::ZERO),
                };
                Self::Operation {
                    operation,
                    resource,
                    label,
                    text: Sensitive::new("".into()),
                    fingerprint,
                    effects,
                    certainty: reasonless(&certainty),
                    decision,
                    rule,
                    trace,
                    masks,
                    masked_columns,
                    details,
                    unlisted,
                    rows_learned,
                }
            }
            Self::Statement {
                statement,
                connection,
                operation,
                phase,
                would_refuse,
                estimated_rows,
                text: _,
                approval,
            } => Self::Statement {
                statement,
                connection,
                operation,
                phase,
                would_refuse: would_refuse.map(|denial| Box::new(nameless(*denial))),
                estimated_rows,
                text: None,
                approval,
            },
            Self::Refused {
                statement,
                connection,
                operation,
                denial,
                estimated_rows,
                text: _,
                approval,
            } => Self::Refused {
                statement,
                connection,
                operation,
                denial: nameless(denial),
                estimated_rows,
                text: None,
                approval,
            },
            Self::Disconnected { connection, reason } => {
                let reason = reason.map(|_| "not by its own will".to_owned());
                Self::Disconnected { connection, reason }
            }
            // No policy that keeps answers records fingerprints; what was begun under another one ends here.
            Self::Rows { statement, .. } => {
                Self::Rows { statement, columns: None, rows: Sensitive::default() }
            }
            Self::Traffic { connection, from, offset, length, data: _, truncated } => {
                Self::Traffic { connection, from, offset, length, data: None, truncated }
            }
            event @ (Self::SessionOpened { .. }
            | Self::AttemptRefused { .. }
            | Self::SessionRenewed { .. }
            | Self::Isolated { .. }
            | Self::LeaseTaken { .. }
            | Self::LeaseReleased { .. }
            | Self::EgressAsked { .. }
            | Self::EgressEnded { .. }
            | Self::Connected { .. }
            | Self::Finished { .. }
            | Self::ApprovalAsked { .. }
            | Self::ApprovalDecided { .. }
            | Self::ApprovalUsed { .. }
            | Self::SessionEnded { .. }) => event,
        }
    }
}

/// Words of guard's own about a statement, without the name behind them.
#[must_use]
pub fn without_name(what: &str) -> String {
    match what.split_once('`') {
        Some((before, _)) => format!("{before}{HIDDEN}"),
        None => what.to_owned(),
    }
}

fn nameless(denial: Denial) -> Denial {
    let own = match denial.code {
        DenialCode::SessionOver
        | DenialCode::Unrecorded
        | DenialCode::Unlisted
        | DenialCode::BudgetOfStatement
        | DenialCode::BudgetOfSession
        | DenialCode::BudgetOfRate
        | DenialCode::BudgetOfTime
        | DenialCode::ApprovalExpired => true,
        // The policy's own words, or a parser's.
        DenialCode::Rule
        | DenialCode::DefaultDeny
        | DenialCode::NotUnderstood
        | DenialCode::Mask
        | DenialCode::TooLarge
        | DenialCode::Protocol
        | DenialCode::BudgetUncounted
        | DenialCode::ApprovalNeeded
        | DenialCode::ApprovalRefused
        | DenialCode::ApprovalUnavailable
        | DenialCode::ApprovalVoid => false,
    };
    Denial {
        what: without_name(&denial.what),
        detail: denial.detail.filter(|_| own),
        hint: denial.hint.filter(|_| own),
        ..denial
    }
}

fn reasonless(certainty: &Certainty) -> Certainty {
    match certainty {
        Certainty::Exact => Certainty::Exact,
        Certainty::Partial(_) => Certainty::Partial("why is not recorded".into()),
        Certainty::Unparsed(_) => Certainty::Unparsed("why is not recorded".into()),
    }
}

/// Which names of an operation may be recorded: those that its text says as names, and those of the catalog to which they
/// led. What stands in a literal only (a file, a channel, a sequence as text) may not.
struct Names {
    /// The text without its literals, in small letters.
    said: String,
    /// The whole text, in small letters.
    whole: String,
}

impl Names {
    fn of(text: &str) -> Self {
        Self { said: without_literals(text).to_lowercase(), whole: text.to_lowercase() }
    }

    fn may(&self, object: &Object, name: &ObjectName) -> bool {
        let of_catalog = match object.kind {
            ObjectKind::Table | ObjectKind::View | ObjectKind::Column | ObjectKind::Function => {
                name.schema.is_some()
            }
            ObjectKind::Index
            | ObjectKind::Sequence
            | ObjectKind::Schema
            | ObjectKind::Database
            | ObjectKind::Role
            | ObjectKind::Setting
            | ObjectKind::Extension
            | ObjectKind::Trigger
            | ObjectKind::Type
            | ObjectKind::LargeObject
            | ObjectKind::Channel
            | ObjectKind::Other => false,
            // Its segments are what literals are to SQL.
            ObjectKind::Path => return false,
        };
        let part = name.name.to_lowercase();
        self.said.contains(&part) || (of_catalog && !self.whole.contains(&part))
    }

    fn effect(&self, mut effect: Effect) -> Effect {
        let object = &effect.object;
        if object.name.as_ref().is_some_and(|name| !self.may(object, name)) {
            effect.object.name = Some(ObjectName::bare(HIDDEN));
        }
        effect
    }

    fn step(&self, step: Step) -> Step {
        let why: Arc<str> = if step.effect.is_some() { step.why } else { HIDDEN.into() };
        Step { effect: step.effect.map(|effect| self.effect(effect)), why, ..step }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::{PolicyName, RuleId, Verb};

    use super::*;

    fn operation(text: &str, effects: Vec<Effect>, certainty: Certainty) -> Event {
        let step = |effect: Option<Effect>, why: &str| Step {
            effect,
            rule: RuleId::default_deny(),
            decision: guard_core::DecisionKind::Block,
            why: why.into(),
        };
        let mut trace: Vec<_> =
            effects.iter().map(|effect| step(Some(effect.clone()), "matches")).collect();
        trace.push(step(None, "it is not understood: at or near \"s3cret\""));
        Event::Operation {
            operation: 0,
            resource: "shop".parse().unwrap(),
            label: "s3cret".into(),
            text: Sensitive::new(text.into()),
            fingerprint: Digest::of(text),
            effects,
            certainty,
            decision: guard_core::DecisionKind::Block,
            rule: RuleId::default_deny(),
            trace,
            masks: Vec::new(),
            masked_columns: Vec::new(),
            details: None,
            unlisted: false,
            rows_learned: None,
        }
    }

    #[test]
    fn nothing_that_quotes_a_text_stays() {
        let denial = Denial {
            code: DenialCode::NotUnderstood,
            what: "blocked READ on `s3cret`".into(),
            rule: RuleId::default_deny(),
            policy: PolicyName::new("p").unwrap(),
            detail: Some("it is not understood: at or near \"s3cret\"".into()),
            hint: Some("allow read on `s3cret`".into()),
        };
        let sequence = ObjectName::bare("s3cret");
        let sequence = Effect::new(Verb::Update, Object::named(ObjectKind::Sequence, sequence));
        let table = ObjectName::qualified("s3cret", "s3cret");
        let table = Effect::new(Verb::Read, Object::named(ObjectKind::Table, table));
        let text = "SELECT nextval('s3cret')";
        let events = [
            operation(text, vec![sequence, table], Certainty::Unparsed("at \"s3cret\"".into())),
            Event::Refused {
                statement: 0,
                connection: 0,
                operation: 0,
                denial: denial.clone(),
                estimated_rows: None,
                text: Some(Sensitive::new("s3cret".into())),
                approval: None,
            },
            Event::Statement {
                statement: 0,
                connection: 0,
                operation: 0,
                phase: crate::StatementPhase::Execute,
                would_refuse: Some(Box::new(denial)),
                estimated_rows: None,
                text: Some(Sensitive::new("s3cret".into())),
                approval: None,
            },
            Event::Disconnected { connection: 0, reason: Some("s3cret".into()) },
            Event::Rows {
                statement: 0,
                columns: Some(Sensitive::new(vec!["s3cret".into()])),
                rows: Sensitive::new(vec![vec![Some(crate::Cell::Text("s3cret".into()))]]),
            },
            Event::Traffic {
                connection: 0,
                from: crate::Side::Client,
                offset: 0,
                length: 6,
                data: Some(Sensitive::new("s3cret".into())),
                truncated: false,
            },
        ];
        let of_text = Digest::of(text).to_string();
        for event in events {
            let left = serde_json::to_string(&event.without_texts()).unwrap();
            assert!(!left.contains("s3cret") && !left.contains(&of_text), "{left}");
        }
    }

    #[test]
    fn names_that_stand_as_names_stay() {
        let on = |schema, name| {
            let name = ObjectName::qualified(schema, name);
            Effect::new(Verb::Read, Object::named(ObjectKind::Table, name))
        };
        // The second is behind a view.
        let effects = vec![on("public", "users"), on("public", "people")];
        let event = operation("SELECT * FROM Users", effects.clone(), Certainty::Exact);
        let left = serde_json::to_value(event.without_texts()).unwrap();
        assert_eq!(left.get("effects").unwrap(), &serde_json::to_value(effects).unwrap());
        let fingerprint = Digest::of("SELECT * FROM Users").to_string();
        assert_eq!(left.get("fingerprint").unwrap(), &fingerprint);
    }
}
