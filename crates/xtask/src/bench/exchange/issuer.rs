//! An issuer like GitHub's, and shims that hold its tokens.

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(super) const URL: &str = "https://issuer.example";
/// What tokens are for, behind the broker's address.
pub(super) const AUDIENCE_PATH: &str = "/bench";

/// The issuer's key, and whom its tokens are for.
pub(super) struct Issuer {
    key: RsaKeyPair,
    random: SystemRandom,
    broker: String,
    number: std::cell::Cell<u64>,
}

impl Issuer {
    pub(super) fn new(broker: &str) -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| anyhow!("no RSA key"))?;
        let key = RsaKeyPair::from_pkcs8(der.as_ref()).map_err(|_| anyhow!("no RSA key"))?;
        let broker = broker.to_owned();
        Ok(Self { key, random: SystemRandom::new(), broker, number: std::cell::Cell::new(0) })
    }

    /// Its key set.
    pub(super) fn jwks(&self) -> Result<String> {
        // RFC 8017 appendix A.1.1: two integers behind each other, the first of 256 bytes and a zero, the second 65537.
        let modulus = self.key.public_key().as_ref().get(9..265).context("no modulus")?;
        let modulus = URL_SAFE_NO_PAD.encode(modulus);
        let key = json!({
            "kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB",
        });
        Ok(json!({ "keys": [key] }).to_string())
    }

    /// Whole requests, each of a job of its own.
    pub(super) fn requests(&self, many: usize) -> Result<Vec<Vec<u8>>> {
        (0..many).map(|_| self.request()).collect()
    }

    fn request(&self) -> Result<Vec<u8>> {
        let number = self.number.get() + 1;
        self.number.set(number);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": URL, "aud": format!("{}{AUDIENCE_PATH}", self.broker), "jti": format!("token-{number}"),
            "iat": now, "nbf": now - 600, "exp": now + 600,
            "sub": "repo:acme/shop:ref:refs/heads/main", "repository": "acme/shop", "repository_id": "456789",
            "repository_owner": "acme", "repository_owner_id": "98765", "ref": "refs/heads/main",
            "ref_type": "branch", "event_name": "schedule", "run_id": number.to_string(), "run_number": "7",
            "run_attempt": "1", "check_run_id": number.to_string(), "actor": "ann", "actor_id": "4711",
            "workflow": "nightly", "workflow_ref": "acme/shop/.github/workflows/nightly.yml@refs/heads/main",
            "job_workflow_ref": "acme/shop/.github/workflows/nightly.yml@refs/heads/main",
            "runner_environment": "github-hosted", "sha": "0123456789abcdef0123456789abcdef01234567",
        });
        let token =
            sign(&json!({ "typ": "JWT", "alg": "RS256", "kid": "one" }), &claims, |text| {
                let mut signature = vec![0; self.key.public_modulus_len()];
                let signed = self.key.sign(&RSA_PKCS1_SHA256, &self.random, text, &mut signature);
                signed.map_err(|_| anyhow!("no signature"))?;
                Ok(signature)
            })?;
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={token}\
             &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token"
        );
        let proof = self.proof(number, now)?;
        let host = self.broker.trim_start_matches("http://");
        Ok(format!(
            "POST /oauth/token HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             dpop: {proof}\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        )
        .into_bytes())
    }

    /// A proof of a key that nobody had before.
    fn proof(&self, number: u64, now: u64) -> Result<String> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = key.map_err(|_| anyhow!("no P-256 key"))?;
        let point = key.public_key().as_ref();
        let coordinates = point.get(1..33).zip(point.get(33..65)).context("no point")?;
        let [x, y] = [coordinates.0, coordinates.1].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        let claims = json!({
            "htm": "POST", "htu": format!("{}/oauth/token", self.broker), "iat": now,
            "jti": format!("proof-{number}"),
        });
        sign(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }), &claims, |text| {
            let signature = key.sign(&self.random, text).map_err(|_| anyhow!("no signature"))?;
            Ok(signature.as_ref().to_vec())
        })
    }
}

fn sign(
    header: &Value,
    claims: &Value,
    signature: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
) -> Result<String> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(signature(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}
