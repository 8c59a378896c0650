//! A broker without a socket, an issuer whose keys are a file, a shim and a gateway.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use guard_core::{
    Digest, Timestamp,
    control::{GATEWAY_ASSERTION_TYPE, ID_TOKEN_TYPE, TOKEN_EXCHANGE},
};
use guard_tests::Postgres;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    app::App,
    config,
    issuers::Issuers,
    log::Keyring,
    metrics::Metrics,
    people::Provider,
    proofs::Once,
    serve,
    sessions::{Found, Session, Sessions},
    store::Store,
};

pub(super) const URL: &str = "http://127.0.0.1:8440";
pub(super) const GATEWAY: &str = "eu-1";

/// A key that signs tokens, proofs or assertions.
pub(super) struct Key {
    pub(super) signer: EncodingKey,
    pub(super) jwk: Value,
}

impl Key {
    pub(super) fn new() -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let signer = EncodingKey::from_ec_der(der.as_ref());
        let jwk = Jwk::from_encoding_key(&signer, Algorithm::ES256).unwrap();
        Self { signer, jwk: serde_json::to_value(jwk).unwrap() }
    }

    pub(super) fn thumbprint(&self) -> String {
        let (x, y) = (self.jwk["x"].as_str().unwrap(), self.jwk["y"].as_str().unwrap());
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(Digest::of(members).as_bytes())
    }

    /// Signs whatever header and claims there are.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.signer, Algorithm::ES256).unwrap();
        format!("{signed}.{signature}")
    }

    pub(super) fn proof_header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk })
    }

    pub(super) fn proof(&self, method: &str, path: &str, token: Option<&str>) -> String {
        self.sign(&self.proof_header(), &proof_claims(method, path, token))
    }

    pub(super) fn assertion(&self, name: &str) -> String {
        let header = json!({ "typ": GATEWAY_ASSERTION_TYPE, "alg": "ES256", "jwk": self.jwk });
        let now = Timestamp::now().as_second();
        let claims = json!({
            "iss": name, "sub": name, "aud": URL, "iat": now, "exp": now + 30, "jti": unique(),
        });
        self.sign(&header, &claims)
    }
}

pub(super) fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(super) fn proof_claims(method: &str, path: &str, token: Option<&str>) -> Value {
    let mut claims = json!({
        "htm": method,
        "htu": format!("{URL}{path}"),
        "iat": Timestamp::now().as_second(),
        "jti": unique(),
    });
    if let Some(token) = token {
        claims["ath"] = URL_SAFE_NO_PAD.encode(Digest::of(token).as_bytes()).into();
    }
    claims
}

/// The store of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    Sqlite,
    Postgres,
}

/// Runs tests with each store.
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::On::Sqlite).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::On::Postgres).await;
            })+
        }
    };
}
pub(super) use on_both_stores;

/// A broker in a folder of its own.
pub(super) struct Stage {
    /// The store's server, where it has one.
    pub(super) postgres: Option<Arc<Postgres>>,
    pub(super) folder: TempDir,
    pub(super) issuer: Key,
    pub(super) gateway: Key,
    pub(super) app: Arc<App>,
}

/// A session as its shim holds it.
pub(super) struct Shim {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) key: Key,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::on(On::Sqlite).await
    }

    pub(super) async fn on(on: On) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let (issuer, gateway) = (Key::new(), Key::new());
        let postgres = match on {
            On::Sqlite => None,
            On::Postgres => Some(Arc::new(store_server(folder.path()))),
        };
        write_files(folder.path(), &issuer, &gateway, postgres.as_deref());
        let app = start(folder.path()).await;
        Self { postgres, folder, issuer, gateway, app }
    }

    /// Another broker on the same store.
    pub(super) async fn replica(&self) -> Arc<App> {
        start(self.folder.path()).await
    }

    /// The store as another process opens it.
    pub(super) async fn replica_store(&self) -> Store {
        let config = config::load(&self.folder.path().join("guard.yaml")).expect("a configuration");
        serve::open_store(&config).await.unwrap()
    }

    /// A session as the broker knows it.
    pub(super) async fn open(&self, shim: &Shim) -> Option<Arc<Session>> {
        match self.app.sessions.by_id(shim.id.parse().unwrap()).await.unwrap() {
            Some(Found::Open(session)) => Some(session),
            Some(Found::Closed(_)) | None => None,
        }
    }

    /// What the record holds now.
    pub(super) async fn text(&self, shim: &Shim) -> String {
        if let Ok(text) = std::fs::read_to_string(self.record(shim)) {
            return text;
        }
        let (mut text, mut next) = (String::new(), 0);
        loop {
            let id = shim.id.parse().unwrap();
            let parts = self.app.sessions.store.parts(id, next).await.unwrap();
            if parts.is_empty() {
                return text;
            }
            for part in parts {
                next = part.first + 1;
                text.push_str(std::str::from_utf8(&part.lines).unwrap());
            }
        }
    }

    /// The same folder with a new broker, as after a `kill -9`.
    pub(super) async fn restart(&mut self) {
        within("closing the store", self.app.sessions.store.close()).await;
        self.app = within("starting again", start(self.folder.path())).await;
    }

    pub(super) fn claims(&self) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": "https://issuer.example", "aud": URL, "jti": unique(),
            "iat": now, "nbf": now - 600, "exp": now + 300,
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "repository": "acme/shop", "repository_id": "456789", "ref": "refs/heads/main",
            "event_name": "schedule", "run_id": "1", "run_attempt": "1",
        })
    }

    pub(super) fn token(&self) -> String {
        self.issuer.sign(&token_header(), &self.claims())
    }

    pub(super) async fn exchange(&self, token: &str, proof: &str) -> (StatusCode, Value) {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", TOKEN_EXCHANGE)
            .append_pair("subject_token", token)
            .append_pair("subject_token_type", ID_TOKEN_TYPE)
            .finish();
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", proof)
            .body(Body::from(form));
        self.send(request.unwrap()).await
    }

    pub(super) async fn session(&self) -> Shim {
        let key = Key::new();
        let proof = key.proof("POST", "/oauth/token", None);
        let (status, answer) = self.exchange(&self.token(), &proof).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Shim {
            id: answer["session"]["id"].as_str().unwrap().into(),
            token: answer["access_token"].as_str().unwrap().into(),
            key,
        }
    }

    pub(super) async fn as_shim(
        &self,
        shim: &Shim,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let bare = path.split('?').next().unwrap();
        let proof = shim.key.proof(method.as_str(), bare, Some(&shim.token));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("DPoP {}", shim.token))
            .header("dpop", proof)
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    pub(super) async fn as_gateway(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.gateway.assertion(GATEWAY)))
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    /// A gateway that is here, and to which the shim came.
    pub(super) async fn tunnel(&self, shim: &Shim) {
        let certificate = Digest::of("certificate");
        let here = json!({ "address": "gw:8443", "certificate": certificate, "version": "1" });
        let (status, answer) = self.as_gateway(Method::PUT, "/v1/gateways/self", &here).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        let (status, answer) = self.authorize(shim, "https://gw:8443/v1/tunnel/orders").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    pub(super) async fn authorize(&self, shim: &Shim, uri: &str) -> (StatusCode, Value) {
        let mut claims = proof_claims("POST", "", Some(&shim.token));
        claims["htu"] = uri.into();
        let proof = shim.key.sign(&shim.key.proof_header(), &claims);
        let ask = json!({
            "access_token": shim.token, "proof": proof, "method": "POST", "uri": uri,
            "resource": "orders",
        });
        self.as_gateway(Method::POST, "/v1/sessions/authorize", &ask).await
    }

    pub(super) fn record(&self, shim: &Shim) -> std::path::PathBuf {
        self.folder.path().join(format!("recordings/{}.jsonl", shim.id))
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        send_to(&self.app, request).await
    }
}

/// A broker that hangs fails its test in time to say where.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), future).await;
    waited.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// What a broker answers.
pub(super) async fn send_to(app: &Arc<App>, request: Request<Body>) -> (StatusCode, Value) {
    let service = TowerToHyperService::new(api::router(app.clone()));
    let what = format!("{} {}", request.method(), request.uri());
    let answer = within(&what, service.call(request)).await.unwrap();
    let status = answer.status();
    let body = within(&what, to_bytes(answer.into_body(), 1 << 20)).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// A server of the test's own, with a database for the store.
fn store_server(folder: &Path) -> Postgres {
    // The server's user has to pass.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = Postgres::start(folder, &[]).unwrap();
    server.sql("postgres", "CREATE DATABASE guard").unwrap();
    server
}

pub(super) fn token_header() -> Value {
    json!({ "typ": "JWT", "alg": "ES256", "kid": "one" })
}

fn write_files(folder: &Path, issuer: &Key, gateway: &Key, postgres: Option<&Postgres>) {
    let mut jwk = issuer.jwk.clone();
    jwk["kid"] = "one".into();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("jwks.json", &json!({ "keys": [jwk] }).to_string());
    write("password", "secret-of-the-database\n");
    write("store-password", guard_tests::postgres::PASSWORD);
    let store = match postgres {
        Some(server) => format!(
            "{{ postgres: \"postgres://postgres@127.0.0.1:{}/guard\", password: {{ file: store-password }}, \
             tls: disable }}",
            server.port
        ),
        None => "sqlite:guard.db".into(),
    };
    std::fs::create_dir(folder.join("trust")).unwrap();
    std::fs::create_dir(folder.join("policies")).unwrap();
    write(
        "policies/p.yaml",
        "policy: reads\nrules:\n  - { name: all, sql: { effects: [read] }, decide: allow }\n",
    );
    write(
        "trust/t.yaml",
        "- name: nightly\n  issuer: github\n  claims: { repository_id: \"456789\", ref: refs/heads/main }\n  \
         grants:\n    - { resource: orders, policy: reads, for: 45m }\n    - { resource: near, policy: reads, for: 45m }\n",
    );
    let resource = "kind: postgres, address: \"127.0.0.1:5432\", database: orders, tls: disable, \
                    credential: { username: app, password: { file: password } }";
    write(
        "guard.yaml",
        &format!(
            "listen: 127.0.0.1:8440\nurl: {URL}\nstore: {store}\nissuers:\n  \
             - {{ name: github, platform: github, url: \"https://issuer.example\", jwks_file: jwks.json, bind: none }}\n\
             resources:\n  - {{ name: orders, {resource} }}\n  \
             - {{ name: near, {resource}, enforce_at: shim, allow_static_at_shim: \"a test\" }}\n\
             gateways:\n  - {{ name: {GATEWAY}, key: {} }}\ntrust: trust\npolicies: policies\n",
            gateway.thumbprint()
        ),
    );
}

async fn start(folder: &Path) -> Arc<App> {
    let config = Arc::new(config::load(&folder.join("guard.yaml")).expect("a configuration"));
    let people = config.people.clone();
    let store = serve::open_store(&config).await.unwrap();
    let keys = Keyring::load_or_create(&config.sealing_key).unwrap();
    let records = serve::open_records(&config, &store, &keys).unwrap();
    let issuers = Issuers::new(&config.audience, &config.issuers).unwrap();
    let once = Once::new(&store, Timestamp::now());
    let metrics = Metrics::new(api::counted_names());
    let sessions = Sessions::start(config, store, records, keys, metrics).await.unwrap();
    let people = people.as_ref().map(|people| Provider::new(people).unwrap());
    Arc::new(App { sessions, issuers, once, people, stop: CancellationToken::new() })
}
