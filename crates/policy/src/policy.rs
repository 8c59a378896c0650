//! A policy: ordered rules from effects to decisions, with masks.
//!
//! Every effect of an operation finds the first rule that matches it; what no rule matches is blocked by
//! `default-deny`; the strictest decision over all effects is the operation's. Then the masks look at what
//! an allowed operation would carry out, and block what they could not hide.

mod approval;
mod budgets;
mod denial;
mod egress;
mod fields;
mod http;
mod judge;
mod lists;
mod lock;
mod masks;
mod parse;
mod privileges;
mod record;
mod rule;
#[cfg(test)]
mod tests;

use guard_core::{
    ApprovalTerms, Budgets, DecisionKind, Detectors, Digest, FieldMask, Literals, Mode, PolicyName,
    Protocol, RuleId, Verb,
    egress::{Destination, EgressTerms, Host},
    http::{ApiDocument, HttpRequest},
};

use crate::openapi;

use self::{
    lock::{Lock, Unlisted},
    masks::Masks,
    record::Records,
    rule::Rule,
};

pub use self::{
    http::ClientCredentials,
    lock::{Fingerprints, LockFile, LockText, LockedResource, LockedStatement},
    parse::fuzz_policy,
    privileges::Privileges,
};

/// Ordered rules from effects to decisions, with masks.
#[derive(Debug, Clone)]
pub struct Policy {
    name: PolicyName,
    digest: Digest,
    mode: Mode,
    budgets: Budgets,
    rules: Vec<Rule>,
    masks: Masks,
    egress: Vec<Destination>,
    record: Records,
    lock: Option<Lock>,
    client_credentials: ClientCredentials,
}

impl Policy {
    /// Its name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// SHA-256 of its text, or over it and its lock.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The rules in their order.
    pub fn rules(&self) -> impl Iterator<Item = &RuleId> {
        self.rules.iter().map(|rule| &rule.id)
    }

    /// What a rule of this name asks of people, if it asks them.
    pub fn approval_terms(&self, rule: &RuleId) -> Option<&ApprovalTerms> {
        if *rule == RuleId::lock() {
            return self.lock_terms();
        }
        self.rules.iter().find(|known| known.id == *rule)?.approval.as_ref()
    }

    /// Whether some rule, or the lock, asks people.
    pub fn asks_people(&self) -> bool {
        self.rules.iter().any(|rule| rule.approval.is_some()) || self.lock_terms().is_some()
    }

    /// Whether some rule depends on a header of this name.
    pub fn judges_header(&self, name: &str) -> bool {
        let patterns = self.rules.iter().filter_map(|rule| rule.filter.http.as_ref());
        patterns.into_iter().any(|pattern| pattern.looks_at_header(name))
    }

    /// What is asked of people about what is not in the lock, if they are asked.
    fn lock_terms(&self) -> Option<&ApprovalTerms> {
        match &self.lock.as_ref()?.unlisted {
            Unlisted::Approve(terms) => Some(terms),
            Unlisted::Report | Unlisted::Block => None,
        }
    }

    /// The lock, if it has one.
    pub fn lock(&self) -> Option<&LockFile> {
        self.lock.as_ref().map(|lock| &lock.file)
    }

    /// The name of the lock's file, which is in the policy's own folder.
    pub fn lock_name(&self) -> Option<&str> {
        self.lock.as_ref().map(|lock| lock.name.as_str())
    }

    /// The text of the lock, which travels with the policy's.
    pub fn lock_text(&self) -> Option<&str> {
        self.lock.as_ref().map(|lock| lock.text.as_str())
    }

    /// The same rules without the lock: for those who ask about the rules alone.
    #[must_use]
    pub fn without_lock(&self) -> Self {
        Self { lock: None, ..self.clone() }
    }

    /// Whether nothing that it allows could change anything on the server: the rules by which something goes on name no verbs
    /// but `read`, `session`, `transaction`, `lock`, `notify` and `signal`. One that only observes may write.
    pub fn reads_only(&self) -> bool {
        let allowing = self.rules.iter().filter(|rule| match rule.decide {
            DecisionKind::Allow | DecisionKind::Approve => true,
            DecisionKind::Block => false,
        });
        let allowing = allowing.filter(|rule| rule.is_about(Protocol::Postgres));
        self.mode.enforces()
            && allowing.map(|rule| &rule.filter.effects).all(|effects| match effects {
                Some(verbs) => verbs.iter().all(|verb| !may_write(*verb)),
                None => false,
            })
    }

    /// Whether some rule asks how many rows the server's planner expects.
    pub fn bounds_rows(&self) -> bool {
        self.rules.iter().any(|rule| rule.filter.rows.is_some())
    }

    /// How many of the bounds on rows an estimate is over: all of them without one. Rulings on one operation are
    /// equal where this is.
    pub fn bounds_under(&self, rows: Option<u64>) -> usize {
        let bounds = self.rules.iter().filter_map(|rule| rule.filter.rows);
        bounds.filter(|most| rows.is_none_or(|rows| rows > *most)).count()
    }

    /// Whether it refuses, or only says what it would refuse.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How much may be done of what it allows.
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Whether a command may go somewhere besides its resources.
    pub fn has_egress(&self) -> bool {
        !self.egress.is_empty()
    }

    /// What counts for a connection of a command to a place, if it may go there at all.
    pub fn egress(&self, host: &Host, port: u16) -> Option<&EgressTerms> {
        let locked_out = |lock: &Lock| !lock.lets_out(&host.to_string(), port);
        if self.lock.as_ref().is_some_and(locked_out) {
            return None;
        }
        self.egress.iter().find(|place| place.is(host, port)).map(|place| &place.terms)
    }

    /// Whether it lists a place that its lock does not.
    pub fn locks_out(&self, host: &Host, port: u16) -> bool {
        self.egress(host, port).is_none() && self.without_lock().egress(host, port).is_some()
    }

    /// Whether texts of statements are recorded.
    pub fn literals(&self) -> Literals {
        self.record.literals
    }

    /// How many bytes of each direction of a connection are recorded, if they are.
    pub fn records_traffic(&self) -> Option<u64> {
        self.record.traffic
    }

    /// Whether rows of some answers are recorded.
    pub fn records_rows(&self) -> bool {
        self.record.base.keeps_rows() || self.rules.iter().any(|rule| rule.record.is_some())
    }

    /// Whether values are hidden from the job: by masks, or where detectors find something.
    pub fn hides_values(&self) -> bool {
        !self.masks.is_empty() || self.masks.hides_fields() || !self.masks.detect().is_empty()
    }

    /// What it looks for where no mask names it.
    pub fn detect(&self) -> Detectors {
        self.masks.detect()
    }

    /// What is hidden of a request before it goes on, or anybody sees it.
    pub fn request_masks(&self, request: &HttpRequest) -> Vec<FieldMask> {
        self.masks.of_request(request)
    }

    /// Whether some rule is about requests to HTTP APIs.
    pub fn is_for_http(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_about(Protocol::Http))
    }

    /// What is wrong with the operations that rules name, over a resource with this document, or without one.
    pub fn misses(&self, document: Option<&ApiDocument>) -> Vec<(String, Option<String>)> {
        let ids = document.map(ApiDocument::ids);
        let mut wrong = Vec::new();
        for rule in &self.rules {
            let named = rule.filter.http.as_ref().and_then(|http| http.operations.as_ref());
            for pattern in named.into_iter().flatten() {
                let Some(ids) = &ids else {
                    let what = format!(
                        "rule `{}` names operations, and there is no OpenAPI document that has them",
                        rule.id
                    );
                    let help = "give the resource `openapi: { file: PATH }`, or name paths";
                    wrong.push((what, Some(help.to_owned())));
                    break;
                };
                if !ids.iter().any(|id| pattern.matches(id)) {
                    let word = pattern.to_string();
                    let what = format!(
                        "rule `{}` names the operation `{word}`, which the OpenAPI document does not have",
                        rule.id
                    );
                    let near = openapi::nearest(&word, ids.iter().copied());
                    wrong.push((what, near.map(|near| format!("the nearest is `{near}`"))));
                }
            }
        }
        wrong
    }

    /// Whether a rule looks into the body of a request like this one.
    pub fn looks_into(&self, request: &HttpRequest) -> bool {
        let mut patterns = self.rules.iter().filter_map(|rule| rule.filter.http.as_ref());
        patterns.any(|pattern| pattern.looks_into(request))
    }

    /// Whether a rule that may be about a request looks at more of it than method, path and query.
    pub fn looks_beyond_line(&self, request: &HttpRequest) -> bool {
        let mut patterns = self.rules.iter().filter_map(|rule| rule.filter.http.as_ref());
        patterns.any(|pattern| pattern.looks_beyond_line(request))
    }

    /// What becomes of a credential that a client of an HTTP API sends itself.
    pub fn client_credentials(&self) -> ClientCredentials {
        self.client_credentials
    }

    /// Whether it hides the values of columns.
    pub fn has_masks(&self) -> bool {
        !self.masks.is_empty()
    }

    /// Whether a mask asks for the key of the resource that outlives sessions (`stable: always`).
    pub fn needs_lasting_key(&self) -> bool {
        self.masks.needs_lasting_key()
    }
}

/// Whether what a verb stands for could not be done in a transaction that only reads, or could end that.
const fn may_write(verb: Verb) -> bool {
    match verb {
        Verb::Read
        | Verb::Session
        | Verb::Transaction
        | Verb::Lock
        | Verb::Notify
        | Verb::Signal => false,
        Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Truncate
        | Verb::Create
        | Verb::Alter
        | Verb::Drop
        | Verb::Grant
        | Verb::Role
        | Verb::Call
        | Verb::Code
        | Verb::Program
        | Verb::File
        | Verb::Network
        | Verb::Config
        | Verb::Maintain
        | Verb::Replication => true,
    }
}
