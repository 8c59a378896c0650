//! The transparency log: every seal becomes a leaf, once and in order, and its root is signed.
//!
//! The store has it, so that all brokers add to one tree. A seal is in the store first, with its leaf; then the leaf gets its place.
//! Between the two a broker may die: whichever looks next adds it.

mod keys;

use std::time::Duration;

use guard_audit::{
    KeyError, PublicKey,
    tlog::{
        self, Checkpoint, CheckpointError, Consistency, KeyLeaf, Leaf, Proof, SignedCheckpoint,
        Span,
    },
};
use guard_core::{Digest, SessionId, Timestamp};

pub(crate) use keys::Keyring;

use crate::store::{LeafRow, Store, StoreError, Tombstone};

/// Leaves that are added at once.
const TOGETHER: usize = 64;
/// Somebody adds leaves each time that an attempt fails, so this many failures are a mistake.
const ATTEMPTS: usize = 100;
/// Between two signed roots: runs that end in the same moment share one, and none waits for longer than it notices.
const GAP: Duration = Duration::from_millis(20);
/// How long who needs a newer root waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Leaves of one answer at most.
const MAX_LEAVES: u32 = 1000;
/// What stands behind the broker's host in the log's name: where its checkpoints are.
const PATH: &str = "/v1/log";

/// What the log cannot do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds is not what was signed.
    #[error(
        "the store's log is not the one whose {size} leaves were signed: it was changed or brought back from an older copy. Nothing is signed until it is put right"
    )]
    Changed {
        /// The size.
        size: u64,
    },
    /// A kept checkpoint is none.
    #[error("a checkpoint of the store cannot be read")]
    Checkpoint(#[from] CheckpointError),
    /// A key's file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A leaf has no JSON form.
    #[error("a leaf cannot be written")]
    Json(#[from] serde_json::Error),
    /// Another key is in use.
    #[error(
        "the sealing key {own} is not the one in use, which is {used}: give this broker the new key's file"
    )]
    OldKey {
        /// This broker's.
        own: String,
        /// The log's.
        used: String,
    },
    /// The key is not the log's.
    #[error(
        "the sealing key {own} is none of the log's: a key is replaced by `guard-broker key rotate`, which needs the one in use, {used}"
    )]
    ForeignKey {
        /// This broker's.
        own: String,
        /// The log's.
        used: String,
    },
    /// It does not happen in time.
    #[error("no checkpoint covers it yet: ask again in a moment")]
    NotYet,
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// The log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    store: Store,
    keys: Keyring,
    origin: String,
}

/// What a session's seal is proven by.
#[derive(Debug)]
pub(crate) enum Proven {
    /// It is in the log.
    Yes(Box<Proof>),
    /// It is not sealed, or was before there was a log; or there is no such session.
    No,
}

impl Log {
    /// Goes on with the log, or starts it with its first key. A key that is not in use is refused.
    pub(crate) async fn start(store: Store, keys: Keyring, url: &str) -> Result<Self, LogError> {
        let (origin, _) = store.log(&origin(url)).await?;
        let log = Self { store, keys, origin };
        for _ in 0..ATTEMPTS {
            let own = log.keys.current();
            let known = log.store.log_keys().await?;
            let Some(used) = known.last().and_then(|(_, leaf)| public(leaf)) else {
                let first = Leaf::key(&log.origin, &own.public(), None, &own, Timestamp::now())?;
                log.store.log_add(0, &[first]).await?;
                continue;
            };
            if log.keys.follow(&used)? {
                return Ok(log);
            }
            let own = own.public();
            let (own_id, used) = (own.id().to_string(), used.id().to_string());
            return Err(if known.iter().any(|(_, leaf)| public(leaf) == Some(own)) {
                LogError::OldKey { own: own_id, used }
            } else {
                LogError::ForeignKey { own: own_id, used }
            });
        }
        Err(LogError::NotYet)
    }

    /// Takes up the key that is in use, should it have been replaced.
    pub(crate) async fn follow_key(&self) -> Result<(), LogError> {
        let known = self.store.log_keys().await?;
        let Some(used) = known.last().and_then(|(_, leaf)| public(leaf)) else { return Ok(()) };
        let own = self.keys.current().public();
        if own == used {
            return Ok(());
        }
        let (own, id) = (own.id().to_string(), used.id().to_string());
        if self.keys.follow(&used)? {
            tracing::info!(key = id, replaced = own, "a new sealing key is in use");
            Ok(())
        } else {
            Err(LogError::OldKey { own, used: id })
        }
    }

    /// Replaces the key in use by a new one, which the old one signs. Gives both.
    pub(crate) async fn rotate(&self) -> Result<(PublicKey, PublicKey), LogError> {
        self.follow_key().await?;
        let (old, new) = (self.keys.current(), self.keys.next()?);
        let leaf = Leaf::key(&self.origin, &new.public(), Some(&old), &new, Timestamp::now())?;
        self.add(&leaf).await?;
        self.follow_key().await?;
        Ok((old.public(), new.public()))
    }

    /// The keys, the one in use first and those that it replaced behind it.
    pub(crate) async fn keys(&self) -> Result<Vec<PublicKey>, LogError> {
        let leaves = self.store.log_keys().await?;
        Ok(leaves.iter().rev().filter_map(|(_, leaf)| public(leaf)).collect())
    }

    /// Gives places to the seals that have none. Says how many got one.
    pub(crate) async fn add_pending(&self) -> Result<usize, LogError> {
        let mut added = 0;
        for _ in 0..ATTEMPTS {
            // The size first: what was added since then changes it.
            let size = self.store.log_size().await?;
            let leaves = self.store.log_pending(TOGETHER).await?;
            if leaves.is_empty() {
                return Ok(added);
            }
            if self.store.log_add(size, &leaves).await? {
                added += leaves.len();
            }
        }
        Ok(added)
    }

    /// Adds one leaf, unless there is one of its kind and name.
    pub(crate) async fn add_once(&self, leaf: &Leaf) -> Result<(), LogError> {
        for _ in 0..ATTEMPTS {
            let size = self.store.log_size().await?;
            if self.store.log_has(leaf).await? {
                return Ok(());
            }
            if self.store.log_add(size, std::slice::from_ref(leaf)).await? {
                return Ok(());
            }
        }
        Err(LogError::NotYet)
    }

    /// Adds one leaf.
    pub(crate) async fn add(&self, leaf: &Leaf) -> Result<(), LogError> {
        for _ in 0..ATTEMPTS {
            let size = self.store.log_size().await?;
            if self.store.log_add(size, std::slice::from_ref(leaf)).await? {
                return Ok(());
            }
        }
        Err(LogError::NotYet)
    }

    /// Signs the root, if leaves were added since the last one was signed and that was a moment ago.
    pub(crate) async fn sign(&self) -> Result<(), LogError> {
        // In this order: another broker may add and sign meanwhile, and the log only grows.
        let last = self.store.checkpoint().await?;
        let size = self.store.log_size().await?;
        if last.as_ref().is_some_and(|(last, _)| *last == size) || size == 0 {
            return Ok(());
        }
        let mut spans = vec![tlog::root_span(size)];
        let last = match last {
            Some((last, note)) => {
                let signed = SignedCheckpoint::parse(&note)?.unverified().clone();
                spans.push(tlog::root_span(last));
                Some(signed)
            }
            None => None,
        };
        let nodes = self.store.log_nodes(spans.iter().flat_map(|span| span.nodes())).await?;
        // What was signed before must be what is there, or two trees of one size would be signed.
        if let Some(Checkpoint { size: signed, root, .. }) = last
            && (signed > size || tlog::root_span(signed).hash(&nodes) != Some(root))
        {
            return Err(LogError::Changed { size: signed });
        }
        let root = tlog::root_span(size).hash(&nodes).ok_or(LogError::Changed { size })?;
        let key = self.keys.current();
        let known = self.store.log_keys().await?;
        let used = known.iter().rfind(|(index, _)| *index < size);
        let used = used.and_then(|(_, leaf)| public(leaf)).ok_or(LogError::Changed { size })?;
        if used != key.public() {
            let (own, used) = (key.public().id().to_string(), used.id().to_string());
            return Err(LogError::OldKey { own, used });
        }
        let signed = Checkpoint { origin: self.origin.clone(), size, root }.sign(&key);
        self.store.keep_checkpoint(size, &signed.to_string(), GAP).await?;
        Ok(())
    }

    /// The newest signed root. The log of a broker that runs always has one.
    pub(crate) async fn checkpoint(&self) -> Result<SignedCheckpoint, LogError> {
        self.checkpoint_over(0).await
    }

    /// A signed root over the leaf of a place.
    async fn checkpoint_over(&self, index: u64) -> Result<SignedCheckpoint, LogError> {
        let waiting = async {
            loop {
                if let Some((size, note)) = self.store.checkpoint().await?
                    && size > index
                {
                    return Ok(SignedCheckpoint::parse(&note)?);
                }
                self.sign().await?;
                if self.store.checkpoint().await?.is_none_or(|(size, _)| size <= index) {
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or(Err(LogError::NotYet))
    }

    /// The proof that the newest key is in the log, with the newest checkpoint.
    pub(crate) async fn key_proof(&self) -> Result<Proof, LogError> {
        self.sign().await?;
        let checkpoint = self.checkpoint().await?;
        let size = checkpoint.unverified().size;
        let keys = self.store.log_keys().await?;
        let newest = keys.iter().rfind(|(index, _)| *index < size);
        let index = newest.map(|(index, _)| *index).ok_or(LogError::Changed { size })?;
        self.prove(index, checkpoint).await
    }

    /// The proof that a session's seal is in the log.
    pub(crate) async fn proof(&self, session: SessionId) -> Result<Proven, LogError> {
        let index = match self.store.log_index(session).await? {
            Some(index) => index,
            None => {
                self.add_pending().await?;
                match self.store.log_index(session).await? {
                    Some(index) => index,
                    None => return Ok(Proven::No),
                }
            }
        };
        let checkpoint = self.checkpoint_over(index).await?;
        Ok(Proven::Yes(Box::new(self.prove(index, checkpoint).await?)))
    }

    /// The proof of a leaf under a checkpoint that covers it.
    async fn prove(&self, index: u64, checkpoint: SignedCheckpoint) -> Result<Proof, LogError> {
        let size = checkpoint.unverified().size;
        let keys = self.store.log_keys().await?;
        let keys: Vec<_> = keys.into_iter().filter(|(index, _)| *index < size).collect();
        let spans = |index| tlog::inclusion_spans(index, size).unwrap_or_default();
        let own = spans(index);
        let all: Vec<Vec<Span>> = keys.iter().map(|(index, _)| spans(*index)).collect();
        let needed = own.iter().chain(all.iter().flatten()).flat_map(|span| span.nodes());
        let nodes = self.store.log_nodes(needed).await?;
        let hashes = |spans: &[Span]| -> Result<Vec<Digest>, LogError> {
            let hashes = spans.iter().map(|span| span.hash(&nodes));
            hashes.collect::<Option<_>>().ok_or(LogError::Changed { size })
        };
        let keys = keys.into_iter().zip(&all).map(|((index, leaf), spans)| {
            Ok::<_, LogError>(KeyLeaf { index, leaf, proof: hashes(spans)? })
        });
        let keys = keys.collect::<Result<_, _>>()?;
        Ok(Proof { keys, index, hashes: hashes(&own)?, checkpoint })
    }

    /// The proof that the tree of one size holds all of a smaller one.
    pub(crate) async fn consistency(&self, from: u64, to: u64) -> Result<Consistency, LogError> {
        let size = self.store.log_size().await?;
        let spans = tlog::consistency_spans(from, to).filter(|_| to <= size).ok_or_else(|| {
            LogError::Invalid(format!(
                "`from` is at least 1 and at most `to`, which is at most {size}"
            ))
        })?;
        let nodes = self.store.log_nodes(spans.iter().flat_map(|span| span.nodes())).await?;
        let hashes = spans.iter().map(|span| span.hash(&nodes));
        let hashes = hashes.collect::<Option<_>>().ok_or(LogError::Changed { size: to })?;
        Ok(Consistency { from, to, hashes })
    }

    /// What is left of a record, if it is deleted.
    pub(crate) async fn tombstone(
        &self,
        session: SessionId,
    ) -> Result<Option<Tombstone>, LogError> {
        Ok(self.store.tombstone(session).await?)
    }

    /// Leaves from a place on, as many as one answer has.
    pub(crate) async fn leaves(&self, from: u64) -> Result<Vec<LeafRow>, LogError> {
        if i64::try_from(from).is_err() {
            return Ok(Vec::new());
        }
        Ok(self.store.log_leaves(from, MAX_LEAVES).await?)
    }
}

/// The log's name: where its checkpoints are, without the scheme. It stays what it was when the log began.
fn origin(url: &str) -> String {
    let bare = url.split_once("://").map_or(url, |(_, bare)| bare);
    format!("{bare}{PATH}")
}

/// The key of a leaf.
fn public(leaf: &Leaf) -> Option<PublicKey> {
    match leaf {
        Leaf::Key { key, .. } => key.parse().ok(),
        Leaf::Seal { .. } | Leaf::Deleted { .. } => None,
    }
}
