//! The report as one HTML page: no script, nothing loaded, every text escaped.
//!
//! Rows are rendered one by one against a budget, so that the page opens fast whatever a job did; what
//! is not listed is said.

mod rows;

use std::collections::BTreeSet;

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Digest, EndReason, Verb};

use self::rows::{OperationView, RefusedView, ResultView};
use super::{
    ApprovalReport, Class, EgressReport, Holds, OverBudget, Report, Whole,
    text::{duration, grouped, size},
    words::{MAX_EFFECTS, detected, end_words, masked_columns, short, time},
};

const STYLE: &str = include_str!("../../templates/report.css");

/// Room for a page that is all there is.
const WHOLE: Room = Room { refused: 2_000_000, operations: 5_000_000, results: 2_000_000 };
/// Room for parts of a page that has the full list besides.
const PARTS: Room = Room { refused: 150_000, operations: 400_000, results: 150_000 };
/// Budgets that a page lists, and requests for approval.
const MAX_BUDGETS: usize = 200;
/// Connections that a page lists.
const MAX_CONNECTIONS: usize = 200;
/// Tables of the manifest that a page lists.
const MAX_MANIFEST: usize = 1_000;
/// Bytes of HTML that rows may come to.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// For the refused statements, all together.
    refused: usize,
    /// For the statements that went on.
    operations: usize,
    /// For the rows of answers.
    results: usize,
}

/// The report as parts of another page, which are set in [`style_within`].
#[derive(Debug, Clone)]
pub struct Parts {
    /// Who, what, when, on which authority, what was refused, what was masked, how far the evidence reaches.
    pub summary: String,
    /// Operations, tables, connections and leases.
    pub rest: String,
}

/// The report's style for what is inside of an element of this class.
pub fn style_within(class: &str) -> String {
    // CSS nesting: what is said of the document holds for the element.
    format!(".{class}{{{}}}", STYLE.replace(":root", "&"))
}

/// A name and what stands beside it.
type Fact = (&'static str, String);

#[derive(Template)]
#[template(path = "report.html", blocks = ["summary", "rest"])]
struct Page<'a> {
    style: &'static str,
    style_hash: String,
    repository: String,
    job: String,
    event: String,
    git_ref: String,
    session: String,
    opened_at: String,
    integrity_tone: &'static str,
    integrity_chip: &'static str,
    integrity_problem: Option<String>,
    end_tone: &'static str,
    end_chip: String,
    places: Vec<String>,
    figures: Vec<Figure>,
    refused_note: String,
    refused: Vec<String>,
    observed: Option<String>,
    would_refuse: Vec<String>,
    approvals: Vec<[String; 5]>,
    budgets: Vec<[String; 6]>,
    masked_note: String,
    who: Vec<Fact>,
    run_url: Option<&'a str>,
    claims: Vec<(String, String)>,
    authority: Vec<Fact>,
    record: Vec<Fact>,
    gaps: &'a [String],
    grants: Vec<GrantView>,
    operations_note: String,
    classes: Vec<ClassView>,
    results_note: String,
    results: Vec<String>,
    manifest_note: String,
    manifest: Vec<[String; 6]>,
    connections_note: String,
    connections: Vec<[String; 6]>,
    steps: Vec<[String; 8]>,
    egress_note: String,
    egress: Vec<[String; 7]>,
    egress_open: bool,
    leases_note: String,
    leases: Vec<[String; 5]>,
    leases_open: bool,
    verify: &'a str,
}

struct Figure {
    name: &'static str,
    value: String,
    tone: &'static str,
}

struct GrantView {
    title: String,
    authority: String,
    promises: Vec<PromiseView>,
}

struct PromiseView {
    promise: &'static str,
    tone: &'static str,
    words: &'static str,
}

struct ClassView {
    title: &'static str,
    total: usize,
    rows: Vec<String>,
    note: Option<String>,
}

impl Report {
    /// The report as one self-contained HTML page.
    pub fn to_html(&self) -> Result<String, askama::Error> {
        self.page_with(WHOLE)?.render()
    }

    /// The report as parts of another page.
    pub fn to_parts(&self) -> Result<Parts, askama::Error> {
        let page = self.page_with(PARTS)?;
        Ok(Parts { summary: page.as_summary().render()?, rest: page.as_rest().render()? })
    }

    fn page_with(&self, room: Room) -> Result<Page<'_>, askama::Error> {
        let mut budget = room.refused;
        let mut refused = Vec::new();
        for refusal in &self.refused.listed {
            if !push(&mut refused, RefusedView::new(refusal).render()?, &mut budget) {
                break;
            }
        }
        let mut would_refuse = Vec::new();
        for refusal in &self.would_refuse.listed {
            if !push(&mut would_refuse, RefusedView::new(refusal).render()?, &mut budget) {
                break;
            }
        }
        self.page(refused, would_refuse, room)
    }

    fn page(
        &self,
        refused: Vec<String>,
        would_refuse: Vec<String>,
        room: Room,
    ) -> Result<Page<'_>, askama::Error> {
        let Self { run, window, counts, integrity, .. } = self;
        let (integrity_tone, integrity_chip) = match integrity.whole {
            Whole::Verified => ("good", "record verified"),
            Whole::Unchecked => ("warn", "seal not checked"),
            Whole::Unsealed => ("warn", "record not sealed"),
            Whole::Broken => ("bad", "record broken"),
        };
        let places = self
            .grants
            .iter()
            .map(|grant| format!("{} enforced at the {}", grant.resource, grant.enforce_at));
        let claims = run.claims.iter().map(|(name, value)| (short(name), short(value)));
        let listed = refused.len() as u64;
        let results = self.result_rows(room.results)?;
        Ok(Page {
            style: STYLE,
            style_hash: STANDARD.encode(Digest::of(STYLE).as_bytes()),
            repository: short(&run.repository),
            job: short(&run.run.job),
            event: short(&run.event),
            git_ref: short(&run.git_ref),
            session: self.session.to_string(),
            opened_at: time(window.opened_at),
            integrity_tone,
            integrity_chip,
            integrity_problem: integrity.problem.as_deref().map(short),
            end_tone: end_tone(window.reason, window.exit_code),
            end_chip: end_words(window.reason, window.exit_code),
            places: places.collect(),
            figures: self.figures(),
            refused_note: match self.refused.total {
                0 => "nothing".to_owned(),
                total if total == listed => format!(
                    "{} in all{}",
                    grouped(counts.refused),
                    if total == counts.refused { "" } else { ", equal ones shown once" }
                ),
                total => format!(
                    "{} in all; the first {listed} of {total} different ones are listed, the record has the rest",
                    grouped(counts.refused)
                ),
            },
            refused,
            observed: self.observes().then(|| {
                format!("{} that would be refused went on.", grouped(counts.would_refuse))
            }),
            would_refuse,
            approvals: self.approval_rows(),
            budgets: self.budget_rows(),
            masked_note: self.masked_note(),
            who: self.who(),
            run_url: run.run_url.as_deref().filter(|url| is_link(url)),
            claims: claims.collect(),
            authority: self.authority(),
            record: self.record(),
            gaps: &self.gaps,
            grants: self.grants.iter().map(GrantView::new).collect(),
            operations_note: format!(
                "{} in {} operations; those that differ in literals only are one",
                grouped(counts.statements),
                grouped(self.operations.total)
            ),
            classes: self.classes(room.operations)?,
            results_note: match self.results.total {
                total if total > results.len() as u64 => {
                    format!(
                        "{} of {} answers; the record has the rest",
                        results.len(),
                        grouped(total)
                    )
                }
                total => format!("of {} statements, as the client got them", grouped(total)),
            },
            results,
            manifest_note: match self.manifest.total {
                total if total > MAX_MANIFEST as u64 => {
                    format!("{} tables, of which {MAX_MANIFEST} are listed", grouped(total))
                }
                total => format!("{} tables", grouped(total)),
            },
            manifest: self.manifest_rows(),
            connections_note: match self.connections.total {
                total if total > MAX_CONNECTIONS as u64 => {
                    format!("{}, of which {MAX_CONNECTIONS} are listed", grouped(total))
                }
                total => grouped(total),
            },
            connections: self.connection_rows(),
            steps: self.step_rows(),
            egress_note: match self.counts.egress_refused {
                0 => grouped(self.egress.total),
                refused => {
                    format!("{}, {} attempts refused", grouped(self.egress.total), grouped(refused))
                }
            },
            egress: self.egress_rows(),
            egress_open: self.counts.egress_refused > 0,
            leases_note: grouped(self.leases.len() as u64),
            leases: self.lease_rows(),
            leases_open: self.leases.iter().any(|lease| lease.released_at.is_none()),
            verify: &integrity.verify,
        })
    }

    fn figures(&self) -> Vec<Figure> {
        let counts = &self.counts;
        let figure = |name, number, tone| Figure {
            name,
            value: grouped(number),
            tone: if number > 0 { tone } else { "" },
        };
        vec![
            figure("refused", counts.refused, "red"),
            figure("would be refused", counts.would_refuse, "red"),
            figure("over a budget", counts.over_budget, "amb"),
            figure("statements", counts.statements, ""),
            figure("changes", counts.changes, "amb"),
            figure("values masked", counts.masked, "vio"),
            figure("rows", counts.rows, ""),
            Figure { name: "row data", value: size(counts.bytes), tone: "" },
            figure("failed", counts.failed, "amb"),
            figure("outcome unknown", counts.lost, "red"),
        ]
    }

    fn approval_rows(&self) -> Vec<[String; 5]> {
        let row = |approval: &ApprovalReport| {
            let text = approval.statement.as_ref().map_or("", |statement| &statement.text);
            let rules: Vec<_> = approval.terms.iter().map(|terms| terms.rule.as_str()).collect();
            let by: Vec<_> = approval.by.iter().map(|person| person.name.as_str()).collect();
            [
                short(text),
                short(&rules.join(", ")),
                approval.state.to_string(),
                short(&by.join(", ")),
                short(&approval.reasons.join("; ")),
            ]
        };
        self.approvals.listed.iter().take(MAX_BUDGETS).map(row).collect()
    }

    fn step_rows(&self) -> Vec<[String; 8]> {
        let rows = self.steps.listed.iter().map(|step| {
            [
                step.number.to_string(),
                step.name.as_ref().map_or_else(String::new, ToString::to_string),
                step.isolation.map_or_else(String::new, |level| level.to_string()),
                step.started_at.map_or_else(String::new, time),
                grouped(step.connections),
                grouped(step.statements),
                grouped(step.refused),
                grouped(step.masked),
            ]
        });
        rows.collect()
    }

    fn egress_rows(&self) -> Vec<[String; 7]> {
        let row = |place: &EgressReport| {
            [
                format!("{}:{}{}", short(&place.host), place.port, place.of_steps()),
                grouped(place.attempts),
                grouped(place.refused),
                grouped(place.failed),
                size(place.sent),
                size(place.received),
                place.why.as_deref().map(short).unwrap_or_default(),
            ]
        };
        self.egress.listed.iter().map(row).collect()
    }

    fn budget_rows(&self) -> Vec<[String; 6]> {
        let row = |over: &OverBudget| {
            [
                short(&over.statement.text),
                over.budget.to_string(),
                grouped(over.limit),
                if over.ended { "ended" } else { "observed" }.to_owned(),
                format!("{} of {}", over.connection, short(&over.writer)),
                grouped(over.count),
            ]
        };
        self.budgets.listed.iter().take(MAX_BUDGETS).map(row).collect()
    }

    /// How many values were masked, and what they were read from.
    fn masked_note(&self) -> String {
        if self.counts.masked == 0 {
            return "no value".to_owned();
        }
        let operations = self.operations.listed.iter().filter(|operation| operation.masked > 0);
        let reads = operations.flat_map(|operation| &operation.effects);
        let objects: BTreeSet<_> =
            reads.filter(|e| e.verb == Verb::Read).map(|e| e.object.to_string()).collect();
        let named = objects.iter().take(MAX_EFFECTS).map(|name| short(name)).collect::<Vec<_>>();
        let more = match objects.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let masked = match self.counts.masked {
            1 => "1 value".to_owned(),
            many => format!("{} values", grouped(many)),
        };
        format!("{masked}, in what was read from {}{more}", named.join(", "))
    }

    fn who(&self) -> Vec<Fact> {
        let run = &self.run;
        let mut facts = vec![
            (
                "repository",
                format!("{} (id {})", short(&run.repository), short(&run.run.repository_id)),
            ),
            ("workflow", short(&run.workflow)),
            ("job", short(&run.run.job)),
            ("run", format!("{}, attempt {}", short(&run.run.run_id), short(&run.run.attempt))),
            ("ref", short(&run.git_ref)),
            ("started by", format!("{}, {}", short(&run.event), short(&run.actor))),
        ];
        for (claim, name) in
            [("environment", "environment"), ("sha", "commit"), ("runner_environment", "runner")]
        {
            if let Some(value) = run.claims.get(claim).filter(|value| !value.is_empty()) {
                facts.push((name, short(value)));
            }
        }
        facts.push((
            "vouched by",
            format!(
                "{} ({}, {})",
                short(&run.run.issuer),
                short(&run.issuer_name),
                run.platform.as_str()
            ),
        ));
        facts
    }

    fn authority(&self) -> Vec<Fact> {
        let window = &self.window;
        let mut facts = vec![("opened", time(window.opened_at))];
        if let Some(ended) = window.ended_at {
            let micros = ended.duration_since(window.opened_at).as_micros();
            let after = duration(u64::try_from(micros).unwrap_or(0));
            facts.push(("ended", format!("{}, after {after}", time(ended))));
        }
        facts.push(("end", end_words(window.reason, window.exit_code)));
        facts.push(("at the latest", time(window.until)));
        if let Some(until) = window.renewed_until {
            let times = grouped(window.renewals);
            facts.push(("renewed", format!("{times} times, the last time until {}", time(until))));
        }
        facts.push(("trust rule", short(&self.trust.rule)));
        if let Some(reason) = &self.trust.broad {
            facts.push(("broad rule, because", short(reason)));
        }
        if let Some(isolation) = &self.isolation {
            let required = isolation
                .required
                .map_or_else(String::new, |level| format!(" (the trust rule asks for `{level}`)"));
            facts.push(("isolation", format!("{}{required}", isolation.level)));
            for reason in &isolation.why_not {
                facts.push(("why not more", short(reason)));
            }
        }
        facts.push(("trust rules' SHA-256", self.trust.digest.to_string()));
        for grant in &self.grants {
            facts.push(("grant", format!("{} under policy {}", grant.resource, grant.policy)));
            facts.push(("policy's SHA-256", grant.policy_digest.to_string()));
        }
        facts.push(("session's key", short(&self.trust.key_thumbprint)));
        facts
    }

    fn record(&self) -> Vec<Fact> {
        let integrity = &self.integrity;
        let mut facts = vec![
            ("entries", grouped(integrity.entries)),
            ("last hash", integrity.head.to_string()),
        ];
        if let (Some(at), Some(key)) = (integrity.sealed_at, &integrity.key_id) {
            facts.push(("sealed", time(at)));
            facts.push(("by key", short(key)));
        }
        facts.push(("broker", format!("version {}", short(&self.trust.broker_version))));
        facts
    }

    fn classes(&self, mut budget: usize) -> Result<Vec<ClassView>, askama::Error> {
        let mut views: Vec<ClassView> = Vec::new();
        for class in [
            Class::NotUnderstood,
            Class::Change,
            Class::MaskedRead,
            Class::Read,
            Class::Housekeeping,
        ] {
            let of_class = || self.operations.listed.iter().filter(|o| o.class == class);
            let total = of_class().count();
            if total == 0 {
                continue;
            }
            let mut rows = Vec::new();
            for operation in of_class() {
                if !push(&mut rows, OperationView::new(operation).render()?, &mut budget) {
                    break;
                }
            }
            let note = (rows.len() < total)
                .then(|| format!("{} of {total} are listed; the record has the rest", rows.len()));
            views.push(ClassView { title: title(class), total, rows, note });
        }
        let listed = self.operations.listed.len() as u64;
        if let Some(last) = views.last_mut().filter(|_| self.operations.total > listed) {
            let more = self.operations.total - listed;
            last.note = Some(format!(
                "{} more operations are not listed; the record has them",
                grouped(more)
            ));
        }
        Ok(views)
    }

    fn result_rows(&self, mut budget: usize) -> Result<Vec<String>, askama::Error> {
        let mut rows = Vec::new();
        for result in &self.results.listed {
            if !push(&mut rows, ResultView::new(result).render()?, &mut budget) {
                break;
            }
        }
        Ok(rows)
    }

    fn manifest_rows(&self) -> Vec<[String; 6]> {
        let rows = self.manifest.listed.iter().take(MAX_MANIFEST).map(|table| {
            [
                short(&table.tables.join(", ")),
                grouped(table.rows),
                size(table.bytes),
                masked_columns(table),
                grouped(table.masked),
                detected(table),
            ]
        });
        rows.collect()
    }

    fn connection_rows(&self) -> Vec<[String; 6]> {
        let listed = self.connections.listed.iter().take(MAX_CONNECTIONS);
        let rows = listed.map(|connection| {
            let step = connection.step.map_or_else(String::new, |step| format!(" (step {step})"));
            [
                format!("{}{step}", short(&connection.client)),
                match connection.database.is_empty() {
                    true => connection.resource.to_string(),
                    false => format!("{} / {}", connection.resource, short(&connection.database)),
                },
                format!("{} {}", connection.enforced_at, short(&connection.point)),
                time(connection.from),
                connection.to.map_or_else(|| "not in the record".to_owned(), time),
                connection.reason.as_deref().map_or_else(|| "by the client".to_owned(), short),
            ]
        });
        rows.collect()
    }

    fn lease_rows(&self) -> Vec<[String; 5]> {
        let rows = self.leases.iter().take(MAX_CONNECTIONS).map(|lease| {
            [
                short(&lease.username),
                lease.resource.to_string(),
                short(&lease.holder),
                time(lease.taken_at),
                match (&lease.released_at, &lease.problem) {
                    (Some(at), _) => time(*at),
                    (None, Some(problem)) => format!("no: {}", short(problem)),
                    (None, None) => "not in the record".to_owned(),
                },
            ]
        });
        rows.collect()
    }
}

impl GrantView {
    fn new(grant: &super::GrantReport) -> Self {
        let promises = grant.promises.iter().map(|promise| PromiseView {
            promise: promise.promise,
            tone: match promise.holds {
                Holds::Yes => "yes",
                Holds::Unless => "unless",
                Holds::No => "no",
            },
            words: promise.words,
        });
        Self {
            title: format!("{} at the {}", grant.resource, grant.enforce_at),
            authority: format!(
                "{} under policy {}, until {}; what enforcement at the {} promises:",
                grant.kind.as_str(),
                grant.policy,
                time(grant.until),
                grant.enforce_at
            ),
            promises: promises.collect(),
        }
    }
}

/// Adds a row if the budget has room for it.
fn push(rows: &mut Vec<String>, row: String, budget: &mut usize) -> bool {
    match budget.checked_sub(row.len()) {
        Some(left) => {
            *budget = left;
            rows.push(row);
            true
        }
        None => {
            *budget = 0;
            false
        }
    }
}

const fn title(class: Class) -> &'static str {
    match class {
        Class::NotUnderstood => "Not understood in full",
        Class::Change => "Changes",
        Class::MaskedRead => "Reads, masked",
        Class::Read => "Reads",
        Class::Housekeeping => "Session and transactions",
    }
}

const fn end_tone(reason: Option<EndReason>, exit_code: Option<i32>) -> &'static str {
    match (reason, exit_code) {
        (Some(EndReason::Finished), Some(0)) => "good",
        (Some(EndReason::Finished | EndReason::Expired | EndReason::Revoked), _) => "warn",
        (None | Some(EndReason::Lost | EndReason::Unrecorded), _) => "bad",
    }
}

/// The beginning of a digest, which nobody reads in full until it is compared.
fn long_hex(value: &str) -> Option<&str> {
    let digest = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digest { value.get(..12) } else { None }
}

/// Whether an address may stand behind a link: only the web, and nothing that a browser would read otherwise.
fn is_link(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}
