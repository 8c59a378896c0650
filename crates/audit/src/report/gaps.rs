//! What a report says that its evidence does not reach.

use guard_core::EndReason;

use super::{Class, Integrity, Whole, gathering::Gathering, printable};
use crate::{GrantRecord, StatementPhase};

impl Gathering {
    /// What the evidence does not reach. Settles statements that have no outcome as lost.
    pub(super) fn gaps(&mut self, grants: &[GrantRecord], integrity: &Integrity) -> Vec<String> {
        let mut gaps = Vec::new();
        for open in self.open.values() {
            match (open.phase, self.groups.get_mut(open.group)) {
                (StatementPhase::Execute, Some(group)) => group.lost += 1,
                (StatementPhase::Execute | StatementPhase::Prepare, _) => {}
            }
        }
        match integrity.whole {
            Whole::Verified => {}
            Whole::Unchecked => gaps.push(
                "the seal was not checked, since no key was given: run the verify command".into(),
            ),
            Whole::Unsealed => gaps.push(
                "the record is not sealed: more may have happened than is told here".into(),
            ),
            Whole::Broken => gaps.push(
                "the record is broken: nothing here is evidence, and nothing behind the break is told"
                    .into(),
            ),
        }
        match self.ended.map(|(_, reason, _)| reason) {
            None => gaps.push("the session has no end in the record".into()),
            Some(EndReason::Lost) => gaps.push(
                "the run's shim was not heard of any more, so its exit code is not known; the last repetitions of \
                 statements that change nothing may be missing"
                    .into(),
            ),
            Some(EndReason::Unrecorded) => gaps.push(
                "the record could not be written any more, so the session was ended; outcomes of the last statements \
                 may be missing"
                    .into(),
            ),
            Some(EndReason::Finished | EndReason::Expired | EndReason::Revoked) => {}
        }
        if let Some(note) = &self.end_note {
            let note = printable(note);
            gaps.push(format!("the session was ended: {note}"));
        }
        let lost: u64 = self.groups.iter().map(|group| group.lost).sum();
        if lost > 0 {
            gaps.push(format!(
                "{lost} statement(s) were sent whose answer is not in the record: whether they were carried out is not known"
            ));
        }
        let partly = self.groups.iter().filter(|g| g.class == Class::NotUnderstood && g.count > 0);
        let partly = partly.count();
        if partly > 0 {
            gaps.push(format!(
                "{partly} operation(s) went on by a rule of the policy though guard did not understand them in full: \
                 their effects may be more than is listed"
            ));
        }
        if let Some(isolation) = &self.isolation
            && isolation.required.is_some_and(|required| isolation.level < required)
        {
            gaps.push(format!(
                "a command was run at isolation `{}`, below what the trust rule asks for",
                isolation.level
            ));
        }
        if self.attempts > 0 {
            gaps.push(format!(
                "a second attempt: the job asked for {} more session(s) while this one lived, which were refused: a \
                 second command under guard in one job, or somebody who has the job's token",
                self.attempts
            ));
        }
        let kept = self.leases.iter().filter(|lease| lease.released_at.is_none()).count();
        if kept > 0 && self.ended.is_some() {
            gaps.push(format!("{kept} lease(s) were not given back"));
        }
        let elsewhere = self.connections.iter().any(|connection| {
            let grant = grants.iter().find(|g| g.grant.resource == connection.resource);
            grant.is_none_or(|grant| grant.enforce_at != connection.enforced_at)
        });
        if elsewhere {
            gaps.push(
                "a connection was enforced elsewhere than its grant says: see the connections"
                    .into(),
            );
        }
        for grant in grants.iter().filter(|grant| !grant.mode.enforces()) {
            gaps.push(format!(
                "policy `{}` over `{}` only observes: what it blocks was not refused",
                grant.grant.policy, grant.grant.resource
            ));
        }
        if self.orphans > 0 {
            gaps.push(format!(
                "{} entries speak of statements or connections that the record does not have",
                self.orphans
            ));
        }
        gaps
    }
}
