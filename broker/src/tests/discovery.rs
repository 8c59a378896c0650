//! Keys by OpenID Connect discovery: from the issuer that is configured, and from nowhere else.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use guard_core::{Platform, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    platforms::{AUDIENCE, THUMBPRINT, issuer, key_set},
    stage::{Key, token_header, unique},
};
use crate::{
    config::KeySource,
    issuers::{IdentityError, Issuers},
};

/// What the issuer answers now.
#[derive(Clone)]
enum Answer {
    Json(Value),
    Status(StatusCode),
    Redirect(String),
    Bytes(usize),
    /// Takes the question and says nothing.
    Silence,
}

impl Answer {
    async fn given(answer: &Mutex<Self>) -> Self {
        let answer = answer.lock().unwrap().clone();
        if matches!(answer, Self::Silence) {
            std::future::pending::<()>().await;
        }
        answer
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(value) => value.to_string().into_response(),
            Self::Status(status) => status.into_response(),
            Self::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            Self::Bytes(many) => " ".repeat(many).into_response(),
            Self::Silence => StatusCode::GATEWAY_TIMEOUT.into_response(),
        }
    }
}

struct Served {
    document: Mutex<Answer>,
    keys: Mutex<Answer>,
    asked: AtomicUsize,
}

/// An issuer on loopback.
struct Issuer {
    url: String,
    key: Key,
    served: Arc<Served>,
}

impl Issuer {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = Key::new();
        let served = Arc::new(Served {
            document: Mutex::new(Answer::Json(document(&url, &url))),
            keys: Mutex::new(Answer::Json(key_set(&[("one", &key)]))),
            asked: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(|State(served): State<Arc<Served>>| async move {
                    Answer::given(&served.document).await
                }),
            )
            .route(
                "/keys",
                get(|State(served): State<Arc<Served>>| async move {
                    served.asked.fetch_add(1, Ordering::SeqCst);
                    Answer::given(&served.keys).await
                }),
            )
            .with_state(served.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, key, served }
    }

    fn issuers(&self, refresh: Duration) -> Issuers {
        self.issuers_with(refresh, LONG)
    }

    fn issuers_with(&self, refresh: Duration, stale: Duration) -> Issuers {
        let mut config = issuer(Platform::Github, &self.url, KeySource::Discovery);
        config.refresh = refresh;
        config.stale = stale;
        Issuers::new(AUDIENCE, &[config]).unwrap()
    }

    fn token(&self, kid: &str, key: &Key) -> String {
        let now = Timestamp::now().as_second();
        let mut header = token_header();
        header["kid"] = kid.into();
        let claims = json!({
            "iss": self.url, "aud": AUDIENCE, "jti": unique(), "iat": now, "exp": now + 300,
            "sub": "repo:acme/shop", "repository": "acme/shop", "repository_id": "1",
            "run_id": "1", "run_attempt": "1", "ref": "refs/heads/main",
        });
        key.sign(&header, &claims)
    }

    async fn verify(&self, issuers: &Issuers) -> Result<(), IdentityError> {
        issuers.verify(&self.token("one", &self.key), THUMBPRINT, Timestamp::now()).await.map(drop)
    }
}

fn document(issuer: &str, keys_at: &str) -> Value {
    json!({ "issuer": issuer, "jwks_uri": format!("{keys_at}/keys") })
}

const LONG: Duration = Duration::from_secs(300);

#[tokio::test]
async fn keys_are_found_by_discovery_and_kept() {
    let issuer = Issuer::start().await;
    let issuers = issuer.issuers(LONG);
    for _ in 0..3 {
        issuer.verify(&issuers).await.unwrap();
    }
    assert_eq!(issuer.served.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_discovery_that_leads_elsewhere_gives_no_keys() {
    let issuer = Issuer::start().await;
    let url = &issuer.url;
    let good = document(url, url);
    let keys = Answer::Json(key_set(&[("one", &issuer.key)]));
    let cases = [
        ("a document of another issuer", Answer::Json(document("https://evil.example", url)), None),
        ("an issuer with a slash more", Answer::Json(document(&format!("{url}/"), url)), None),
        ("no document", Answer::Status(StatusCode::NOT_FOUND), None),
        ("a redirect to the keys", Answer::Redirect(format!("{url}/keys")), None),
        ("a document without end", Answer::Bytes(1 << 20), None),
        ("keys over plain HTTP elsewhere", Answer::Json(document(url, "http://192.0.2.1")), None),
        (
            "keys in a file",
            Answer::Json(json!({ "issuer": url, "jwks_uri": "file:///etc/keys" })),
            None,
        ),
        ("keys nowhere", Answer::Json(json!({ "issuer": url })), None),
        (
            "keys by a redirect",
            Answer::Json(good.clone()),
            Some(Answer::Redirect(format!("{url}/x"))),
        ),
        ("keys without end", Answer::Json(good.clone()), Some(Answer::Bytes(1 << 20))),
        (
            "an error for keys",
            Answer::Json(good.clone()),
            Some(Answer::Status(StatusCode::BAD_GATEWAY)),
        ),
        ("no keys", Answer::Json(good), Some(Answer::Json(json!({ "keys": [] })))),
    ];
    for (name, document, served) in cases {
        *issuer.served.document.lock().unwrap() = document;
        *issuer.served.keys.lock().unwrap() = served.unwrap_or_else(|| keys.clone());
        let answer = issuer.verify(&issuer.issuers(LONG)).await;
        assert!(matches!(answer, Err(IdentityError::Keys { .. })), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_unknown_ones_are_no_burden() {
    let issuer = Issuer::start().await;
    let issuers = issuer.issuers(LONG);
    issuer.verify(&issuers).await.unwrap();
    let new = Key::new();
    *issuer.served.keys.lock().unwrap() = Answer::Json(key_set(&[("two", &new)]));
    issuers.verify(&issuer.token("two", &new), THUMBPRINT, Timestamp::now()).await.unwrap();
    // The key that was withdrawn is gone with it.
    assert!(issuer.verify(&issuers).await.is_err());
    for number in 0..50 {
        let token = issuer.token(&format!("unknown-{number}"), &new);
        assert!(issuers.verify(&token, THUMBPRINT, Timestamp::now()).await.is_err());
    }
    assert!(issuer.served.asked.load(Ordering::SeqCst) <= 1 + 5);
    // Strangers' tokens do not keep the run's own out.
    issuers.verify(&issuer.token("two", &new), THUMBPRINT, Timestamp::now()).await.unwrap();
}

#[tokio::test]
async fn the_last_good_keys_hold_while_the_issuer_is_down() {
    let issuer = Issuer::start().await;
    // Old at once, so that each token asks again.
    let issuers = issuer.issuers(Duration::ZERO);
    issuer.verify(&issuers).await.unwrap();
    *issuer.served.document.lock().unwrap() = Answer::Status(StatusCode::SERVICE_UNAVAILABLE);
    for _ in 0..10 {
        issuer.verify(&issuers).await.unwrap();
    }
    // A broker that starts meanwhile has none, and takes nothing.
    let fresh = issuer.issuers(Duration::ZERO);
    assert!(matches!(issuer.verify(&fresh).await, Err(IdentityError::Keys { .. })));
}

#[tokio::test]
async fn the_last_good_keys_hold_no_longer_than_they_may() {
    let issuer = Issuer::start().await;
    let issuers = issuer.issuers_with(Duration::ZERO, Duration::ZERO);
    issuer.verify(&issuers).await.unwrap();
    *issuer.served.document.lock().unwrap() = Answer::Status(StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(issuer.verify(&issuers).await, Err(IdentityError::Keys { .. })));
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once() {
    let issuer = Issuer::start().await;
    let issuers = issuer.issuers(LONG);
    issuer.verify(&issuers).await.unwrap();
    let before = issuer.served.asked.load(Ordering::SeqCst);
    for _ in 0..20 {
        let token = issuer.token("unknown", &issuer.key);
        assert!(issuers.verify(&token, THUMBPRINT, Timestamp::now()).await.is_err());
    }
    assert_eq!(issuer.served.asked.load(Ordering::SeqCst), before + 1);
    // That one is remembered keeps no other from being looked for.
    let new = Key::new();
    *issuer.served.keys.lock().unwrap() = Answer::Json(key_set(&[("two", &new)]));
    issuers.verify(&issuer.token("two", &new), THUMBPRINT, Timestamp::now()).await.unwrap();
    let long = issuer.token(&"k".repeat(1000), &new);
    assert!(issuers.verify(&long, THUMBPRINT, Timestamp::now()).await.is_err());
}

#[tokio::test]
async fn many_that_come_at_once_are_one_question() {
    let issuer = Issuer::start().await;
    let issuers = issuer.issuers(LONG);
    let all = (0..50).map(|_| issuer.verify(&issuers));
    for verified in futures_util::future::join_all(all).await {
        verified.unwrap();
    }
    assert_eq!(issuer.served.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_issuer_that_hangs_holds_up_nobody_whose_key_is_known() {
    let issuer = Arc::new(Issuer::start().await);
    // Old at once, so that each token asks again.
    let issuers = Arc::new(issuer.issuers(Duration::ZERO));
    issuer.verify(&issuers).await.unwrap();
    let before = issuer.served.asked.load(Ordering::SeqCst);
    *issuer.served.keys.lock().unwrap() = Answer::Silence;
    let waiting = {
        let (issuer, issuers) = (issuer.clone(), issuers.clone());
        tokio::spawn(async move { issuer.verify(&issuers).await })
    };
    while issuer.served.asked.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        issuer.verify(&issuers).await.unwrap();
    }
    assert!(!waiting.is_finished(), "only the one that asks waits");
    waiting.abort();
}

#[tokio::test]
async fn keys_are_renewed_before_they_are_old_and_without_any_exchange() {
    let issuer = Issuer::start().await;
    let issuers = Arc::new(issuer.issuers(Duration::from_millis(60)));
    let stop = CancellationToken::new();
    let looking = {
        let (issuers, stop) = (issuers.clone(), stop.clone());
        tokio::spawn(async move { issuers.look_after(&stop).await })
    };
    let times = |many: usize| {
        let asked = &issuer.served.asked;
        async move {
            while asked.load(Ordering::SeqCst) < many {
                tokio::task::yield_now().await;
            }
        }
    };
    times(3).await;
    // An outage and its end are found without an exchange, too.
    *issuer.served.keys.lock().unwrap() = Answer::Status(StatusCode::BAD_GATEWAY);
    let now = issuer.served.asked.load(Ordering::SeqCst);
    times(now + 3).await;
    let new = Key::new();
    *issuer.served.keys.lock().unwrap() = Answer::Json(key_set(&[("two", &new)]));
    let now = issuer.served.asked.load(Ordering::SeqCst);
    times(now + 2).await;
    issuers.verify(&issuer.token("two", &new), THUMBPRINT, Timestamp::now()).await.unwrap();
    stop.cancel();
    looking.await.unwrap();
}

#[tokio::test]
async fn exchanges_go_on_while_keys_change() {
    let issuer = Arc::new(Issuer::start().await);
    // Old at once, so that every token asks for what is there now.
    let issuers = Arc::new(issuer.issuers(Duration::ZERO));
    let mut old = ("zero".to_owned(), Key::new());
    for turn in 0..20 {
        let new = (format!("turn-{turn}"), Key::new());
        // As platforms do it: first both, then the new one alone.
        let both = key_set(&[(&old.0, &old.1), (&new.0, &new.1)]);
        *issuer.served.keys.lock().unwrap() = Answer::Json(both);
        let tokens = [issuer.token(&old.0, &old.1), issuer.token(&new.0, &new.1)];
        let at_once =
            (0..10).map(|turn| issuers.verify(&tokens[turn % 2], THUMBPRINT, Timestamp::now()));
        for verified in futures_util::future::join_all(at_once).await {
            verified.unwrap();
        }
        *issuer.served.keys.lock().unwrap() = Answer::Json(key_set(&[(&new.0, &new.1)]));
        old = new;
    }
}
