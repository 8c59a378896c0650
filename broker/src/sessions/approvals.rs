//! What people are asked: by which rules, who may answer, and what an answer is good for.
//!
//! INVARIANT: an enforcement point names rules; who may decide, how many, and in which time stands in the policy that this
//! broker gave to the session. [`Sessions::decide`] is the one way to a yes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use guard_audit::Event;
use guard_core::{
    ApprovalId, ApprovalKey, ApprovalScope, ApprovalState, ApprovalTerms, ApprovalWait, Digest,
    EnforceAt, Identity, PersonRef, ResourceName, RuleId, Sensitive, SessionId, Timestamp,
    control::{ApprovalStatus, AskApproval, PolicySource, UseApproval},
    shortest_within, strictest_wait,
};

use super::{Caller, Found, Session, Sessions, check_writer, leases};
use crate::{
    error::{Refusal, chain},
    record::RecordError,
    store::{ApprovalRow, Asked, StoreError, Vote, Voted},
};

/// How often who waits looks himself, should a word of the store be lost.
const LOOK: Duration = Duration::from_millis(500);
/// Rules of one operation that ask.
const MAX_RULES: usize = 32;
/// Why something came of a request without anybody's word.
const TIME_OVER: &str = "its time was over";
const ASKER_GONE: &str = "whoever asked is gone";
const SESSION_OVER: &str = "the session is over";
const TAKEN_BACK: &str = "it was taken back";
/// Length of what is said of an operation in a line, in bytes.
const MAX_WHAT: usize = 1_000;
/// Longest reason that a person can give, in characters.
pub(crate) const MAX_REASON: usize = 1_000;

/// Somebody who signed in, as far as deciding goes.
pub(crate) trait Decider: Sync {
    /// Whether their role lets them decide at all.
    fn decides(&self) -> bool;
    /// Who it is.
    fn person(&self) -> PersonRef;
    /// The groups that they are in now, by the word of who vouches for them.
    fn groups(&self) -> &BTreeSet<String>;
    /// Whether they may have started this run.
    fn started(&self, run: &Identity) -> bool;
}

/// Why somebody's word does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDecided {
    /// There is no such request.
    #[error("there is no such request")]
    Unknown,
    /// Their role is another.
    #[error("only approvers decide")]
    NoApprover,
    /// They are in no group that is asked.
    #[error("you are in none of the groups that are asked: {0}")]
    NotAsked(String),
    /// It is their own run.
    #[error("you started this run: somebody else has to decide")]
    Own,
    /// They said something before.
    #[error("you have said something to this before")]
    Again,
    /// The rule wants a reason.
    #[error("the rule wants a reason for a yes")]
    ReasonNeeded,
    /// The reason cannot be kept.
    #[error("a reason has at most {MAX_REASON} characters")]
    ReasonTooLong,
    /// It is decided or over.
    #[error("it is not to be decided any more: it is {0}")]
    Settled(ApprovalState),
    /// The store does not work.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
}

impl NotDecided {
    /// What somebody who may decide is told in words; or the refusal that everybody else gets.
    pub(crate) fn words(self) -> Result<String, Refusal> {
        match self {
            Self::Unknown => Err(Refusal::NoSession),
            Self::NoApprover => Err(Refusal::Forbidden(self.to_string())),
            Self::Store(error) => Err(error.into()),
            Self::NotAsked(_)
            | Self::Own
            | Self::Again
            | Self::ReasonNeeded
            | Self::ReasonTooLong
            | Self::Settled(_) => Ok(self.to_string()),
        }
    }
}

/// The request that an address names.
pub(crate) fn approval_of(id: &str) -> Result<ApprovalId, Refusal> {
    id.parse().map_err(|_| Refusal::NoSession)
}

impl Sessions {
    /// Asks people about an operation of a session.
    pub(crate) async fn ask_approval(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        ask: AskApproval,
    ) -> Result<ApprovalStatus, Refusal> {
        self.refresh(session).await?;
        self.check_asker(caller, session, &ask.resource).await?;
        check_writer(caller.name(), &ask.writer)?;
        if !ask.subject.is_sound() || ask.what.len() > MAX_WHAT {
            return Err(Refusal::Invalid("what is asked about does not hold together".into()));
        }
        let (grant, source) = session.live_grant(&ask.resource)?;
        let terms = terms_of(source, ask.policy, &ask.rules)?;
        let wait = strictest_wait(&terms);
        let within = shortest_within(&terms);
        let subject = ask.subject;
        let digest =
            key(session, source, &ask.resource, &ask.rules, wait, &subject_digests(&subject));
        let now = Timestamp::now();
        let row = ApprovalRow {
            id: ask.id,
            session: session.row.id,
            digest,
            resource: ask.resource,
            policy: grant.policy.clone(),
            terms,
            subject,
            identity: session.row.identity.clone(),
            so_far: ask.so_far,
            what: ask.what,
            trust_rule: session.row.trust_rule.clone(),
            wait,
            state: ApprovalState::Waiting,
            asked_at: now,
            until: now.saturating_add(within).unwrap_or(now),
            decided_at: None,
            used_at: None,
            used_by: None,
        };
        let expired = self.store.expire_approvals(Some(digest)).await?;
        self.note_expired(&expired).await;
        match self.store.ask_approval(&row, within).await? {
            Asked::Known(known) => self.status(&known).await.map_err(Refusal::from),
            Asked::TooMany => {
                self.refresh(session).await?;
                session.require_live()?;
                Err(Refusal::TooMany("the session asks too much of people".into()))
            }
            Asked::New => {
                let row = self.store.approval(row.id).await?.ok_or(Refusal::NoSession)?;
                let asked = Event::ApprovalAsked {
                    approval: row.id,
                    resource: row.resource.clone(),
                    asked_by: ask.writer.into(),
                    operation: ask.operation,
                    digest,
                    what: row.what.clone(),
                    policy: row.policy.clone(),
                    terms: row.terms.clone(),
                    wait,
                    until: row.until,
                    address: self.address(row.id),
                };
                if let Err(error) = session.record.append_own(asked).await {
                    // What is not in the record is not asked.
                    self.store.cancel_approval(row.id, session.row.id).await?;
                    return Err(error.into());
                }
                if let Some(notices) = session.record.noticed() {
                    session.noticed(notices);
                } else {
                    self.refresh(session).await?;
                }
                self.metrics.approval(ApprovalState::Waiting);
                tracing::info!(session = %row.session, approval = %row.id, resource = %row.resource, "people are asked");
                Ok(self.status(&row).await?)
            }
        }
    }

    /// Where a request stands: when that changed, or after `wait`.
    pub(crate) async fn approval_state(
        &self,
        session: &Arc<Session>,
        id: ApprovalId,
        wait: Duration,
    ) -> Result<ApprovalStatus, Refusal> {
        let mut changed = session.state.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            changed.mark_unchanged();
            let row = self.approval_of(session, id).await?;
            session.require_live()?;
            if row.state != ApprovalState::Waiting || tokio::time::Instant::now() >= deadline {
                return Ok(self.status(&row).await?);
            }
            let next = deadline.min(tokio::time::Instant::now() + LOOK);
            let _ = tokio::time::timeout_at(next, changed.changed()).await;
        }
    }

    /// Uses a granted request up for a statement of this session.
    pub(crate) async fn use_approval(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        id: ApprovalId,
        ask: &UseApproval,
    ) -> Result<ApprovalStatus, Refusal> {
        self.refresh(session).await?;
        self.check_asker(caller, session, &ask.resource).await?;
        let (_, source) = session.live_grant(&ask.resource)?;
        let terms = terms_of(source, ask.policy, &ask.rules)?;
        let row = self.approval_of(session, id).await?;
        let digests = (ask.text_digest, ask.details_digest);
        let wait = strictest_wait(&terms);
        let digest = key(session, source, &ask.resource, &ask.rules, wait, &digests);
        if digest != row.digest {
            return Err(Refusal::Forbidden("the approval is for something else".into()));
        }
        if row.state == ApprovalState::Granted {
            // That it was granted stands before that it was used, also when the broker that granted it is no more.
            self.note_missing(Some(row.session)).await?;
        }
        if self.store.use_approval(id, session.row.id, digest).await? {
            let by = self.yes_of(id).await?;
            let used = Event::ApprovalUsed { approval: id, asked_in: row.session, digest, by };
            // Burned if it cannot be recorded: nothing goes on by it then.
            session.record.append_own(used).await?;
            self.metrics.approval(ApprovalState::Used);
        } else if row.state == ApprovalState::Granted || row.state == ApprovalState::Used {
            // Another one was quicker, here or at another broker.
            let by = self.store.approval(id).await?.and_then(|row| row.used_by);
            tracing::warn!(approval = %id, session = %session.row.id, ?by, "an approval was to be used twice");
            return Err(Refusal::Forbidden("the approval was used".into()));
        }
        let row = self.store.approval(id).await?.ok_or(Refusal::NoSession)?;
        Ok(self.status(&row).await?)
    }

    /// Takes a request back: whoever asked is gone.
    pub(crate) async fn cancel_approval(
        &self,
        session: &Arc<Session>,
        id: ApprovalId,
    ) -> Result<ApprovalStatus, Refusal> {
        let row = self.approval_of(session, id).await?;
        if self.store.cancel_approval(id, session.row.id).await? {
            self.note(&row, ApprovalState::Cancelled, ASKER_GONE).await;
        }
        let row = self.store.approval(id).await?.ok_or(Refusal::NoSession)?;
        Ok(self.status(&row).await?)
    }

    /// Somebody says yes or no.
    ///
    /// INVARIANT: whoever started the run, is in no group that is asked, or said something before, does not count.
    pub(crate) async fn decide(
        &self,
        person: &dyn Decider,
        id: ApprovalId,
        grant: bool,
        reason: &str,
    ) -> Result<ApprovalRow, NotDecided> {
        if !person.decides() {
            return Err(NotDecided::NoApprover);
        }
        let row = self.store.approval(id).await?.ok_or(NotDecided::Unknown)?;
        let asked = |terms: &ApprovalTerms| !terms.from.is_disjoint(person.groups());
        if !row.terms.iter().any(asked) {
            let groups: BTreeSet<_> = row.terms.iter().flat_map(|terms| &terms.from).collect();
            let groups: Vec<_> = groups.into_iter().map(|group| format!("`{group}`")).collect();
            return Err(NotDecided::NotAsked(groups.join(", ")));
        }
        if person.started(&row.identity) {
            return Err(NotDecided::Own);
        }
        let reason = reason.trim();
        if reason.chars().count() > MAX_REASON {
            return Err(NotDecided::ReasonTooLong);
        }
        if grant && reason.is_empty() && row.terms.iter().any(|terms| terms.reason_required) {
            return Err(NotDecided::ReasonNeeded);
        }
        let vote = Vote {
            person: person.person(),
            groups: person.groups().clone(),
            granted: grant,
            reason: reason.to_owned(),
            at: Timestamp::now(),
        };
        let voted = if grant {
            self.store.vote_yes(id, &vote).await?
        } else {
            self.store.vote_no(id, &vote).await?
        };
        if voted == Voted::TooLate {
            let row = self.store.approval(id).await?.ok_or(NotDecided::Unknown)?;
            let votes = self.store.votes(id).await?;
            let same = |known: &Vote| {
                (&known.person.issuer, &known.person.subject)
                    == (&vote.person.issuer, &vote.person.subject)
            };
            return Err(if votes.iter().any(same) {
                NotDecided::Again
            } else {
                NotDecided::Settled(row.state)
            });
        }
        tracing::info!(approval = %id, grant, person = vote.person.subject, "somebody decided");
        if grant {
            self.count_votes(&row).await?;
        } else {
            let reasons = vec![vote.reason];
            self.note_with(&row, ApprovalState::Refused, vec![vote.person], reasons).await;
        }
        self.store.approval(id).await?.ok_or(NotDecided::Unknown)
    }

    /// Grants a request if enough people said yes.
    async fn count_votes(&self, row: &ApprovalRow) -> Result<(), StoreError> {
        let votes = self.store.votes(row.id).await?;
        if row.terms.iter().all(|terms| is_met(terms, &votes))
            && self.store.grant_approval(row.id).await?
        {
            let (by, reasons) = votes.into_iter().map(|vote| (vote.person, vote.reason)).unzip();
            self.note_with(row, ApprovalState::Granted, by, reasons).await;
        }
        Ok(())
    }

    /// Takes back what a session that is over still holds.
    pub(super) async fn cancel_held(&self, session: &Session) -> Result<(), Refusal> {
        for row in self.store.cancel_held(session.row.id).await? {
            self.note(&row, ApprovalState::Cancelled, SESSION_OVER).await;
        }
        // Nothing can be added behind the seal.
        self.note_missing(Some(session.row.id)).await
    }

    /// Ends what is out of time, and counts what a broker that stopped did not.
    pub(super) async fn look_after_approvals(&self) -> Result<(), Refusal> {
        let expired = self.store.expire_approvals(None).await?;
        self.note_expired(&expired).await;
        for id in self.store.voted_and_waiting().await? {
            if let Some(row) = self.store.approval(id).await? {
                self.count_votes(&row).await?;
            }
        }
        self.note_missing(None).await
    }

    /// Appends what came of requests where a broker stopped before it did, or could not. The record takes each once.
    async fn note_missing(&self, session: Option<SessionId>) -> Result<(), Refusal> {
        for row in self.store.unnoted_approvals(session).await? {
            let votes = self.store.votes(row.id).await?;
            let said = |granted| {
                let of_them = votes.iter().filter(move |vote| vote.granted == granted);
                of_them.map(|vote| (vote.person.clone(), vote.reason.clone())).unzip()
            };
            let why = |text: &str| (Vec::new(), vec![text.to_owned()]);
            let (state, (by, reasons)) = match row.state {
                ApprovalState::Waiting => continue,
                ApprovalState::Granted | ApprovalState::Used => {
                    (ApprovalState::Granted, said(true))
                }
                ApprovalState::Refused => (ApprovalState::Refused, said(false)),
                ApprovalState::Expired => (ApprovalState::Expired, why(TIME_OVER)),
                ApprovalState::Cancelled => (ApprovalState::Cancelled, why(TAKEN_BACK)),
            };
            self.tell_record(&row, state, by, reasons).await;
        }
        Ok(())
    }

    async fn note_expired(&self, expired: &[ApprovalRow]) {
        for row in expired {
            self.note(row, ApprovalState::Expired, TIME_OVER).await;
        }
    }

    async fn note(&self, row: &ApprovalRow, state: ApprovalState, why: &str) {
        self.note_with(row, state, Vec::new(), vec![why.to_owned()]).await;
    }

    /// Says what came of a request: in the record of the session that asked, if that is open, and to who waits.
    async fn note_with(
        &self,
        row: &ApprovalRow,
        state: ApprovalState,
        by: Vec<PersonRef>,
        reasons: Vec<String>,
    ) {
        self.metrics.approval(state);
        self.tell_record(row, state, by, reasons).await;
    }

    async fn tell_record(
        &self,
        row: &ApprovalRow,
        state: ApprovalState,
        by: Vec<PersonRef>,
        reasons: Vec<String>,
    ) {
        let session = match self.by_id(row.session).await {
            Ok(Some(Found::Open(session))) => Some(session),
            // What is parked may be decided when the record is sealed.
            Ok(Some(Found::Closed(_)) | None) => None,
            Err(error) => {
                tracing::warn!(error = error.reason(), "cannot look for the session that asked");
                return;
            }
        };
        if let Some(session) = session {
            let reasons = reasons.into_iter().map(Sensitive::new).collect();
            let event = Event::ApprovalDecided { approval: row.id, state, by, reasons };
            let told = session.record.append_own(event).await;
            session.state.send_modify(|_| {});
            match told {
                Ok(()) | Err(RecordError::Sealed) => {}
                Err(error) => {
                    // The next look tries again.
                    tracing::error!(approval = %row.id, error = chain(&error), "cannot record what people decided");
                    return;
                }
            }
        }
        if let Err(error) = self.store.approval_noted(row.id, state).await {
            tracing::warn!(approval = %row.id, error = chain(&error), "cannot note that a decision is recorded");
        }
    }

    /// A request that this session asked, or that is parked for its job.
    async fn approval_of(&self, session: &Session, id: ApprovalId) -> Result<ApprovalRow, Refusal> {
        let row = self.store.approval(id).await?;
        let of_session = |row: &ApprovalRow| {
            let (own, other) = (&session.row.identity.run, &row.identity.run);
            row.session == session.row.id
                || (row.wait == ApprovalWait::Park
                    && row.trust_rule == session.row.trust_rule
                    && own.issuer == other.issuer
                    && own.repository_id == other.repository_id)
        };
        // As if it were not there: a session need not learn of others' requests.
        row.filter(of_session).ok_or(Refusal::NoSession)
    }

    /// Whether this enforcement point enforces the resource for the session.
    async fn check_asker(
        &self,
        caller: &Caller,
        session: &Session,
        resource: &ResourceName,
    ) -> Result<(), Refusal> {
        let config = self.config();
        let enforced = config.resources.get(resource).map(|known| known.spec.enforce_at);
        let here = match (caller, enforced) {
            (Caller::Shim(_), Some(EnforceAt::Shim)) => true,
            (Caller::Gateway(name), Some(EnforceAt::Gateway)) => {
                self.has_tunnel(session, name, Some(resource)).await?
            }
            (Caller::Shim(_) | Caller::Gateway(_), _) => false,
        };
        if here {
            Ok(())
        } else {
            Err(Refusal::Forbidden(format!("`{resource}` is not enforced here")))
        }
    }

    async fn yes_of(&self, id: ApprovalId) -> Result<Vec<PersonRef>, StoreError> {
        let votes = self.store.votes(id).await?;
        Ok(votes.into_iter().filter(|vote| vote.granted).map(|vote| vote.person).collect())
    }

    /// A request as its enforcement point sees it.
    async fn status(&self, row: &ApprovalRow) -> Result<ApprovalStatus, StoreError> {
        let votes = self.store.votes(row.id).await?;
        let reason = votes.last().map(|vote| vote.reason.clone()).filter(|text| !text.is_empty());
        Ok(ApprovalStatus {
            id: row.id,
            state: row.state,
            wait: row.wait,
            until: row.until,
            address: self.address(row.id),
            by: votes.into_iter().map(|vote| vote.person).collect(),
            reason,
        })
    }

    /// The page of a request.
    pub(crate) fn address(&self, id: ApprovalId) -> String {
        format!("{}/approvals/{id}", self.config().url)
    }
}

/// What the rules of a session's policy ask. The policy must be the one by which the operation was judged.
fn terms_of(
    source: &PolicySource,
    judged_by: Digest,
    rules: &[RuleId],
) -> Result<Vec<ApprovalTerms>, Refusal> {
    if source.digest != judged_by {
        return Err(Refusal::PolicyChanged);
    }
    let different: BTreeSet<_> = rules.iter().collect();
    if rules.is_empty() || rules.len() > MAX_RULES || different.len() != rules.len() {
        return Err(Refusal::Invalid("each rule that asks stands here once".into()));
    }
    let policy = leases::parse(source)?;
    let terms = rules.iter().map(|rule| {
        let terms = policy.approval_terms(rule).cloned();
        terms.ok_or_else(|| Refusal::Invalid(format!("rule `{rule}` asks nobody")))
    });
    terms.collect()
}

/// Whether enough people who are asked by a rule said yes.
fn is_met(terms: &ApprovalTerms, votes: &[Vote]) -> bool {
    let people: BTreeSet<_> = votes
        .iter()
        .filter(|vote| vote.granted && !vote.groups.is_disjoint(&terms.from))
        .map(|vote| (&vote.person.issuer, &vote.person.subject))
        .collect();
    u32::try_from(people.len()).unwrap_or(u32::MAX) >= terms.count
        && votes.iter().all(|vote| vote.granted)
}

fn subject_digests(subject: &guard_core::ApprovalSubject) -> (Digest, Digest) {
    (subject.text_digest, subject.details_digest)
}

/// For what exactly a request counts.
fn key(
    session: &Session,
    policy: &PolicySource,
    resource: &ResourceName,
    rules: &[RuleId],
    wait: ApprovalWait,
    (text_digest, details_digest): &(Digest, Digest),
) -> Digest {
    let run = &session.row.identity.run;
    let scope = match wait {
        ApprovalWait::Hold => ApprovalScope::Run(run),
        ApprovalWait::Park => ApprovalScope::Job {
            trust_rule: &session.row.trust_rule,
            issuer: &run.issuer,
            repository_id: &run.repository_id,
        },
    };
    let key = ApprovalKey {
        scope,
        resource,
        policy: &policy.name,
        policy_digest: policy.digest,
        rules,
        text_digest: *text_digest,
        details_digest: *details_digest,
    };
    key.digest()
}
