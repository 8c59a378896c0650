//! HTTP/2 (RFC 9113) on both sides: its limits, and a request as it comes in a stream.
//!
//! What belongs to the protocol is h2's to refuse: connection-specific headers, pseudo-headers that are missing, twice, or in the wrong place, a
//! body that is longer or shorter than its Content-Length. What h2 lets pass and a server behind could read otherwise is refused here.

use std::time::Duration;

use hyper::{Request, client, header::COOKIE, server};
use hyper_util::rt::TokioTimer;

use super::{
    asked::Asked,
    head::{self, Field, HeadError, MAX_HEAD, Version},
    tasks::Tasks,
};

/// HTTP/2 in ALPN.
pub(super) const ALPN: &[u8] = b"h2";

/// Streams of a connection that are open at once: what most servers give.
const MAX_STREAMS: u32 = 100;
/// How much of a stream may be under way that nobody has taken yet. That much is held for a stream that stands still.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same of a connection: all its streams can stand still, and no other one waits for that.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// How much of an answer is held for a stream that is not read.
const SEND_BUFFER: usize = 256 << 10;
/// The smallest that there is. A larger one would let one stream hold up the others for longer.
const MAX_FRAME: u32 = 16 << 10;
/// How many streams may be opened and reset at once before they are looked at (CVE-2023-44487).
const MAX_RESETS: usize = 50;
/// How many streams of a connection may be none as RFC 9113 has them.
const MAX_FAULTS: usize = 200;
/// A peer that is silent for this long is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PING_WITHIN: Duration = Duration::from_secs(20);

/// A header list counts with 32 bytes more a header (RFC 9113, section 6.5.2).
const MAX_HEADER_LIST: u32 = (MAX_HEAD + 32 * head::MAX_FIELDS) as u32;

/// Towards a client.
pub(super) fn server(tasks: Tasks) -> server::conn::http2::Builder<Tasks> {
    let mut builder = server::conn::http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_FAULTS)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_WITHIN);
    builder
}

/// Towards a server.
pub(super) fn client(tasks: Tasks) -> client::conn::http2::Builder<Tasks> {
    let mut builder = client::conn::http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(MAX_FAULTS)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_WITHIN);
    builder
}

/// A request as it came in a stream. `ended`: nothing follows its head.
pub(super) fn request<B>(request: &Request<B>, ended: bool) -> Result<Asked, HeadError> {
    let uri = request.uri();
    // h2 does not tell it where there is no `:authority`.
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err(HeadError::Scheme);
    }
    // A tunnel, also one that `:protocol` asks for, has no path; its method is none that can be judged.
    let target = uri.path_and_query().map_or("", |it| it.as_str());
    let headers = request.headers();
    let fields = headers.iter().map(Field::of);
    let version = Version::Http2 { ended };
    let mut head = head::request(request.method().as_str(), version, fields)?;
    join_cookies(&mut head.fields)?;
    if let Some(authority) = uri.authority() {
        let authority = authority.as_str().as_bytes().to_vec();
        // Whether a server takes the one or the other is not known (RFC 9113, section 8.3.1).
        if !head.hosts.iter().all(|host| host.eq_ignore_ascii_case(&authority)) {
            return Err(HeadError::Authority);
        }
        head.hosts = vec![authority];
    }
    Ok(Asked { target: target.as_bytes().to_vec(), head })
}

/// A cookie may come in pieces, which are one header to every server (RFC 9113, section 8.2.3).
fn join_cookies(fields: &mut Vec<Field>) -> Result<(), HeadError> {
    let is_cookie = |field: &Field| field.name == COOKIE;
    let crumbs: Vec<&[u8]> = fields.iter().filter(|it| is_cookie(it)).map(Field::bytes).collect();
    if crumbs.len() > 1 {
        let whole = Field::read(COOKIE.as_str(), &crumbs.join(&b"; "[..]))?;
        fields.retain(|field| !is_cookie(field));
        fields.push(whole);
    }
    Ok(())
}
