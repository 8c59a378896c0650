//! How a session ends, whoever or whatever ends it: its time, its shim, or the shim's silence.
//!
//! One task for each session takes it there: it is over for everyone at once; enforcement points get a
//! moment for their last notes; leases are given back; the record gets its last entry and its seal. If
//! the disk or the store fails on the way, the task tries again until it works.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use guard_audit::Event;
use guard_core::{EndReason, LeaseId, Timestamp, control::SessionEnded};

use super::{SHIM, Session, Sessions};
use crate::{
    error::{Refusal, chain},
    store::LeaseRow,
};

/// How long enforcement points may take to bring their last notes: they drain for 2 s themselves.
const DRAIN: Duration = Duration::from_secs(4);
/// How often sessions are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Between two attempts to seal a record that the disk did not take.
const SEAL_RETRY: Duration = Duration::from_secs(5);
/// How often used identity tokens are cleared away, in ticks.
const FORGET_EVERY: u64 = 300;
/// How often the store is told how far records reach, in ticks.
const NOTE_EVERY: u64 = 5;

impl Sessions {
    /// Ends a session, unless it is over already. [`Session::sealed`] waits for its record.
    pub(crate) fn end(
        self: &Arc<Self>,
        session: &Arc<Session>,
        reason: EndReason,
        exit_code: Option<i32>,
    ) {
        // A run that finishes when its time is over has expired: which was first is an accident.
        let over = session.row.until <= Timestamp::now();
        let reason =
            if over && reason == EndReason::Finished { EndReason::Expired } else { reason };
        let first = session.state.send_if_modified(|state| {
            let first = state.ended.is_none();
            if first {
                state.ended = Some(reason);
            }
            first
        });
        if first {
            let (sessions, session) = (self.clone(), session.clone());
            self.tasks.spawn(async move { sessions.finish(&session, reason, exit_code).await });
        }
    }

    async fn finish(&self, session: &Session, reason: EndReason, exit_code: Option<i32>) {
        let id = session.row.id;
        tracing::info!(session = %id, reason = reason.as_str(), "a session is over");
        if let Err(error) = self.store.end_session(id, reason.as_str(), exit_code).await {
            tracing::error!(session = %id, error = chain(&error), "cannot store an end");
        }
        // Who gives its lease back has brought its notes before; a shim that is lost brings none.
        let gone = |lease: &LeaseRow| reason == EndReason::Lost && lease.holder == SHIM;
        let mut leases = session.leases.subscribe();
        let back = leases.wait_for(|leases| leases.values().all(gone));
        let _ = tokio::time::timeout(DRAIN, back).await;
        loop {
            match self.seal(session, reason, exit_code).await {
                Ok(ended) => {
                    tracing::info!(session = %id, entries = ended.entries, "sealed a record");
                    self.remove(session);
                    session.sealed.send_replace(Some(ended));
                    return;
                }
                Err(error) => {
                    let error = error.reason();
                    tracing::error!(session = %id, error, "cannot seal a record");
                    tokio::time::sleep(SEAL_RETRY).await;
                }
            }
        }
    }

    async fn seal(
        &self,
        session: &Session,
        reason: EndReason,
        exit_code: Option<i32>,
    ) -> Result<SessionEnded, Refusal> {
        let out: Vec<LeaseId> = session.leases.borrow().keys().copied().collect();
        for lease in out {
            self.give_back(session, lease).await?;
        }
        let last = Event::SessionEnded { reason, exit_code };
        // One signature and one append: too short to be worth a thread of its own.
        let (entries, head) = session.record.seal(&last, Timestamp::now(), &self.key)?;
        self.store.reached(session.row.id, entries, head, true).await?;
        Ok(SessionEnded { entries, head, unreleased: BTreeMap::new() })
    }

    /// Looks after all sessions until it is dropped.
    pub(crate) async fn look_after(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0_u64;
        loop {
            tick.tick().await;
            count += 1;
            let sessions: Vec<_> = self.live().by_id.values().cloned().collect();
            let now = Timestamp::now();
            for session in &sessions {
                if session.row.until <= now {
                    self.end(session, EndReason::Expired, None);
                } else if session.silence() > self.config.sessions.lost_after {
                    self.end(session, EndReason::Lost, None);
                }
            }
            if count.is_multiple_of(NOTE_EVERY) {
                for session in &sessions {
                    self.note_reached(session).await;
                }
            }
            if count.is_multiple_of(FORGET_EVERY)
                && let Err(error) = self.store.forget_tokens(now).await
            {
                tracing::warn!(error = chain(&error), "cannot clear the store");
            }
        }
    }

    /// Tells the store how far a record reaches, so that a file that is cut later is found out.
    pub(crate) async fn note_reached(&self, session: &Session) {
        let (entries, head) = session.record.reached();
        let noted = session.noted.swap(entries, Ordering::Relaxed);
        if noted != entries
            && let Err(error) = self.store.reached(session.row.id, entries, head, false).await
        {
            tracing::warn!(error = chain(&error), "cannot note a record's length");
        }
    }

    /// Waits for sessions that are being ended, before the broker stops. Others go on with the next one.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN * 2, self.tasks.wait()).await;
    }
}

impl Session {
    /// Waits until the record is sealed and says what it holds.
    pub(crate) async fn sealed(&self) -> Result<SessionEnded, Refusal> {
        let mut sealed = self.sealed.subscribe();
        let found = sealed.wait_for(Option::is_some).await;
        let found = found.map_err(|error| Refusal::Internal(error.to_string()))?;
        found.clone().ok_or_else(|| Refusal::Internal("a seal that is none".into()))
    }
}
