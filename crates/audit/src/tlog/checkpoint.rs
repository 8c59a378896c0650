//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): the root of the log at one size, signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Digest;

use super::note::{Note, NoteError, is_name};
use crate::{PublicKey, SealingKey};

/// The tree at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also the name of its key.
    pub origin: String,
    /// How many leaves there are.
    pub size: u64,
    /// The root.
    pub root: Digest,
}

/// A checkpoint with its signatures, which vouch for nothing until they are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: Note,
    claimed: Checkpoint,
}

/// What is wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text.
    #[error("it is no checkpoint: {0}")]
    Malformed(&'static str),
}

impl Checkpoint {
    /// Signs it.
    pub fn sign(self, key: &SealingKey) -> SignedCheckpoint {
        let note = Note::sign(self.text(), &self.origin, key);
        SignedCheckpoint { note, claimed: self }
    }

    fn text(&self) -> String {
        let root = STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        let origin = origin.filter(|name| is_name(name)).ok_or(malformed("no log is named"))?;
        let size = size.and_then(number).ok_or(malformed("its size is no number"))?;
        let root = root.and_then(hash).ok_or(malformed("its root is no SHA-256 in base64"))?;
        let checkpoint = Self { origin: origin.to_owned(), size, root };
        // Extension lines are allowed and not understood here: guard's own log has none.
        if lines.next().is_some() || checkpoint.text() != text {
            return Err(malformed("something follows its root"));
        }
        Ok(checkpoint)
    }
}

impl SignedCheckpoint {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let note = Note::parse(text)?;
        let claimed = Checkpoint::parse(note.unverified_text())?;
        Ok(Self { note, claimed })
    }

    /// What it says, by whomever it is signed.
    pub const fn unverified(&self) -> &Checkpoint {
        &self.claimed
    }

    /// What it says, if one of these keys signed it; and which one.
    pub fn verify<'a>(
        &self,
        keys: &'a [PublicKey],
    ) -> Result<(&Checkpoint, &'a PublicKey), NoteError> {
        let (_, key) = self.note.verify(&self.claimed.origin, keys)?;
        Ok((&self.claimed, key))
    }
}

/// The form in which it is kept and sent.
impl std::fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.note.fmt(f)
    }
}

/// A decimal number without zeros before it.
pub(super) fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A SHA-256 in base64.
pub(super) fn hash(text: &str) -> Option<Digest> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

/// Reads whatever is given as a checkpoint. Must not panic, and what it reads it writes the same again.
#[allow(clippy::panic, reason = "a fuzz target's finding")]
pub fn fuzz_checkpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(checkpoint) = SignedCheckpoint::parse(text) else { return };
    assert_eq!(checkpoint.to_string(), text, "a checkpoint has one form");
    let _ = checkpoint.verify(&[PublicKey::from_bytes([7; 32])]);
}
