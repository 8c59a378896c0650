//! Records that rest: compressed, and deleted when nothing keeps them.

use std::{collections::BTreeMap, io, time::Duration};

use guard_audit::{SEGMENT_LASTS, tlog::Leaf};
use guard_core::{SessionId, Timestamp};

use super::Sessions;
use crate::{
    error::{Refusal, chain},
    log::Log,
    record::{Record, RecordError, Records},
    store::{Buried, Store, Tombstone},
};

/// How long nobody else goes on with a deletion that somebody is at.
const CLAIM: Duration = Duration::from_secs(60);
/// Deletions that are taken up at once.
const CLAIMS: usize = 64;

impl Sessions {
    /// What is to be done to records every minute.
    pub(super) async fn look_after_records(&self) {
        if let Err(error) = self.compress_rested().await {
            tracing::warn!(error = error.reason(), "cannot compress the records that rest");
        }
        if let Records::Parts(_, archive, _) = &self.records
            && let Err(error) = archive.clear().await
        {
            tracing::warn!(%error, "cannot clear the recordings of what was begun and left");
        }
        if let Err(error) = self.delete_due().await {
            tracing::error!(error = error.reason(), "cannot delete the records that are due");
        }
    }

    /// Seals segments whose time is over though nothing comes: those of all records in the store, or of this broker's files. Where
    /// several brokers do, the record's end decides, and one seal comes of it.
    pub(crate) async fn seal_segments(&self, now: Timestamp) -> Result<(), Refusal> {
        let mut known: BTreeMap<SessionId, Record> = {
            let live = self.live();
            let known = live.by_id.iter();
            known.map(|(id, session)| (*id, session.record.clone())).collect()
        };
        if let Records::Parts(..) = &self.records {
            let before = now.checked_sub(SEGMENT_LASTS).unwrap_or(now);
            let due = self.store.unsealed_since(before).await?;
            let due = due.into_iter().filter_map(|id| {
                let record = known.remove(&id).or_else(|| self.records.open(id, None))?;
                Some((id, record))
            });
            known = due.collect();
        }
        for (id, record) in known {
            if let Err(error) = record.seal_segment(now).await {
                tracing::error!(session = %id, error = chain(&error), "cannot seal a segment");
            }
        }
        Ok(())
    }

    /// Compresses sealed records that grew in the folder and rest.
    pub(crate) async fn compress_rested(&self) -> Result<(), Refusal> {
        let Records::Files(files) = &self.records else { return Ok(()) };
        let listed = files.clone();
        let rested = tokio::task::spawn_blocking(move || listed.rested()).await;
        let rested = rested.map_err(io::Error::other).flatten().map_err(RecordError::from)?;
        for (id, state) in self.store.states(&rested).await? {
            if !state.sealed {
                continue;
            }
            let files = files.clone();
            let done = tokio::task::spawn_blocking(move || files.compress(id)).await;
            done.map_err(io::Error::other).flatten().map_err(RecordError::from)?;
        }
        Ok(())
    }

    /// Deletes the records that the configuration does not keep any longer, but for those on hold; and goes on with
    /// deletions that broke off.
    pub(crate) async fn delete_due(&self) -> Result<(), Refusal> {
        let config = self.config();
        let now = Timestamp::now().as_millisecond();
        let age = |keep: Duration| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        if let Some(shortest) = config.retention.shortest() {
            let before = now.saturating_sub(age(shortest));
            let mut behind = (i64::MIN, String::new());
            loop {
                let page = self.store.kept(&behind, before).await?;
                let Some(last) = page.last() else { break };
                behind = (last.ended_at, last.session.to_string());
                for record in page {
                    let keep = config.retention.of(
                        &record.identity,
                        &record.trust_rule,
                        &record.resources,
                    );
                    let due =
                        keep.is_some_and(|keep| record.ended_at < now.saturating_sub(age(keep)));
                    if due {
                        // One on hold, or one whose seal is not in the log yet, stays.
                        self.store
                            .bury(record.session, "it was kept for as long as it had to be")
                            .await?;
                    }
                }
            }
        }
        loop {
            let claimed = self.store.claim_tombstones(CLAIM, CLAIMS).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            for tombstone in claimed {
                take_away(&self.store, &self.log, &self.records, &tombstone).await?;
            }
        }
    }

    /// Deletes one record at once, unless it is held. By a command that runs beside the broker.
    pub(crate) async fn delete_with(
        store: &Store,
        log: &Log,
        records: &Records,
        session: SessionId,
        reason: &str,
    ) -> Result<Buried, Refusal> {
        let buried = store.bury(session, reason).await?;
        if buried == Buried::Yes
            && let Some(tombstone) = store.tombstone(session).await?
        {
            take_away(store, log, records, &tombstone).await?;
        }
        Ok(buried)
    }
}

/// Does what a tombstone says. May be done twice.
async fn take_away(
    store: &Store,
    log: &Log,
    records: &Records,
    tombstone: &Tombstone,
) -> Result<(), Refusal> {
    let Tombstone { session, reason, deleted_at } = tombstone.clone();
    // The log tells of it first: what is gone was deleted, and did not disappear.
    log.add_once(&Leaf::Deleted { session, at: deleted_at, reason }).await?;
    records.delete(session).await?;
    store.buried(session).await?;
    tracing::info!(%session, reason = tombstone.reason, "deleted a record");
    Ok(())
}
