//! The keys that a session's values are hidden with.

use guard_core::Stability;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The key of the masks `hash` and `format`.
///
/// Whoever can have values of their own choice hashed can find out a value by trying; the key keeps everybody
/// else from it, and hashes of two sessions apart.
#[derive(Clone)]
pub(crate) struct MaskKey(Hmac<Sha256>);

impl MaskKey {
    /// Prepares a key, as [`crate::Resource::mask_key`] gives it.
    pub(crate) fn new(key: &[u8]) -> Self {
        // SHA-256 first, so that a key of any length fits the block.
        let digest: [u8; 32] = <Sha256 as sha2::Digest>::digest(key).into();
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(digest) {
            *to = from;
        }
        Self(<Hmac<Sha256> as hmac::Mac>::new(&block.into()))
    }

    pub(super) fn hash(&self, domain: u8, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(&[domain]);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

/// The keys of a session.
#[derive(Clone)]
pub(crate) struct MaskKeys {
    run: MaskKey,
    lasting: Option<MaskKey>,
}

impl MaskKeys {
    /// Prepares the session's key and the lasting one, if the resource has one.
    pub(crate) fn new(run: &[u8], lasting: Option<&[u8]>) -> Self {
        Self { run: MaskKey::new(run), lasting: lasting.map(MaskKey::new) }
    }

    /// The key for a mask. A session whose policy asks for a lasting key that is not there is not opened;
    /// should one be, its values are hidden with the session's.
    pub(crate) fn of(&self, stable: Stability) -> &MaskKey {
        match stable {
            Stability::Run => &self.run,
            Stability::Always => self.lasting.as_ref().unwrap_or(&self.run),
        }
    }
}
