//! DSSE envelopes: <https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md>.
//!
//! The sealing key signs seals, too. What it signs here begins with `DSSEv1`, what it signs there with
//! `guard-record-seal-v1`: neither signature can be taken for the other.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{PublicKey, SealingKey};

/// Signatures that an envelope may have; each is tried with each key.
const MAX_SIGNATURES: usize = 16;

/// A payload with signatures over it and its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload, base64.
    pub payload: String,
    /// Who signed.
    pub signatures: Vec<Signature>,
}

/// A signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Names the key; vouches for nothing.
    #[serde(default)]
    pub keyid: String,
    /// The signature, base64.
    pub sig: String,
}

/// An envelope that vouches for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is none.
    #[error("this is no DSSE envelope")]
    Malformed,
    /// Its payload is something else.
    #[error("the envelope's payload is of another type")]
    Type,
    /// No given key signed it.
    #[error("no signature of the envelope is by a given key")]
    Signature,
}

impl Envelope {
    /// Signs a payload.
    pub(super) fn sign(payload_type: &str, payload: &[u8], key: &SealingKey) -> Self {
        let sig = STANDARD.encode(key.sign(&encoded(payload_type, payload)));
        Self {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature { keyid: key.public().id().to_string(), sig }],
        }
    }

    /// The payload and the key that vouches for it.
    pub(super) fn open(
        &self,
        payload_type: &str,
        keys: &[PublicKey],
    ) -> Result<(Vec<u8>, PublicKey), EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::Type);
        }
        let payload = STANDARD.decode(&self.payload).map_err(|_| EnvelopeError::Malformed)?;
        let signed = encoded(&self.payload_type, &payload);
        for signature in self.signatures.iter().take(MAX_SIGNATURES) {
            let Ok(bytes) = STANDARD.decode(&signature.sig) else { continue };
            if let Some(key) = keys.iter().find(|key| key.verifies(&signed, &bytes)) {
                return Ok((payload, *key));
            }
        }
        Err(EnvelopeError::Signature)
    }

    /// One line of JSON, as `*.intoto.jsonl` files have it.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }

    /// Reads the first line that is one.
    pub fn from_line(text: &str) -> Result<Self, EnvelopeError> {
        let line = text.lines().next().unwrap_or_default();
        serde_json::from_str(line).map_err(|_| EnvelopeError::Malformed)
    }
}

/// PAE, the pre-authentication encoding: what is signed.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the protocol's own page.
    #[test]
    fn what_is_signed_is_as_the_specification_says() {
        assert_eq!(
            encoded("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
