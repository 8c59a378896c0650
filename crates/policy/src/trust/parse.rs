//! Trust files to [`TrustRules`], with every problem of all files at once.

use std::{collections::HashSet, time::Duration};

use guard_core::{
    Digest, Isolation, RuleId,
    document::{self, Node, Problems},
};

use super::{Conditions, GrantRule, TrustContext, TrustRule, TrustRules, claims, lints};

/// Shorter grants end before a client has connected.
const SHORTEST: Duration = Duration::from_secs(60);
/// Longer ones would outlive the run that they are for: a hosted job ends after hours.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl TrustRules {
    /// Reads trust rules from files, given as name and text, and checks them against what they refer to.
    pub fn parse(files: &[(String, String)], context: &TrustContext) -> Result<Self, Problems> {
        let (mut problems, mut advice) = (Problems::new(), Problems::new());
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
                let Some(rule) = rule(node, context, &mut problems, &mut advice) else { continue };
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
        problems.into_result(Some(Self { digest: Digest::of(texts), rules, advice }))
    }
}

fn rule(
    node: &Node,
    context: &TrustContext,
    problems: &mut Problems,
    advice: &mut Problems,
) -> Option<TrustRule> {
    let fields = node.fields(problems)?;
    let name: Option<RuleId> =
        fields.required("name", problems).and_then(|node| node.parsed(problems));
    let issuer = fields.required("issuer", problems).and_then(|node| {
        let known: Vec<_> = context
            .issuers
            .iter()
            .map(|(name, issuer)| (name.as_str(), (name.as_str(), issuer)))
            .collect();
        node.one_of(&known, problems)
    });
    let conditions = fields
        .required("claims", problems)
        .and_then(|node| Conditions::read(node, issuer.map(|(_, issuer)| issuer), problems));
    let grants =
        fields.required("grants", problems).and_then(|node| grants(node, context, problems));
    let allow_broad = match fields.optional("allow_broad") {
        Some(node) => {
            let reason = node.text(problems)?.trim();
            if reason.is_empty() {
                node.problem(problems, "a reason is what a reviewer finds in each report: say why");
            }
            Some(reason.to_owned())
        }
        None => None,
    };
    let isolation = match fields.optional("isolation") {
        Some(node) => {
            Some(node.one_of(&Isolation::ALL.map(|level| (level.as_str(), level)), problems)?)
        }
        None => None,
    };
    fields.finish(&["name", "issuer", "claims", "grants", "allow_broad", "isolation"], problems);
    let ((issuer, known), conditions) = (issuer?, conditions?);
    if allow_broad.is_none() {
        let or = ", or say why not in `allow_broad`";
        lints::narrow(node, known, &conditions, or, problems);
    }
    lints::advise(node, known, &conditions, advice);
    Some(TrustRule {
        name: name?,
        issuer: issuer.to_owned(),
        platform: known.platform,
        event: claims::event(known).map(str::to_owned),
        claims: conditions,
        grants: grants?,
        allow_broad,
        isolation,
    })
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
