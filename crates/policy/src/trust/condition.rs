//! What a claim must be: an exact value, one of several, or what was asked for by name (`glob`, `contains`).

use std::{collections::BTreeMap, fmt};

use guard_core::{
    Platform,
    document::{Node, Problems},
};

use super::{TrustIssuer, claims, glob::Glob};

/// Conditions on claims, in the order in which they are written. All must hold.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Vec<(String, Condition)>);

/// The first thing about a run that a rule does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The claim, or `issuer`.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
    /// What may be behind it.
    pub hint: Option<&'static str>,
}

/// What one claim must be: any of these.
#[derive(Debug, Clone)]
pub(super) struct Condition(Vec<Wanted>);

#[derive(Debug, Clone)]
enum Wanted {
    Exact(String),
    Glob(Glob),
    /// The claim is a list, and this is in it.
    Contains(String),
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Gate {
    pub(super) fn new(name: &str, reason: impl Into<String>) -> Self {
        Self { name: name.to_owned(), reason: reason.into(), hint: None }
    }
}

// === impl Conditions ===

impl Conditions {
    /// Reads a mapping of claims. Without an issuer, names are not checked: that is said elsewhere.
    pub fn read(
        node: &Node,
        issuer: Option<&TrustIssuer>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let fields = node.fields(problems)?.all();
        if fields.is_empty() {
            node.problem(problems, "no claim stands here, which would let every run in");
            return None;
        }
        let mut conditions = Vec::with_capacity(fields.len());
        for (claim, key, value) in &fields {
            let claim = claims::one_name(claim);
            if let Some(issuer) = issuer
                && !claims::is_known(issuer, &claim)
            {
                key.problem_with_help(
                    problems,
                    format!(
                        "`{claim}` is no claim of {}'s tokens to match on",
                        issuer.platform.as_str()
                    ),
                    claims::help(issuer),
                );
            }
            let Some(items) = value.one_or_more(problems) else { continue };
            let wanted: Vec<_> =
                items.iter().filter_map(|item| wanted(&claim, item, issuer, problems)).collect();
            if conditions.iter().any(|(other, _)| *other == claim) {
                key.problem(problems, format!("`{claim}` stands above, too, in another writing"));
            }
            conditions.push((claim, Condition(wanted)));
        }
        (conditions.len() == fields.len()).then_some(Self(conditions))
    }

    /// The first condition that claims do not meet.
    pub fn first_failed(&self, found: &BTreeMap<String, String>) -> Option<Gate> {
        self.0.iter().find_map(|(claim, condition)| {
            let reason = match found.get(claim) {
                None => format!("the token has no claim `{claim}`"),
                Some(value) if condition.holds(value) => return None,
                Some(value) => format!("claim `{claim}` is `{value}`"),
            };
            let hint = (claim == "sub").then_some(
                "a subject changes with the platform's settings (immutable ids, templates); match on the claims themselves",
            );
            Some(Gate { name: claim.clone(), reason, hint })
        })
    }

    /// Each condition in words of its own, for a digest.
    pub(super) fn lines(&self) -> Vec<String> {
        let words = |wanted: &Wanted| match wanted {
            Wanted::Exact(text) => format!("is {text:?}"),
            Wanted::Glob(glob) => format!("fits {:?}", glob.to_string()),
            Wanted::Contains(item) => format!("contains {item:?}"),
        };
        let line = |(claim, condition): &(String, Condition)| {
            let mut wanted: Vec<_> = condition.0.iter().map(words).collect();
            wanted.sort();
            format!("{claim:?} {}", wanted.join(" or "))
        };
        self.0.iter().map(line).collect()
    }

    /// Whether a claim is named at all.
    pub(super) fn names(&self, claim: &str) -> bool {
        self.get(claim).is_some()
    }

    /// Whether a claim can only be one of some exact values, this among them.
    pub(super) fn names_value(&self, claim: &str, value: &str) -> bool {
        self.get(claim).is_some_and(|condition| {
            condition.0.iter().any(|wanted| matches!(wanted, Wanted::Exact(text) if text == value))
        })
    }

    /// The exact values of a claim, if there is nothing but those.
    pub(super) fn exact(&self, claim: &str) -> Option<Vec<&str>> {
        self.get(claim)?
            .0
            .iter()
            .map(|wanted| match wanted {
                Wanted::Exact(text) => Some(text.as_str()),
                Wanted::Glob(_) | Wanted::Contains(_) => None,
            })
            .collect()
    }

    /// Whether a claim must be exactly one of some values, or hold one of them.
    pub(super) fn pins(&self, claim: &str) -> bool {
        self.get(claim).is_some_and(|condition| {
            condition.0.iter().all(|wanted| match wanted {
                Wanted::Exact(_) | Wanted::Contains(_) => true,
                Wanted::Glob(_) => false,
            })
        })
    }

    fn get(&self, claim: &str) -> Option<&Condition> {
        self.0.iter().find(|(name, _)| name == claim).map(|(_, condition)| condition)
    }
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        self.0.iter().any(|wanted| match wanted {
            Wanted::Exact(text) => text == value,
            Wanted::Glob(glob) => glob.fits(value),
            Wanted::Contains(item) => serde_json::from_str::<Vec<serde_json::Value>>(value)
                .is_ok_and(|list| list.iter().any(|one| one.as_str() == Some(item))),
        })
    }
}

fn wanted(
    claim: &str,
    node: &Node,
    issuer: Option<&TrustIssuer>,
    problems: &mut Problems,
) -> Option<Wanted> {
    if node.is_mapping() {
        let fields = node.fields(problems)?;
        let (glob, contains) = (fields.optional("glob"), fields.optional("contains"));
        fields.finish(&["glob", "contains"], problems);
        return match (glob, contains) {
            (Some(node), None) => globbed(claim, node, problems).map(Wanted::Glob),
            (None, Some(node)) => contained(claim, node, issuer, problems).map(Wanted::Contains),
            (Some(_), Some(_)) | (None, None) => {
                node.problem(problems, "write one of `{ glob: … }` and `{ contains: … }`");
                None
            }
        };
    }
    let text = node.text(problems)?;
    if text.contains('*') {
        node.problem_with_help(
            problems,
            format!("`{text}` holds a `*`, but claims are compared as they are"),
            format!("write the exact value, a list of them, or `{{ glob: \"{text}\" }}`"),
        );
        return None;
    }
    // `{…}` in YAML is a mapping, so that braces are easily lost.
    if issuer.is_some_and(|issuer| issuer.platform == Platform::Bitbucket)
        && claim.ends_with("Uuid")
        && !(text.starts_with('{') && text.ends_with('}'))
    {
        node.problem_with_help(
            problems,
            format!("`{text}` can be no `{claim}`: these have braces"),
            format!("write `\"{{{text}}}\"`, with the quotes"),
        );
        return None;
    }
    Some(Wanted::Exact(text.to_owned()))
}

fn globbed(claim: &str, node: &Node, problems: &mut Problems) -> Option<Glob> {
    let text = node.text(problems)?;
    if claims::is_id(claim) {
        node.problem_with_help(
            problems,
            format!("`{claim}` is an id: those that begin alike have nothing in common"),
            "write the ids out, as a list",
        );
        return None;
    }
    match Glob::parse(text) {
        Ok(glob) => Some(glob),
        Err(reason) => {
            node.problem(problems, reason);
            None
        }
    }
}

fn contained(
    claim: &str,
    node: &Node,
    issuer: Option<&TrustIssuer>,
    problems: &mut Problems,
) -> Option<String> {
    let text = node.text(problems)?;
    // A text that looks like a list must not pass for one, so it has to be a claim that is always a list.
    if issuer.is_some_and(|issuer| !claims::is_list(issuer.platform, claim)) {
        node.problem(problems, format!("`{claim}` is no list"));
        return None;
    }
    Some(text.to_owned())
}
