//! Passwords on PostgreSQL's wire, both sides: SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL
//! uses it (<https://www.postgresql.org/docs/current/sasl-authentication.html>).
//!
//! [`server`] checks the password of this run that a client of the listener must know; [`client`] shows
//! the leased credential to the real server. Both are steps without I/O: bytes in, bytes out.

pub(crate) mod client;
pub(crate) mod fuzz;
pub(crate) mod server;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Length of every key and hash of SCRAM-SHA-256.
const KEY: usize = 32;

/// Name of the mechanism without channel binding.
pub(crate) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// Name of the mechanism with channel binding.
pub(crate) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Longest SASL message that is looked at, in bytes. PostgreSQL's own bound on messages before a
/// client is known is 65 535; SCRAM's need some 200.
pub(crate) const MAX_SASL_MESSAGE: usize = 2048;

/// HMAC-SHA-256 (RFC 2104) over the parts, as if they were one.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY] {
    let mut block = [0; 64];
    let hashed = sha256(key);
    let key = if key.len() > block.len() { hashed.as_slice() } else { key };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = <Hmac<Sha256> as Mac>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256.
fn sha256(data: &[u8]) -> [u8; KEY] {
    <Sha256 as sha2::Digest>::digest(data).into()
}
