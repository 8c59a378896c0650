//! Verifying a record with its place in the log, offline, from one public key.

use std::io::BufRead;

use guard_core::SessionId;

use super::{
    checkpoint::{Checkpoint, SignedCheckpoint},
    consistency::Consistency,
    leaf::Leaf,
    note::NoteError,
    proof::Proof,
    tree::verify_inclusion,
};
use crate::{KeyId, PublicKey, Verified, VerifyError, verify};

/// A record in which no byte was changed since it was sealed, and whose seal is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The record.
    pub record: Verified,
    /// Its place in the log.
    pub log: Logged,
}

/// Where in the log a seal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The leaf.
    pub index: u64,
    /// The tree.
    pub checkpoint: Checkpoint,
    /// Who signed the checkpoint.
    pub signed_by: KeyId,
    /// The keys of the log up to then, the first of them first. Empty if the proof does not tell of them.
    pub keys: Vec<KeyId>,
    /// How the tree stands to the checkpoint that was kept, if one was.
    pub kept: Option<Kept>,
}

/// How two checkpoints of one log stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They are of the same tree.
    Same,
    /// The kept one is older, and all of it is in the newer tree.
    Older {
        /// Its size.
        size: u64,
    },
    /// The kept one is newer, and holds all of the proof's tree.
    Newer {
        /// Its size.
        size: u64,
    },
}

/// Keys that were followed from one that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// All keys of the log, the first of them first; the ones that were given where the proof does not tell.
    pub keys: Vec<PublicKey>,
    /// The key that signed the checkpoint.
    pub signed_by: PublicKey,
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The record.
    #[error(transparent)]
    Record(#[from] VerifyError),
    /// Its place in the log.
    #[error("the record is not proven to be in the log: {0}")]
    Log(#[from] LogProblem),
}

/// What is wrong with a proof, or with the log that it is of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProblem {
    /// None of the keys given is one of the log's.
    #[error(
        "none of the keys given is a key of log `{log}`: give the key that was in use, or an earlier one"
    )]
    UnknownKeys {
        /// The log.
        log: String,
    },
    /// The leaf of a key does not follow the one before.
    #[error(
        "the key at leaf {index} is not signed by the key before it: it is not one of the log's"
    )]
    KeyNotSigned {
        /// The leaf.
        index: u64,
    },
    /// The leaf of a key is not in the tree.
    #[error("the key at leaf {index} is not in the tree of the checkpoint")]
    KeyNotIncluded {
        /// The leaf.
        index: u64,
    },
    /// The checkpoint of the proof is not signed as it should be.
    #[error("the checkpoint of the proof: {0}")]
    Checkpoint(NoteError),
    /// The seal is not in the tree.
    #[error(
        "the seal of session {session} is not leaf {index} of the {size} leaves: the proof is of another record, or was changed"
    )]
    NotIncluded {
        /// The session.
        session: SessionId,
        /// The leaf.
        index: u64,
        /// How many leaves there are.
        size: u64,
    },
    /// The kept checkpoint is not signed as it should be.
    #[error("the checkpoint that was kept: {0}")]
    KeptSignature(NoteError),
    /// It is of another log.
    #[error("the checkpoint that was kept is of log `{kept}`, and the proof of `{found}`")]
    AnotherLog {
        /// The log of the kept one.
        kept: String,
        /// That of the proof.
        found: String,
    },
    /// Two signed trees of one size differ.
    #[error(
        "two signed checkpoints of {size} leaves differ: whoever holds the sealing key showed two different logs. Keep both, they prove it"
    )]
    Forked {
        /// The size.
        size: u64,
    },
    /// Nothing was given that shows it.
    #[error(
        "there is no proof that the tree of {to} leaves holds the {from} of the older one: give it by --consistency, or let it be fetched by --broker"
    )]
    ConsistencyMissing {
        /// The older size.
        from: u64,
        /// The newer.
        to: u64,
    },
    /// What was given does not show it.
    #[error(
        "the tree of {to} leaves is not shown to hold the {from} of the older one: leaves were taken out or changed, or the proof is of other sizes"
    )]
    Inconsistent {
        /// The older size.
        from: u64,
        /// The newer.
        to: u64,
    },
}

/// Follows the log's keys from the trusted ones, and checks that the newest of them signed the proof's checkpoint.
///
/// Each key but the first is signed by the one before, all of them are in the tree, and the newest signed the tree. So
/// whoever trusts one of them knows all. Who holds a key that was replaced can still make a log of his own for those who know
/// no newer one: a checkpoint that was kept finds that.
pub fn follow_keys(proof: &Proof, trusted: &[PublicKey]) -> Result<Followed, LogProblem> {
    let checkpoint = proof.checkpoint.unverified();
    let mut keys: Vec<PublicKey> = Vec::new();
    let mut next = 0;
    for key in &proof.keys {
        let index = key.index;
        // The first key is the first leaf, and they are in their order.
        let in_order = if keys.is_empty() { index == 0 } else { index >= next };
        let new = key.leaf.new_key(&checkpoint.origin, keys.last()).filter(|_| in_order);
        keys.push(new.ok_or(LogProblem::KeyNotSigned { index })?);
        next = index + 1;
    }
    if keys.is_empty() {
        let (_, signer) = proof.checkpoint.verify(trusted).map_err(LogProblem::Checkpoint)?;
        return Ok(Followed { keys: trusted.to_vec(), signed_by: *signer });
    }
    if !keys.iter().any(|key| trusted.contains(key)) {
        return Err(LogProblem::UnknownKeys { log: checkpoint.origin.clone() });
    }
    let newest: Vec<_> = keys.last().copied().into_iter().collect();
    let (_, signer) = proof.checkpoint.verify(&newest).map_err(LogProblem::Checkpoint)?;
    let signed_by = *signer;
    for key in &proof.keys {
        let missing = LogProblem::KeyNotIncluded { index: key.index };
        let hash = key.leaf.hash().map_err(|_| missing.clone())?;
        if !verify_inclusion(hash, key.index, checkpoint.size, &key.proof, checkpoint.root) {
            return Err(missing);
        }
    }
    Ok(Followed { keys, signed_by })
}

/// Verifies a record, the place of its seal in the log, and, where a checkpoint was kept, that it is the same log.
pub fn verify_bundle(
    record: impl BufRead,
    proof: &Proof,
    trusted: &[PublicKey],
    kept: Option<(&SignedCheckpoint, Option<&Consistency>)>,
) -> Result<Bundle, BundleError> {
    let followed = follow_keys(proof, trusted)?;
    let record = verify(record, &followed.keys)?;
    let Checkpoint { size, root, .. } = *proof.checkpoint.unverified();
    let missing = LogProblem::NotIncluded { session: record.session, index: proof.index, size };
    let leaf = Leaf::seal(record.session, record.sealed_at, record.seal);
    let hash = leaf.hash().map_err(|_| missing.clone())?;
    if !verify_inclusion(hash, proof.index, size, &proof.hashes, root) {
        return Err(missing.into());
    }
    let mut known = followed.keys.clone();
    known.extend_from_slice(trusted);
    let kept = match kept {
        Some((kept, consistency)) => {
            Some(verify_kept(kept, proof.checkpoint.unverified(), consistency, &known)?)
        }
        None => None,
    };
    let keys = if proof.keys.is_empty() { &[][..] } else { &followed.keys[..] };
    let log = Logged {
        index: proof.index,
        checkpoint: proof.checkpoint.unverified().clone(),
        signed_by: followed.signed_by.id(),
        keys: keys.iter().map(PublicKey::id).collect(),
        kept,
    };
    Ok(Bundle { record, log })
}

/// Checks a kept checkpoint's signature, and that it and another one, which was verified, are of one log.
pub fn verify_kept(
    kept: &SignedCheckpoint,
    found: &Checkpoint,
    consistency: Option<&Consistency>,
    keys: &[PublicKey],
) -> Result<Kept, LogProblem> {
    let (kept, _) = kept.verify(keys).map_err(LogProblem::KeptSignature)?;
    if kept.origin != found.origin {
        let (kept, found) = (kept.origin.clone(), found.origin.clone());
        return Err(LogProblem::AnotherLog { kept, found });
    }
    if kept.size == found.size {
        return if kept.root == found.root {
            Ok(Kept::Same)
        } else {
            Err(LogProblem::Forked { size: kept.size })
        };
    }
    let (older, newer) = if kept.size < found.size { (kept, found) } else { (found, kept) };
    let (from, to) = (older.size, newer.size);
    let consistency = consistency.ok_or(LogProblem::ConsistencyMissing { from, to })?;
    if !consistency.proves(older, newer) {
        return Err(LogProblem::Inconsistent { from, to });
    }
    let size = kept.size;
    Ok(if size < found.size { Kept::Older { size } } else { Kept::Newer { size } })
}
