//! `guard-broker leases` and `check --connect`: which credentials are out, and whether each source gives one and takes it back.

use std::{
    io::Write as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{LeaseId, SessionId, Timestamp};
use guard_policy::Policy;
use serde::Serialize;

use crate::{
    config::{self, Config, ResourceConfig},
    credentials::{self, Ask, CredentialError, Handle, NoteHandle, REVOKE_DEADLINE},
    serve,
    store::{LeaseRow, LeaseState},
};

/// How long a credential that is only tried lasts, should nobody be able to take it back.
const TRIED_LASTS: Duration = Duration::from_secs(900);

/// Credentials that are out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  guard-broker leases
  guard-broker leases --json | jq -r '.[] | select(.state == \"failed\") | .problem'

One that could not be taken back is `failed`; brokers try again until it is.
Exit codes: 0 · 1 no configuration, or no store")]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "guard.yaml", env = "GUARD_CONFIG")]
    config: PathBuf,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// A lease as a person looks at it.
#[derive(Debug, Serialize)]
struct Shown {
    id: LeaseId,
    session: SessionId,
    repository: String,
    run: String,
    resource: String,
    holder: String,
    username: String,
    kind: String,
    state: &'static str,
    until: String,
    tries: u64,
    problem: Option<String>,
    next_try: Option<String>,
}

/// Lists them.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let config = config::load(&args.config).map_err(|problems| anyhow!("{problems}"))?;
    let store = serve::open_store(&config).await?;
    let mut found = Vec::new();
    for lease in store.all_leases().await? {
        let session = store.session_by_id(lease.session).await?;
        let run = session.map(|session| session.identity);
        found.push(Shown {
            repository: run.as_ref().map(|run| run.repository.to_string()).unwrap_or_default(),
            run: run
                .as_ref()
                .map(|run| format!("{}.{}", run.run.run_id, run.run.attempt))
                .unwrap_or_default(),
            ..Shown::from(lease)
        });
    }
    store.close().await;
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(());
    }
    for lease in &found {
        writeln!(out, "{}", lease.line())?;
    }
    Ok(())
}

impl From<LeaseRow> for Shown {
    fn from(lease: LeaseRow) -> Self {
        let kind = serde_json::to_value(&lease.handle).unwrap_or_default();
        let kind = kind.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
        let waits = match lease.state {
            LeaseState::Failed => Some(lease.next_try.to_string()),
            LeaseState::Wanted | LeaseState::Out | LeaseState::Revoking => None,
        };
        Self {
            id: lease.id,
            session: lease.session,
            repository: String::new(),
            run: String::new(),
            resource: lease.resource.to_string(),
            holder: lease.holder,
            username: lease.username,
            kind: kind.to_owned(),
            state: lease.state.as_str(),
            until: lease.until.to_string(),
            tries: lease.tries,
            problem: lease.problem,
            next_try: waits,
        }
    }
}

impl Shown {
    fn line(&self) -> String {
        let Self { id, session, repository, run, resource, holder, username, state, until, .. } =
            self;
        let mut line = format!(
            "{id}  {state} until {until}  {resource} as {username} at {holder}  {repository} run {run}, session {session}"
        );
        if let Some(problem) = &self.problem {
            line.push_str(&format!("  not taken back in {} attempts: {problem}", self.tries));
        }
        // What a run names cannot write to the terminal.
        line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    }
}

/// Takes a credential for each policy that is granted over each resource, and gives it back. Says what is wrong, and
/// whether nothing is.
pub(crate) async fn try_all(config: &Config) -> anyhow::Result<bool> {
    let mut good = true;
    for (resource, policy) in config.trust.granted() {
        let (Some(configured), Some(source)) =
            (config.resources.get(resource), config.policies.get(policy))
        else {
            continue;
        };
        let parsed = Policy::from_source(source).map_err(|problems| anyhow!("{problems}"))?;
        let tried = try_one(configured, &parsed).await;
        let mut say = std::io::stderr();
        if tried.is_empty() {
            writeln!(say, "{resource} under {policy}: a credential was taken and given back")?;
        }
        for problem in tried {
            good = false;
            writeln!(say, "{resource} under {policy}: {problem}")?;
        }
    }
    Ok(good)
}

/// What is wrong with a resource's source.
async fn try_one(resource: &ResourceConfig, policy: &Policy) -> Vec<String> {
    let ask = Ask {
        lease: LeaseId::from_uuid(uuid::Uuid::now_v7()),
        session: SessionId::from_uuid(uuid::Uuid::now_v7()),
        run: None,
        policy,
        until: Timestamp::now() + TRIED_LASTS,
    };
    let handle = match credentials::source(resource).plan(&ask) {
        Ok(handle) => handle,
        Err(error) => return vec![error.to_string()],
    };
    let noted = Noted::default();
    let (handle, mut problems) = match credentials::take(resource, &ask, &handle, &noted).await {
        Ok(taken) => (taken.handle, taken.warnings),
        Err(error) => (noted.take().unwrap_or(handle), vec![error.to_string()]),
    };
    let name = &resource.spec.name;
    match credentials::revoke(name, Some(resource), &handle, REVOKE_DEADLINE).await {
        Ok(()) => {}
        // Nothing was made, most likely for the same reason.
        Err(_) if !problems.is_empty() => {}
        Err(error) => problems.push(left(&handle, &error.to_string())),
    }
    problems
}

/// The handle as it was last known: it is given back in a moment.
#[derive(Debug, Default)]
struct Noted(Mutex<Option<Handle>>);

impl Noted {
    fn take(&self) -> Option<Handle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl NoteHandle for Noted {
    fn note<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
        async { Ok(()) }.boxed()
    }
}

fn left(handle: &Handle, error: &str) -> String {
    match handle {
        Handle::Static | Handle::Aws(_) => error.to_owned(),
        Handle::PostgresRole(made) => {
            format!("the role `{}` was made and cannot be dropped: {error}", made.role)
        }
        Handle::Oauth(_) => format!("a token was made and cannot be revoked: {error}"),
        Handle::GithubApp(made) => format!(
            "a token of the installation {} was made and cannot be revoked: {error}",
            made.installation
        ),
        Handle::Vault(made) => format!(
            "the lease `{}` was made and cannot be revoked: {error}",
            made.lease.as_deref().unwrap_or("of a token")
        ),
    }
}
