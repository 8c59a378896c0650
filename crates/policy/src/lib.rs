//! The two pure questions: may this run have a session ([`TrustRules::admit`]), and may this
//! session do this ([`Policy::judge`])? Both are total and have no clock of their own.

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{
    Decision, Denial, DenialCode, Digest, Grant, Identity, MaskPlan, Operation, Platform,
    PolicyName, ResourceName, RuleId, Ruling, SessionView, Timestamp, document::Problems,
};

/// Ordered rules from effects to decisions, with masks.
#[derive(Debug, Clone)]
pub struct Policy {
    name: PolicyName,
    digest: Digest,
}

impl Policy {
    /// Reads a policy. `file` names it in problems.
    pub fn parse(_file: &str, text: &str) -> Result<Self, Problems> {
        let name = PolicyName::new("none").map_err(|_| Problems::new())?;
        Ok(Self { name, digest: Digest::of(text) })
    }

    /// Its name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// SHA-256 of its text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What becomes of an operation.
    pub fn judge(&self, _session: &SessionView, _op: &Operation, _now: Timestamp) -> Ruling {
        let denial = Denial {
            code: DenialCode::DefaultDeny,
            what: "blocked".into(),
            rule: RuleId::default_deny(),
            policy: self.name.clone(),
            detail: None,
            hint: None,
        };
        Ruling {
            decision: Decision::Block(denial),
            masks: MaskPlan::default(),
            rule: RuleId::default_deny(),
            trace: Vec::new(),
        }
    }
}

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
}

impl TrustRules {
    /// Reads trust rules from files, given as name and text.
    pub fn parse(files: &[(String, String)], _context: &TrustContext) -> Result<Self, Problems> {
        Ok(Self { digest: Digest::of(files.iter().map(|f| f.1.as_str()).collect::<String>()) })
    }

    /// SHA-256 over the texts.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What a run gets. The error's text is for the broker's log, never for the asker.
    pub fn admit(
        &self,
        _who: &Identity,
        _ask: &Request,
        _now: Timestamp,
    ) -> Result<Admission, String> {
        Err("no trust rule matches".into())
    }
}
