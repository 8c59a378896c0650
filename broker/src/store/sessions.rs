//! Sessions: stored with what they use up, and found again.

use guard_audit::Segment;
use guard_core::{Digest, SessionId, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    Kind, NewSession, SessionRow, StateRow, Store, StoreError,
    rows::{self, SESSION, STATE},
};

/// How many sessions one question names at most.
const CHUNK: usize = 256;

/// What came of storing a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is stored.
    Done,
    /// Its identity token was exchanged before; nothing is stored.
    TokenUsed,
    /// Its job has this session, which lives; nothing is stored.
    RunLives(SessionId),
}

/// The same within a transaction that is not committed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// It is stored.
    Done,
    /// Its identity token was exchanged before.
    TokenUsed,
    /// Its job has a session that lives.
    RunLives,
}

impl Store {
    /// Stores a session with its grants, and uses up its identity token, all or nothing.
    pub(crate) async fn open_session(&self, new: &NewSession) -> Result<Stored, StoreError> {
        let opening = match self.kind {
            Kind::Sqlite => self.open_together(new.clone()).await?,
            Kind::Postgres(_) => {
                let mut transaction = self.begin().await?;
                let opening = self.open_in(new, &mut transaction).await?;
                match opening {
                    Opening::Done => transaction.commit().await?,
                    Opening::TokenUsed | Opening::RunLives => transaction.rollback().await?,
                }
                opening
            }
        };
        match opening {
            Opening::Done => Ok(Stored::Done),
            Opening::TokenUsed => Ok(Stored::TokenUsed),
            Opening::RunLives => self.living(new).await,
        }
    }

    /// The same within a transaction. What is not [`Opening::Done`] has to be rolled back.
    pub(super) async fn open_in(
        &self,
        new: &NewSession,
        connection: &mut AnyConnection,
    ) -> Result<Opening, StoreError> {
        let used =
            sqlx::query("INSERT INTO used_tokens VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(new.session.identity.run.issuer.clone())
                .bind(new.jti.to_owned())
                .bind(new.forget_after.as_second())
                .execute(&mut *connection)
                .await?;
        if used.rows_affected() == 0 {
            return Ok(Opening::TokenUsed);
        }
        let session = &new.session;
        let text = "INSERT INTO sessions (id, token_hash, key_thumbprint, identity, trust_rule, mask_key, until,
                 live_run, renew_by, opened_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, {now}) ON CONFLICT (live_run) DO NOTHING";
        let stored = sqlx::query(self.sql(text))
            .bind(session.id.to_string())
            .bind(session.token_hash.to_string())
            .bind(session.key_thumbprint.clone())
            .bind(rows::to_json(&session.identity)?)
            .bind(session.trust_rule.clone())
            .bind(session.mask_key.expose().to_owned())
            .bind(session.until.as_second())
            .bind(new.live_run.clone())
            .bind(new.renew_by.map(|until| until.as_second()))
            .execute(&mut *connection)
            .await?;
        if stored.rows_affected() == 0 {
            // The token may be shown again when the other session is over.
            return Ok(Opening::RunLives);
        }
        self.open_parts(new, connection).await?;
        Ok(Opening::Done)
    }

    /// The session that a job has.
    async fn living(&self, new: &NewSession) -> Result<Stored, StoreError> {
        let job = new.live_run.as_deref().unwrap_or_default();
        match self.session_of_job(job).await? {
            Some(id) => Ok(Stored::RunLives(id)),
            // It ended just now. Whoever asks again gets a session.
            None => Err(StoreError::Row("the job's other session has just ended".into())),
        }
    }

    /// The live session of a job.
    pub(crate) async fn session_of_job(&self, job: &str) -> Result<Option<SessionId>, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT id FROM sessions WHERE live_run = $1")
                .bind(job.to_owned())
                .fetch_optional(&self.pool)
                .await?;
        found.map(|id| rows::parse(&id)).transpose()
    }

    /// Gives a live session another access token. `false` if it is over.
    pub(crate) async fn replace_token(
        &self,
        id: SessionId,
        token_hash: Digest,
    ) -> Result<bool, StoreError> {
        let replaced =
            sqlx::query("UPDATE sessions SET token_hash = $2 WHERE id = $1 AND end_reason IS NULL")
                .bind(id.to_string())
                .bind(token_hash.to_string())
                .execute(&self.pool)
                .await?;
        Ok(replaced.rows_affected() > 0)
    }

    /// What belongs to a session, in a few statements: each is a way to the store and back.
    async fn open_parts(
        &self,
        new: &NewSession,
        connection: &mut AnyConnection,
    ) -> Result<(), StoreError> {
        let id = new.session.id.to_string();
        let grants = &new.session.grants;
        let text = values(
            "INSERT INTO policies (digest, name, yaml, lock_text) VALUES ",
            grants.len(),
            4,
            " ON CONFLICT DO NOTHING",
        );
        let mut policies = sqlx::query(AssertSqlSafe(text));
        // In one order, or two brokers would wait for each other.
        let mut sorted: Vec<_> = grants.iter().map(|(_, policy)| policy).collect();
        sorted.sort_by_key(|policy| policy.digest.to_string());
        for policy in sorted {
            policies = policies
                .bind(policy.digest.to_string())
                .bind(policy.name.as_str().to_owned())
                .bind(policy.yaml.clone())
                .bind(policy.lock.clone().unwrap_or_default());
        }
        policies.execute(&mut *connection).await?;
        let text = values(
            "INSERT INTO grants (session, resource, policy, policy_digest, until) VALUES ",
            grants.len(),
            5,
            "",
        );
        let mut rows = sqlx::query(AssertSqlSafe(text));
        for (grant, policy) in grants {
            rows = rows
                .bind(id.clone())
                .bind(grant.resource.as_str().to_owned())
                .bind(grant.policy.as_str().to_owned())
                .bind(policy.digest.to_string())
                .bind(grant.until.as_second());
        }
        rows.execute(&mut *connection).await?;
        sqlx::query(self.sql("INSERT INTO heard (session, at) VALUES ($1, {now})"))
            .bind(id.clone())
            .execute(&mut *connection)
            .await?;
        let (entries, head, segment) = match &new.first {
            Some((_, head, segment)) => (1_i64, head.to_string(), segment.clone()),
            None => (0, String::new(), Segment::default()),
        };
        let text = "INSERT INTO records (session, entries, head, segment, unsealed_since) VALUES ($1, $2, $3, $4, $5)";
        sqlx::query(text)
            .bind(id.clone())
            .bind(entries)
            .bind(head)
            .bind(rows::to_json(&segment)?)
            .bind(segment.since.map(Timestamp::as_millisecond))
            .execute(&mut *connection)
            .await?;
        if let Some((line, ..)) = &new.first {
            sqlx::query("INSERT INTO parts (session, first, lines, noticed) VALUES ($1, 0, $2, 0)")
                .bind(id)
                .bind(line.clone())
                .execute(&mut *connection)
                .await?;
        }
        self.begin_run(new, connection).await
    }

    /// Sessions whose record is not sealed.
    pub(crate) async fn unsealed_sessions(&self) -> Result<Vec<SessionId>, StoreError> {
        let found: Vec<String> = sqlx::query_scalar("SELECT id FROM sessions WHERE sealed = 0")
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(|id| rows::parse(id)).collect()
    }

    /// The session of a token, whether it is over or not.
    pub(crate) async fn session_by_token(
        &self,
        token_hash: Digest,
    ) -> Result<Option<SessionRow>, StoreError> {
        self.session("token_hash", token_hash.to_string()).await
    }

    /// A session, whether it is over or not.
    pub(crate) async fn session_by_id(
        &self,
        id: SessionId,
    ) -> Result<Option<SessionRow>, StoreError> {
        self.session("id", id.to_string()).await
    }

    async fn session(
        &self,
        by: &'static str,
        value: String,
    ) -> Result<Option<SessionRow>, StoreError> {
        let text = AssertSqlSafe(format!("SELECT {SESSION} FROM sessions WHERE {by} = $1"));
        let row = sqlx::query(text).bind(value).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let id: String = row.try_get("id")?;
        let grants = sqlx::query(
            "SELECT resource, policy, until, policies.digest AS digest, policies.name AS name,
                 policies.yaml AS yaml, policies.lock_text AS lock_text
             FROM grants JOIN policies ON policies.digest = grants.policy_digest
             WHERE session = $1 ORDER BY resource",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        SessionRow::read(&row, &grants).map(Some)
    }

    /// What changed of a session. `None` if there is no such session.
    pub(crate) async fn state(&self, id: SessionId) -> Result<Option<StateRow>, StoreError> {
        Ok(self.states(&[id]).await?.pop().map(|(_, state)| state))
    }

    /// What changed of sessions.
    pub(crate) async fn states(
        &self,
        ids: &[SessionId],
    ) -> Result<Vec<(SessionId, StateRow)>, StoreError> {
        let mut states = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let text = format!(
                "SELECT {STATE} FROM sessions JOIN records ON session = id WHERE id IN ({})",
                placeholders(1, chunk.len())
            );
            let mut query = sqlx::query(AssertSqlSafe(text));
            for id in chunk {
                query = query.bind(id.to_string());
            }
            let rows: Vec<AnyRow> = query.fetch_all(&self.pool).await?;
            for row in &rows {
                states.push(StateRow::read(row)?);
            }
        }
        Ok(states)
    }

    /// Notes that shims were heard of.
    pub(crate) async fn heard(&self, ids: &[SessionId]) -> Result<(), StoreError> {
        for chunk in ids.chunks(CHUNK) {
            let text = format!(
                "UPDATE heard SET at = {{now}} WHERE session IN ({})",
                placeholders(1, chunk.len())
            );
            let mut query = sqlx::query(self.sql(&text));
            for id in chunk {
                query = query.bind(id.to_string());
            }
            query.execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Takes back a session that nobody was told of. Its identity token stays used.
    pub(crate) async fn forget_session(&self, id: SessionId) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for delete in [
            "DELETE FROM grants WHERE session = $1",
            "DELETE FROM records WHERE session = $1",
            "DELETE FROM heard WHERE session = $1",
            "DELETE FROM runs WHERE session = $1",
            "DELETE FROM sessions WHERE id = $1",
        ] {
            sqlx::query(delete).bind(id.to_string()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// `$first, $first+1, …`, as many as `count`.
pub(super) fn placeholders(first: usize, count: usize) -> String {
    let names: Vec<_> = (first..first + count).map(|number| format!("${number}")).collect();
    names.join(", ")
}

/// An insert of `rows` rows with `columns` columns each.
pub(super) fn values(before: &str, rows: usize, columns: usize, after: &str) -> String {
    let rows: Vec<_> =
        (0..rows).map(|row| format!("({})", placeholders(row * columns + 1, columns))).collect();
    format!("{before}{}{after}", rows.join(", "))
}
