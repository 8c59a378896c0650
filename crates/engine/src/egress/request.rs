//! The request of a client of the proxy, and answers that are none of the other side's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::Secret;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::pipe::Stream;

/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Most header lines.
const MAX_HEADERS: usize = 64;
/// Bytes that are read at once.
const PIECE: usize = 4 << 10;
/// The user name in the proxy's address.
pub const EGRESS_USER: &str = "guard";

/// Where a client wants to go, as it wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A request.
pub(super) struct Request {
    pub(super) target: Target,
    /// Whether it asks for a connection, and not for one answer.
    pub(super) connects: bool,
    /// What it showed (`Proxy-Authorization`).
    shown: Option<Zeroizing<Vec<u8>>>,
    /// What came behind it.
    pub(super) behind: Vec<u8>,
}

impl Request {
    /// Whether what it showed is the password; `None` if it showed nothing.
    pub(super) fn knows(&self, password: &Secret) -> Option<bool> {
        let shown = self.shown.as_ref()?;
        let expected = Zeroizing::new(format!("{EGRESS_USER}:{}", password.expose()));
        Some(shown.as_slice().ct_eq(expected.as_bytes()).into())
    }
}

/// Reads the head of a request.
pub(super) async fn read(client: &mut impl Stream) -> Result<Request, Answer> {
    let mut bytes = Zeroizing::new(Vec::new());
    loop {
        let mut piece = Zeroizing::new([0; PIECE]);
        let length = match client.read(&mut *piece).await {
            Ok(length) if length > 0 => length,
            Ok(_) | Err(_) => return Err(Answer::invalid("it ended in the middle")),
        };
        bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
        if let Some(request) = parse(&bytes)? {
            return Ok(request);
        }
        if bytes.len() >= MAX_HEAD {
            return Err(Answer::invalid("its head is too long"));
        }
    }
}

/// A request, if its head is whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request>, Answer> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Answer::invalid(&error.to_string())),
    };
    let (Some(method), Some(path)) = (request.method, request.path) else {
        return Err(Answer::invalid("it has no target"));
    };
    let connects = method == "CONNECT";
    let target = if connects { authority(path) } else { absolute(path) };
    let target = target.ok_or_else(|| {
        Answer::invalid("its target is not `host:port`: this is a proxy for connections")
    })?;
    let mut shown = None;
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        // What it says belongs to the request, and a client that says both is not to be understood.
        if connects && (name == "content-length" || name == "transfer-encoding") {
            return Err(Answer::invalid("a CONNECT has no body"));
        }
        if name == "proxy-authorization" {
            if shown.is_some() {
                return Err(Answer::invalid("it shows two passwords"));
            }
            shown = Some(basic(header.value).unwrap_or_default());
        }
    }
    let behind = bytes.get(length..).unwrap_or_default().to_vec();
    Ok(Some(Request { target, connects, shown, behind }))
}

/// `host:port` (RFC 9112, section 3.2.3).
fn authority(text: &str) -> Option<Target> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    (!host.is_empty()).then(|| Target { host: host.to_owned(), port })
}

/// The host of `http://host/path` (RFC 9112, section 3.2.2), so that the refusal names it.
fn absolute(text: &str) -> Option<Target> {
    let url = url::Url::parse(text).ok()?;
    Some(Target { host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
}

/// The user and password of `Basic …` (RFC 7617).
fn basic(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, shown) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    STANDARD.decode(shown.trim()).ok().map(Zeroizing::new)
}

/// An answer that ends the connection.
#[derive(Debug)]
pub(super) struct Answer {
    status: &'static str,
    header: &'static str,
    words: String,
}

impl Answer {
    fn new(status: &'static str, words: String) -> Self {
        Self { status, header: "", words }
    }

    fn invalid(why: &str) -> Self {
        Self::new("400 Bad Request", format!("the request cannot be read: {why}"))
    }

    pub(super) fn unknown() -> Self {
        let header = "Proxy-Authenticate: Basic realm=\"guard\"\r\n";
        let words = "the password of the run is missing: use the address in HTTPS_PROXY as it is";
        Self { status: "407 Proxy Authentication Required", header, words: words.to_owned() }
    }

    pub(super) fn refused(why: &str) -> Self {
        Self::new("403 Forbidden", format!("refused: {why}"))
    }

    pub(super) fn failed(why: &str) -> Self {
        Self::new("502 Bad Gateway", why.to_owned())
    }

    pub(super) fn unavailable(error: &dyn std::fmt::Display) -> Self {
        Self::new("503 Service Unavailable", format!("refused: it cannot be recorded: {error}"))
    }

    /// Sends it; a client that does not listen does not matter.
    pub(super) async fn send(self, client: &mut impl Stream) {
        let words: String =
            self.words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let body = format!("guard: {words}\n");
        let text = format!(
            "HTTP/1.1 {}\r\n{}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.status,
            self.header,
            body.len()
        );
        if client.write_all(text.as_bytes()).await.is_ok() {
            let _ = client.shutdown().await;
        }
    }
}
