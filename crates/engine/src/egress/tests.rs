#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Mutex;

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex},
    net::TcpListener,
};

use super::*;

const TO_LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// A broker that lists `localhost` and the addresses of loopback.
#[derive(Default)]
struct Broker {
    asked: Mutex<Vec<(String, u16)>>,
    ended: Mutex<Vec<EgressOutcome>>,
    networks: Vec<ipnet::IpNet>,
    tls: bool,
    away: bool,
}

impl EgressJudge for Broker {
    fn egress<'a>(
        &'a self,
        ask: &'a AskEgress,
    ) -> BoxFuture<'a, Result<EgressAnswer, ControlError>> {
        async move {
            if self.away {
                return Err(ControlError::Unreachable { broker: "b".into(), reason: "x".into() });
            }
            self.asked.lock().unwrap().push((ask.host.clone(), ask.port));
            Ok(match ask.host.as_str() {
                "evil.test" => EgressAnswer::Refused("it is not in the list".into()),
                _ => EgressAnswer::Allowed(EgressTerms {
                    tls: self.tls,
                    networks: self.networks.clone(),
                }),
            })
        }
        .boxed()
    }

    fn egress_ended(
        &self,
        _: EgressId,
        outcome: EgressOutcome,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        self.ended.lock().unwrap().push(outcome);
        async { Ok(()) }.boxed()
    }
}

fn broker(tls: bool) -> Arc<Broker> {
    let networks = TO_LOOPBACK.map(|net| net.parse().unwrap()).into();
    Arc::new(Broker { tls, networks, ..Broker::default() })
}

/// What a client of the proxy gets, until the end, and what was refused, in words.
async fn asked(broker: &Arc<Broker>, request: &[u8]) -> (String, Option<String>) {
    let egress = Egress::new(broker.clone(), Secret::new("pw"), Vec::new());
    let (mut client, server) = duplex(1 << 20);
    client.write_all(request).await.unwrap();
    client.shutdown().await.unwrap();
    let over = CancellationToken::new();
    let (words, answer) =
        tokio::join!(egress.serve(Box::new(server), || false, &over), all(&mut client));
    (answer, words)
}

async fn all(client: &mut DuplexStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(target: &str) -> Vec<u8> {
    let shown = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "guard:pw");
    format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {shown}\r\n\r\n"
    )
    .into_bytes()
}

/// A server that answers the first bytes with `pong`, and what it got.
async fn server() -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"pong").await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    };
    (port, tokio::spawn(serving))
}

/// The first message of TLS for a name.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn what_is_listed_passes_and_is_counted() {
    let broker = broker(false);
    let (port, serving) = server().await;
    let mut request = connect(&format!("127.0.0.1:{port}"));
    request.extend_from_slice(b"ping");
    let (answer, words) = asked(&broker, &request).await;
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\npong");
    assert_eq!((words, serving.await.unwrap().as_slice()), (None, &b"ping"[..]));
    let ended = broker.ended.lock().unwrap();
    let expected = EgressOutcome {
        address: Some("127.0.0.1".parse().unwrap()),
        sent: 4,
        received: 4,
        ..EgressOutcome::default()
    };
    assert_eq!(*ended, [expected]);
}

#[tokio::test]
async fn what_is_not_listed_is_refused_before_it_is_looked_up() {
    let broker = broker(true);
    let (answer, words) = asked(&broker, &connect("evil.test:443")).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.ends_with("guard: refused: it is not in the list\n"), "{answer}");
    assert_eq!(words.unwrap(), "a connection: it is not in the list");
    assert!(broker.ended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_passes_that_cannot_be_recorded() {
    let broker = Arc::new(Broker { away: true, ..Broker::default() });
    let (answer, words) = asked(&broker, &connect("127.0.0.1:443")).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(words.unwrap().contains("cannot be recorded"));
}

#[tokio::test]
async fn private_addresses_are_refused_also_behind_a_name() {
    let broker = Arc::new(Broker { tls: true, ..Broker::default() });
    for target in
        ["localhost:443", "127.0.0.1:443", "[::1]:443", "169.254.169.254:80", "10.0.0.1:443"]
    {
        let (answer, words) = asked(&broker, &connect(target)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        assert!(words.unwrap().contains("no public service"), "{target}");
    }
    let ended = broker.ended.lock().unwrap();
    assert!(ended.iter().all(|outcome| outcome.refused.is_some() && outcome.address.is_none()));
}

#[test]
fn of_several_addresses_those_that_are_private_are_never_dialled() {
    let all = ["10.0.0.1:443", "1.1.1.1:443", "[::1]:443", "169.254.169.254:443"];
    let all: Vec<SocketAddr> = all.iter().map(|one| one.parse().unwrap()).collect();
    let terms = EgressTerms { tls: true, networks: Vec::new() };
    assert_eq!(among(&all, &terms), ["1.1.1.1:443".parse().unwrap()]);
}

#[tokio::test]
async fn tls_passes_for_the_very_name_and_reaches_the_other_side_whole() {
    let broker = broker(true);
    let (port, serving) = server().await;
    let mut request = connect(&format!("LocalHost:{port}"));
    let hello = hello("localhost");
    request.extend_from_slice(&hello);
    let (answer, words) = asked(&broker, &request).await;
    assert!(answer.ends_with("\r\n\r\npong"), "{answer}");
    assert_eq!((words, serving.await.unwrap()), (None, hello));
}

#[tokio::test]
async fn tls_for_another_name_and_what_is_no_tls_is_refused() {
    for first in [
        hello("evil.test"),
        hello("127.0.0.1"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![],
        vec![0x16, 3, 1],
    ] {
        let broker = broker(true);
        let (port, serving) = server().await;
        let mut request = connect(&format!("localhost:{port}"));
        request.extend_from_slice(&first);
        let (answer, words) = asked(&broker, &request).await;
        assert!(!answer.contains("pong"), "{answer}");
        assert!(words.is_some(), "{first:?}");
        // It was dialled, and nothing was sent.
        assert!(serving.await.unwrap().is_empty());
        assert!(broker.ended.lock().unwrap().iter().all(|outcome| outcome.refused.is_some()));
    }
}

#[tokio::test]
async fn a_client_without_the_runs_password_is_asked_for_it_and_nobody_else() {
    let broker = broker(false);
    let wrong = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "guard:other");
    for shown in [
        String::new(),
        format!("Proxy-Authorization: Basic {wrong}\r\n"),
        "Proxy-Authorization: Bearer pw\r\n".to_owned(),
        "Proxy-Authorization: Basic !\r\n".to_owned(),
        format!("Authorization: Basic {wrong}\r\n"),
    ] {
        let request = format!("CONNECT 127.0.0.1:443 HTTP/1.1\r\n{shown}\r\n");
        let (answer, _) = asked(&broker, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{shown}: {answer}");
    }
    assert!(broker.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_is_known_needs_no_password_and_must_not_show_another() {
    let broker = broker(false);
    let egress = Egress::new(broker, Secret::new("pw"), Vec::new());
    let wrong = "Proxy-Authorization: Basic Z3VhcmQ6b3RoZXI=\r\n";
    for (shown, expected) in [("", "HTTP/1.1 403 "), (wrong, "HTTP/1.1 407 ")] {
        let (mut client, server) = duplex(1 << 20);
        let request = format!("CONNECT evil.test:443 HTTP/1.1\r\n{shown}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let over = CancellationToken::new();
        let serving = egress.serve(Box::new(server), || true, &over);
        let (_, answer) = tokio::join!(serving, all(&mut client));
        assert!(answer.starts_with(expected), "{shown}: {answer}");
    }
}

#[tokio::test]
async fn a_single_request_is_recorded_and_not_passed_on() {
    let broker = broker(false);
    let shown = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "guard:pw");
    let request = format!(
        "GET http://127.0.0.1:8080/x HTTP/1.1\r\nProxy-Authorization: Basic {shown}\r\n\r\n"
    );
    let (answer, words) = asked(&broker, request.as_bytes()).await;
    assert!(answer.contains("use https"), "{answer}");
    assert!(words.is_some());
    assert_eq!(*broker.asked.lock().unwrap(), [("127.0.0.1".to_owned(), 8080)]);
}

#[test]
fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let of = |head: &str| request::parse(head.as_bytes());
    for head in [
        "CONNECT a.test HTTP/1.1\r\n\r\n",
        "CONNECT a.test: HTTP/1.1\r\n\r\n",
        "CONNECT a.test:0 HTTP/1.1\r\n\r\n",
        "CONNECT a.test:+443 HTTP/1.1\r\n\r\n",
        "CONNECT a.test:65536 HTTP/1.1\r\n\r\n",
        "CONNECT :443 HTTP/1.1\r\n\r\n",
        "CONNECT / HTTP/1.1\r\n\r\n",
        "CONNECT a.test:443 b HTTP/1.1\r\n\r\n",
        "CONNECT a.test:443\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\n Folded: x\r\n\r\n",
        "GET /path HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "\0\r\n\r\n",
    ] {
        assert!(of(head).is_err(), "{head:?}");
    }
    assert!(of("CONNECT a.test:443 HTTP/1.1\r\n").unwrap().is_none());
}

#[tokio::test]
async fn the_end_of_the_run_ends_its_connections_and_says_what_passed() {
    let broker = broker(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let egress = Egress::new(broker.clone(), Secret::new("pw"), Vec::new());
    let (mut client, server) = duplex(1 << 20);
    client.write_all(&connect(&format!("127.0.0.1:{port}"))).await.unwrap();
    let over = CancellationToken::new();
    let ending = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"pong").await.unwrap();
        let mut answer = vec![0; b"HTTP/1.1 200 Connection established\r\n\r\npong".len()];
        client.read_exact(&mut answer).await.unwrap();
        over.cancel();
    };
    let (words, ()) = tokio::join!(egress.serve(Box::new(server), || false, &over), ending);
    assert_eq!(words, None);
    let ended = broker.ended.lock().unwrap();
    assert_eq!((ended.len(), ended[0].sent, ended[0].received), (1, 0, 4));
}
