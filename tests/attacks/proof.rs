//! A session key as an attacker would make it: ES256 and DPoP proofs (RFC 9449) by the `openssl` program.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use guard_tests::issuer::base64url;
use serde_json::{Value, json};

/// A key on P-256.
pub(crate) struct Key {
    file: PathBuf,
    jwk: Value,
}

impl Key {
    pub(crate) fn make(dir: &Path, name: &str) -> Self {
        let file = dir.join(name);
        let path = file.display().to_string();
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &path], b"");
        let der = openssl(&["ec", "-in", &path, "-pubout", "-outform", "DER"], b"");
        // A point without compression is the last 64 bytes of SubjectPublicKeyInfo.
        let (x, y) = der[der.len() - 64..].split_at(32);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) });
        Self { file, jwk }
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        let (x, y) = (self.jwk["x"].as_str().unwrap(), self.jwk["y"].as_str().unwrap());
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        base64url(&openssl(&["dgst", "-sha256", "-binary"], members.as_bytes()))
    }

    /// The audience of an identity token that is for this key alone.
    pub(crate) fn audience(&self, broker: &str) -> String {
        format!("{broker}#{}", self.thumbprint())
    }

    /// A proof for one request; `token` is the access token that goes with it.
    pub(crate) fn proof(&self, method: &str, url: &str, token: Option<&str>) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "jti": format!("proof-{}", now.as_nanos()), "htm": method, "htu": url, "iat": now.as_secs(),
        });
        if let Some(token) = token {
            let hash = openssl(&["dgst", "-sha256", "-binary"], token.as_bytes());
            claims["ath"] = json!(base64url(&hash));
        }
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk });
        let signed = format!(
            "{}.{}",
            base64url(header.to_string().as_bytes()),
            base64url(claims.to_string().as_bytes())
        );
        let key = self.file.display().to_string();
        let der = openssl(&["dgst", "-sha256", "-sign", &key], signed.as_bytes());
        format!("{signed}.{}", base64url(&fixed(&der)))
    }
}

/// `openssl` to its end.
pub(crate) fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take().unwrap().write_all(input));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

/// DER's two integers as the 64 bytes of RFC 7518 section 3.4.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    out
}
