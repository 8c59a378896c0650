//! The provider: where it lets people sign in, and what its ID tokens say.
//!
//! The code flow with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636). ID tokens are read as strictly as those of jobs,
//! by the same code: the algorithm and the key are of the provider's published ones, the audience is the broker's client and
//! nobody else, the nonce is the one that was sent with this browser.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{Digest, Timestamp};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    config::PeopleConfig,
    credentials::read_secret,
    error::chain,
    issuers::{Endpoints, Issuers},
    jws::{Fault, Verified},
};

/// How long the provider's addresses are kept.
const KEPT: Duration = Duration::from_secs(300);
/// How much its clock may differ.
const LEEWAY: i64 = 60;
/// An answer with tokens is not longer.
const MAX_ANSWER: usize = 128 * 1024;
/// Groups of a person, and characters of a text about them.
const MAX_GROUPS: usize = 1_000;
const MAX_TEXT: usize = 256;
/// By these somebody is compared with who started a run, besides what the configuration names.
pub(super) const COMPARED: [&str; 5] = ["preferred_username", "nickname", "email", "upn", "sub"];

/// The provider.
#[derive(Debug)]
pub(crate) struct Provider {
    config: PeopleConfig,
    issuers: Issuers,
    http: reqwest::Client,
    endpoints: RwLock<Option<(Endpoints, Instant)>>,
}

/// Why nobody was signed in. For the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// The provider cannot be reached or is not one.
    #[error("the provider: {0}")]
    Provider(String),
    /// It does not take the code.
    #[error("the provider refuses the code: {0}")]
    Code(String),
    /// Its token is at fault.
    #[error("the ID token is refused: {0}")]
    Token(#[from] Fault),
}

/// Who somebody is, by an ID token.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) subject: String,
    pub(super) name: String,
    pub(super) groups: BTreeSet<String>,
    /// What they are compared with a run's starter by.
    pub(super) claims: BTreeMap<String, String>,
}

impl Provider {
    pub(crate) fn new(config: &PeopleConfig) -> Result<Self, reqwest::Error> {
        let issuers = Issuers::new(&config.client_id, std::slice::from_ref(&config.issuer))?;
        let mut http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("guard-broker/", env!("CARGO_PKG_VERSION")));
        if config.issuer.url.starts_with("http://") {
            http = http.no_proxy();
        }
        let http = http.build()?;
        Ok(Self { config: config.clone(), issuers, http, endpoints: RwLock::default() })
    }

    /// Its name.
    pub(super) fn issuer(&self) -> &str {
        &self.config.issuer.url
    }

    /// Whether it is the one of a configuration.
    pub(crate) fn is_of(&self, config: &PeopleConfig) -> bool {
        let PeopleConfig { issuer, client_id, .. } = config;
        (&self.config.issuer.url, &self.config.client_id) == (&issuer.url, client_id)
    }

    pub(super) async fn endpoints(&self) -> Result<Endpoints, SignInError> {
        let kept = self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((endpoints, _)) = kept.filter(|(_, since)| since.elapsed() < KEPT) {
            return Ok(endpoints);
        }
        let found = self.issuers.endpoints().await.map_err(SignInError::Provider)?;
        let mut kept = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((found.clone(), Instant::now()));
        Ok(found)
    }

    /// Where the browser goes to sign in.
    pub(super) async fn address(
        &self,
        back: &str,
        state: &str,
        nonce: &str,
        verifier: &str,
    ) -> Result<Url, SignInError> {
        let mut url = self.endpoints().await?.authorization;
        let challenge = URL_SAFE_NO_PAD.encode(Digest::of(verifier).as_bytes());
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", &self.scopes())
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// What the broker asks to know of people.
    pub(super) fn scopes(&self) -> String {
        let mut scopes = vec!["openid", "profile", "email"];
        scopes.extend(self.config.scopes.iter().map(String::as_str));
        scopes.join(" ")
    }

    /// Gives a code for an ID token, and says whom it vouches for.
    pub(super) async fn redeem(
        &self,
        code: &str,
        back: &str,
        nonce: &str,
        verifier: &str,
    ) -> Result<Vouched, SignInError> {
        let form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("code_verifier", verifier),
        ];
        let (status, body) = self.post(self.endpoints().await?.token, form).await?;
        if status != reqwest::StatusCode::OK {
            return Err(SignInError::Code(format!("{} {}", status.as_u16(), error_of(&body))));
        }
        self.vouched(&body, Some(nonce)).await
    }

    /// Asks the provider as its client.
    pub(super) async fn post<'a>(
        &'a self,
        url: Url,
        mut form: Vec<(&'a str, &'a str)>,
    ) -> Result<(reqwest::StatusCode, Value), SignInError> {
        let mut request = self.http.post(url);
        match &self.config.client_secret {
            Some(source) => {
                let secret =
                    read_secret(source).await.map_err(|error| SignInError::Provider(error.0))?;
                let encode = |text: &str| {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                // RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
                let (id, secret) = (encode(&self.config.client_id), encode(secret.expose()));
                request = request.basic_auth(id, Some(secret));
            }
            None => form.push(("client_id", &self.config.client_id)),
        }
        let provider = |error: reqwest::Error| SignInError::Provider(chain(&error.without_url()));
        let mut answer = request.form(&form).send().await.map_err(provider)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(provider)? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(SignInError::Provider("its answer is too long".into()));
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Whom an answer with tokens vouches for.
    pub(super) async fn vouched(
        &self,
        body: &Value,
        nonce: Option<&str>,
    ) -> Result<Vouched, SignInError> {
        let token = body.get("id_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| SignInError::Code("there is no ID token".into()))?;
        let verified = self
            .issuers
            .vouched(token)
            .await
            .map_err(|error| SignInError::Provider(chain(&error)))?;
        Ok(self.read(&verified, nonce, Timestamp::now())?)
    }

    /// OpenID Connect Core 1.0 section 3.1.3.7.
    fn read(
        &self,
        token: &Verified,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Vouched, Fault> {
        token.require_audience(&self.config.client_id)?;
        if token.has("azp") && token.text("azp")? != self.config.client_id {
            return Err(Fault::new("its `azp` is another client"));
        }
        if let Some(nonce) = nonce
            && token.text("nonce")? != nonce
        {
            return Err(Fault::new("its nonce is another sign-in's"));
        }
        let seconds = now.as_second();
        if token.moment("exp")?.as_second() + LEEWAY <= seconds {
            return Err(Fault::new("it has expired"));
        }
        if token.moment("iat")?.as_second() > seconds + LEEWAY {
            return Err(Fault::new("it is from the future"));
        }
        let subject = token.text("sub")?;
        let claims = token.claims();
        let words = |name: &str| claims.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
        let name = ["name", "preferred_username", "email"].into_iter().find_map(words);
        let pointer = Value::Object(claims.clone()).pointer(&self.config.groups).cloned();
        let groups = match pointer {
            Some(Value::Array(items)) => {
                let names = items.iter().filter_map(Value::as_str).take(MAX_GROUPS);
                names.map(str::to_owned).collect()
            }
            Some(Value::String(one)) => BTreeSet::from([one]),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                BTreeSet::new()
            }
        };
        let named = self.config.same_person.iter().map(|pair| pair.person.as_str());
        let claims = COMPARED.into_iter().chain(named).filter_map(|name| {
            let value = word(claims, name)?;
            (value.chars().count() <= MAX_TEXT).then(|| (name.to_owned(), value))
        });
        Ok(Vouched {
            subject: subject.to_owned(),
            name: text(name.unwrap_or(subject)),
            groups,
            claims: claims.collect(),
        })
    }
}

/// A claim as text, by its name or by where it stands (RFC 6901).
pub(super) fn word(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let value = match name.strip_prefix('/') {
        Some(path) => {
            let (first, rest) = match path.split_once('/') {
                Some((first, rest)) => (first, Some(rest)),
                None => (path, None),
            };
            let first = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
            match rest {
                Some(rest) => first.pointer(&format!("/{rest}")),
                None => Some(first),
            }
        }
        None => claims.get(name),
    };
    match value? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::String(_)
        | Value::Number(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

/// The `error` of an answer (RFC 6749 section 5.2).
pub(super) fn error_of(body: &Value) -> String {
    text(body.get("error").and_then(Value::as_str).unwrap_or_default())
}

fn text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}
