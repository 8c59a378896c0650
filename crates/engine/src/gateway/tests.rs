//! A shim's tunnel and its gateway over loopback, and those who would come between.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use futures_util::FutureExt as _;
use guard_core::{
    Digest, EndReason, ResourceKind, ResourceName, Secret,
    control::{ApiError, GatewayInfo},
};
use guard_protocols::ClientAuth;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    fake::{FakeBroker, refused},
    keys::SessionKey,
    tls::towards_gateway,
    tunnel::{Tunnel, TunnelError},
};

struct Fixture {
    broker: Arc<FakeBroker>,
    gateway: Arc<Gateway>,
    address: String,
    certificate: Digest,
    _shutdown: oneshot::Sender<()>,
}

async fn fixture() -> Fixture {
    let broker = FakeBroker::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let certificate = ServerCertificate::self_signed().unwrap();
    let digest = certificate.digest;
    let gateway = Gateway::new("eu", address.clone(), broker.clone(), Threads::here());
    let (shutdown, ended) = oneshot::channel::<()>();
    tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.serve(listener, &certificate, ended.map(drop).boxed()).await }
    });
    Fixture { broker, gateway, address, certificate: digest, _shutdown: shutdown }
}

impl Fixture {
    fn tunnel(&self, certificate: Digest, resource: &str) -> Tunnel {
        let gateway = GatewayInfo { name: "eu".into(), address: self.address.clone(), certificate };
        let key = Arc::new(SessionKey::generate().unwrap());
        let resource = ResourceName::new(resource).unwrap();
        Tunnel::new(gateway, resource, ResourceKind::Postgres, key, Secret::new("token")).unwrap()
    }

    /// Sends a request as it is, and returns the answer's status line and body.
    async fn raw(&self, request: &str) -> (String, String) {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        let connector = TlsConnector::from(towards_gateway(self.certificate).unwrap());
        let name = ServerName::try_from("guard-gateway").unwrap();
        let mut stream = connector.connect(name, tcp).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A peer that hangs up without a TLS goodbye has said all it had to say.
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.lines().next().unwrap_or("").to_owned(), body.to_owned())
    }
}

#[tokio::test]
async fn a_tunnel_shows_the_broker_exactly_what_the_shim_proved() {
    let fixture = fixture().await;
    let tunnel = fixture.tunnel(fixture.certificate, "orders");
    tunnel.open(&ClientAuth::Proven.into()).await.unwrap();
    let authorized = fixture.broker.authorized.lock().unwrap();
    let [ask] = authorized.as_slice() else { panic!("{authorized:?}") };
    assert_eq!(ask.access_token.expose(), "token");
    assert_eq!(ask.method, "POST");
    assert_eq!(ask.uri, format!("https://{}/v1/tunnel/orders", fixture.address));
    assert_eq!(ask.resource.as_str(), "orders");
    assert_eq!(ask.proof.split('.').count(), 3);
}

#[tokio::test]
async fn a_man_in_the_middle_with_another_certificate_learns_no_token() {
    let fixture = fixture().await;
    // The shim was told another certificate than the one that it is shown.
    let tunnel = fixture.tunnel(Digest::of("another"), "orders");
    let error = tunnel.open(&ClientAuth::Proven.into()).await.err().unwrap();
    assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
    assert!(fixture.broker.authorized.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_of_the_broker_reaches_the_shim_in_words() {
    let fixture = fixture().await;
    *fixture.broker.refusal.lock().unwrap() = Some(refused(410, "session-over"));
    let tunnel = fixture.tunnel(fixture.certificate, "orders");
    let error = tunnel.open(&ClientAuth::Proven.into()).await.err().unwrap();
    assert_eq!(error.to_string(), "the gateway `eu` refused: because (session-over)");
}

#[tokio::test]
async fn an_answer_for_another_resource_is_not_served() {
    let fixture = fixture().await;
    // The fake broker always answers for `orders`.
    let tunnel = fixture.tunnel(fixture.certificate, "payments");
    assert!(tunnel.open(&ClientAuth::Proven.into()).await.is_err());
    assert!(fixture.gateway.sessions().is_empty());
}

#[tokio::test]
async fn tunnels_of_one_session_share_it_and_it_goes_when_the_session_ends() {
    let fixture = fixture().await;
    let tunnel = fixture.tunnel(fixture.certificate, "orders");
    let password = ClientAuth::Password(Secret::new("run"));
    let _one = tunnel.open(&ClientAuth::Proven.into()).await.unwrap();
    let _two = tunnel.open(&password.into()).await.unwrap();
    assert_eq!(fixture.gateway.sessions().len(), 1);
    let served = fixture.gateway.sessions().values().next().unwrap().clone();
    fixture.broker.ended.send_replace(Some(EndReason::Revoked));
    served.finished().await;
    while !fixture.gateway.sessions().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_that_are_not_a_proper_tunnel_are_refused_before_the_broker_is_asked() {
    let fixture = fixture().await;
    let proper =
        "Upgrade: guard-tunnel\r\nConnection: upgrade\r\nAuthorization: DPoP t\r\nDPoP: p\r\n";
    let proven = "Guard-Client-Auth: proven\r\n";
    let padding = format!("X-Padding: {}\r\n", "x".repeat(2 * MAX_HEADER));
    for (what, line, headers, status) in [
        ("health", "GET /healthz", String::new(), "200"),
        ("another page", "GET /", String::new(), "404"),
        ("another method", "GET /v1/tunnel/orders", String::new(), "405"),
        ("no upgrade", "POST /v1/tunnel/orders", String::new(), "400"),
        ("no client", "POST /v1/tunnel/orders", proper.into(), "400"),
        (
            "an unknown client",
            "POST /v1/tunnel/orders",
            format!("{proper}Guard-Client-Auth: trust\r\n"),
            "400",
        ),
        (
            "an empty password",
            "POST /v1/tunnel/orders",
            format!("{proper}Guard-Client-Password: \r\n"),
            "400",
        ),
        (
            "both ways",
            "POST /v1/tunnel/orders",
            format!("{proper}{proven}Guard-Client-Password: x\r\n"),
            "400",
        ),
        (
            "two tokens",
            "POST /v1/tunnel/orders",
            format!("{proper}{proven}Authorization: DPoP u\r\n"),
            "400",
        ),
        (
            "a bearer",
            "POST /v1/tunnel/orders",
            format!("{}{proven}", proper.replace("DPoP t", "Bearer t")),
            "401",
        ),
        (
            "no proof",
            "POST /v1/tunnel/orders",
            format!("{}{proven}", proper.replace("DPoP: p\r\n", "")),
            "401",
        ),
        ("no name", "POST /v1/tunnel/..%2f", format!("{proper}{proven}"), "404"),
        ("a huge header", "POST /v1/tunnel/orders", format!("{proper}{proven}{padding}"), "431"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: gateway\r\n{headers}\r\n");
        let (answer, body) = fixture.raw(&request).await;
        assert!(answer.contains(status), "{what}: {answer}");
        if status == "400" {
            assert!(serde_json::from_str::<ApiError>(&body).is_ok(), "{what}: {body}");
        }
    }
    assert!(fixture.broker.authorized.lock().unwrap().is_empty());
}
