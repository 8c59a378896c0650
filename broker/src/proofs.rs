//! Proofs of possession: DPoP (RFC 9449) of sessions, and the assertions of gateways.
//!
//! Both are tokens whose header shows the public key that signed them. What makes the key mean
//! something is its RFC 7638 thumbprint: a session's is stored with its token, a gateway's stands in
//! the configuration.

mod once;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{Digest, Timestamp, control::GATEWAY_ASSERTION_TYPE};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::jws::{self, Fault, Unverified, Verified};
pub(crate) use once::{Once, Scope, SpendError};

/// RFC 9449 section 4.3: a proof is for one request that is made now, in seconds.
const PROOF_AGE: i64 = 60;
/// How far in the future a clock may be, in seconds.
const PROOF_AHEAD: i64 = 30;
/// The longest life of a gateway's assertion, in seconds.
const ASSERTION_LIFE: i64 = 60;
/// A `jti` longer than this is refused.
const MAX_JTI: usize = 256;

/// A proof that held, and what makes it single-use.
#[derive(Debug)]
pub(crate) struct Proven {
    /// RFC 7638 thumbprint of the key, base64url.
    pub(crate) thumbprint: String,
    jti: String,
    issued: i64,
}

/// What a DPoP proof must be for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// `htm`.
    pub(crate) method: &'a str,
    /// `htu`, without query and fragment.
    pub(crate) uri: &'a str,
    /// The access token that comes with it, where there is one.
    pub(crate) token: Option<&'a str>,
}

/// Verifies a DPoP proof. It is used up by [`Proven::spend`] once the rest of the request holds.
pub(crate) fn verify(proof: &str, request: Request<'_>, now: Timestamp) -> Result<Proven, Fault> {
    let (claims, thumbprint) = self_signed(jws::read(proof)?, "dpop+jwt")?;
    if claims.text("htm")? != request.method {
        return Err(Fault::new("its `htm` is another method"));
    }
    if claims.text("htu")? != request.uri {
        return Err(Fault::new(format!("its `htu` is not `{}`", request.uri)));
    }
    match request.token {
        Some(token) => {
            let hash = URL_SAFE_NO_PAD.encode(Digest::of(token).as_bytes());
            if claims.text("ath")? != hash {
                return Err(Fault::new("its `ath` is of another token"));
            }
        }
        None => {
            if claims.has("ath") {
                return Err(Fault::new("it has an `ath` where no token is"));
            }
        }
    }
    let issued = fresh(&claims, now)?;
    Ok(Proven { thumbprint, jti: jti(&claims)?, issued })
}

/// Verifies an assertion and says by which name its gateway calls itself.
pub(crate) fn verify_assertion(
    assertion: &str,
    audience: &str,
    now: Timestamp,
) -> Result<(String, Proven), Fault> {
    let (claims, thumbprint) = self_signed(jws::read(assertion)?, GATEWAY_ASSERTION_TYPE)?;
    let name = claims.text("iss")?;
    if claims.text("sub")? != name {
        return Err(Fault::new("its `sub` is not its `iss`"));
    }
    claims.require_audience(audience)?;
    let issued = fresh(&claims, now)?;
    let expires = claims.moment("exp")?.as_second();
    if expires - issued > ASSERTION_LIFE || expires + PROOF_AHEAD < now.as_second() {
        return Err(Fault::new("it has expired or lives too long"));
    }
    let name = name.to_owned();
    Ok((name, Proven { thumbprint, jti: jti(&claims)?, issued }))
}

fn jti(claims: &Verified) -> Result<String, Fault> {
    let jti = claims.text("jti")?;
    if jti.len() > MAX_JTI {
        return Err(Fault::new("its `jti` is too long"));
    }
    Ok(jti.to_owned())
}

fn fresh(claims: &Verified, now: Timestamp) -> Result<i64, Fault> {
    let issued = claims.moment("iat")?.as_second();
    let age = now.as_second() - issued;
    if (-PROOF_AHEAD..=PROOF_AGE).contains(&age) {
        Ok(issued)
    } else {
        Err(Fault::new(format!("its `iat` is {age} s ago")))
    }
}

/// Verifies a token by the P-256 key in its own header.
fn self_signed(token: Unverified<'_>, typ: &str) -> Result<(Verified, String), Fault> {
    if token.header_text("typ") != Some(typ) {
        return Err(Fault::new(format!("its `typ` is not `{typ}`")));
    }
    let algorithm = token.algorithm(&[Algorithm::ES256])?;
    let no_key = || Fault::new("its `jwk` is no public P-256 key");
    let jwk = token.header.get("jwk").and_then(Value::as_object).ok_or_else(no_key)?;
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).ok_or_else(no_key);
    // RFC 9449 section 4.3, check 7. `d` is EC's; the others cannot stand in an EC key at all.
    if ["d", "p", "q", "dp", "dq", "qi", "k", "oth"].iter().any(|name| jwk.contains_key(*name)) {
        return Err(Fault::new("its `jwk` holds a private key"));
    }
    if text("kty")? != "EC" || text("crv")? != "P-256" {
        return Err(no_key());
    }
    let (x, y) = (text("x")?, text("y")?);
    for coordinate in [x, y] {
        // One form only, or one key would have several thumbprints.
        if URL_SAFE_NO_PAD.decode(coordinate).map_err(|_| no_key())?.len() != 32 {
            return Err(no_key());
        }
    }
    let key = DecodingKey::from_ec_components(x, y).map_err(|_| no_key())?;
    // RFC 7638 section 3.2: the required members in the order of their names.
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let thumbprint = URL_SAFE_NO_PAD.encode(Digest::of(canonical).as_bytes());
    Ok((token.verify(&key, algorithm)?, thumbprint))
}
