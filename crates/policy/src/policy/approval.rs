//! What a rule with `decide: approve` asks of people.

use std::collections::BTreeSet;

use guard_core::{
    ApprovalTerms, ApprovalWait, DecisionKind, RuleId,
    document::{Fields, Node, Problems},
};

/// Longest time that people get, in seconds: a week.
const MAX_WITHIN: u64 = 7 * 24 * 3600;
/// Shortest: less is no time to read a statement.
const MIN_WITHIN: u64 = 10;
/// Most people that a rule may want: more are never found in time.
const MAX_COUNT: u64 = 10;
/// Longest name of a group, in bytes.
const MAX_GROUP: usize = 200;

const WAITS: [(&str, ApprovalWait); 2] =
    [("hold", ApprovalWait::Hold), ("park", ApprovalWait::Park)];
/// The keys of a rule that only one that asks people may have.
pub(super) const KEYS: [&str; 4] = ["approvers", "within", "wait", "reason_required"];

/// Reads what a rule asks of people: `None` inside for a rule that asks nobody.
pub(super) fn read(
    fields: &Fields<'_>,
    decide: Option<DecisionKind>,
    id: Option<&RuleId>,
    problems: &mut Problems,
) -> Option<Option<ApprovalTerms>> {
    let asks = match decide {
        Some(DecisionKind::Approve) => true,
        Some(DecisionKind::Allow | DecisionKind::Block) => false,
        // What the rule decides is wrong: its other fields may be right.
        None => {
            for key in KEYS {
                let _: Option<&Node> = fields.optional(key);
            }
            return None;
        }
    };
    if !asks {
        let mut right = true;
        for key in KEYS {
            if let Some(node) = fields.optional(key) {
                node.problem_with_help(
                    problems,
                    format!("`{key}` says something of rules that ask people only"),
                    "leave it out, or write `decide: approve`",
                );
                right = false;
            }
        }
        return right.then_some(None);
    }
    let approvers =
        fields.required("approvers", problems).and_then(|node| approvers(node, problems));
    let within = fields.required("within", problems).and_then(|node| within(node, problems));
    let wait = match fields.optional("wait") {
        Some(node) => node.one_of(&WAITS, problems),
        None => Some(ApprovalWait::default()),
    };
    let reason_required = match fields.optional("reason_required") {
        Some(node) => node.boolean(problems),
        None => Some(false),
    };
    let (from, count) = approvers?;
    Some(Some(ApprovalTerms {
        rule: id?.clone(),
        from,
        count,
        within_secs: within?,
        wait: wait?,
        reason_required: reason_required?,
    }))
}

/// `[dba]`, or `{ from: [dba], count: 2 }`.
fn approvers(node: &Node, problems: &mut Problems) -> Option<(BTreeSet<String>, u32)> {
    if !node.is_mapping() {
        return Some((groups(node, problems)?, 1));
    }
    let fields = node.fields(problems)?;
    let from = fields.required("from", problems).and_then(|node| groups(node, problems));
    let count = match fields.optional("count") {
        Some(node) => count(node, problems),
        None => Some(1),
    };
    fields.finish(&["from", "count"], problems);
    Some((from?, count?))
}

fn count(node: &Node, problems: &mut Problems) -> Option<u32> {
    let number = node.number(problems)?;
    match u32::try_from(number) {
        Ok(count) if (1..=MAX_COUNT).contains(&number) => Some(count),
        Ok(_) | Err(_) => {
            node.problem(problems, format!("expected 1 to {MAX_COUNT} people, found {number}"));
            None
        }
    }
}

fn groups(node: &Node, problems: &mut Problems) -> Option<BTreeSet<String>> {
    let items = node.one_or_more(problems)?;
    let mut groups = BTreeSet::new();
    let mut right = true;
    for item in items {
        match item.text(problems) {
            Some("*") => {
                item.problem_with_help(
                    problems,
                    "a group is named here, and `*` is none",
                    "name the groups whose people may decide, as the identity provider calls them",
                );
                right = false;
            }
            Some(group)
                if !group.is_empty()
                    && group.len() <= MAX_GROUP
                    && group.trim() == group
                    && !group.chars().any(char::is_control) =>
            {
                groups.insert(group.to_owned());
            }
            Some(_) => {
                item.problem(
                    problems,
                    format!(
                        "a group is one line of at most {MAX_GROUP} bytes without space around"
                    ),
                );
                right = false;
            }
            None => right = false,
        }
    }
    right.then_some(groups)
}

fn within(node: &Node, problems: &mut Problems) -> Option<u64> {
    let seconds = node.duration(problems)?.as_secs();
    if !(MIN_WITHIN..=MAX_WITHIN).contains(&seconds) {
        node.problem_with_help(
            problems,
            "people get between 10 seconds and 7 days",
            "write a time like `15m`; for more than a job should wait, add `wait: park`",
        );
        return None;
    }
    Some(seconds)
}
