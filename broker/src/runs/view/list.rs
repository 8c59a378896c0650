//! The list of runs.

use std::collections::BTreeSet;

use askama::Template;
use guard_audit::report::{grouped, short};
use guard_core::{SessionId, Timestamp};
use jiff::{civil::Date, tz::TimeZone};
use serde::Deserialize;

use super::{Moment, address, branch, lasted};
use crate::{
    error::Refusal,
    sessions::Sessions,
    store::{Decided, RunFilter, RunRow, RunState, Standing},
};

/// Runs of a page.
const PAGE: usize = 50;
/// Characters of a field: none has more.
const MAX_FIELD: usize = 200;

const DECISIONS: [(&str, &str); 7] = [
    ("", "any"),
    ("blocked", "blocked something"),
    ("would-block", "would have blocked"),
    ("masked", "masked values"),
    ("approved", "approved by people"),
    ("over-budget", "over a budget"),
    ("clean", "none of these"),
];
const STATES: [(&str, &str); 3] = [("", "any"), ("live", "live"), ("over", "over")];

/// What is asked for, as the form sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunsQuery {
    repository: String,
    resource: String,
    decision: String,
    state: String,
    policy: String,
    rule: String,
    actor: String,
    since: String,
    until: String,
    /// The last run of the page before.
    behind: String,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage<'a> {
    query: &'a RunsQuery,
    decisions: &'static [(&'static str, &'static str)],
    states: &'static [(&'static str, &'static str)],
    resources: BTreeSet<String>,
    policies: BTreeSet<String>,
    rules: BTreeSet<String>,
    problem: Option<String>,
    count: String,
    rows: Vec<RowView>,
    next: Option<String>,
}

struct RowView {
    id: SessionId,
    live: bool,
    started: Moment,
    repository: String,
    git_ref: String,
    about: String,
    rule: String,
    resources: String,
    marks: Vec<(&'static str, String)>,
    statements: String,
    refused: String,
    any_refused: bool,
    masked: String,
    changes: String,
    lasted: String,
    end: String,
}

/// The list of runs, as HTML of a page.
pub(crate) async fn runs(sessions: &Sessions, query: &RunsQuery) -> Result<String, Refusal> {
    let config = sessions.config();
    let mut page = RunsPage {
        query,
        decisions: &DECISIONS,
        states: &STATES,
        resources: config.resources.keys().map(ToString::to_string).collect(),
        policies: config.policies.keys().map(ToString::to_string).collect(),
        rules: config.trust.names().map(str::to_owned).collect(),
        problem: None,
        count: String::new(),
        rows: Vec::new(),
        next: None,
    };
    match query.filter() {
        Err(problem) => page.problem = Some(problem),
        Ok((filter, behind)) => {
            let found = sessions.store.find_runs(&filter, behind, PAGE).await?;
            let (count, more) = sessions.store.count_runs(&filter).await?;
            page.count = match (count, more) {
                (1, false) => "1 run".to_owned(),
                (count, false) => format!("{} runs", grouped(count)),
                (count, true) => format!("more than {} runs", grouped(count)),
            };
            page.rows = found.runs.iter().map(RowView::new).collect();
            page.next = found.next.map(|behind| query.behind(behind));
        }
    }
    page.render().map_err(|error| Refusal::Internal(error.to_string()))
}

impl RunsQuery {
    /// What is sought; what cannot be read is said, not passed over.
    fn filter(&self) -> Result<(RunFilter, Option<SessionId>), String> {
        for (name, value) in self.fields() {
            if value.chars().count() > MAX_FIELD {
                return Err(format!("{name} has more than {MAX_FIELD} characters"));
            }
        }
        let text = |value: &str| Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        let decided = match self.decision.as_str() {
            "" => None,
            "blocked" => Some(Decided::Blocked),
            "would-block" => Some(Decided::WouldBlock),
            "masked" => Some(Decided::Masked),
            "approved" => Some(Decided::Approved),
            "over-budget" => Some(Decided::OverBudget),
            "clean" => Some(Decided::Clean),
            other => return Err(format!("`{}` is no decision", short(other))),
        };
        let standing = match self.state.as_str() {
            "" => None,
            "live" => Some(Standing::Live),
            "over" => Some(Standing::Over),
            other => return Err(format!("`{}` is no state of a run", short(other))),
        };
        let behind = match self.behind.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| format!("`{}` is no run", short(id)))?),
        };
        let filter = RunFilter {
            repository: text(&self.repository),
            resource: text(&self.resource),
            policy: text(&self.policy),
            trust_rule: text(&self.rule),
            actor: text(&self.actor),
            decided,
            standing,
            since: day(&self.since, 0)?,
            until: day(&self.until, 1)?,
        };
        Ok((filter, behind))
    }

    fn fields(&self) -> [(&'static str, &str); 9] {
        [
            ("repository", &self.repository),
            ("resource", &self.resource),
            ("decision", &self.decision),
            ("state", &self.state),
            ("policy", &self.policy),
            ("rule", &self.rule),
            ("actor", &self.actor),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    /// The address of the page behind a run.
    fn behind(&self, run: SessionId) -> String {
        let run = run.to_string();
        address("/runs", self.fields().into_iter().chain([("behind", run.as_str())]))
    }
}

/// The beginning of a day, some days later.
fn day(text: &str, later: i64) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("`{}` is no day: write 2027-02-28", short(text));
    let date: Date = text.parse().map_err(|_| wrong())?;
    let date = date.checked_add(jiff::Span::new().days(later)).map_err(|_| wrong())?;
    let zoned = date.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(Some(zoned.timestamp()))
}

impl RowView {
    fn new(run: &RunRow) -> Self {
        let counts = &run.counts;
        let known = run.state == RunState::Done;
        let number = |count: u64| if known { grouped(count) } else { "–".to_owned() };
        let resources: Vec<_> =
            run.grants.iter().map(|(resource, policy)| format!("{resource} by {policy}")).collect();
        let mut marks = Vec::new();
        match run.state {
            RunState::Live => marks.push(("good", "live".to_owned())),
            RunState::Ending => marks.push(("", "ending".to_owned())),
            RunState::Unreadable => marks.push(("bad", "no record".to_owned())),
            RunState::Done => {
                for (count, tone, words) in [
                    (counts.refused, "bad", "blocked"),
                    (counts.would_refuse, "warn", "would block"),
                    (counts.over_budget, "warn", "over budget"),
                    (counts.approvals, "good", "approved"),
                    (counts.masked, "mask", "masked"),
                ] {
                    if count > 0 {
                        marks.push((tone, words.to_owned()));
                    }
                }
                if marks.is_empty() {
                    marks.push(("", "clean".to_owned()));
                }
            }
        }
        match run.whole.as_deref() {
            None | Some("verified") => {}
            Some(whole) => marks.push(("bad", format!("record {}", short(whole)))),
        }
        let mut about =
            vec![short(&run.job), short(branch(&run.git_ref)), started_by(&run.event, &run.actor)];
        about.retain(|part| !part.is_empty());
        Self {
            id: run.id,
            live: run.state == RunState::Live,
            started: Moment::day(run.started_at),
            repository: short(&run.repository),
            git_ref: short(&run.git_ref),
            about: about.join(" · "),
            rule: short(&run.trust_rule),
            resources: short(&resources.join(", ")),
            marks,
            statements: number(counts.statements),
            refused: number(counts.refused),
            any_refused: counts.refused > 0,
            masked: number(counts.masked),
            changes: number(counts.changes),
            lasted: run.ended_at.map_or_else(
                || lasted(run.started_at, Timestamp::now()),
                |ended| lasted(run.started_at, ended),
            ),
            end: match (run.reason.as_deref(), run.exit_code) {
                (None, _) => String::new(),
                (Some("finished"), Some(code)) => format!("exit {code}"),
                (Some(reason), _) => short(reason),
            },
        }
    }
}

/// What and who started a run.
pub(super) fn started_by(event: &str, actor: &str) -> String {
    match (event, actor) {
        ("", actor) => short(actor),
        (event, "") => short(event),
        (event, actor) => format!("{} by {}", short(event), short(actor)),
    }
}
