//! Keys of the data path: a session's proof of possession, and a gateway's identity.
//!
//! Both are ES256 (RFC 7518 section 3.4). A session's key is made for one run and never leaves the
//! memory of the shim; a gateway's key lives in a file that only its user can read.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{Digest, Secret, Timestamp, control::GATEWAY_ASSERTION_TYPE};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, ThumbprintHash},
};
use serde::Serialize;

/// RFC 9449 section 4.2: the `typ` of a DPoP proof.
const DPOP_TYPE: &str = "dpop+jwt";

/// How long a gateway's assertion holds: the broker takes at most 60 s.
const ASSERTION_SECS: i64 = 30;

/// A key file larger than this is not a key file, in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// A key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The random source or the signature failed.
    #[error("a key cannot be made or used")]
    Crypto,
    /// A key file could not be read or written.
    #[error("the key file `{path}` cannot be used", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key file holds something else.
    #[error("`{path}` holds no P-256 private key in PKCS#8 PEM: move it away to have a new one made", path = path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// A key file that others can read.
    #[error("`{path}` can be read by others: run `chmod 600 {path}`", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
}

impl From<jsonwebtoken::errors::Error> for KeyError {
    fn from(_: jsonwebtoken::errors::Error) -> Self {
        Self::Crypto
    }
}

/// An ES256 key pair that signs JWTs which carry its public half.
struct Signer {
    key: EncodingKey,
    jwk: Jwk,
}

impl Signer {
    fn new(key: EncodingKey) -> Result<Self, KeyError> {
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        Ok(Self { key, jwk })
    }

    fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let header = Header {
            typ: Some(typ.into()),
            jwk: Some(self.jwk.clone()),
            ..Header::new(Algorithm::ES256)
        };
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }

    fn thumbprint(&self) -> Result<String, KeyError> {
        Ok(self.jwk.thumbprint(ThumbprintHash::SHA256)?)
    }
}

/// The key that a session is bound to. It exists in the shim's memory only.
pub struct SessionKey(Signer);

#[derive(Serialize)]
struct Proof<'a> {
    jti: String,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
}

impl SessionKey {
    /// Makes a key for one session.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = generate()?;
        Ok(Self(Signer::new(EncodingKey::from_ec_der(pair.serialized_der()))?))
    }

    /// A DPoP proof (RFC 9449 section 4.2) for one request: `method` to `uri`, which has neither
    /// query nor fragment, with `token` where one was already given.
    pub fn prove(
        &self,
        method: &str,
        uri: &str,
        token: Option<&Secret>,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let ath = token
            .map(|token| URL_SAFE_NO_PAD.encode(Digest::of(token.expose().as_bytes()).as_bytes()));
        let proof = Proof { jti: unique_id(), htm: method, htu: uri, iat: now.as_second(), ath };
        self.0.sign(DPOP_TYPE, &proof)
    }

    /// RFC 7638 thumbprint of the public key, base64url.
    pub fn thumbprint(&self) -> Result<String, KeyError> {
        self.0.thumbprint()
    }
}

/// Who a gateway is: its name in the broker's configuration, and the key that the broker knows.
pub struct GatewayIdentity {
    name: String,
    signer: Signer,
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

impl GatewayIdentity {
    /// Reads the key file, or makes it, readable by its owner only, if there is none.
    pub fn load_or_create(name: &str, path: &Path) -> Result<Self, KeyError> {
        let file_error = |source| KeyError::File { path: path.to_owned(), source };
        let not_a_key = |_| KeyError::NotAKey { path: path.to_owned() };
        let pem = match fs::metadata(path) {
            Ok(metadata) => {
                if metadata.mode() & 0o077 != 0 {
                    return Err(KeyError::Open { path: path.to_owned() });
                }
                if metadata.len() > MAX_KEY_FILE {
                    return Err(KeyError::NotAKey { path: path.to_owned() });
                }
                fs::read_to_string(path).map_err(file_error)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = generate()?.serialize_pem();
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(file_error)?;
                file.write_all(pem.as_bytes())
                    .and_then(|()| file.sync_all())
                    .map_err(file_error)?;
                pem
            }
            Err(error) => return Err(file_error(error)),
        };
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(not_a_key)?;
        let signer = Signer::new(key).map_err(|_| KeyError::NotAKey { path: path.to_owned() })?;
        Ok(Self { name: name.to_owned(), signer })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// RFC 7638 thumbprint of the public key, base64url: what the broker's configuration holds.
    pub fn thumbprint(&self) -> Result<String, KeyError> {
        self.signer.thumbprint()
    }

    /// A short-lived assertion for the broker.
    pub fn assertion(&self, broker: &str, now: Timestamp) -> Result<String, KeyError> {
        let now = now.as_second();
        let assertion = Assertion {
            iss: &self.name,
            sub: &self.name,
            aud: broker,
            iat: now,
            exp: now + ASSERTION_SECS,
            jti: unique_id(),
        };
        self.signer.sign(GATEWAY_ASSERTION_TYPE, &assertion)
    }
}

fn generate() -> Result<rcgen::KeyPair, KeyError> {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| KeyError::Crypto)
}

fn unique_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    fn read(token: &str) -> (Header, serde_json::Value) {
        let header = jsonwebtoken::decode_header(token).unwrap();
        let key = DecodingKey::from_jwk(header.jwk.as_ref().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let data = jsonwebtoken::decode(token, &key, &validation).unwrap();
        (header, data.claims)
    }

    #[test]
    fn a_proof_names_request_token_and_key() {
        let key = SessionKey::generate().unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let token = Secret::new("abc");
        let uri = "https://broker/v1/record";
        let proof = key.prove("POST", uri, Some(&token), now).unwrap();
        let (header, claims) = read(&proof);
        assert_eq!(header.typ.as_deref(), Some("dpop+jwt"));
        let jwk = serde_json::to_value(header.jwk.unwrap()).unwrap();
        assert!(jwk.get("d").is_none(), "the private half must stay at home");
        assert_eq!(claims["htm"], "POST");
        assert_eq!(claims["htu"], uri);
        assert_eq!(claims["iat"], 1_700_000_000);
        // SHA-256 of "abc", base64url.
        assert_eq!(claims["ath"], "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        let again = key.prove("POST", uri, Some(&token), now).unwrap();
        assert_ne!(read(&again).1["jti"], claims["jti"]);
    }

    #[test]
    fn a_gateway_keeps_its_key_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.pem");
        let first = GatewayIdentity::load_or_create("eu", &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let second = GatewayIdentity::load_or_create("eu", &path).unwrap();
        assert_eq!(first.thumbprint().unwrap(), second.thumbprint().unwrap());
        let (header, claims) =
            read(&second.assertion("https://broker", Timestamp::UNIX_EPOCH).unwrap());
        assert_eq!(header.typ.as_deref(), Some(GATEWAY_ASSERTION_TYPE));
        assert_eq!((&claims["iss"], &claims["sub"]), (&"eu".into(), &"eu".into()));
        assert_eq!(claims["aud"], "https://broker");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(GatewayIdentity::load_or_create("eu", &path), Err(KeyError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(
            GatewayIdentity::load_or_create("eu", &path),
            Err(KeyError::NotAKey { .. })
        ));
    }
}
