//! Trust rules: which runs get which grants.
//!
//! The rules of all files stand in one order: by the files' names, then as they are written. The first rule
//! of which every claim matches is the run's; it never gets the grants of two. A claim that the token does
//! not have matches nothing. Values are compared as they are: there are no wildcards, since most ways into
//! other brokers were wildcards.

mod claims;
mod parse;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use guard_core::{Digest, Grant, Identity, Platform, PolicyName, ResourceName, RuleId, Timestamp};

/// What trust rules may refer to: names in the broker's configuration.
#[derive(Debug, Clone, Default)]
pub struct TrustContext {
    /// The issuers, with the platform that says which claims their tokens have.
    pub issuers: BTreeMap<String, Platform>,
    /// The resources.
    pub resources: BTreeSet<ResourceName>,
    /// The policies.
    pub policies: BTreeSet<PolicyName>,
}

/// What a run asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The resources it wants; empty for all that it may have.
    pub resources: Vec<ResourceName>,
}

/// What a trust rule gives.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The rule that matched.
    pub rule: String,
    /// The grants.
    pub grants: Vec<Grant>,
}

/// Says which identities get which grants.
#[derive(Debug, Clone)]
pub struct TrustRules {
    digest: Digest,
    rules: Vec<TrustRule>,
}

#[derive(Debug, Clone)]
struct TrustRule {
    name: RuleId,
    issuer: String,
    platform: Platform,
    claims: BTreeMap<String, Vec<String>>,
    grants: Vec<GrantRule>,
    allow_broad: Option<String>,
}

#[derive(Debug, Clone)]
struct GrantRule {
    resource: ResourceName,
    policy: PolicyName,
    lasts: Duration,
}

impl TrustRules {
    /// SHA-256 over the texts, in the files' order.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The rules that were loaded although they are broad, each with the reason its writer gave.
    pub fn broad(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules
            .iter()
            .filter_map(|rule| Some((rule.name.as_str(), rule.allow_broad.as_deref()?)))
    }

    /// Which policies are granted over which resources, by whichever rule.
    pub fn granted(&self) -> BTreeSet<(&ResourceName, &PolicyName)> {
        let grants = self.rules.iter().flat_map(|rule| &rule.grants);
        grants.map(|grant| (&grant.resource, &grant.policy)).collect()
    }

    /// What a run gets. The error's text is for the broker's log, never for the asker.
    pub fn admit(
        &self,
        who: &Identity,
        ask: &Request,
        now: Timestamp,
    ) -> Result<Admission, String> {
        let mut reasons = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            match rule.mismatch(who) {
                None => return rule.admission(ask, now),
                Some(reason) => reasons.push(format!("`{}`: {reason}", rule.name)),
            }
        }
        if reasons.is_empty() {
            return Err("there are no trust rules".to_owned());
        }
        Err(format!("no trust rule matches: {}", reasons.join("; ")))
    }
}

impl TrustRule {
    /// Why the rule is not for a run, if it is not.
    fn mismatch(&self, who: &Identity) -> Option<String> {
        if who.issuer_name != self.issuer || who.platform != self.platform {
            return Some(format!("it is for issuer `{}`", self.issuer));
        }
        if let Some(reason) = claims::refused_event(self.platform, &self.claims, &who.claims) {
            return Some(reason);
        }
        self.claims.iter().find_map(|(claim, values)| match who.claims.get(claim) {
            None => Some(format!("the token has no claim `{claim}`")),
            Some(value) if values.contains(value) => None,
            Some(value) => Some(format!("claim `{claim}` is `{value}`")),
        })
    }

    fn admission(&self, ask: &Request, now: Timestamp) -> Result<Admission, String> {
        let asked: BTreeSet<&ResourceName> = ask.resources.iter().collect();
        let unknown = asked.iter().find(|name| self.grants.iter().all(|g| g.resource != ***name));
        if let Some(name) = unknown {
            return Err(format!("rule `{}` grants nothing on `{name}`", self.name));
        }
        let wanted = self.grants.iter().filter(|g| asked.is_empty() || asked.contains(&g.resource));
        let grants = wanted.map(|grant| {
            let until = now
                .checked_add(grant.lasts)
                .map_err(|error| format!("rule `{}`: {error}", self.name))?;
            Ok(Grant { resource: grant.resource.clone(), policy: grant.policy.clone(), until })
        });
        let grants = grants.collect::<Result<Vec<_>, String>>()?;
        Ok(Admission { rule: self.name.to_string(), grants })
    }
}
