//! What waits for somebody, what waits for others, and what is over.

use askama::Template;
use guard_audit::report::{duration, grouped, short, without_literals};
use guard_core::{ApprovalState, Timestamp};
use serde::Deserialize;

use super::statement::one_line;
use crate::{
    app::App,
    error::Refusal,
    people::{Person, Role, Starter},
    runs::view::Moment,
    sessions::approvals::Decider as _,
    store::ApprovalRow,
};

/// Requests that wait and are shown: more than people can look through.
const MAX_WAITING: u32 = 200;
/// Requests of a page that are over.
const PAGE: usize = 50;
/// Of how many that are over those of one state are sought.
const MAX_SOUGHT: u32 = 2_000;

const STATES: [(&str, &str); 6] = [
    ("", "any"),
    ("used", "approved and used"),
    ("granted", "approved"),
    ("refused", "refused"),
    ("expired", "ran out"),
    ("cancelled", "taken back"),
];

/// What is asked for, as the form sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::pages) struct ListQuery {
    state: String,
    /// When the last one of the page before was asked, in milliseconds.
    before: String,
}

#[derive(Template)]
#[template(path = "approvals.html")]
struct ListPage<'a> {
    query: &'a ListQuery,
    states: &'static [(&'static str, &'static str)],
    mine: Vec<RowView>,
    others: Vec<RowView>,
    past: Vec<RowView>,
    next: Option<String>,
}

struct RowView {
    id: String,
    asked: Moment,
    what: String,
    statement: String,
    repository: String,
    about: String,
    resource: String,
    rules: String,
    rows: String,
    left: String,
    soon: bool,
    tone: &'static str,
    state: &'static str,
    why: String,
}

/// The list, as HTML of a page.
pub(super) async fn render(
    app: &App,
    person: &Person,
    query: &ListQuery,
) -> Result<String, Refusal> {
    let store = &app.sessions.store;
    let now = Timestamp::now();
    let waiting = store.waiting_approvals(MAX_WAITING).await?;
    let mut page = ListPage {
        query,
        states: &STATES,
        mine: Vec::new(),
        others: Vec::new(),
        past: Vec::new(),
        next: None,
    };
    for row in waiting {
        let said = store.votes(row.id).await?.iter().any(|vote| vote.person == person.person());
        let why = why_not(person, &row, said);
        let list = if why.is_empty() { &mut page.mine } else { &mut page.others };
        list.push(RowView::of(&row, person, now, why));
    }
    let before = query.before.parse().ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    let state = ApprovalState::of(&query.state);
    let most = u32::try_from(PAGE).unwrap_or(u32::MAX).saturating_add(1);
    let most = if state.is_some() { MAX_SOUGHT } else { most };
    let past = store.past_approvals(before, most).await?;
    let mut past = past.into_iter().filter(|row| state.is_none_or(|state| row.state == state));
    let shown: Vec<_> = past.by_ref().take(PAGE).collect();
    if past.next().is_some()
        && let Some(last) = shown.last()
    {
        let before = last.asked_at.as_millisecond().to_string();
        let fields = [("state", query.state.as_str()), ("before", before.as_str())];
        page.next = Some(crate::runs::view::address("/approvals", fields));
    }
    page.past = shown.iter().map(|row| RowView::of(row, person, now, String::new())).collect();
    page.render().map_err(|error| Refusal::Internal(error.to_string()))
}

/// Why somebody's word would not count. Empty, if it would.
pub(crate) fn why_not(person: &Person, row: &ApprovalRow, said: bool) -> String {
    if row.state != ApprovalState::Waiting {
        return format!("it is {}", row.state);
    }
    if said {
        return "you have said yes; others have to, too".into();
    }
    if !person.may(Role::Approver) {
        return "your role does not decide".into();
    }
    if !row.terms.iter().any(|terms| !terms.from.is_disjoint(&person.groups)) {
        return "you are in none of the groups that are asked".into();
    }
    match Starter::of(person, &row.identity) {
        Starter::Same => "you started this run".into(),
        Starter::Unknown(why) => format!("you may have started this run: {why}"),
        Starter::Another => String::new(),
    }
}

impl RowView {
    fn of(row: &ApprovalRow, person: &Person, now: Timestamp, why: String) -> Self {
        let values = person.may(Role::Approver) || person.may(Role::Auditor);
        let line = one_line(&row.subject.text);
        let hidden = |text: &str| if values { text.to_owned() } else { without_literals(text) };
        let left = left(row, now);
        let rules: Vec<_> = row.terms.iter().map(|terms| terms.rule.to_string()).collect();
        let (tone, state) = words(row.state);
        Self {
            id: row.id.to_string(),
            asked: Moment::day(row.asked_at),
            what: short(&hidden(&row.what)),
            statement: short(&hidden(&line)),
            repository: short(&row.identity.repository),
            about: short(&about(row)),
            resource: row.resource.to_string(),
            rules: rules.join(", "),
            rows: row.subject.estimated_rows.map_or_else(|| "–".into(), grouped),
            soon: left.1,
            left: left.0,
            tone,
            state,
            why,
        }
    }
}

/// The branch and who stands behind the run.
pub(super) fn about(row: &ApprovalRow) -> String {
    let run = &row.identity;
    let branch = run.git_ref.strip_prefix("refs/heads/").unwrap_or(&run.git_ref);
    let parts = [branch, &run.event, &run.actor];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}

/// How much time is left, and whether that is little.
pub(super) fn left(row: &ApprovalRow, now: Timestamp) -> (String, bool) {
    let seconds = row.until.as_second().saturating_sub(now.as_second());
    let seconds = u64::try_from(seconds).unwrap_or(0);
    (duration(seconds.saturating_mul(1_000_000)), seconds < 120)
}

/// A state in words, and its colour.
pub(super) fn words(state: ApprovalState) -> (&'static str, &'static str) {
    match state {
        ApprovalState::Waiting => ("warn", "waits"),
        ApprovalState::Granted => ("good", "approved"),
        ApprovalState::Used => ("good", "approved and used"),
        ApprovalState::Refused => ("bad", "refused"),
        ApprovalState::Expired => ("", "ran out"),
        ApprovalState::Cancelled => ("", "taken back"),
    }
}
