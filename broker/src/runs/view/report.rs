//! A run's page, and the page that follows one.

use std::sync::Arc;

use askama::Template;
use guard_audit::report::{Whole, grouped, short, size};
use guard_core::SessionId;

use super::{
    Moment,
    list::started_by,
    plot::PlotView,
    statements::{ListView, StatementsQuery, one_line},
};
use crate::{
    error::Refusal,
    runs::{Diff, Digested, Values},
    store::{RunRow, RunState},
};

/// What a run is compared with.
#[derive(Debug)]
pub(crate) struct Other {
    /// Its row.
    pub(crate) run: RunRow,
    /// What its record says.
    pub(crate) digested: Arc<Digested>,
}

/// A run's page.
#[derive(Debug)]
pub(crate) struct RunPage<'a> {
    /// Its row.
    pub(crate) run: &'a RunRow,
    /// What its record says.
    pub(crate) digested: &'a Digested,
    /// The last green run before it.
    pub(crate) green: Option<&'a Other>,
    /// What the reader may see.
    pub(crate) values: Values,
    /// Which statements are asked for.
    pub(crate) query: &'a StatementsQuery,
    /// What the log says of its seal, in words.
    pub(crate) logged: Option<String>,
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunTemplate {
    id: SessionId,
    live: bool,
    hidden: bool,
    summary: String,
    verified: (&'static str, &'static str, String),
    proofs: Vec<String>,
    downloads: Vec<(&'static str, &'static str)>,
    commands: Vec<String>,
    plot: PlotView,
    list: ListView,
    diff: DiffView,
    rest: String,
}

struct DiffView {
    note: String,
    other: Option<(SessionId, Moment)>,
    other_job: Option<String>,
    counts: Vec<(&'static str, String, String)>,
    parts: Vec<DiffPart>,
}

struct DiffPart {
    title: String,
    class: &'static str,
    items: Vec<DiffItem>,
    more: Option<String>,
}

struct DiffItem {
    title: String,
    text: String,
    times: String,
}

#[derive(Template)]
#[template(path = "live.html")]
struct LiveTemplate {
    id: SessionId,
    repository: String,
    job: String,
    started_by: String,
    git_ref: String,
    started: Moment,
    rule: String,
    over: bool,
    hidden: bool,
}

/// The page that follows a run, as HTML of a page.
pub(crate) fn live(run: &RunRow, values: Values) -> Result<String, Refusal> {
    let page = LiveTemplate {
        id: run.id,
        repository: short(&run.repository),
        job: short(&run.job),
        started_by: started_by(&run.event, &run.actor),
        git_ref: short(&run.git_ref),
        started: Moment::second(run.started_at),
        rule: short(&run.trust_rule),
        over: run.state != RunState::Live,
        hidden: values == Values::Hidden,
    };
    page.render().map_err(|error| Refusal::Internal(error.to_string()))
}

impl RunPage<'_> {
    /// As HTML of a page.
    pub(crate) fn render(&self) -> Result<String, Refusal> {
        let wrong = |error: askama::Error| Refusal::Internal(error.to_string());
        let (id, report) = (self.run.id, &self.digested.report);
        let parts = report.to_parts().map_err(wrong)?;
        let live = self.run.state == RunState::Live;
        let sees_all = self.values == Values::Shown;
        let mut downloads = vec![
            ("report.html", "report as a page"),
            ("report.json", "report as JSON"),
            ("report.md", "report as Markdown"),
        ];
        let mut commands = Vec::new();
        if sees_all && !live {
            downloads.insert(0, ("record.jsonl", "the record itself"));
            downloads.push(("events.ocsf.jsonl", "events as OCSF"));
            downloads.push(("findings.sarif", "findings as SARIF"));
            let file = file_name(id, "record.jsonl");
            commands.push(format!("guard audit verify {file} --key seal.pub"));
            commands.push(format!("guard audit report {file} --key seal.pub --out report.html"));
        }
        let page = RunTemplate {
            id,
            live,
            hidden: !sees_all,
            summary: parts.summary,
            verified: self.verified(),
            proofs: self.logged.iter().cloned().collect(),
            downloads,
            commands,
            plot: PlotView::new(&self.digested.listing.plot),
            list: ListView::new(id, &self.digested.listing, self.query),
            diff: self.diff(),
            rest: parts.rest,
        };
        page.render().map_err(wrong)
    }

    fn verified(&self) -> (&'static str, &'static str, String) {
        let integrity = &self.digested.report.integrity;
        let entries = grouped(integrity.entries);
        let at = self.digested.made_at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let problem = integrity.problem.as_deref().map(short).unwrap_or_default();
        match integrity.whole {
            Whole::Verified => (
                "good",
                "verified",
                format!(
                    "The chain of {entries} entries holds and the seal by key {} is good; read and checked {at}.",
                    integrity.key_id.as_deref().map(short).unwrap_or_default()
                ),
            ),
            Whole::Unchecked => ("warn", "seal not checked", format!("Read {at}.")),
            Whole::Unsealed => (
                "warn",
                "not sealed",
                format!("{entries} entries hang together so far; read {at}."),
            ),
            Whole::Broken => ("bad", "broken", format!("{problem}; read {at}.")),
        }
    }

    fn diff(&self) -> DiffView {
        let Some(Other { run, digested }) = self.green else {
            return DiffView {
                note: "there is none of this trust rule before it".to_owned(),
                other: None,
                other_job: None,
                counts: Vec::new(),
                parts: Vec::new(),
            };
        };
        let diff = Diff::between(&digested.report, &self.digested.report);
        let [new_objects, gone_objects, new_statements, gone_statements] = diff.totals;
        let part = |title: &str, class, total: usize, items: Vec<DiffItem>| {
            (total > 0).then(|| DiffPart {
                title: format!("{title} ({})", grouped(total as u64)),
                class,
                more: (items.len() < total)
                    .then(|| format!("and {} more", grouped((total - items.len()) as u64))),
                items,
            })
        };
        let objects = |names: &[String]| -> Vec<DiffItem> {
            let item = |name: &String| DiffItem {
                title: short(name),
                text: String::new(),
                times: String::new(),
            };
            names.iter().map(item).collect()
        };
        let statements = |found: &[(String, u64)]| -> Vec<DiffItem> {
            let item = |(text, times): &(String, u64)| DiffItem {
                title: one_line(text),
                text: guard_audit::report::visible(text).into_owned(),
                times: format!("{}×", grouped(*times)),
            };
            found.iter().map(item).collect()
        };
        let job = |run: &RunRow| (run.repository_id.clone(), run.workflow.clone(), run.job.clone());
        DiffView {
            note: if diff.is_none() { "the same objects and statements" } else { "" }.to_owned(),
            other: Some((run.id, Moment::day(run.started_at))),
            other_job: (job(run) != job(self.run))
                .then(|| format!("{} {}", short(&run.repository), short(&run.job))),
            counts: diff
                .counts
                .iter()
                .map(|(name, before, now)| match *name {
                    "row data" => (*name, size(*before), size(*now)),
                    name => (name, grouped(*before), grouped(*now)),
                })
                .collect(),
            parts: [
                part("New effects", "new", new_objects, objects(&diff.new_objects)),
                part("New statements", "new", new_statements, statements(&diff.new_statements)),
                part("Effects no more", "gone", gone_objects, objects(&diff.gone_objects)),
                part(
                    "Statements no more",
                    "gone",
                    gone_statements,
                    statements(&diff.gone_statements),
                ),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }
}

/// The name of a download: of the session's id, which is letters, digits and dashes, and of nothing of the job's.
pub(crate) fn file_name(id: SessionId, what: &str) -> String {
    format!("guard-{id}.{what}")
}
