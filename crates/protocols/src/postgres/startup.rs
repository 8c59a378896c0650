//! A client's first messages, until it is known: requests for encryption, the start-up packet, the password.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    auth::{
        SCRAM_SHA_256,
        server::{ExpectClientFirst, Refused, ScramVerifier},
    },
    cancel::{CANCEL_REQUEST, CancelKey},
    frame::{Broken, Fields, HEADER, Header, MAX_PASSWORD, MAX_STARTUP, put, put_text},
    refuse,
};
use crate::{ClientIo, ProtocolError};

const SSL_REQUEST: i32 = 80_877_103;
const GSSENC_REQUEST: i32 = 80_877_104;
/// How many requests for encryption a client may make: libpq asks for GSSAPI, then for TLS.
const MAX_ENCRYPTION_REQUESTS: usize = 2;
/// The newest minor version of protocol 3 that guard speaks. 3.2 differs from 3.0 in the length of cancel keys, which
/// are guard's own; 3.1 does not exist, and is taken for 3.0.
const NEWEST_MINOR: u16 = 2;
/// Protocol 3.2 is the first with secrets of more than 4 bytes, and allows 256.
const MAX_SECRET: usize = 256;

/// A client whose bytes are read up to where they are understood.
pub(super) struct Client {
    pub(super) stream: ClientIo,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    /// The stream may hold bytes of its own that are not sent.
    pub(super) unflushed: bool,
}

/// What a client wants.
pub(super) enum Wish {
    /// A connection with these parameters, in this minor version of protocol 3.
    Connect { parameters: Vec<(Vec<u8>, Vec<u8>)>, minor: u16 },
    /// To cancel a statement of another connection.
    Cancel(CancelKey),
}

impl Client {
    pub(super) fn new(stream: ClientIo) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), unflushed: false }
    }

    /// Reads up to the start-up packet.
    pub(super) async fn wish(&mut self) -> Result<Wish, ProtocolError> {
        for _ in 0..=MAX_ENCRYPTION_REQUESTS {
            let packet = self.packet().await?;
            let mut fields = Fields::new(&packet);
            match fields.int32().map_err(client)? {
                SSL_REQUEST | GSSENC_REQUEST => {
                    fields.end().map_err(client)?;
                    // What came behind the request came before the answer: a middleman's.
                    if !self.input.is_empty() {
                        return Err(ProtocolError::Client(
                            "it sent data before the answer to its request for encryption".into(),
                        ));
                    }
                    // The listener is local, or inside of a tunnel.
                    self.output.put_u8(b'N');
                    self.flush().await?;
                }
                CANCEL_REQUEST => {
                    let process = fields.int32().map_err(client)?;
                    let secret = fields.rest().to_vec();
                    if secret.len() > MAX_SECRET {
                        return Err(ProtocolError::Client(
                            "the secret of its CancelRequest is too long".into(),
                        ));
                    }
                    return Ok(Wish::Cancel(CancelKey { process, secret }));
                }
                version => return self.connect(version, fields).await,
            }
        }
        Err(ProtocolError::Client("it asks for encryption again and again".into()))
    }

    /// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-STARTUPMESSAGE>
    async fn connect(
        &mut self,
        version: i32,
        mut fields: Fields<'_>,
    ) -> Result<Wish, ProtocolError> {
        let (major, minor) = (version >> 16, version & 0xffff);
        if major != 3 {
            let message = format!("protocol {major}.{minor} is not supported; use 3.0 to 3.2");
            return self.fail(refuse::PROTOCOL_VIOLATION, &message).await;
        }
        let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut unknown = Vec::new();
        loop {
            let name = fields.text().map_err(client)?;
            if name.is_empty() {
                fields.end().map_err(client)?;
                break;
            }
            let value = fields.text().map_err(client)?;
            if name.starts_with(b"_pq_.") {
                unknown.push(name.to_vec());
            } else if parameters.iter().any(|(known, _)| known == name) {
                // The server takes the last one, others the first: nobody honest sends two.
                return self
                    .fail(refuse::PROTOCOL_VIOLATION, "a start-up parameter is given twice")
                    .await;
            } else {
                parameters.push((name.to_vec(), value.to_vec()));
            }
        }
        let asked = u16::try_from(minor).unwrap_or(u16::MAX);
        let minor = asked.min(NEWEST_MINOR);
        if minor < asked || !unknown.is_empty() {
            put(&mut self.output, b'v', |out| {
                out.put_i32((3 << 16) | i32::from(minor));
                out.put_u32(u32::try_from(unknown.len()).unwrap_or(0));
                for name in &unknown {
                    put_text(out, name);
                }
            });
        }
        Ok(Wish::Connect { parameters, minor })
    }

    /// Has the client show that it knows the password.
    pub(super) async fn authenticate(
        &mut self,
        verifier: &Arc<ScramVerifier>,
    ) -> Result<(), ProtocolError> {
        put(&mut self.output, b'R', |out| {
            out.put_i32(10);
            put_text(out, SCRAM_SHA_256.as_bytes());
            out.put_u8(0);
        });
        let first = self.password().await?;
        let step = ExpectClientFirst::new(verifier.clone()).receive(&first);
        let (next, answer) = self.check(step).await?;
        put(&mut self.output, b'R', |out| {
            out.put_i32(11);
            out.put_slice(&answer);
        });
        let last = self.password().await?;
        let answer = self.check(next.receive(&last)).await?;
        put(&mut self.output, b'R', |out| {
            out.put_i32(12);
            out.put_slice(&answer);
        });
        Ok(())
    }

    async fn check<T>(&mut self, step: Result<T, Refused>) -> Result<T, ProtocolError> {
        match step {
            Ok(value) => Ok(value),
            Err(refused) => self.fail(refused.sqlstate(), &refused.to_string()).await,
        }
    }

    /// Tells the client why it is turned away.
    pub(super) async fn fail<T>(&mut self, code: &str, message: &str) -> Result<T, ProtocolError> {
        refuse::fatal(&mut self.output, code, message);
        self.flush().await?;
        Err(ProtocolError::Client(message.to_owned()))
    }

    pub(super) async fn flush(&mut self) -> Result<(), ProtocolError> {
        self.stream.write_all_buf(&mut self.output).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// A packet without a type byte.
    async fn packet(&mut self) -> Result<BytesMut, ProtocolError> {
        loop {
            if let Some(length) = self.input.first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if !(8..=MAX_STARTUP).contains(&length) {
                    return Err(ProtocolError::Client(format!(
                        "its start-up packet says that it has {length} bytes"
                    )));
                }
                if self.input.len() >= length {
                    let mut packet = self.input.split_to(length);
                    packet.advance(4);
                    return Ok(packet);
                }
            }
            self.read().await?;
        }
    }

    async fn password(&mut self) -> Result<BytesMut, ProtocolError> {
        self.flush().await?;
        loop {
            if let Some(header) = Header::peek(&self.input).map_err(client)? {
                if header.tag != b'p' || header.body > MAX_PASSWORD {
                    return Err(ProtocolError::Client(
                        "it sent something else than a password".into(),
                    ));
                }
                if self.input.len() >= header.whole() {
                    let mut message = self.input.split_to(header.whole());
                    message.advance(HEADER);
                    return Ok(message);
                }
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), ProtocolError> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            return Err(ProtocolError::Client("it went away".into()));
        }
        Ok(())
    }
}

/// The client is the one who broke the protocol.
pub(super) fn client(error: Broken) -> ProtocolError {
    ProtocolError::Client(error.to_string())
}
