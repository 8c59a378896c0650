//! Words that the page and the summary say in the same way.

use guard_core::{Certainty, Effect, EndReason, Timestamp};

use super::{
    ManifestColumn, ManifestTable,
    text::{beginning, grouped, visible},
};

/// Effects that a row lists.
pub(super) const MAX_EFFECTS: usize = 12;
/// Characters of a short text: a name, a claim, a reason.
const SHORT: usize = 500;

/// The masked columns of a table, each with how it was masked.
pub(super) fn masked_columns(table: &ManifestTable) -> String {
    let column = |column: &ManifestColumn| format!("{} {}", column.column, column.mask.as_str());
    let columns: Vec<_> = table.columns.iter().take(MAX_EFFECTS * 4).map(column).collect();
    beginning(&visible(&columns.join(", ")), SHORT * 2).into_owned()
}

/// What detectors found in a table.
pub(super) fn detected(table: &ManifestTable) -> String {
    let found = table.detected.iter().map(|(what, count)| format!("{what} ×{}", grouped(*count)));
    found.collect::<Vec<_>>().join(", ")
}

/// What an operation does, in a line.
pub(super) fn effects(effects: &[Effect], certainty: &Certainty) -> String {
    let listed = effects.iter().take(MAX_EFFECTS).map(ToString::to_string);
    let mut line = listed.collect::<Vec<_>>().join(", ");
    if effects.len() > MAX_EFFECTS {
        line.push_str(&format!(" and {} more", effects.len() - MAX_EFFECTS));
    }
    match certainty {
        Certainty::Exact if line.is_empty() => line.push_str("nothing"),
        Certainty::Exact => {}
        Certainty::Partial(why) => {
            if line.is_empty() {
                line.push_str("not all is known");
            }
            line.push_str(&format!("; not understood in full: {why}"));
        }
        Certainty::Unparsed(why) => line.push_str(&format!("not understood: {why}")),
    }
    beginning(&visible(&line), SHORT * 2).into_owned()
}

/// How a session ended.
pub fn end_words(reason: Option<EndReason>, exit_code: Option<i32>) -> String {
    match (reason, exit_code) {
        (None, _) => "no end in the record".to_owned(),
        (Some(reason), None) => reason.to_string(),
        (Some(reason), Some(code)) => format!("{reason}, exit code {code}"),
    }
}

/// A moment, to the second.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A short text of the job's, on one page with others.
pub fn short(text: &str) -> String {
    beginning(&visible(text), SHORT).into_owned()
}
