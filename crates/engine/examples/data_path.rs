//! The data path of one session three times, for `cargo xtask bench record`: what it serves at `FOLDER/whole` is recorded, at
//! `FOLDER/sent` the record goes as far as an enforcement point brings it, and at `FOLDER/off` nowhere. Only this program can leave
//! the record out; in guard nothing can.
//!
//! ```text
//! data_path FOLDER SERVER-PORT USER PASSWORD
//! ```
//!
//! For `whole` the broker's half is here, too: a request is read as the broker reads it, chained, written and brought to the disk, on
//! a thread of its own. HTTP and the broker's process are not.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use guard_audit::{ChainWriter, Event, SealingKey};
use guard_core::{
    ApprovalId, EnforceAt, Grant, Identity, LeaseId, PolicyName, ResourceKind, ResourceName,
    ResourceSpec, Secret, SessionId, Timestamp, TlsMode,
    control::{
        AppendEvents, Appended, ApprovalStatus, AskApproval, AskLease, Enforcement, Lease,
        PolicySource, SessionState, UseApproval,
    },
};
use guard_engine::{
    ClientAuth,
    control::{ControlError, ControlPlane},
    session::{Point, ServedSession},
    threads::Threads,
};

const POLICY: &str = "\
policy: bench
rules:
  - name: reads
    sql: { effects: [read, session, transaction, lock] }
    decide: allow
";

/// What the broker would do for the session.
struct Control {
    credential: (String, Secret),
    record: Kept,
}

/// What becomes of events.
#[derive(Clone)]
enum Kept {
    /// They are written as the request to the broker has them, chained and brought to the disk.
    Whole(Arc<Record>),
    /// They are written as the request to the broker has them.
    Sent,
    Off,
}

/// A record, written as the broker writes it.
struct Record {
    session: SessionId,
    file: File,
    chain: Mutex<ChainWriter>,
    key: SealingKey,
}

impl Record {
    fn append(&self, body: &[u8]) {
        let body: AppendEvents<Event> = serde_json::from_slice(body).unwrap();
        let now = Timestamp::now();
        let mut lines = Vec::with_capacity(body.events.len() * 512);
        let mut chain = self.chain.lock().unwrap();
        for event in &body.events {
            chain.append_into(&mut lines, now, &body.writer, event).unwrap();
        }
        if chain.is_due(now) {
            chain.seal_segment_into(&mut lines, self.session, now, &self.key).unwrap();
        }
        (&self.file).write_all(&lines).unwrap();
        drop(chain);
        self.file.sync_data().unwrap();
    }
}

fn unasked<T: Send + 'static>() -> BoxFuture<'static, Result<T, ControlError>> {
    ready(Err(ControlError::Unproven("nobody is asked in a measurement".into()))).boxed()
}

impl ControlPlane for Control {
    fn lease<'a>(&'a self, _: &'a AskLease) -> BoxFuture<'a, Result<Lease, ControlError>> {
        let (username, password) = self.credential.clone();
        let id = LeaseId::from_uuid(uuid::Uuid::now_v7());
        ready(Ok(Lease {
            id,
            username,
            password,
            session_token: None,
            certificate: None,
            until: Timestamp::MAX,
        }))
        .boxed()
    }

    fn release(&self, _: LeaseId) -> BoxFuture<'_, Result<(), ControlError>> {
        ready(Ok(())).boxed()
    }

    fn append<'a>(
        &'a self,
        body: &'a AppendEvents<Event>,
    ) -> BoxFuture<'a, Result<Appended, ControlError>> {
        let next = body.first + body.events.len() as u64;
        let record = self.record.clone();
        async move {
            let text = match &record {
                Kept::Off => return Ok(Appended { next }),
                Kept::Sent | Kept::Whole(_) => serde_json::to_vec(body).unwrap(),
            };
            if let Kept::Whole(record) = record {
                tokio::task::spawn_blocking(move || record.append(&text)).await.unwrap();
            } else {
                std::hint::black_box(text);
            }
            Ok(Appended { next })
        }
        .boxed()
    }

    fn ask_approval<'a>(
        &'a self,
        _: &'a AskApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        unasked()
    }

    fn approval_state(
        &self,
        _: SessionId,
        _: ApprovalId,
        _: Duration,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        unasked()
    }

    fn use_approval<'a>(
        &'a self,
        _: ApprovalId,
        _: &'a UseApproval,
    ) -> BoxFuture<'a, Result<ApprovalStatus, ControlError>> {
        unasked()
    }

    fn cancel_approval(
        &self,
        _: SessionId,
        _: ApprovalId,
    ) -> BoxFuture<'_, Result<ApprovalStatus, ControlError>> {
        unasked()
    }

    /// A session that never ends.
    fn state(
        &self,
        _: SessionId,
        _: u64,
        _: Duration,
    ) -> BoxFuture<'_, Result<SessionState, ControlError>> {
        futures_util::future::pending().boxed()
    }
}

fn enforcement(session: SessionId, port: u16) -> Enforcement {
    let resource = ResourceName::new("shop").unwrap();
    let policy = PolicyName::new("bench").unwrap();
    Enforcement {
        session,
        identity: Identity::example(),
        grant: Grant { resource: resource.clone(), policy: policy.clone(), until: Timestamp::MAX },
        resource: ResourceSpec {
            name: resource,
            kind: ResourceKind::Postgres,
            address: format!("127.0.0.1:{port}"),
            database: "shop".into(),
            tls: TlsMode::Disable,
            tls_ca: None,
            enforce_at: EnforceAt::Shim,
            send_as: None,
            api: None,
        },
        policy: PolicySource::new(policy, POLICY.into(), None),
        mask_key: Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        lasting_mask_key: None,
    }
}

/// Serves clients at a socket in this folder, for ever. To be started on the thread that serves them.
async fn serve(folder: PathBuf, port: u16, credential: (String, Secret), name: &str) {
    let session = SessionId::from_uuid(uuid::Uuid::now_v7());
    std::fs::create_dir_all(&folder).unwrap();
    let record = match name {
        "whole" => {
            let file = File::create(folder.join("record.jsonl")).unwrap();
            let (chain, key) = (Mutex::new(ChainWriter::new()), SealingKey::generate().unwrap());
            Kept::Whole(Arc::new(Record { session, file, chain, key }))
        }
        "sent" => Kept::Sent,
        _ => Kept::Off,
    };
    let control = Arc::new(Control { credential, record });
    let point = Point { at: EnforceAt::Shim, name: "bench".into() };
    let served = ServedSession::start(enforcement(session, port), control, &point).unwrap();
    let listener = tokio::net::UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let served = served.clone();
        tokio::spawn(async move {
            served.serve_and_log(Box::new(client), ClientAuth::Proven.into()).await;
        });
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, port, user, password] = arguments.as_slice() else {
        eprintln!("data_path FOLDER SERVER-PORT USER PASSWORD");
        return;
    };
    guard_engine::install_crypto_provider();
    let credential = (user.clone(), Secret::new(password.clone()));
    let port = port.parse().unwrap();
    let threads: Vec<Threads> = ["whole", "sent", "off"]
        .into_iter()
        .map(|name| {
            let threads = Threads::start(1).unwrap();
            let folder = Path::new(folder).join(name);
            threads.next().spawn(serve(folder, port, credential.clone(), name));
            threads
        })
        .collect();
    // Until it is killed.
    std::thread::park();
    drop(threads);
}
