//! The issuers' keys: found by discovery or in a file, kept, renewed before they are old.
//!
//! Only configured issuers are ever asked, at the address that stands in the configuration; nothing
//! in a token leads anywhere. One fetch runs at a time for each issuer. An unknown `kid` starts one fetch in [`COOL_DOWN`],
//! and all of them together [`MAX_EARLY`]. When the issuer is down or hangs the last good keys hold for its `stale`, and
//! nobody waits whose key is among them.

mod keys;

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use guard_policy::Who;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    claims,
    config::{IssuerConfig, KeySource, is_safe_url},
    error::chain,
    jws::{self, Fault, Verified},
};
use keys::KeySet;

/// An issuer that does not answer for this long is down.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Discovery documents and key sets have some 10 kB.
const MAX_DOCUMENT: usize = 256 * 1024;
/// The time in which [`MAX_EARLY`] is counted.
const COOL_DOWN: Duration = Duration::from_secs(60);
/// Fetches for one issuer before its keys are old, whatever `kid`s strangers send: enough for a key that
/// was just changed, too few to be a burden for the issuer.
const MAX_EARLY: usize = 5;
/// The time in which [`MAX_FAILED`] is counted.
const RETRY: Duration = Duration::from_secs(10);
/// An issuer that is down is asked again this often, so that it is found soon when it comes back.
const MAX_FAILED: usize = 5;
/// Unknown `kid`s that are remembered; more than [`MAX_EARLY`] start no fetch anyway.
const MAX_UNKNOWN: usize = 256;
/// A longer name of a key is nobody's.
const MAX_KID: usize = 256;
/// However short `refresh` is, an issuer is not asked more often without an exchange.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// All configured issuers.
#[derive(Debug)]
pub(crate) struct Issuers {
    audience: String,
    issuers: Vec<Issuer>,
}

#[derive(Debug)]
struct Issuer {
    config: IssuerConfig,
    http: reqwest::Client,
    kept: RwLock<Option<Kept>>,
    /// Held while keys are fetched, so that one fetch serves all.
    asked: tokio::sync::Mutex<Asked>,
}

/// When keys were asked for.
#[derive(Debug, Default)]
struct Asked {
    /// The times lately at which nothing came of it.
    failed: Vec<Instant>,
    /// The times lately at which the kept keys were not old.
    early: Vec<Instant>,
    /// Unknown `kid`s for which they were asked for lately.
    unknown: BTreeMap<String, Instant>,
}

#[derive(Debug, Clone)]
struct Kept {
    keys: Arc<KeySet>,
    since: Instant,
}

/// Why a token was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The token is at fault.
    #[error("the identity token is refused: {0}")]
    Token(#[from] Fault),
    /// The issuer's keys could not be had.
    #[error("the keys of issuer `{issuer}` cannot be had: {reason}")]
    Keys {
        /// The issuer's name.
        issuer: String,
        /// Why.
        reason: String,
    },
}

/// RFC 8628 section 4.
const DEVICE: &str = "device_authorization_endpoint";
/// RFC 9207 section 3.
const SAYS_WHO: &str = "authorization_response_iss_parameter_supported";

/// Where an issuer lets people sign in.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    /// Where a browser goes.
    pub(crate) authorization: Url,
    /// Where a code is given for tokens.
    pub(crate) token: Url,
    /// Where a device begins to sign somebody in (RFC 8628), if it can.
    pub(crate) device: Option<Url>,
    /// Whether it says who it is when it sends a browser back (RFC 9207).
    pub(crate) says_who: bool,
}

/// An address of a discovery document: `https`, unless the issuer itself is on this machine.
fn safe(document: &Map<String, Value>, name: &str, issuer: &str) -> Result<Url, String> {
    let text = document.get(name).and_then(Value::as_str).unwrap_or_default();
    Url::parse(text)
        .ok()
        .filter(is_safe_url)
        .filter(|url| url.scheme() == "https" || issuer.starts_with("http://"))
        .ok_or_else(|| format!("`{name}` is no `https` address"))
}

// === impl Issuers ===

impl Issuers {
    /// Takes the configured issuers; nothing is fetched before the first token.
    pub(crate) fn new(audience: &str, configs: &[IssuerConfig]) -> Result<Self, reqwest::Error> {
        let issuers = configs.iter().map(|config| {
            let mut http = reqwest::Client::builder()
                .timeout(FETCH_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("guard-broker/", env!("CARGO_PKG_VERSION")));
            if Url::parse(&config.url).is_ok_and(|url| url.scheme() == "http") {
                http = http.no_proxy();
            }
            Ok(Issuer {
                config: config.clone(),
                http: http.build()?,
                kept: RwLock::default(),
                asked: tokio::sync::Mutex::default(),
            })
        });
        Ok(Self { audience: audience.to_owned(), issuers: issuers.collect::<Result<_, _>>()? })
    }

    /// Has all keys at hand and renews them before they are old, until `stop`: so that no exchange waits for an issuer, and
    /// an issuer that cannot be reached is in the log before somebody needs it.
    pub(crate) async fn look_after(&self, stop: &CancellationToken) {
        let all = self.issuers.iter().map(Issuer::look_after);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = futures_util::future::join_all(all) => {}
        }
    }

    /// Verifies an identity token that was shown with the key of a thumbprint, and says whose run it is.
    pub(crate) async fn verify(
        &self,
        token: &str,
        thumbprint: &str,
        now: guard_core::Timestamp,
    ) -> Result<claims::VerifiedRun, IdentityError> {
        let (issuer, verified) = self.signed(token).await?;
        Ok(claims::identify(&verified, &issuer.config, &self.audience, thumbprint, now)?)
    }

    /// Verifies an identity token that a gateway showed with the key of a thumbprint.
    pub(crate) async fn verify_gateway(
        &self,
        token: &str,
        thumbprint: &str,
        who: &Who,
        now: guard_core::Timestamp,
    ) -> Result<claims::VerifiedGateway, IdentityError> {
        let (issuer, verified) = self.signed(token).await?;
        Ok(claims::gateway(&verified, &issuer.config, &self.audience, thumbprint, who, now)?)
    }

    /// A token that a configured issuer signed, whatever it says.
    async fn signed(&self, token: &str) -> Result<(&Issuer, Verified), IdentityError> {
        let unverified = jws::read(token)?;
        let issuer = unverified
            .claimed_issuer()
            .and_then(|url| self.issuers.iter().find(|issuer| issuer.config.url == url))
            .ok_or_else(|| Fault::new("its issuer is not configured"))?;
        let algorithm = unverified.algorithm(&issuer.config.algorithms)?;
        match unverified.header_text("typ") {
            Some(typ) if typ.eq_ignore_ascii_case("JWT") => {}
            None if !unverified.header.contains_key("typ") => {}
            Some(_) | None => return Err(Fault::new("its `typ` is not `JWT`").into()),
        }
        let kid =
            unverified.header_text("kid").ok_or_else(|| Fault::new("its header has no `kid`"))?;
        let key = issuer.key(kid, algorithm).await?;
        Ok((issuer, unverified.verify(&key, algorithm)?))
    }

    /// A token that the first issuer signed, whatever it says.
    pub(crate) async fn vouched(&self, token: &str) -> Result<Verified, IdentityError> {
        self.signed(token).await.map(|(_, verified)| verified)
    }

    /// Where the first issuer lets people sign in.
    pub(crate) async fn endpoints(&self) -> Result<Endpoints, String> {
        let Some(issuer) = self.issuers.first() else { return Err("there is no issuer".into()) };
        let document = issuer.discovered().await?;
        let address = |name| safe(&document, name, &issuer.config.url);
        Ok(Endpoints {
            authorization: address("authorization_endpoint")?,
            token: address("token_endpoint")?,
            device: match document.get(DEVICE) {
                Some(_) => Some(address(DEVICE)?),
                None => None,
            },
            says_who: document.get(SAYS_WHO).and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Whether a configured issuer signed a token.
    pub(crate) async fn authentic(&self, token: &str) -> Result<(), IdentityError> {
        self.signed(token).await.map(drop)
    }
}

// === impl Asked ===

impl Asked {
    /// Whether keys that are not old are asked for again, since a token names one that is not among them.
    fn may_look_for(&mut self, kid: &str) -> bool {
        self.early.retain(|at| at.elapsed() < COOL_DOWN);
        self.unknown.retain(|_, at| at.elapsed() < COOL_DOWN);
        let may = self.early.len() < MAX_EARLY && !self.unknown.contains_key(kid);
        if may {
            self.early.push(Instant::now());
            if self.unknown.len() < MAX_UNKNOWN {
                self.unknown.insert(kid.to_owned(), Instant::now());
            }
        }
        may
    }
}

// === impl Issuer ===

impl Issuer {
    async fn look_after(&self) {
        let early = (self.config.refresh / 4 * 3).max(MIN_PAUSE);
        loop {
            let age = self.kept().map(|kept| kept.since.elapsed());
            let pause = match age {
                Some(age) if age < early => early.saturating_sub(age),
                Some(_) | None => {
                    let mut asked = self.asked.lock().await;
                    match self.renewed(&mut asked).await {
                        Ok(_) => early,
                        Err(_) => RETRY.min(early),
                    }
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn key(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, IdentityError> {
        if kid.len() > MAX_KID {
            return Err(Fault::new("its `kid` is too long").into());
        }
        let before = Instant::now();
        let kept = self.kept();
        let known = kept.as_ref().and_then(|kept| kept.keys.find(kid, algorithm).transpose());
        if let (Some(kept), Some(found)) = (kept, known) {
            let age = kept.since.elapsed();
            // Somebody asks already, or the issuer did not answer just now: who has a key need not wait for that.
            if age < self.config.refresh || (age < self.stale() && self.is_in_trouble()) {
                return Ok(found?);
            }
        }
        let keys = self.refreshed(kid, before).await?;
        match keys.find(kid, algorithm)? {
            Some(key) => Ok(key),
            None => Err(Fault::new("its `kid` is no key of its issuer").into()),
        }
    }

    fn is_in_trouble(&self) -> bool {
        self.asked
            .try_lock()
            .map_or(true, |asked| asked.failed.iter().any(|at| at.elapsed() < RETRY))
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// How long the last good keys hold.
    fn stale(&self) -> Duration {
        self.config.stale.max(self.config.refresh)
    }

    /// Fetches the keys for an exchange, unless somebody did since `before`, or too many did.
    async fn refreshed(&self, kid: &str, before: Instant) -> Result<Arc<KeySet>, IdentityError> {
        let mut asked = self.asked.lock().await;
        if let Some(kept) = self.kept().filter(|kept| kept.since > before) {
            return Ok(kept.keys);
        }
        asked.failed.retain(|at| at.elapsed() < RETRY);
        let fresh = self.kept().is_some_and(|kept| kept.since.elapsed() < self.config.refresh);
        let reason = if asked.failed.len() >= MAX_FAILED {
            "they could not be had a moment ago".to_owned()
        } else if fresh && !asked.may_look_for(kid) {
            "they were asked for too often".to_owned()
        } else {
            match self.renewed(&mut asked).await {
                Ok(keys) => return Ok(keys),
                Err(reason) => {
                    // Nothing was learnt of it.
                    asked.unknown.remove(kid);
                    reason
                }
            }
        };
        match self.kept() {
            Some(kept) if kept.since.elapsed() < self.stale() => Ok(kept.keys),
            Some(_) | None => Err(IdentityError::Keys { issuer: self.config.name.clone(), reason }),
        }
    }

    /// Fetches the keys and keeps them. An error leaves those that are kept.
    async fn renewed(&self, asked: &mut Asked) -> Result<Arc<KeySet>, String> {
        match self.fetch().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let kept = Kept { keys: keys.clone(), since: Instant::now() };
                let mut slot = self.kept.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                *slot = Some(kept);
                asked.failed.clear();
                Ok(keys)
            }
            Err(reason) => {
                asked.failed.retain(|at| at.elapsed() < RETRY);
                asked.failed.push(Instant::now());
                tracing::warn!(issuer = self.config.name, reason, "no keys of an issuer");
                Err(reason)
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let document = match &self.config.keys {
            KeySource::File(path) => tokio::fs::read(path)
                .await
                .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?,
            KeySource::Discovery => {
                let uri = self.discover().await?;
                self.fetch_document(uri).await?
            }
        };
        KeySet::parse(&document, &self.config.algorithms)
    }

    /// Where the keys are.
    async fn discover(&self) -> Result<Url, String> {
        safe(&self.discovered().await?, "jwks_uri", &self.config.url)
    }

    /// OpenID Connect Discovery 1.0, section 4: the document, if it is the issuer's own.
    async fn discovered(&self) -> Result<Map<String, Value>, String> {
        let url = &self.config.url;
        let at = format!("{}/.well-known/openid-configuration", url.trim_end_matches('/'));
        let at = Url::parse(&at).map_err(|error| error.to_string())?;
        let document = self.fetch_document(at).await?;
        let document = jws::parse_object(&document).map_err(|error| error.to_string())?;
        if document.get("issuer").and_then(Value::as_str) != Some(url) {
            return Err("the discovery document is of another issuer".into());
        }
        Ok(document)
    }

    async fn fetch_document(&self, at: Url) -> Result<Vec<u8>, String> {
        let mut answer = self.http.get(at.clone()).send().await.map_err(|error| chain(&error))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("`{at}` answered with status {}", answer.status().as_u16()));
        }
        let mut document = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| chain(&error))? {
            if document.len() + piece.len() > MAX_DOCUMENT {
                return Err(format!("`{at}` answered with more than {MAX_DOCUMENT} bytes"));
            }
            document.extend_from_slice(&piece);
        }
        Ok(document)
    }
}
