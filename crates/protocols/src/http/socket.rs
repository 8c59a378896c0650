//! WebSockets (RFC 6455): asked for by a request that is judged as one, and from there frames in both directions.
//!
//! Nothing becomes a tunnel because somebody says so: the answer must show that its server read this request as a handshake. Without
//! extensions frames can be read, so that what passes is nothing else.

pub(crate) mod frames;
mod tunnel;

use std::str::from_utf8;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{
    Response, StatusCode,
    header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE},
};

pub(super) use self::tunnel::Tunnel;
use super::{answer::Answer, head::Field};

/// What a server mixes a key with to show that it knows the protocol (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const ACCEPT: &str = "sec-websocket-accept";
const PROTOCOL: &str = "sec-websocket-protocol";

/// What the answer to a handshake must say.
pub(super) struct Wanted {
    accept: String,
    protocols: Vec<String>,
}

impl Wanted {
    /// What a request asks for, if it asks for a WebSocket.
    pub(super) fn of(fields: &[Field]) -> Option<Self> {
        let value = |name: &str| fields.iter().find(|it| it.name == name).map(Field::bytes);
        value("upgrade")?;
        let key = value("sec-websocket-key")?;
        let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()));
        let lists = fields.iter().filter(|it| it.name == PROTOCOL);
        let protocols =
            lists.filter_map(|it| from_utf8(it.bytes()).ok()).flat_map(|it| it.split(','));
        Some(Self { accept, protocols: protocols.map(|it| it.trim().to_owned()).collect() })
    }

    /// The answer to the client, if a server's answer is the one to this request.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Result<Response<Answer>, &'static str> {
        let is = |name: &str, expected: &str| {
            let mut values = headers.get_all(name).iter();
            let only = values.next().filter(|_| values.next().is_none());
            only.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(expected.as_bytes()))
        };
        if !is("upgrade", "websocket") || !is("connection", "upgrade") {
            return Err("it switches to something else than a WebSocket");
        }
        let accept = headers.get(ACCEPT).filter(|it| it.as_bytes() == self.accept.as_bytes());
        let Some(accept) = accept.filter(|_| headers.get_all(ACCEPT).iter().count() == 1) else {
            return Err("its Sec-WebSocket-Accept does not belong to the request");
        };
        if headers.contains_key("sec-websocket-extensions") {
            return Err("it has extensions of WebSockets, and guard asked for none");
        }
        let protocol = headers.get(PROTOCOL);
        let is_known =
            |it: &HeaderValue| self.protocols.iter().any(|known| known.as_bytes() == it.as_bytes());
        if protocol.is_some_and(|it| !is_known(it)) || headers.get_all(PROTOCOL).iter().count() > 1
        {
            return Err("it speaks a protocol that was not asked for");
        }
        let mut answer = Response::new(Answer::Own(None));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let own = answer.headers_mut();
        own.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        own.insert(UPGRADE, HeaderValue::from_static("websocket"));
        own.insert(ACCEPT, accept.clone());
        if let Some(protocol) = protocol {
            own.insert(PROTOCOL, protocol.clone());
        }
        Ok(answer)
    }
}
