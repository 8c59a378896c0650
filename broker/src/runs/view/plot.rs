//! The plot of statements over time: a small picture without a script, and the same numbers as a table.

use std::fmt::Write as _;

use guard_audit::report::{Fate, Plot, grouped};
use guard_core::Timestamp;

use super::Moment;

/// The picture's own units; the page stretches it.
const WIDTH: u64 = 1200;
const HEIGHT: u64 = 132;
/// Room for a mark under each bar in which something was refused, which a long bar beside it must not hide.
const LANE: u64 = 12;
/// The least that can be seen.
const LEAST: u64 = 2;

/// The plot as a template needs it.
pub(super) struct PlotView {
    pub(super) note: String,
    pub(super) svg: Option<String>,
    pub(super) legend: Vec<(&'static str, &'static str, String)>,
    pub(super) most: String,
    pub(super) step: String,
    pub(super) from: Moment,
    pub(super) to: Moment,
    pub(super) rows: Vec<(String, Vec<String>)>,
}

pub(super) const fn class(fate: Fate) -> &'static str {
    match fate {
        Fate::Allowed => "f-allowed",
        Fate::Masked => "f-masked",
        Fate::Approved => "f-approved",
        Fate::WouldRefuse => "f-would",
        Fate::Refused => "f-refused",
    }
}

impl PlotView {
    pub(super) fn new(plot: &Plot) -> Self {
        let totals: Vec<(Fate, u64)> = Fate::ALL
            .into_iter()
            .map(|fate| (fate, plot.steps().iter().map(|step| count(step, fate)).sum()))
            .filter(|(_, total)| *total > 0)
            .collect();
        let most = plot.steps().iter().map(|step| step.iter().sum::<u64>()).max().unwrap_or(0);
        let (from, to) = plot.span().unwrap_or_default();
        let label = totals
            .iter()
            .map(|(fate, total)| format!("{} {}", grouped(*total), fate.as_str()))
            .collect::<Vec<_>>()
            .join(", ");
        let fates: Vec<Fate> = totals.iter().map(|(fate, _)| *fate).collect();
        Self {
            note: if most == 0 { "no statement".to_owned() } else { label.clone() },
            svg: (most > 0).then(|| svg(plot, most, &label)),
            legend: totals
                .iter()
                .map(|(fate, total)| (class(*fate), fate.as_str(), grouped(*total)))
                .collect(),
            most: format!("highest bar: {}", grouped(most)),
            step: step_words(plot.step()),
            from: Moment::second(from),
            to: Moment::second(to),
            rows: rows(plot, from, &fates),
        }
    }
}

fn count(step: &[u64], fate: Fate) -> u64 {
    step.get(fate as usize).copied().unwrap_or(0)
}

/// Numbers only: nothing of a job is in it.
fn svg(plot: &Plot, most: u64, label: &str) -> String {
    let steps = plot.steps();
    let number = steps.len().max(1) as u64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Statements over time: {label}\">"
    );
    let room = HEIGHT - LANE - 4;
    for (index, step) in (0_u64..).zip(steps) {
        let (x, end) = (index * WIDTH / number, (index + 1) * WIDTH / number);
        let gap = u64::from(end - x > 3);
        let width = (end - x).max(1) - gap;
        let mut y = HEIGHT - LANE;
        let words: Vec<String> = Fate::ALL
            .into_iter()
            .filter(|fate| count(step, *fate) > 0)
            .map(|fate| format!("{} {}", grouped(count(step, fate)), fate.as_str()))
            .collect();
        if words.is_empty() {
            continue;
        }
        // Formatting into a string does not fail.
        let _ = write!(svg, "<g><title>{}</title>", words.join(", "));
        for fate in Fate::ALL {
            let found = count(step, fate);
            if found == 0 {
                continue;
            }
            let height = (found * (room - LEAST * 5) / most).max(LEAST).min(y);
            y -= height;
            let class = class(fate);
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
            );
        }
        if count(step, Fate::Refused) > 0 {
            let (y, class) = (HEIGHT - LANE + 3, class(Fate::Refused));
            let height = LANE - 5;
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
            );
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

fn rows(plot: &Plot, from: Timestamp, fates: &[Fate]) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    for (index, step) in (0_i64..).zip(plot.steps()) {
        if step.iter().all(|count| *count == 0) {
            continue;
        }
        let at = from.as_millisecond().saturating_add(index.saturating_mul(plot.step()));
        let at = Timestamp::from_millisecond(at).unwrap_or(from);
        let at = at.strftime("%H:%M:%S%.1f").to_string();
        rows.push((at, fates.iter().map(|fate| grouped(count(step, *fate))).collect()));
    }
    rows
}

fn step_words(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        _ if seconds < 120 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        _ => format!("{} min", seconds / 60),
    }
}
