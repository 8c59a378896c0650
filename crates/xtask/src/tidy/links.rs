//! Links of the documentation: each leads to a file that is there, and to a heading that it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Finding;
use crate::shell;

/// Checks the links of all pages.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let listed = shell::files(Some("*.md"))?;
    let mut pages = BTreeMap::new();
    for name in listed.lines().filter(|name| root.join(name).is_file()) {
        let text = fs::read_to_string(root.join(name)).with_context(|| name.to_owned())?;
        pages.insert(PathBuf::from(name), text);
    }
    Ok(broken(&pages, |path| root.join(path).exists()))
}

fn broken(pages: &BTreeMap<PathBuf, String>, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for (page, text) in pages {
        for (line, target) in links(text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = if path.is_empty() { page.clone() } else { beside(page, path) };
            let says = match pages.get(&to) {
                None if !exists(&to) => format!("leads to `{target}`, which is not there"),
                Some(text) if !heading.is_empty() && !headings(text).contains(heading) => {
                    format!("leads to `{target}`, and there is no such heading")
                }
                None | Some(_) => continue,
            };
            let at = format!("{}:{line}", page.display());
            found.push(Finding::new(at, says + "; readers would be lost: correct the link"));
        }
    }
    found
}

/// The text line by line, with numbers, without blocks of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((number, line))
    })
}

/// Targets of links within the repository, with their lines.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        let targets = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        targets.filter(|target| !target.contains(':')).map(move |target| (number, target))
    })
}

/// A path as a page writes it, from the root.
fn beside(page: &Path, path: &str) -> PathBuf {
    let mut whole = page.parent().map(Path::to_path_buf).unwrap_or_default();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::Normal(part) => whole.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    whole
}

/// The anchors of a page's headings, as code hosts make them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let twice = (1..).map(|count| format!("{anchor}-{count}"));
        let free = std::iter::once(anchor.clone()).chain(twice).find(|name| !all.contains(name));
        all.extend(free);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_found() {
        let pages = [
            ("README.md", "# It\n[a](docs/a.md) [b](docs/b.md#x) [c](docs/a.md#the-rule-s-name)\n"),
            (
                "docs/a.md",
                "## The `rule`, s name\n[up](../README.md#it) [here](#gone)\n```\n[no](no)\n```\n",
            ),
            (
                "docs/b.md",
                "# X\n# X\n[twice](#x-1) [out](https://a.example/b) [file](../src/a.rs)\n[d](../src/b.rs)\n",
            ),
        ];
        let pages = pages.map(|(name, text)| (PathBuf::from(name), text.to_owned())).into();
        let found = broken(&pages, |path| path == Path::new("src/a.rs"));
        let at: Vec<_> = found.iter().map(|finding| finding.at.as_str()).collect();
        assert_eq!(at, ["docs/a.md:2", "docs/b.md:4"]);
    }
}
