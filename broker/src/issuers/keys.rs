//! A key set (RFC 7517), of which only keys are kept that can verify a token.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::jws::{Fault, parse_object};

/// More keys than this no issuer has.
const MAX_KEYS: usize = 100;
/// RFC 7518 section 3.3: a shorter RSA key must not be used, in bytes.
const MIN_RSA: usize = 256;
/// A longer RSA key only costs time, in bytes.
const MAX_RSA: usize = 1024;

/// The keys of an issuer, each with the algorithms that it is for.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: BTreeMap<String, Key>,
}

struct Key {
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.algorithms.fmt(f)
    }
}

impl KeySet {
    /// Reads a key set. One without any usable key is an error, so it never replaces a good one.
    pub(super) fn parse(document: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let document = parse_object(document).map_err(|error| error.to_string())?;
        let list = document.get("keys").and_then(Value::as_array).ok_or("no `keys`")?;
        if list.len() > MAX_KEYS {
            return Err(format!("more than {MAX_KEYS} keys"));
        }
        let mut keys = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for jwk in list.iter().filter_map(Value::as_object) {
            let Some(kid) = jwk.get("kid").and_then(Value::as_str) else { continue };
            if !seen.insert(kid.to_owned()) {
                // Two keys of one name: neither can be meant.
                keys.remove(kid);
                continue;
            }
            if let Some(key) = usable(jwk, allowed) {
                keys.insert(kid.to_owned(), key);
            }
        }
        if keys.is_empty() { Err("no usable key".into()) } else { Ok(Self { keys }) }
    }

    /// The key of a name; an error if it is not for this algorithm.
    pub(super) fn find(
        &self,
        kid: &str,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Fault> {
        match self.keys.get(kid) {
            Some(key) if key.algorithms.contains(&algorithm) => Ok(Some(key.key.clone())),
            Some(_) => Err(Fault::new("its key is not for its algorithm")),
            None => Ok(None),
        }
    }
}

/// The key itself says what it is for; a token cannot widen that.
fn usable(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let for_signatures = jwk.get("use").is_none_or(|usage| usage == "sig")
        && jwk.get("key_ops").is_none_or(|ops| {
            ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"))
        });
    if !for_signatures {
        return None;
    }
    let (key, fitting): (_, &[(&str, Algorithm)]) = match text("kty")? {
        "RSA" => {
            let modulus = URL_SAFE_NO_PAD.decode(text("n")?).ok()?;
            let length = modulus.iter().skip_while(|byte| **byte == 0).count();
            if !(MIN_RSA..=MAX_RSA).contains(&length) {
                return None;
            }
            let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
            let fitting = &[
                ("RS256", Algorithm::RS256),
                ("RS384", Algorithm::RS384),
                ("RS512", Algorithm::RS512),
                ("PS256", Algorithm::PS256),
                ("PS384", Algorithm::PS384),
                ("PS512", Algorithm::PS512),
            ];
            (key, fitting)
        }
        "EC" => {
            let key = DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?;
            match text("crv")? {
                "P-256" => (key, &[("ES256", Algorithm::ES256)]),
                "P-384" => (key, &[("ES384", Algorithm::ES384)]),
                _ => return None,
            }
        }
        "OKP" if text("crv")? == "Ed25519" => {
            let key = DecodingKey::from_ed_components(text("x")?).ok()?;
            (key, &[("EdDSA", Algorithm::EdDSA)])
        }
        _ => return None,
    };
    let algorithms: Vec<_> = fitting
        .iter()
        .filter(|(name, algorithm)| {
            allowed.contains(algorithm) && jwk.get("alg").is_none_or(|alg| alg == name)
        })
        .map(|(_, algorithm)| *algorithm)
        .collect();
    (!algorithms.is_empty()).then_some(Key { algorithms, key })
}
