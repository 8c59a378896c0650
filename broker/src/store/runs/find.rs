//! Finding runs: by who and what, by what was decided, by time; the newest first, a page at a time.
//!
//! Sessions are numbered by time (UUID version 7), so one order and one index serve for pages and for times.

use guard_core::{SessionId, Timestamp};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{RunCounts, Store, StoreError};
use crate::store::rows;

/// Runs that are counted at most.
const COUNT_MOST: u64 = 10_000;

/// What was decided in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    /// Something was refused.
    Blocked,
    /// Something would be refused if the policy did not only observe.
    WouldBlock,
    /// Values were masked.
    Masked,
    /// Something went on because people approved it.
    Approved,
    /// A budget was exceeded.
    OverBudget,
    /// None of this.
    Clean,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its session lives.
    Live,
    /// Its session is over.
    Over,
}

/// Which runs are asked for. What is not given matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunFilter {
    /// A part of the repository's name, in any case.
    pub(crate) repository: Option<String>,
    /// A resource that it was given.
    pub(crate) resource: Option<String>,
    /// A policy by which it was judged.
    pub(crate) policy: Option<String>,
    /// The trust rule.
    pub(crate) trust_rule: Option<String>,
    /// Who or what started it.
    pub(crate) actor: Option<String>,
    /// What was decided.
    pub(crate) decided: Option<Decided>,
    /// Where it stands.
    pub(crate) standing: Option<Standing>,
    /// Opened at or after this moment.
    pub(crate) since: Option<Timestamp>,
    /// Opened before this moment.
    pub(crate) until: Option<Timestamp>,
}

/// Where a run of the list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Its session lives.
    Live,
    /// Its session is over, and its record has not been read yet.
    Ending,
    /// Its record was read.
    Done,
    /// There is nothing in its record that can be read.
    Unreadable,
}

/// A run of the list.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    /// Its session.
    pub(crate) id: SessionId,
    /// Owner and name of the repository.
    pub(crate) repository: String,
    /// The repository's id.
    pub(crate) repository_id: String,
    /// The git ref.
    pub(crate) git_ref: String,
    /// The workflow.
    pub(crate) workflow: String,
    /// The job.
    pub(crate) job: String,
    /// Who or what started it.
    pub(crate) actor: String,
    /// What started it.
    pub(crate) event: String,
    /// The trust rule.
    pub(crate) trust_rule: String,
    /// What it was given, and by which policy.
    pub(crate) grants: Vec<(String, String)>,
    /// When it was opened.
    pub(crate) started_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Option<Timestamp>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// The child's exit code.
    pub(crate) exit_code: Option<i64>,
    /// Where it stands.
    pub(crate) state: RunState,
    /// How far its record could be believed.
    pub(crate) whole: Option<String>,
    /// Totals; all nought until its record was read.
    pub(crate) counts: RunCounts,
}

/// A page of the list.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The runs, the newest first.
    pub(crate) runs: Vec<RunRow>,
    /// Behind which run the next page begins, if there is one.
    pub(crate) next: Option<SessionId>,
}

/// A condition and what is bound in it.
struct Conditions {
    texts: Vec<String>,
    values: Vec<String>,
}

impl Conditions {
    fn add(&mut self, text: &str, value: String) {
        self.values.push(value);
        self.texts.push(text.replace("{}", &format!("${}", self.values.len())));
    }

    fn of(filter: &RunFilter) -> Self {
        let RunFilter {
            repository,
            resource,
            policy,
            trust_rule,
            actor,
            decided,
            standing,
            since,
            until,
        } = filter;
        let mut all = Self { texts: Vec::new(), values: Vec::new() };
        if let Some(part) = repository {
            all.add("lower(runs.repository) LIKE {} ESCAPE '!'", contains(&part.to_lowercase()));
        }
        let given = "EXISTS (SELECT 1 FROM grants WHERE grants.session = runs.session AND";
        if let Some(resource) = resource {
            all.add(&format!("{given} grants.resource = {{}})"), resource.clone());
        }
        if let Some(policy) = policy {
            all.add(&format!("{given} grants.policy = {{}})"), policy.clone());
        }
        if let Some(rule) = trust_rule {
            all.add("runs.trust_rule = {}", rule.clone());
        }
        if let Some(actor) = actor {
            all.add("runs.actor = {}", actor.clone());
        }
        if let Some(since) = since {
            all.add("runs.session >= {}", first_of(*since));
        }
        if let Some(until) = until {
            all.add("runs.session < {}", first_of(*until));
        }
        all.texts.extend(decided.map(|decided| {
            match decided {
                Decided::Blocked => "runs.refused > 0",
                Decided::WouldBlock => "runs.would_refuse > 0",
                Decided::Masked => "runs.masked > 0",
                Decided::Approved => "runs.approvals > 0",
                Decided::OverBudget => "runs.over_budget > 0",
                Decided::Clean => {
                    "runs.indexed = 1 AND runs.refused = 0 AND runs.would_refuse = 0 AND runs.masked = 0
                     AND runs.approvals = 0 AND runs.over_budget = 0"
                }
            }
            .to_owned()
        }));
        let alive =
            "runs.ended_at IS NULL AND sessions.id IS NOT NULL AND sessions.end_reason IS NULL";
        all.texts.extend(standing.map(|standing| match standing {
            Standing::Live => alive.to_owned(),
            Standing::Over => format!("NOT ({alive})"),
        }));
        all
    }

    fn text(&self) -> String {
        if self.texts.is_empty() {
            return String::new();
        }
        format!("WHERE {}", self.texts.join(" AND "))
    }
}

impl Store {
    /// Runs that fit, the newest first, behind the one that is named.
    pub(crate) async fn find_runs(
        &self,
        filter: &RunFilter,
        behind: Option<SessionId>,
        most: usize,
    ) -> Result<Found, StoreError> {
        let mut conditions = Conditions::of(filter);
        if let Some(behind) = behind {
            conditions.add("runs.session < {}", behind.to_string());
        }
        let text = format!(
            "{} {} ORDER BY runs.session DESC LIMIT {}",
            select(),
            conditions.text(),
            most + 1
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for value in conditions.values {
            query = query.bind(value);
        }
        let rows = query.fetch_all(&self.pool).await?;
        let mut runs = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let more = runs.len() > most;
        runs.truncate(most);
        self.add_grants(&mut runs).await?;
        let next = runs.last().map(|run| run.id).filter(|_| more);
        Ok(Found { runs, next })
    }

    /// How many runs fit, and whether there are more than are counted.
    pub(crate) async fn count_runs(&self, filter: &RunFilter) -> Result<(u64, bool), StoreError> {
        let conditions = Conditions::of(filter);
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM runs LEFT JOIN sessions ON sessions.id = runs.session {}
             LIMIT {}) AS fitting",
            conditions.text(),
            COUNT_MOST + 1
        );
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(text));
        for value in conditions.values {
            query = query.bind(value);
        }
        let found = rows::count(query.fetch_one(&self.pool).await?)?;
        Ok((found.min(COUNT_MOST), found > COUNT_MOST))
    }

    /// One run.
    pub(crate) async fn run(&self, id: SessionId) -> Result<Option<RunRow>, StoreError> {
        let text = format!("{} WHERE runs.session = $1", select());
        let row = sqlx::query(AssertSqlSafe(text)).bind(id.to_string());
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let mut runs = vec![read(&row)?];
        self.add_grants(&mut runs).await?;
        Ok(runs.pop())
    }

    /// The last green run of the same trust rule before this one: of the same job if there is one, else of any.
    pub(crate) async fn green_before(&self, run: &RunRow) -> Result<Option<SessionId>, StoreError> {
        let same = "AND repository_id = $3 AND workflow = $4 AND job = $5";
        for more in [same, ""] {
            let text = format!(
                "SELECT session FROM runs WHERE trust_rule = $1 AND green = 1 AND session < $2 {more}
                 ORDER BY session DESC LIMIT 1"
            );
            let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(text))
                .bind(run.trust_rule.clone())
                .bind(run.id.to_string());
            if !more.is_empty() {
                query = query
                    .bind(run.repository_id.clone())
                    .bind(run.workflow.clone())
                    .bind(run.job.clone());
            }
            if let Some(found) = query.fetch_optional(&self.pool).await? {
                return rows::parse(&found).map(Some);
            }
        }
        Ok(None)
    }

    async fn add_grants(&self, runs: &mut [RunRow]) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        let text = format!(
            "SELECT session, resource, policy FROM grants WHERE session IN ({}) ORDER BY resource",
            crate::store::sessions::placeholders(1, runs.len())
        );
        let mut query = sqlx::query_as::<_, (String, String, String)>(AssertSqlSafe(text));
        for run in &*runs {
            query = query.bind(run.id.to_string());
        }
        for (session, resource, policy) in query.fetch_all(&self.pool).await? {
            let session: SessionId = rows::parse(&session)?;
            if let Some(run) = runs.iter_mut().find(|run| run.id == session) {
                run.grants.push((resource, policy));
            }
        }
        Ok(())
    }
}

fn select() -> String {
    format!(
        "SELECT runs.session AS session, repository, repository_id, git_ref, workflow, job, actor, event,
             runs.trust_rule AS trust_rule, started_at, coalesce(runs.ended_at, sessions.ended_at) AS ended,
             coalesce(runs.reason, sessions.end_reason) AS why,
             coalesce(runs.exit_code, sessions.exit_code) AS code, indexed, whole, {}
         FROM runs LEFT JOIN sessions ON sessions.id = runs.session",
        RunCounts::COLUMNS.join(", ")
    )
}

fn read(row: &AnyRow) -> Result<RunRow, StoreError> {
    let reason: Option<String> = row.try_get("why")?;
    let count = |name| rows::count(row.try_get(name)?);
    Ok(RunRow {
        id: rows::parse(&row.try_get::<String, _>("session")?)?,
        repository: row.try_get("repository")?,
        repository_id: row.try_get("repository_id")?,
        git_ref: row.try_get("git_ref")?,
        workflow: row.try_get("workflow")?,
        job: row.try_get("job")?,
        actor: row.try_get("actor")?,
        event: row.try_get("event")?,
        trust_rule: row.try_get("trust_rule")?,
        grants: Vec::new(),
        started_at: at(row.try_get("started_at")?)?,
        ended_at: row.try_get::<Option<i64>, _>("ended")?.map(at).transpose()?,
        state: match (row.try_get::<i64, _>("indexed")?, &reason) {
            (0, None) => RunState::Live,
            (0, Some(_)) => RunState::Ending,
            (1, _) => RunState::Done,
            (_, _) => RunState::Unreadable,
        },
        reason,
        exit_code: row.try_get("code")?,
        whole: row.try_get("whole")?,
        counts: RunCounts {
            statements: count("statements")?,
            refused: count("refused")?,
            would_refuse: count("would_refuse")?,
            over_budget: count("over_budget")?,
            masked: count("masked")?,
            changes: count("changes")?,
            rows: count("row_count")?,
            bytes: count("byte_count")?,
            failed: count("failed")?,
            approvals: count("approvals")?,
        },
    })
}

fn at(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| StoreError::Row(error.to_string()))
}

/// What is sought as a pattern for `LIKE … ESCAPE '!'`.
fn contains(part: &str) -> String {
    let escaped = part.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

/// The lowest id that a session of this moment can have: RFC 9562 section 5.7, the first 48 bits are milliseconds.
fn first_of(moment: Timestamp) -> String {
    let milliseconds = u128::try_from(moment.as_millisecond()).unwrap_or_default();
    uuid::Uuid::from_u128(milliseconds << 80).to_string()
}
