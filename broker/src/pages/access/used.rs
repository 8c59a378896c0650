//! What counts now, with what used it: trust rules, policies and the rules inside them.

use std::collections::BTreeMap;

use guard_core::{Digest, ResourceName, RuleId, Timestamp, control::PolicySource};
use guard_policy::Policy;
use serde::Serialize;

use crate::{
    app::App,
    error::Refusal,
    store::{RuleUse, Used},
};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Access {
    /// When the first run began that is in the list.
    pub(super) since: Option<Timestamp>,
    /// SHA-256 of the trust rules.
    pub(super) trust_digest: Digest,
    /// Trust rules, those that count first.
    pub(super) trust_rules: Vec<UsedTrustRule>,
    /// Policies, those that count first.
    pub(super) policies: Vec<UsedPolicy>,
}

/// A trust rule.
#[derive(Debug, Serialize)]
pub(super) struct UsedTrustRule {
    pub(super) name: String,
    /// Whether it counts now.
    pub(super) active: bool,
    /// Runs that it let in.
    pub(super) runs: u64,
    /// When the last of them began.
    pub(super) last: Option<Timestamp>,
}

/// A policy.
#[derive(Debug, Serialize)]
pub(super) struct UsedPolicy {
    pub(super) name: String,
    pub(super) active: bool,
    /// SHA-256 of the version that counts now.
    pub(super) digest: Option<Digest>,
    /// What trust rules grant under it.
    pub(super) resources: Vec<ResourceName>,
    /// Runs that were given it.
    pub(super) runs: u64,
    pub(super) last: Option<Timestamp>,
    /// Runs of this version whose records were read for what its rules met.
    pub(super) counted_runs: u64,
    /// Its rules in their order, then what guard itself decided.
    pub(super) rules: Vec<UsedRule>,
}

/// A rule inside a policy.
#[derive(Debug, Serialize)]
pub(super) struct UsedRule {
    pub(super) name: RuleId,
    /// Whether it stands in the policy, or is guard's own, as `default-deny`.
    pub(super) built_in: bool,
    /// Statements that it met, in this version of the policy.
    pub(super) statements: u64,
    /// Runs in which it met something.
    pub(super) runs: u64,
    /// When the last of them began.
    pub(super) last: Option<Timestamp>,
    /// When the last run began in which a rule of this name met something in another version.
    pub(super) last_in_other_versions: Option<Timestamp>,
}

impl Access {
    /// As the store and the configuration have it now.
    pub(super) async fn now(app: &App) -> Result<Self, Refusal> {
        let config = app.sessions.config();
        let store = &app.sessions.store;
        let mut used_rules = store.used_trust_rules().await?;
        let mut used_policies = store.used_policies().await?;
        let mut trust_rules: Vec<_> = config
            .trust
            .names()
            .map(|name| trust_rule(name.to_owned(), used_rules.remove(name), true))
            .collect();
        trust_rules
            .extend(used_rules.into_iter().map(|(name, used)| trust_rule(name, Some(used), false)));
        let granted = config.trust.granted();
        let mut policies = Vec::new();
        for source in config.policies.values() {
            let resources = granted.iter().filter(|(_, name)| **name == source.name);
            let used = used_policies.remove(source.name.as_str());
            let matched = store.matched_rules(&source.name).await?;
            policies.push(UsedPolicy {
                digest: Some(source.digest),
                resources: resources.map(|(resource, _)| (*resource).clone()).collect(),
                counted_runs: counted(&matched, source.digest),
                rules: rules(source, &matched),
                ..policy(source.name.to_string(), used, true)
            });
        }
        policies
            .extend(used_policies.into_iter().map(|(name, used)| policy(name, Some(used), false)));
        Ok(Self {
            since: store.runs_since().await?,
            trust_digest: config.trust.digest(),
            trust_rules,
            policies,
        })
    }
}

fn trust_rule(name: String, used: Option<Used>, active: bool) -> UsedTrustRule {
    let runs = used.map_or(0, |used| used.runs);
    UsedTrustRule { name, active, runs, last: used.map(|used| used.last) }
}

fn policy(name: String, used: Option<Used>, active: bool) -> UsedPolicy {
    UsedPolicy {
        name,
        active,
        digest: None,
        resources: Vec::new(),
        runs: used.map_or(0, |used| used.runs),
        last: used.map(|used| used.last),
        counted_runs: 0,
        rules: Vec::new(),
    }
}

fn counted(matched: &[RuleUse], version: Digest) -> u64 {
    let all = matched.iter().find(|one| one.policy == version && one.rule.is_none());
    all.map_or(0, |all| all.runs)
}

/// The rules of a policy, whether or not they met anything, and those of guard's own that did.
fn rules(source: &PolicySource, matched: &[RuleUse]) -> Vec<UsedRule> {
    let mut here: BTreeMap<&RuleId, &RuleUse> = BTreeMap::new();
    let mut elsewhere: BTreeMap<&RuleId, Timestamp> = BTreeMap::new();
    for one in matched {
        let Some(rule) = &one.rule else { continue };
        if one.policy == source.digest {
            here.insert(rule, one);
        } else {
            let last = elsewhere.entry(rule).or_insert(one.last);
            *last = one.last.max(*last);
        }
    }
    // What is active was read from this very text.
    let parsed = Policy::parse(source.name.as_str(), &source.yaml).ok();
    let own = parsed.iter().flat_map(Policy::rules).map(|name| (name, false));
    let guards = [RuleId::masks(), RuleId::budgets(), RuleId::default_deny(), RuleId::built_in()];
    let met = guards.iter().filter(|name| here.contains_key(name)).map(|name| (name, true));
    own.chain(met)
        .map(|(name, built_in)| {
            let used = here.get(name);
            UsedRule {
                name: name.clone(),
                built_in,
                statements: used.map_or(0, |used| used.statements),
                runs: used.map_or(0, |used| used.runs),
                last: used.map(|used| used.last),
                last_in_other_versions: elsewhere.get(name).copied(),
            }
        })
        .collect()
}
