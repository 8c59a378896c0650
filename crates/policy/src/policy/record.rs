//! The `record` of a policy and of its rules: how much of what was done is recorded.
//!
//! What a policy asks for and cannot be kept is a problem: it does not load.

use guard_core::{
    DecisionKind, Literals, RecordLevel, Recording, Step,
    document::{Fields, Node, Problems},
};

use super::{Policy, rule::Rule};

/// The most rows of an answer that a policy may keep.
const MAX_ROWS: u64 = 100_000;
/// The most bytes of an answer that a policy may keep.
const MAX_BYTES: u64 = 64 << 20;
/// The most bytes of each direction of a connection that a policy may keep: readers take no record that is much longer.
const MAX_TRAFFIC: u64 = 1 << 30;
/// Bytes of each direction of a connection that are kept where a policy does not say.
const TRAFFIC: u64 = 16 << 20;

const LEVELS: [(&str, RecordLevel); 3] = [
    ("statements", RecordLevel::Statements),
    ("results", RecordLevel::Results),
    ("bytes", RecordLevel::Bytes),
];
const LITERALS: [(&str, Literals); 2] =
    [("text", Literals::Text), ("fingerprint", Literals::Fingerprint)];

/// How much a policy records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Records {
    /// Of every statement at least.
    pub(super) base: Recording,
    /// Bytes of each direction of a connection, if they are recorded.
    pub(super) traffic: Option<u64>,
    /// How texts are recorded.
    pub(super) literals: Literals,
}

/// The `record` of a policy.
pub(super) fn of_policy(node: &Node, problems: &mut Problems) -> Option<Records> {
    if node.is_scalar() {
        let level = node.one_of(&LEVELS, problems)?;
        let traffic = (level == RecordLevel::Bytes).then_some(TRAFFIC);
        let base = Recording { level, ..Recording::default() };
        return Some(Records { base, traffic, literals: Literals::Text });
    }
    let fields = node.fields(problems)?;
    let base = recording(&fields, RecordLevel::Statements, problems);
    let traffic = limit(&fields, "traffic", Node::size, MAX_TRAFFIC, problems);
    let literals = match fields.optional("literals") {
        Some(node) => node.one_of(&LITERALS, problems),
        None => Some(Literals::default()),
    };
    let said = fields.optional("traffic");
    fields.finish(&["level", "rows", "bytes", "traffic", "literals"], problems);
    let (base, traffic, literals) = (base?, traffic?, literals?);
    let traffic = match base.level {
        RecordLevel::Bytes => Some(traffic.unwrap_or(TRAFFIC)),
        RecordLevel::Statements | RecordLevel::Results => {
            if let Some(said) = said {
                said.problem_with_help(
                    problems,
                    format!("`traffic` says nothing at level `{}`", base.level),
                    "it bounds what `level: bytes` keeps: name that level, or leave it out",
                );
                return None;
            }
            None
        }
    };
    Some(Records { base, traffic, literals })
}

/// The `record` of a rule.
pub(super) fn of_rule(
    node: &Node,
    decide: Option<DecisionKind>,
    problems: &mut Problems,
) -> Option<Recording> {
    match decide {
        Some(DecisionKind::Block) => {
            node.problem_with_help(
                problems,
                "`record` stands on a rule that blocks, of which there is no answer to record",
                "refusals are always recorded: leave it out, or write it on a rule that allows",
            );
            return None;
        }
        Some(DecisionKind::Allow | DecisionKind::Approve) | None => {}
    }
    let recording = if node.is_scalar() {
        Recording { level: node.one_of(&LEVELS, problems)?, ..Recording::default() }
    } else {
        let fields = node.fields(problems)?;
        let recording = recording(&fields, RecordLevel::Results, problems);
        fields.finish(&["level", "rows", "bytes"], problems);
        recording?
    };
    match recording.level {
        RecordLevel::Statements | RecordLevel::Results => Some(recording),
        RecordLevel::Bytes => {
            node.problem_with_help(
                problems,
                "level `bytes` is of a whole connection, and a rule is of single statements",
                "write `record: bytes` beside `rules`, or `record: results` here",
            );
            None
        }
    }
}

fn recording(
    fields: &Fields<'_>,
    level: RecordLevel,
    problems: &mut Problems,
) -> Option<Recording> {
    let level = match fields.optional("level") {
        Some(node) => node.one_of(&LEVELS, problems),
        None => Some(level),
    };
    let rows = limit(fields, "rows", Node::number, MAX_ROWS, problems);
    let bytes = limit(fields, "bytes", Node::size, MAX_BYTES, problems);
    let (level, rows, bytes) = (level?, rows?, bytes?);
    if level == RecordLevel::Statements
        && let Some(key) = ["rows", "bytes"].into_iter().find_map(|key| fields.optional(key))
    {
        key.problem_with_help(
            problems,
            "level `statements` keeps no rows that this could bound",
            "name `level: results`, or leave it out",
        );
        return None;
    }
    Some(Recording {
        level,
        rows: rows.unwrap_or(Recording::ROWS),
        bytes: bytes.unwrap_or(Recording::BYTES),
    })
}

/// A limit: something, and no more than a record can hold.
fn limit(
    fields: &Fields<'_>,
    key: &str,
    read: fn(&Node, &mut Problems) -> Option<u64>,
    most: u64,
    problems: &mut Problems,
) -> Option<Option<u64>> {
    let Some(node) = fields.optional(key) else { return Some(None) };
    let limit = read(node, problems)?;
    if limit == 0 || limit > most {
        node.problem_with_help(
            problems,
            format!("`{key}` is {limit}, and a record keeps 1 to {most}"),
            "what is over the limit is counted and not kept; for no rows at all there is `statements`",
        );
        return None;
    }
    Some(Some(limit))
}

impl Records {
    /// Whether what is asked for can be kept: an answer can repeat what its statement says, so no level that keeps answers
    /// goes with texts that must not be recorded.
    pub(super) fn check(
        &self,
        said: Option<&Node>,
        rules: &[Rule],
        problems: &mut Problems,
    ) -> Option<()> {
        match self.literals {
            Literals::Text => return Some(()),
            Literals::Fingerprint => {}
        }
        let by_rule = rules.iter().find(|rule| rule.record.is_some());
        let what = match by_rule {
            Some(rule) => format!("rule `{}` records results", rule.id),
            None if self.base.keeps_rows() => format!("the level is `{}`", self.base.level),
            None => return Some(()),
        };
        if let Some(node) = said {
            node.problem_with_help(
                problems,
                format!("`literals: fingerprint` cannot be kept where {what}"),
                "answers repeat what statements say (`SELECT 'x'`): record statements only, or `literals: text`",
            );
        }
        None
    }
}

impl Policy {
    /// How much is recorded of an operation that met these rules.
    pub(super) fn recording_of(&self, trace: &[Step]) -> Recording {
        let met = |rule: &&Rule| trace.iter().any(|step| step.rule == rule.id);
        let rules = self.rules.iter().filter(|rule| rule.record.is_some()).filter(met);
        rules.filter_map(|rule| rule.record).fold(self.record.base, Recording::and)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const RULES: &str = "rules:\n  - name: r\n    sql: { effects: [read] }\n    decide: allow\n";

    fn read(record: &str, rule: &str) -> Result<Policy, String> {
        let text = format!("policy: p\n{record}\n{RULES}{rule}");
        Policy::parse("p.yaml", &text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn levels_and_limits_are_read() {
        let results = |rows, bytes| Recording { level: RecordLevel::Results, rows, bytes };
        for (record, rule, expected, traffic) in [
            ("", "", Recording::default(), None),
            ("record: statements", "", Recording::default(), None),
            ("record: results", "", results(1_000, 1 << 20), None),
            ("record: { level: results, rows: 5, bytes: 2KiB }", "", results(5, 2048), None),
            ("", "    record: results", results(1_000, 1 << 20), None),
            ("", "    record: { rows: 7 }", results(7, 1 << 20), None),
            // The larger limit of those that keep rows.
            (
                "record: { level: results, rows: 5, bytes: 2MiB }",
                "    record: { rows: 9, bytes: 1KiB }",
                results(9, 2 << 20),
                None,
            ),
            ("record: results", "    record: statements", results(1_000, 1 << 20), None),
            (
                "record: bytes",
                "",
                Recording { level: RecordLevel::Bytes, ..Recording::default() },
                Some(16 << 20),
            ),
            (
                "record: { level: bytes, traffic: 1MiB }",
                "    record: { rows: 2000 }",
                Recording { level: RecordLevel::Bytes, rows: 2_000, bytes: 1 << 20 },
                Some(1 << 20),
            ),
        ] {
            let policy = read(record, rule).unwrap();
            let step = Step {
                effect: None,
                rule: "r".parse().unwrap(),
                decision: DecisionKind::Allow,
                why: "".into(),
            };
            assert_eq!(policy.recording_of(&[step]), expected, "{record} {rule}");
            assert_eq!(policy.records_traffic(), traffic, "{record}");
            assert_eq!(policy.records_rows(), expected.keeps_rows(), "{record} {rule}");
            assert_eq!(policy.literals(), Literals::Text);
        }
        let policy = read("record: { literals: fingerprint }", "").unwrap();
        assert_eq!((policy.literals(), policy.records_rows()), (Literals::Fingerprint, false));
    }

    #[test]
    fn what_cannot_be_kept_does_not_load() {
        for (record, rule, says) in [
            ("record: all", "", "`all` is not known here"),
            ("record: { level: results, rows: 0 }", "", "`rows` is 0, and a record keeps 1 to"),
            ("record: { level: results, rows: 100001 }", "", "`rows` is 100001"),
            ("record: { level: results, bytes: 1GiB }", "", "a record keeps 1 to 67108864"),
            ("record: { level: bytes, traffic: 2GiB }", "", "`traffic` is 2147483648"),
            ("record: { level: results, traffic: 1MiB }", "", "says nothing at level `results`"),
            ("record: { rows: 5 }", "", "keeps no rows that this could bound"),
            ("", "    record: bytes", "level `bytes` is of a whole connection"),
            ("", "    record: { level: bytes }", "level `bytes` is of a whole connection"),
            ("", "    record: { literals: fingerprint }", "`literals` is not known"),
            (
                "record: { level: results, literals: fingerprint }",
                "",
                "`literals: fingerprint` cannot be kept where the level is `results`",
            ),
            (
                "record: { level: bytes, literals: fingerprint }",
                "",
                "`literals: fingerprint` cannot be kept where the level is `bytes`",
            ),
            (
                "record: { literals: fingerprint }",
                "    record: results",
                "`literals: fingerprint` cannot be kept where rule `r` records results",
            ),
            (
                "",
                "  - name: b\n    sql: { effects: [drop] }\n    decide: block\n    record: results",
                "on a rule that blocks",
            ),
        ] {
            let problems = read(record, rule).unwrap_err();
            assert!(problems.contains(says), "{record} {rule}: {problems}");
        }
    }
}
