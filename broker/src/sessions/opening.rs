//! How a session begins: an admitted run, a key, a token; stored, recorded, then answered.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, RwLock},
    time::Instant,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use guard_audit::{Event, GrantRecord, SealingKey};
use guard_core::{
    Digest, EnforceAt, Mode, Secret, SessionId,
    control::{GrantInfo, PolicySource, SessionInfo},
};
use guard_policy::{Admission, Policy};
use rand::TryRngCore as _;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{Live, Session, Sessions, mask_keys};
use crate::{
    claims::VerifiedRun,
    config::Config,
    error::{Refusal, chain},
    record::{Records, ResumeError, Resumed},
    store::{NewSession, SessionRow, Store, StoreError, Stored},
};

/// A session that was just opened: the only moment at which its token is known here.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The token.
    pub(crate) token: Secret,
    /// What the shim is told.
    pub(crate) info: SessionInfo,
}

impl Sessions {
    /// Takes up the sessions of the broker that ran before; those that it was ending are ended.
    pub(crate) async fn start(
        config: Arc<Config>,
        store: Store,
        records: Records,
        key: SealingKey,
    ) -> Result<Arc<Self>, StoreError> {
        let rows = store.unsealed_sessions().await?;
        let gateways = store.gateways().await?;
        let gateways = gateways.into_iter().filter(|info| config.gateways.contains_key(&info.name));
        let gateways: BTreeMap<_, _> =
            gateways.map(|info| (info.name.clone(), (info, Instant::now()))).collect();
        let sessions = Arc::new(Self {
            config,
            store,
            records,
            key,
            live: RwLock::new(Live::default()),
            gateways: RwLock::new(gateways),
            tasks: TaskTracker::new(),
        });
        for row in rows {
            sessions.resume(row).await?;
        }
        Ok(sessions)
    }

    async fn resume(self: &Arc<Self>, row: SessionRow) -> Result<(), StoreError> {
        let id = row.id;
        match self.records.resume(id, row.reached) {
            Ok(Resumed::Open(record)) => {
                let ended = row.ended.as_ref().map(|(_, exit_code)| (row.end_reason(), *exit_code));
                let session = Session::new(row, record);
                self.insert(&session);
                match ended {
                    Some((reason, exit_code)) => self.end(&session, reason, exit_code),
                    None => tracing::info!(session = %id, "go on with a session"),
                }
            }
            Ok(Resumed::Sealed { entries, head }) => {
                self.store.reached(id, entries, head, true).await?;
            }
            Err(ResumeError::File(error))
                if error.kind() == io::ErrorKind::NotFound && row.reached.is_none() =>
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

    /// Opens a session for an admitted run, bound to the key of a thumbprint.
    pub(crate) async fn open(
        &self,
        run: VerifiedRun,
        admission: Admission,
        key_thumbprint: String,
    ) -> Result<Opened, Refusal> {
        let mut grants = Vec::new();
        for grant in admission.grants {
            let policy = self.config.policies.get(&grant.policy).cloned();
            match (policy, self.config.resources.get(&grant.resource)) {
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
            ended: None,
            reached: None,
            authorizations: Vec::new(),
            leases: Vec::new(),
        };
        let new = NewSession { session: &row, jti: &run.jti, forget_after: run.forget_after };
        match self.store.open_session(&new).await? {
            Stored::Done => {}
            Stored::TokenUsed => {
                return Err(Refusal::Unauthorized("the identity token was used before".into()));
            }
        }
        let info = self.info(&row);
        let first = self.first_event(&row);
        let (records, id) = (self.records.clone(), row.id);
        let created = tokio::task::spawn_blocking(move || records.create(id, &first)).await;
        let record = match created.map_err(|error| Refusal::Internal(error.to_string()))? {
            Ok(record) => record,
            Err(error) => {
                // No record, no session: nobody was told of it, and nothing is left of it.
                let _ = std::fs::remove_file(self.records.path(id));
                self.store.forget_session(id).await?;
                return Err(error.into());
            }
        };
        tracing::info!(session = %id, rule = row.trust_rule, %until, "opened a session");
        self.insert(&Session::new(row, record));
        Ok(Opened { token, info })
    }

    fn info(&self, row: &SessionRow) -> SessionInfo {
        let gateway = self.gateway();
        let grants = row.grants.iter().filter_map(|(grant, policy)| {
            let spec = &self.config.resources.get(&grant.resource)?.spec;
            Some(GrantInfo {
                grant: grant.clone(),
                database: spec.database.clone(),
                kind: spec.kind,
                enforce_at: spec.enforce_at,
                mode: mode(policy),
                gateway: match spec.enforce_at {
                    EnforceAt::Gateway => gateway.clone(),
                    EnforceAt::Shim => None,
                },
            })
        });
        SessionInfo {
            id: row.id,
            identity: row.identity.clone(),
            trust_rule: row.trust_rule.clone(),
            until: row.until,
            heartbeat_secs: self.config.sessions.heartbeat.as_secs(),
            grants: grants.collect(),
        }
    }

    fn first_event(&self, row: &SessionRow) -> Event {
        let grants = row.grants.iter().filter_map(|(grant, policy)| {
            let spec = &self.config.resources.get(&grant.resource)?.spec;
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
            trust_digest: self.config.trust.digest(),
            grants: grants.collect(),
            key_thumbprint: row.key_thumbprint.clone(),
            until: row.until,
            broker_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Whether a policy refuses. One that cannot be read is none that observes.
fn mode(source: &PolicySource) -> Mode {
    Policy::parse(source.name.as_str(), &source.yaml).map_or(Mode::Enforce, |policy| policy.mode())
}

fn random() -> Result<Zeroizing<[u8; 32]>, Refusal> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng
        .try_fill_bytes(bytes.as_mut())
        .map_err(|error| Refusal::Internal(format!("no randomness: {error}")))?;
    Ok(bytes)
}
