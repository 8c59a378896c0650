//! A refusal and an operation as rows of the page.

use askama::Template;
use guard_core::{Bounded, Effect};

use super::Fact;
use crate::report::{
    OperationReport, Refusal, ResultReport, StatementText,
    text::{beginning, duration, grouped, size, visible},
    words::{MAX_EFFECTS, effects, short, time},
};

/// Characters of a statement in a row's title.
const TITLE: usize = 160;

#[derive(Template)]
#[template(path = "refused.html")]
pub(super) struct RefusedView {
    what: String,
    code: &'static str,
    rule: String,
    policy: String,
    resource: String,
    times: String,
    text: String,
    cut: Option<String>,
    effects: String,
    detail: Option<String>,
    hint: Option<String>,
}

#[derive(Template)]
#[template(path = "operation.html")]
pub(super) struct OperationView {
    title: String,
    count: String,
    rows: String,
    bytes: String,
    time: String,
    effects: String,
    masked: Option<String>,
    marks: Vec<String>,
    text: String,
    cut: Option<String>,
    facts: Vec<Fact>,
}

impl RefusedView {
    pub(super) fn new(refusal: &Refusal) -> Self {
        let denial = &refusal.denial;
        let text = |text: &Option<String>| text.as_deref().map(short);
        Self {
            what: short(&denial.what),
            code: refusal.code,
            rule: denial.rule.to_string(),
            policy: denial.policy.to_string(),
            resource: refusal.resource.to_string(),
            times: match refusal.count {
                1 => time(refusal.first_at),
                count => format!(
                    "{} times, {} to {}",
                    grouped(count),
                    time(refusal.first_at),
                    time(refusal.last_at)
                ),
            },
            text: visible(&refusal.statement.text).into_owned(),
            cut: cut(&refusal.statement),
            effects: effects(&refusal.effects, &refusal.certainty),
            detail: text(&denial.detail),
            hint: text(&denial.hint),
        }
    }
}

impl OperationView {
    pub(super) fn new(operation: &OperationReport) -> Self {
        let statement = &operation.statement;
        let one_line: String = statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let masked = operation.masks.iter().flatten().count();
        let mut marks = Vec::new();
        if operation.effects.iter().any(is_unbounded) {
            marks.push("without a restriction".to_owned());
        }
        if operation.unlisted {
            marks.push("new since the lock".to_owned());
        }
        if operation.beyond_learned > 0 {
            marks.push(format!("rows beyond the lock ×{}", grouped(operation.beyond_learned)));
        }
        for (code, count) in &operation.errors {
            marks.push(format!("error {} ×{}", short(code), grouped(*count)));
        }
        if operation.lost > 0 {
            marks.push(format!("outcome unknown ×{}", grouped(operation.lost)));
        }
        let mut facts = vec![
            ("decision", format!("{} by rule {}", operation.decision, operation.rule)),
            ("resource", operation.resource.to_string()),
            ("first", time(operation.first_at)),
        ];
        if operation.last_at != operation.first_at {
            facts.push(("last", time(operation.last_at)));
        }
        if operation.prepared > 0 {
            facts.push(("made ready", format!("{}×", grouped(operation.prepared))));
        }
        if let Some(rows) = operation.rows_learned {
            let (least, most) = (grouped(rows.least), grouped(rows.most));
            facts.push(("rows by the lock", format!("{least} to {most} each")));
        }
        if let Some(rows) = operation.estimated_rows {
            facts.push(("estimated", format!("at most {} rows each", grouped(rows))));
        }
        if masked > 0 {
            let columns = operation.masks.iter().enumerate().filter_map(|(index, mask)| {
                mask.map(|mask| format!("column {} {}", index + 1, mask.as_str()))
            });
            facts.push(("masks", columns.take(MAX_EFFECTS * 4).collect::<Vec<_>>().join(", ")));
        }
        facts.push(("fingerprint", statement.fingerprint.to_string()));
        Self {
            title: beginning(&visible(&one_line), TITLE).into_owned(),
            count: grouped(operation.count),
            rows: grouped(operation.rows),
            bytes: size(operation.bytes),
            time: duration(operation.micros),
            effects: effects(&operation.effects, &operation.certainty),
            masked: (masked > 0).then(|| {
                format!("{} values masked in {masked} column(s)", grouped(operation.masked))
            }),
            marks,
            text: visible(&statement.text).into_owned(),
            cut: cut(statement),
            facts,
        }
    }
}

fn cut(statement: &StatementText) -> Option<String> {
    (statement.text_bytes > statement.text.len() as u64).then(|| {
        format!("the beginning of {}; the record has the whole text", size(statement.text_bytes))
    })
}

/// Whether an effect changes rows without a restriction, which a reader should see.
const fn is_unbounded(effect: &Effect) -> bool {
    match effect.bounded {
        Bounded::No => true,
        Bounded::Yes | Bounded::NotApplicable => false,
    }
}

/// Rows that the client got of one statement.
#[derive(Template)]
#[template(path = "result.html")]
pub(super) struct ResultView {
    head: String,
    note: String,
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl ResultView {
    pub(super) fn new(result: &ResultReport) -> Self {
        let shown = result.rows.len() as u64;
        let mut note = format!("{}, {} rows", time(result.at), grouped(result.kept));
        if shown < result.kept {
            note.push_str(&format!(", the first {shown} are shown"));
        }
        match (result.truncated, result.got) {
            (false, Some(_)) => {}
            // Answers of HTTP APIs have no rows that were counted, only parts.
            (true, Some(0)) => note.push_str("; truncated: the client got more"),
            (true, Some(got)) => {
                note.push_str(&format!(
                    "; truncated: the client got more ({} in all)",
                    grouped(got)
                ));
            }
            (_, None) => note.push_str("; the answer did not come to its end"),
        }
        let cells =
            |row: &Vec<Option<String>>| row.iter().map(|cell| cell.as_deref().map(short)).collect();
        Self {
            head: short(&result.statement.text),
            note,
            columns: result.columns.iter().map(|name| short(name)).collect(),
            rows: result.rows.iter().map(cells).collect(),
        }
    }
}
