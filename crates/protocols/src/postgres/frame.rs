//! Frames: one type byte, a length, a body. Sans-IO; nothing is believed before it is there.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use bytes::{Buf as _, BufMut as _, BytesMut};

/// Type byte and length word.
pub(super) const HEADER: usize = 5;

/// What PostgreSQL takes for a start-up packet, in bytes (`MAX_STARTUP_PACKET_LENGTH`).
pub(super) const MAX_STARTUP: usize = 10_000;

/// Longest password or SASL message of a client that is not known yet.
pub(super) const MAX_PASSWORD: usize = 4096;

/// Longest Query or Parse that is read whole: the longest text that is analysed and room for names and
/// parameter types. A longer one is refused, unread.
pub(super) const MAX_STATEMENT: usize = guard_sql::MAX_TEXT + (128 << 10);

/// Longest Bind or FunctionCall that is read whole: parameters may be large objects of a client, but guard holds
/// one of these in memory for each connection.
pub(super) const MAX_BIND: usize = 64 << 20;

/// Longest of the other messages of a client: names, a reason.
pub(super) const MAX_SMALL: usize = 64 << 10;

/// Longest message of a server that is read whole and is not a row: 1664 columns described, an error that
/// repeats its statement.
pub(super) const MAX_CONTROL: usize = 16 << 20;

/// Longest row with a masked column; one without any passes as it comes.
pub(super) const MAX_MASKED_ROW: usize = 64 << 20;

/// A peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// A length that cannot be.
    #[error("a message of type `{0}` says that it has {1} bytes")]
    Length(char, u32),
    /// A type that nobody knows, or not at this place.
    #[error("a message of type `{0}` is not expected here")]
    Unexpected(char),
    /// Its content is not what its type says.
    #[error("a message is malformed: {0}")]
    Malformed(&'static str),
}

/// A frame's type and the length of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tag: u8,
    pub(super) body: usize,
}

impl Header {
    /// The frame that `input` begins with; `None` if its header is not complete.
    pub(super) fn peek(input: &[u8]) -> Result<Option<Self>, Broken> {
        let Some((header, _)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [tag, length @ ..] = *header;
        let length = u32::from_be_bytes(length);
        // A length counts itself; PostgreSQL's own bound is the sign bit.
        let body = length.checked_sub(4).filter(|_| length <= i32::MAX as u32);
        match body.and_then(|body| usize::try_from(body).ok()) {
            Some(body) => Ok(Some(Self { tag, body })),
            None => Err(Broken::Length(char::from(tag), length)),
        }
    }

    /// Length of the whole frame.
    pub(super) const fn whole(self) -> usize {
        HEADER + self.body
    }
}

/// Lengths of the bodies of the messages of one type that some input begins with, as far as their headers are there.
#[derive(Clone)]
pub(super) struct Run<'a> {
    tag: u8,
    rest: &'a [u8],
}

impl<'a> Run<'a> {
    pub(super) const fn of(tag: u8, rest: &'a [u8]) -> Self {
        Self { tag, rest }
    }

    /// Of the messages that are there whole.
    pub(super) fn whole(tag: u8, input: &'a [u8]) -> Self {
        let mut end = 0;
        while let Ok(Some(header)) = Header::peek(input.get(end..).unwrap_or_default())
            && header.tag == tag
            && end + header.whole() <= input.len()
        {
            end += header.whole();
        }
        Self::of(tag, input.get(..end).unwrap_or_default())
    }
}

impl Iterator for Run<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A broken header is told when its turn comes.
        let header =
            Header::peek(self.rest).ok().flatten().filter(|header| header.tag == self.tag)?;
        self.rest = self.rest.get(header.whole()..).unwrap_or_default();
        Some(header.body as u64)
    }
}

/// Reads the fields of a body. Each step fails where the body ends too early.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn int16(&mut self) -> Result<i16, Broken> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(i16::from_be_bytes(*bytes))
    }

    /// An Int16 that counts something.
    pub(super) fn count(&mut self) -> Result<usize, Broken> {
        Ok(usize::from(self.int16()?.cast_unsigned()))
    }

    pub(super) fn int32(&mut self) -> Result<i32, Broken> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*bytes))
    }

    /// A string, without the zero byte that ends it.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Broken> {
        let end = memchr::memchr(0, self.rest).ok_or(Broken::Malformed("a text does not end"))?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// What was not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The body must end here.
    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Broken::Malformed("there is more in it than there should be"))
        }
    }
}

const CUT: Broken = Broken::Malformed("it is cut off");

/// Appends a message whose body is what `write` appends.
pub(super) fn put(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    put_sized(out, write);
}

/// Appends a length word and what `write` appends: a start-up packet has no type.
pub(super) fn put_sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    write(out);
    // INVARIANT: guard writes small messages only.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a string with the zero byte that ends it; what follows a zero byte inside of it is left out.
pub(super) fn put_text(out: &mut BytesMut, text: &[u8]) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    out.put_slice(text.get(..end).unwrap_or_default());
    out.put_u8(0);
}

/// Moves the first `part` bytes of a buffer to the end of another one. Where that is most of it and there is nothing
/// else in the other, the two are exchanged and only the rest is copied.
pub(super) fn hand_over(from: &mut BytesMut, part: usize, to: &mut BytesMut) {
    if to.is_empty() && part > from.len() / 2 {
        std::mem::swap(from, to);
        from.put_slice(to.get(part..).unwrap_or_default());
        to.truncate(part);
    } else {
        to.put_slice(from.get(..part).unwrap_or_default());
        from.advance(part);
    }
}

/// Gives back the memory of buffers in which nothing is. Whether it was all of them.
pub(super) fn release(buffers: [&mut BytesMut; 2]) -> bool {
    let mut all = true;
    for buffer in buffers {
        if buffer.is_empty() {
            *buffer = BytesMut::new();
        } else {
            all = false;
        }
    }
    all
}
