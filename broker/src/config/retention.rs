//! `retention`: how long records are kept.

use std::time::Duration;

use guard_core::{
    Identity,
    document::{Node, Problems},
};

const FIELDS: &[&str] = &["records", "rules", "delete_by_hand"];
const RULE: &[&str] = &["trust_rule", "repository", "resource", "keep"];
const DAY: u64 = 24 * 60 * 60;

/// How long records are kept. Without any of it they are kept for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Those that no rule is about.
    records: Option<Duration>,
    rules: Vec<Rule>,
    /// Whether a person may delete one that is not due.
    pub(crate) by_hand: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    trust_rule: Option<String>,
    repository: Option<String>,
    resource: Option<String>,
    keep: Duration,
}

impl Retention {
    /// How long the record of such a session is kept; for ever if nothing is said. The first rule that is about it counts.
    pub(crate) fn of(
        &self,
        run: &Identity,
        trust_rule: &str,
        resources: &[String],
    ) -> Option<Duration> {
        let about = |rule: &&Rule| {
            rule.trust_rule.as_deref().is_none_or(|name| name == trust_rule)
                && rule.repository.as_deref().is_none_or(|name| name == run.repository)
                && rule.resource.as_ref().is_none_or(|name| resources.contains(name))
        };
        self.rules.iter().find(about).map(|rule| rule.keep).or(self.records)
    }

    /// Nothing younger than this is due.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        self.rules.iter().map(|rule| rule.keep).chain(self.records).min()
    }
}

/// Reads `retention`.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Retention> {
    let fields = node.fields(problems)?;
    let records = match fields.optional("records") {
        Some(node) => Some(days(node, problems)?),
        None => None,
    };
    let mut rules = Vec::new();
    if let Some(node) = fields.optional("rules") {
        for item in node.list(problems)? {
            let fields = item.fields(problems)?;
            let text = |name: &str, problems: &mut Problems| {
                fields.optional(name).and_then(|node| node.text(problems).map(str::to_owned))
            };
            let rule = Rule {
                trust_rule: text("trust_rule", problems),
                repository: text("repository", problems),
                resource: text("resource", problems),
                keep: fields.required("keep", problems).and_then(|node| days(node, problems))?,
            };
            if (&rule.trust_rule, &rule.repository, &rule.resource) == (&None, &None, &None) {
                item.problem_with_help(
                    problems,
                    "this rule is about every record",
                    "say `trust_rule`, `repository` or `resource`; what is for all others is `records`",
                );
            }
            fields.finish(RULE, problems);
            rules.push(rule);
        }
    }
    let by_hand = fields.optional("delete_by_hand").and_then(|node| node.boolean(problems));
    fields.finish(FIELDS, problems);
    Some(Retention { records, rules, by_hand: by_hand.unwrap_or_default() })
}

/// A whole number of days (`d`), weeks (`w`) or years (`y`, of 365 days), which is not 0.
fn days(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let text = node.text(problems)?;
    let parsed = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| Some((text.get(..at)?.parse::<u32>().ok()?, unit)))
        .and_then(|(count, unit)| match unit {
            'd' => Some(u64::from(count) * DAY),
            'w' => Some(u64::from(count) * 7 * DAY),
            'y' => Some(u64::from(count) * 365 * DAY),
            _ => None,
        })
        .filter(|seconds| (1..=1000 * 365 * DAY).contains(seconds));
    if parsed.is_none() {
        node.problem(
            problems,
            format!("expected a number of days like `400d` or years like `7y`, found `{text}`"),
        );
    }
    parsed.map(Duration::from_secs)
}
