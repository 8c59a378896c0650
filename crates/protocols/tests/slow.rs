//! Clients of an API that hold on to a connection without ever sending a request, or a body, whole.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{io, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _, pending};
use guard_audit::Event;
use guard_core::{
    ApprovalId, Denial, EnforceAt, Identity, ResourceKind, ResourceName, ResourceSpec, Secret,
    SessionId, SessionView, Timestamp, TlsMode, control::ApprovalStatus,
};
use guard_gate::{
    Approvals, CannotAsk, Durability, Question, RecordUnavailable, Recorder, SessionGate,
};
use guard_policy::Policy;
use guard_protocols::{
    ClientAuth, Credential, CredentialUnavailable, ProtocolHandler as _, Resource,
    http::{HttpHandler, Patience},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

const POLICY: &str = "\
policy: test
rules:
  - name: all
    http: { paths: [/**] }
    decide: allow
";

/// Short, so that tests are; all that is asserted is that it ends.
const PATIENCE: Patience = Patience {
    head: Duration::from_millis(200),
    body: Duration::from_millis(200),
    whole_body: Duration::from_millis(400),
};
/// For busy machines.
const LONG: Duration = Duration::from_secs(60);

struct Api(ResourceSpec);
struct Forgetful;
struct Nobody;

impl Resource for Api {
    fn spec(&self) -> &ResourceSpec {
        &self.0
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        TcpStream::connect(&self.0.address).boxed()
    }

    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, CredentialUnavailable>> {
        let credential = Credential {
            username: String::new(),
            password: Secret::new("t0ken"),
            session_token: None,
        };
        async { Ok(Arc::new(credential)) }.boxed()
    }

    fn tls(&self) -> Arc<rustls::ClientConfig> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let roots = rustls::RootCertStore::empty();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    }

    fn mask_key(&self) -> &[u8] {
        b"key"
    }

    fn lasting_mask_key(&self) -> Option<&[u8]> {
        None
    }

    fn refused(&self, _denial: &Denial) {}
}

impl Recorder for Forgetful {
    fn append(
        &self,
        _events: Vec<Event>,
        _durability: Durability,
    ) -> BoxFuture<'_, Result<(), RecordUnavailable>> {
        async { Ok(()) }.boxed()
    }

    fn note(&self, _event: Event) {}
}

impl Approvals for Nobody {
    fn ask(&self, _question: Question) -> BoxFuture<'_, Result<ApprovalStatus, CannotAsk>> {
        pending().boxed()
    }

    fn decided(
        self: Arc<Self>,
        _id: ApprovalId,
    ) -> BoxFuture<'static, Result<ApprovalStatus, CannotAsk>> {
        pending().boxed()
    }

    fn spend<'a>(
        &'a self,
        _id: ApprovalId,
        _question: &'a Question,
    ) -> BoxFuture<'a, Result<ApprovalStatus, CannotAsk>> {
        pending().boxed()
    }

    fn cancel(&self, _id: ApprovalId) {}
}

/// What a client is told that sends these bytes and then nothing, up to the end of its connection.
async fn told(bytes: &[u8]) -> Vec<u8> {
    // It takes everything and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
        }
    });
    let name = ResourceName::new("api").unwrap();
    let spec = ResourceSpec {
        name: name.clone(),
        kind: ResourceKind::Http,
        address,
        database: String::new(),
        tls: TlsMode::Disable,
        tls_ca: None,
        enforce_at: EnforceAt::Gateway,
        send_as: None,
        api: None,
    };
    let (_policy, policy) = watch::channel(Arc::new(Policy::parse("test.yaml", POLICY).unwrap()));
    let (_end, ended) = watch::channel(None);
    let view = SessionView {
        id: SessionId::from_uuid(uuid::Uuid::nil()),
        identity: Identity::example(),
        resource: name,
        until: "2999-01-01T00:00:00Z".parse().unwrap(),
    };
    let (recorder, people) = (Arc::new(Forgetful), Arc::new(Nobody));
    let (place, point) = (EnforceAt::Gateway, "test".to_owned());
    let gate =
        SessionGate::new(view, policy, ended, recorder, people, Timestamp::now, place, point);
    let handler = HttpHandler::patient(Arc::new(Api(spec)), PATIENCE).unwrap();
    let (mut client, guards) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(handler.serve(Box::new(guards), ClientAuth::Proven.into(), gate));
    client.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    let read = timeout(LONG, client.read_to_end(&mut said)).await;
    assert!(read.is_ok(), "{} is held open", bytes.escape_ascii());
    drop(client);
    let _ = timeout(LONG, served).await.unwrap().unwrap();
    serving.abort();
    said
}

#[tokio::test]
async fn a_head_that_never_ends_ends_its_connection() {
    for bytes in [
        &b""[..],
        b"G",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        let said = told(bytes).await;
        assert!(!said.starts_with(b"HTTP/1.1 2"), "{}", said.escape_ascii());
    }
}

#[tokio::test]
async fn a_body_that_stops_is_told_so_and_ends_its_connection() {
    for (headers, status) in [
        ("Content-Length: 5", "408"),
        ("Transfer-Encoding: chunked", "408"),
        // It is read whole before it is judged.
        ("Content-Length: 5\r\nContent-Type: application/x-www-form-urlencoded", "400"),
    ] {
        let head = format!("PUT / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        let said = told(head.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(said.starts_with(expected.as_bytes()), "{head}\n{}", said.escape_ascii());
    }
}

/// Frames of HTTP/2 behind its preface and settings.
fn two(frames: &[u8]) -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, frames].concat()
}

#[tokio::test]
async fn streams_that_never_ask_for_anything_end_their_connection() {
    // `:method: PUT`, `:scheme: http`, `:path: /`, `:authority: localhost`, as they stand in HPACK.
    let fields = b"\x42\x03PUT\x86\x84\x41\x09localhost";
    let frame = |kind: u8, flags: u8, stream: u8| {
        let length = u8::try_from(fields.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], &fields[..]].concat()
    };
    const HEADERS: u8 = 1;
    const END_HEADERS: u8 = 4;
    for (name, bytes) in [
        ("nothing", two(b"")),
        ("half a frame", two(&[0, 0, 9, HEADERS])),
        ("half a head", two(&frame(HEADERS, 0, 1))),
        ("no body", two(&frame(HEADERS, END_HEADERS, 1))),
    ] {
        let said = told(&bytes).await;
        // A refused body is an answer, whose head is a frame of headers; the others get none.
        let answered = said.windows(9).any(|it| it[3] == HEADERS && it[5..] == [0, 0, 0, 1]);
        assert_eq!(answered, name == "no body", "{name}: {}", said.escape_ascii());
    }
}
