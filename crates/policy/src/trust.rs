//! Trust rules: which runs get which grants.
//!
//! The rules of all files stand in one order: by the files' names, then as they are written. The first rule
//! of which every claim matches is the run's; it never gets the grants of two. A claim that the token does
//! not have matches nothing. Values are compared as they are, since most ways into other brokers were patterns;
//! where a pattern is asked for (`glob`), it stays within its segment, and it binds nobody to reviewed code.

mod claims;
mod condition;
mod explain;
mod glob;
mod lints;
mod parse;
mod strangers;
#[cfg(test)]
mod tests;
mod who;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use guard_core::{
    Digest, Grant, Identity, Isolation, Platform, PolicyName, ResourceName, RuleId, Timestamp,
    document::Problems,
};

pub use claims::one_name;
pub use condition::{Conditions, Gate};
pub use explain::{Explained, Outcome};
pub use who::Who;

/// What trust rules may refer to: names in the broker's configuration.
#[derive(Debug, Clone, Default)]
pub struct TrustContext {
    /// The issuers.
    pub issuers: BTreeMap<String, TrustIssuer>,
    /// The resources.
    pub resources: BTreeSet<ResourceName>,
    /// The policies.
    pub policies: BTreeSet<PolicyName>,
}

/// What is known of an issuer's tokens.
#[derive(Debug, Clone)]
pub struct TrustIssuer {
    /// It says which claims there are.
    pub platform: Platform,
    /// Claims that there are besides.
    pub claims: BTreeSet<String>,
    /// The claim that names a repository and never another, where the issuer's configuration says so.
    pub repository_id: Option<String>,
    /// The claim that says of which ref the code is, where the issuer's configuration says so.
    pub git_ref: Option<String>,
    /// The claim that says what started a run, where the issuer's configuration says so.
    pub event: Option<String>,
    /// The claims of which one says which of the issuer's tenants it is, where strangers can be tenants and neither the
    /// issuer's address nor its configuration says which one is meant.
    pub tenants: &'static [&'static str],
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
    /// Why it may be broad, if it is.
    pub broad: Option<String>,
    /// The grants.
    pub grants: Vec<Grant>,
}

/// Says which identities get which grants.
#[derive(Debug, Clone)]
pub struct TrustRules {
    digest: Digest,
    rules: Vec<TrustRule>,
    advice: Problems,
}

#[derive(Debug, Clone)]
struct TrustRule {
    name: RuleId,
    issuer: String,
    platform: Platform,
    event: Option<String>,
    claims: Conditions,
    grants: Vec<GrantRule>,
    allow_broad: Option<String>,
    isolation: Option<Isolation>,
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

    /// The names of all rules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// The rules that were loaded although they are broad, each with the reason its writer gave.
    pub fn broad(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules
            .iter()
            .filter_map(|rule| Some((rule.name.as_str(), rule.allow_broad.as_deref()?)))
    }

    /// The level of isolation that a rule asks for.
    pub fn isolation(&self, rule: &str) -> Option<Isolation> {
        self.rules.iter().find(|known| known.name.as_str() == rule)?.isolation
    }

    /// Which policies are granted over which resources, by whichever rule.
    pub fn granted(&self) -> BTreeSet<(&ResourceName, &PolicyName)> {
        let grants = self.rules.iter().flat_map(|rule| &rule.grants);
        grants.map(|grant| (&grant.resource, &grant.policy)).collect()
    }

    /// What a reviewer should look at, although it loads.
    pub fn advice(&self) -> &Problems {
        &self.advice
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
    fn mismatch(&self, who: &Identity) -> Option<Gate> {
        if who.issuer_name != self.issuer || who.platform != self.platform {
            return Some(Gate::new("issuer", format!("it is for issuer `{}`", self.issuer)));
        }
        strangers::refused(self.platform, self.event.as_deref(), &self.claims, &who.claims)
            .or_else(|| self.claims.first_failed(&who.claims))
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
        Ok(Admission { rule: self.name.to_string(), broad: self.allow_broad.clone(), grants })
    }
}

/// Whatever a file of trust rules holds: it is read or refused, and who shows no claim gets nothing.
///
/// # Panics
/// If somebody without a claim is let in.
pub fn fuzz_trust(data: &[u8]) {
    let issuers = Platform::ALL.map(|platform| {
        let issuer = TrustIssuer {
            platform,
            claims: BTreeSet::new(),
            repository_id: None,
            git_ref: None,
            event: None,
            tenants: &[],
        };
        (platform.as_str().to_owned(), issuer)
    });
    let context = TrustContext {
        issuers: issuers.into(),
        resources: ResourceName::new("orders").into_iter().collect(),
        policies: PolicyName::new("read").into_iter().collect(),
    };
    let text = String::from_utf8_lossy(data).into_owned();
    let Ok(rules) = TrustRules::parse(&[("fuzz.yaml".to_owned(), text)], &context) else { return };
    for platform in Platform::ALL {
        let who =
            Identity { platform, issuer_name: platform.as_str().to_owned(), ..Identity::example() };
        let admitted = rules.admit(&who, &Request::default(), Timestamp::UNIX_EPOCH);
        assert!(admitted.is_err(), "somebody without a claim was let in");
        let admits = |e: &Explained<'_>| matches!(e.outcome, Outcome::Admits(_));
        assert!(!rules.explain(&who).iter().any(admits), "an explanation says otherwise");
    }
}
