//! A token in the store, so that any broker can give it back, which only those can read who could have made it.
//!
//! It is sealed (AES-256-GCM) with a key that is derived (HKDF-SHA256, RFC 5869) from the secret that tokens are made with. That one is not in the
//! store: who has the store alone has no token, and who has the secret needs none of these.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Secret;
use rand::RngCore as _;
use zeroize::Zeroizing;

use super::CredentialError;

const SALT: usize = 16;
const KEY: usize = 32;
const PURPOSE: &[u8] = b"guard: token of a lease";

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY
    }
}

/// Seals a token.
pub(super) fn seal(with: &Secret, token: &Secret) -> Result<String, CredentialError> {
    let mut salt = [0; SALT];
    rand::rng().fill_bytes(&mut salt);
    let key = key(with, &salt)?;
    let mut text = Zeroizing::new(token.expose().as_bytes().to_vec());
    let nonce = key
        .seal_in_place_append_tag(Aad::from(PURPOSE), &mut *text)
        .map_err(|_| CredentialError("a token cannot be sealed".into()))?;
    Ok(STANDARD.encode([&salt[..], nonce.as_ref(), &text].concat()))
}

/// Opens it again.
pub(super) fn open(with: &Secret, sealed: &str) -> Result<Secret, CredentialError> {
    let unreadable =
        || CredentialError("the token was made with another secret than the one of now".into());
    let bytes = STANDARD.decode(sealed).map_err(|_| unreadable())?;
    let (salt, rest) = bytes.split_at_checked(SALT).ok_or_else(unreadable)?;
    let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or_else(unreadable)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable())?;
    let mut text = Zeroizing::new(text.to_vec());
    let key = key(with, salt)?;
    let plain =
        key.open_in_place(nonce, Aad::from(PURPOSE), &mut text).map_err(|_| unreadable())?;
    std::str::from_utf8(plain).map(Secret::new).map_err(|_| unreadable())
}

fn key(with: &Secret, salt: &[u8]) -> Result<RandomizedNonceKey, CredentialError> {
    let failed = |_| CredentialError("no key can be derived".into());
    let extracted = Salt::new(HKDF_SHA256, salt).extract(with.expose().as_bytes());
    let mut key = Zeroizing::new([0; KEY]);
    extracted.expand(&[PURPOSE], Length).and_then(|made| made.fill(&mut *key)).map_err(failed)?;
    RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_who_has_the_secret_opens_it() {
        let (secret, token) = (Secret::new("the private key"), Secret::new("ghs_token"));
        let sealed = seal(&secret, &token).unwrap();
        assert!(!sealed.contains("ghs"));
        assert_ne!(sealed, seal(&secret, &token).unwrap());
        assert_eq!(open(&secret, &sealed).unwrap().expose(), "ghs_token");
        let other = STANDARD.encode([7; 64]);
        for (with, sealed) in
            [("another", sealed.as_str()), ("the private key", &other), ("the private key", "!")]
        {
            assert!(open(&Secret::new(with), sealed).is_err(), "{with} {sealed}");
        }
    }
}
