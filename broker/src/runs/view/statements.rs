//! The full list of a run's statements, searched and a page at a time.

use guard_audit::report::{
    Fate, Listing, StatementLine, beginning, duration, grouped, short, size, visible,
};
use guard_core::SessionId;
use serde::Deserialize;

use super::{Moment, address};

/// Statements of a page.
const PAGE: usize = 50;
/// Characters of a statement in its row.
const TITLE: usize = 140;
/// Characters of what is sought.
const MAX_QUERY: usize = 200;

const FATES: [(&str, &str); 7] = [
    ("", "any"),
    ("allowed", "allowed"),
    ("masked", "masked"),
    ("approved", "approved"),
    ("would", "would be refused"),
    ("refused", "refused"),
    ("failed", "answered with an error"),
];

/// What is asked for, as the form sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatementsQuery {
    q: String,
    fate: String,
    /// The first of the page, counted among those that fit.
    from: usize,
}

/// The list as a template needs it.
pub(super) struct ListView {
    pub(super) note: String,
    pub(super) q: String,
    pub(super) fate: String,
    pub(super) fates: &'static [(&'static str, &'static str)],
    pub(super) filtered: bool,
    pub(super) rows: Vec<RowView>,
    pub(super) place: String,
    pub(super) earlier: Option<String>,
    pub(super) later: Option<String>,
}

/// One statement.
pub(super) struct RowView {
    pub(super) at: Moment,
    pub(super) tone: &'static str,
    pub(super) fate: &'static str,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) effects: String,
    pub(super) rule: String,
    pub(super) resource: String,
    pub(super) why: Option<String>,
    pub(super) error: Option<String>,
    pub(super) rows: String,
    pub(super) bytes: String,
    pub(super) masked: String,
    pub(super) took: String,
}

pub(crate) const fn tone(fate: Fate) -> &'static str {
    match fate {
        Fate::Allowed => "",
        Fate::Masked => "mask",
        Fate::Approved => "good",
        Fate::WouldRefuse => "warn",
        Fate::Refused => "bad",
    }
}

/// Which fates are sought.
#[derive(Clone, Copy)]
enum Sought {
    Any,
    One(Fate),
    Failed,
}

impl ListView {
    /// A page of those that fit.
    pub(super) fn new(id: SessionId, listing: &Listing, query: &StatementsQuery) -> Self {
        let q = beginning(query.q.trim(), MAX_QUERY).to_lowercase();
        let sought = match query.fate.as_str() {
            "allowed" => Sought::One(Fate::Allowed),
            "masked" => Sought::One(Fate::Masked),
            "approved" => Sought::One(Fate::Approved),
            "would" => Sought::One(Fate::WouldRefuse),
            "refused" => Sought::One(Fate::Refused),
            "failed" => Sought::Failed,
            _ => Sought::Any,
        };
        let filtered = !q.is_empty() || !matches!(sought, Sought::Any);
        // What an operation says is looked through once, not once a statement.
        let named: Vec<bool> = listing
            .operations
            .iter()
            .map(|one| {
                [&*one.text, &one.effects, &one.rule, &one.resource, &one.label]
                    .iter()
                    .any(|text| has(text, &q))
            })
            .collect();
        let fits = |line: &&StatementLine| {
            let by_fate = match sought {
                Sought::Any => true,
                Sought::One(fate) => line.fate == fate,
                Sought::Failed => line.error.is_some(),
            };
            by_fate
                && (q.is_empty()
                    || named.get(line.operation).copied().unwrap_or(false)
                    || [
                        line.text.as_deref(),
                        line.why.as_deref(),
                        line.code,
                        line.error.as_deref(),
                    ]
                    .into_iter()
                    .flatten()
                    .any(|text| has(text, &q)))
        };
        let found: Vec<&StatementLine> = listing.lines.iter().filter(fits).collect();
        let from = query.from.min(found.len().saturating_sub(1)) / PAGE * PAGE;
        let shown: Vec<_> = found.iter().skip(from).take(PAGE).collect();
        let to = from + shown.len();
        let link = |from: usize| {
            let (from, path) = (from.to_string(), format!("/runs/{id}"));
            let fields =
                [("q", query.q.as_str()), ("fate", query.fate.as_str()), ("from", from.as_str())];
            format!("{}#statements", address(&path, fields))
        };
        let listed = listing.lines.len() as u64;
        let mut note = grouped(listing.total);
        if listed < listing.total {
            note = format!(
                "{note}, of which the first {} are listed; the record has them all",
                grouped(listed)
            );
        }
        if filtered {
            note = format!("{} of {note}", grouped(found.len() as u64));
        }
        Self {
            note,
            q: query.q.clone(),
            fate: query.fate.clone(),
            fates: &FATES,
            filtered,
            place: match found.len() {
                0 => String::new(),
                all => format!(
                    "{} to {} of {}",
                    grouped(from as u64 + 1),
                    grouped(to as u64),
                    grouped(all as u64)
                ),
            },
            earlier: (from > 0).then(|| link(from - PAGE)),
            later: (to < found.len()).then(|| link(to)),
            rows: shown.iter().filter_map(|line| RowView::new(listing, line)).collect(),
        }
    }
}

impl RowView {
    fn new(listing: &Listing, line: &StatementLine) -> Option<Self> {
        let operation = listing.operations.get(line.operation)?;
        let text = visible(line.text.as_deref().unwrap_or(&operation.text)).into_owned();
        let answered =
            |number: u64| if line.micros.is_some() { grouped(number) } else { String::new() };
        Some(Self {
            at: Moment::exact(line.at),
            tone: tone(line.fate),
            fate: line.fate.as_str(),
            title: one_line(&text),
            text,
            effects: short(&operation.effects),
            rule: short(&operation.rule),
            resource: short(&operation.resource),
            why: line.why.as_deref().map(|why| match line.code {
                Some(code) => format!("{} ({code})", short(why)),
                None => short(why),
            }),
            error: line.error.as_deref().map(short),
            rows: answered(line.rows),
            bytes: if line.micros.is_some() { size(line.bytes) } else { String::new() },
            masked: answered(line.masked),
            took: line.micros.map(duration).unwrap_or_default(),
        })
    }
}

/// The beginning of a text in one line.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    beginning(&visible(&words.join(" ")), TITLE).into_owned()
}

/// Whether a text has what is sought, in any case.
fn has(text: &str, sought: &str) -> bool {
    !sought.is_empty() && text.to_lowercase().contains(sought)
}
