//! The proof that a record's seal is in the log (<https://c2sp.org/tlog-proof>), as a file beside the record.
//!
//! Its `extra` holds the leaves of all sealing keys, each with its own proof of inclusion in the same checkpoint, so that who
//! knows one key can follow to the others. It is base64 of JSON in one form.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    checkpoint::{CheckpointError, SignedCheckpoint, hash, number},
    leaf::Leaf,
    tree::MAX_HASHES,
};

/// The specification's first line.
const FIRST: &str = "c2sp.org/tlog-proof@v1";
/// The longest proof file that is read, in bytes: 500 keys, each with 65 hashes, and a checkpoint.
pub const MAX_PROOF: usize = 4 << 20;
/// A key a day for a year and more.
const MAX_KEYS: usize = 500;

/// The proof of one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The log's keys, the first of them first.
    pub keys: Vec<KeyLeaf>,
    /// The place of the record's leaf.
    pub index: u64,
    /// The hashes from the leaf's sibling up.
    pub hashes: Vec<Digest>,
    /// The tree.
    pub checkpoint: SignedCheckpoint,
}

/// The leaf of a key, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLeaf {
    /// Its place.
    pub index: u64,
    /// The leaf.
    pub leaf: Leaf,
    /// The hashes from the leaf's sibling up.
    #[serde(serialize_with = "hashes_out", deserialize_with = "hashes_in")]
    pub proof: Vec<Digest>,
}

/// What `extra` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    keys: Vec<KeyLeaf>,
}

/// What is wrong with a proof file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Its form.
    #[error("line {line}: {why}")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The checkpoint in it.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
}

impl Proof {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let wrong = |line, why| ProofError::Malformed { line, why };
        if text.len() > MAX_PROOF {
            return Err(wrong(1, "it is longer than any proof"));
        }
        let (above, checkpoint) =
            text.split_once("\n\n").ok_or(wrong(1, "no blank line stands before a checkpoint"))?;
        let mut lines = above.split('\n').zip(1_usize..);
        if lines.next().map(|(text, _)| text) != Some(FIRST) {
            return Err(wrong(1, "it does not begin with `c2sp.org/tlog-proof@v1`"));
        }
        let mut keys = Vec::new();
        let mut next = lines.next();
        if let Some((text, at)) = next
            && let Some(extra) = text.strip_prefix("extra ")
        {
            let extra = extra_in(extra);
            keys = extra.ok_or(wrong(at, "its `extra` does not hold the leaves of keys"))?;
            next = lines.next();
        }
        let index = next.and_then(|(text, _)| number(text.strip_prefix("index ")?));
        let index = index.ok_or(wrong(2, "no `index` stands where it belongs"))?;
        let mut hashes = Vec::new();
        for (text, at) in lines {
            if hashes.len() >= MAX_HASHES {
                return Err(wrong(at, "there are more hashes than any proof has"));
            }
            hashes.push(hash(text).ok_or(wrong(at, "it is no SHA-256 in base64"))?);
        }
        let checkpoint = SignedCheckpoint::parse(checkpoint)?;
        Ok(Self { keys, index, hashes, checkpoint })
    }
}

/// The form in which it is kept and sent.
impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("{FIRST}\n");
        if !self.keys.is_empty() {
            let extra = serde_json::to_vec(&Extra { keys: self.keys.clone() });
            let extra = STANDARD.encode(extra.map_err(|_| std::fmt::Error)?);
            writeln!(text, "extra {extra}")?;
        }
        writeln!(text, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(text, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "{text}\n{}", self.checkpoint)
    }
}

/// The one form that `extra` has.
fn extra_in(text: &str) -> Option<Vec<KeyLeaf>> {
    let json = STANDARD.decode(text).ok()?;
    let extra: Extra = serde_json::from_slice(&json).ok()?;
    let same = serde_json::to_vec(&extra).ok()? == json;
    (same && !extra.keys.is_empty() && extra.keys.len() <= MAX_KEYS).then_some(extra.keys)
}

fn hashes_out<S: Serializer>(hashes: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hashes.iter().map(|hash| STANDARD.encode(hash.as_bytes())))
}

fn hashes_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > MAX_HASHES {
        return Err(serde::de::Error::custom("more hashes than any proof has"));
    }
    let hashes = texts.iter().map(|text| hash(text));
    hashes.collect::<Option<_>>().ok_or_else(|| serde::de::Error::custom("no SHA-256 in base64"))
}

/// Reads whatever is given as a proof. Must not panic, and what it reads it writes the same again.
#[allow(clippy::panic, reason = "a fuzz target's finding")]
pub fn fuzz_proof(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(proof) = Proof::parse(text) else { return };
    assert_eq!(proof.to_string(), text, "a proof has one form");
    let _ = super::follow_keys(&proof, &[crate::PublicKey::from_bytes([7; 32])]);
}
