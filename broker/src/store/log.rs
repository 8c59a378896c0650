//! The transparency log in the store: leaves in their places, the hashes above them, and signed roots.
//!
//! Who adds leaves saw a size and changes it; if it is another one by then, nothing happens, and it looks again. Leaves
//! and hashes go in with that change or not at all, so there is neither a gap nor a second leaf at one place.

use std::{collections::BTreeSet, time::Duration};

use guard_audit::tlog::{self, Leaf, Node, Nodes};
use guard_core::SessionId;
use sqlx::AssertSqlSafe;

use super::{
    Store, StoreError,
    rows::{self, count, millis, number},
};

/// Nodes that one question names at most.
const CHUNK: usize = 400;

/// A leaf, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafRow {
    /// Its place.
    pub(crate) index: u64,
    /// Its one form.
    pub(crate) line: String,
}

/// What a leaf is of: each is there once.
fn names(leaf: &Leaf) -> (&'static str, String) {
    match leaf {
        Leaf::Key { key, .. } => ("key", key.clone()),
        Leaf::Seal { session, .. } => ("seal", session.to_string()),
        Leaf::Deleted { session, .. } => ("deleted", session.to_string()),
    }
}

impl Store {
    /// Names the log, unless it has a name; and says its name and its size.
    pub(crate) async fn log(&self, origin: &str) -> Result<(String, u64), StoreError> {
        sqlx::query("INSERT INTO log (id, origin, size) VALUES (1, $1, 0) ON CONFLICT DO NOTHING")
            .bind(origin.to_owned())
            .execute(&self.pool)
            .await?;
        let (origin, size): (String, i64) =
            sqlx::query_as("SELECT origin, size FROM log WHERE id = 1")
                .fetch_one(&self.pool)
                .await?;
        Ok((origin, count(size)?))
    }

    /// How many leaves there are.
    pub(crate) async fn log_size(&self) -> Result<u64, StoreError> {
        let size: Option<i64> = sqlx::query_scalar("SELECT size FROM log WHERE id = 1")
            .fetch_optional(&self.pool)
            .await?;
        count(size.unwrap_or_default())
    }

    /// Hashes of nodes; those that are not there are left out.
    pub(crate) async fn log_nodes(
        &self,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Result<Nodes, StoreError> {
        let wanted: Vec<Node> = nodes.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = Nodes::new();
        for chunk in wanted.chunks(CHUNK) {
            let named: Vec<_> =
                chunk.iter().map(|n| format!("({}, {})", n.level, n.index)).collect();
            let text = format!(
                "SELECT level, idx, hash FROM log_nodes WHERE (level, idx) IN (VALUES {})",
                named.join(", ")
            );
            let rows: Vec<(i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(text)).fetch_all(&self.pool).await?;
            for (level, index, hash) in rows {
                let level =
                    u8::try_from(level).map_err(|error| StoreError::Row(error.to_string()))?;
                found.insert(Node { level, index: count(index)? }, rows::parse(&hash)?);
            }
        }
        Ok(found)
    }

    /// Adds leaves behind the `size` that was seen. `false` if that is not the size any more: nothing is added then.
    pub(crate) async fn log_add(&self, size: u64, leaves: &[Leaf]) -> Result<bool, StoreError> {
        let mut nodes = self.log_nodes(tlog::root_span(size).nodes()).await?;
        let (mut new, mut lines) = (Vec::new(), Vec::new());
        for (leaf, index) in leaves.iter().zip(size..) {
            let line = rows::to_json(leaf)?;
            let hash = tlog::leaf_hash(line.as_bytes());
            let added = tlog::append(&mut nodes, index, hash);
            new.extend(added.ok_or_else(|| StoreError::Row("a hash of the log is gone".into()))?);
            lines.push((index, names(leaf), line));
        }
        let mut transaction = self.begin().await?;
        let grown = sqlx::query("UPDATE log SET size = $2 WHERE id = 1 AND size = $1")
            .bind(number(size)?)
            .bind(number(size + leaves.len() as u64)?)
            .execute(&mut *transaction)
            .await?;
        if grown.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        for (index, (kind, name), line) in lines {
            sqlx::query("INSERT INTO log_leaves (idx, kind, name, line) VALUES ($1, $2, $3, $4)")
                .bind(number(index)?)
                .bind(kind)
                .bind(name.clone())
                .bind(line)
                .execute(&mut *transaction)
                .await?;
            if kind == "seal" {
                sqlx::query("UPDATE sessions SET logged = 1 WHERE id = $1")
                    .bind(name)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        let values: Vec<_> = new
            .iter()
            .map(|(node, hash)| format!("({}, {}, '{hash}')", node.level, node.index))
            .collect();
        let text = format!("INSERT INTO log_nodes (level, idx, hash) VALUES {}", values.join(", "));
        sqlx::query(AssertSqlSafe(text)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The leaves of records that are sealed and not in the log, some of them.
    pub(crate) async fn log_pending(&self, limit: usize) -> Result<Vec<Leaf>, StoreError> {
        let text = format!(
            "SELECT leaf FROM records WHERE leaf IS NOT NULL AND session IN (
                 SELECT id FROM sessions WHERE sealed = 1 AND logged = 0 ORDER BY id LIMIT {limit})"
        );
        let lines: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(text)).fetch_all(&self.pool).await?;
        lines.iter().map(|line| leaf(line)).collect()
    }

    /// The leaves of keys, the oldest first.
    pub(crate) async fn log_keys(&self) -> Result<Vec<(u64, Leaf)>, StoreError> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT idx, line FROM log_leaves WHERE kind = 'key' ORDER BY idx")
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(|(index, line)| Ok((count(index)?, leaf(&line)?))).collect()
    }

    /// Whether a leaf of this kind and name is there.
    pub(crate) async fn log_has(&self, leaf: &Leaf) -> Result<bool, StoreError> {
        let (kind, name) = names(leaf);
        let text = "SELECT idx FROM log_leaves WHERE kind = $1 AND name = $2";
        let found: Option<i64> =
            sqlx::query_scalar(text).bind(kind).bind(name).fetch_optional(&self.pool).await?;
        Ok(found.is_some())
    }

    /// The place of a session's seal.
    pub(crate) async fn log_index(&self, session: SessionId) -> Result<Option<u64>, StoreError> {
        let text = "SELECT idx FROM log_leaves WHERE kind = 'seal' AND name = $1";
        let found: Option<i64> =
            sqlx::query_scalar(text).bind(session.to_string()).fetch_optional(&self.pool).await?;
        found.map(count).transpose()
    }

    /// Leaves from a place on.
    pub(crate) async fn log_leaves(
        &self,
        from: u64,
        limit: u32,
    ) -> Result<Vec<LeafRow>, StoreError> {
        let text =
            format!("SELECT idx, line FROM log_leaves WHERE idx >= $1 ORDER BY idx LIMIT {limit}");
        let rows: Vec<(i64, String)> =
            sqlx::query_as(AssertSqlSafe(text)).bind(number(from)?).fetch_all(&self.pool).await?;
        rows.into_iter().map(|(index, line)| Ok(LeafRow { index: count(index)?, line })).collect()
    }

    /// The newest signed root.
    pub(crate) async fn checkpoint(&self) -> Result<Option<(u64, String)>, StoreError> {
        let text = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
        let row: Option<(i64, String)> = sqlx::query_as(text).fetch_optional(&self.pool).await?;
        row.map(|(size, note)| Ok((count(size)?, note))).transpose()
    }

    /// Keeps a signed root, unless one was kept a moment ago. Nothing is ever kept for a size that has one.
    pub(crate) async fn keep_checkpoint(
        &self,
        size: u64,
        note: &str,
        gap: Duration,
    ) -> Result<bool, StoreError> {
        let text = "INSERT INTO checkpoints (size, note, made_at) SELECT $1, $2, {now}
             WHERE NOT EXISTS (SELECT 1 FROM (SELECT made_at FROM checkpoints ORDER BY size DESC LIMIT 1) AS newest
                 WHERE made_at > {now} - $3)
             ON CONFLICT DO NOTHING";
        let kept = sqlx::query(self.sql(text))
            .bind(number(size)?)
            .bind(note.to_owned())
            .bind(millis(gap))
            .execute(&self.pool)
            .await?;
        Ok(kept.rows_affected() > 0)
    }
}

fn leaf(line: &str) -> Result<Leaf, StoreError> {
    Leaf::parse(line).ok_or_else(|| StoreError::Row(format!("no leaf of a log: {line}")))
}
