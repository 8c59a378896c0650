//! One request: what exactly would be done, who asks, who is asked, and the form of a decision.

use askama::Template;
use guard_audit::report::{beginning, grouped, short, size, visible, without_literals};
use guard_core::{ApprovalState, ApprovalWait, Certainty, ShownParameter, Timestamp};

use super::{
    Problem,
    list::{about, left, why_not, words},
    statement,
};
use crate::{
    error::Refusal,
    people::{Role, SignedIn},
    runs::view::Moment,
    sessions::approvals::{Decider as _, MAX_REASON},
    store::{ApprovalRow, Vote},
};

/// Effects that are listed one by one.
const MAX_EFFECTS: usize = 100;

#[derive(Template)]
#[template(path = "approval.html")]
struct DetailPage<'a> {
    id: String,
    what: String,
    tone: &'static str,
    state: &'static str,
    waits: bool,
    held: bool,
    left: String,
    soon: bool,
    until: Moment,
    asked: Moment,
    decided: Option<Moment>,
    used: Option<Moment>,
    hidden: bool,
    statement: String,
    laid_out: Option<String>,
    cut: Option<String>,
    digest: String,
    parameters: Vec<(usize, String)>,
    parameters_note: Option<String>,
    effects: Vec<EffectView>,
    effects_note: Option<String>,
    unsure: Option<String>,
    rows: String,
    resource: String,
    policy: String,
    terms: Vec<TermsView>,
    repository: String,
    about: String,
    workflow: String,
    trust_rule: String,
    run_url: Option<&'a str>,
    session: String,
    so_far: [(&'static str, String); 3],
    votes: Vec<VoteView>,
    why_not: String,
    reason_required: bool,
    max_reason: usize,
    problem: Option<&'a Problem>,
    csrf: String,
    commands: [String; 2],
}

struct EffectView {
    verb: String,
    object: String,
    unbounded: bool,
}

struct TermsView {
    rule: String,
    from: String,
    count: String,
    met: bool,
}

struct VoteView {
    name: String,
    title: String,
    granted: bool,
    reason: String,
    at: Moment,
}

/// One request, as HTML of a page.
pub(super) fn render(
    signed_in: &SignedIn,
    row: &ApprovalRow,
    votes: &[Vote],
    problem: Option<&Problem>,
) -> Result<String, Refusal> {
    let person = &signed_in.person;
    let shown = person.may(Role::Approver) || person.may(Role::Auditor);
    let text = |text: &str| if shown { text.to_owned() } else { without_literals(text) };
    let subject = &row.subject;
    let statement = visible(&text(&subject.text)).into_owned();
    let (tone, state) = words(row.state);
    let (left, soon) = left(row, Timestamp::now());
    let said = votes.iter().any(|vote| vote.person == person.person());
    let parameters = subject.parameters.iter().enumerate().filter(|_| shown);
    let effects = subject.effects.iter().take(MAX_EFFECTS).map(|effect| EffectView {
        verb: effect.verb.to_string(),
        object: short(&effect.object.to_string()),
        unbounded: effect.bounded == guard_core::Bounded::No,
    });
    let page = DetailPage {
        id: row.id.to_string(),
        what: short(&text(&row.what)),
        tone,
        state,
        waits: row.state == ApprovalState::Waiting,
        held: row.wait == ApprovalWait::Hold,
        left,
        soon,
        until: Moment::day(row.until),
        asked: Moment::day(row.asked_at),
        decided: row.decided_at.map(Moment::day),
        used: row.used_at.map(Moment::day),
        hidden: !shown,
        laid_out: statement::laid_out(&statement),
        statement,
        cut: subject.is_cut().then(|| {
            format!(
                "This is the beginning: the whole has {}. What you decide on is the whole.",
                size(subject.text_bytes)
            )
        }),
        digest: subject.text_digest.to_string(),
        parameters: parameters.map(|(at, value)| (at + 1, parameter(value))).collect(),
        parameters_note: parameters_note(row, shown),
        effects: effects.collect(),
        effects_note: subject
            .effects
            .len()
            .checked_sub(MAX_EFFECTS)
            .filter(|more| *more > 0)
            .map(|more| format!("and {more} more")),
        unsure: match &subject.certainty {
            Certainty::Exact => None,
            Certainty::Partial(why) => Some(format!(
                "guard does not understand all of it, so it may do more: {}",
                short(&text(why))
            )),
            Certainty::Unparsed(why) => Some(format!(
                "guard does not understand it, so it may do anything: {}",
                short(&text(why))
            )),
        },
        rows: subject.estimated_rows.map_or_else(
            || "not estimated".into(),
            |rows| format!("about {}, by the server's planner", grouped(rows)),
        ),
        resource: row.resource.to_string(),
        policy: row.policy.to_string(),
        terms: row.terms.iter().map(|terms| terms_view(terms, votes)).collect(),
        repository: short(&row.identity.repository),
        about: short(&about(row)),
        workflow: short(&row.identity.workflow),
        trust_rule: short(&row.trust_rule),
        run_url: row.identity.run_url.as_deref().filter(|url| url.starts_with("https://")),
        session: row.session.to_string(),
        so_far: [
            ("statements", grouped(row.so_far.statements)),
            ("of these changes", grouped(row.so_far.changes)),
            ("refused", grouped(row.so_far.refused)),
        ],
        votes: votes.iter().map(vote_view).collect(),
        why_not: why_not(person, row, said),
        reason_required: row.terms.iter().any(|terms| terms.reason_required),
        max_reason: MAX_REASON,
        problem,
        csrf: signed_in.csrf(),
        commands: [format!("guard approve {}", row.id), format!("guard deny {}", row.id)],
    };
    page.render().map_err(|error| Refusal::Internal(error.to_string()))
}

fn parameter(value: &ShownParameter) -> String {
    match value {
        ShownParameter::Null => "NULL".into(),
        ShownParameter::Text(text) => format!("'{}'", visible(text)),
        ShownParameter::Binary(hex) => format!("binary {hex}"),
    }
}

fn parameters_note(row: &ApprovalRow, shown: bool) -> Option<String> {
    let count = row.subject.parameter_count;
    let listed = row.subject.parameters.len() as u64;
    match (count, shown) {
        (0, _) => None,
        (count, false) => Some(format!("{count} parameters, whose values your role does not show")),
        (count, true) if count > listed => Some(format!("and {} more", count - listed)),
        (_, true) => None,
    }
}

fn terms_view(terms: &guard_core::ApprovalTerms, votes: &[Vote]) -> TermsView {
    let yes = votes.iter().filter(|vote| vote.granted && !vote.groups.is_disjoint(&terms.from));
    let yes = yes.count();
    let from: Vec<_> = terms.from.iter().map(|group| short(group)).collect();
    TermsView {
        rule: terms.rule.to_string(),
        from: from.join(" or "),
        count: format!("{yes} of {}", terms.count),
        met: u32::try_from(yes).unwrap_or(u32::MAX) >= terms.count,
    }
}

fn vote_view(vote: &Vote) -> VoteView {
    VoteView {
        name: short(&vote.person.name),
        title: short(&format!("{} at {}", vote.person.subject, vote.person.issuer)),
        granted: vote.granted,
        reason: beginning(&visible(&vote.reason), MAX_REASON).into_owned(),
        at: Moment::day(vote.at),
    }
}
