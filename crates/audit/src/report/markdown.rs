//! The report as Markdown, for a job's summary.
//!
//! GitHub renders HTML, links and mentions in a summary, and a statement or a branch's name is the job's to
//! choose. So every such text stands in a code span of its own on a single line, whose fence is longer
//! than any run of backticks in it: nothing inside a code span means anything. None stands in a table.

use std::fmt::Write as _;

use super::{
    Listed, Refusal, Report, Whole,
    text::{beginning, grouped, printable, size},
    words::{detected, effects, end_words, masked_columns, time},
};

/// Refusals that a summary lists.
const MAX_REFUSED: usize = 10;
/// Tables of the manifest that a summary lists.
const MAX_TABLES: usize = 50;
/// Steps that a summary lists.
const MAX_STEPS: usize = 50;
/// Gaps that a summary lists.
const MAX_GAPS: usize = 20;
/// Characters of a text in a summary.
const MAX_TEXT: usize = 300;

impl Report {
    /// The report as Markdown, well below the 1 MiB that a job summary may have.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_markdown(&mut out);
        out
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let Self { run, window, counts, integrity, .. } = self;
        let verdict = match counts.refused {
            0 => "nothing was refused".to_owned(),
            1 => "1 statement was refused".to_owned(),
            many => format!("{} statements were refused", grouped(many)),
        };
        writeln!(out, "### guard: {verdict}\n")?;
        if self.observes() {
            writeln!(
                out,
                "> **guard only observes here: {} {} not refused that would be.** Set `mode: enforce` in the policy to refuse.\n",
                grouped(counts.would_refuse),
                if counts.would_refuse == 1 { "statement was" } else { "statements were" }
            )?;
        }
        writeln!(
            out,
            "{} job {} on {}, started by {}; session {}\n",
            code(&run.repository),
            code(&run.run.job),
            code(&run.git_ref),
            code(&run.event),
            code(&self.session.to_string())
        )?;
        if let Some(isolation) = &self.isolation {
            writeln!(out, "Isolation of the commands: {}\n", code(isolation.level.as_str()))?;
        }
        writeln!(
            out,
            "| refused | statements | changes | values masked | rows | row data | failed | outcome unknown |"
        )?;
        writeln!(out, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            grouped(counts.refused),
            grouped(counts.statements),
            grouped(counts.changes),
            grouped(counts.masked),
            grouped(counts.rows),
            size(counts.bytes),
            grouped(counts.failed),
            grouped(counts.lost)
        )?;

        self.steps(out)?;
        refusals(out, "Refused", &self.refused)?;
        refusals(out, "Would be refused", &self.would_refuse)?;
        self.beyond_the_lock(out)?;
        self.approvals(out)?;
        if !self.budgets.listed.is_empty() {
            writeln!(out, "#### Over a budget\n")?;
            for over in self.budgets.listed.iter().take(MAX_REFUSED) {
                writeln!(
                    out,
                    "- {} ({} of {}{}, connection {}, {} times)",
                    code(&over.statement.text),
                    code(over.budget.as_str()),
                    grouped(over.limit),
                    if over.ended { ", ended" } else { ", observed" },
                    over.connection,
                    grouped(over.count)
                )?;
            }
            let more = self.budgets.total.saturating_sub(MAX_REFUSED as u64);
            if more > 0 {
                writeln!(out, "- and {} more: see the report", grouped(more))?;
            }
            writeln!(out)?;
        }

        let refused = self.egress.listed.iter().filter(|place| place.refused > 0);
        let refused: Vec<_> = refused.take(MAX_REFUSED).collect();
        if !refused.is_empty() {
            writeln!(out, "#### Not let out\n")?;
            for place in refused {
                writeln!(
                    out,
                    "- {}{} ({} of {} times): {}",
                    code(&format!("{}:{}", place.host, place.port)),
                    place.of_steps(),
                    grouped(place.refused),
                    grouped(place.attempts),
                    code(place.why.as_deref().unwrap_or("not known"))
                )?;
            }
            writeln!(out)?;
        }

        if !self.manifest.listed.is_empty() {
            writeln!(out, "#### What left, masked\n")?;
            for table in self.manifest.listed.iter().take(MAX_TABLES) {
                writeln!(
                    out,
                    "- {}: {} rows, {}, {} values masked",
                    code(&table.tables.join(", ")),
                    grouped(table.rows),
                    size(table.bytes),
                    grouped(table.masked)
                )?;
                if !table.columns.is_empty() {
                    writeln!(out, "  - masked: {}", code(&masked_columns(table)))?;
                }
                if !table.detected.is_empty() {
                    writeln!(out, "  - detected elsewhere: {}", code(&detected(table)))?;
                }
            }
            let more = self.manifest.total.saturating_sub(MAX_TABLES as u64);
            if more > 0 {
                writeln!(out, "- and {} more: see the report", grouped(more))?;
            }
            writeln!(out)?;
        }

        writeln!(out, "#### On which authority\n")?;
        writeln!(out, "- trust rule {}", code(&self.trust.rule))?;
        if let Some(reason) = &self.trust.broad {
            writeln!(out, "- **the rule is broad**, because: {}", code(reason))?;
        }
        for grant in &self.grants {
            writeln!(
                out,
                "- {} under policy {} (SHA-256 {}), enforced at the {}",
                code(grant.resource.as_str()),
                code(grant.policy.as_str()),
                code(&grant.policy_digest.short()),
                grant.enforce_at
            )?;
        }
        writeln!(
            out,
            "- from {} to {}: {}",
            time(window.opened_at),
            window.ended_at.map_or_else(|| "an unknown time".to_owned(), time),
            end_words(window.reason, window.exit_code)
        )?;
        if let Some(until) = window.renewed_until {
            let times = window.renewals;
            writeln!(out, "- renewed {times} times, the last time until {}", time(until))?;
        }
        writeln!(out)?;

        writeln!(out, "#### How far the evidence reaches\n")?;
        let whole = match integrity.whole {
            Whole::Verified => "the record is whole and sealed",
            Whole::Unchecked => "the record is sealed; the seal was not checked here",
            Whole::Unsealed => "**the record is not sealed**",
            Whole::Broken => "**the record is broken**",
        };
        writeln!(
            out,
            "- {whole}: {} entries, last hash {}",
            grouped(integrity.entries),
            code(&integrity.head.to_string())
        )?;
        if let Some(problem) = &integrity.problem {
            writeln!(out, "- {}", code(problem))?;
        }
        for gap in self.gaps.iter().take(MAX_GAPS) {
            writeln!(out, "- {gap}")?;
        }
        writeln!(out, "- check it: {}", code(&integrity.verify))
    }
}

impl Report {
    /// What went on that the policies' locks do not list, or on more or fewer rows.
    fn beyond_the_lock(&self, out: &mut String) -> std::fmt::Result {
        let beyond = self.operations.listed.iter();
        let beyond: Vec<_> =
            beyond.filter(|operation| operation.unlisted || operation.beyond_learned > 0).collect();
        if beyond.is_empty() {
            return Ok(());
        }
        writeln!(out, "#### New since the lock\n")?;
        for operation in beyond.iter().take(MAX_REFUSED) {
            let text = code(&operation.statement.text);
            match (operation.unlisted, operation.rows_learned) {
                (false, Some(rows)) => writeln!(
                    out,
                    "- {text}: not the {} to {} rows of the lock, {} times",
                    grouped(rows.least),
                    grouped(rows.most),
                    grouped(operation.beyond_learned)
                )?,
                (true, _) | (false, None) => {
                    writeln!(out, "- {text} ({} times)", grouped(operation.count))?;
                    let effects = effects(&operation.effects, &operation.certainty);
                    writeln!(out, "  - does: {}", code(&effects))?;
                }
            }
        }
        if let Some(more) = beyond.len().checked_sub(MAX_REFUSED).filter(|more| *more > 0) {
            writeln!(out, "- and {} more: see the report", grouped(more as u64))?;
        }
        writeln!(out)
    }

    /// What people were asked, if they were.
    fn steps(&self, out: &mut String) -> std::fmt::Result {
        if self.steps.listed.is_empty() {
            return Ok(());
        }
        writeln!(out, "#### Steps\n")?;
        for step in self.steps.listed.iter().take(MAX_STEPS) {
            let name = step.name.as_ref().map(|name| format!(" {}", code(name.as_str())));
            writeln!(
                out,
                "- step {}{}: {} executed, {} refused, {} values masked",
                step.number,
                name.unwrap_or_default(),
                grouped(step.statements),
                grouped(step.refused),
                grouped(step.masked)
            )?;
        }
        let more = self.steps.total.saturating_sub(MAX_STEPS as u64);
        if more > 0 {
            writeln!(out, "- and {} more: see the report", grouped(more))?;
        }
        writeln!(out)
    }

    fn approvals(&self, out: &mut String) -> std::fmt::Result {
        if self.approvals.listed.is_empty() {
            return Ok(());
        }
        writeln!(out, "#### Asked people\n")?;
        for approval in self.approvals.listed.iter().take(MAX_REFUSED) {
            let text = approval.statement.as_ref().map_or("", |statement| &statement.text);
            let rules: Vec<_> =
                approval.terms.iter().map(|terms| code(terms.rule.as_str())).collect();
            writeln!(out, "- {}: {} ({})", code(text), approval.state, rules.join(", "))?;
            for (place, person) in approval.by.iter().enumerate() {
                let reason = approval.reasons.get(place).map_or("", String::as_str);
                let (name, subject) = (code(&person.name), code(&person.subject));
                writeln!(out, "  - by {name} ({subject}): {}", code(reason))?;
            }
        }
        let more = self.approvals.total.saturating_sub(MAX_REFUSED as u64);
        if more > 0 {
            writeln!(out, "- and {} more: see the report", grouped(more))?;
        }
        writeln!(out)
    }
}

/// Refusals under a heading, if there are any.
fn refusals(out: &mut String, heading: &str, refusals: &Listed<Refusal>) -> std::fmt::Result {
    if refusals.listed.is_empty() {
        return Ok(());
    }
    writeln!(out, "#### {heading}\n")?;
    for refusal in refusals.listed.iter().take(MAX_REFUSED) {
        let times = match refusal.count {
            1 => String::new(),
            count => format!(", {} times", grouped(count)),
        };
        writeln!(
            out,
            "- {} ({}, rule {} of policy {}{times})",
            code(&refusal.statement.text),
            refusal.code,
            code(refusal.denial.rule.as_str()),
            code(refusal.denial.policy.as_str())
        )?;
        writeln!(out, "  - would have: {}", code(&effects(&refusal.effects, &refusal.certainty)))?;
        if let Some(detail) = &refusal.denial.detail {
            writeln!(out, "  - why: {}", code(detail))?;
        }
        if let Some(hint) = &refusal.denial.hint {
            writeln!(out, "  - what to do: {}", code(hint))?;
        }
    }
    let more = refusals.total.saturating_sub(MAX_REFUSED as u64);
    if more > 0 {
        writeln!(out, "- and {} more: see the report", grouped(more))?;
    }
    writeln!(out)
}

/// A text as one code span on one line, which nothing in it can end.
fn code(text: &str) -> String {
    let words = beginning(text, MAX_TEXT).split_whitespace().collect::<Vec<_>>().join(" ");
    let line = printable(&words);
    if line.is_empty() {
        return "–".to_owned();
    }
    let longest = line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // CommonMark 6.1: one blank at each end is not part of the content.
    let blank = if line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{blank}{line}{blank}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_code_span() {
        for (text, shown) in [
            ("SELECT 1", "`SELECT 1`"),
            ("a`b", "``a`b``"),
            ("```\n<script>", "```` ``` <script> ````"),
            ("`", "`` ` ``"),
            ("   ", "–"),
            ("", "–"),
            ("a | b \\| c", "`a | b \\| c`"),
            ("\u{1b}[2J", "`\\u{1b}[2J`"),
        ] {
            assert_eq!(code(text), shown);
        }
    }
}
