//! People: signing in at a provider that nobody of guard wrote, and at one that attacks; deciding in pages and on the command
//! line. Attacks first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
    routing::{get, post},
};
use guard_core::Timestamp;
use guard_tests::Provider;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::{
    approvals::{POLICY, ask, question},
    stage::{Key, On, Shim, Stage, URL},
};
use crate::api;

/// A broker at which people of a provider sign in.
pub(super) async fn stage(provider: &str) -> Stage {
    stage_on(On::Sqlite, provider).await
}

/// The same, with one of the stores.
pub(super) async fn stage_on(on: On, provider: &str) -> Stage {
    let mut stage = Stage::on(on).await;
    let path = stage.folder.path().join("guard.yaml");
    let people = format!(
        "people:\n  issuer: \"{provider}\"\n  client_id: guard\n  scopes: [groups]\n  session: 8h\n  \
         roles: {{ viewer: [staff], approver: [dba], auditor: [audit], admin: [root] }}\ntrust: trust"
    );
    let text = std::fs::read_to_string(&path).unwrap().replace("trust: trust", &people);
    std::fs::write(&path, text).unwrap();
    std::fs::write(stage.folder.path().join("policies/p.yaml"), POLICY).unwrap();
    stage.restart().await;
    stage
}

/// What the broker answers a browser.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Page {
    pub(super) fn location(&self) -> &str {
        self.headers["location"].to_str().unwrap()
    }
}

/// A browser, as far as the broker sees one.
#[derive(Default)]
pub(super) struct Browser {
    pub(super) cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn send(
        &mut self,
        stage: &Stage,
        request: axum::http::request::Builder,
        body: String,
    ) -> Page {
        let cookies: Vec<_> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let request = request
            .header("accept", "text/html")
            .header("cookie", cookies.join("; "))
            .body(Body::from(body))
            .unwrap();
        let service = TowerToHyperService::new(api::router(stage.app.clone()));
        let answer = service.call(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            for flag in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
                assert!(text.contains(flag), "{text}");
            }
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{text}");
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
        let body = to_bytes(answer.into_body(), 4 << 20).await.unwrap();
        Page { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub(super) async fn get(&mut self, stage: &Stage, path: &str) -> Page {
        self.send(stage, Request::get(path), String::new()).await
    }

    pub(super) async fn post(
        &mut self,
        stage: &Stage,
        path: &str,
        form: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Page {
        let mut request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(stage, request, form).await
    }

    /// Off to the provider: what it is asked.
    pub(super) async fn leave(&mut self, stage: &Stage) -> BTreeMap<String, String> {
        let page = self.get(stage, "/sign-in?to=/approvals").await;
        assert!(page.status.is_redirection(), "{}", page.body);
        let url = url::Url::parse(page.location()).unwrap();
        url.query_pairs().map(|(n, v)| (n.into_owned(), v.into_owned())).collect()
    }
}

/// A provider that does what a test says.
pub(super) struct Fake {
    pub(super) url: String,
    pub(super) key: Key,
    /// The next answer of the token endpoint, and what was asked there.
    pub(super) answer: Arc<Mutex<(StatusCode, Value)>>,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = Key::new();
        let mut jwk = key.jwk.clone();
        jwk["kid"] = "one".into();
        let answer = Arc::new(Mutex::new((StatusCode::OK, json!({}))));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let discovery = json!({
            "issuer": url, "authorization_endpoint": format!("{url}/auth"),
            "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/jwks"),
            "authorization_response_iss_parameter_supported": true,
        });
        let token = {
            let (answer, asked) = (answer.clone(), asked.clone());
            async move |body: String| {
                asked.lock().unwrap().push(body);
                let (status, value) = answer.lock().unwrap().clone();
                // Where whoever follows redirections ends up, too.
                (status, [("location", "/token")], Json(value))
            }
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery.clone())))
            .route("/jwks", get(async move || Json(json!({ "keys": [jwk] }))))
            .route("/token", post(token));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, key, answer, asked }
    }

    pub(super) fn claims(&self, nonce: &str) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.url, "aud": "guard", "sub": "ann", "iat": now, "exp": now + 300, "nonce": nonce,
            "name": "Ann", "preferred_username": "ann", "groups": ["dba"],
        })
    }

    pub(super) fn gives(&self, header: &Value, claims: &Value) {
        let token = self.key.sign(header, claims);
        *self.answer.lock().unwrap() = (StatusCode::OK, json!({ "id_token": token }));
    }

    pub(super) fn back(&self, state: &str) -> String {
        let form = [("code", "c"), ("state", state), ("iss", &self.url)];
        let query =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        format!("/sign-in/callback?{query}")
    }

    /// Signs somebody of these claims in.
    pub(super) async fn signs_in(&self, stage: &Stage, change: impl FnOnce(&mut Value)) -> Browser {
        let mut browser = Browser::default();
        let asked = browser.leave(stage).await;
        let mut claims = self.claims(&asked["nonce"]);
        change(&mut claims);
        self.gives(&header(), &claims);
        let page = browser.get(stage, &self.back(&asked["state"])).await;
        assert_eq!(page.location(), "/approvals", "{}", page.body);
        browser
    }
}

pub(super) fn header() -> Value {
    json!({ "alg": "ES256", "kid": "one" })
}

/// The hidden field of a page's form.
pub(super) fn csrf(page: &Page) -> String {
    let (_, rest) = page.body.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn asked(stage: &Stage, shim: &Shim, text: &str) -> String {
    let question = question(shim, text, &["one"]);
    ask(stage, shim, &question).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_sign_in_signs_nobody_in() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    type Change = fn(&mut Value, &mut Value);
    let changes: [(&str, Change); 10] = [
        ("another nonce", |_, claims| claims["nonce"] = "other".into()),
        ("no nonce", |_, claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("another audience", |_, claims| claims["aud"] = "other".into()),
        ("two audiences", |_, claims| claims["aud"] = json!(["guard", "other"])),
        ("another client's", |_, claims| claims["azp"] = "other".into()),
        ("another issuer", |_, claims| claims["iss"] = "https://other.example".into()),
        ("expired", |_, claims| claims["exp"] = (Timestamp::now().as_second() - 3_600).into()),
        ("from the future", |_, claims| {
            claims["iat"] = (Timestamp::now().as_second() + 3_600).into();
        }),
        ("unsigned", |header, _| header["alg"] = "none".into()),
        ("of another key", |header, _| header["kid"] = "two".into()),
    ];
    for (name, change) in changes {
        let mut browser = Browser::default();
        let asked = browser.leave(&stage).await;
        let (mut header, mut claims) = (header(), fake.claims(&asked["nonce"]));
        change(&mut header, &mut claims);
        fake.gives(&header, &claims);
        let page = browser.get(&stage, &fake.back(&asked["state"])).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}: {}", page.body);
        assert!(!browser.cookies.contains_key("__Host-guard"), "{name}");
        assert!(browser.get(&stage, "/approvals").await.status.is_redirection(), "{name}");
    }
}

#[tokio::test]
async fn nobody_signs_another_browser_in_or_comes_back_from_another_provider() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let mut attacker = Browser::default();
    let theirs = attacker.leave(&stage).await;
    fake.gives(&header(), &fake.claims(&theirs["nonce"]));
    // A link with the attacker's code and state, followed by somebody who began no sign-in, or one of their own.
    let mut victim = Browser::default();
    let page = victim.get(&stage, &fake.back(&theirs["state"])).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let own = victim.leave(&stage).await;
    let page = victim.get(&stage, &fake.back(&theirs["state"])).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    // An answer of another provider, or of one that does not say who it is.
    let back = fake.back(&own["state"]);
    let (without, _) = back.split_once("&iss=").unwrap();
    for path in [without.to_owned(), format!("{without}&iss=https%3A%2F%2Fother.example")] {
        assert_eq!(victim.get(&stage, &path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert!(!victim.cookies.contains_key("__Host-guard"));
    assert!(fake.asked.lock().unwrap().is_empty(), "no code was given for tokens");
    // PKCE: the verifier is this browser's, and hashes to what the provider was told.
    assert_eq!(own["code_challenge_method"], "S256");
    assert_ne!(own["code_challenge"], theirs["code_challenge"]);
}

#[tokio::test]
async fn an_answer_counts_once_and_a_cookie_that_was_set_before_is_worth_nothing() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let mut browser = Browser::default();
    // Session fixation: what somebody planted is not what counts afterwards.
    browser.cookies.insert("__Host-guard".into(), "planted".into());
    let asked = browser.leave(&stage).await;
    fake.gives(&header(), &fake.claims(&asked["nonce"]));
    let back = fake.back(&asked["state"]);
    assert_eq!(browser.get(&stage, &back).await.location(), "/approvals");
    assert_ne!(browser.cookies["__Host-guard"], "planted");
    let mut planted = Browser::default();
    planted.cookies.insert("__Host-guard".into(), "planted".into());
    assert!(planted.get(&stage, "/approvals").await.status.is_redirection());
    // The same answer again.
    assert_eq!(browser.get(&stage, &back).await.status, StatusCode::FORBIDDEN);
    // Signing out ends it, for a copy of the cookie, too.
    let page = browser.get(&stage, "/approvals").await;
    assert_eq!(page.status, StatusCode::OK);
    let mut copy = Browser { cookies: browser.cookies.clone() };
    let field = csrf(&page);
    assert_eq!(browser.post(&stage, "/sign-out", &[], &[]).await.status, StatusCode::FORBIDDEN);
    let out = browser.post(&stage, "/sign-out", &[("csrf", &field)], &[]).await;
    assert_eq!(out.status, StatusCode::OK);
    assert!(copy.get(&stage, "/approvals").await.status.is_redirection());
}

#[tokio::test]
async fn nobody_is_led_elsewhere_after_signing_in() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    for to in
        ["https://evil.example/", "//evil.example/", "/\\evil.example", "/%0d%0aset-cookie:a=b"]
    {
        let mut browser = Browser::default();
        let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let page = browser.get(&stage, &format!("/sign-in?to={to}")).await;
        let url = url::Url::parse(page.location()).unwrap();
        let asked: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        fake.gives(&header(), &fake.claims(&asked["nonce"]));
        let page = browser.get(&stage, &fake.back(&asked["state"])).await;
        assert!(page.location().starts_with('/') && !page.location().starts_with("//"), "{to}");
        assert!(!page.location().contains("evil.example"), "{to}");
    }
}

#[tokio::test]
async fn a_decision_counts_from_our_own_page_only() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let shim = stage.session().await;
    let id = asked(&stage, &shim, "DELETE FROM users WHERE id = 7").await;
    let path = format!("/approvals/{id}");
    let mut ann = fake.signs_in(&stage, |_| {}).await;
    let page = ann.get(&stage, &path).await;
    assert_eq!(page.status, StatusCode::OK);
    for (name, part) in [
        ("content-security-policy", "default-src 'none'"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert!(page.headers[name].to_str().unwrap().contains(part), "{name}");
    }
    let field = csrf(&page);
    let yes = [("csrf", field.as_str()), ("decision", "approve"), ("reason", "")];
    let mut ben = fake.signs_in(&stage, |claims| claims["sub"] = "ben".into()).await;
    let theirs = csrf(&ben.get(&stage, &path).await);
    let stolen = [("csrf", theirs.as_str()), ("decision", "approve")];
    for (form, headers) in [
        (&[("decision", "approve")][..], &[][..]),
        (&stolen, &[]),
        (&yes, &[("sec-fetch-site", "cross-site")]),
        (&yes, &[("sec-fetch-site", "same-site")]),
        (&yes, &[("origin", "https://evil.example")]),
        (&yes, &[("origin", "null")]),
    ] {
        let page = ann.post(&stage, &path, form, headers).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{form:?} {headers:?}");
    }
    // A link changes nothing.
    ann.get(&stage, &format!("{path}?decision=approve&csrf={field}")).await;
    assert!(ann.get(&stage, &path).await.body.contains("Your decision"));
    let own = [("origin", URL), ("sec-fetch-site", "same-origin")];
    let page = ann.post(&stage, &path, &yes, &own).await;
    assert_eq!(page.location(), path, "{}", page.body);
    let page = ann.get(&stage, &path).await;
    assert!(page.body.contains("approved") && !page.body.contains("Your decision"));
    // Once.
    let page = ann.post(&stage, &path, &yes, &own).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn whoever_started_the_run_has_no_role_or_only_looks_does_not_decide() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let mut claims = stage.claims();
    claims["actor"] = "ann".into();
    claims["event_name"] = "push".into();
    let key = Key::new();
    let token = stage.issuer.sign(&super::stage::token_header(), &claims);
    let (status, answer) = stage.exchange(&token, &key.proof("POST", "/oauth/token", None)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let shim = Shim {
        id: answer["session"]["id"].as_str().unwrap().into(),
        token: answer["access_token"].as_str().unwrap().into(),
        key,
    };
    let id = asked(&stage, &shim, "DELETE FROM users WHERE token = 'secret-value'").await;
    let path = format!("/approvals/{id}");
    let mut ann = fake.signs_in(&stage, |_| {}).await;
    let page = ann.get(&stage, &path).await;
    assert!(page.body.contains("you started this run"), "{}", page.body);
    let field = csrf(&page);
    let page = ann.post(&stage, &path, &[("csrf", &field), ("decision", "approve")], &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    // Somebody of whom nothing is known that could be compared.
    let mut unnamed = fake
        .signs_in(&stage, |claims| {
            claims["sub"] = "0192".into();
            claims.as_object_mut().unwrap().remove("preferred_username");
        })
        .await;
    let page = unnamed.get(&stage, &path).await;
    assert!(page.body.contains("same_person"), "{}", page.body);
    let field = csrf(&page);
    let page = unnamed.post(&stage, &path, &[("csrf", &field), ("decision", "approve")], &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    // A viewer, who sees no values; and somebody without a role.
    let mut viewer = fake
        .signs_in(&stage, |claims| {
            claims["preferred_username"] = "cleo".into();
            claims["groups"] = json!(["staff"]);
        })
        .await;
    let page = viewer.get(&stage, &path).await;
    assert!(!page.body.contains("secret-value"), "{}", page.body);
    let field = csrf(&page);
    let page = viewer.post(&stage, &path, &[("csrf", &field), ("decision", "approve")], &[]).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let mut nobody = fake.signs_in(&stage, |claims| claims["groups"] = json!(["guests"])).await;
    let page = nobody.get(&stage, &path).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.body.contains("No role") && !page.body.contains("/runs?"), "{}", page.body);
    let field = csrf(&page);
    let out = nobody.post(&stage, "/sign-out", &[("csrf", &field)], &[]).await;
    assert_eq!(out.status, StatusCode::OK);
    assert!(!nobody.get(&stage, &path).await.body.contains("No role"));
    // And another approver does.
    let mut ben = fake
        .signs_in(&stage, |claims| {
            claims["sub"] = "ben".into();
            claims["preferred_username"] = "ben".into();
        })
        .await;
    let field = csrf(&ben.get(&stage, &path).await);
    let page = ben
        .post(&stage, &path, &[("csrf", &field), ("decision", "refuse"), ("reason", "no")], &[])
        .await;
    assert_eq!(page.location(), path, "{}", page.body);
    assert!(ben.get(&stage, &path).await.body.contains("refused"));
}

#[tokio::test]
async fn what_a_job_or_a_provider_wrote_is_text_in_pages() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let shim = stage.session().await;
    let evil = "<script>alert(1)</script><img src=x onerror=alert(2)> '\"&\u{202e}\u{200b}";
    let mut question = question(&shim, &format!("DELETE FROM t /* {evil} */"), &["one"]);
    question["what"] = evil.into();
    let id = ask(&stage, &shim, &question).await["id"].as_str().unwrap().to_owned();
    let mut ann = fake
        .signs_in(&stage, |claims| {
            claims["name"] = evil.into();
            claims["preferred_username"] = "ben".into();
        })
        .await;
    for path in ["/approvals".to_owned(), format!("/approvals/{id}")] {
        let page = ann.get(&stage, &path).await;
        assert_eq!(page.status, StatusCode::OK);
        for raw in ["<script>alert", "<img src=x", "\u{202e}", "\u{200b}"] {
            assert!(!page.body.contains(raw), "{path}: {raw:?}");
        }
        assert!(page.body.contains("\\u{202e}"), "{path}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_signs_nobody_in_and_who_is_signed_in_goes_on() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let mut ann = fake.signs_in(&stage, |_| {}).await;
    let mut away = Browser::default();
    let asked = away.leave(&stage).await;
    let refused = json!({ "error": "temporarily_unavailable" });
    *fake.answer.lock().unwrap() = (StatusCode::SERVICE_UNAVAILABLE, refused);
    let page = away.get(&stage, &fake.back(&asked["state"])).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.body.contains("Signing in did not work"));
    assert_eq!(ann.get(&stage, "/approvals").await.status, StatusCode::OK);
}

/// oidc-provider, in a process of its own, and somebody's browser there.
struct Certified {
    url: String,
    provider: Provider,
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Certified {
    fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = Provider::start("people_provider.js").unwrap();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .unwrap();
        Self { url: provider.url.clone(), provider, http, cookies: BTreeMap::new() }
    }

    fn ask(&mut self, command: &Value) {
        let _ = self.provider.tell(command).unwrap();
    }

    fn knows(&mut self, device: bool) {
        let back = format!("{URL}/sign-in/callback");
        self.ask(&json!({
            "client": { "back": back, "device": device },
            "people": { "ben": { "name": "Ben", "email": "ben@acme.example", "groups": ["dba"] } },
        }));
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> (Option<String>, String) {
        let cookies: Vec<_> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (to, answer.text().await.unwrap())
    }

    /// Goes where it is sent and picks somebody where it is asked who it is, until it is sent away or shown something.
    async fn follow(&mut self, start: String, who: &str) -> (String, String) {
        let mut at = start;
        for _ in 0..12 {
            let url = url::Url::parse(&self.url).unwrap().join(&at).unwrap();
            if !url.as_str().starts_with(&self.url) {
                return (url.into(), String::new());
            }
            let request = if url.path().starts_with("/interaction/") {
                self.http.post(url.clone()).form(&[("sub", who)])
            } else {
                self.http.get(url.clone())
            };
            match self.send(request).await {
                (Some(to), _) => at = to,
                (None, body) => return (url.into(), body),
            }
        }
        panic!("sent around: {at}");
    }
}

#[tokio::test]
async fn somebody_signs_in_at_a_certified_provider_and_approves() {
    let mut certified = Certified::start();
    certified.knows(true);
    let stage = stage(&certified.url).await;
    let shim = stage.session().await;
    let id = asked(&stage, &shim, "DELETE FROM users WHERE id = 7").await;
    let mut ben = Browser::default();
    let page = ben.get(&stage, &format!("/approvals/{id}")).await;
    let page = ben.get(&stage, page.location()).await;
    let (back, _) = certified.follow(page.location().to_owned(), "ben").await;
    let page = ben.get(&stage, back.strip_prefix(URL).unwrap()).await;
    assert_eq!(page.location(), format!("/approvals/{id}"), "{}", page.body);
    let page = ben.get(&stage, page.location()).await;
    assert!(page.body.contains("Ben") && page.body.contains("Your decision"), "{}", page.body);
    let field = csrf(&page);
    let form = [("csrf", field.as_str()), ("decision", "approve"), ("reason", "as agreed")];
    ben.post(&stage, &format!("/approvals/{id}"), &form, &[]).await;
    let record = stage.text(&shim).await;
    assert!(record.contains("as agreed") && record.contains("\"granted\""), "{record}");
}

/// A request of the command line.
pub(super) async fn by_token(
    stage: &Stage,
    method: Method,
    path: &str,
    token: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(body.to_string()));
    stage.send(request.unwrap()).await
}

#[tokio::test]
async fn somebody_signs_in_on_the_command_line_approves_and_signs_out() {
    let mut certified = Certified::start();
    certified.knows(true);
    let stage = stage(&certified.url).await;
    let shim = stage.session().await;
    let id = asked(&stage, &shim, "DELETE FROM users WHERE id = 7").await;
    let nothing = Value::Null;
    let (status, begun) = by_token(&stage, Method::POST, "/v1/people/device", "", &nothing).await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    let code = json!({ "device_code": begun["device_code"] });
    let poll = "/v1/people/device/token";
    let (_, answer) = by_token(&stage, Method::POST, poll, "", &code).await;
    assert_eq!(answer["state"], "waiting");
    // Ben opens the page, and says that the code is the one that he sees.
    let at = begun["verification_uri_complete"].as_str().unwrap().to_owned();
    let (url, form) = certified.follow(at, "ben").await;
    let (_, rest) = form.split_once("name=\"xsrf\" value=\"").unwrap();
    let xsrf = rest.split('"').next().unwrap();
    let code_seen = begun["user_code"].as_str().unwrap();
    let fields = [("xsrf", xsrf), ("user_code", code_seen), ("confirm", "yes")];
    let url = url::Url::parse(&url).unwrap().join("/device").unwrap();
    let request = certified.http.post(url).form(&fields);
    let done = match certified.send(request).await {
        (Some(to), _) => certified.follow(to, "ben").await.1,
        (None, body) => body,
    };
    assert!(done.contains("Done"), "{done}");
    let (_, answer) = by_token(&stage, Method::POST, poll, "", &code).await;
    assert_eq!(answer["state"], "signed-in", "{answer}");
    assert_eq!(answer["person"]["name"], "Ben");
    let token = answer["token"].as_str().unwrap();
    // The code is worth nothing more.
    let (status, _) = by_token(&stage, Method::POST, poll, "", &code).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // A token is no cookie, and a cookie no token.
    let mut browser = Browser::default();
    browser.cookies.insert("__Host-guard".into(), token.into());
    assert!(browser.get(&stage, "/approvals").await.status.is_redirection());
    let shorter: String = token.chars().take(token.len() - 1).collect();
    for wrong in ["", "guard_person_", &shorter, "guard_person_x y"] {
        let (status, _) = by_token(&stage, Method::GET, "/v1/people/self", wrong, &nothing).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let path = format!("/v1/people/approvals/{id}");
    let (_, answer) = by_token(&stage, Method::GET, "/v1/people/approvals", token, &nothing).await;
    assert_eq!(answer["waiting"][0]["id"], id.as_str());
    assert_eq!(answer["waiting"][0]["text"], "DELETE FROM users WHERE id = 7");
    let (status, answer) =
        by_token(&stage, Method::POST, &path, token, &json!({ "grant": true })).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("granted")));
    let (status, _) = by_token(&stage, Method::POST, &path, token, &json!({ "grant": true })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = by_token(&stage, Method::POST, "/v1/people/sign-out", token, &nothing).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = by_token(&stage, Method::GET, "/v1/people/self", token, &nothing).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_provider_without_a_device_flow_is_named_as_such() {
    let fake = Fake::start().await;
    let stage = stage(&fake.url).await;
    let (status, answer) =
        by_token(&stage, Method::POST, "/v1/people/device", "", &Value::Null).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer["message"].as_str().unwrap().contains("device flow"), "{answer}");
}
