//! PostgreSQL's frontend/backend protocol, version 3
//! (<https://www.postgresql.org/docs/current/protocol.html>).
//!
//! A connection goes through these rooms:
//!
//! 1. [`startup`]: what the client wants, and whether it belongs to the run.
//! 2. [`parameters`]: which settings it may bring along.
//! 3. [`upstream`]: a connection to the real server with the leased credential.
//! 4. [`session`]: messages both ways. [`from_client`] understands, asks the gate and sends; [`from_server`]
//!    puts answers to what was sent, masks and passes. [`expect`] is what is sent and not answered, [`names`] what
//!    names of statements and portals stand for, [`results`] which columns are rewritten.
//!
//! [`budget`] ends statements that are over a budget of the policy; [`planner`] asks the server how many rows a
//! statement is about, where a rule wants to know.
//!
//! What is refused is replaced, at its place in the stream, by a statement of guard's own that fails: so the
//! server itself aborts the transaction and skips what it would have skipped, answers keep their order,
//! and the server's error becomes the refusal.

mod after_error;
pub(crate) mod auth;
mod budget;
mod budgeting;
mod cancel;
mod catalog;
mod count;
mod countable;
mod definitions;
mod encoding;
mod estimate;
mod expect;
mod frame;
mod from_client;
mod from_server;
mod holding;
mod judging;
mod keep;
mod likeness;
pub(crate) mod mask;
mod names;
mod naming;
mod parameters;
mod planner;
mod recorded;
mod refuse;
mod refusing;
mod results;
mod session;
mod settled;
mod stale;
mod startup;
mod texts;
mod turn_away;
mod understand;
mod understood;
mod upstream;
mod views;
mod waiting;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auth::server::ScramVerifier;
use bytes::{BufMut as _, BytesMut};
use cancel::CancelKeys;
use catalog::Catalogs;
use frame::{put, put_text};
use futures_util::future::BoxFuture;
use guard_core::Secret;
use guard_gate::{ConnectionInfo, SessionGate};
use likeness::Likeness;
use planner::Planner;
use session::Session;
use startup::{Client, Wish};
use tokio::time::timeout;
use understand::Understanding;
use upstream::Upstream;

pub(crate) use turn_away::turn_away;

use crate::{
    Arrival, ClientAuth, ClientIo, Closed, ProtocolError, ProtocolHandler, Resource, mask::MaskKeys,
};

/// How long a client may take until it is known, as PostgreSQL's `authentication_timeout` and shorter.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take until it is ready.
const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves clients of one PostgreSQL resource in one session.
pub struct PostgresHandler {
    shared: Arc<Shared>,
    cancel_keys: Arc<CancelKeys>,
    /// The password of the run and what is derived of it, made once.
    verifier: Mutex<Option<(Secret, Arc<ScramVerifier>)>>,
}

/// What all connections of a session have in common.
struct Shared {
    resource: Arc<dyn Resource>,
    understanding: Understanding,
    planner: Planner,
    mask_keys: MaskKeys,
}

impl PostgresHandler {
    /// A handler for a resource.
    pub fn new(resource: Arc<dyn Resource>) -> Arc<Self> {
        let shared = Shared {
            understanding: Understanding::new(Catalogs::new(resource.clone())),
            planner: Planner::default(),
            mask_keys: MaskKeys::new(resource.mask_key(), resource.lasting_mask_key()),
            resource,
        };
        Arc::new(Self {
            shared: Arc::new(shared),
            cancel_keys: Arc::default(),
            verifier: Mutex::default(),
        })
    }

    fn verifier(&self, password: &Secret) -> Arc<ScramVerifier> {
        let mut held = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((known, verifier)) if known.expose() == password.expose() => verifier.clone(),
            Some(_) | None => {
                let verifier = ScramVerifier::new(password);
                *held = Some((password.clone(), verifier.clone()));
                verifier
            }
        }
    }

    async fn connect(
        &self,
        client: ClientIo,
        arrival: Arrival,
        session_gate: Arc<SessionGate>,
    ) -> Result<Closed, ProtocolError> {
        let Arrival { auth, step } = arrival;
        let mut client = Client::new(client);
        // What is needed once is given back: a connection may be idle for long.
        let identifying = Box::pin(self.identify(&mut client, &auth));
        let known = timeout(CLIENT_TIMEOUT, identifying).await;
        let known =
            known.map_err(|_| ProtocolError::Client("it took too long to connect".into()))?;
        let Some((asked, minor)) = known? else { return Ok(Closed::CancelRequest) };

        let spec = self.shared.resource.spec();
        let database = asked.database.as_deref().unwrap_or(&spec.database);
        if database != spec.database {
            let message = format!(
                "database \"{database}\" is not granted; this session may use \"{}\"",
                spec.database
            );
            return client.fail(refuse::INVALID_CATALOG_NAME, &message).await;
        }
        let (client_name, database) = (asked.application.clone(), database.to_owned());
        let info = ConnectionInfo { client: client_name, database, step };
        let gate = match session_gate.connection(info).await {
            Ok(gate) => gate,
            Err(error) => {
                let message = "the record of this session cannot be written";
                let _ = client.fail::<()>(refuse::CONNECTION_FAILURE, message).await;
                return Err(ProtocolError::Guard(error.to_string()));
            }
        };
        let judging = asked.judge(&spec.database, &gate, &self.shared.understanding);
        let judged = match Box::pin(judging).await {
            Ok(judged) => judged,
            Err(parameters::NotAllowed::Denied(denial)) => {
                self.shared.resource.refused(&denial);
                refuse::denied_connection(&mut client.output, &denial);
                client.flush().await?;
                let reason = denial.to_string();
                gate.close(Some(reason.clone()));
                return Err(ProtocolError::Client(reason));
            }
            Err(parameters::NotAllowed::Broken(error)) => {
                return self.turn_away(client, error).await;
            }
        };
        let connecting = Box::pin(Upstream::connect(&*self.shared.resource, &judged.parameters));
        let connected = match timeout(SERVER_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(ProtocolError::Resource("it took too long to connect".into())),
        };
        let (upstream, greeting) = match connected {
            Ok(connected) => connected,
            Err(error) => return self.turn_away(client, error).await,
        };
        let replication = judged.replication;
        let likeness = (gate.estimates_rows() && !replication)
            .then(|| Box::new(Likeness::new(&judged.parameters, &greeting.parameters)));
        judged.done();

        let mut reading = encoding::Reading::default();
        for (name, value) in &greeting.parameters {
            reading.note(name, value);
        }
        let server_key = greeting.key.clone();
        let registered = self.cancel_keys.register(greeting.key, minor);
        welcome(&mut client.output, &greeting.parameters, &registered.own, greeting.status);

        let traffic = gate.traffic();
        let session = Session {
            shared: self.shared.clone(),
            gate: Arc::new(gate),
            client,
            upstream,
            server_key,
            expected: VecDeque::new(),
            names: names::Known::default(),
            group: 0,
            replication,
            likeness,
            reading,
            status: greeting.status,
            reached: false,
            settled: settled::Settled::Yes,
            detect: guard_core::Detectors::default(),
            detected: Default::default(),
            settling: false,
            flushed: false,
            skipping: None,
            skipping_refused: false,
            changed: definitions::Definitions::Unchanged,
            views: views::Views::default(),
            copying: 0,
            discarding: 0,
            passing: 0,
            masking: 0,
            wanted: 0,
            dropping: 0,
            budgeting: budgeting::Budgeting::default(),
            grown: session::Grown::default(),
            goodbye: false,
            holding: None,
            decided: None,
            bell: registered.bell.clone(),
            records: traffic.is_some(),
            released: 0,
            noted: 0,
            traffic,
        };
        let closed = session.run().await;
        drop(registered);
        closed
    }

    /// Up to where the client is known: what it asks for and its minor version of the protocol; `None` if it only
    /// wanted to cancel something.
    async fn identify(
        &self,
        client: &mut Client,
        auth: &ClientAuth,
    ) -> Result<Option<(parameters::Asked, u16)>, ProtocolError> {
        let (parameters, minor) = match client.wish().await? {
            Wish::Connect { parameters, minor } => (parameters, minor),
            Wish::Cancel(key) => {
                if let Some((key, bell)) = self.cancel_keys.find(&key)
                    // What waits for people is taken back; nothing of it is at the server.
                    && !bell.ring()
                {
                    upstream::cancel(&*self.shared.resource, &key).await?;
                }
                return Ok(None);
            }
        };
        match auth {
            ClientAuth::Proven => {}
            ClientAuth::Password(password) => client.authenticate(&self.verifier(password)).await?,
        }
        match parameters::Asked::read(parameters) {
            Ok(asked) => Ok(Some((asked, minor))),
            Err(why) => client.fail(refuse::PROTOCOL_VIOLATION, &why).await,
        }
    }

    /// Tells a client that its connection cannot be had; why is for the log.
    async fn turn_away(
        &self,
        mut client: Client,
        error: ProtocolError,
    ) -> Result<Closed, ProtocolError> {
        let message = match &error {
            ProtocolError::Client(why) => why.clone(),
            ProtocolError::Resource(_) | ProtocolError::Guard(_) | ProtocolError::Io(_) => format!(
                "resource `{}` cannot be reached; the log of guard says why",
                self.shared.resource.spec().name
            ),
        };
        let _ = client.fail::<()>(refuse::CONNECTION_FAILURE, &message).await;
        Err(error)
    }
}

/// Appends what a server says when it is ready.
fn welcome(
    out: &mut BytesMut,
    parameters: &[(Vec<u8>, Vec<u8>)],
    key: &cancel::CancelKey,
    status: u8,
) {
    put(out, b'R', |out| out.put_i32(0));
    for (name, value) in parameters {
        put(out, b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }
    put(out, b'K', |out| {
        out.put_i32(key.process);
        out.put_slice(&key.secret);
    });
    put(out, b'Z', |out| out.put_u8(status));
}

impl ProtocolHandler for PostgresHandler {
    fn serve(
        self: Arc<Self>,
        client: ClientIo,
        arrival: Arrival,
        gate: Arc<SessionGate>,
    ) -> BoxFuture<'static, Result<Closed, ProtocolError>> {
        Box::pin(async move { self.connect(client, arrival, gate).await })
    }
}

/// Reads bytes as each decoder of frames does; for fuzzing.
#[doc(hidden)]
pub fn fuzz_frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some(header)) = frame::Header::peek(rest) {
        let Some((message, after)) = rest.split_at_checked(header.whole()) else { break };
        let body = message.get(frame::HEADER..).unwrap_or_default();
        let _ = results::fields(body);
        let mut fields = frame::Fields::new(body);
        while fields.text().is_ok() && fields.count().is_ok() {}
        rest = after;
    }
}
