//! A record in the store, which any broker may append to.
//!
//! Each broker keeps the end of the record as it saw it last, and appends behind that with one statement. If another
//! broker was first, the statement does nothing; then it looks where the end is, and tries again.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use guard_audit::{AppendError, ChainWriter, Event, Seal, SealingKey, tlog::Leaf};
use guard_core::{
    ResourceName, SessionId, Timestamp,
    control::{Notice, StepCounts},
};
use serde::de::IgnoredAny;
use tokio::sync::Mutex;

use super::{
    Appended, BROKER, Batch, RecordError, Sealed, line_hash,
    writers::{MAX_NOTICES, Writers, held},
};
use crate::log::Keyring;
use crate::store::{Head, Part, Store, StoreError};

/// Somebody appends each time that an attempt fails, so this many failures are a mistake.
const ATTEMPTS: usize = 1000;

/// One record.
#[derive(Debug)]
pub(crate) struct PartsRecord {
    store: Store,
    keys: Keyring,
    session: SessionId,
    /// The resource of refusals whose writer named none.
    fallback: Option<ResourceName>,
    /// Its end, as this broker saw it last. Held while one appends.
    seen: Mutex<Option<Head<Writers>>>,
}

/// What one attempt would do.
struct Step<T> {
    lines: Vec<u8>,
    new: Head<Writers>,
    notices: Vec<Notice>,
    answer: T,
}

impl PartsRecord {
    pub(super) fn new(
        store: Store,
        keys: Keyring,
        session: SessionId,
        fallback: Option<ResourceName>,
    ) -> Self {
        Self { store, keys, session, fallback, seen: Mutex::default() }
    }

    pub(super) async fn append(&self, batch: &Batch) -> Result<Appended, RecordError> {
        self.change(|end| {
            let mut new = end.clone();
            let known =
                new.writers.accept(&batch.writer, &batch.owner, batch.first, batch.events.len())?;
            let events = batch.events.get(known..).unwrap_or_default();
            let lines = self.chain(&mut new, &batch.writer, events, true)?;
            let mut notices = Vec::new();
            for event in events {
                let notice = new.writers.follow(&batch.writer, event, self.fallback.as_ref());
                if let Some(notice) = notice
                    && new.notices < MAX_NOTICES
                {
                    new.notices += 1;
                    notices.push(notice);
                }
            }
            let next = new.writers.next(&batch.writer);
            let answer = Appended { next, notices: new.notices };
            Ok(Step { lines, new, notices, answer })
        })
        .await
    }

    pub(super) async fn append_own(&self, event: &Event) -> Result<(), RecordError> {
        self.change(|end| {
            let mut new = end.clone();
            if !new.writers.is_new(event) {
                return Ok(Step { lines: Vec::new(), new, notices: Vec::new(), answer: () });
            }
            new.writers.count_own(event);
            let lines = self.chain(&mut new, BROKER, std::slice::from_ref(event), true)?;
            let notices: Vec<_> =
                held(event).filter(|_| new.notices < MAX_NOTICES).into_iter().collect();
            new.notices += notices.len() as u64;
            Ok(Step { lines, new, notices, answer: () })
        })
        .await
    }

    pub(super) async fn seal_segment(&self, now: Timestamp) -> Result<(), RecordError> {
        // What was seen last may be older than what another broker wrote, of which nothing is covered.
        *self.seen.lock().await = None;
        self.change(|end| {
            let mut new = end.clone();
            let mut chain = ChainWriter::resume_in(new.entries, new.head, new.segment.clone());
            let mut lines = Vec::new();
            if chain.is_due(now) {
                chain
                    .seal_segment_into(&mut lines, self.session, now, &self.keys.current())
                    .map_err(|error| RecordError::Invalid(error.to_string()))?;
                new.head = chain.head();
                new.segment = chain.segment().clone();
            }
            Ok(Step { lines, new, notices: Vec::new(), answer: () })
        })
        .await
    }

    pub(super) async fn seal(
        &self,
        last: &Event,
        now: Timestamp,
        key: &SealingKey,
    ) -> Result<Sealed, RecordError> {
        let sealed = self.change(|end| {
            let mut new = end.clone();
            // The seal of the whole follows, so none of a segment.
            let mut lines = self.chain(&mut new, BROKER, std::slice::from_ref(last), false)?;
            let whole = ChainWriter::resume_in(new.entries, new.head, new.segment.clone());
            let seal = Seal::line(self.session, &whole, now, key)
                .map_err(|error| RecordError::Invalid(error.to_string()))?;
            lines.extend_from_slice(&seal);
            new.sealed = true;
            let leaf = Leaf::seal(self.session, now, line_hash(&seal));
            new.leaf = Some(leaf.clone());
            let answer = Sealed { entries: new.entries, head: new.head, leaf };
            Ok(Step { lines, new, notices: Vec::new(), answer })
        });
        match sealed.await {
            Err(RecordError::Sealed) => {
                let end = self.load().await?;
                let leaf = end.leaf.ok_or_else(|| gone("its leaf"))?;
                Ok(Sealed { entries: end.entries, head: end.head, leaf })
            }
            other => other,
        }
    }

    pub(super) async fn notices(&self, after: u64) -> Result<Vec<Notice>, RecordError> {
        Ok(self.store.notices(self.session, after).await?)
    }

    pub(super) async fn steps(&self) -> Result<BTreeMap<u32, StepCounts>, RecordError> {
        Ok(self.load().await?.writers.steps())
    }

    /// Makes one step from the end that is.
    async fn change<T>(
        &self,
        step: impl Fn(&Head<Writers>) -> Result<Step<T>, RecordError>,
    ) -> Result<T, RecordError> {
        let mut seen = self.seen.lock().await;
        for _ in 0..ATTEMPTS {
            let (end, fresh) = match seen.take() {
                Some(end) => (end, false),
                None => (self.load().await?, true),
            };
            if end.sealed {
                return Err(RecordError::Sealed);
            }
            let Step { lines, new, notices, answer } = match step(&end) {
                Ok(step) => step,
                // What another broker appended may be just what is missing.
                Err(_) if !fresh => continue,
                Err(error) => {
                    *seen = Some(end);
                    return Err(error);
                }
            };
            if lines.is_empty() {
                *seen = Some(end);
                return Ok(answer);
            }
            let part = Part { first: end.entries, lines };
            if self.store.push(self.session, end.head, &part, &new, &notices).await? {
                *seen = Some(new);
                return Ok(answer);
            }
        }
        Err(RecordError::Store(StoreError::Row("the record's end does not hold still".into())))
    }

    async fn load(&self) -> Result<Head<Writers>, RecordError> {
        let end = self.store.head(self.session).await?;
        end.ok_or_else(|| gone("the record"))
    }

    /// The lines of events behind an end, which becomes theirs; and the seal of the segment, where that is due and may be.
    fn chain(
        &self,
        end: &mut Head<Writers>,
        writer: &str,
        events: &[Event],
        seals: bool,
    ) -> Result<Vec<u8>, RecordError> {
        let invalid = |error: AppendError| RecordError::Invalid(error.to_string());
        let mut chain = ChainWriter::resume_in(end.entries, end.head, end.segment.clone());
        let now = Timestamp::now();
        let mut lines = Vec::with_capacity(events.len() * 512);
        for event in events {
            chain.append_into(&mut lines, now, writer, event).map_err(invalid)?;
        }
        if seals && !lines.is_empty() && chain.is_due(now) {
            let key = self.keys.current();
            chain.seal_segment_into(&mut lines, self.session, now, &key).map_err(invalid)?;
        }
        (end.entries, end.head) = (chain.entries(), chain.head());
        end.segment = chain.segment().clone();
        Ok(lines)
    }
}

fn gone(what: &str) -> RecordError {
    RecordError::Store(StoreError::Row(format!("{what} is gone")))
}

/// A sealed record, in order and whole: a part that is missing is an error, not an end.
pub(super) fn stream(
    store: Store,
    session: SessionId,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    try_unfold(Some((0_u64, None)), move |next| {
        let store = store.clone();
        async move {
            let Some((next, total)) = next else { return Ok(None) };
            let total = match total {
                Some(total) => total,
                None => {
                    let end = store.head::<IgnoredAny>(session).await.map_err(io::Error::other)?;
                    end.ok_or_else(|| io::Error::other("the record is gone"))?.entries
                }
            };
            let parts = store.parts(session, next).await.map_err(io::Error::other)?;
            if parts.is_empty() {
                return Err(io::Error::other("the record ends before its seal"));
            }
            let mut bytes = Vec::new();
            let mut expected = next;
            let mut sealed = false;
            for part in parts {
                if sealed || part.first != expected {
                    return Err(io::Error::other("a part of the record is missing"));
                }
                for line in part.lines.split_inclusive(|byte| *byte == b'\n') {
                    if line.starts_with(b"{\"seal\":") {
                        // Others stand between entries.
                        sealed = expected == total;
                    } else {
                        expected += 1;
                    }
                }
                bytes.extend_from_slice(&part.lines);
            }
            let next = if sealed { None } else { Some((expected, Some(total))) };
            Ok(Some((Bytes::from(bytes), next)))
        }
    })
}
