//! How a session begins: an admitted run, a key, a token; stored, recorded, then answered.

use std::{
    io,
    sync::{Arc, Mutex, RwLock, atomic::Ordering},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use guard_audit::{Event, GrantRecord};
use guard_core::{
    Detectors, Digest, EnforceAt, Mode, ResourceName, RunKey, Secret, SessionId,
    control::{GrantInfo, PolicySource, SessionInfo},
};
use guard_policy::Admission;
use rand::TryRngCore as _;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{
    Found, Live, Session, Sessions, gateways::choose, mask_keys, policy::parsed, renewing,
};
use crate::{
    claims::VerifiedRun,
    config::Config,
    error::{Refusal, chain},
    log::{Keyring, Log, LogError},
    metrics::Metrics,
    record::{Records, ResumeError, Resumed},
    runs::Runs,
    store::{NewSession, SessionRow, StateRow, Store, StoreError, Stored},
};

/// A session that was just opened: the only moment at which its token is known here.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The token.
    pub(crate) token: Secret,
    /// What the shim is told.
    pub(crate) info: SessionInfo,
}

/// Refused attempts of a job that its live session's record tells of at most.
const MAX_ATTEMPTS: u64 = 100;

impl Sessions {
    /// Takes up the sessions of the broker that ran before; those that it was ending are ended. Where records are in the
    /// store, each is taken up when somebody asks for it.
    pub(crate) async fn start(
        config: Arc<Config>,
        store: Store,
        records: Records,
        keys: Keyring,
        metrics: Metrics,
    ) -> Result<Arc<Self>, LogError> {
        let log = Log::start(store.clone(), keys.clone(), &config.url).await?;
        let sessions = Arc::new(Self {
            config: RwLock::new(config),
            store,
            metrics,
            gateways: tokio::sync::Mutex::default(),
            runs: Runs::new(records.clone(), log.clone()),
            indexing: tokio::sync::Mutex::default(),
            records,
            keys,
            log,
            live: RwLock::new(Live::default()),
            heard: Mutex::default(),
            tasks: TaskTracker::new(),
        });
        if let Records::Files(_) = sessions.records {
            sessions.store.forget_claims().await?;
            for id in sessions.store.unsealed_sessions().await? {
                sessions.resume(id).await?;
            }
        }
        Ok(sessions)
    }

    async fn resume(self: &Arc<Self>, id: SessionId) -> Result<(), StoreError> {
        let Some(row) = self.store.session_by_id(id).await? else { return Ok(()) };
        let Some(state) = self.store.state(id).await? else { return Ok(()) };
        match self.records.resume(id, state.reached, first_resource(&row)) {
            Ok(Resumed::Open(record)) => {
                if state.ended.is_none() {
                    tracing::info!(session = %id, "go on with a session");
                }
                self.store.wake(id).await?;
                self.insert(Session::new(row, record, state));
            }
            Ok(Resumed::Sealed(sealed)) => {
                self.store.reached(id, sealed.entries, sealed.head, Some(&sealed.leaf)).await?;
            }
            Err(ResumeError::File(error))
                if error.kind() == io::ErrorKind::NotFound && state.reached.is_none() =>
            {
                // The broker stopped between storing it and starting its record.
                self.store.forget_session(id).await?;
            }
            Err(error) => {
                // Left as it is, for a person; whoever verifies it finds it unsealed.
                let error = chain(&error);
                tracing::error!(session = %id, error, "a record cannot be gone on with");
            }
        }
        Ok(())
    }

    /// Opens a session for a run that a configuration admitted, bound to the key of a thumbprint.
    pub(crate) async fn open(
        &self,
        config: &Arc<Config>,
        run: VerifiedRun,
        admission: Admission,
        key_thumbprint: String,
    ) -> Result<Opened, Refusal> {
        let mut grants = Vec::new();
        for grant in admission.grants {
            let policy = config.policies.get(&grant.policy).cloned();
            match (policy, config.resources.get(&grant.resource)) {
                (Some(policy), Some(resource)) => {
                    // A session whose masks cannot be kept is not opened.
                    mask_keys::lasting(&policy, resource).await?;
                    grants.push((grant, policy));
                }
                (Some(_) | None, Some(_) | None) => {
                    let message = format!("`{}` or `{}` is gone", grant.resource, grant.policy);
                    return Err(Refusal::Internal(message));
                }
            }
        }
        let Some(until) = grants.iter().map(|(grant, _)| grant.until).min() else {
            return Err(Refusal::Internal("a trust rule gave nothing".into()));
        };
        let token = Secret::new(URL_SAFE_NO_PAD.encode(random()?));
        let row = SessionRow {
            id: SessionId::from_uuid(uuid::Uuid::now_v7()),
            token_hash: Digest::of(token.expose()),
            key_thumbprint,
            identity: run.identity,
            trust_rule: admission.rule,
            mask_key: Secret::new(STANDARD.encode(random()?)),
            until,
            grants,
        };
        let info = self.info(config, &row, run.renews).await?;
        let first = first_event(config, &row, admission.broad);
        let new = NewSession {
            session: row.clone(),
            jti: run.once,
            forget_after: run.forget_after,
            live_run: run.names_job.then(|| job(&row.identity.run)),
            renew_by: run.renews.then(|| renewing::until(run.issued, config)),
            first: self.records.first_line(&first)?,
        };
        match self.store.open_session(&new).await? {
            Stored::Done => {}
            Stored::TokenUsed => {
                if let Some(job) = &new.live_run
                    && let Some(info) = self.answer_again(config, job, &row, run.renews).await?
                {
                    return Ok(Opened { token, info });
                }
                return Err(Refusal::Unauthorized("the identity token was used before".into()));
            }
            Stored::RunLives(other) => {
                let message = format!("the job has the session {other}, which is not over");
                self.note_attempt(other, row.key_thumbprint).await;
                return Err(Refusal::Forbidden(message));
            }
        }
        let id = row.id;
        let record = match self.records.create(id, first, first_resource(&row)).await {
            Ok(record) => record,
            Err(error) => {
                // No record, no session: nobody was told of it, and nothing is left of it.
                self.records.forget(id);
                self.store.forget_session(id).await?;
                return Err(error.into());
            }
        };
        tracing::info!(session = %id, rule = row.trust_rule, %until, "opened a session");
        let session = self.insert(Session::new(row, record, StateRow::default()));
        // Who looked through the sessions when another configuration came did not see this one.
        if !Arc::ptr_eq(config, &self.config()) {
            self.end_if_not_given(&session.row).await?;
        }
        Ok(Opened { token, info })
    }

    /// A token that was used, shown again with the key of the session that it gave: the answer was lost. The session
    /// gets the new access token; nobody else has the key.
    async fn answer_again(
        &self,
        config: &Config,
        job: &str,
        asked: &SessionRow,
        renews: bool,
    ) -> Result<Option<SessionInfo>, Refusal> {
        let Some(id) = self.store.session_of_job(job).await? else { return Ok(None) };
        let Some(Found::Open(session)) = self.by_id(id).await? else { return Ok(None) };
        if session.row.key_thumbprint != asked.key_thumbprint {
            self.note_attempt(id, asked.key_thumbprint.clone()).await;
            return Ok(None);
        }
        if !self.store.replace_token(id, asked.token_hash).await? {
            return Ok(None);
        }
        tracing::info!(session = %id, "answered an exchange again");
        self.info(config, &session.row, renews).await.map(Some)
    }

    /// Tells the record of a job's live session that somebody else asked for one.
    async fn note_attempt(&self, id: SessionId, key_thumbprint: String) {
        let noted = async {
            let Some(Found::Open(session)) = self.by_id(id).await? else { return Ok(()) };
            if session.attempts.fetch_add(1, Ordering::Relaxed) < MAX_ATTEMPTS {
                session.record.append_own(Event::AttemptRefused { key_thumbprint }).await?;
            }
            Ok::<_, Refusal>(())
        };
        if let Err(error) = noted.await {
            let error = error.reason();
            tracing::warn!(session = %id, error, "a refused attempt is not in the record");
        }
    }

    async fn info(
        &self,
        config: &Config,
        row: &SessionRow,
        renews: bool,
    ) -> Result<SessionInfo, Refusal> {
        let here = self.gateways_here().await?;
        let grants = row.grants.iter().filter_map(|(grant, policy)| {
            let resource = config.resources.get(&grant.resource)?;
            let spec = &resource.spec;
            Some(GrantInfo {
                grant: grant.clone(),
                database: spec.database.clone(),
                kind: spec.kind,
                enforce_at: spec.enforce_at,
                mode: mode(policy),
                gateway: match spec.enforce_at {
                    EnforceAt::Gateway => choose(config, &here, row.id, &resource.gateway),
                    EnforceAt::Shim => None,
                },
                origin: spec.origin().map(str::to_owned),
                aws: spec.aws().cloned(),
            })
        });
        let policies: Vec<_> = row.grants.iter().filter_map(|(_, policy)| parsed(policy)).collect();
        let detect: Detectors = policies.iter().flat_map(|policy| policy.detect().iter()).collect();
        Ok(SessionInfo {
            id: row.id,
            identity: row.identity.clone(),
            trust_rule: row.trust_rule.clone(),
            until: row.until,
            heartbeat_secs: config.sessions.heartbeat.as_secs(),
            renew_secs: renews.then_some(config.sessions.renew.as_secs()),
            grants: grants.collect(),
            isolation: config.trust.isolation(&row.trust_rule),
            egress: policies.iter().any(|policy| policy.has_egress()),
            detect: detect.iter().collect(),
        })
    }
}

fn first_event(config: &Config, row: &SessionRow, trust_broad: Option<String>) -> Event {
    let grants = row.grants.iter().filter_map(|(grant, policy)| {
        let spec = &config.resources.get(&grant.resource)?.spec;
        Some(GrantRecord {
            grant: grant.clone(),
            kind: spec.kind,
            enforce_at: spec.enforce_at,
            policy_digest: policy.digest,
            mode: mode(policy),
        })
    });
    Event::SessionOpened {
        session: row.id,
        identity: Box::new(row.identity.clone()),
        trust_rule: row.trust_rule.clone(),
        trust_digest: config.trust.digest(),
        trust_broad,
        grants: grants.collect(),
        key_thumbprint: row.key_thumbprint.clone(),
        until: row.until,
        broker_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The resource of refusals of which the record does not tell where they were.
pub(super) fn first_resource(row: &SessionRow) -> Option<ResourceName> {
    // Not the first as it was granted: every broker has to take the same.
    row.grants.iter().map(|(grant, _)| &grant.resource).min().cloned()
}

/// Names a job: whatever is in the texts, two jobs have two names.
fn job(run: &RunKey) -> String {
    let parts = [&run.issuer, &run.repository_id, &run.run_id, &run.attempt, &run.job];
    let lengths: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    Digest::of(lengths.join(" ")).to_string()
}

/// Whether a policy refuses. One that cannot be read is none that observes.
fn mode(source: &PolicySource) -> Mode {
    parsed(source).map_or(Mode::Enforce, |policy| policy.mode())
}

fn random() -> Result<Zeroizing<[u8; 32]>, Refusal> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng
        .try_fill_bytes(bytes.as_mut())
        .map_err(|error| Refusal::Internal(format!("no randomness: {error}")))?;
    Ok(bytes)
}
