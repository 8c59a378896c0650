//! The `budgets` of a policy: how much may be done of what its rules allow.

use std::time::Duration;

use guard_core::{
    Budgets,
    document::{Fields, Node, Problems},
};

const KEYS: [&str; 9] = [
    "rows_per_statement",
    "bytes_per_statement",
    "rows_per_session",
    "bytes_per_session",
    "changes_per_statement",
    "changes_per_transaction",
    "changes_per_session",
    "statements_per_minute",
    "time_per_statement",
];

/// Reads `budgets`.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Budgets> {
    let fields = node.fields(problems)?;
    let mut right = true;
    let mut one = |key: &str, read: fn(&Node, &mut Problems) -> Option<u64>| {
        let found = bound(&fields, key, read, problems);
        right &= found.is_some();
        found.flatten()
    };
    let budgets = Budgets {
        rows_per_statement: one("rows_per_statement", Node::number),
        bytes_per_statement: one("bytes_per_statement", Node::size),
        rows_per_session: one("rows_per_session", Node::number),
        bytes_per_session: one("bytes_per_session", Node::size),
        changes_per_statement: one("changes_per_statement", Node::number),
        changes_per_transaction: one("changes_per_transaction", Node::number),
        changes_per_session: one("changes_per_session", Node::number),
        statements_per_minute: one("statements_per_minute", Node::number),
        time_per_statement: one("time_per_statement", seconds).map(Duration::from_secs),
    };
    fields.finish(&KEYS, problems);
    if right && budgets == Budgets::default() {
        node.problem_with_help(
            problems,
            "no budget stands here",
            format!("name at least one of `{}`, or leave `budgets` out", KEYS.join("`, `")),
        );
        return None;
    }
    let ladders: [&[(&str, Option<u64>)]; 3] = [
        &[
            ("rows_per_statement", budgets.rows_per_statement),
            ("rows_per_session", budgets.rows_per_session),
        ],
        &[
            ("bytes_per_statement", budgets.bytes_per_statement),
            ("bytes_per_session", budgets.bytes_per_session),
        ],
        &[
            ("changes_per_statement", budgets.changes_per_statement),
            ("changes_per_transaction", budgets.changes_per_transaction),
            ("changes_per_session", budgets.changes_per_session),
        ],
    ];
    for ladder in ladders {
        let set: Vec<_> =
            ladder.iter().filter_map(|(key, bound)| bound.map(|b| (key, b))).collect();
        for pair in set.windows(2) {
            if let [(narrow, less), (wide, more)] = pair
                && less > more
            {
                node.problem_with_help(
                    problems,
                    format!("`{narrow}` is more than `{wide}`"),
                    format!("no more than `{wide}` could ever be used: make the first smaller, or leave it out"),
                );
                right = false;
            }
        }
    }
    right.then_some(budgets)
}

/// One bound. Nothing is not a bound: that is a rule's to say.
fn bound(
    fields: &Fields<'_>,
    key: &str,
    read: fn(&Node, &mut Problems) -> Option<u64>,
    problems: &mut Problems,
) -> Option<Option<u64>> {
    let Some(node) = fields.optional(key) else { return Some(None) };
    let bound = read(node, problems)?;
    if bound == 0 {
        node.problem_with_help(
            problems,
            format!("`{key}` is 0, with which nothing could be done"),
            "write a rule that blocks what should not be done at all",
        );
        return None;
    }
    Some(Some(bound))
}

fn seconds(node: &Node, problems: &mut Problems) -> Option<u64> {
    node.duration(problems).map(|length| length.as_secs())
}
