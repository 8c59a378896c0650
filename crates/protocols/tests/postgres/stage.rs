//! A real server, a handler before it, and a policy between them; the record is kept in memory.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use guard_audit::Event;
use guard_core::{
    ApprovalId, ApprovalState, ApprovalWait, Denial, EndReason, EnforceAt, Identity, ResourceKind,
    ResourceName, ResourceSpec, Secret, SessionId, SessionView, Timestamp, TlsMode,
    control::ApprovalStatus,
};
use guard_gate::{
    Approvals, CannotAsk, Durability, Question, RecordUnavailable, Recorder, SessionGate,
};
use guard_policy::Policy;
use guard_protocols::{
    ClientAuth, Closed, Credential, CredentialUnavailable, ProtocolError, ProtocolHandler as _,
    Resource, postgres::PostgresHandler,
};
use guard_tests::Postgres;
use postgres_protocol::message::{backend::Message, frontend};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// The password of the run.
pub(crate) const PASSWORD: &str = "this-run-only";

/// What guard leases: neither is ever in the job.
const LEASED: &str = "leased";
const CREDENTIAL: &str = "only-the-broker-knows";

pub(crate) const ALL: &str = "
policy: all
rules:
  - name: all
    sql: { effects: \"*\", certainty: [exact, partial] }
    decide: allow
  - name: not-understood
    sql: { effects: \"*\", certainty: [unparsed] }
    decide: allow
";

pub(crate) struct Stage {
    pub(crate) port: u16,
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) people: Arc<People>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) end: watch::Sender<Option<EndReason>>,
    handler: Arc<PostgresHandler>,
    gate: Arc<SessionGate>,
    _policy: watch::Sender<Arc<Policy>>,
    _dir: tempfile::TempDir,
}

struct Server {
    spec: ResourceSpec,
    tls: Arc<rustls::ClientConfig>,
    username: String,
    password: String,
}

#[derive(Default)]
struct Memory(Arc<Mutex<Vec<Event>>>);

impl Stage {
    /// A stage whose database `shop` is made by `seed`.
    pub(crate) async fn new(policy: &str, tls: TlsMode, seed: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let postgres = Postgres::start(dir.path(), &[]).unwrap();
        let role = format!("CREATE ROLE {LEASED} LOGIN SUPERUSER PASSWORD '{CREDENTIAL}'");
        postgres.sql("postgres", &role).unwrap();
        postgres.sql("postgres", "CREATE DATABASE shop").unwrap();
        if !seed.is_empty() {
            postgres.sql("shop", seed).unwrap();
        }
        Self::before(Arc::new(postgres), dir, policy, tls).await
    }

    async fn before(
        postgres: Arc<Postgres>,
        dir: tempfile::TempDir,
        policy: &str,
        tls: TlsMode,
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&postgres.ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let server = Server {
            spec: ResourceSpec {
                name: ResourceName::new("shop").unwrap(),
                kind: ResourceKind::Postgres,
                address: format!("127.0.0.1:{}", postgres.port),
                database: "shop".into(),
                tls,
                tls_ca: None,
                enforce_at: EnforceAt::Gateway,
                send_as: None,
                api: None,
            },
            tls: Arc::new(config),
            username: LEASED.into(),
            password: CREDENTIAL.into(),
        };
        let policy = Policy::parse("test.yaml", policy).unwrap();
        let (policy_sender, policy) = watch::channel(Arc::new(policy));
        let (end, ended) = watch::channel(None);
        let recorder = Memory::default();
        let people = Arc::new(People::default());
        let events = recorder.0.clone();
        let view = SessionView {
            id: SessionId::from_uuid(uuid::Uuid::nil()),
            identity: Identity::example(),
            resource: ResourceName::new("shop").unwrap(),
            until: "2999-01-01T00:00:00Z".parse().unwrap(),
        };
        let gate = SessionGate::new(
            view,
            policy,
            ended,
            Arc::new(recorder),
            people.clone(),
            Timestamp::now,
            EnforceAt::Gateway,
            "test".into(),
        );
        let handler = PostgresHandler::new(Arc::new(server));
        let (own_handler, own_gate) = (handler.clone(), gate.clone());
        let listen: u16 = std::env::var("GUARD_STAGE_PORT").map_or(0, |port| port.parse().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", listen)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).unwrap();
                let auth = ClientAuth::Password(Secret::new(PASSWORD));
                let served = handler.clone().serve(Box::new(client), auth.into(), gate.clone());
                tokio::spawn(async move {
                    let result = served.await;
                    if std::env::var_os("GUARD_STAGE_PORT").is_some() {
                        eprintln!("closed: {result:?}");
                    }
                });
            }
        });
        Self {
            port,
            postgres,
            people,
            events,
            end,
            handler: own_handler,
            gate: own_gate,
            _policy: policy_sender,
            _dir: dir,
        }
    }

    /// A client program, told to go through guard.
    pub(crate) fn client(&self, program: &str) -> std::process::Command {
        let mut command = self.postgres.client(program, "shop");
        command
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "whoever")
            .env("PGPASSWORD", PASSWORD);
        command
    }

    /// A client that sends what it likes; past its start-up.
    pub(crate) async fn raw(&self) -> Raw {
        self.raw_with(&[("user", "x"), ("database", "shop")]).await.0
    }

    /// The same with other parameters; gives also what the server's side said to them.
    pub(crate) async fn raw_with(&self, parameters: &[(&str, &str)]) -> (Raw, String) {
        let (own, guards) = tokio::io::duplex(1 << 16);
        let served = self.handler.clone().serve(
            Box::new(guards),
            ClientAuth::Proven.into(),
            self.gate.clone(),
        );
        let served = tokio::spawn(served);
        let mut raw = Raw { stream: own, input: BytesMut::new(), served };
        let mut startup = BytesMut::new();
        frontend::startup_message(parameters.iter().copied(), &mut startup).unwrap();
        raw.stream.write_all(&startup).await.unwrap();
        let said = raw.until_ready().await;
        (raw, said)
    }

    /// The messages that follow these of a client, from its start-up packet on, up to as many ReadyForQuery.
    pub(crate) async fn said_to(&self, sent: &[u8], mut ready: usize) -> Vec<(u8, Vec<u8>)> {
        let (mut own, guards) = tokio::io::duplex(1 << 16);
        let served = self.handler.clone().serve(
            Box::new(guards),
            ClientAuth::Proven.into(),
            self.gate.clone(),
        );
        tokio::spawn(served);
        own.write_all(sent).await.unwrap();
        let mut all = Vec::new();
        loop {
            let tag = own.read_u8().await.unwrap();
            let length = own.read_u32().await.unwrap();
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            own.read_exact(&mut body).await.unwrap();
            all.push((tag, body));
            ready -= usize::from(tag == b'Z');
            if ready == 0 {
                return all;
            }
        }
    }

    /// What psql says to a script, both streams.
    pub(crate) async fn psql(&self, script: &str) -> String {
        let mut command = self.client("psql");
        command.args(["-X", "-A", "-t", "-c", script]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim_end().to_owned()
    }
}

/// A client that sends what it likes.
pub(crate) struct Raw {
    stream: tokio::io::DuplexStream,
    input: BytesMut,
    served: tokio::task::JoinHandle<Result<Closed, ProtocolError>>,
}

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message: its type, and of errors the code, of rows and tags the text.
    pub(crate) async fn receive(&mut self) -> Option<String> {
        loop {
            if let Some(message) = Message::parse(&mut self.input).unwrap() {
                return Some(describe(&message));
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// All up to ReadyForQuery or the end, with blanks between.
    pub(crate) async fn until_ready(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(message) = self.receive().await {
            let ready = message.starts_with('Z');
            all.push(message);
            if ready {
                break;
            }
        }
        all.join(" ")
    }

    pub(crate) async fn closed(self) -> Result<Closed, ProtocolError> {
        drop(self.stream);
        self.served.await.unwrap()
    }
}

fn describe(message: &Message) -> String {
    match message {
        Message::ErrorResponse(body) => {
            let code = body.fields().find(|f| Ok(f.type_() == b'C')).unwrap().unwrap();
            format!("E:{}", String::from_utf8_lossy(code.value_bytes()))
        }
        Message::CommandComplete(body) => format!("C:{}", body.tag().unwrap()),
        Message::DataRow(body) => {
            let texts = body.ranges().map(|range| {
                Ok(range.map_or("NULL".into(), |range| {
                    String::from_utf8_lossy(&body.buffer()[range]).into_owned()
                }))
            });
            format!("D:{}", texts.collect::<Vec<_>>().unwrap().join("|"))
        }
        Message::ReadyForQuery(body) => format!("Z{}", char::from(body.status())),
        Message::ParseComplete => "1".into(),
        Message::BindComplete => "2".into(),
        Message::CloseComplete => "3".into(),
        Message::NoData => "n".into(),
        Message::RowDescription(_) => "T".into(),
        Message::ParameterDescription(_) => "t".into(),
        Message::PortalSuspended => "s".into(),
        Message::EmptyQueryResponse => "I".into(),
        Message::CopyInResponse(_) => "G".into(),
        Message::NoticeResponse(_) => "N".into(),
        Message::NotificationResponse(body) => {
            format!("A:{}:{}", body.channel().unwrap(), body.message().unwrap())
        }
        _ => "?".into(),
    }
}

impl Resource for Server {
    fn spec(&self) -> &ResourceSpec {
        &self.spec
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        TcpStream::connect(&self.spec.address).boxed()
    }

    fn credential(&self) -> BoxFuture<'_, Result<Arc<Credential>, CredentialUnavailable>> {
        let credential = Credential {
            username: self.username.clone(),
            password: Secret::new(self.password.clone()),
            session_token: None,
        };
        async { Ok(Arc::new(credential)) }.boxed()
    }

    fn tls(&self) -> Arc<rustls::ClientConfig> {
        self.tls.clone()
    }

    fn mask_key(&self) -> &[u8] {
        b"key of the session"
    }

    fn lasting_mask_key(&self) -> Option<&[u8]> {
        Some(b"key of the resource")
    }

    fn refused(&self, _denial: &Denial) {}
}

impl Recorder for Memory {
    fn append(
        &self,
        events: Vec<Event>,
        _durability: Durability,
    ) -> BoxFuture<'_, Result<(), RecordUnavailable>> {
        self.0.lock().unwrap().extend(events);
        async { Ok(()) }.boxed()
    }

    fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// People who decide when the test does.
#[derive(Default)]
pub(crate) struct People {
    /// What was asked, and where it stands.
    pub(crate) asked: watch::Sender<Vec<(ApprovalId, Question, ApprovalState)>>,
    /// Statements do not wait.
    pub(crate) parks: std::sync::atomic::AtomicBool,
}

impl People {
    /// Waits until so many requests are in a state.
    pub(crate) async fn until(&self, count: usize, state: ApprovalState) {
        let mut asked = self.asked.subscribe();
        let reached = asked.wait_for(|asked| {
            asked.iter().filter(|(_, _, found)| *found == state).count() == count
        });
        let reached = tokio::time::timeout(std::time::Duration::from_secs(20), reached).await;
        let all: Vec<_> =
            self.asked.borrow().iter().map(|(_, q, s)| (q.what.clone(), *s)).collect();
        assert!(reached.is_ok(), "{count} × {state}: {all:?}");
    }

    /// Decides on everything that waits.
    pub(crate) fn decide(&self, to: ApprovalState) {
        self.asked.send_modify(|asked| {
            for (_, _, state) in asked.iter_mut().filter(|a| a.2 == ApprovalState::Waiting) {
                *state = to;
            }
        });
    }

    /// What was asked, by its shown text.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.asked.borrow().iter().map(|(_, question, _)| question.subject.text.clone()).collect()
    }

    fn status(&self, id: ApprovalId) -> ApprovalStatus {
        let asked = self.asked.borrow();
        let found = asked.iter().find(|(known, _, _)| *known == id);
        let parks = self.parks.load(std::sync::atomic::Ordering::Relaxed);
        ApprovalStatus {
            id,
            state: found.map_or(ApprovalState::Cancelled, |(_, _, state)| *state),
            wait: if parks { ApprovalWait::Park } else { ApprovalWait::Hold },
            until: Timestamp::MAX,
            address: "https://guard.example/approvals/1".into(),
            by: Vec::new(),
            reason: None,
        }
    }
}

impl Approvals for People {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<ApprovalStatus, CannotAsk>> {
        let id =
            ApprovalId::from_uuid(uuid::Uuid::from_u128(self.asked.borrow().len() as u128 + 1));
        let known = {
            let asked = self.asked.borrow();
            let same = |q: &Question| {
                q.subject.text_digest == question.subject.text_digest
                    && q.subject.details_digest == question.subject.details_digest
            };
            // Of parked ones the same is found again.
            let parks = self.parks.load(std::sync::atomic::Ordering::Relaxed);
            asked
                .iter()
                .find(|(_, q, state)| {
                    parks
                        && same(q)
                        && matches!(state, ApprovalState::Waiting | ApprovalState::Granted)
                })
                .map(|(id, _, _)| *id)
        };
        let id = known.unwrap_or_else(|| {
            self.asked.send_modify(|asked| asked.push((id, question, ApprovalState::Waiting)));
            id
        });
        let status = self.status(id);
        async { Ok(status) }.boxed()
    }

    fn decided(
        self: Arc<Self>,
        id: ApprovalId,
    ) -> BoxFuture<'static, Result<ApprovalStatus, CannotAsk>> {
        async move {
            let mut asked = self.asked.subscribe();
            let waits = |asked: &Vec<(ApprovalId, Question, ApprovalState)>| {
                asked
                    .iter()
                    .all(|(known, _, state)| *known != id || *state != ApprovalState::Waiting)
            };
            let _ = asked.wait_for(waits).await;
            Ok(self.status(id))
        }
        .boxed()
    }

    fn spend<'a>(
        &'a self,
        id: ApprovalId,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<ApprovalStatus, CannotAsk>> {
        self.asked.send_modify(|asked| {
            for (known, asked, state) in asked.iter_mut() {
                let same = asked.subject.text_digest == question.subject.text_digest
                    && asked.subject.details_digest == question.subject.details_digest;
                if *known == id && *state == ApprovalState::Granted && same {
                    *state = ApprovalState::Used;
                }
            }
        });
        let status = self.status(id);
        async { Ok(status) }.boxed()
    }

    fn cancel(&self, id: ApprovalId) {
        self.asked.send_modify(|asked| {
            for (_, _, state) in asked.iter_mut().filter(|(known, _, _)| *known == id) {
                *state = ApprovalState::Cancelled;
            }
        });
    }
}
