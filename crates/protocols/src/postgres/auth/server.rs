//! The server's side of SCRAM-SHA-256, for the password that is made for one run.
//!
//! The listener has no TLS (it is local), so channel binding is not offered; a client that asks for it is
//! refused. The user name is not looked at, as in PostgreSQL, where it comes with the start-up
//! packet: every name takes the same path and the same time.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use guard_core::Secret;
use rand::RngCore as _;
use subtle::ConstantTimeEq as _;

use super::{KEY, MAX_SASL_MESSAGE, SCRAM_SHA_256, hmac, sha256};

/// PostgreSQL's default (RFC 7677 asks for no less). The password is random and long, so that more
/// would only slow down the client.
const ITERATIONS: u32 = 4096;

/// Random bytes of the server's half of the nonce, as PostgreSQL's `SCRAM_RAW_NONCE_LEN`.
const NONCE: usize = 18;

/// What the listener knows of its password: enough to check it, made once.
pub(crate) struct ScramVerifier {
    salt: [u8; 16],
    stored_key: [u8; KEY],
    server_key: [u8; KEY],
}

/// A client that could not show that it knows the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It broke the protocol.
    #[error("malformed SASL message: {0}")]
    Malformed(&'static str),
    /// It wants a mechanism that was not offered.
    #[error("the SASL mechanism was not offered")]
    Mechanism,
    /// It does not know the password.
    #[error("password authentication failed")]
    Password,
}

impl Refused {
    /// The SQLSTATE that PostgreSQL gives for it.
    pub(crate) const fn sqlstate(self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Mechanism => "08P01",
            Self::Password => "28P01",
        }
    }
}

/// Awaits the body of SASLInitialResponse.
pub(crate) struct ExpectClientFirst {
    verifier: Arc<ScramVerifier>,
    nonce: [u8; NONCE],
}

/// Awaits the body of SASLResponse.
pub(crate) struct ExpectClientFinal {
    verifier: Arc<ScramVerifier>,
    /// The gs2 header that the client's final message must repeat.
    gs2: String,
    client_first_bare: String,
    server_first: String,
    /// The client's half and ours.
    nonce: String,
}

// === impl ScramVerifier ===

impl ScramVerifier {
    /// Derives the keys of a password.
    pub(crate) fn new(password: &Secret) -> Arc<Self> {
        let mut salt = [0; 16];
        rand::rng().fill_bytes(&mut salt);
        Self::with_salt(password, salt, ITERATIONS)
    }

    pub(super) fn with_salt(password: &Secret, salt: [u8; 16], iterations: u32) -> Arc<Self> {
        let salted = salted_password(password.expose(), &salt, iterations);
        let stored_key = sha256(&hmac(&salted, &[b"Client Key"]));
        let server_key = hmac(&salted, &[b"Server Key"]);
        Arc::new(Self { salt, stored_key, server_key })
    }
}

/// PBKDF2 with one block (RFC 5802 section 2.2, `Hi`). Passwords that SASLprep does not take are used as
/// they are, as PostgreSQL and its clients do.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> [u8; KEY] {
    let prepared = stringprep::saslprep(password);
    let password = prepared.as_deref().unwrap_or(password).as_bytes();
    let mut block = hmac(password, &[salt, &1u32.to_be_bytes()]);
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password, &[&block]);
        for (into, from) in salted.iter_mut().zip(block) {
            *into ^= from;
        }
    }
    salted
}

// === impl ExpectClientFirst ===

impl ExpectClientFirst {
    /// Starts with a fresh nonce. The client is told [`SCRAM_SHA_256`] and nothing else.
    pub(crate) fn new(verifier: Arc<ScramVerifier>) -> Self {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        Self { verifier, nonce }
    }

    /// Takes the body of SASLInitialResponse; gives the data of AuthenticationSASLContinue.
    pub(crate) fn receive(self, body: &[u8]) -> Result<(ExpectClientFinal, Vec<u8>), Refused> {
        let message = initial_response(body)?;
        let Some((gs2, bare)) = split_gs2(message) else {
            return Err(Refused::Malformed("gs2 header"));
        };
        // "p=…" asks for a channel binding that was not offered. "y" says that the client could bind and
        // believes that we cannot, which is true.
        if gs2 != "n,," && gs2 != "y,," {
            return Err(Refused::Malformed("channel binding or another identity is asked for"));
        }
        // RFC 5802 section 5.1: a mandatory extension would come first, as `m=`.
        let mut attributes = bare.split(',');
        let (Some(user), Some(nonce)) = (attributes.next(), attributes.next()) else {
            return Err(Refused::Malformed("client-first-message"));
        };
        let Some(client_nonce) = nonce.strip_prefix("r=").filter(|n| is_nonce(n)) else {
            return Err(Refused::Malformed("nonce"));
        };
        if !user.starts_with("n=") {
            return Err(Refused::Malformed("user name"));
        }

        let nonce = format!("{client_nonce}{}", BASE64.encode(self.nonce));
        let salt = BASE64.encode(self.verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={ITERATIONS}");
        let answer = server_first.clone().into_bytes();
        let next = ExpectClientFinal {
            verifier: self.verifier,
            gs2: gs2.to_owned(),
            client_first_bare: bare.to_owned(),
            server_first,
            nonce,
        };
        Ok((next, answer))
    }
}

/// The SCRAM message in the body of SASLInitialResponse: mechanism, length, message.
fn initial_response(body: &[u8]) -> Result<&str, Refused> {
    if body.len() > MAX_SASL_MESSAGE {
        return Err(Refused::Malformed("too long"));
    }
    let mut parts = body.splitn(2, |byte| *byte == 0);
    let (Some(mechanism), Some(rest)) = (parts.next(), parts.next()) else {
        return Err(Refused::Malformed("no mechanism"));
    };
    if mechanism != SCRAM_SHA_256.as_bytes() {
        return Err(Refused::Mechanism);
    }
    let Some((length, message)) = rest.split_first_chunk::<4>() else {
        return Err(Refused::Malformed("no message"));
    };
    if usize::try_from(i32::from_be_bytes(*length)) != Ok(message.len()) {
        return Err(Refused::Malformed("length"));
    }
    text(message)
}

fn text(message: &[u8]) -> Result<&str, Refused> {
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) | Err(_) => Err(Refused::Malformed("not a text")),
    }
}

/// The gs2 header with its two commas, and the rest.
fn split_gs2(message: &str) -> Option<(&str, &str)> {
    let first = message.find(',')? + 1;
    let second = message.get(first..)?.find(',')? + first + 1;
    Some((message.get(..second)?, message.get(second..)?))
}

/// RFC 5802 section 7: `r` is printable and has no comma.
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

// === impl ExpectClientFinal ===

impl ExpectClientFinal {
    /// Takes the body of SASLResponse; gives the data of AuthenticationSASLFinal. The client knows the
    /// password if this is `Ok`.
    pub(crate) fn receive(self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        if body.len() > MAX_SASL_MESSAGE {
            return Err(Refused::Malformed("too long"));
        }
        // The proof is the last attribute (RFC 5802 section 7).
        let message = text(body)?;
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else {
            return Err(Refused::Malformed("no proof"));
        };
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c="));
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r="));
        // The same header as before: a middleman that changed it is found here.
        if binding != Some(BASE64.encode(&self.gs2).as_str()) {
            return Err(Refused::Malformed("channel binding"));
        }
        if nonce != Some(self.nonce.as_str()) {
            return Err(Refused::Malformed("nonce"));
        }
        let proof: [u8; KEY] = BASE64
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(Refused::Malformed("proof"))?;

        let Self { verifier, client_first_bare, server_first, .. } = &self;
        let parts: [&[u8]; 5] = [
            client_first_bare.as_bytes(),
            b",",
            server_first.as_bytes(),
            b",",
            without_proof.as_bytes(),
        ];
        let mut client_key = hmac(&verifier.stored_key, &parts);
        for (key, proof) in client_key.iter_mut().zip(proof) {
            *key ^= proof;
        }
        if !bool::from(sha256(&client_key).ct_eq(&verifier.stored_key)) {
            return Err(Refused::Password);
        }
        let signature = hmac(&verifier.server_key, &parts);
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::*;

    fn initial(mechanism: &str, message: &[u8]) -> Vec<u8> {
        let mut body = mechanism.as_bytes().to_vec();
        body.push(0);
        body.extend(i32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        body
    }

    fn login(stored: &str, given: &str, binding: ChannelBinding) -> Result<(), Refused> {
        let server = ExpectClientFirst::new(ScramVerifier::new(&Secret::new(stored)));
        let mut client = ScramSha256::new(given.as_bytes(), binding);
        let (server, answer) = server.receive(&initial(SCRAM_SHA_256, client.message()))?;
        client.update(&answer).unwrap();
        let answer = server.receive(client.message())?;
        client.finish(&answer).unwrap();
        Ok(())
    }

    #[test]
    fn only_the_password_of_the_run_gets_in() {
        let bind = || ChannelBinding::tls_server_end_point(vec![1, 2, 3]);
        assert_eq!(login("pencil", "pencil", ChannelBinding::unsupported()), Ok(()));
        assert_eq!(login("pencil", "pencil", ChannelBinding::unrequested()), Ok(()));
        assert_eq!(login("I\u{AD}X", "IX", ChannelBinding::unsupported()), Ok(()));
        for wrong in ["pencil ", "", "Pencil", "pencil\u{0301}"] {
            let result = login("pencil", wrong, ChannelBinding::unsupported());
            assert_eq!(result, Err(Refused::Password), "{wrong:?}");
        }
        assert!(matches!(login("pencil", "pencil", bind()), Err(Refused::Malformed(_))));
    }

    /// RFC 7677 section 3.
    #[test]
    fn the_example_of_the_specification_holds() {
        let salt: [u8; 16] = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let server = ExpectClientFinal {
            verifier: ScramVerifier::with_salt(&Secret::new("pencil"), salt, 4096),
            gs2: "n,,".into(),
            client_first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
            server_first: server_first.into(),
            nonce: "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into(),
        };
        let answer = server
            .receive(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        let cases: &[(&str, &[u8])] = &[
            ("", b"n,,n=,r=abc"),
            ("SCRAM-SHA-256-PLUS", b"n,,n=,r=abc"),
            ("SCRAM-SHA-1", b"n,,n=,r=abc"),
            (SCRAM_SHA_256, b""),
            (SCRAM_SHA_256, b"n"),
            (SCRAM_SHA_256, b"n,,"),
            (SCRAM_SHA_256, b"n,,n="),
            (SCRAM_SHA_256, b"n,,n=,r="),
            (SCRAM_SHA_256, b"n,,r=abc,n="),
            (SCRAM_SHA_256, b"n,,m=x,n=,r=abc"),
            (SCRAM_SHA_256, b"n,a=postgres,n=,r=abc"),
            (SCRAM_SHA_256, b"p=tls-server-end-point,,n=,r=abc"),
            (SCRAM_SHA_256, b"x,,n=,r=abc"),
            (SCRAM_SHA_256, b"n,,n=,r=a\x01c"),
            (SCRAM_SHA_256, b"n,,n=,r=a\0c"),
            (SCRAM_SHA_256, b"n,,n=\xff,r=abc"),
        ];
        let verifier = ScramVerifier::new(&Secret::new("pencil"));
        for (mechanism, message) in cases {
            let server = ExpectClientFirst::new(verifier.clone());
            let result = server.receive(&initial(mechanism, message));
            assert!(result.is_err(), "{}", String::from_utf8_lossy(message));
        }
        let mut lying = initial(SCRAM_SHA_256, b"n,,n=,r=abc");
        lying.push(b'x');
        assert!(ExpectClientFirst::new(verifier.clone()).receive(&lying).is_err());
        let long = initial(SCRAM_SHA_256, &[b'n'; MAX_SASL_MESSAGE]);
        assert!(ExpectClientFirst::new(verifier.clone()).receive(&long).is_err());
        assert!(
            ExpectClientFirst::new(verifier).receive(b"SCRAM-SHA-256\0\xff\xff\xff\xff").is_err()
        );
    }

    #[test]
    fn a_final_message_of_another_exchange_is_refused() {
        let verifier = ScramVerifier::new(&Secret::new("pencil"));
        let start = || {
            let mut client = ScramSha256::new(b"pencil", ChannelBinding::unsupported());
            let server = ExpectClientFirst::new(verifier.clone());
            let (server, answer) =
                server.receive(&initial(SCRAM_SHA_256, client.message())).unwrap();
            client.update(&answer).unwrap();
            (server, client.message().to_vec())
        };
        let ((_, replayed), (server, _)) = (start(), start());
        assert_eq!(server.receive(&replayed), Err(Refused::Malformed("nonce")));

        let (server, mut message) = start();
        let at = message.windows(4).position(|w| w == b"biws").unwrap();
        message.splice(at..at + 4, *b"eSws");
        assert_eq!(server.receive(&message), Err(Refused::Malformed("channel binding")));
        for message in [&b""[..], b"c=biws", b"c=biws,r=x,p=", b"p=AAAA"] {
            assert!(start().0.receive(message).is_err());
        }
    }
}
