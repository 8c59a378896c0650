//! Signed tokens (RFC 7515, compact form), read strictly.
//!
//! Every token that reaches the broker is read here: identity tokens, proofs of possession and
//! assertions of gateways. What two parsers might read in two ways is refused: padding and blanks in
//! base64url, members that stand twice, fields that must be understood (`crit`). A header never
//! chooses the key; it names one (`kid`) or, in a proof, shows one (`jwk`).

mod json;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

pub(crate) use json::parse_object;

/// No token is longer: GitHub's have some 2 kB, GitLab's with many groups some 8 kB.
const MAX_TOKEN: usize = 32 * 1024;

/// A token that is not taken, and why: for the broker's log, never for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub(crate) String);

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A token that was read and whose signature nobody has looked at.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    /// Its header.
    pub(crate) header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

/// Claims whose signature held.
#[derive(Debug)]
pub(crate) struct Verified(Map<String, Value>);

/// Reads a token.
pub(crate) fn read(token: &str) -> Result<Unverified<'_>, Fault> {
    if token.len() > MAX_TOKEN {
        return Err(Fault::new(format!("it is longer than {MAX_TOKEN} bytes")));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(|| Fault::new("no three parts"))?;
    let (header, claims) = signed.split_once('.').ok_or_else(|| Fault::new("no three parts"))?;
    if claims.contains('.') {
        return Err(Fault::new("more than three parts"));
    }
    let header = part("header", header)?;
    let claims = part("payload", claims)?;
    if header.contains_key("crit") {
        return Err(Fault::new("its header has `crit`"));
    }
    Ok(Unverified { header, claims, signed, signature })
}

fn part(name: &str, text: &str) -> Result<Map<String, Value>, Fault> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| Fault::new(format!("its {name} is not base64url: {error}")))?;
    parse_object(&bytes)
        .map_err(|error| Fault::new(format!("its {name} is not one JSON object: {error}")))
}

// === impl Unverified ===

impl Unverified<'_> {
    /// A text of the header.
    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// The issuer that the token claims to come from: good for choosing among configured ones, and
    /// for nothing else.
    pub(crate) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The algorithm of the header, if it is among those allowed. `none` and the HMAC family never are.
    pub(crate) fn algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, Fault> {
        let name = self.header_text("alg").ok_or_else(|| Fault::new("its header has no `alg`"))?;
        let found = allowed.iter().find(|algorithm| algorithm_name(**algorithm) == Some(name));
        let name: String = name.chars().take(20).collect();
        found.copied().ok_or_else(|| Fault::new(format!("its algorithm `{name}` is not allowed")))
    }

    /// The claims as they stand there, for `trust explain`.
    pub(crate) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }

    /// Checks the signature.
    pub(crate) fn verify(self, key: &DecodingKey, algorithm: Algorithm) -> Result<Verified, Fault> {
        let holds =
            jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm);
        match holds {
            Ok(true) => Ok(Verified(self.claims)),
            Ok(false) | Err(_) => Err(Fault::new("its signature does not hold")),
        }
    }
}

/// The name of an algorithm that guard can allow: asymmetric ones only.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is jsonwebtoken's, and `_` refuses")]
fn algorithm_name(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::RS256 => Some("RS256"),
        Algorithm::RS384 => Some("RS384"),
        Algorithm::RS512 => Some("RS512"),
        Algorithm::ES256 => Some("ES256"),
        Algorithm::ES384 => Some("ES384"),
        Algorithm::PS256 => Some("PS256"),
        Algorithm::PS384 => Some("PS384"),
        Algorithm::PS512 => Some("PS512"),
        Algorithm::EdDSA => Some("EdDSA"),
        _ => None,
    }
}

// === impl Verified ===

impl Verified {
    /// A claim that is a text.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Fault> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Fault::new(format!("its claim `{name}` is missing or no text")))
    }

    /// A claim that is a moment (RFC 7519, NumericDate).
    pub(crate) fn moment(&self, name: &str) -> Result<Timestamp, Fault> {
        let fault = || Fault::new(format!("its claim `{name}` is missing or no moment"));
        let value = self.0.get(name).ok_or_else(fault)?;
        let seconds = match value.as_i64() {
            Some(seconds) => seconds,
            // NumericDate may have a fraction.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "`as` saturates, and Timestamp checks"
            )]
            None => value.as_f64().ok_or_else(fault)? as i64,
        };
        Timestamp::from_second(seconds).map_err(|_| fault())
    }

    /// Whether a claim is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whom the token is for: one party, as a text or as a list of it alone. A token for several can be replayed by any of
    /// the others; they are taken only where `several` says so.
    pub(crate) fn audiences(&self, several: bool) -> Result<Vec<&str>, Fault> {
        let found: Option<Vec<&str>> = match self.0.get("aud") {
            Some(Value::String(text)) => Some(vec![text.as_str()]),
            Some(Value::Array(items)) if items.len() == 1 || several => {
                items.iter().map(Value::as_str).collect()
            }
            Some(Value::Array(_)) => {
                return Err(Fault::new("it is for several audiences (`multi_audience: reject`)"));
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => None,
        };
        found.ok_or_else(|| Fault::new("its audience is missing or no text"))
    }

    /// It must be for this one alone.
    pub(crate) fn require_audience(&self, audience: &str) -> Result<(), Fault> {
        if self.audiences(false)? == [audience] {
            Ok(())
        } else {
            Err(Fault::new("its audience is not this broker alone"))
        }
    }

    /// Claims that somebody wrote down, for `trust explain`: no signature stands behind them.
    pub(crate) fn written(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// All claims.
    pub(crate) fn claims(&self) -> &Map<String, Value> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn what_two_parsers_might_read_in_two_ways_is_refused() {
        let good = format!("{}.{}.c2ln", encode(r#"{"alg":"RS256"}"#), encode(r#"{"iss":"a"}"#));
        assert_eq!(read(&good).unwrap().claimed_issuer(), Some("a"));
        let header = encode(r#"{"alg":"RS256"}"#);
        let cases = [
            ("padding", format!("{header}.{}=.c2ln", encode(r#"{"a":1}"#))),
            ("blank", format!("{header}. {}.c2ln", encode("{}"))),
            ("standard alphabet", format!("{header}.{}.c2ln", encode("{}").replace('e', "+"))),
            ("two parts", format!("{header}.{}", encode("{}").replace('.', ""))),
            ("four parts", format!("{good}.x")),
            ("five parts", "a.b.c.d.e".into()),
            ("repeated claim", format!("{header}.{}.c2ln", encode(r#"{"iss":"a","iss":"b"}"#))),
            ("repeated inside", format!("{header}.{}.c2ln", encode(r#"{"x":{"a":1,"a":2}}"#))),
            ("repeated header", format!("{}.e30.c2ln", encode(r#"{"alg":"RS256","alg":"none"}"#))),
            ("no object", format!("{header}.{}.c2ln", encode("[]"))),
            ("two values", format!("{header}.{}.c2ln", encode("{} {}"))),
            ("crit", format!("{}.e30.c2ln", encode(r#"{"alg":"RS256","crit":["b64"]}"#))),
            ("deep", format!("{header}.{}.c2ln", encode(&"[".repeat(20_000)))),
            ("not UTF-8", format!("{header}.{}.c2ln", URL_SAFE_NO_PAD.encode(b"{\"a\":\"\xff\"}"))),
            ("long", format!("{header}.{}.c2ln", "A".repeat(MAX_TOKEN))),
        ];
        for (name, token) in cases {
            assert!(read(&token).is_err(), "{name}");
        }
    }

    #[test]
    fn no_header_can_ask_for_an_algorithm_that_is_not_allowed() {
        for name in ["none", "None", "HS256", "HS512", "PS256", "EdDSA", "rs256", ""] {
            let header = encode(&format!(r#"{{"alg":"{name}"}}"#));
            let token = format!("{header}.e30.");
            let unverified = read(&token).unwrap();
            assert!(unverified.algorithm(&[Algorithm::RS256]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_token_for_two_parties_is_for_none() {
        for (aud, one, several) in [
            (r#""b""#, true, true),
            (r#"["b"]"#, true, true),
            (r#"["b","c"]"#, false, true),
            (r#"["b","b"]"#, false, true),
            (r#"["b",1]"#, false, false),
            (r#""b ""#, false, false),
            (r#""B""#, false, false),
            ("[]", false, false),
            ("null", false, false),
            (r#"{"b":1}"#, false, false),
        ] {
            let claims = parse_object(format!(r#"{{"aud":{aud}}}"#).as_bytes()).unwrap();
            let token = Verified(claims);
            let ours = |several| token.audiences(several).is_ok_and(|found| found.contains(&"b"));
            assert_eq!((ours(false), ours(true)), (one, several), "{aud}");
        }
    }
}
