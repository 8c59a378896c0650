//! A broker that believes everybody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::{Query, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use guard_audit::{ChainWriter, Event, Seal, SealingKey};
use guard_core::{
    Denial, DenialCode, Digest, EndReason, EnforceAt, Grant, Identity, Isolation, PolicyName,
    ResourceKind, ResourceName, RuleId, RunKey, Secret, SessionId, Timestamp,
    control::{
        ACCESS_TOKEN_TYPE, Audience, EndSession, ExchangeAnswer, GatewayInfo, GrantInfo, Notice,
        ReachedIsolation, SealingKeyInfo, SealingKeys, SessionEnded, SessionInfo, SessionState,
    },
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{oneshot, watch};

/// The session token that it gives.
pub(crate) const ACCESS_TOKEN: &str = "access-token-of-the-session";

/// A running broker. It ends with the test.
pub(crate) struct FakeBroker {
    state: Arc<Inner>,
    address: String,
    _stop: oneshot::Sender<()>,
}

struct Inner {
    resources: Vec<ResourceName>,
    key: SealingKey,
    gateway: Mutex<bool>,
    refuses: Mutex<bool>,
    busy: Mutex<VecDeque<u16>>,
    isolation: Mutex<Option<Isolation>>,
    reached: Mutex<Vec<ReachedIsolation>>,
    platform: Mutex<VecDeque<u16>>,
    platform_asked: Mutex<Vec<String>>,
    exchanged: Mutex<Vec<String>>,
    notices: Mutex<Vec<Notice>>,
    ended: watch::Sender<Option<EndReason>>,
    exit_code: Mutex<Option<i32>>,
}

impl FakeBroker {
    /// One that grants these resources.
    pub(crate) fn start(resources: &[&str]) -> Self {
        let state = Arc::new(Inner {
            resources: resources.iter().map(|name| ResourceName::new(name).unwrap()).collect(),
            key: SealingKey::generate().unwrap(),
            gateway: Mutex::new(true),
            refuses: Mutex::default(),
            busy: Mutex::default(),
            isolation: Mutex::default(),
            reached: Mutex::default(),
            platform: Mutex::default(),
            platform_asked: Mutex::default(),
            exchanged: Mutex::default(),
            notices: Mutex::default(),
            ended: watch::Sender::new(None),
            exit_code: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(state.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = async { axum::serve(listener, router).await } => {}
                    _ = stopped => {}
                }
            });
        });
        Self { state, address, _stop: stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn refuse_exchange(&self) {
        *self.state.refuses.lock().unwrap() = true;
    }

    /// The next answers to exchanges.
    pub(crate) fn busy(&self, answers: &[u16]) {
        self.state.busy.lock().unwrap().extend(answers);
    }

    /// What its trust rule asks for.
    pub(crate) fn require(&self, isolation: Isolation) {
        *self.state.isolation.lock().unwrap() = Some(isolation);
    }

    /// What shims said of the isolation of their commands.
    pub(crate) fn reached(&self) -> Vec<ReachedIsolation> {
        self.state.reached.lock().unwrap().clone()
    }

    pub(crate) fn without_gateway(&self) {
        *self.state.gateway.lock().unwrap() = false;
    }

    /// The platform's next answers, before it gives a token.
    pub(crate) fn busy_platform(&self, answers: &[u16]) {
        self.state.platform.lock().unwrap().extend(answers);
    }

    /// Query and authorization of each question to the platform.
    pub(crate) fn platform_asked(&self) -> Vec<String> {
        self.state.platform_asked.lock().unwrap().clone()
    }

    /// The identity tokens that were shown.
    pub(crate) fn exchanged(&self) -> Vec<String> {
        self.state.exchanged.lock().unwrap().clone()
    }

    pub(crate) fn notice(&self, what: &str) {
        let denial = Denial {
            code: DenialCode::Rule,
            what: what.into(),
            rule: "destructive".parse::<RuleId>().unwrap(),
            policy: PolicyName::new("nightly").unwrap(),
            detail: None,
            hint: None,
        };
        let resource = ResourceName::new("orders").unwrap();
        self.state.notices.lock().unwrap().push(Notice {
            resource,
            denial,
            held: false,
            step: None,
        });
    }

    pub(crate) fn end(&self, reason: EndReason) {
        self.state.ended.send_replace(Some(reason));
    }

    /// The exit code that the shim gave at its end.
    pub(crate) fn ended_with(&self) -> Option<i32> {
        *self.state.exit_code.lock().unwrap()
    }
}

fn router(state: Arc<Inner>) -> Router {
    Router::new()
        .route(
            "/v1/audience",
            get(async || Json(Audience { audience: "https://guard.example#x".into() })),
        )
        .route("/platform", get(platform).post(azure))
        .route("/oauth/token", post(exchange))
        .route("/v1/keys", get(keys))
        .route("/v1/session/state", get(session_state))
        .route("/v1/session/isolation", post(isolation))
        .route("/v1/session/end", post(end))
        .route("/v1/session/record", get(record))
        .with_state(state)
}

async fn platform(
    State(state): State<Arc<Inner>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    let asked = format!("{} {bearer}", query.unwrap());
    state.platform_asked.lock().unwrap().push(asked);
    match state.platform.lock().unwrap().pop_front() {
        Some(403) => (StatusCode::FORBIDDEN, "Can't issue ID_TOKEN for job in 'Pending' state")
            .into_response(),
        Some(status) => StatusCode::from_u16(status).unwrap().into_response(),
        None => Json(json!({ "count": 1, "value": "platform-token" })).into_response(),
    }
}

async fn azure(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    Json(json!({ "oidcToken": format!("azure {} {bearer}", query.unwrap()).replace(' ', "+") }))
        .into_response()
}

fn session() -> SessionId {
    SessionId::from_uuid(uuid::Uuid::from_u128(7))
}

fn identity() -> Identity {
    let example = Identity::example();
    let run = RunKey { run_id: "42".into(), job: "backup".into(), ..example.run };
    Identity { run, ..example }
}

async fn exchange(
    State(state): State<Arc<Inner>>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    state.exchanged.lock().unwrap().push(form["subject_token"].clone());
    if let Some(status) = state.busy.lock().unwrap().pop_front() {
        let error = json!({ "error": "server_error", "decision_id": "d-0" });
        return (StatusCode::from_u16(status).unwrap(), Json(error)).into_response();
    }
    if *state.refuses.lock().unwrap() {
        let error = json!({ "error": "access_denied", "decision_id": "d-1" });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let gateway = state.gateway.lock().unwrap().then(|| GatewayInfo {
        name: "eu".into(),
        address: "127.0.0.1:1".into(),
        certificate: Digest::ZERO,
    });
    let grant = |resource: &ResourceName| GrantInfo {
        grant: Grant {
            resource: resource.clone(),
            policy: PolicyName::new("nightly").unwrap(),
            until: Timestamp::MAX,
        },
        database: "shop".into(),
        kind: ResourceKind::Postgres,
        enforce_at: EnforceAt::Gateway,
        mode: guard_core::Mode::Enforce,
        gateway: gateway.clone(),
        origin: None,
        aws: None,
    };
    Json(ExchangeAnswer {
        access_token: Secret::new(ACCESS_TOKEN),
        issued_token_type: ACCESS_TOKEN_TYPE.into(),
        token_type: "DPoP".into(),
        expires_in: 600,
        session: SessionInfo {
            id: session(),
            identity: identity(),
            trust_rule: "nightly".into(),
            until: Timestamp::MAX,
            heartbeat_secs: 1,
            renew_secs: None,
            grants: state.resources.iter().map(grant).collect(),
            isolation: *state.isolation.lock().unwrap(),
            egress: false,
            detect: Vec::new(),
        },
    })
    .into_response()
}

async fn isolation(
    State(state): State<Arc<Inner>>,
    Json(reached): Json<ReachedIsolation>,
) -> StatusCode {
    state.reached.lock().unwrap().push(reached);
    StatusCode::NO_CONTENT
}

async fn keys(State(state): State<Arc<Inner>>) -> Json<SealingKeys> {
    let key = state.key.public();
    let info = SealingKeyInfo { id: key.id().to_string(), key: key.to_string() };
    Json(SealingKeys { keys: vec![info] })
}

#[derive(Deserialize)]
struct Poll {
    after: usize,
    wait: u64,
}

async fn session_state(
    State(state): State<Arc<Inner>>,
    Query(poll): Query<Poll>,
) -> Json<SessionState> {
    let notices = state.notices.lock().unwrap().get(poll.after..).unwrap_or_default().to_vec();
    if notices.is_empty() {
        let mut ended = state.ended.subscribe();
        let over = ended.wait_for(Option::is_some);
        drop(tokio::time::timeout(Duration::from_secs(poll.wait), over).await);
    }
    let ended = *state.ended.borrow();
    let next = (poll.after + notices.len()) as u64;
    Json(SessionState { ended, until: Timestamp::MAX, notices, next, steps: BTreeMap::new() })
}

async fn end(State(state): State<Arc<Inner>>, Json(end): Json<EndSession>) -> Json<SessionEnded> {
    *state.exit_code.lock().unwrap() = Some(end.exit_code);
    Json(SessionEnded { entries: 2, head: Digest::ZERO, unreleased: BTreeMap::new() })
}

async fn record(State(state): State<Arc<Inner>>) -> Vec<u8> {
    let mut chain = ChainWriter::default();
    let mut lines = Vec::new();
    let now = Timestamp::UNIX_EPOCH;
    for event in [
        Event::SessionOpened {
            session: session(),
            identity: Box::new(identity()),
            trust_rule: "nightly".into(),
            trust_digest: Digest::ZERO,
            trust_broad: None,
            grants: Vec::new(),
            key_thumbprint: "t".into(),
            until: Timestamp::MAX,
            broker_version: "0".into(),
        },
        Event::SessionEnded { reason: EndReason::Finished, exit_code: None, note: None },
    ] {
        chain.append_into(&mut lines, now, "broker", &event).unwrap();
    }
    lines.extend(Seal::line(session(), &chain, now, &state.key).unwrap());
    lines
}
