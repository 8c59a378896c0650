//! The client's side: showing the leased credential to the real server, and nothing to anyone else.
//!
//! - Over TLS with a certificate that can be bound (RFC 5929), a server that offers SCRAM-SHA-256-PLUS gets it
//!   and nothing less; one that does not is told that we could have (`y`), so that it can notice a middleman who
//!   removed the offer.
//! - A password in clear text, or as MD5 (which is worth a password to whoever reads it), is given only
//!   over TLS whose certificate was verified.

use guard_core::Secret;
use postgres_protocol::authentication::{
    md5_hash,
    sasl::{ChannelBinding, ScramSha256},
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, signature_algorithm::SignatureAlgorithm,
};

use super::{MAX_SASL_MESSAGE, SCRAM_SHA_256, SCRAM_SHA_256_PLUS};

/// The credential was not shown, or the server did not show that it knows it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotShown {
    /// It wants an authentication that guard does not have.
    #[error(
        "the server offers no SCRAM-SHA-256 (it offers `{0}`); set `password_encryption` and `pg_hba.conf` to scram-sha-256"
    )]
    Mechanisms(String),
    /// The password would travel readable.
    #[error(
        "the server asks for the password {0} and the connection is not verified TLS; use `tls: verify-full`, or scram-sha-256 in `pg_hba.conf`"
    )]
    Readable(&'static str),
    /// It broke the protocol or could not prove that it knows the password.
    #[error("the server's SCRAM answer does not hold: {0}")]
    Scram(String),
    /// Too long.
    #[error("the server's SASL message is longer than {MAX_SASL_MESSAGE} bytes")]
    TooLong,
}

/// Awaits AuthenticationSASLContinue.
pub(crate) struct ExpectServerFirst {
    scram: ScramSha256,
    mechanism: &'static str,
}

/// Awaits AuthenticationSASLFinal. Only after it may AuthenticationOk be believed.
pub(crate) struct ExpectServerFinal {
    scram: ScramSha256,
}

// === impl ExpectServerFirst ===

impl ExpectServerFirst {
    /// Picks the mechanism out of the list in AuthenticationSASL (names, each with a zero byte, and a last
    /// zero byte). `binding` is [`server_end_point`] of the server's certificate if there is TLS.
    pub(crate) fn new(
        mechanisms: &[u8],
        password: &Secret,
        binding: Option<Vec<u8>>,
    ) -> Result<Self, NotShown> {
        if mechanisms.len() > MAX_SASL_MESSAGE {
            return Err(NotShown::TooLong);
        }
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|m| m == name.as_bytes());
        let (mechanism, binding) = match binding {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))
            }
            Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            Some(_) | None => {
                let names = String::from_utf8_lossy(mechanisms).replace('\0', " ");
                return Err(NotShown::Mechanisms(names.trim_end().to_owned()));
            }
        };
        let scram = ScramSha256::new(password.expose().as_bytes(), binding);
        Ok(Self { scram, mechanism })
    }

    /// The body of SASLInitialResponse.
    pub(crate) fn message(&self) -> Vec<u8> {
        let message = self.scram.message();
        let mut body = Vec::with_capacity(self.mechanism.len() + 5 + message.len());
        body.extend(self.mechanism.as_bytes());
        body.push(0);
        body.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend(message);
        body
    }

    /// Takes the data of AuthenticationSASLContinue; gives the body of SASLResponse.
    ///
    /// Costs what the server asks for: `postgres-protocol` refuses more than 100 000 iterations.
    pub(crate) fn receive(mut self, data: &[u8]) -> Result<(ExpectServerFinal, Vec<u8>), NotShown> {
        if data.len() > MAX_SASL_MESSAGE {
            return Err(NotShown::TooLong);
        }
        self.scram.update(data).map_err(|error| NotShown::Scram(error.to_string()))?;
        let body = self.scram.message().to_vec();
        Ok((ExpectServerFinal { scram: self.scram }, body))
    }
}

// === impl ExpectServerFinal ===

impl ExpectServerFinal {
    /// Takes the data of AuthenticationSASLFinal: the server knows the password too, or this is an error.
    pub(crate) fn receive(mut self, data: &[u8]) -> Result<(), NotShown> {
        if data.len() > MAX_SASL_MESSAGE {
            return Err(NotShown::TooLong);
        }
        self.scram.finish(data).map_err(|error| NotShown::Scram(error.to_string()))
    }
}

/// The body of PasswordMessage for AuthenticationCleartextPassword; `verified` says that the server's
/// certificate was.
pub(crate) fn cleartext(password: &Secret, verified: bool) -> Result<Vec<u8>, NotShown> {
    if !verified {
        return Err(NotShown::Readable("in clear text"));
    }
    Ok(with_zero(password.expose()))
}

/// The body of PasswordMessage for AuthenticationMD5Password.
pub(crate) fn md5(
    username: &str,
    password: &Secret,
    salt: [u8; 4],
    verified: bool,
) -> Result<Vec<u8>, NotShown> {
    if !verified {
        return Err(NotShown::Readable("as MD5"));
    }
    Ok(with_zero(&md5_hash(username.as_bytes(), password.expose().as_bytes(), salt)))
}

fn with_zero(text: &str) -> Vec<u8> {
    let mut body = text.as_bytes().to_vec();
    body.push(0);
    body
}

/// The `tls-server-end-point` of a DER certificate (RFC 5929 section 4.1): its hash by the hash function of
/// its signature, with SHA-256 in place of MD5 and SHA-1. `None` where the signature has no hash function of
/// its own (Ed25519); PostgreSQL cannot bind to such a certificate either.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let signature = &parsed.signature_algorithm;
    let hash = match SignatureAlgorithm::try_from(signature).ok()? {
        SignatureAlgorithm::RSASSA_PSS(parameters) => {
            parameters.hash_algorithm_oid().to_id_string()
        }
        SignatureAlgorithm::RSA
        | SignatureAlgorithm::RSAAES_OAEP(_)
        | SignatureAlgorithm::DSA
        | SignatureAlgorithm::ECDSA
        | SignatureAlgorithm::ED25519 => signature.algorithm.to_id_string(),
    };
    // Signature algorithms and, for RSASSA-PSS, hash functions (RFC 3279, 4055, 5758).
    match hash.as_str() {
        // MD5 and SHA-1 with RSA, SHA-1 with DSA and ECDSA, SHA-1
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10040.4.3"
        | "1.2.840.10045.4.1" | "1.3.14.3.2.26"
        // SHA-256 with RSA, DSA and ECDSA, SHA-256
        | "1.2.840.113549.1.1.11" | "2.16.840.1.101.3.4.3.2" | "1.2.840.10045.4.3.2"
        | "2.16.840.1.101.3.4.2.1" => Some(Sha256::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => {
            Some(Sha384::digest(certificate).to_vec())
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::super::server::{ExpectClientFirst, ScramVerifier};
    use super::*;

    fn secret() -> Secret {
        Secret::new("pencil")
    }

    #[test]
    fn plus_is_taken_whenever_it_can_be() {
        let both = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let plain = b"SCRAM-SHA-256\0\0";
        type Case<'a> = (&'a [u8], Option<Vec<u8>>, &'a str);
        let cases: [Case<'_>; 4] = [
            (both, Some(vec![7; 32]), "SCRAM-SHA-256-PLUS p=tls-server-end-point,,n=,r="),
            (both, None, "SCRAM-SHA-256 n,,n=,r="),
            // The offer may have been removed on the way: `y` lets the server notice.
            (plain, Some(vec![7; 32]), "SCRAM-SHA-256 y,,n=,r="),
            (plain, None, "SCRAM-SHA-256 n,,n=,r="),
        ];
        for (offer, binding, expected) in cases {
            let client = ExpectServerFirst::new(offer, &secret(), binding).unwrap();
            let body = client.message();
            let (mechanism, rest) = body.split_at(body.iter().position(|b| *b == 0).unwrap());
            let said = [mechanism, b" ", &rest[5..]].concat();
            assert!(said.starts_with(expected.as_bytes()), "{expected}");
        }
        for offer in
            [&b""[..], b"\0", b"SCRAM-SHA-256-PLUS\0\0", b"SCRAM-SHA-1\0\0", b"scram-sha-256\0\0"]
        {
            let result = ExpectServerFirst::new(offer, &secret(), None);
            assert!(matches!(result, Err(NotShown::Mechanisms(_))));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let start = |password: &str| {
            let verifier = ScramVerifier::new(&Secret::new(password));
            let client = ExpectServerFirst::new(b"SCRAM-SHA-256\0\0", &secret(), None).unwrap();
            let (server, first) =
                ExpectClientFirst::new(verifier).receive(&client.message()).unwrap();
            let (client, message) = client.receive(&first).unwrap();
            (client, server.receive(&message))
        };
        let (client, last) = start("pencil");
        client.receive(&last.unwrap()).unwrap();
        assert!(start("other").1.is_err());
        for last in [&b""[..], b"v=", b"v=AAAA", b"e=other-error", b"x=1"] {
            assert!(start("pencil").0.receive(last).is_err());
        }
    }

    #[test]
    fn a_server_cannot_make_guard_work_for_long() {
        let nonce = |client: &ExpectServerFirst| {
            let message = String::from_utf8(client.scram.message().to_vec()).unwrap();
            message.split_once("r=").unwrap().1.to_owned()
        };
        for iterations in ["4294967295", "100001", "-1", "x", ""] {
            let client = ExpectServerFirst::new(b"SCRAM-SHA-256\0\0", &secret(), None).unwrap();
            let first = format!("r={}x,s=AAAA,i={iterations}", nonce(&client));
            assert!(client.receive(first.as_bytes()).is_err(), "{iterations}");
        }
        let client = ExpectServerFirst::new(b"SCRAM-SHA-256\0\0", &secret(), None).unwrap();
        assert!(matches!(client.receive(&[b'r'; MAX_SASL_MESSAGE + 1]), Err(NotShown::TooLong)));
    }

    #[test]
    fn a_readable_password_is_given_over_verified_tls_only() {
        assert!(matches!(cleartext(&secret(), false), Err(NotShown::Readable(_))));
        assert!(matches!(md5("u", &secret(), [1; 4], false), Err(NotShown::Readable(_))));
        assert_eq!(cleartext(&secret(), true).unwrap(), b"pencil\0");
        let hashed = md5("md5_user", &Secret::new("password"), [0x2a, 0x3d, 0x8f, 0xe0], true);
        assert_eq!(hashed.unwrap(), b"md562af4dd09bbb41884907a838a3233294\0");
    }

    #[test]
    fn a_certificate_that_does_not_parse_has_no_end_point() {
        assert_eq!(server_end_point(b""), None);
        assert_eq!(server_end_point(&[0x30, 0x82, 0xff, 0xff]), None);
    }
}
