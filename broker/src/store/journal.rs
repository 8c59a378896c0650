//! Records in the store: lines in parts, and the end that the next part must follow.
//!
//! Whoever appends names the end that it saw. If that is not the end any more, nothing happens, and it looks
//! again. One statement does it: a row's lock decides between two brokers, and none holds it across a round trip.

use guard_audit::{Segment, tlog::Leaf};
use guard_core::{Digest, SessionId, Timestamp, control::Notice};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Store, StoreError,
    rows::{self, count, number},
};

/// Parts that one question brings at most.
const PARTS: i64 = 16;
/// Records that are looked at at once for what no seal covers.
const UNSEALED: i64 = 256;

/// The row of it.
type EndOfRecord = (i64, String, String, i64, i64, Option<String>, String);

/// The end of a record.
#[derive(Debug, Clone)]
pub(crate) struct Head<W> {
    /// How many entries there are.
    pub(crate) entries: u64,
    /// The hash of the last line.
    pub(crate) head: Digest,
    /// What no seal covers yet.
    pub(crate) segment: Segment,
    /// What the writers may send next.
    pub(crate) writers: W,
    /// How many notices there were.
    pub(crate) notices: u64,
    /// Whether it is sealed.
    pub(crate) sealed: bool,
    /// Its leaf for the log, when it is being sealed.
    pub(crate) leaf: Option<Leaf>,
}

/// Lines to be appended, or that were.
#[derive(Debug)]
pub(crate) struct Part {
    /// Number of the first entry.
    pub(crate) first: u64,
    /// The lines.
    pub(crate) lines: Vec<u8>,
}

impl Store {
    /// The end of a record. `None` if there is none.
    pub(crate) async fn head<W: DeserializeOwned>(
        &self,
        id: SessionId,
    ) -> Result<Option<Head<W>>, StoreError> {
        let row: Option<EndOfRecord> = sqlx::query_as(
            "SELECT entries, head, writers, notices, sealed, leaf, segment FROM records WHERE session = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await?;
        let Some((entries, head, writers, notices, sealed, leaf, segment)) = row else {
            return Ok(None);
        };
        Ok(Some(Head {
            entries: count(entries)?,
            head: rows::parse(&head)?,
            segment: serde_json::from_str(&segment)
                .map_err(|error| StoreError::Row(error.to_string()))?,
            writers: serde_json::from_str(&writers)
                .map_err(|error| StoreError::Row(error.to_string()))?,
            notices: count(notices)?,
            sealed: sealed != 0,
            leaf: leaf.as_deref().and_then(Leaf::parse),
        }))
    }

    /// Appends a part whose first entry follows `head`, and notes the new end. `false` if that is not the end, or if
    /// the record is sealed: nothing is appended then. A new end that is sealed seals the session.
    pub(crate) async fn push<W: Serialize>(
        &self,
        id: SessionId,
        head: Digest,
        part: &Part,
        new: &Head<W>,
        notices: &[Notice],
    ) -> Result<bool, StoreError> {
        let seal =
            "UPDATE sessions SET sealed = 1, mask_key = '' WHERE id IN (SELECT session FROM it)";
        // A part is found by its first entry: a seal alone has none, and goes to the part before it.
        let add = if new.entries == part.first {
            "UPDATE parts SET lines = lines || $9, notices = coalesce($10, notices)
             WHERE session IN (SELECT session FROM it)
                 AND first = (SELECT max(first) FROM parts WHERE session = $1)"
        } else {
            "INSERT INTO parts (session, first, lines, notices, noticed)
             SELECT session, $2, $9, $10, $7 FROM it"
        };
        let text = format!(
            "WITH it AS (
                 UPDATE records SET entries = $4, head = $5, writers = $6, notices = $7, sealed = $8, leaf = $11,
                     segment = $12, unsealed_since = $13
                 WHERE session = $1 AND entries = $2 AND head = $3 AND sealed = 0
                 RETURNING session){}
             {add}",
            if new.sealed {
                format!(
                    ", sealing AS ({seal}), silent AS (
                     DELETE FROM heard WHERE session IN (SELECT session FROM it))"
                )
            } else {
                String::new()
            }
        );
        let notices = match notices {
            [] => None,
            notices => Some(rows::to_json(&notices)?),
        };
        let pushed = sqlx::query(self.sql(&text))
            .bind(id.to_string())
            .bind(number(part.first)?)
            .bind(head.to_string())
            .bind(number(new.entries)?)
            .bind(new.head.to_string())
            .bind(rows::to_json(&new.writers)?)
            .bind(number(new.notices)?)
            .bind(i64::from(new.sealed))
            .bind(part.lines.clone())
            .bind(notices)
            .bind(new.leaf.as_ref().map(rows::to_json).transpose()?)
            .bind(rows::to_json(&new.segment)?)
            .bind(new.segment.since.map(Timestamp::as_millisecond))
            .execute(&self.pool)
            .await?;
        Ok(pushed.rows_affected() > 0)
    }

    /// Records of which no seal covers what was written before `before`: some of them, the oldest first.
    pub(crate) async fn unsealed_since(
        &self,
        before: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let found: Vec<String> = sqlx::query_scalar(
            "SELECT session FROM records WHERE sealed = 0 AND unsealed_since <= $1
             ORDER BY unsealed_since LIMIT $2",
        )
        .bind(before.as_millisecond())
        .bind(UNSEALED)
        .fetch_all(&self.pool)
        .await?;
        found.iter().map(|id| rows::parse(id)).collect()
    }

    /// Parts of a record, from an entry on: some of them, in order. None at its end.
    pub(crate) async fn parts(&self, id: SessionId, from: u64) -> Result<Vec<Part>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT first, lines FROM parts WHERE session = $1 AND first >= $2
             ORDER BY first LIMIT $3",
        )
        .bind(id.to_string())
        .bind(number(from)?)
        .bind(PARTS)
        .fetch_all(&self.pool)
        .await?;
        let read = |(first, lines)| Ok(Part { first: count(first)?, lines });
        rows.into_iter().map(read).collect()
    }

    /// The notices behind the first `after`.
    pub(crate) async fn notices(
        &self,
        id: SessionId,
        after: u64,
    ) -> Result<Vec<Notice>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT notices, noticed FROM parts
             WHERE session = $1 AND notices IS NOT NULL AND noticed > $2 ORDER BY noticed",
        )
        .bind(id.to_string())
        .bind(number(after)?)
        .fetch_all(&self.pool)
        .await?;
        let mut notices = Vec::new();
        for (json, noticed) in rows {
            let found: Vec<Notice> =
                serde_json::from_str(&json).map_err(|error| StoreError::Row(error.to_string()))?;
            let known = (after + found.len() as u64).saturating_sub(count(noticed)?);
            notices.extend(found.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)));
        }
        Ok(notices)
    }
}
