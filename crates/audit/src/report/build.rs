//! From a record to a [`Report`].

use std::io::{self, BufRead};

use guard_core::{Identity, Timestamp};

use super::{
    Class, GrantReport, Integrity, Listed, Listing, REPORT_FORMAT, Report, Trust, Whole, Window,
    gathering::Gathering, manifest::manifest, promise::promises,
};
use crate::{Broken, Entry, Event, GrantRecord, PublicKey, ReadError, RecordReader, VerifyError};

/// Operations and refusals that a report lists, each. More are counted; the record has them all.
const MAX_LISTED: usize = 10_000;
/// Connections that a report lists.
const MAX_CONNECTIONS: usize = 1_000;
/// A report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Not even the first entry can be read.
    #[error("this is no record of a session")]
    NoRecord(#[source] Option<Broken>),
    /// It could not be read.
    #[error("the record cannot be read")]
    Read(#[from] io::Error),
}

struct Opening {
    at: Timestamp,
    until: Timestamp,
    identity: Identity,
    trust: Trust,
    grants: Vec<GrantRecord>,
}

impl Report {
    /// Makes the report of a record, however far it can be read; [`Report::integrity`] says how far.
    pub fn from_record(record: impl BufRead, keys: &[PublicKey]) -> Result<Self, ReportError> {
        Self::from_record_with(record, keys, |_| {})
    }

    /// The same, and the statements one by one: the record is read once.
    pub fn with_listing(
        record: impl BufRead,
        keys: &[PublicKey],
    ) -> Result<(Self, Listing), ReportError> {
        let mut listing = Listing::default();
        let report = Self::from_record_with(record, keys, |entry| listing.take(entry))?;
        listing.finish();
        Ok((report, listing))
    }

    fn from_record_with(
        record: impl BufRead,
        keys: &[PublicKey],
        mut also: impl FnMut(&Entry),
    ) -> Result<Self, ReportError> {
        let mut reader = RecordReader::new(record);
        let (mut opening, mut gathering) = (None, Gathering::default());
        let mut broken = None;
        loop {
            let next = reader.next_entry();
            if let Ok(Some(entry)) = &next {
                also(entry);
            }
            match next {
                Ok(Some(entry)) => match entry {
                    Entry {
                        at,
                        event:
                            Event::SessionOpened {
                                identity,
                                trust_rule,
                                trust_digest,
                                trust_broad,
                                grants,
                                key_thumbprint,
                                until,
                                broker_version,
                                session: _,
                            },
                        ..
                    } => {
                        let trust = Trust {
                            rule: trust_rule,
                            digest: trust_digest,
                            broad: trust_broad,
                            key_thumbprint,
                            broker_version,
                        };
                        let identity = *identity;
                        opening = Some(Opening { at, until, identity, trust, grants });
                    }
                    entry => gathering.take(entry),
                },
                Ok(None) => break,
                Err(ReadError::Broken(found)) => {
                    broken = Some(found);
                    break;
                }
                Err(ReadError::Read(error)) => return Err(error.into()),
            }
        }
        let (Some(opening), Some(session)) = (opening, reader.session()) else {
            return Err(ReportError::NoRecord(broken));
        };
        let integrity = Integrity::of(reader, broken, keys)?;
        let gaps = gathering.gaps(&opening.grants, &integrity);
        let Gathering { groups, connections, leases, mut counts, ended, .. } = gathering;
        let Gathering { refused, would_refuse, budgets, approvals, .. } = gathering;
        let Gathering { renewals, renewed_until, .. } = gathering;
        let Gathering { isolation, egress, results, steps, .. } = gathering;
        counts.egress_refused = egress.refused;

        let mut operations: Vec<_> =
            groups.into_iter().filter(|group| group.count + group.prepared > 0).collect();
        operations.sort_by_key(|operation| operation.class);
        counts.changes =
            operations.iter().filter(|o| o.class <= Class::Change).map(|o| o.count).sum();
        counts.lost = operations.iter().map(|operation| operation.lost).sum();
        counts.failed = operations.iter().flat_map(|operation| operation.errors.values()).sum();

        Ok(Self {
            format: REPORT_FORMAT,
            session,
            run: opening.identity,
            trust: opening.trust,
            window: Window {
                opened_at: opening.at,
                until: opening.until,
                renewals,
                renewed_until,
                ended_at: ended.map(|(at, _, _)| at),
                reason: ended.map(|(_, reason, _)| reason),
                exit_code: ended.and_then(|(_, _, code)| code),
            },
            isolation,
            grants: opening.grants.into_iter().map(GrantReport::from).collect(),
            leases,
            connections: Listed::first(connections, MAX_CONNECTIONS),
            counts,
            refused: Listed::first(refused, MAX_LISTED),
            would_refuse: Listed::first(would_refuse, MAX_LISTED),
            approvals: Listed::first(approvals.list, MAX_LISTED),
            budgets: Listed::first(budgets, MAX_LISTED),
            egress: egress.listed(),
            results: results.into_listed(),
            steps: steps.listed(),
            manifest: manifest(&operations),
            operations: Listed::first(operations, MAX_LISTED),
            gaps,
            integrity,
        })
    }
}

impl Integrity {
    fn of(
        reader: RecordReader<impl BufRead>,
        broken: Option<Broken>,
        keys: &[PublicKey],
    ) -> Result<Self, io::Error> {
        let chain = reader.chain();
        let seal = reader.claimed_seal().map(|line| line.seal.clone());
        let (whole, problem) = match broken {
            Some(broken) => (Whole::Broken, Some(broken.to_string())),
            None => match reader.finish(keys) {
                Ok(_) => (Whole::Verified, None),
                Err(VerifyError::Unsealed(unsealed)) => {
                    (Whole::Unsealed, Some(unsealed.to_string()))
                }
                Err(VerifyError::Broken(Broken {
                    problem: crate::Problem::UnknownKey { .. },
                    ..
                })) if keys.is_empty() => (Whole::Unchecked, None),
                Err(VerifyError::Broken(broken)) => (Whole::Broken, Some(broken.to_string())),
                Err(VerifyError::Read(error)) => return Err(error),
            },
        };
        Ok(Self {
            whole,
            entries: chain.entries(),
            head: chain.head(),
            sealed_at: seal.as_ref().map(|seal| seal.sealed_at),
            key_id: seal.map(|seal| seal.key_id.to_string()),
            problem,
            verify: "guard audit verify record.jsonl --key KEY".to_owned(),
        })
    }
}

impl<T> Listed<T> {
    pub(super) fn first(mut all: Vec<T>, most: usize) -> Self {
        let total = all.len() as u64;
        all.truncate(most);
        Self { total, listed: all }
    }
}

impl From<GrantRecord> for GrantReport {
    fn from(record: GrantRecord) -> Self {
        Self {
            resource: record.grant.resource,
            kind: record.kind,
            policy: record.grant.policy,
            policy_digest: record.policy_digest,
            mode: record.mode,
            until: record.grant.until,
            enforce_at: record.enforce_at,
            promises: promises(record.enforce_at),
        }
    }
}
