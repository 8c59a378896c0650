//! Approvals: what rules ask of people before an operation goes on, and what came of asking.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Certainty, Denial, Digest, Effect, PolicyName, ResourceName, RuleId, RunKey};

/// What becomes of a run while people decide.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ApprovalWait {
    /// The statement waits, and the run with it.
    #[default]
    Hold,
    /// The statement is refused and the run ends; a later run of the same job goes through once.
    Park,
}

impl ApprovalWait {
    /// The word used in policies and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Park => "park",
        }
    }
}

/// What one rule of a policy asks of people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalTerms {
    /// The rule.
    pub rule: RuleId,
    /// Groups of people who may decide; one of them is enough.
    pub from: BTreeSet<String>,
    /// How many different people must say yes.
    pub count: u32,
    /// How long they have, in seconds; what they granted must be used within it, too.
    pub within_secs: u64,
    /// What becomes of the run meanwhile.
    pub wait: ApprovalWait,
    /// Whether a yes needs a reason. A no always may have one.
    pub reason_required: bool,
}

/// What people are asked before an operation goes on.
///
/// An operation can meet several rules that ask. One request stands for all of them: each rule's people have to agree, in the
/// shortest of the times, and where one of them parks, the run is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalSpec {
    /// What each rule asks, the first rule first. Never empty.
    pub terms: Vec<ApprovalTerms>,
    /// Why it does not simply go on, in words.
    pub ask: Denial,
}

impl ApprovalSpec {
    /// The rules that ask.
    pub fn rules(&self) -> impl Iterator<Item = &RuleId> {
        self.terms.iter().map(|terms| &terms.rule)
    }

    /// What becomes of the run.
    pub fn wait(&self) -> ApprovalWait {
        strictest_wait(&self.terms)
    }
}

/// The shortest time that any of the rules gives.
pub fn shortest_within(terms: &[ApprovalTerms]) -> Duration {
    Duration::from_secs(terms.iter().map(|terms| terms.within_secs).min().unwrap_or(0))
}

/// Parks where any of the rules does.
pub fn strictest_wait(terms: &[ApprovalTerms]) -> ApprovalWait {
    terms.iter().map(|terms| terms.wait).max().unwrap_or_default()
}

/// Where a request for an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ApprovalState {
    /// People have not decided.
    Waiting,
    /// Everybody who had to said yes, and it was not used.
    Granted,
    /// Somebody said no.
    Refused,
    /// Its time was over before it was decided or used.
    Expired,
    /// The operation went on by it. It counts for nothing more.
    Used,
    /// Whoever asked is gone, or asks no more.
    Cancelled,
}

impl ApprovalState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Granted, Self::Refused, Self::Expired, Self::Used, Self::Cancelled];

    /// The word used in records and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Used => "used",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for ApprovalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A person, as records name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersonRef {
    /// Who vouches for them: the issuer's URL.
    pub issuer: String,
    /// The issuer's name for them, which never changes.
    pub subject: String,
    /// What people call them.
    pub name: String,
}

/// A parameter of a statement, as whoever decides sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "form", content = "value")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ShownParameter {
    /// It has no value.
    Null,
    /// A value that travels as text, or its beginning.
    Text(String),
    /// A value that travels in binary, or its beginning, in hexadecimal.
    Binary(String),
}

/// What people decide on: one exact operation.
///
/// What is shown can be the beginning of something long; the digests are of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalSubject {
    /// What the protocol calls it.
    pub label: String,
    /// Its text, or the beginning of it ([`MAX_SHOWN_TEXT`]).
    pub text: String,
    /// The length of the whole text, in bytes.
    pub text_bytes: u64,
    /// SHA-256 of the whole text.
    pub text_digest: Digest,
    /// Values of its parameters, of very many the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ShownParameter>,
    /// How many there are.
    #[serde(default)]
    pub parameter_count: u64,
    /// SHA-256 over what else decides what it does: all of them as they came, with their types and forms, and its effects.
    #[serde(default = "Digest::zero")]
    pub details_digest: Digest,
    /// What it would do.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub effects: Vec<Effect>,
    /// How sure guard is of that.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub certainty: Certainty,
    /// How many rows the server's planner expects it to change or return, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
}

/// Longest text of a statement that is shown to people, in bytes. The rest is said to be cut.
pub const MAX_SHOWN_TEXT: usize = 64 * 1024;
/// Most parameters that are shown.
pub const MAX_SHOWN_PARAMETERS: usize = 100;
/// Longest part of one parameter that is shown, in characters.
pub const MAX_SHOWN_PARAMETER: usize = 500;
/// Most effects that are shown.
pub const MAX_SHOWN_EFFECTS: usize = 200;

impl ApprovalSubject {
    /// Whether some of the text is not shown.
    pub fn is_cut(&self) -> bool {
        self.text_bytes > self.text.len() as u64
    }

    /// Whether it is within the bounds, and its parts agree with each other: a text that is shown whole is the one of the digest.
    pub fn is_sound(&self) -> bool {
        let characters = |parameter: &ShownParameter| match parameter {
            ShownParameter::Null => 0,
            ShownParameter::Text(text) | ShownParameter::Binary(text) => text.chars().count(),
        };
        self.text.len() <= MAX_SHOWN_TEXT
            && self.text.len() as u64 <= self.text_bytes
            && (self.is_cut() || Digest::of(&self.text) == self.text_digest)
            && self.parameters.len() <= MAX_SHOWN_PARAMETERS
            && self.parameters.len() as u64 <= self.parameter_count
            && self.parameters.iter().all(|p| characters(p) <= MAX_SHOWN_PARAMETER + 1)
            && self.effects.len() <= MAX_SHOWN_EFFECTS
            && self.label.len() <= 200
    }
}

/// For whom an approval counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalScope<'a> {
    /// For the run that holds its statement.
    Run(&'a RunKey),
    /// For later runs of the same job: the same repository, by the same trust rule.
    Job {
        /// The trust rule.
        trust_rule: &'a str,
        /// The issuer's URL.
        issuer: &'a str,
        /// The platform's immutable id of the repository.
        repository_id: &'a str,
    },
}

/// What an approval is for: two operations with the same digest are the same to it, and no others are.
pub struct ApprovalKey<'a> {
    /// For whom it counts.
    pub scope: ApprovalScope<'a>,
    /// The resource.
    pub resource: &'a ResourceName,
    /// The policy.
    pub policy: &'a PolicyName,
    /// SHA-256 of the policy's text: another policy asks again.
    pub policy_digest: Digest,
    /// The rules that ask, in their order.
    pub rules: &'a [RuleId],
    /// SHA-256 of the operation's text.
    pub text_digest: Digest,
    /// SHA-256 over its parameters and effects.
    pub details_digest: Digest,
}

impl ApprovalKey<'_> {
    /// SHA-256 over all parts, each with its length before it.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(b"guard-approval/1");
        match &self.scope {
            ApprovalScope::Run(run) => {
                part(b"run");
                for text in [&run.issuer, &run.repository_id, &run.run_id, &run.attempt, &run.job] {
                    part(text.as_bytes());
                }
            }
            ApprovalScope::Job { trust_rule, issuer, repository_id } => {
                part(b"job");
                for text in [trust_rule, issuer, repository_id] {
                    part(text.as_bytes());
                }
            }
        }
        part(self.resource.as_str().as_bytes());
        part(self.policy.as_str().as_bytes());
        part(self.policy_digest.as_bytes());
        part(&(self.rules.len() as u64).to_be_bytes());
        for rule in self.rules {
            part(rule.as_str().as_bytes());
        }
        part(self.text_digest.as_bytes());
        part(self.details_digest.as_bytes());
        Digest::from_bytes(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_part_of_what_is_approved_is_in_its_digest() {
        let identity = crate::Identity::example();
        let mut other_run = identity.run.clone();
        other_run.attempt = "2".into();
        let resource = ResourceName::new("main").unwrap();
        let other = ResourceName::new("other").unwrap();
        let policy = PolicyName::new("p").unwrap();
        let other_policy = PolicyName::new("q").unwrap();
        let rules = [RuleId::new("a").unwrap(), RuleId::new("b").unwrap()];
        let swapped = [RuleId::new("b").unwrap(), RuleId::new("a").unwrap()];
        let key = || ApprovalKey {
            scope: ApprovalScope::Run(&identity.run),
            resource: &resource,
            policy: &policy,
            policy_digest: Digest::of("policy"),
            rules: &rules,
            text_digest: Digest::of("text"),
            details_digest: Digest::ZERO,
        };
        let job = |trust_rule| ApprovalScope::Job { trust_rule, issuer: "i", repository_id: "1" };
        let keys = [
            key(),
            ApprovalKey { scope: ApprovalScope::Run(&other_run), ..key() },
            ApprovalKey { scope: job("r"), ..key() },
            ApprovalKey { scope: job("s"), ..key() },
            ApprovalKey { resource: &other, ..key() },
            ApprovalKey { policy: &other_policy, ..key() },
            ApprovalKey { policy_digest: Digest::of("other"), ..key() },
            ApprovalKey { rules: &swapped, ..key() },
            ApprovalKey { rules: &rules[..1], ..key() },
            ApprovalKey { text_digest: Digest::of("other"), ..key() },
            ApprovalKey { details_digest: Digest::of("1"), ..key() },
        ];
        let digests: BTreeSet<_> = keys.iter().map(ApprovalKey::digest).collect();
        assert_eq!(digests.len(), keys.len());
        assert_eq!(key().digest(), key().digest());
    }
}
