//! Why a rule is for a run, or is not: for whoever writes rules, never for whoever asks for a session.

use guard_core::Identity;

use super::{Gate, TrustRules};

/// A rule and a run.
#[derive(Debug, Clone)]
pub struct Explained<'a> {
    /// The rule.
    pub rule: &'a str,
    /// The issuer that it is for.
    pub issuer: &'a str,
    /// Why it may be broad, if it is.
    pub broad: Option<&'a str>,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What comes of a rule for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is the run's: resource, policy and how long, for each grant.
    Admits(Vec<(String, String, std::time::Duration)>),
    /// It would be the run's if it stood before this one.
    Behind(String),
    /// The first thing that it does not accept.
    Refuses(Gate),
}

impl TrustRules {
    /// What each rule says to a run, in their order.
    pub fn explain(&self, who: &Identity) -> Vec<Explained<'_>> {
        let mut first: Option<&str> = None;
        let explained = self.rules.iter().map(|rule| {
            let outcome = match (rule.mismatch(who), first) {
                (Some(gate), _) => Outcome::Refuses(gate),
                (None, Some(first)) => Outcome::Behind(first.to_owned()),
                (None, None) => {
                    first = Some(rule.name.as_str());
                    let grants = rule.grants.iter();
                    let grants = grants
                        .map(|g| (g.resource.to_string(), g.policy.to_string(), g.lasts))
                        .collect();
                    Outcome::Admits(grants)
                }
            };
            Explained {
                rule: rule.name.as_str(),
                issuer: &rule.issuer,
                broad: rule.allow_broad.as_deref(),
                outcome,
            }
        });
        explained.collect()
    }
}
