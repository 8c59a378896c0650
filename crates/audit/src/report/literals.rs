//! Statements without what was written into them, for readers who may see what a job does and not with which values.
//!
//! This is no parser: it hides too much rather than too little. Where a text could be read in two ways (a backslash in a
//! string, a quote that nothing closes) everything from there on is hidden.

use super::{Listing, Report, StatementText};
use guard_core::{Certainty, Denial, DenialCode};

/// What stands for a value.
const HIDDEN: &str = "…";

/// The text with every string, number, bit string, dollar-quoted text and comment hidden. Names and words stay.
pub fn without_literals(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    // Whether the character before belongs to a name, in which digits and dollars are no values.
    let mut in_name = false;
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        if !in_name && let Some(number) = refusal_number(rest) {
            shown.push_str(number);
            rest = rest.get(number.len()..).unwrap_or_default();
            continue;
        }
        let hidden = match first {
            '\'' => Some(after_string(after)),
            '-' if after.starts_with('-') => {
                Some(after.find('\n').and_then(|end| after.get(end..)))
            }
            '/' if after.starts_with('*') => {
                Some(after_comment(after.get(1..).unwrap_or_default()))
            }
            '$' if !in_name => dollar_tag(after).map(|tag| after_dollars(after, tag)),
            '0'..='9' if !in_name => Some(Some(after_number(after))),
            '.' if !in_name && after.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(Some(after_number(after)))
            }
            _ => None,
        };
        match hidden {
            Some(Some(next)) => {
                shown.push_str(HIDDEN);
                rest = next;
                in_name = false;
            }
            Some(None) => {
                shown.push_str(HIDDEN);
                return shown;
            }
            None if first == '"' => {
                // A quoted name, with its closing quote; one that is not closed is not known to be a name.
                let Some(end) = after.find('"') else {
                    shown.push_str(HIDDEN);
                    return shown;
                };
                let (name, next) = after.split_at_checked(end + 1).unwrap_or((after, ""));
                shown.push('"');
                shown.push_str(name);
                rest = next;
                in_name = false;
            }
            None if first == '$' && !in_name => {
                // A parameter: `$1`.
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let (number, next) = after.split_at_checked(end).unwrap_or((after, ""));
                shown.push('$');
                shown.push_str(number);
                rest = next;
                in_name = false;
            }
            None => {
                shown.push(first);
                rest = after;
                in_name = first.is_alphanumeric() || first == '_' || (in_name && first == '$');
            }
        }
    }
    shown
}

/// The number of a refusal, `GRD-2nnn`, that a text begins with: guard's own word, and no value.
fn refusal_number(text: &str) -> Option<&str> {
    let (number, next) = text.split_at_checked("GRD-2000".len())?;
    let digits = number.strip_prefix("GRD-2")?;
    let ends = !next.starts_with(|c: char| c.is_alphanumeric() || ['_', '.', '$'].contains(&c));
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && ends).then_some(number)
}

/// Behind a string that was opened. A backslash may or may not escape what follows it: nothing behind it is known.
fn after_string(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let at = rest.find(['\'', '\\'])?;
        let found = rest.get(at..)?;
        if found.starts_with('\\') {
            return None;
        }
        let next = found.get(1..)?;
        match next.strip_prefix('\'') {
            Some(more) => rest = more,
            None => return Some(next),
        }
    }
}

/// Behind a comment that was opened; they nest.
fn after_comment(text: &str) -> Option<&str> {
    let (mut rest, mut depth) = (text, 1_u32);
    loop {
        let (open, close) = (rest.find("/*"), rest.find("*/")?);
        match open.filter(|open| *open < close) {
            Some(open) => {
                depth = depth.checked_add(1)?;
                rest = rest.get(open + 2..)?;
            }
            None => {
                depth -= 1;
                rest = rest.get(close + 2..)?;
                if depth == 0 {
                    return Some(rest);
                }
            }
        }
    }
}

/// The tag of a dollar quote, behind its first dollar: up to and with the second.
fn dollar_tag(after: &str) -> Option<&str> {
    let end = after.find('$')?;
    let tag = after.get(..end)?;
    let fits = tag.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !tag.starts_with(|c: char| c.is_ascii_digit());
    if fits { after.get(..=end) } else { None }
}

/// Behind the text of a dollar quote.
fn after_dollars<'a>(after: &'a str, tag: &str) -> Option<&'a str> {
    let body = after.get(tag.len()..)?;
    let close = format!("${tag}");
    let end = body.find(&close)?;
    body.get(end + close.len()..)
}

/// Behind a number, with whatever hangs on it (`1e5`, `0x1F`, `1_000`, `.5`).
fn after_number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
    end.and_then(|end| text.get(end..)).unwrap_or_default()
}

impl Report {
    /// The report for readers who do not see values: texts without literals, and without reasons that may quote them.
    #[must_use]
    pub fn without_literals(mut self) -> Self {
        let refusals = self.refused.listed.iter_mut().chain(&mut self.would_refuse.listed);
        for refusal in refusals {
            hide(&mut refusal.statement);
            refusal.certainty = reasonless(&refusal.certainty);
            refusal.denial.what = without_literals(&refusal.denial.what);
            refusal.denial.detail = detail(&refusal.denial);
            refusal.denial.hint = refusal.denial.hint.as_deref().map(without_literals);
        }
        for over in &mut self.budgets.listed {
            hide(&mut over.statement);
        }
        for operation in &mut self.operations.listed {
            hide(&mut operation.statement);
            operation.certainty = reasonless(&operation.certainty);
        }
        for approval in &mut self.approvals.listed {
            if let Some(statement) = &mut approval.statement {
                hide(statement);
            }
        }
        // Rows are values and nothing else.
        self.results.listed.clear();
        for connection in &mut self.connections.listed {
            HIDDEN.clone_into(&mut connection.client);
        }
        self
    }
}

impl Listing {
    /// The list for readers who do not see values.
    #[must_use]
    pub fn without_literals(mut self) -> Self {
        for operation in &mut self.operations {
            operation.text = without_literals(&operation.text).into();
        }
        for line in &mut self.lines {
            // The operation's text says what it was.
            line.text = None;
            line.why = line.why.as_deref().map(|why| without_literals(why).into());
        }
        self
    }
}

fn hide(statement: &mut StatementText) {
    statement.text = without_literals(&statement.text);
}

/// What is said of a refusal beside its rule. A parser's words quote what it did not understand, in quotes that are a name's
/// elsewhere.
fn detail(denial: &Denial) -> Option<String> {
    let quotes = denial.code == DenialCode::NotUnderstood;
    denial.detail.as_deref().filter(|_| !quotes).map(without_literals)
}

/// Why something was not understood may quote it.
fn reasonless(certainty: &Certainty) -> Certainty {
    match certainty {
        Certainty::Exact => Certainty::Exact,
        Certainty::Partial(_) => Certainty::Partial("why is not shown".into()),
        Certainty::Unparsed(_) => Certainty::Unparsed("why is not shown".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_and_names_stay() {
        for (text, shown) in [
            ("SELECT * FROM t WHERE a = 'x' AND b=12.5e3", "SELECT * FROM t WHERE a = … AND b=…"),
            ("SELECT 'it''s', e2 FROM t2", "SELECT …, e2 FROM t2"),
            ("UPDATE t SET \"it's\" = $1, c = $12", "UPDATE t SET \"it's\" = $1, c = $12"),
            ("SELECT $$se'cret$$, $a$b$$c$a$ FROM t", "SELECT …, … FROM t"),
            ("SELECT a$1 FROM t$x$ WHERE y = .5", "SELECT a$1 FROM t$x$ WHERE y = …"),
            ("SELECT 1 -- secret\nFROM t", "SELECT … …\nFROM t"),
            ("SELECT /* a /* b */ 'c' */ d", "SELECT … d"),
            ("ERROR: ids above 7 (GRD-2101)", "ERROR: ids above … (GRD-2101)"),
            (
                "SELECT GRD-4111, GRD-21011, GRD-2101.5, aGRD-2101",
                "SELECT GRD-…, GRD-…, GRD-…, aGRD-…",
            ),
            ("SELECT B'101', X'1F', 0x1F, 1_000", "SELECT B…, X…, …, …"),
        ] {
            assert_eq!(without_literals(text), shown);
        }
    }

    #[test]
    fn a_parsers_words_are_not_shown_for_they_quote_what_it_read() {
        let denial = |code| Denial {
            code,
            what: "blocked the statement".into(),
            rule: "default-deny".parse().unwrap(),
            policy: "p".parse().unwrap(),
            detail: Some("unterminated string at or near \"'secret\"".into()),
            hint: None,
        };
        assert_eq!(detail(&denial(DenialCode::NotUnderstood)), None);
        let shown = detail(&Denial {
            detail: Some("ids above 7 go through migrations".into()),
            ..denial(DenialCode::Rule)
        });
        assert_eq!(shown.as_deref(), Some("ids above … go through migrations"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_hides_all_that_follows() {
        for text in [
            r"SELECT 'a\' AS secret, b'",
            r"SELECT E'a\'secret'",
            "SELECT 'secret",
            "SELECT \"secret",
            "SELECT /* secret",
            "SELECT $a$ secret $b$",
            "SELECT -- secret",
        ] {
            let shown = without_literals(text);
            assert!(!shown.contains("secret"), "{text}: {shown}");
            assert!(shown.starts_with("SELECT "), "{shown}");
        }
    }
}
