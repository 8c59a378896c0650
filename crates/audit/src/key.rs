//! The keys of a seal: Ed25519, as PEM files that `openssl` reads too.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    str::FromStr,
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Digest, Secret};
use serde::{Deserialize, Serialize};

/// RFC 8410: what stands before the 32 bytes in a SubjectPublicKeyInfo of Ed25519.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// No key file is longer, in bytes; a PKCS#8 PEM of Ed25519 has 119 to 200.
const MAX_KEY_FILE: u64 = 4096;

/// A key that could not be read, made or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("cannot use the key file `{path}`")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key's file can be read by others than its owner.
    #[error(
        "the key file `{path}` can be read by others: `chmod 600` it, and make a new key if others had access"
    )]
    Exposed {
        /// The file.
        path: String,
    },
    /// It is no Ed25519 key.
    #[error("not an Ed25519 private key in PEM (PKCS#8)")]
    Private,
    /// It is no Ed25519 public key.
    #[error("not an Ed25519 public key: use the 44 characters of its base64 form, or its PEM")]
    Public,
    /// The system gave no randomness.
    #[error("cannot make a key: no randomness")]
    Randomness,
}

/// The first 16 hexadecimal digits of the SHA-256 of a public key's 32 bytes: tells which key to
/// verify with, and vouches for nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The broker's public key, by which a seal is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// The broker's private key, by which it seals. Never printed.
pub struct SealingKey(Ed25519KeyPair);

// === impl PublicKey ===

impl PublicKey {
    /// Wraps the 32 bytes of a public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Names the key.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(self.0).to_string().chars().take(16).collect())
    }

    /// The PEM form (RFC 8410), for `openssl`.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI_PREFIX[..], &self.0].concat())
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

/// Base64 of the 32 bytes.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// Reads the base64 form or PEM.
impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = if text.starts_with("-----") {
            let der = unpem("PUBLIC KEY", text).ok_or(KeyError::Public)?;
            der.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::Public)?.to_vec()
        } else {
            STANDARD.decode(text).map_err(|_| KeyError::Public)?
        };
        bytes.try_into().map(Self).map_err(|_| KeyError::Public)
    }
}

// === impl SealingKey ===

impl SealingKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Randomness)
    }

    /// Reads a key from PEM (PKCS#8).
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = unpem("PRIVATE KEY", text).ok_or(KeyError::Private)?;
        let pair = Ed25519KeyPair::from_pkcs8(&der);
        pair.map(Self).map_err(|_| KeyError::Private)
    }

    /// The PEM form (PKCS#8).
    pub fn to_pem(&self) -> Result<Secret, KeyError> {
        let der = self.0.to_pkcs8v1().map_err(|_| KeyError::Private)?;
        Ok(Secret::new(pem("PRIVATE KEY", der.as_ref())))
    }

    /// Reads a key file, which nobody but its owner may read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        use std::{io::Read as _, os::unix::fs::MetadataExt as _};
        let failed = |source| KeyError::File { path: path.display().to_string(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.mode() & not_for(about.uid(), rustix::process::geteuid().as_raw()) != 0 {
            return Err(KeyError::Exposed { path: path.display().to_string() });
        }
        let mut text = String::new();
        file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
        Self::from_pem(&text)
    }

    /// Makes a new key and its file, for the owner only. A file that is there is never replaced.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.display().to_string(), source };
        let key = Self::generate()?;
        let text = key.to_pem()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        let written = file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all());
        if let Err(source) = written {
            // A torn key would stop every later start, so nothing is better than half of it.
            let _ = std::fs::remove_file(path);
            return Err(failed(source));
        }
        Ok(key)
    }

    /// Reads the key file, or makes it where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)
            }
            loaded => loaded,
        }
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.public().id())
    }
}

/// What of a key file's mode may not be set. One's own is for its owner alone. Root's may be read by a group: so an
/// orchestrator gives a secret to a user who is not root. The same as PostgreSQL asks of its own key.
fn not_for(owner: u32, me: u32) -> u32 {
    if owner == 0 && me != 0 { 0o037 } else { 0o077 }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

fn unpem(label: &str, text: &str) -> Option<Vec<u8>> {
    let body = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_both_text_forms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.pem");
        let made = SealingKey::load_or_create(&path).unwrap();
        let read = SealingKey::load_or_create(&path).unwrap();
        assert_eq!(made.public(), read.public());
        let public = made.public();
        assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
        assert_eq!(public.to_pem().parse::<PublicKey>().unwrap(), public);
        assert_eq!(public.id().to_string().len(), 16);
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.pem");
        SealingKey::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SealingKey::load(&path), Err(KeyError::Exposed { .. })));
    }

    #[test]
    fn a_key_file_of_root_may_be_read_by_a_group_and_by_nobody_else() {
        for (owner, me, mode, refused) in [
            (0, 0, 0o640, true),
            (0, 65532, 0o440, false),
            (0, 65532, 0o640, false),
            (0, 65532, 0o660, true),
            (0, 65532, 0o644, true),
            (65532, 65532, 0o440, true),
            (65532, 65532, 0o600, false),
            (1000, 65532, 0o640, true),
        ] {
            assert_eq!(mode & not_for(owner, me) != 0, refused, "{owner} {me} {mode:o}");
        }
    }

    #[test]
    fn a_key_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.pem");
        std::fs::write(&path, "something else").unwrap();
        assert!(matches!(SealingKey::create(&path), Err(KeyError::File { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else");
    }

    #[test]
    fn what_is_no_key_is_no_key() {
        let key = SealingKey::generate().unwrap();
        let public = key.public().to_pem();
        let long = STANDARD.encode([7; 33]);
        for text in ["", "AAAA", "-----BEGIN PUBLIC KEY-----", long.as_str(), "ключ"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
            assert!(SealingKey::from_pem(text).is_err(), "{text}");
        }
        assert!(SealingKey::from_pem(&public).is_err());
        assert!(!format!("{key:?}").contains(key.to_pem().unwrap().expose()));
    }
}
