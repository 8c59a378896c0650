//! Trust files to [`TrustRules`], with every problem of all files at once.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use guard_core::{
    Digest, Platform, RuleId,
    document::{self, Node, Problems},
};

use super::{GrantRule, TrustContext, TrustRule, TrustRules, claims};

/// Shorter grants end before a client has connected.
const SHORTEST: Duration = Duration::from_secs(60);
/// Longer ones would outlive the run that they are for: a hosted job ends after hours.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl TrustRules {
    /// Reads trust rules from files, given as name and text, and checks them against what they refer to.
    pub fn parse(files: &[(String, String)], context: &TrustContext) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut files: Vec<&(String, String)> = files.iter().collect();
        files.sort_by(|one, other| one.0.cmp(&other.0));
        let mut rules = Vec::new();
        let mut seen = HashSet::new();
        let mut texts = String::new();
        for (file, text) in files {
            texts.push_str(&Digest::of(text).to_string());
            let Some(node) = document::parse(file, text, &mut problems) else { continue };
            let Some(nodes) = node.list(&mut problems) else { continue };
            for node in nodes {
                let Some(rule) = rule(node, context, &mut problems) else { continue };
                if !seen.insert(rule.name.clone()) {
                    let message = format!(
                        "a trust rule `{}` stands above or in another file, too",
                        rule.name
                    );
                    node.problem(&mut problems, message);
                }
                rules.push(rule);
            }
        }
        problems.into_result(Some(Self { digest: Digest::of(texts), rules }))
    }
}

fn rule(node: &Node, context: &TrustContext, problems: &mut Problems) -> Option<TrustRule> {
    let fields = node.fields(problems)?;
    let name: Option<RuleId> =
        fields.required("name", problems).and_then(|node| node.parsed(problems));
    let issuer = fields.required("issuer", problems).and_then(|node| {
        let known: Vec<_> = context
            .issuers
            .iter()
            .map(|(name, platform)| (name.as_str(), (name.as_str(), *platform)))
            .collect();
        node.one_of(&known, problems)
    });
    let platform = issuer.map(|(_, platform)| platform);
    let conditions =
        fields.required("claims", problems).and_then(|node| conditions(node, platform, problems));
    let grants =
        fields.required("grants", problems).and_then(|node| grants(node, context, problems));
    let allow_broad = match fields.optional("allow_broad") {
        Some(node) => Some(node.text(problems)?.to_owned()),
        None => None,
    };
    fields.finish(&["name", "issuer", "claims", "grants", "allow_broad"], problems);
    if let (Some(platform), Some(conditions), None) = (platform, &conditions, &allow_broad) {
        narrow(node, platform, conditions, problems);
    }
    let (issuer, platform) = issuer?;
    Some(TrustRule {
        name: name?,
        issuer: issuer.to_owned(),
        platform,
        claims: conditions?,
        grants: grants?,
        allow_broad,
    })
}

fn conditions(
    node: &Node,
    platform: Option<Platform>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, Vec<String>>> {
    let fields = node.fields(problems)?.all();
    if fields.is_empty() {
        node.problem(problems, "no claim stands here, which would let every run in");
        return None;
    }
    let mut conditions = BTreeMap::new();
    for (claim, key, value) in &fields {
        if let Some(platform) = platform
            && !claims::is_known(platform, claim)
        {
            key.problem_with_help(
                problems,
                format!("`{claim}` is no claim of {}'s tokens to match on", platform.as_str()),
                format!("known are {}", claims::known(platform).join(", ")),
            );
        }
        let Some(items) = value.one_or_more(problems) else { continue };
        let values: Vec<String> =
            items.iter().filter_map(|item| exact(item, problems)).map(str::to_owned).collect();
        conditions.insert((*claim).to_owned(), values);
    }
    (conditions.len() == fields.len()).then_some(conditions)
}

fn exact<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    let text = node.text(problems)?;
    if text.contains('*') {
        node.problem_with_help(
            problems,
            format!("`{text}` holds a `*`, but claims are compared as they are"),
            "write the exact value, or a list of them",
        );
        return None;
    }
    Some(text)
}

/// A rule that strangers, or everybody who can push a branch, could meet does not load.
fn narrow(
    node: &Node,
    platform: Platform,
    conditions: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems,
) {
    let id = claims::repository_id(platform);
    if !conditions.contains_key(id) {
        node.problem_with_help(
            problems,
            format!("the rule is not bound to a repository by `{id}`"),
            format!("names can be taken over by others, ids cannot: add `{id}`, or say why not in `allow_broad`"),
        );
    }
    if !conditions.iter().any(|(claim, values)| claims::is_gate(platform, claim, values)) {
        node.problem_with_help(
            problems,
            "whoever can push a branch to the repository could meet the rule",
            format!(
                "add one of {}, or say why not in `allow_broad`",
                claims::gates(platform).join(", ")
            ),
        );
    }
}

fn grants(node: &Node, context: &TrustContext, problems: &mut Problems) -> Option<Vec<GrantRule>> {
    let nodes = node.list(problems)?;
    let mut seen = HashSet::new();
    let mut grants = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(grant) = grant(node, context, problems) else { continue };
        if !seen.insert(grant.resource.clone()) {
            let message = format!("`{}` is granted above, too", grant.resource);
            node.problem_with_help(problems, message, "a session has one policy a resource");
        }
        grants.push(grant);
    }
    (grants.len() == nodes.len()).then_some(grants)
}

fn grant(node: &Node, context: &TrustContext, problems: &mut Problems) -> Option<GrantRule> {
    let fields = node.fields(problems)?;
    let resource = fields.required("resource", problems).and_then(|node| {
        one_named(node, context.resources.iter().map(|n| (n.as_str(), n)), problems)
    });
    let policy = fields.required("policy", problems).and_then(|node| {
        one_named(node, context.policies.iter().map(|n| (n.as_str(), n)), problems)
    });
    let lasts = fields.required("for", problems).and_then(|node| {
        let lasts = node.duration(problems)?;
        if !(SHORTEST..=LONGEST).contains(&lasts) {
            node.problem(problems, "a grant lasts between `1m` and `24h`");
            return None;
        }
        Some(lasts)
    });
    fields.finish(&["resource", "policy", "for"], problems);
    Some(GrantRule { resource: resource?.clone(), policy: policy?.clone(), lasts: lasts? })
}

fn one_named<'a, T>(
    node: &Node,
    known: impl Iterator<Item = (&'a str, &'a T)>,
    problems: &mut Problems,
) -> Option<&'a T> {
    let known: Vec<(&str, &T)> = known.collect();
    node.one_of(&known, problems)
}
