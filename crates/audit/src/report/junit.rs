//! The report as JUnit's XML, which the pages of most platforms show: each refused statement is a test that failed.

use std::borrow::Cow;

use askama::Template;
use guard_core::Timestamp;

use super::{
    OverBudget, Refusal, Report, StatementText, Whole,
    text::{beginning, visible},
    words::effects,
};

/// Cases of a kind that are listed. Platforms keep all of them for every run; the report has the rest.
const MAX_CASES: usize = 500;
/// Characters of a statement in a case's name.
const NAME: usize = 120;
/// Characters of a statement in a case.
const TEXT: usize = 4_000;
/// Characters of a message.
const MESSAGE: usize = 1_000;

#[derive(Template)]
#[template(path = "junit.xml")]
struct Suite {
    suite: String,
    session: String,
    timestamp: String,
    failures: usize,
    errors: usize,
    skipped: usize,
    cases: Vec<Case>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
    Error,
}

struct Case {
    class: String,
    name: String,
    outcome: Outcome,
    kind: String,
    message: String,
    text: String,
}

impl Report {
    /// The report as JUnit's XML. It always has a case on the record itself, so that it is never empty.
    pub fn to_junit(&self) -> Result<String, askama::Error> {
        let mut cases = vec![self.record_case()];
        let listed = |refused| move |refusal: &Refusal| refusal_case(refusal, refused);
        let refused = self.refused.listed.iter().take(MAX_CASES);
        cases.extend(refused.map(listed(Outcome::Failed)));
        let observed = self.would_refuse.listed.iter().take(MAX_CASES);
        cases.extend(observed.map(listed(Outcome::Skipped)));
        cases.extend(self.budgets.listed.iter().take(MAX_CASES).map(budget_case));
        let more = [
            ("refused", self.refused.total, self.refused.listed.len(), Outcome::Failed),
            ("observed", self.would_refuse.total, self.would_refuse.listed.len(), Outcome::Skipped),
            ("over a budget", self.budgets.total, self.budgets.listed.len(), Outcome::Failed),
        ];
        for (what, total, listed, outcome) in more {
            let rest = total.saturating_sub(listed.min(MAX_CASES) as u64);
            if rest > 0 {
                cases.push(Case {
                    class: "guard".to_owned(),
                    name: format!("more that was {what}"),
                    outcome,
                    kind: "guard".to_owned(),
                    message: format!("{rest} more: see the report"),
                    text: String::new(),
                });
            }
        }
        let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
        let suite = Suite {
            suite: line(&format!("guard: {} {}", self.run.repository, self.run.run.job), NAME),
            session: self.session.to_string(),
            timestamp: moment(self.window.opened_at),
            failures: count(Outcome::Failed),
            errors: count(Outcome::Error),
            skipped: count(Outcome::Skipped),
            cases,
        };
        let mut text = suite.render()?;
        text.push('\n');
        Ok(text)
    }

    /// Whether the evidence itself holds.
    fn record_case(&self) -> Case {
        let (outcome, message) = match self.integrity.whole {
            Whole::Verified => (Outcome::Passed, "the record is whole and sealed"),
            Whole::Unchecked => {
                (Outcome::Passed, "the record is sealed; no key was given to check it")
            }
            Whole::Unsealed => (Outcome::Error, "the record is not sealed"),
            Whole::Broken => (Outcome::Error, "the record is broken"),
        };
        let lines = self.gaps.iter().map(|gap| line(gap, MESSAGE));
        Case {
            class: "guard".to_owned(),
            name: "the record is whole".to_owned(),
            outcome,
            kind: "record".to_owned(),
            message: message.to_owned(),
            text: lines.collect::<Vec<_>>().join("\n"),
        }
    }
}

fn refusal_case(refusal: &Refusal, outcome: Outcome) -> Case {
    let denial = &refusal.denial;
    let went_on = match outcome {
        Outcome::Skipped => "went on, the policy only observes: ",
        Outcome::Passed | Outcome::Failed | Outcome::Error => "",
    };
    let mut lines = vec![
        shown(&refusal.statement.text, TEXT),
        format!("would have: {}", shown(&effects(&refusal.effects, &refusal.certainty), MESSAGE)),
    ];
    let told = [("why", &denial.detail), ("what to do", &denial.hint)];
    for (what, text) in told {
        if let Some(text) = text {
            lines.push(format!("{what}: {}", shown(text, MESSAGE)));
        }
    }
    lines.push(times(refusal.count, refusal.first_at, refusal.last_at));
    Case {
        class: line(&format!("{}.{}.{}", refusal.resource, denial.policy, denial.rule), NAME),
        name: name(&refusal.statement),
        outcome,
        kind: refusal.code.to_owned(),
        message: line(&format!("{went_on}{denial}"), MESSAGE),
        text: lines.join("\n"),
    }
}

fn budget_case(over: &OverBudget) -> Case {
    let budget = over.budget.as_str();
    let (outcome, ended) = match over.ended {
        true => (Outcome::Failed, "ended"),
        false => (Outcome::Skipped, "not ended, the policy only observes"),
    };
    Case {
        class: line(&format!("{}.budgets.{budget}", over.resource), NAME),
        name: format!("{} on connection {}", name(&over.statement), over.connection),
        outcome,
        kind: budget.to_owned(),
        message: format!("over the budget `{budget}` of {}: {ended}", over.limit),
        text: format!(
            "{}\n{}",
            shown(&over.statement.text, TEXT),
            times(over.count, over.first_at, over.last_at)
        ),
    }
}

/// A statement's beginning and its fingerprint: platforms take cases of one class and name for one.
fn name(statement: &StatementText) -> String {
    format!("{} [{}]", line(&statement.text, NAME), statement.fingerprint.short())
}

fn times(count: u64, first: Timestamp, last: Timestamp) -> String {
    match count {
        1 => moment(first),
        count => format!("{count} times, {} to {}", moment(first), moment(last)),
    }
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// In one line.
fn line(text: &str, most: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&words, most)
}

/// XML has no form for most control characters and two others, not even an escaped one; the template escapes the rest.
fn shown(text: &str, most: usize) -> String {
    let text = visible(text);
    let nameless = |c| matches!(c, '\u{fffe}' | '\u{ffff}');
    let text = match text.contains(nameless) {
        true => Cow::Owned(text.replace(nameless, "\u{fffd}")),
        false => text,
    };
    beginning(&text, most).into_owned()
}
