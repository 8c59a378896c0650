//! The seal: the broker's signature over a record as far as it goes. The last line is one; in a long record there are
//! others between the entries, each of which covers all before it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Digest, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{ChainWriter, KeyId, PublicKey, SealingKey};

/// What stands before the seal's JSON in the signed bytes, so that a signature over a seal can never
/// be taken for one over anything else, nor the other way round.
const DOMAIN: &[u8] = b"guard-record-seal-v1\n";

/// The format that this code writes.
pub const FORMAT: &str = "guard-record/2";
/// The format before it, which has one seal, at the end; it is read still.
const FORMAT_1: &str = "guard-record/1";

/// What is signed: how many lines there are, and the hash of the last, which holds all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// [`FORMAT`], or the one before.
    pub format: String,
    /// The session.
    pub session: SessionId,
    /// The segment that it closes, counted from 0. `guard-record/1` has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub segment: Option<u64>,
    /// How many entries there are before the seal.
    pub entries: u64,
    /// The hash of the last entry's line.
    pub head: Digest,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// The key that signed.
    pub key_id: KeyId,
}

/// A seal's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealLine {
    pub(crate) seal: Seal,
    pub(crate) signature: String,
}

/// The signature over a seal does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadSignature;

impl Seal {
    /// Seals what `chain` has written and gives the seal's line, with its line feed.
    pub fn line(
        session: SessionId,
        chain: &ChainWriter,
        sealed_at: Timestamp,
        key: &SealingKey,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let seal = Self {
            format: FORMAT.to_owned(),
            session,
            segment: Some(chain.segment().number),
            entries: chain.entries(),
            head: chain.head(),
            sealed_at,
            key_id: key.public().id(),
        };
        let signature = STANDARD.encode(key.sign(&seal.signed_bytes()?));
        let mut line = serde_json::to_vec(&SealLine { seal, signature })?;
        line.push(b'\n');
        Ok(line)
    }

    /// What a line says, without its line feed, if it is a seal; by whomever.
    pub fn parse(line: &[u8]) -> Option<Self> {
        SealLine::parse(line).map(|line| line.seal)
    }

    /// The domain, then the seal's JSON exactly as it stands in the line.
    fn signed_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = DOMAIN.to_vec();
        serde_json::to_writer(&mut bytes, self)?;
        Ok(bytes)
    }
}

impl SealLine {
    /// Reads a line, without its line feed. `None` if it is not, byte for byte, what the broker
    /// writes: the last seal is a line that no hash covers, so nothing in it may vary.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let parsed: Self = serde_json::from_slice(line).ok()?;
        let canonical = serde_json::to_vec(&parsed).ok()?;
        let fits = match parsed.seal.format.as_str() {
            FORMAT => parsed.seal.segment.is_some(),
            FORMAT_1 => parsed.seal.segment.is_none(),
            _ => false,
        };
        (canonical == line && fits).then_some(parsed)
    }

    /// Checks the signature with a key.
    pub(crate) fn check(&self, key: &PublicKey) -> Result<(), BadSignature> {
        let signature = STANDARD.decode(&self.signature).map_err(|_| BadSignature)?;
        let message = self.seal.signed_bytes().map_err(|_| BadSignature)?;
        if key.verifies(&message, &signature) { Ok(()) } else { Err(BadSignature) }
    }
}
