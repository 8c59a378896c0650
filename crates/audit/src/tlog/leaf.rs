//! The leaves of the log: one JSON object each, in one form only.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Digest, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use super::tree::leaf_hash;
use crate::{KeyId, PublicKey, SealingKey};

/// What stands before a key's leaf in the signed bytes, so that a signature over one can never be taken for one over
/// anything else.
const DOMAIN: &[u8] = b"guard-log-key-v1\n";
/// The longest leaf that is read, in bytes.
pub(super) const MAX_LEAF: usize = 4096;

/// A leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Leaf {
    /// From here on records and checkpoints are signed by this key. The first leaf of each log is its first key.
    Key {
        /// The log's name.
        log: String,
        /// The public key, base64 of its 32 bytes.
        key: String,
        /// The key that it replaces, which signs this leaf; the first signs for itself.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        replaces: Option<KeyId>,
        /// When.
        at: Timestamp,
        /// Ed25519 over `guard-log-key-v1`, a line feed, and this object without its signature.
        signature: String,
    },
    /// A session's record was sealed.
    Seal {
        /// The session.
        session: SessionId,
        /// When.
        sealed_at: Timestamp,
        /// SHA-256 of the record's last line, without its line feed.
        seal: Digest,
    },
    /// A session's record was deleted. That it was there stays.
    Deleted {
        /// The session.
        session: SessionId,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

impl Leaf {
    /// The leaf of a key, signed by the one that it replaces or by itself.
    pub fn key(
        log: &str,
        key: &PublicKey,
        replaced: Option<&SealingKey>,
        own: &SealingKey,
        at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let signer = replaced.unwrap_or(own);
        let replaces = replaced.map(|key| key.public().id());
        let (log, key) = (log.to_owned(), key.to_string());
        let mut leaf = Self::Key { log, key, replaces, at, signature: String::new() };
        let signed = STANDARD.encode(signer.sign(&leaf.signed_bytes()?));
        if let Self::Key { signature, .. } = &mut leaf {
            *signature = signed;
        }
        Ok(leaf)
    }

    /// The leaf of a sealed record.
    pub fn seal(session: SessionId, sealed_at: Timestamp, seal: Digest) -> Self {
        Self::Seal { session, sealed_at, seal }
    }

    /// Its one form.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The hash by which it stands in the tree.
    pub fn hash(&self) -> Result<Digest, serde_json::Error> {
        Ok(leaf_hash(self.line()?.as_bytes()))
    }

    /// Reads its one form.
    pub fn parse(line: &str) -> Option<Self> {
        if line.len() > MAX_LEAF {
            return None;
        }
        let leaf: Self = serde_json::from_str(line).ok()?;
        (leaf.line().ok()? == line).then_some(leaf)
    }

    /// The key that a leaf brings, if it is signed by the one that it says it replaces, which is `before`; or by itself
    /// where nothing is before.
    pub(super) fn new_key(&self, origin: &str, before: Option<&PublicKey>) -> Option<PublicKey> {
        let Self::Key { log, key, replaces, signature, .. } = self else { return None };
        let new: PublicKey = key.parse().ok().filter(|new: &PublicKey| new.to_string() == *key)?;
        let signer = before.copied().unwrap_or(new);
        let signature = STANDARD.decode(signature).ok()?;
        let fits = log == origin && *replaces == before.map(PublicKey::id);
        (fits && signer.verifies(&self.signed_bytes().ok()?, &signature)).then_some(new)
    }

    /// Of a key: the domain, then the object without its signature.
    fn signed_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct Unsigned<'a> {
            log: &'a str,
            key: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            replaces: &'a Option<KeyId>,
            at: &'a Timestamp,
        }
        let mut bytes = DOMAIN.to_vec();
        if let Self::Key { log, key, replaces, at, .. } = self {
            serde_json::to_writer(&mut bytes, &Unsigned { log, key, replaces, at })?;
        }
        Ok(bytes)
    }
}

/// Reads whatever is given as a leaf. Must not panic.
pub fn fuzz_leaf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(leaf) = Leaf::parse(text) {
        let _ = leaf.new_key("example.com/log", Some(&PublicKey::from_bytes([7; 32])));
    }
}
