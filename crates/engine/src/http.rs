//! The broker's API over HTTP: one client with kept connections, deadlines and bounded answers.

mod people;

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use guard_audit::{Event, PublicKey};
use guard_core::{
    ApprovalId, EgressId, LeaseId, Secret, SessionId, Timestamp,
    control::{
        ApiError, AppendEvents, Appended, ApprovalStatus, AskApproval, AskEgress, AskEnforcement,
        AskLease, Audience, Authorize, CancelApproval, EgressAnswer, EgressOutcome, EndSession,
        Enforcement, EnrolGateway, Lease, ReachedIsolation, RegisterGateway, RenewSession, Renewed,
        SealingKeyInfo, SealingKeys, SessionEnded, SessionState, UseApproval,
    },
};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use url::{Host, Url};

use crate::{
    control::{ControlError, ControlPlane, GatewayControl},
    egress::EgressJudge,
    keys::{GatewayIdentity, SessionKey},
};

/// A broker that does not take a connection for this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The broker answers from its own store; only its disk or a credential source can be slow.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Ending a session waits for gateways' last notes and seals the record.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// A request that no broker answered is made again for this long, where it may be done twice: behind a balancer another
/// broker may answer.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// A record can be long.
const RECORD_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answers hold a policy (1 MiB of YAML, escaped).
const MAX_ANSWER: usize = 8 << 20;
/// A record larger than this stays at the broker.
const MAX_RECORD: usize = 512 << 20;

/// The address of a broker, in the form that proofs name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl(String);

/// An address that cannot be a broker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBrokerUrl {
    /// Not an address at all.
    #[error("`{0}` is not the address of a broker: use `https://host[:port]`")]
    NotAnAddress(String),
    /// Tokens would travel in the clear.
    #[error(
        "`{0}` would send tokens in the clear: use `https://`; plain `http://` is for loopback addresses"
    )]
    Clear(String),
}

impl BrokerUrl {
    /// Takes `https://` addresses, and `http://` ones on loopback.
    pub fn parse(text: &str) -> Result<Self, InvalidBrokerUrl> {
        let not_an_address = || InvalidBrokerUrl::NotAnAddress(text.to_owned());
        let url = Url::parse(text).map_err(|_| not_an_address())?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !plain || url.host().is_none() {
            return Err(not_an_address());
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err(InvalidBrokerUrl::Clear(text.to_owned())),
            _ => return Err(not_an_address()),
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How requests show who makes them.
#[derive(Clone)]
pub enum Proof {
    /// Nobody in particular.
    None,
    /// A session: its token, and its key.
    Session(Arc<SessionKey>, Secret),
    /// A gateway.
    Gateway(Arc<GatewayIdentity>),
    /// Somebody who signed in: what the broker gave for it.
    Person(Secret),
}

/// A client of the broker's API.
#[derive(Clone)]
pub struct BrokerClient {
    broker: BrokerUrl,
    http: reqwest::Client,
    proof: Proof,
}

impl BrokerClient {
    /// A client that proves nothing yet.
    pub fn new(broker: BrokerUrl) -> Result<Self, ControlError> {
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("guard/", env!("CARGO_PKG_VERSION")));
        if Url::parse(broker.as_str()).is_ok_and(|url| is_loopback(&url)) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ControlError::Unproven(error.to_string()))?;
        Ok(Self { broker, http, proof: Proof::None })
    }

    /// The same client, proving who it is from now on.
    #[must_use]
    pub fn with_proof(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// The broker.
    pub fn broker(&self) -> &BrokerUrl {
        &self.broker
    }

    /// What an identity token must be for.
    pub async fn audience(&self) -> Result<Audience, ControlError> {
        self.get("/v1/audience", REQUEST_TIMEOUT).await
    }

    /// Lets this gateway's key in by a token.
    pub async fn enrol(&self, enrol: &EnrolGateway) -> Result<(), ControlError> {
        self.send(Method::POST, "/v1/gateways/enrol", Some(enrol)).await.map(drop)
    }

    /// Says where this gateway listens and what it shows.
    pub async fn register(&self, gateway: &RegisterGateway) -> Result<(), ControlError> {
        self.send(Method::PUT, "/v1/gateways/self", Some(gateway)).await.map(drop)
    }

    /// Asks for a grant that is enforced in the shim.
    pub async fn enforce(&self, ask: &AskEnforcement) -> Result<Enforcement, ControlError> {
        self.post_again("/v1/session/enforce", ask, REQUEST_TIMEOUT).await
    }

    /// Shows a fresh identity token of the session's job.
    pub async fn renew(&self, renew: &RenewSession) -> Result<Renewed, ControlError> {
        self.post_again("/v1/session/renew", renew, REQUEST_TIMEOUT).await
    }

    /// Says at which level of isolation a command is about to be run.
    pub async fn isolated(&self, reached: &ReachedIsolation) -> Result<(), ControlError> {
        let request = || {
            let request = self.request(&Method::POST, "/v1/session/isolation", REQUEST_TIMEOUT)?;
            Ok(request.json(reached))
        };
        self.answer_again(request, MAX_ANSWER).await.map(drop)
    }

    /// Says that the child is over; the record is sealed when this answers.
    pub async fn end(&self, end: &EndSession) -> Result<SessionEnded, ControlError> {
        self.post_again("/v1/session/end", end, END_TIMEOUT).await
    }

    /// The sealed record of this session.
    pub async fn record(&self) -> Result<Vec<u8>, ControlError> {
        let request = || self.request(&Method::GET, "/v1/session/record", RECORD_TIMEOUT);
        self.answer_again(request, MAX_RECORD).await
    }

    /// The proof that the seal of a session's record is in the broker's log, as a text. A broker that is older than its log has
    /// none.
    pub async fn log_proof(&self, session: SessionId) -> Result<String, ControlError> {
        self.log_text(&format!("/v1/log/proof/{session}")).await
    }

    /// The newest signed root of the broker's log with all keys of the log and their proofs, as a text.
    pub async fn log_key_proof(&self) -> Result<String, ControlError> {
        self.log_text("/v1/log/proof/key").await
    }

    /// The proof that the broker's log of one size holds all of a smaller one, as a text.
    pub async fn log_consistency(&self, from: u64, to: u64) -> Result<String, ControlError> {
        self.log_text(&format!("/v1/log/consistency?from={from}&to={to}")).await
    }

    async fn log_text(&self, path_and_query: &str) -> Result<String, ControlError> {
        let request = || self.request(&Method::GET, path_and_query, REQUEST_TIMEOUT);
        let answer = self.answer_again(request, MAX_ANSWER).await?;
        String::from_utf8(answer).map_err(|error| self.garbled(&error.to_string()))
    }

    /// The broker's signed statement about the sealed record of this session, one line of JSON.
    pub async fn attestation(&self) -> Result<Vec<u8>, ControlError> {
        let request = || self.request(&Method::GET, "/v1/session/attestation", RECORD_TIMEOUT);
        self.answer_again(request, MAX_ANSWER).await
    }

    /// The keys by which the broker says that it seals records.
    pub async fn sealing_keys(&self) -> Result<Vec<PublicKey>, ControlError> {
        let answer: SealingKeys = self.get("/v1/keys", REQUEST_TIMEOUT).await?;
        let parse = |info: &SealingKeyInfo| {
            info.key
                .parse()
                .map_err(|error: guard_audit::KeyError| self.garbled(&error.to_string()))
        };
        answer.keys.iter().map(parse).collect()
    }

    /// One exchange at the token endpoint (RFC 8693), which has errors of its own form.
    pub(crate) async fn token_form(
        &self,
        form: &[(&str, &str)],
        proof: String,
    ) -> Result<(u16, Vec<u8>), ControlError> {
        let request = self
            .http
            .post(format!("{}/oauth/token", self.broker))
            .timeout(REQUEST_TIMEOUT)
            .header("DPoP", proof)
            .form(form);
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status().as_u16();
        Ok((status, self.body(answer, MAX_ANSWER).await?))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path_and_query: &str,
        timeout: Duration,
    ) -> Result<T, ControlError> {
        let request = self.request(&Method::GET, path_and_query, timeout)?;
        self.parse(&self.answer(request, MAX_ANSWER).await?)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, ControlError> {
        let request = self.request(&Method::POST, path, timeout)?.json(body);
        self.parse(&self.answer(request, MAX_ANSWER).await?)
    }

    /// The same for what may be done twice: it is done once, or twice is as good.
    async fn post_again<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, ControlError> {
        let request = || Ok(self.request(&Method::POST, path, timeout)?.json(body));
        self.parse(&self.answer_again(request, MAX_ANSWER).await?)
    }

    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Vec<u8>, ControlError> {
        let mut request = self.request(&method, path, REQUEST_TIMEOUT)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request, MAX_ANSWER).await
    }

    fn request(
        &self,
        method: &Method,
        path_and_query: &str,
        timeout: Duration,
    ) -> Result<reqwest::RequestBuilder, ControlError> {
        let uri = format!("{}{path_and_query}", self.broker);
        let unproven = |error: crate::keys::KeyError| ControlError::Unproven(error.to_string());
        let request = self.http.request(method.clone(), &uri).timeout(timeout);
        Ok(match &self.proof {
            Proof::None => request,
            Proof::Session(key, token) => {
                let bare = uri.split_once('?').map_or(uri.as_str(), |(bare, _)| bare);
                let proof = key
                    .prove(method.as_str(), bare, Some(token), Timestamp::now())
                    .map_err(unproven)?;
                request
                    .header("Authorization", sensitive(&format!("DPoP {}", token.expose()))?)
                    .header("DPoP", proof)
            }
            Proof::Person(token) => {
                request.header("Authorization", sensitive(&format!("Bearer {}", token.expose()))?)
            }
            Proof::Gateway(identity) => {
                let assertion =
                    identity.assertion(self.broker.as_str(), Timestamp::now()).map_err(unproven)?;
                request.header("Authorization", sensitive(&format!("Bearer {assertion}"))?)
            }
        })
    }

    /// Asks until a broker answers, each time with a proof of its own.
    async fn answer_again(
        &self,
        request: impl Fn() -> Result<reqwest::RequestBuilder, ControlError>,
        max: usize,
    ) -> Result<Vec<u8>, ControlError> {
        let started = Instant::now();
        loop {
            match self.answer(request()?, max).await {
                Err(error) if error.is_unanswered() && started.elapsed() < RETRY_FOR => {
                    tracing::debug!(%error, "asking again");
                    sleep(RETRY_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        max: usize,
    ) -> Result<Vec<u8>, ControlError> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body = self.body(answer, max).await?;
        if status.is_success() {
            return Ok(body);
        }
        let error = serde_json::from_slice::<ApiError>(&body).unwrap_or_else(|_| ApiError {
            error: "unknown".into(),
            message: format!("it answered with status {status}"),
            decision_id: None,
        });
        Err(ControlError::Refused {
            status: status.as_u16(),
            code: error.error,
            message: error.message,
            decision_id: error.decision_id,
        })
    }

    async fn body(
        &self,
        mut answer: reqwest::Response,
        max: usize,
    ) -> Result<Vec<u8>, ControlError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > max {
                return Err(self.garbled(&format!("it is larger than {max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ControlError> {
        serde_json::from_slice(body).map_err(|error| self.garbled(&error.to_string()))
    }

    fn garbled(&self, reason: &str) -> ControlError {
        ControlError::Garbled { broker: self.broker.to_string(), reason: reason.to_owned() }
    }

    fn unreachable(&self, error: reqwest::Error) -> ControlError {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let reason =
            if error.is_timeout() { "it did not answer in time".into() } else { cause.to_string() };
        ControlError::Unreachable { broker: self.broker.to_string(), reason }
    }
}

/// A header value that HTTP libraries keep out of their logs.
fn sensitive(value: &str) -> Result<reqwest::header::HeaderValue, ControlError> {
    let mut value = reqwest::header::HeaderValue::from_str(value).map_err(|_| {
        ControlError::Unproven("the token holds characters that no header may".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl EgressJudge for BrokerClient {
    fn egress<'a>(
        &'a self,
        ask: &'a AskEgress,
    ) -> BoxFuture<'a, Result<EgressAnswer, ControlError>> {
        // Once: each asking is an attempt in the record.
        self.post("/v1/session/egress", ask, REQUEST_TIMEOUT).boxed()
    }

    fn egress_ended(
        &self,
        id: EgressId,
        outcome: EgressOutcome,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            let path = format!("/v1/session/egress/{id}");
            self.send(Method::POST, &path, Some(&outcome)).await.map(drop)
        }
        .boxed()
    }
}

impl ControlPlane for BrokerClient {
    fn lease<'a>(&'a self, ask: &'a AskLease) -> BoxFuture<'a, Result<Lease, ControlError>> {
        self.post_again("/v1/leases", ask, REQUEST_TIMEOUT).boxed()
    }

    fn release(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            let path = format!("/v1/leases/{lease}/release");
            let request = || self.request(&Method::POST, &path, REQUEST_TIMEOUT);
            self.answer_again(request, MAX_ANSWER).await.map(drop)
        }
        .boxed()
    }

    fn append<'a>(
        &'a self,
        events: &'a AppendEvents<Event>,
    ) -> BoxFuture<'a, Result<Appended, ControlError>> {
        self.post("/v1/record", events, REQUEST_TIMEOUT).boxed()
    }

    fn ask_approval<'a>(
        &'a self,
        ask: &'a AskApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        self.post_again("/v1/approvals", ask, REQUEST_TIMEOUT).boxed()
    }

    fn approval_state(
        &self,
        session: SessionId,
        id: ApprovalId,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        let path = format!("/v1/approvals/{id}/state?session={session}&wait={}", wait.as_secs());
        async move { self.get(&path, wait + REQUEST_TIMEOUT).await }.boxed()
    }

    fn use_approval<'a>(
        &'a self,
        id: ApprovalId,
        ask: &'a UseApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        // Once: whether an answer that is lost was a yes is not known, and so it is a no.
        async move { self.post(&format!("/v1/approvals/{id}/use"), ask, REQUEST_TIMEOUT).await }
            .boxed()
    }

    fn cancel_approval(
        &self,
        session: SessionId,
        id: ApprovalId,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        async move {
            let path = format!("/v1/approvals/{id}/cancel");
            self.post_again(&path, &CancelApproval { session }, REQUEST_TIMEOUT).await
        }
        .boxed()
    }

    fn state(
        &self,
        session: SessionId,
        after: u64,
        wait: Duration,
    ) -> BoxFuture<'_, Result<SessionState, ControlError>> {
        let query = format!("after={after}&wait={}", wait.as_secs());
        let path = match &self.proof {
            Proof::Gateway(_) => format!("/v1/sessions/{session}/state?{query}"),
            Proof::Session(..) | Proof::Person(_) | Proof::None => {
                format!("/v1/session/state?{query}")
            }
        };
        async move { self.get(&path, wait + REQUEST_TIMEOUT).await }.boxed()
    }
}

impl GatewayControl for BrokerClient {
    fn authorize<'a>(
        &'a self,
        ask: &'a Authorize,
    ) -> BoxFuture<'a, Result<Enforcement, ControlError>> {
        self.post("/v1/sessions/authorize", ask, REQUEST_TIMEOUT).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_in_the_clear_on_loopback_only() {
        for (text, expected) in [
            ("https://guard.example.com", Some("https://guard.example.com")),
            ("https://guard.example.com/base/", Some("https://guard.example.com/base")),
            ("http://127.0.0.1:8440/", Some("http://127.0.0.1:8440")),
            ("http://[::1]:8440", Some("http://[::1]:8440")),
            ("http://localhost:1", Some("http://localhost:1")),
            ("http://guard.example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("https://user:secret@guard.example.com", None),
            ("https://guard.example.com?x=1", None),
            ("ftp://127.0.0.1", None),
            ("guard.example.com", None),
        ] {
            let url = BrokerUrl::parse(text).ok();
            assert_eq!(url.as_ref().map(BrokerUrl::as_str), expected, "{text}");
        }
    }
}
