//! Signed notes (<https://c2sp.org/signed-note>): a text, a blank line, and signatures by name. Ed25519 only.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Digest;

use crate::{PublicKey, SealingKey};

/// The longest note that is read, in bytes: 16 signatures of a few kilobytes are what a reader must take.
pub const MAX_NOTE: usize = 128 * 1024;
/// More signatures than this are not looked at.
const MAX_SIGNATURES: usize = 64;
/// What a signature's line begins with: an em dash and a blank.
const DASH: &str = "\u{2014} ";
/// The specification's number of Ed25519 signatures.
const ED25519: u8 = 0x01;

/// A text with signatures, which vouch for nothing until they are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    key_id: [u8; 4],
    signature: Vec<u8>,
}

/// What is wrong with a note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has not the form of one.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// Nobody who is known signed it.
    #[error("it is signed by none of the keys given")]
    UnknownKeys,
    /// A known key's signature does not hold.
    #[error("the signature by `{0}` does not hold: the text was changed, or somebody else signed")]
    Signature(String),
}

/// The number by which a key is found in a note, which vouches for nothing.
pub fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(&[b'\n', ED25519]);
    bytes.extend_from_slice(key.as_bytes());
    let [a, b, c, d, ..] = *Digest::of(bytes).as_bytes();
    [a, b, c, d]
}

/// A public key as other tools for notes take it: `name+hash+key`.
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    let hash = u32::from_be_bytes(key_hash(name, key));
    let encoded = STANDARD.encode([&[ED25519][..], key.as_bytes()].concat());
    format!("{name}+{hash:08x}+{encoded}")
}

impl Note {
    /// Signs a text, which ends with a line feed.
    pub fn sign(text: String, name: &str, key: &SealingKey) -> Self {
        let signature = Signature {
            name: name.to_owned(),
            key_id: key_hash(name, &key.public()),
            signature: key.sign(text.as_bytes()),
        };
        Self { text, signatures: vec![signature] }
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed;
        if text.len() > MAX_NOTE {
            return Err(malformed("it is too long"));
        }
        if text.chars().any(|c| c < ' ' && c != '\n') {
            return Err(malformed("there are control characters in it"));
        }
        let (above, below) =
            text.rsplit_once("\n\n").ok_or(malformed("no blank line stands before signatures"))?;
        let below = below.strip_suffix('\n').ok_or(malformed("no line feed ends it"))?;
        if above.is_empty() {
            return Err(malformed("it has no text"));
        }
        let mut signatures = Vec::new();
        for line in below.split('\n') {
            if signatures.len() >= MAX_SIGNATURES {
                return Err(malformed("it has too many signatures"));
            }
            let signature = Signature::parse(line);
            signatures.push(signature.ok_or(malformed("a line of it is no signature"))?);
        }
        Ok(Self { text: format!("{above}\n"), signatures })
    }

    /// The text, by whomever it is signed.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The text, if one of these keys signed it under this name; and which one. A signature by a known key that does not
    /// hold spoils the whole.
    pub fn verify<'a>(
        &self,
        name: &str,
        keys: &'a [PublicKey],
    ) -> Result<(&str, &'a PublicKey), NoteError> {
        let mut signer = None;
        for signature in &self.signatures {
            let known = |key: &&PublicKey| {
                signature.name == name && signature.key_id == key_hash(name, key)
            };
            let Some(key) = keys.iter().find(known) else { continue };
            if !key.verifies(self.text.as_bytes(), &signature.signature) {
                return Err(NoteError::Signature(signature.name.clone()));
            }
            signer = Some(key);
        }
        signer.map(|key| (self.text.as_str(), key)).ok_or(NoteError::UnknownKeys)
    }
}

/// The form in which it is kept and sent.
impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, key_id, signature } in &self.signatures {
            let encoded = STANDARD.encode([&key_id[..], signature].concat());
            writeln!(f, "{DASH}{name} {encoded}")?;
        }
        Ok(())
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        if !is_name(name) {
            return None;
        }
        let bytes = STANDARD.decode(encoded).ok()?;
        let (key_id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }
}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// Reads whatever is given as a note. Must not panic, and what it reads it writes the same again.
#[allow(clippy::panic, reason = "a fuzz target's finding")]
pub fn fuzz_note(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(note) = Note::parse(text) else { return };
    assert_eq!(note.to_string(), text, "a note has one form");
    let _ = note.verify("example.com/log", &[PublicKey::from_bytes([7; 32])]);
}
