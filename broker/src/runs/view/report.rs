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

/// A file, what it is called, and what it is good for.
type About = (&'static str, &'static str, &'static str);
/// For those who may see values, of a record that is sealed.
const RECORD: [About; 1] =
    [("record.jsonl", "the record itself", "every entry, chained and sealed: the evidence")];
/// For everyone, of a record that is sealed.
const PROOF: [About; 1] = [(
    "record.proof",
    "proof of the log",
    "that the seal is in the log, without trust in this broker",
)];
/// For everyone, at any time.
const REPORTS: [About; 3] = [
    ("report.html", "report as a page", "to read and to send on; needs nothing else"),
    ("report.json", "report as JSON", "the same for programs"),
    ("report.md", "report as Markdown", "a summary for a ticket or a pull request"),
];
/// For those who may see values, of a record that is sealed.
const EXPORTS: [About; 3] = [
    (
        "report.intoto.jsonl",
        "in-toto statement",
        "the broker's signature over the record's and the report's digests",
    ),
    ("events.ocsf.jsonl", "events as OCSF", "activity and findings for a SIEM"),
    ("findings.sarif", "findings as SARIF", "what was refused, for code scanning"),
];

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
    downloads: Vec<Download>,
    commands: Vec<(&'static str, String)>,
    plot: PlotView,
    list: ListView,
    diff: DiffView,
    rest: String,
}

/// A file that can be taken along.
struct Download {
    file: &'static str,
    name: &'static str,
    /// What it is good for.
    about: &'static str,
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
        let (downloads, commands) = self.downloads();
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

    /// What this reader can take along, and what to do with it.
    fn downloads(&self) -> (Vec<Download>, Vec<(&'static str, String)>) {
        let (live, all) = (self.run.state == RunState::Live, self.values == Values::Shown);
        let sealed: &[About] = if live { &[] } else { &PROOF };
        let [records, exports]: [&[About]; 2] =
            if live || !all { [&[], &[]] } else { [&RECORD, &EXPORTS] };
        let downloads = [records, sealed, &REPORTS, exports].into_iter().flatten();
        let downloads = downloads.map(|&(file, name, about)| Download { file, name, about });
        if live || !all {
            return (downloads.collect(), Vec::new());
        }
        let file = |what| file_name(self.run.id, what);
        let (record, proof) = (file("record.jsonl"), file("record.proof"));
        let attestation = file("report.intoto.jsonl");
        let report = file("report.json");
        let commands = vec![
            (
                "On the broker's machine: the key that all of these are checked by",
                "guard-broker key --config guard.yaml > seal.pub".to_owned(),
            ),
            (
                "Is the record whole, and is its seal in the log?",
                format!("guard audit verify {record} --key seal.pub --proof {proof}"),
            ),
            (
                "Is the broker's signed statement about this record and this report?",
                format!(
                    "guard audit verify {record} --key seal.pub --attestation {attestation} --report {report}"
                ),
            ),
            ("See it happen again", format!("guard audit replay {record}")),
            (
                "Make the report from the record",
                format!("guard audit report {record} --key seal.pub --out report.html"),
            ),
        ];
        (downloads.collect(), commands)
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
