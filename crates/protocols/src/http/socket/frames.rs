//! Frames of WebSockets (RFC 6455, section 5) without extensions: as clients send them, which are looked at, and as servers do, which are
//! written anew so that the credential can be hidden wherever a message is cut into frames.

use bytes::Bytes;

use super::super::hide::Hidden;

/// How much of a message is put into one frame, where its server sends more at once.
const PIECE: usize = 16 << 10;
/// Longest frame that is about the connection.
const MAX_CONTROL: u64 = 125;

const CONTINUED: u8 = 0;
const CLOSE: u8 = 8;

/// It is no frame, or none that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was sent is no frame of a WebSocket without extensions")]
pub(super) struct BadFrame;

/// Who sends frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    is_last: bool,
    opcode: u8,
    length: u64,
    /// How many bytes the head has.
    size: usize,
}

/// Reads the head of a frame, if it is there as a whole.
fn head(bytes: &[u8], from: From) -> Result<Option<Head>, BadFrame> {
    let (Some(first), Some(second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    let opcode = first & 0x0f;
    let is_last = first & 0x80 != 0;
    let is_masked = second & 0x80 != 0;
    let short = second & 0x7f;
    let right = first & 0x70 == 0
        && is_masked == (from == From::Client)
        && match opcode {
            0..=2 => true,
            8..=10 => is_last && u64::from(short) <= MAX_CONTROL,
            _ => false,
        };
    if !right {
        return Err(BadFrame);
    }
    let (extra, smallest) = match short {
        126 => (2, 126),
        127 => (8, 1 << 16),
        _ => (0, 0),
    };
    let size = 2 + extra + if is_masked { 4 } else { 0 };
    if bytes.len() < size {
        return Ok(None);
    }
    let length = match bytes.get(2..2 + extra) {
        Some([]) | None => u64::from(short),
        Some(more) => more.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    // In one way only, and without the bit that some take for a sign.
    if length < smallest || length >> 63 != 0 {
        return Err(BadFrame);
    }
    Ok(Some(Head { is_last, opcode, length, size }))
}

/// Where one stands in a stream of frames.
#[derive(Debug)]
struct Place {
    from: From,
    /// The head of the next frame, as far as it is there.
    head: Vec<u8>,
    frame: Option<Head>,
    /// How much of the frame is still to come.
    left: u64,
    /// Whether a message has begun and not ended.
    within: bool,
}

impl Place {
    const fn new(from: From) -> Self {
        Self { from, head: Vec::new(), frame: None, left: 0, within: false }
    }

    /// Takes what is there of a frame: its head and so many bytes of what it holds. `None`: more of its head is needed.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<(Head, usize)>, BadFrame> {
        let frame = match self.frame {
            Some(frame) => frame,
            None => {
                let Some(frame) = self.begin(bytes)? else { return Ok(None) };
                frame
            }
        };
        let now = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.left -= now as u64;
        if self.left == 0 {
            self.frame = None;
        }
        Ok(Some((frame, now)))
    }

    fn begin(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, BadFrame> {
        // It ends: no head is longer than 14 bytes.
        loop {
            if let Some(frame) = head(&self.head, self.from)? {
                self.head.clear();
                if frame.opcode < CLOSE {
                    if (frame.opcode == CONTINUED) != self.within {
                        return Err(BadFrame);
                    }
                    self.within = !frame.is_last;
                }
                (self.frame, self.left) = (Some(frame), frame.length);
                return Ok(Some(frame));
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(None) };
            self.head.push(*byte);
            *bytes = rest;
        }
    }

    /// Whether the frame that was last looked at is there as a whole.
    const fn is_whole(&self) -> bool {
        self.frame.is_none()
    }
}

/// Looks at what a client sends.
#[derive(Debug)]
pub(super) struct Sent(Place);

impl Sent {
    pub(super) const fn new() -> Self {
        Self(Place::new(From::Client))
    }

    /// Whether these bytes are frames.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> Result<(), BadFrame> {
        while let Some((_, now)) = self.0.next(&mut bytes)? {
            bytes = bytes.get(now..).unwrap_or_default();
            if bytes.is_empty() && !self.0.is_whole() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Writes anew what a server sends, without what is hidden.
pub(super) struct Received {
    place: Place,
    /// What came of a frame.
    payload: Vec<u8>,
    /// What may be the beginning of something hidden.
    held: Vec<u8>,
    /// The opcode of the next frame of the message.
    opcode: u8,
    /// Whether something of a message was looked at, and not its end.
    within: bool,
    /// How often something was hidden.
    pub(super) found: u64,
}

impl Received {
    pub(super) fn new() -> Self {
        let place = Place::new(From::Server);
        let (payload, held) = (Vec::new(), Vec::new());
        Self { place, payload, held, opcode: CONTINUED, within: false, found: 0 }
    }

    /// What goes on of these bytes: whole frames.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        hidden: &Hidden,
        out: &mut Vec<u8>,
    ) -> Result<(), BadFrame> {
        while let Some((frame, now)) = self.place.next(&mut bytes)? {
            let (now, rest) = bytes.split_at(now);
            bytes = rest;
            self.payload.extend_from_slice(now);
            let is_whole = self.place.is_whole();
            if frame.opcode >= CLOSE {
                if is_whole {
                    write(true, frame.opcode, &hidden.in_whole(&self.payload), out);
                    self.payload.clear();
                }
            } else if is_whole || self.payload.len() >= PIECE {
                self.piece(frame, is_whole, hidden, out);
            }
            if bytes.is_empty() && !is_whole {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A piece of a message.
    fn piece(&mut self, frame: Head, is_whole: bool, hidden: &Hidden, out: &mut Vec<u8>) {
        if !self.within {
            self.opcode = frame.opcode;
        }
        let payload = Bytes::from(std::mem::take(&mut self.payload));
        let (mut plain, found) = hidden.in_piece(&mut self.held, payload);
        self.found += found;
        let is_last = is_whole && frame.is_last;
        self.within = !is_last;
        if is_last && !self.held.is_empty() {
            let (rest, found) = hidden.in_rest(std::mem::take(&mut self.held));
            plain = [&*plain, &rest].concat().into();
            self.found += found;
        }
        if is_last || !plain.is_empty() {
            write(is_last, self.opcode, &plain, out);
            self.opcode = CONTINUED;
        }
    }
}

/// Says that nothing more comes, for this reason (RFC 6455, section 7.4.1).
pub(super) fn close(code: u16) -> Vec<u8> {
    let mut out = Vec::new();
    write(true, CLOSE, &code.to_be_bytes(), &mut out);
    out
}

fn write(is_last: bool, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(if is_last { 0x80 } else { 0 } | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Bytes as what the sides of a WebSocket send: what a server sent goes on as frames that go on as they are, however it was cut, and
/// without what is hidden.
///
/// # Panics
/// If it does not.
pub fn fuzz_socket(data: &[u8]) {
    const SECRET: &str = "t0ken";
    let hidden = Hidden::new([&guard_core::Secret::new(SECRET)]);
    let pass = |bytes: &[u8], step: usize| {
        let (mut frames, mut out) = (Received::new(), Vec::new());
        let result = bytes.chunks(step).try_for_each(|it| frames.push(it, &hidden, &mut out));
        result.map(|()| out)
    };
    let _ = Sent::new().check(data);
    // Longer messages are cut where they happen to be.
    if data.is_empty() || data.len() >= PIECE {
        return;
    }
    let passed = pass(data, data.len());
    assert!(pass(data, 1) == passed && pass(data, 7) == passed, "it depends on how it is cut");
    if let Ok(passed) = passed {
        let texts = texts(&passed);
        assert!(memchr::memmem::find(&texts, SECRET.as_bytes()).is_none(), "the secret goes on");
        let again = if passed.is_empty() { Ok(Vec::new()) } else { pass(&passed, passed.len()) };
        assert!(again.as_ref() == Ok(&passed), "what goes on is no frame");
    }
}

/// The messages in some frames, with a NUL behind each.
fn texts(mut bytes: &[u8]) -> Vec<u8> {
    let (mut place, mut texts) = (Place::new(From::Server), Vec::new());
    while let Ok(Some((frame, now))) = place.next(&mut bytes) {
        let (payload, rest) = bytes.split_at(now);
        bytes = rest;
        if frame.opcode < CLOSE {
            texts.extend_from_slice(payload);
            if frame.is_last && place.is_whole() {
                texts.push(0);
            }
        }
        if bytes.is_empty() && !place.is_whole() {
            break;
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use guard_core::Secret;

    use super::*;

    const TOKEN: &str = "t0ken/of+the=shop";

    fn hidden() -> Hidden {
        Hidden::new([&Secret::new(TOKEN)])
    }

    fn frame(is_last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(is_last, opcode, payload, &mut out);
        out
    }

    /// What goes on of these bytes, however they are cut.
    fn received(bytes: &[u8]) -> Result<Vec<u8>, BadFrame> {
        let mut all = None;
        for step in [1, 3, 100, 1 << 20] {
            let (mut frames, mut out) = (Received::new(), Vec::new());
            let result = bytes.chunks(step).try_for_each(|it| frames.push(it, &hidden(), &mut out));
            let result = result.map(|()| out);
            assert_eq!(all.get_or_insert_with(|| result.clone()), &result, "{step}");
        }
        all.unwrap()
    }

    #[test]
    fn messages_go_on_as_they_are() {
        let bytes = [
            frame(true, 1, b"hello"),
            frame(true, 2, &[0; 300]),
            frame(true, 1, b""),
            frame(false, 1, b"one "),
            frame(true, 9, b"ping"),
            frame(false, 0, b"and "),
            frame(true, 0, b"two"),
            frame(true, 8, &[3, 232]),
        ];
        assert_eq!(received(&bytes.concat()), Ok(bytes.concat()));
    }

    #[test]
    fn a_credential_is_hidden_wherever_a_message_is_cut() {
        let (before, behind) = TOKEN.split_at(7);
        let stars = "*".repeat(TOKEN.len());
        let bytes = [
            frame(true, 1, format!("<{TOKEN}>").as_bytes()),
            frame(true, 10, TOKEN.as_bytes()),
            frame(false, 1, before.as_bytes()),
            frame(true, 9, b""),
            frame(false, 0, b""),
            frame(true, 0, behind.as_bytes()),
            frame(true, 1, before.as_bytes()),
            frame(true, 1, behind.as_bytes()),
        ];
        let expected = [
            frame(true, 1, format!("<{stars}>").as_bytes()),
            frame(true, 10, stars.as_bytes()),
            frame(true, 9, b""),
            frame(true, 1, stars.as_bytes()),
            // Two messages are two texts.
            frame(true, 1, before.as_bytes()),
            frame(true, 1, behind.as_bytes()),
        ];
        assert_eq!(received(&bytes.concat()), Ok(expected.concat()));
    }

    #[test]
    fn a_long_message_goes_on_in_pieces() {
        let long: Vec<u8> = (0..100_000_u32).map(|it| b'a' + (it % 23) as u8).collect();
        let (mut frames, mut out) = (Received::new(), Vec::new());
        for piece in frame(true, 2, &long).chunks(5000) {
            frames.push(piece, &hidden(), &mut out).unwrap();
            assert!(frames.payload.len() < 2 * PIECE);
        }
        let (mut place, mut bytes, mut all) =
            (Place::new(From::Server), out.as_slice(), Vec::new());
        while let Some((_, now)) = place.next(&mut bytes).unwrap() {
            let (payload, rest) = bytes.split_at(now);
            all.extend_from_slice(payload);
            bytes = rest;
        }
        assert!(all == long && !place.within);
    }

    #[test]
    fn what_was_not_agreed_on_fails_closed() {
        let long = [vec![0x82, 127], vec![0xff; 8], vec![0; 20]].concat();
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"\xc1\x05hello",
            b"\xa1\x05hello",
            b"\x81\x85abcdhello",
            b"\x83\x05hello",
            b"\x8b\x05hello",
            b"\x09\x05hello",
            b"\x89\x7e\x00\x80",
            b"\x80\x05hello",
            b"\x01\x05hello\x01\x05hello",
            b"\x81\x7e\x00\x05hello",
            b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello",
            &long,
        ] {
            assert_eq!(received(bytes), Err(BadFrame), "{}", bytes.escape_ascii());
        }
        for (bytes, expected) in [
            (&b"\x81\x85abcdhello\x89\x80abcd\x88\x82abcd12"[..], Ok(())),
            (b"\x81\x05hello", Err(BadFrame)),
            (b"GET /v1/secrets/key HTTP/1.1\r\n\r\n", Err(BadFrame)),
            (b"\x80\x80abcd", Err(BadFrame)),
        ] {
            for step in [1, 4, 100] {
                let mut sent = Sent::new();
                let result = bytes.chunks(step).try_for_each(|it| sent.check(it));
                assert_eq!(result, expected, "{} {step}", bytes.escape_ascii());
            }
        }
    }
}
