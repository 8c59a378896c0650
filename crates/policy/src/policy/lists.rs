//! Lists in a policy: of words, of patterns, or of everything (`"*"`).

use std::{collections::BTreeSet, str::FromStr};

use guard_core::document::{Node, Problems};

/// A list of words, or `None` for `"*"`.
pub(super) fn words<T: Copy + Ord>(
    node: &Node,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<Option<BTreeSet<T>>> {
    let Some(items) = items(node, problems)? else { return Some(None) };
    let found: Vec<_> = items.iter().map(|item| item.one_of(words, problems)).collect();
    found.into_iter().collect::<Option<_>>().map(Some)
}

/// A list of patterns, or `None` for `"*"`.
pub(super) fn patterns<T: FromStr>(node: &Node, problems: &mut Problems) -> Option<Option<Vec<T>>>
where
    T::Err: std::fmt::Display,
{
    let Some(items) = items(node, problems)? else { return Some(None) };
    let found: Vec<_> = items.iter().map(|item| item.parsed(problems)).collect();
    found.into_iter().collect::<Option<_>>().map(Some)
}

/// The items of a list, or `None` for `"*"`, which stands alone.
pub(super) fn items<'a>(node: &'a Node, problems: &mut Problems) -> Option<Option<&'a [Node]>> {
    let items = node.one_or_more(problems)?;
    let mut all = false;
    for item in items {
        all |= item.text(problems)? == "*";
    }
    match (all, items.len()) {
        (false, _) => Some(Some(items)),
        (true, 1) => Some(None),
        (true, _) => {
            node.problem(problems, "`*` stands for all and so stands alone");
            None
        }
    }
}
