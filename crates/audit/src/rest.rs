//! Records at rest: compressed with zstd, a frame a segment, so that frames behind each other are one file that any
//! `zstd -d` reads.
//!
//! Nothing that proves a record is about its compressed form: hashes and seals are over the lines. So a record can be
//! compressed, or not, at any time.

use std::io::{self, BufRead, BufReader, Read};

use zstd::{
    bulk::Compressor,
    stream::{
        raw::{self, Operation as _},
        read::Decoder,
    },
};

/// What a compressed record's name ends with, behind `.jsonl`.
const EXTENSION: &str = ".zst";
/// By this a compressed record is known (RFC 8878 section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How hard the compressor tries.
const LEVEL: i32 = 3;
/// A frame is closed at this size at the latest, so that no more has to be held: records of the format before have one seal.
const MAX_FRAME: usize = 8 << 20;
/// A reader needs a window of 2^23 bytes at most, and takes none that is larger.
const WINDOW: u32 = 23;
/// A compressed record is not read beyond this many bytes: a few kilobytes can claim to be any number of them.
pub const MAX_PLAIN: u64 = 16 << 30;
/// By this a seal is known.
const SEAL_START: &[u8] = br#"{"seal":"#;

/// The ending of a compressed record's name.
pub const fn compressed_extension() -> &'static str {
    EXTENSION
}

/// Compresses a record's bytes as they come.
pub struct AtRest {
    compressor: Compressor<'static>,
    /// What is not in a frame yet.
    segment: Vec<u8>,
    /// Where in it the line begins that is not over.
    line: usize,
}

impl std::fmt::Debug for AtRest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtRest").field("waiting", &self.segment.len()).finish_non_exhaustive()
    }
}

impl AtRest {
    /// Starts with a record's first byte.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { compressor, segment: Vec::new(), line: 0 })
    }

    /// Takes bytes, and gives the frames that they complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
            let (now, later) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.segment.extend_from_slice(now);
            bytes = later;
            let line = self.segment.get(self.line..).unwrap_or_default();
            let seal = end.is_some() && line.starts_with(SEAL_START);
            if end.is_some() {
                self.line = self.segment.len();
            }
            if seal || (self.segment.len() >= MAX_FRAME && end.is_some()) {
                frames.extend(self.frame()?);
            }
        }
        Ok(frames)
    }

    /// The last frame, if something is left.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        if self.segment.is_empty() { Ok(Vec::new()) } else { self.frame() }
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let frame = self.compressor.compress(&self.segment)?;
        self.segment.clear();
        self.line = 0;
        Ok(frame)
    }
}

/// Expands a record whose bytes come in pieces, a little at a time. What is not compressed is passed on.
pub struct Expander {
    /// Nothing until the first bytes were seen.
    decoder: Option<raw::Decoder<'static>>,
    started: bool,
    /// Whether all frames that began are over.
    whole: bool,
    left: u64,
}

impl std::fmt::Debug for Expander {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("whole", &self.whole).finish_non_exhaustive()
    }
}

impl Default for Expander {
    fn default() -> Self {
        Self { decoder: None, started: false, whole: true, left: MAX_PLAIN }
    }
}

impl Expander {
    /// Expands some of `input` into `out`, and says how much of it that was. With an input that is not empty, something
    /// is taken or given.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<(usize, usize)> {
        if !self.started {
            self.started = true;
            if input.starts_with(&MAGIC) {
                let mut decoder = raw::Decoder::new()?;
                decoder.set_parameter(raw::DParameter::WindowLogMax(WINDOW))?;
                self.decoder = Some(decoder);
            }
        }
        let (taken, given) = match &mut self.decoder {
            Some(decoder) => {
                let status = decoder.run_on_buffers(input, out)?;
                self.whole = status.remaining == 0;
                (status.bytes_read, status.bytes_written)
            }
            None => {
                let length = input.len().min(out.len());
                if let (Some(to), Some(from)) = (out.get_mut(..length), input.get(..length)) {
                    to.copy_from_slice(from);
                }
                (length, length)
            }
        };
        self.left = self.left.checked_sub(given as u64).ok_or_else(too_long)?;
        Ok((taken, given))
    }

    /// Whether the input may end here.
    pub const fn is_whole(&self) -> bool {
        self.whole
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it expands to more than any record has")
}

/// A record's own bytes, however it is kept.
#[allow(missing_debug_implementations, reason = "the decoder has none")]
pub enum Plain<R: BufRead> {
    /// It was not compressed.
    AsIs(R),
    /// It was.
    Expanded(Box<BufReader<Bounded<Decoder<'static, R>>>>),
}

/// Reads so many bytes and refuses to read more.
#[derive(Debug)]
pub struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: BufRead> Plain<R> {
    /// Looks at the first bytes.
    pub fn of(mut input: R) -> io::Result<Self> {
        if !input.fill_buf()?.starts_with(&MAGIC) {
            return Ok(Self::AsIs(input));
        }
        let mut decoder = Decoder::with_buffer(input)?;
        decoder.window_log_max(WINDOW)?;
        let bounded = Bounded { input: decoder, left: MAX_PLAIN };
        Ok(Self::Expanded(Box::new(BufReader::with_capacity(1 << 16, bounded))))
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_long)?;
        Ok(read)
    }
}

impl<R: BufRead> Read for Plain<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::AsIs(input) => input.read(into),
            Self::Expanded(input) => input.read(into),
        }
    }
}

impl<R: BufRead> BufRead for Plain<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::AsIs(input) => input.fill_buf(),
            Self::Expanded(input) => input.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::AsIs(input) => input.consume(amount),
            Self::Expanded(input) => input.consume(amount),
        }
    }
}

/// Reads whatever is given as a record at rest, and compresses it. Must not panic, and what was compressed is the same again.
#[allow(clippy::panic, clippy::unwrap_used, reason = "a fuzz target's finding")]
pub fn fuzz_plain(data: &[u8]) {
    if let Ok(plain) = Plain::of(data) {
        let _ = io::copy(&mut plain.take(1 << 24), &mut io::sink());
    }
    let mut rest = AtRest::new().unwrap();
    let mut frames = rest.push(data).unwrap();
    frames.extend(rest.finish().unwrap());
    let mut again = Vec::new();
    Plain::of(&frames[..]).unwrap().read_to_end(&mut again).unwrap();
    assert!(again == data || data.starts_with(&MAGIC), "what is compressed is the same again");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::{SealingKey, fixture};

    fn frames(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut rest = AtRest::new().unwrap();
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            frames.extend(rest.push(piece).unwrap());
        }
        frames.extend(rest.finish().unwrap());
        frames
    }

    #[test]
    fn a_compressed_record_is_the_same_again_however_its_bytes_came() {
        let key = SealingKey::generate().unwrap();
        let record = fixture::backup().sealed(&key);
        for piece in [1, 7, 64, 4096, 1 << 20] {
            let frames = frames(&record, piece);
            assert!(frames.len() < record.len() / 2, "{}", frames.len());
            let mut again = Vec::new();
            Plain::of(&frames[..]).unwrap().read_to_end(&mut again).unwrap();
            assert_eq!(again, record);
            crate::verify(Plain::of(&frames[..]).unwrap(), &[key.public()]).unwrap();
            for bytes in [&frames, &record] {
                assert_eq!(stepwise(bytes, piece.max(4)), record, "{piece}");
            }
        }
        crate::verify(Plain::of(&record[..]).unwrap(), &[key.public()]).unwrap();
    }

    fn stepwise(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut expander, mut again) = (Expander::default(), Vec::new());
        for mut piece in bytes.chunks(piece) {
            loop {
                let mut out = [0; 100];
                let (taken, given) = expander.step(piece, &mut out).unwrap();
                again.extend_from_slice(&out[..given]);
                piece = &piece[taken..];
                if piece.is_empty() && given < out.len() {
                    break;
                }
            }
        }
        assert!(expander.is_whole());
        again
    }

    #[test]
    fn each_segment_is_a_frame_of_its_own() {
        let lines = b"{\"seq\":0}\n{\"seal\":{}}\n{\"seq\":1}\n{\"seal\":{}}\n";
        let frames = frames(lines, 5);
        let starts = frames.windows(4).filter(|bytes| *bytes == MAGIC).count();
        assert_eq!(starts, 2);
    }

    #[test]
    fn a_change_to_any_byte_of_a_compressed_record_is_found() {
        let key = SealingKey::generate().unwrap();
        let builder =
            fixture::Builder::new(fixture::short_identity(), guard_core::EnforceAt::Gateway);
        let record = builder.sealed(&key);
        let frames = frames(&record, 4096);
        for position in 0..frames.len() {
            for mask in [0x01, 0x10, 0x80] {
                let mut changed = frames.clone();
                changed[position] ^= mask;
                // What is left of it may be the same record, told in other bytes: then nothing was changed.
                let mut read = Vec::new();
                let same = Plain::of(&changed[..])
                    .and_then(|mut plain| plain.read_to_end(&mut read))
                    .is_ok_and(|_| read == record);
                let verified = Plain::of(&changed[..])
                    .is_ok_and(|plain| crate::verify(plain, &[key.public()]).is_ok());
                assert!(!verified || same, "byte {position}, {mask:#x}");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_memory() {
        // A line without an end, 1 GiB of it in some kilobytes.
        let mut compressor = Compressor::new(LEVEL).unwrap();
        let frame = compressor.compress(&vec![b'x'; 16 << 20]).unwrap();
        let bomb: Vec<u8> = frame.repeat(64);
        assert!(bomb.len() < 1 << 20);
        let found = crate::verify(Plain::of(&bomb[..]).unwrap(), &[]);
        let too_long = |error: &crate::VerifyError| error.to_string().contains("longer than");
        assert!(found.as_ref().is_err_and(too_long), "{found:?}");
        // And whatever its lines are, there is an end.
        let mut bounded = Bounded { input: io::repeat(b'x'), left: 100 };
        assert_eq!(
            io::copy(&mut bounded, &mut io::sink()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_window_that_no_record_needs_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).unwrap();
        encoder.window_log(27).unwrap();
        io::copy(&mut io::repeat(b'x').take(1 << 24), &mut encoder).unwrap();
        let frames = encoder.finish().unwrap();
        let read = Plain::of(&frames[..])
            .and_then(|plain| io::copy(&mut plain.take(1 << 25), &mut io::sink()));
        assert!(read.is_err(), "{read:?}");
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        guard_tests::replay("plain", fuzz_plain);
        proptest::proptest!(|(bytes: Vec<u8>)| {
            fuzz_plain(&bytes);
            fuzz_plain(&[&MAGIC[..], &bytes].concat());
        });
    }
}
