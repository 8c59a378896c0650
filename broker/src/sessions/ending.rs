//! How a session ends, whoever or whatever ends it: its time, its shim, or the shim's silence.
//!
//! The store knows first that it is over, and so everyone does. Then one broker at a time takes it to its end: enforcement
//! points get a moment for their last notes; leases are given back; the record gets its last entry and its seal,
//! and goes to the recordings. A broker that does this says so every few seconds. When it falls silent another one goes
//! on; each step may be done twice and is then done once.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use guard_audit::Event;
use guard_core::{EndReason, SessionId, Timestamp, control::SessionEnded};
use tokio::time::MissedTickBehavior;

use super::{Found, SHIM, Session, Sessions};
use crate::{
    error::{Refusal, chain},
    store::{Change, LeaseRow},
    telemetry,
};

/// How long enforcement points may take to bring their last notes: they drain for 2 s themselves.
const DRAIN: Duration = Duration::from_secs(4);
/// How often sessions are looked at.
const TICK: Duration = Duration::from_secs(1);
/// A broker that was silent for this long does not go on with what it began.
const CLAIM: Duration = Duration::from_secs(6);
/// Between two signs of life.
const CLAIM_KEPT: Duration = Duration::from_secs(2);
/// Sessions that are taken up at once.
const CLAIMS: usize = 64;
/// Between two attempts to seal a record that the disk did not take.
const SEAL_RETRY: Duration = Duration::from_secs(5);
/// How often who waits looks himself, should a word of the store be lost.
const LOOK: Duration = Duration::from_millis(500);
/// How often used identity tokens and old parts are cleared away, in ticks.
const FORGET_EVERY: u64 = 60;
/// How often the store is told how far files reach, in ticks.
const NOTE_EVERY: u64 = 5;
/// How often it is said that the log cannot be gone on with, in ticks.
const SAY_EVERY: u64 = 10;
/// How often segments are sealed in which nothing happens, in ticks.
const SEAL_EVERY: u64 = 15;
/// How often all sessions are compared with the store, in ticks.
const COMPARE_EVERY: u64 = 10;

impl Sessions {
    /// Ends a session, unless it is over already. [`Sessions::sealed`] waits for its record.
    pub(crate) async fn end(
        self: &Arc<Self>,
        session: &Arc<Session>,
        reason: EndReason,
        exit_code: Option<i32>,
    ) -> Result<(), Refusal> {
        let id = session.row.id;
        let first = self.store.end_session(id, reason, exit_code, CLAIM).await?;
        self.refresh(session).await?;
        if first {
            self.take_to_end(id, Some(session.clone()));
        }
        Ok(())
    }

    /// Takes a session that is over, and claimed by this broker, to its end; without a session its record is sealed.
    fn take_to_end(self: &Arc<Self>, id: SessionId, session: Option<Arc<Session>>) {
        let sessions = self.clone();
        self.tasks.spawn(async move {
            let finishing = async {
                if let Some(session) = session {
                    sessions.finish(&session).await;
                }
                sessions.file(id).await;
            };
            // Both go on at the same time: with SQLite they wait for the same connection.
            let finishing = telemetry::step("end session", Some(id), finishing);
            tokio::select! {
                () = finishing => {}
                () = sessions.keep_claim(id) => {}
            }
        });
    }

    /// Says every now and then that this broker is at it. Ends when another one is.
    async fn keep_claim(&self, id: SessionId) {
        let mut kept = tokio::time::interval(CLAIM_KEPT);
        loop {
            kept.tick().await;
            match self.store.keep_claim(id, CLAIM).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(session = %id, error = chain(&error), "cannot keep a claim");
                }
            }
        }
    }

    async fn finish(&self, session: &Session) {
        let id = session.row.id;
        let Some((reason, exit_code)) = session.state.borrow().ended else { return };
        tracing::info!(session = %id, reason = reason.as_str(), "a session is over");
        if !session.state.borrow().sealed {
            let _ = tokio::time::timeout(DRAIN, self.notes_brought(session, reason)).await;
        }
        loop {
            match self.seal(session, reason, exit_code).await {
                Ok(ended) => {
                    tracing::info!(session = %id, entries = ended.entries, "sealed a record");
                    self.metrics.ended(reason);
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

    /// Brings a sealed record to the recordings.
    async fn file(&self, id: SessionId) {
        loop {
            match self.records.file(id).await {
                Ok(()) => return,
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(session = %id, error, "cannot bring a record to the recordings");
                    tokio::time::sleep(SEAL_RETRY).await;
                }
            }
        }
    }

    /// Waits until all leases are back: who gives its lease back has brought its notes before.
    async fn notes_brought(&self, session: &Session, reason: EndReason) {
        // A shim that is lost brings none.
        let gone = |lease: &LeaseRow| {
            !lease.state.is_held() || (reason == EndReason::Lost && lease.holder == SHIM)
        };
        let mut changed = session.state.subscribe();
        loop {
            match self.store.leases(session.row.id).await {
                Ok(leases) if leases.iter().all(gone) => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(error = chain(&error), "cannot look for leases"),
            }
            let _ = tokio::time::timeout(LOOK, changed.changed()).await;
        }
    }

    async fn seal(
        &self,
        session: &Session,
        reason: EndReason,
        exit_code: Option<i32>,
    ) -> Result<SessionEnded, Refusal> {
        let id = session.row.id;
        self.refresh(session).await?;
        if let Some(ended) = session.sealed_state() {
            return Ok(ended);
        }
        self.cancel_held(session).await?;
        self.take_all_back(session).await?;
        let note = self.store.end_note(id).await?;
        let last = Event::SessionEnded { reason, exit_code, note };
        let sealed = session.record.seal(&last, Timestamp::now(), &self.keys.current()).await?;
        if session.record.reached().is_some() {
            self.store.reached(id, sealed.entries, sealed.head, Some(&sealed.leaf)).await?;
        }
        self.refresh(session).await?;
        session.sealed_state().ok_or_else(|| Refusal::Internal("a seal that is none".into()))
    }

    /// Waits until the record is sealed, by whichever broker, and says what it holds.
    pub(crate) async fn sealed(&self, session: &Session) -> Result<SessionEnded, Refusal> {
        let mut state = session.state.subscribe();
        loop {
            state.mark_unchanged();
            self.refresh(session).await?;
            if let Some(mut ended) = session.sealed_state() {
                ended.unreleased = self.unreleased(session.row.id).await?;
                return Ok(ended);
            }
            let _ = tokio::time::timeout(LOOK, state.changed()).await;
        }
    }

    /// Looks after all sessions until it is dropped.
    pub(crate) async fn look_after(self: Arc<Self>) {
        let looking = async {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut count = 0_u64;
            loop {
                tick.tick().await;
                count += 1;
                if let Err(error) = self.look(count).await {
                    tracing::warn!(error = error.reason(), "cannot look after the sessions");
                }
            }
        };
        let hearing = async {
            let mut changes = self.store.changes();
            loop {
                let change = changes.next().await;
                if let Err(error) = self.hear(change).await {
                    tracing::warn!(error = error.reason(), "cannot follow the store");
                }
            }
        };
        tokio::join!(looking, hearing);
    }

    async fn hear(&self, change: Change) -> Result<(), Refusal> {
        match change {
            Change::One(id) => {
                let known = self.live().by_id.get(&id).cloned();
                if let Some(session) = known {
                    self.refresh(&session).await?;
                    // Leases are no part of the state, and who ends the session waits for them.
                    session.state.send_modify(|_| {});
                }
                Ok(())
            }
            Change::Any => self.compare().await,
        }
    }

    /// Compares all sessions that are known here with the store.
    async fn compare(&self) -> Result<(), Refusal> {
        let ids: Vec<SessionId> = self.live().by_id.keys().copied().collect();
        for (id, state) in self.store.states(&ids).await? {
            let known = self.live().by_id.get(&id).cloned();
            let Some(session) = known else { continue };
            let sealed = state.sealed;
            session.hear(state);
            if sealed {
                self.remove(&session);
            }
        }
        Ok(())
    }

    /// One look at all sessions, of this broker and of others.
    pub(crate) async fn look(self: &Arc<Self>, count: u64) -> Result<(), Refusal> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        let heard: Vec<SessionId> = heard.into_iter().collect();
        if let Err(error) = self.store.heard(&heard).await {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend(heard);
            return Err(error.into());
        }
        self.store.end_overdue(self.config().sessions.lost_after).await?;
        for id in self.store.claim_ended(CLAIM, CLAIMS).await? {
            match self.by_id(id).await? {
                Some(Found::Open(session)) => {
                    self.refresh(&session).await?;
                    self.take_to_end(id, Some(session));
                }
                Some(Found::Closed(closed)) if closed.1.sealed => self.take_to_end(id, None),
                Some(Found::Closed(_)) => self.lay_to_rest(id),
                None => {}
            }
        }
        self.look_after_leases().await?;
        self.look_after_approvals().await?;
        self.look_after_webhooks().await?;
        let sessions = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = sessions.complete_runs().await {
                tracing::warn!(error = error.reason(), "cannot look for records to be listed");
            }
        });
        self.look_after_the_log(count).await;
        if count.is_multiple_of(NOTE_EVERY) {
            let sessions: Vec<_> = self.live().by_id.values().cloned().collect();
            for session in sessions {
                self.note_reached(&session).await;
            }
        }
        if count.is_multiple_of(COMPARE_EVERY) {
            self.compare().await?;
        }
        if count.is_multiple_of(SEAL_EVERY) {
            let sessions = self.clone();
            self.tasks.spawn(async move {
                if let Err(error) = sessions.seal_segments(Timestamp::now()).await {
                    tracing::warn!(error = error.reason(), "cannot look for segments to be sealed");
                }
            });
        }
        // Also at the start: another broker may have died over it.
        if count % FORGET_EVERY == 1 {
            self.store.forget_used(Timestamp::now()).await?;
            self.store.forget_parts().await?;
            self.store.forget_approvals().await?;
            let sessions = self.clone();
            self.tasks.spawn(async move { sessions.look_after_records().await });
        }
        Ok(())
    }

    /// Gives places in the log to seals that have none, and signs its root.
    async fn look_after_the_log(&self, count: u64) {
        let looked = async {
            let followed = self.log.follow_key().await;
            self.log.add_pending().await?;
            followed?;
            self.log.sign().await
        };
        // Who has to do something about it is told often enough.
        if let Err(error) = looked.await
            && count % SAY_EVERY == 1
        {
            tracing::error!(error = chain(&error), "cannot go on with the log of seals");
        }
    }

    /// Tells the store how far a file reaches, so that one that is cut later is found out.
    pub(crate) async fn note_reached(&self, session: &Session) {
        let Some((entries, head)) = session.record.reached() else { return };
        let noted = session.noted.swap(entries, Ordering::Relaxed);
        if noted != entries
            && let Err(error) = self.store.reached(session.row.id, entries, head, None).await
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
