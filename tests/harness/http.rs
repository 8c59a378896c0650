//! As much of an HTTP client as loopback tests need: one request, one answer, one connection.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Nothing on loopback takes longer, a long poll aside.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends one request to `http://host:port/path` and reads the whole answer.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let bytes = exchange(method, url, headers, body)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(Answer {
        status: status.context("the answer has no status")?,
        body: if chunked { unchunk(body) } else { body.to_owned() },
    })
}

fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Vec<u8>> {
    let rest = url.strip_prefix("http://").context("only http:// here")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).with_context(|| format!("cannot reach {host}"))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut request = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `GET` of what is no text; in one piece, as a store sends it.
pub fn get_bytes(url: &str) -> Result<(u16, Vec<u8>)> {
    let bytes = exchange("GET", url, &[], "")?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.context("the answer has no end of its head")? + 4);
    let status = String::from_utf8_lossy(head).split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("the answer has no status")?, body.to_vec()))
}

/// `GET`.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    send("GET", url, headers, "")
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some((chunk, more)) = rest.split_at_checked(size).filter(|_| size > 0) else { break };
        whole.push_str(chunk);
        body = more.strip_prefix("\r\n").unwrap_or(more);
    }
    whole
}

/// A form's body.
pub fn form(fields: &[(&str, &str)]) -> String {
    let parts: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    parts.join("&")
}

/// Percent-encodes all but letters, digits and `-._~`.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
