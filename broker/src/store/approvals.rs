//! What people are asked: stored when an enforcement point asks, changed by one statement each time, for all brokers.

use std::{collections::BTreeSet, time::Duration};

use guard_core::{
    ApprovalId, ApprovalState, ApprovalSubject, ApprovalTerms, ApprovalWait, Digest, Identity,
    PersonRef, PolicyName, ResourceName, SessionId, Timestamp, control::SoFar,
};
use sqlx::{Row as _, any::AnyRow};

use super::{
    Store, StoreError,
    rows::{self, millis, parse},
};

/// Requests of one session that wait at a time: more are no work for people.
const MAX_WAITING: i64 = 16;
/// Requests of one session in all.
const MAX_OF_SESSION: i64 = 200;
/// Requests that are over are kept for people to look at for so long, in milliseconds: 90 days.
const KEPT: i64 = 90 * 24 * 3600 * 1000;

/// Requests that are looked at at once for what the record does not tell.
const UNNOTED: i64 = 100;

pub(super) const COLUMNS: &str = "id, session, digest, resource, policy, terms, subject, identity, so_far, what,
    trust_rule, wait, asked_at, until, decided_at, used_at, used_by,
    CASE WHEN state IN ('waiting', 'granted') AND until <= {now} THEN 'expired' ELSE state END AS state";

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct ApprovalRow {
    /// The request.
    pub(crate) id: ApprovalId,
    /// The session that asked.
    pub(crate) session: SessionId,
    /// For what exactly it counts.
    pub(crate) digest: Digest,
    /// The resource.
    pub(crate) resource: ResourceName,
    /// The policy that asks.
    pub(crate) policy: PolicyName,
    /// What each rule asks.
    pub(crate) terms: Vec<ApprovalTerms>,
    /// The operation.
    pub(crate) subject: ApprovalSubject,
    /// The run.
    pub(crate) identity: Identity,
    /// What the run did before.
    pub(crate) so_far: SoFar,
    /// What does not go on, in words.
    pub(crate) what: String,
    /// The trust rule by which the run got its session.
    pub(crate) trust_rule: String,
    /// Whether the statement waits.
    pub(crate) wait: ApprovalWait,
    /// Where it stands.
    pub(crate) state: ApprovalState,
    /// When it was asked.
    pub(crate) asked_at: Timestamp,
    /// When its time is over.
    pub(crate) until: Timestamp,
    /// When it was decided.
    pub(crate) decided_at: Option<Timestamp>,
    /// When it was used.
    pub(crate) used_at: Option<Timestamp>,
    /// The session whose statement went on by it.
    pub(crate) used_by: Option<SessionId>,
}

/// What one person said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vote {
    /// Who.
    pub(crate) person: PersonRef,
    /// The groups that they were in then.
    pub(crate) groups: BTreeSet<String>,
    /// Yes or no.
    pub(crate) granted: bool,
    /// Why, in their words.
    pub(crate) reason: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// What came of storing a request.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It is there now.
    New,
    /// One for the same was there.
    Known(Box<ApprovalRow>),
    /// The session asks too much, or is over.
    TooMany,
}

/// What came of somebody's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voted {
    /// It counts.
    Counted,
    /// It is decided, over, or the same person has said something before.
    TooLate,
}

impl Store {
    /// Stores a request, unless one for the same counts already. What is out of time must have been ended before.
    /// `within`: how long people have.
    pub(crate) async fn ask_approval(
        &self,
        row: &ApprovalRow,
        within: Duration,
    ) -> Result<Asked, StoreError> {
        if let Some(known) = self.approval_for(row).await? {
            return Ok(Asked::Known(Box::new(known)));
        }
        let text = "WITH live AS (
                 SELECT id FROM sessions WHERE id = $2 AND end_reason IS NULL {share})
             INSERT INTO approvals (id, session, digest, resource, policy, terms, subject, identity,
                 so_far, what, trust_rule, wait, state, asked_at, until)
             SELECT $1, id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'waiting', {now}, {now} + $13 FROM live
             WHERE (SELECT count(*) FROM approvals WHERE session = $2) < $14
                 AND (SELECT count(*) FROM approvals WHERE session = $2 AND state = 'waiting') < $15
             ON CONFLICT DO NOTHING";
        let added = sqlx::query(self.sql(text))
            .bind(row.id.to_string())
            .bind(row.session.to_string())
            .bind(row.digest.to_string())
            .bind(row.resource.as_str().to_owned())
            .bind(row.policy.as_str().to_owned())
            .bind(rows::to_json(&row.terms)?)
            .bind(rows::to_json(&row.subject)?)
            .bind(rows::to_json(&row.identity)?)
            .bind(rows::to_json(&row.so_far)?)
            .bind(row.what.clone())
            .bind(row.trust_rule.clone())
            .bind(row.wait.as_str().to_owned())
            .bind(millis(within))
            .bind(MAX_OF_SESSION)
            .bind(MAX_WAITING)
            .execute(&self.pool)
            .await?;
        if added.rows_affected() > 0 {
            return Ok(Asked::New);
        }
        // Somebody else asked for the same at this moment, or the session may not ask.
        match self.approval_for(row).await? {
            Some(known) => Ok(Asked::Known(Box::new(known))),
            None => Ok(Asked::TooMany),
        }
    }

    /// What counts already for what is asked: the same request, one of the same job that is parked, or a no to the same
    /// whose time is not over.
    async fn approval_for(&self, row: &ApprovalRow) -> Result<Option<ApprovalRow>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM approvals WHERE digest = $1 AND wait = $2 AND until > {{now}}
                 AND ((id = $3 AND session = $4) OR state = 'refused'
                     OR (wait = 'park' AND state IN ('waiting', 'granted')))
             ORDER BY asked_at DESC LIMIT 1"
        );
        let found = sqlx::query(self.sql(&text))
            .bind(row.digest.to_string())
            .bind(row.wait.as_str().to_owned())
            .bind(row.id.to_string())
            .bind(row.session.to_string())
            .fetch_optional(&self.pool)
            .await?;
        found.as_ref().map(ApprovalRow::read).transpose()
    }

    /// A request.
    pub(crate) async fn approval(&self, id: ApprovalId) -> Result<Option<ApprovalRow>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM approvals WHERE id = $1");
        let row =
            sqlx::query(self.sql(&text)).bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.as_ref().map(ApprovalRow::read).transpose()
    }

    /// Requests that wait, the one whose time is over first before the others.
    pub(crate) async fn waiting_approvals(
        &self,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM approvals WHERE state = 'waiting' AND until > {{now}}
             ORDER BY until, id LIMIT {limit}"
        );
        let rows = sqlx::query(self.sql(&text)).fetch_all(&self.pool).await?;
        rows.iter().map(ApprovalRow::read).collect()
    }

    /// Requests that do not wait any more, the latest first; of those asked before `before`, if that is given.
    pub(crate) async fn past_approvals(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM approvals WHERE (state <> 'waiting' OR until <= {{now}})
                 AND asked_at < $1 ORDER BY asked_at DESC, id LIMIT {limit}"
        );
        let before = before.map_or(i64::MAX, Timestamp::as_millisecond);
        let rows = sqlx::query(self.sql(&text)).bind(before).fetch_all(&self.pool).await?;
        rows.iter().map(ApprovalRow::read).collect()
    }

    /// What people said of a request, in order.
    pub(crate) async fn votes(&self, id: ApprovalId) -> Result<Vec<Vote>, StoreError> {
        let text = "SELECT issuer, subject, name, groups, granted, reason, at FROM approval_votes
             WHERE approval = $1 ORDER BY at, issuer, subject";
        let rows = sqlx::query(text).bind(id.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(Vote::read).collect()
    }

    /// Somebody says yes.
    pub(crate) async fn vote_yes(&self, id: ApprovalId, vote: &Vote) -> Result<Voted, StoreError> {
        let text = "INSERT INTO approval_votes (approval, issuer, subject, name, groups, granted, reason, at)
             SELECT id, $2, $3, $4, $5, 1, $6, {now} FROM approvals
             WHERE id = $1 AND state = 'waiting' AND until > {now}
             ON CONFLICT DO NOTHING";
        let voted = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(vote.person.issuer.clone())
            .bind(vote.person.subject.clone())
            .bind(vote.person.name.clone())
            .bind(rows::to_json(&vote.groups)?)
            .bind(vote.reason.clone())
            .execute(&self.pool)
            .await?;
        Ok(if voted.rows_affected() > 0 { Voted::Counted } else { Voted::TooLate })
    }

    /// Somebody says no, and that is the end of it.
    pub(crate) async fn vote_no(&self, id: ApprovalId, vote: &Vote) -> Result<Voted, StoreError> {
        let mut transaction = self.begin().await?;
        let text = "UPDATE approvals SET state = 'refused', decided_at = {now}, noted = 0
             WHERE id = $1 AND state = 'waiting' AND until > {now} AND NOT EXISTS (
                 SELECT 1 FROM approval_votes WHERE approval = $1 AND issuer = $2 AND subject = $3)";
        let refused = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(vote.person.issuer.clone())
            .bind(vote.person.subject.clone())
            .execute(&mut *transaction)
            .await?;
        if refused.rows_affected() == 0 {
            return Ok(Voted::TooLate);
        }
        let text = "INSERT INTO approval_votes (approval, issuer, subject, name, groups, granted, reason, at)
             VALUES ($1, $2, $3, $4, $5, 0, $6, {now})";
        sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(vote.person.issuer.clone())
            .bind(vote.person.subject.clone())
            .bind(vote.person.name.clone())
            .bind(rows::to_json(&vote.groups)?)
            .bind(vote.reason.clone())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Voted::Counted)
    }

    /// Grants a request for which enough people said yes. `false` if it does not wait any more.
    pub(crate) async fn grant_approval(&self, id: ApprovalId) -> Result<bool, StoreError> {
        let text = "UPDATE approvals SET state = 'granted', decided_at = {now}, noted = 0
             WHERE id = $1 AND state = 'waiting' AND until > {now}";
        let granted = sqlx::query(self.sql(text)).bind(id.to_string()).execute(&self.pool).await?;
        Ok(granted.rows_affected() > 0)
    }

    /// Uses a granted request up, for exactly what it was granted for. `false` if it is for something else, another
    /// session's, or not there to be used.
    pub(crate) async fn use_approval(
        &self,
        id: ApprovalId,
        session: SessionId,
        digest: Digest,
    ) -> Result<bool, StoreError> {
        let text = "UPDATE approvals SET state = 'used', used_at = {now}, used_by = $2
             WHERE id = $1 AND digest = $3 AND state = 'granted' AND until > {now}
                 AND (wait = 'park' OR session = $2)";
        let used = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(session.to_string())
            .bind(digest.to_string())
            .execute(&self.pool)
            .await?;
        Ok(used.rows_affected() > 0)
    }

    /// Takes a request back that was not used. `false` if it is over already or another session's.
    pub(crate) async fn cancel_approval(
        &self,
        id: ApprovalId,
        session: SessionId,
    ) -> Result<bool, StoreError> {
        let text = "UPDATE approvals SET state = 'cancelled', decided_at = {now}, noted = 0
             WHERE id = $1 AND session = $2 AND state IN ('waiting', 'granted')";
        let cancelled = sqlx::query(self.sql(text))
            .bind(id.to_string())
            .bind(session.to_string())
            .execute(&self.pool)
            .await?;
        Ok(cancelled.rows_affected() > 0)
    }

    /// Takes back what a session that is over holds. What is parked outlives it.
    pub(crate) async fn cancel_held(
        &self,
        session: SessionId,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let text = format!(
            "UPDATE approvals SET state = 'cancelled', decided_at = {{now}}, noted = 0
             WHERE session = $1 AND wait = 'hold' AND state IN ('waiting', 'granted')
             RETURNING {COLUMNS}"
        );
        let rows =
            sqlx::query(self.sql(&text)).bind(session.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(ApprovalRow::read).collect()
    }

    /// Ends what is out of time, all or what is for one thing. Each is given to one broker.
    pub(crate) async fn expire_approvals(
        &self,
        digest: Option<Digest>,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let text = format!(
            "UPDATE approvals SET state = 'expired', decided_at = {{now}}, noted = 0
             WHERE state IN ('waiting', 'granted') AND until <= {{now}} AND ($1 = '' OR digest = $1)
             RETURNING {COLUMNS}"
        );
        let digest = digest.map_or_else(String::new, |digest| digest.to_string());
        let rows = sqlx::query(self.sql(&text)).bind(digest).fetch_all(&self.pool).await?;
        rows.iter().map(ApprovalRow::read).collect()
    }

    /// Requests that wait and of which somebody said something: a broker may have stopped before it counted.
    pub(crate) async fn voted_and_waiting(&self) -> Result<Vec<ApprovalId>, StoreError> {
        let text = "SELECT id FROM approvals WHERE state = 'waiting' AND until > {now}
             AND EXISTS (SELECT 1 FROM approval_votes WHERE approval = approvals.id)";
        let found: Vec<String> = sqlx::query_scalar(self.sql(text)).fetch_all(&self.pool).await?;
        found.iter().map(|id| parse(id)).collect()
    }

    /// Requests of which something came that the record does not tell, as far as the store knows: some of one session, or of all.
    pub(crate) async fn unnoted_approvals(
        &self,
        session: Option<SessionId>,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS}, state AS stored FROM approvals WHERE noted = 0 AND ($1 = '' OR session = $1)
             ORDER BY decided_at LIMIT {UNNOTED}"
        );
        let session = session.map_or_else(String::new, |id| id.to_string());
        let rows = sqlx::query(self.sql(&text)).bind(session).fetch_all(&self.pool).await?;
        let read = |row: &AnyRow| {
            // What was granted was, whether or not its time is over by now.
            let state = state(&row.try_get::<String, _>("stored")?)?;
            Ok(ApprovalRow { state, ..ApprovalRow::read(row)? })
        };
        rows.iter().map(read).collect()
    }

    /// The record tells what came of a request. Something else may have come of it since.
    pub(crate) async fn approval_noted(
        &self,
        id: ApprovalId,
        state: ApprovalState,
    ) -> Result<(), StoreError> {
        let text = "UPDATE approvals SET noted = 1 WHERE id = $1 AND noted = 0
             AND (state = $2 OR ($2 = 'granted' AND state = 'used'))";
        sqlx::query(text)
            .bind(id.to_string())
            .bind(state.as_str().to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Makes a request's time over.
    #[cfg(test)]
    pub(crate) async fn end_time_of_approval_for_test(&self, id: &str) {
        let text = "UPDATE approvals SET until = {now} - 1 WHERE id = $1";
        sqlx::query(self.sql(text)).bind(id.to_owned()).execute(&self.pool).await.unwrap();
    }

    /// Forgets what has been over for long.
    pub(crate) async fn forget_approvals(&self) -> Result<(), StoreError> {
        for text in [
            "DELETE FROM approval_votes WHERE approval IN (
                 SELECT id FROM approvals WHERE until < {now} - $1)",
            "DELETE FROM approvals WHERE until < {now} - $1",
        ] {
            sqlx::query(self.sql(text)).bind(KEPT).execute(&self.pool).await?;
        }
        Ok(())
    }
}

impl ApprovalRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let text = |column: &str| row.try_get::<String, _>(column);
        let wait = match text("wait")?.as_str() {
            "hold" => ApprovalWait::Hold,
            "park" => ApprovalWait::Park,
            other => return Err(StoreError::Row(format!("`{other}` is no way to wait"))),
        };
        let used_by: Option<String> = row.try_get("used_by")?;
        Ok(Self {
            id: parse(&text("id")?)?,
            session: parse(&text("session")?)?,
            digest: parse(&text("digest")?)?,
            resource: parse(&text("resource")?)?,
            policy: parse(&text("policy")?)?,
            terms: from_json(&text("terms")?)?,
            subject: from_json(&text("subject")?)?,
            identity: from_json(&text("identity")?)?,
            so_far: from_json(&text("so_far")?)?,
            what: text("what")?,
            trust_rule: text("trust_rule")?,
            wait,
            state: state(&text("state")?)?,
            asked_at: moment(row.try_get("asked_at")?)?,
            until: moment(row.try_get("until")?)?,
            decided_at: row.try_get::<Option<i64>, _>("decided_at")?.map(moment).transpose()?,
            used_at: row.try_get::<Option<i64>, _>("used_at")?.map(moment).transpose()?,
            used_by: used_by.map(|id| parse(&id)).transpose()?,
        })
    }
}

impl Vote {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            person: PersonRef {
                issuer: row.try_get("issuer")?,
                subject: row.try_get("subject")?,
                name: row.try_get("name")?,
            },
            groups: from_json(&row.try_get::<String, _>("groups")?)?,
            granted: row.try_get::<i64, _>("granted")? != 0,
            reason: row.try_get("reason")?,
            at: moment(row.try_get("at")?)?,
        })
    }
}

fn state(word: &str) -> Result<ApprovalState, StoreError> {
    ApprovalState::of(word)
        .ok_or_else(|| StoreError::Row(format!("`{word}` is no state of an approval")))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Row(error.to_string()))
}

fn moment(millis: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|error| StoreError::Row(error.to_string()))
}
