//! An issuer on loopback: discovery, keys, and GitHub's way to ask for a token.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    routing::get,
};
use guard_core::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The name of its one key.
const KID: &str = "dev";
/// GitHub's tokens live this long, in seconds.
const LIFE: i64 = 300;
/// GitHub's tokens hold from this long before they are made, in seconds.
const BEFORE: i64 = 600;

/// An issuer that runs.
pub(crate) struct DevIssuer {
    /// Its `iss`.
    pub(crate) url: String,
    signer: Arc<Signer>,
}

struct Signer {
    url: String,
    key: EncodingKey,
    jwk: Jwk,
    bearer: String,
    claims: Map<String, Value>,
}

#[derive(serde::Deserialize)]
struct Ask {
    audience: String,
}

impl DevIssuer {
    /// Starts it; it runs until `stop`.
    pub(crate) async fn start(
        listen: SocketAddr,
        claims: Option<&Path>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen at `{listen}`"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let random = aws_lc_rs::rand::SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| anyhow!("cannot make the issuer's key"))?;
        let key = EncodingKey::from_ec_der(der.as_ref());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        let mut bearer = [0_u8; 24];
        aws_lc_rs::rand::fill(&mut bearer).map_err(|_| anyhow!("no randomness"))?;
        let bearer = bearer.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut all = usual_claims();
        if let Some(path) = claims {
            let text = std::fs::read(path).with_context(|| format!("`{}`", path.display()))?;
            let over: Map<String, Value> = serde_json::from_slice(&text)
                .with_context(|| format!("`{}` is no JSON object", path.display()))?;
            all.extend(over);
        }
        let signer = Arc::new(Signer { url: url.clone(), key, jwk, bearer, claims: all });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(keys))
            .route("/token", get(token).post(token))
            .with_state(signer.clone());
        tokio::spawn(async move {
            crate::server::serve(listener, None, router, &Metrics::new(std::iter::empty()), stop)
                .await;
        });
        Ok(Self { url, signer })
    }

    /// Where to ask for a token; the audience is appended.
    pub(crate) fn request_url(&self) -> String {
        format!("{}/token?api-version=1", self.url)
    }

    /// What whoever asks must show.
    pub(crate) fn bearer(&self) -> &str {
        &self.signer.bearer
    }
}

async fn discovery(State(signer): State<Arc<Signer>>) -> Json<Value> {
    let url = &signer.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "id_token_signing_alg_values_supported": ["ES256"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    }))
}

async fn keys(State(signer): State<Arc<Signer>>) -> Result<Json<Value>, StatusCode> {
    let mut jwk =
        serde_json::to_value(&signer.jwk).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    if let Some(jwk) = jwk.as_object_mut() {
        jwk.insert("kid".into(), KID.into());
        jwk.insert("use".into(), "sig".into());
    }
    Ok(Json(json!({ "keys": [jwk] })))
}

/// A token for an audience; the members of a body replace claims, `null` takes one away.
async fn token(
    State(signer): State<Arc<Signer>>,
    Query(ask): Query<Ask>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    if !bool::from(shown.ct_eq(signer.bearer.as_bytes())) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let mut claims = signer.claims.clone();
    let now = Timestamp::now().as_second();
    let own = json!({
        "iss": signer.url,
        "aud": ask.audience,
        "jti": uuid::Uuid::new_v4(),
        "iat": now,
        "nbf": now - BEFORE,
        "exp": now + LIFE,
    });
    // Each command under guard is another job, or the second would be refused while the first runs.
    let job = uuid::Uuid::new_v4().as_u128() % 1_000_000_000;
    claims.entry("check_run_id").or_insert_with(|| job.to_string().into());
    claims.extend(own.as_object().cloned().unwrap_or_default());
    if !body.is_empty() {
        let over: Map<String, Value> =
            serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        claims.extend(over);
        claims.retain(|_, value| !value.is_null());
    }
    let header = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::ES256) };
    let token = jsonwebtoken::encode(&header, &claims, &signer.key)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({ "value": token })))
}

/// The claims of a nightly run at GitHub.
fn usual_claims() -> Map<String, Value> {
    let claims = json!({
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "repository_id": "456789",
        "repository_owner": "acme",
        "repository_owner_id": "123456",
        "repository_visibility": "private",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "ref_protected": "true",
        "sha": "c040cae0000000000000000000000000000000ff",
        "event_name": "schedule",
        "actor": "octocat",
        "actor_id": "1001",
        "workflow": "nightly",
        "workflow_ref": "acme/shop/.github/workflows/nightly.yml@refs/heads/main",
        "job_workflow_ref": "acme/shop/.github/workflows/nightly.yml@refs/heads/main",
        "runner_environment": "github-hosted",
        "run_id": "22259804324",
        "run_number": "42",
        "run_attempt": "1",
    });
    claims.as_object().cloned().unwrap_or_default()
}
