//! Statements that wait for people: the client's message stays where it is, nothing of it is sent, and the connection
//! goes on hearing what the client and the server do meanwhile.

use std::{
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use bytes::{BufMut as _, BytesMut};
use guard_core::{Digest, MAX_SHOWN_PARAMETER, MAX_SHOWN_PARAMETERS, ShownParameter};
use guard_gate::{BoundParameters, Held};

use super::{
    frame::{Fields, Header, put, put_text},
    session::Session,
    waiting::Holding,
};

/// How the server's own notices are called.
const NOTICE: &str = "NOTICE";
/// `successful_completion`: nothing is wrong.
const SQLSTATE: &str = "00000";

// === impl Session ===

impl Session {
    /// Lets the client's message wait for people.
    pub(super) fn hold(&mut self, held: Held) {
        let mut notice = BytesMut::new();
        for (ask, address) in held.pages() {
            let message = format!("{} ({})", ask.what, ask.code.number());
            let hint = format!("it waits until somebody decides at {address}");
            put(&mut notice, b'N', |out| {
                let fields = [
                    (b'S', NOTICE),
                    (b'V', NOTICE),
                    (b'C', SQLSTATE),
                    (b'M', message.as_str()),
                    (b'H', hint.as_str()),
                ];
                for (kind, value) in fields {
                    out.put_u8(kind);
                    put_text(out, value.as_bytes());
                }
                out.put_u8(0);
            });
        }
        let bell = self.bell.clone();
        bell.waits.store(true, Ordering::Release);
        let decided = async move { held.decided(bell.rung.notified()).await };
        self.holding = Some(Holding { decided: Box::pin(decided), notice: Some(notice) });
    }

    /// Whether what the client's message waits for is decided.
    pub(super) fn poll_holding(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(holding) = &mut self.holding else { return false };
        match holding.decided.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(held) => {
                self.bell.waits.store(false, Ordering::Release);
                self.holding = None;
                self.decided = Some(held);
                true
            }
        }
    }

    /// Tells the client once where people decide, between two messages of the server.
    pub(super) fn tell_holding(&mut self) {
        if self.passing > 0 || self.masking > 0 {
            return;
        }
        if let Some(notice) = self.holding.as_mut().and_then(|holding| holding.notice.take()) {
            self.client.output.extend_from_slice(&notice);
        }
    }

    /// Whether the client said goodbye behind the message that waits.
    pub(super) fn gives_up_waiting(&self) -> bool {
        if self.holding.is_none() {
            return false;
        }
        let mut rest: &[u8] = &self.client.input;
        while let Ok(Some(header)) = Header::peek(rest) {
            if header.tag == b'X' {
                return true;
            }
            let Some(behind) = rest.get(header.whole()..) else { return false };
            rest = behind;
        }
        false
    }
}

/// The parameters of a Bind as people see them. `values`: formats and values as they stand there, which were read before.
pub(super) fn parameters(types: Option<&[i32]>, values: &[u8]) -> BoundParameters {
    let mut whole = Vec::with_capacity(values.len() + 64);
    let types = types.unwrap_or_default();
    whole.put_u64(types.len() as u64);
    for number in types {
        whole.put_i32(*number);
    }
    whole.extend_from_slice(values);
    let (count, shown) = shown(values).unwrap_or_default();
    BoundParameters { digest: Digest::of(&whole), count, shown }
}

fn shown(values: &[u8]) -> Option<(u64, Vec<ShownParameter>)> {
    let mut fields = Fields::new(values);
    let mut formats = Vec::new();
    for _ in 0..fields.count().ok()? {
        formats.push(fields.int16().ok()?);
    }
    let count = fields.count().ok()?;
    let mut shown = Vec::new();
    for place in 0..count.min(MAX_SHOWN_PARAMETERS) {
        let Ok(length) = usize::try_from(fields.int32().ok()?) else {
            shown.push(ShownParameter::Null);
            continue;
        };
        let bytes = fields.bytes(length).ok()?;
        // One format stands for all; without any, all are text.
        let format = match formats.as_slice() {
            [] => 0,
            [one] => *one,
            each => each.get(place).copied().unwrap_or(1),
        };
        shown.push(match (format, std::str::from_utf8(bytes)) {
            (0, Ok(text)) => ShownParameter::Text(cut(text)),
            _ => ShownParameter::Binary(hexadecimal(bytes)),
        });
    }
    Some((count as u64, shown))
}

/// What a function call message brings, as people see it.
pub(super) fn arguments(body: &[u8]) -> BoundParameters {
    let shown = vec![ShownParameter::Binary(hexadecimal(body))];
    BoundParameters { digest: Digest::of(body), count: 1, shown }
}

/// The beginning of a text, with a sign that there is more.
fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let mut beginning: String = characters.by_ref().take(MAX_SHOWN_PARAMETER).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}

fn hexadecimal(bytes: &[u8]) -> String {
    let beginning = bytes.iter().take(MAX_SHOWN_PARAMETER / 2 + 1);
    let digits: String = beginning.map(|byte| format!("{byte:02x}")).collect();
    cut(&digits)
}
