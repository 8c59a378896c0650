//! Content codings of an answer, undone while it comes in (RFC 9110, section 8.4).
//!
//! What is decoded is never held whole: a step gives at most [`PIECE`] bytes, and what a coding looks back to is its own window (32 KiB of
//! gzip and deflate, [`ZSTD_WINDOW`] of zstd, 16 MiB of br). What ends before its time, or goes on behind its end, is an error: a part is
//! never passed as the whole.

mod coding;
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

use bytes::{Buf as _, Bytes};

use self::coding::{Codec, Step};
pub(super) use self::coding::{Coding, UnknownCoding};

/// Most bytes that one step decodes.
const PIECE: usize = 64 << 10;

/// How much of the coded bytes between two codings is held.
const BETWEEN: usize = 16 << 10;

/// How much is decoded whatever little it came from.
const FREE: u64 = 16 << 20;

/// How many bytes may come of one beyond that. Texts as APIs have them become 5 to 50 times as long.
const MOST_OF_ONE: u64 = 256;

/// Why an answer cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// It is not in the coding that its head names.
    Broken,
    /// It ends before its time.
    Cut,
    /// Something follows its end.
    Behind,
    /// Far more would come of it than came in.
    Bomb,
}

impl Undecodable {
    /// The words of the record.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "not decodable",
            Self::Cut => "cut off inside its encoding",
            Self::Behind => "bytes behind the end of its encoding",
            Self::Bomb => "decompression bomb",
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoded {
    /// So many bytes.
    Bytes(usize),
    /// Nothing more until more comes in.
    More,
    /// It is over.
    End,
}

/// Undoes codings, the last one first.
pub(super) struct Decoder {
    /// As they are undone.
    layers: Vec<Layer>,
    source: Source,
    spent: Spent,
    room: Vec<u8>,
}

/// What came in.
#[derive(Default)]
struct Source {
    piece: Bytes,
    over: bool,
}

/// One coding.
struct Layer {
    codec: Codec,
    state: State,
    /// What it is decoded from next, and up to where that was.
    input: Vec<u8>,
    at: usize,
    /// Whether the last step had room for more.
    had_room: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing came yet.
    Fresh,
    Within,
    /// Behind an end, where some codings may begin anew.
    Ended,
}

/// Bytes that came in, and bytes that came of them in all layers.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    came: u64,
    decoded: u64,
}

impl Decoder {
    /// For codings in the order in which they were applied.
    pub(super) fn new(codings: &[Coding]) -> Self {
        let layers = codings.iter().rev().map(|coding| Layer::new(*coding)).collect();
        let (source, spent) = (Source::default(), Spent::default());
        Self { layers, source, spent, room: vec![0; PIECE] }
    }

    /// Takes what came in next. Before, all must have been decoded that came before it.
    pub(super) fn feed(&mut self, piece: Bytes) {
        self.spent.came += piece.len() as u64;
        self.source.piece = piece;
    }

    /// Says that nothing more comes in.
    pub(super) fn end(&mut self) {
        self.source.over = true;
    }

    /// Decodes the next bytes, which are in [`Self::decoded`] then.
    pub(super) fn step(&mut self) -> Result<Decoded, Undecodable> {
        let Self { layers, source, spent, room } = self;
        fill(layers, source, spent, room)
    }

    /// So many bytes that the last step decoded.
    pub(super) fn decoded(&self, length: usize) -> &[u8] {
        self.room.get(..length).unwrap_or_default()
    }
}

/// Fills some room with what the last of these layers decodes.
fn fill(
    layers: &mut [Layer],
    source: &mut Source,
    spent: &mut Spent,
    room: &mut [u8],
) -> Result<Decoded, Undecodable> {
    let Some((layer, below)) = layers.split_last_mut() else { return Ok(source.take(room)) };
    loop {
        let written = layer.step(room)?;
        if written > 0 {
            spent.decoded += written as u64;
            let most = FREE.saturating_add(spent.came.saturating_mul(MOST_OF_ONE));
            return if spent.decoded > most {
                Err(Undecodable::Bomb)
            } else {
                Ok(Decoded::Bytes(written))
            };
        }
        layer.at = 0;
        layer.input.resize(BETWEEN, 0);
        let filled = fill(below, source, spent, &mut layer.input);
        layer.input.truncate(match filled {
            Ok(Decoded::Bytes(length)) => length,
            Ok(Decoded::More | Decoded::End) | Err(_) => 0,
        });
        match filled? {
            Decoded::Bytes(_) => {}
            Decoded::More => return Ok(Decoded::More),
            Decoded::End => return layer.end().map(|()| Decoded::End),
        }
    }
}

impl Source {
    fn take(&mut self, room: &mut [u8]) -> Decoded {
        let length = self.piece.len().min(room.len());
        match (length, self.over) {
            (0, true) => Decoded::End,
            (0, false) => Decoded::More,
            (_, _) => {
                if let Some(room) = room.get_mut(..length) {
                    self.piece.copy_to_slice(room);
                }
                Decoded::Bytes(length)
            }
        }
    }
}

impl Layer {
    fn new(coding: Coding) -> Self {
        let (codec, state) = (Codec::new(coding), State::Fresh);
        Self { codec, state, input: Vec::with_capacity(BETWEEN), at: 0, had_room: true }
    }

    /// Decodes what is there until something comes of it: how many bytes.
    fn step(&mut self, room: &mut [u8]) -> Result<usize, Undecodable> {
        loop {
            let rest = self.input.get(self.at..).unwrap_or_default();
            if rest.is_empty() && self.had_room {
                return Ok(0);
            }
            if !rest.is_empty() && self.state != State::Within {
                if self.state == State::Ended && !self.codec.begin_anew() {
                    return Err(Undecodable::Behind);
                }
                self.state = State::Within;
            }
            let Step { read, written, ended } = self.codec.step(rest, room)?;
            if read == 0 && written == 0 && !ended && !rest.is_empty() {
                return Err(Undecodable::Broken);
            }
            self.at += read;
            self.had_room = written < room.len() || ended;
            if ended {
                self.state = State::Ended;
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }

    /// There is no more. Where nothing at all came, there is nothing that could have been cut.
    const fn end(&self) -> Result<(), Undecodable> {
        match self.state {
            State::Fresh | State::Ended => Ok(()),
            State::Within => Err(Undecodable::Cut),
        }
    }
}
