//! The client's side of the protocol, towards the real server.
//!
//! INVARIANT: a statement goes to the server to be run by [`Upstream::forward`], which takes its permits, and by no
//! other way. The rest of this file writes words of guard's own, or messages that hold no statement. Of guard's own are
//! those that have a statement planned: see [`super::planner`].

use std::borrow::Cow;

use bytes::{Buf as _, BufMut as _, BytesMut};
use guard_core::TlsMode;
use guard_gate::{Permit, Running};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    auth::client::{self, ExpectServerFirst, NotShown},
    cancel::CancelKey,
    frame::{Broken, Fields, HEADER, Header, MAX_CONTROL, put, put_sized, put_text},
};
use crate::{ClientIo, Credential, ProtocolError, Resource, tls};

/// Protocol 3.0.
const VERSION: i32 = 196_608;
/// The code in place of a version that asks for TLS.
const SSL_REQUEST: i32 = 80_877_103;

/// A text that no version of PostgreSQL parses: an error without any other effect. It puts the server in the
/// state that a client expects after a refused statement.
const POISON: &[u8] = b"guard refused this statement";
/// The name under which it is parsed, so that the unnamed statement stays.
const POISON_NAME: &[u8] = b"guard_refused";

/// A connection to the server, past its start-up.
pub(super) struct Upstream {
    pub(super) stream: ClientIo,
    /// What the server sent and nobody looked at yet.
    pub(super) input: BytesMut,
    /// What is to be sent.
    output: BytesMut,
    unflushed: bool,
}

/// What the server said at start-up.
pub(super) struct Greeting {
    /// Its settings.
    pub(super) parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// The key that cancels statements of this connection.
    pub(super) key: CancelKey,
    /// State of the transaction.
    pub(super) status: u8,
}

/// What guard says to the server on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Begin,
    Commit,
    Rollback,
}

/// What stands in place of a refused Query: one that fails.
pub(super) fn poisoned_query() -> BytesMut {
    let mut words = BytesMut::new();
    put(&mut words, b'Q', |out| put_text(out, POISON));
    words
}

/// What stands in place of a refused message of the extended protocol: one that fails.
pub(super) fn poisoned_parse() -> BytesMut {
    let mut words = BytesMut::new();
    put(&mut words, b'P', |out| {
        put_text(out, POISON_NAME);
        put_text(out, POISON);
        out.put_i16(0);
    });
    put(&mut words, b'H', |_| {});
    words
}

/// A Query that begins or ends a transaction of guard's own.
pub(super) fn own_statement(own: Own) -> BytesMut {
    let mut words = BytesMut::new();
    let text: &[u8] = match own {
        Own::Begin => b"BEGIN",
        Own::Commit => b"COMMIT",
        Own::Rollback => b"ROLLBACK",
    };
    put(&mut words, b'Q', |out| put_text(out, text));
    words
}

/// Messages of a client that hold no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    Bind,
    Describe,
    Close,
    Sync,
    Flush,
    CopyDone,
    CopyFail,
}

// === impl Upstream ===

impl Upstream {
    /// Connects, and shows the leased credential. `parameters` are what a start-up packet holds besides the
    /// user.
    pub(super) async fn connect(
        resource: &dyn Resource,
        parameters: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(Self, Greeting), ProtocolError> {
        let credential =
            resource.credential().await.map_err(|error| ProtocolError::Guard(error.to_string()))?;
        let (stream, tls) = open(resource).await?;
        let mut upstream =
            Self { stream, input: BytesMut::new(), output: BytesMut::new(), unflushed: false };
        put_sized(&mut upstream.output, |out| {
            out.put_i32(VERSION);
            put_text(out, b"user");
            put_text(out, credential.username.as_bytes());
            for (name, value) in parameters {
                put_text(out, name);
                put_text(out, value);
            }
            out.put_u8(0);
        });
        upstream.authenticate(&credential, tls).await?;
        let greeting = upstream.greeting().await?;
        Ok((upstream, greeting))
    }

    /// Sends a message with statements that were permitted, all of them.
    pub(super) fn forward(&mut self, permits: Vec<Permit>, message: &[u8]) -> Vec<Running> {
        self.output.put_slice(message);
        permits.into_iter().map(Permit::spend).collect()
    }

    /// Sends a message that holds no statement.
    pub(super) fn carry(&mut self, _: Carried, message: &[u8]) {
        self.output.put_slice(message);
    }

    /// Sends content of a COPY, or the header of some.
    pub(super) fn copy_data(&mut self, part: &[u8]) {
        self.output.put_slice(part);
    }

    /// Sends words of guard's own, from [`poisoned_query`], [`poisoned_parse`] or [`own_statement`].
    pub(super) fn own_words(&mut self, words: &[u8]) {
        self.output.put_slice(words);
    }

    /// Has the COPY fail for which the server takes data.
    pub(super) fn fail_copy(&mut self) {
        put(&mut self.output, b'f', |out| put_text(out, b"ended at a budget"));
    }

    /// Asks what a portal returns.
    pub(super) fn describe_portal(&mut self, name: &[u8]) {
        put(&mut self.output, b'D', |out| {
            out.put_u8(b'P');
            put_text(out, name);
        });
    }

    /// Says goodbye.
    pub(super) fn terminate(&mut self) {
        put(&mut self.output, b'X', |_| {});
    }

    /// Where to and what is to be sent, for whoever moves bytes.
    pub(super) const fn outward(&mut self) -> (&mut ClientIo, &mut BytesMut, &mut bool) {
        (&mut self.stream, &mut self.output, &mut self.unflushed)
    }

    /// Gives back the memory of buffers in which nothing is. Whether it was all.
    pub(super) fn release(&mut self) -> bool {
        super::frame::release([&mut self.input, &mut self.output])
    }

    /// How much is to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Runs one of guard's own queries; gives the text rows.
    pub(super) async fn own_query(
        &mut self,
        text: &'static str,
        max_bytes: usize,
    ) -> Result<Vec<Vec<Option<String>>>, ProtocolError> {
        self.own_queries([text]).await?;
        self.own_answer(max_bytes).await
    }

    /// Sends some of guard's own queries at once: each has its [`Upstream::own_answer`], in their order.
    pub(super) async fn own_queries(
        &mut self,
        texts: impl IntoIterator<Item = &'static str>,
    ) -> Result<(), ProtocolError> {
        for text in texts {
            put(&mut self.output, b'Q', |out| put_text(out, text.as_bytes()));
        }
        self.flush().await
    }

    /// The text rows of the next query that was sent. After an error there is no further answer.
    pub(super) async fn own_answer(
        &mut self,
        max_bytes: usize,
    ) -> Result<Vec<Vec<Option<String>>>, ProtocolError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        loop {
            let (tag, body) = self.receive(MAX_CONTROL).await?;
            match tag {
                b'D' => {
                    bytes += body.len();
                    if bytes > max_bytes {
                        return Err(ProtocolError::Resource(format!(
                            "its catalog is larger than {max_bytes} bytes"
                        )));
                    }
                    rows.push(text_row(&body)?);
                }
                b'E' => return Err(refused("its catalog cannot be read", &body)),
                b'Z' => return Ok(rows),
                _ => {}
            }
        }
    }

    /// Says words of guard's own that are a transaction of several statements up to a Sync, and a Query that ends it. Gives
    /// the text rows of each statement, or the server's SQLSTATE.
    pub(super) async fn own_transaction(
        &mut self,
        words: &[u8],
        max_bytes: usize,
    ) -> Result<Result<Vec<Vec<Vec<Option<String>>>>, String>, ProtocolError> {
        self.output.put_slice(words);
        self.flush().await?;
        let (mut answers, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut failed, mut synced) = (None, false);
        loop {
            let (tag, body) = self.receive(MAX_CONTROL).await?;
            match tag {
                b'D' => {
                    bytes += body.len();
                    if bytes > max_bytes {
                        return Err(ProtocolError::Resource(format!(
                            "its answer is longer than {max_bytes} bytes"
                        )));
                    }
                    rows.push(text_row(&body)?);
                }
                b'C' if !synced => answers.push(std::mem::take(&mut rows)),
                b'E' => failed = Some(field(&body, b'C').into_owned()),
                b'Z' if !synced => synced = true,
                b'Z' if body.first() == Some(&b'I') => return Ok(failed.map_or(Ok(answers), Err)),
                b'Z' => return Err(Broken::Unexpected('Z').into()),
                _ => {}
            }
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), ProtocolError> {
        self.stream.write_all_buf(&mut self.output).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn receive(&mut self, max: usize) -> Result<(u8, BytesMut), ProtocolError> {
        loop {
            if let Some(header) = Header::peek(&self.input)? {
                if header.body > max {
                    return Err(Broken::Length(
                        char::from(header.tag),
                        u32::try_from(header.body).unwrap_or(u32::MAX),
                    )
                    .into());
                }
                if self.input.len() >= header.whole() {
                    let mut message = self.input.split_to(header.whole());
                    message.advance(HEADER);
                    return Ok((header.tag, message));
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ProtocolError::Resource("it closed the connection".into()));
            }
        }
    }

    /// Sends a message of the authentication.
    async fn answer(&mut self, body: &[u8]) -> Result<(), ProtocolError> {
        put(&mut self.output, b'p', |out| out.put_slice(body));
        self.flush().await
    }

    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>
    async fn authenticate(
        &mut self,
        credential: &Credential,
        tls: Option<Option<Vec<u8>>>,
    ) -> Result<(), ProtocolError> {
        let verified = tls.is_some();
        let password = &credential.password;
        let mut first: Option<ExpectServerFirst> = None;
        let mut last = None;
        // A server that began to show that it knows the password must have done so before it is believed.
        let mut owes_proof = false;
        self.flush().await?;
        loop {
            let (tag, body) = self.receive(MAX_CONTROL).await?;
            match tag {
                b'E' => return Err(refused("it refuses the credential", &body)),
                b'v' | b'N' => continue,
                b'R' => {}
                other => return Err(Broken::Unexpected(char::from(other)).into()),
            }
            let mut fields = Fields::new(&body);
            match fields.int32()? {
                0 if owes_proof => {
                    return Err(ProtocolError::Resource("it did not prove who it is".into()));
                }
                0 => return Ok(()),
                3 => {
                    let body = client::cleartext(password, verified).map_err(not_shown)?;
                    self.answer(&body).await?;
                }
                5 => {
                    let salt = fields.rest().first_chunk().copied();
                    let salt = salt.ok_or(Broken::Malformed("a salt is cut off"))?;
                    let body = client::md5(&credential.username, password, salt, verified)
                        .map_err(not_shown)?;
                    self.answer(&body).await?;
                }
                10 => {
                    owes_proof = true;
                    let binding = tls.clone().flatten();
                    let next = ExpectServerFirst::new(fields.rest(), password, binding)
                        .map_err(not_shown)?;
                    self.answer(&next.message()).await?;
                    first = Some(next);
                }
                11 => {
                    let step = first.take().ok_or(Broken::Unexpected('R'))?;
                    let (next, body) = step.receive(fields.rest()).map_err(not_shown)?;
                    self.answer(&body).await?;
                    last = Some(next);
                }
                12 => {
                    let step: client::ExpectServerFinal =
                        last.take().ok_or(Broken::Unexpected('R'))?;
                    step.receive(fields.rest()).map_err(not_shown)?;
                    owes_proof = false;
                }
                other => {
                    return Err(ProtocolError::Resource(format!(
                        "it asks for an authentication that guard does not have (code {other})"
                    )));
                }
            }
        }
    }

    async fn greeting(&mut self) -> Result<Greeting, ProtocolError> {
        let mut parameters = Vec::new();
        let mut key = CancelKey { process: 0, secret: Vec::new() };
        loop {
            let (tag, body) = self.receive(MAX_CONTROL).await?;
            let mut fields = Fields::new(&body);
            match tag {
                b'S' => parameters.push((fields.text()?.to_vec(), fields.text()?.to_vec())),
                b'K' => {
                    key.process = fields.int32()?;
                    key.secret = fields.rest().to_vec();
                }
                b'Z' => {
                    let status = fields.byte()?;
                    return Ok(Greeting { parameters, key, status });
                }
                b'N' => {}
                b'E' => return Err(refused("it refuses the connection", &body)),
                other => return Err(Broken::Unexpected(char::from(other)).into()),
            }
        }
    }
}

/// Passes a CancelRequest on, over a connection of its own, as protected as the others.
pub(super) async fn cancel(resource: &dyn Resource, key: &CancelKey) -> Result<(), ProtocolError> {
    let (mut stream, _) = open(resource).await?;
    stream.write_all(&key.request()).await?;
    stream.flush().await?;
    // The server closes when it has done it: only then may the client believe that it is done.
    let mut nothing = [0; 1];
    let _ = stream.read(&mut nothing).await?;
    Ok(())
}

/// Opens a connection. With TLS, gives what its certificate is bound by.
async fn open(
    resource: &dyn Resource,
) -> Result<(ClientIo, Option<Option<Vec<u8>>>), ProtocolError> {
    let mut tcp = resource
        .dial()
        .await
        .map_err(|error| ProtocolError::Resource(format!("it cannot be reached: {error}")))?;
    tcp.set_nodelay(true)?;
    match resource.spec().tls {
        TlsMode::Disable => return Ok((Box::new(tcp), None)),
        TlsMode::VerifyFull => {}
    }
    let mut request = BytesMut::new();
    put_sized(&mut request, |out| out.put_i32(SSL_REQUEST));
    tcp.write_all(&request).await?;
    // One byte and no more: whatever a middleman sends behind it goes into the handshake and breaks it.
    if tcp.read_u8().await? != b'S' {
        return Err(ProtocolError::Resource(
            "it has no TLS; configure it there, or set `tls: disable` for a loopback address"
                .into(),
        ));
    }
    let stream = tls::open(resource, resource.tls(), tcp).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let binding = certificate.and_then(|certificate| client::server_end_point(certificate));
    Ok((Box::new(stream), Some(binding)))
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
fn not_shown(error: NotShown) -> ProtocolError {
    ProtocolError::Resource(error.to_string())
}

/// An error of the server's, for the log: its code and words hold no row, no statement has run.
fn refused(what: &str, body: &[u8]) -> ProtocolError {
    let field = |kind| field(body, kind);
    ProtocolError::Resource(format!("{what}: {} (SQLSTATE {})", field(b'M'), field(b'C')))
}

/// A field of an error; empty if it has none of this kind.
fn field(body: &[u8], kind: u8) -> Cow<'_, str> {
    let mut fields = Fields::new(body);
    loop {
        match fields.byte() {
            Ok(found) if found == kind => {
                return fields.text().map(String::from_utf8_lossy).unwrap_or_default();
            }
            Ok(0) | Err(_) => return "".into(),
            Ok(_) if fields.text().is_err() => return "".into(),
            Ok(_) => {}
        }
    }
}

fn text_row(body: &[u8]) -> Result<Vec<Option<String>>, Broken> {
    let mut fields = Fields::new(body);
    let count = fields.count()?;
    let mut row = Vec::with_capacity(count);
    for _ in 0..count {
        row.push(match usize::try_from(fields.int32()?) {
            Ok(length) => Some(String::from_utf8_lossy(fields.bytes(length)?).into_owned()),
            Err(_) => None,
        });
    }
    Ok(row)
}

impl From<Broken> for ProtocolError {
    fn from(error: Broken) -> Self {
        Self::Resource(error.to_string())
    }
}
