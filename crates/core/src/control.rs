//! Wire forms between the data path and the broker: JSON bodies of the broker's API.
//!
//! | call | by | proof | body → answer |
//! | --- | --- | --- | --- |
//! | `POST /oauth/token` | shim | DPoP proof, no token yet | RFC 8693 form (`scope`: resource names) → [`ExchangeAnswer`] |
//! | `GET /v1/audience` | anyone | none | [`Audience`] |
//! | `GET /v1/keys` | anyone | none | [`SealingKeys`] |
//! | `GET /v1/session/state?after=&wait=` | shim | session | [`SessionState`]; counts as heartbeat |
//! | `POST /v1/session/enforce` | shim | session | [`AskEnforcement`] → [`Enforcement`] |
//! | `POST /v1/session/isolation` | shim | session | [`ReachedIsolation`] → 204 |
//! | `POST /v1/session/egress` | shim | session | [`AskEgress`] → [`EgressAnswer`] |
//! | `POST /v1/session/egress/{id}` | shim | session | [`EgressOutcome`] → 204 |
//! | `POST /v1/session/renew` | shim | session | [`RenewSession`] → [`Renewed`] |
//! | `POST /v1/session/end` | shim | session | [`EndSession`] → [`SessionEnded`] |
//! | `GET /v1/session/record` | shim | session, also after its end | the sealed record, as stored |
//! | `GET /v1/session/attestation` | shim | session, also after its end | an in-toto statement about it, in a DSSE envelope |
//! | `POST /v1/gateways/enrol` | gateway to be | gateway, with a key that is not known yet | [`EnrolGateway`] → 204 |
//! | `PUT /v1/gateways/self` | gateway | gateway | [`RegisterGateway`] → 204 |
//! | `POST /v1/sessions/authorize` | gateway | gateway | [`Authorize`] → [`Enforcement`] |
//! | `GET /v1/sessions/{id}/state?wait=` | gateway | gateway | [`SessionState`] |
//! | `POST /v1/leases` | both | either | [`AskLease`] → [`Lease`] |
//! | `POST /v1/leases/{id}/release` | both | either | → 204 |
//! | `POST /v1/record` | both | either | [`AppendEvents`] → [`Appended`] |
//! | `POST /v1/approvals` | both | either | [`AskApproval`] → [`ApprovalStatus`] |
//! | `GET /v1/approvals/{id}/state?session=&wait=` | both | either | [`ApprovalStatus`], as a long poll while it waits |
//! | `POST /v1/approvals/{id}/use` | both | either | [`UseApproval`] → [`ApprovalStatus`]: `used`, or the state that it is in |
//! | `POST /v1/approvals/{id}/cancel` | both | either | [`CancelApproval`] → [`ApprovalStatus`] |
//!
//! Proofs. *Session*: `Authorization: DPoP <access token>` with a `DPoP` header (RFC 9449: ES256, `jwk` in the
//! header, `jti` once, `iat` within a minute, `htm`, `htu` = the broker's URL and path, `ath`). *Gateway*:
//! `Authorization: Bearer <assertion>`, a JWT that the gateway signs itself (ES256, `typ` =
//! [`GATEWAY_ASSERTION_TYPE`], its public `jwk` in the header, `iss` = `sub` = its name, `aud` = the broker's URL,
//! `iat`, `exp` at most 60 s later, `jti`); the broker knows the RFC 7638 thumbprint of each gateway's key,
//! by its configuration or by a token that let it in.
//! *Tunnel* (shim to gateway): a session proof with `htm` = `POST` and `htu` = `https://<gateway address>/v1/tunnel/<resource>`,
//! which the gateway passes on in [`Authorize`].
//!
//! Errors outside `/oauth/token` are an [`ApiError`] with a fitting status: 401 `unauthorized`, 403 `forbidden`,
//! 404 `not-found`, 409 `gap` (record), 409 `policy-changed` (approvals), 429 `too-many` (approvals), 410 `session-over`, 422 `invalid`, 503 `lease-unavailable`, 507 `record-unavailable`.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    ApprovalId, ApprovalState, ApprovalSubject, ApprovalWait, Denial, Detector, Digest, EgressId,
    EndReason, Grant, Identity, Isolation, LeaseId, PersonRef, PolicyName, ResourceName,
    ResourceSpec, RuleId, Secret, SessionId, StepName, Timestamp, egress::EgressTerms,
};

/// RFC 8693 section 2.1: the grant type of a token exchange.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 section 3: an OpenID Connect identity token.
pub const ID_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";
/// RFC 8693 section 3: an access token.
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// `typ` of the JWT by which a gateway shows who it is.
pub const GATEWAY_ASSERTION_TYPE: &str = "guard-gateway+jwt";

/// Answer of `POST /oauth/token` (RFC 8693 section 2.2.1, RFC 9449 section 5) with guard's members.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExchangeAnswer {
    /// The session token: opaque, bound to the key of the DPoP proof.
    pub access_token: Secret,
    /// Always [`ACCESS_TOKEN_TYPE`].
    pub issued_token_type: String,
    /// Always `DPoP`.
    pub token_type: String,
    /// Seconds until the session ends.
    pub expires_in: u64,
    /// The session, for the shim.
    pub session: SessionInfo,
}

/// A session as its own shim may see it: no policy text, no credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// The run it was given to.
    pub identity: Identity,
    /// The trust rule that gave it.
    pub trust_rule: String,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub until: Timestamp,
    /// Seconds between two heartbeats of the shim.
    pub heartbeat_secs: u64,
    /// How many seconds a fresh identity token keeps it alive. `None`: heartbeats do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_secs: Option<u64>,
    /// What it may reach.
    pub grants: Vec<GrantInfo>,
    /// The level of isolation that the trust rule asks for: a shim that does not reach it runs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Whether a policy lists where its commands may go besides: they get a way through the shim then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub egress: bool,
    /// What its policies have detectors for: it has no place in a job's log either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detect: Vec<Detector>,
}

/// One grant as the shim may see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GrantInfo {
    /// Resource, policy and end.
    #[serde(flatten)]
    pub grant: Grant,
    /// The database that clients are told to ask for.
    pub database: String,
    /// The resource's kind.
    pub kind: crate::ResourceKind,
    /// Where it is enforced.
    pub enforce_at: crate::EnforceAt,
    /// Whether its policy refuses, or only says what it would refuse.
    #[serde(default)]
    pub mode: crate::Mode,
    /// The gateway to go to, when it is enforced there and one is registered.
    pub gateway: Option<GatewayInfo>,
    /// `host:port` by which clients of an API reach it with TLS where there is no guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The service of AWS that it is, if requests to it are signed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<crate::AwsService>,
}

/// How to reach a gateway and how to know that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayInfo {
    /// Its name in the broker's configuration.
    pub name: String,
    /// `host:port` of its tunnel listener.
    pub address: String,
    /// SHA-256 of the DER certificate that it shows: the shim accepts this one and no other.
    pub certificate: Digest,
}

/// Body of `POST /v1/gateways/enrol`: a token that lets this gateway's key in, once. The same token with the same key is
/// answered again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolGateway {
    /// The token, as `guard-broker gateways enrol` printed it; or an identity token, where the broker's configuration
    /// says `identity` of the gateway.
    pub token: Secret,
}

/// Body of `PUT /v1/gateways/self`: a gateway says where it listens and what it shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterGateway {
    /// `host:port` where shims reach it.
    pub address: String,
    /// SHA-256 of its DER certificate.
    pub certificate: Digest,
    /// Its version, for people.
    pub version: String,
}

/// Body of `POST /v1/sessions/authorize`: a gateway shows what a shim showed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authorize {
    /// The session token.
    pub access_token: Secret,
    /// The DPoP proof (RFC 9449) that came with it.
    pub proof: String,
    /// The method that the proof must name (`htm`).
    pub method: String,
    /// The address that the proof must name (`htu`).
    pub uri: String,
    /// The resource that the shim asks for.
    pub resource: ResourceName,
}

/// What an enforcement point needs to serve one resource for one session. Answer of
/// `POST /v1/sessions/authorize` (gateway) and of `POST /v1/session/enforce` (shim; only for grants
/// that are enforced there).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enforcement {
    /// The session.
    pub session: SessionId,
    /// The run.
    pub identity: Identity,
    /// The grant.
    pub grant: Grant,
    /// The resource.
    pub resource: ResourceSpec,
    /// The policy's source.
    pub policy: PolicySource,
    /// Key of the masks `hash` and `format`, base64: stable within the session, unknown to the job.
    pub mask_key: Secret,
    /// The key of masks that are the same in every session, base64, if the policy asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting_mask_key: Option<Secret>,
}

/// A policy as it travels: its source and the digest that names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicySource {
    /// Its name.
    pub name: PolicyName,
    /// The YAML.
    pub yaml: String,
    /// The text of the lock that it names, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// SHA-256 of the YAML, or over it and the lock.
    pub digest: Digest,
}

impl PolicySource {
    /// A policy's source with its digest.
    pub fn new(name: PolicyName, yaml: String, lock: Option<String>) -> Self {
        let digest = Self::digest_of(&yaml, lock.as_deref());
        Self { name, yaml, lock, digest }
    }

    /// What names a policy with its lock: of one without a lock, SHA-256 of its text.
    pub fn digest_of(yaml: &str, lock: Option<&str>) -> Digest {
        match lock {
            None => Digest::of(yaml),
            Some(lock) => Digest::of(format!(
                "guard-policy-and-lock/1 {} {}",
                Digest::of(yaml),
                Digest::of(lock)
            )),
        }
    }
}

/// Body of `POST /v1/leases`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskLease {
    /// The session.
    pub session: SessionId,
    /// The resource.
    pub resource: ResourceName,
}

/// Answer of `POST /v1/leases`: a credential, for this session only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// The lease.
    pub id: LeaseId,
    /// User name at the resource.
    pub username: String,
    /// Password at the resource.
    pub password: Secret,
    /// What belongs to a temporary access key of AWS, besides: user name and password are the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// PEM of a certificate and those between it and its authority: the password is its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub until: Timestamp,
}

/// Body of `POST /v1/approvals`: an operation that rules of the session's policy want people to decide on.
///
/// Who may decide, how many and until when is the broker's to know, by the rules' names and the policy that it gave to the session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskApproval {
    /// Names the request, so that asking twice is asking once.
    pub id: ApprovalId,
    /// The session.
    pub session: SessionId,
    /// The resource.
    pub resource: ResourceName,
    /// SHA-256 of the policy by which it was judged.
    pub policy: Digest,
    /// The rules that ask, in their order.
    pub rules: Vec<RuleId>,
    /// The stream of the enforcement point in the session's record.
    pub writer: String,
    /// The operation's number in it.
    pub operation: u64,
    /// What does not go on, in words: ``held DELETE on `public.users` ``.
    pub what: String,
    /// What is decided on.
    pub subject: ApprovalSubject,
    /// What the run did before it.
    #[serde(default)]
    pub so_far: SoFar,
}

/// What a run did at one enforcement point before it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SoFar {
    /// Statements that went on to be executed.
    pub statements: u64,
    /// Statements of these that would change something.
    pub changes: u64,
    /// Statements that were refused.
    pub refused: u64,
}

/// Where a request stands. Answer of all calls about approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalStatus {
    /// The request.
    pub id: ApprovalId,
    /// Where it stands.
    pub state: ApprovalState,
    /// Whether the statement waits for it.
    pub wait: ApprovalWait,
    /// When its time is over.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub until: Timestamp,
    /// The page where people decide.
    pub address: String,
    /// Who decided so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<PersonRef>,
    /// What the last of them said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST /v1/approvals/{id}/use`: the operation that is about to be sent. It must be the one that was approved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UseApproval {
    /// The session.
    pub session: SessionId,
    /// The resource.
    pub resource: ResourceName,
    /// SHA-256 of the policy by which it is judged now.
    pub policy: Digest,
    /// The rules that ask, in their order.
    pub rules: Vec<RuleId>,
    /// SHA-256 of its text.
    pub text_digest: Digest,
    /// SHA-256 over its parameters and effects.
    pub details_digest: Digest,
}

/// Body of `POST /v1/approvals/{id}/cancel`: whoever asked asks no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelApproval {
    /// The session.
    pub session: SessionId,
}

/// Body of `POST /v1/record`: events of one writer, in order.
///
/// A writer is one enforcement point's stream for one session. The broker takes events whose
/// number follows the last one it has, answers repeated ones as done, and refuses a gap.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppendEvents<E> {
    /// The session.
    pub session: SessionId,
    /// Names the writer: the enforcement point and a random part.
    pub writer: String,
    /// Number of the first event of this body, counted from 0 for each writer.
    pub first: u64,
    /// The events.
    pub events: Vec<E>,
}

/// Answer of `POST /v1/record`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Appended {
    /// Number of the next event that the broker expects of this writer.
    pub next: u64,
}

/// Answer of `GET /v1/session/state` (shim) and `GET /v1/sessions/{id}/state` (gateway).
///
/// A long poll: it answers when the session ended, when there are notices after `after`, or after
/// `wait` seconds (both query parameters, default 0). The shim's polls are its heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionState {
    /// Set when the session is over.
    pub ended: Option<EndReason>,
    /// When it ends by itself.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub until: Timestamp,
    /// What a person who watches the run should see, in order.
    pub notices: Vec<Notice>,
    /// The `after` of the next poll.
    pub next: u64,
    /// What was counted of each command so far, by its number, where a session has several. For the shim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<u32, StepCounts>,
}

/// What came of one command's statements so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepCounts {
    /// Statements that went on to be executed.
    pub allowed: u64,
    /// Statements that were refused.
    pub refused: u64,
    /// Values that were masked.
    pub masked: u64,
}

/// One command of a session that has several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunStep {
    /// Counts from 1.
    pub number: u32,
    /// What the job calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<StepName>,
}

/// Something worth a line on the job's standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notice {
    /// The resource.
    pub resource: ResourceName,
    /// The refusal.
    pub denial: Denial,
    /// It is not refused: it waits for people.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Of which command of the session, if it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
}

/// Body of `POST /v1/session/enforce`: a shim asks for a grant that is enforced in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskEnforcement {
    /// The resource.
    pub resource: ResourceName,
}

/// Body of `POST /v1/session/isolation`: at which level of isolation a command is about to be run. The shim's word: it is
/// as good as the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReachedIsolation {
    /// The level.
    pub level: Isolation,
    /// Why it is no better one, a line each.
    #[serde(default)]
    pub why_not: Vec<String>,
    /// Which command it is, if the session has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<RunStep>,
}

/// Body of `POST /v1/session/egress`: a command wants to go somewhere that is no resource. Asked, and recorded, before anything is
/// dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AskEgress {
    /// Names the attempt.
    pub id: EgressId,
    /// The host as the command wrote it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The number of the command, if the session has several: the agent's word, and never the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
}

/// Answer of `POST /v1/session/egress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EgressAnswer {
    /// It may go there, on these terms.
    Allowed(EgressTerms),
    /// It may not: why.
    Refused(String),
}

/// Body of `POST /v1/session/egress/{id}`: what came of an attempt that was allowed. The shim's word: it is as good as the shim.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EgressOutcome {
    /// The address that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
    /// Why it did not go on, if the shim refused it: no address that may be reached, or TLS for another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why it did not go on, if the network or the other side did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Bytes that the command sent.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
}

/// Body of `POST /v1/session/renew`: the platform still gives the job identity tokens, so the job still runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewSession {
    /// A fresh one, for the session's key.
    pub identity_token: Secret,
}

/// Answer of `POST /v1/session/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Renewed {
    /// Until when the next token has to be there.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub until: Timestamp,
}

/// Answer of `GET /v1/audience`: what an identity token must be for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Audience {
    /// The `aud` that the broker accepts; with `#` and the RFC 7638 thumbprint of the session's key behind it, the token is for that key alone.
    pub audience: String,
}

/// Answer of `GET /v1/keys`: by what the broker seals records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SealingKeys {
    /// The key in use first, then those that it replaced.
    pub keys: Vec<SealingKeyInfo>,
}

/// One public key of the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SealingKeyInfo {
    /// Names it in seals.
    pub id: String,
    /// The Ed25519 public key, base64.
    pub key: String,
}

/// Body of `POST /v1/session/end`: the shim says that the child is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndSession {
    /// The child's exit code, or 128 + the signal that ended it.
    pub exit_code: i32,
}

/// Answer of `POST /v1/session/end`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionEnded {
    /// Number of entries in the sealed record.
    pub entries: u64,
    /// Hash of its last entry.
    pub head: Digest,
    /// Leases that could not be given back, by id, with the reason.
    pub unreleased: BTreeMap<String, String>,
}

/// An error of the broker's API outside OAuth: what went wrong in words, and a code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// One of the codes of the reference (`unauthorized`, `session-over`, `record-unavailable`, …).
    pub error: String,
    /// For people.
    pub message: String,
    /// Finds the reason in the broker's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
}
